"""What a reader says when a file is not what it should be."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ReadError(ValueError):
    """A file can't be read: the message names the file, what was found, and the way out."""


@contextmanager
def reading(path: Path, what: str, way_out: str) -> Iterator[None]:
    """Turn whatever a parser raises into a ReadError that names ``path``.

    Raises
    ------
    ReadError
        The parser failed; its own words are kept.
    """
    again = "Copy or download it again."
    try:
        yield
    except ReadError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        cut = isinstance(error, EOFError)
        found = "ends in the middle" if cut else "is damaged inside or no gzip file"
        msg = f"{path}: the compressed file {found} ({error}). {again}"
        raise ReadError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is no UTF-8 text (byte {error.start}), so it is no {what}. {way_out}"
        raise ReadError(msg) from error
    except PermissionError as error:
        msg = f"{path} may not be read by this user. Change its permissions."
        raise ReadError(msg) from error
    except MemoryError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        msg = f"{path} can't be read as {what}: {said.rstrip('.')}. {way_out}"
        raise ReadError(msg) from error

"""Where a run writes: beside the results of an earlier one, which it replaces when it is whole."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellsigil.presets._errors import InputError, StepError
from cellsigil.presets._folder import NEW, OLD

log = logging.getLogger(__name__)


@contextmanager
def staged(out: Path, held: list[Path]) -> Iterator[Path]:
    """Give the folder to write into, the run's log already in it.

    It is ``out`` where no earlier results are ``held``. Else it lies in ``out``, and takes their place at
    the end: a run that fails or is stopped leaves them as they were, and its log as ``failed.log``. One
    that is killed leaves the folder behind, for the next to remove.
    """
    folder = Path(tempfile.mkdtemp(prefix=NEW, suffix=".part", dir=out)) if held else out
    handler = _log_to(folder / "run.log")
    try:
        try:
            yield folder
        except BaseException as error:
            said = error if isinstance(error, InputError | StepError) else type(error).__name__
            log.info("stopped: %s", said)
            if held and not isinstance(error, InputError):
                log.warning(
                    "The results in %s are the earlier run's; failed.log is of this run.", out
                )
                (folder / "run.log").replace(out / "failed.log")
            raise
        finally:
            logging.getLogger("cellsigil").removeHandler(handler)
            handler.close()
        if held:
            _swap(folder, out, held)
    finally:
        if held:
            shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, out: Path, held: list[Path]) -> None:
    """Put what lies in ``folder`` in the place of what is ``held``: renames alone, undone where one fails.

    summary.json, which says that results are whole, goes first and comes last.
    """
    old = Path(tempfile.mkdtemp(prefix=OLD, suffix=".part", dir=out))
    away = sorted((path for path in held if path.exists()), key=lambda p: p.name != "summary.json")
    come = sorted(folder.iterdir(), key=lambda p: p.name == "summary.json")
    moves = [(path, old / path.name) for path in away] + [(path, out / path.name) for path in come]
    try:
        for source, target in moves:
            source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if not source.exists():
                target.rename(source)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _log_to(path: Path) -> logging.Handler:
    """Log to ``path``, every line at once."""
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("cellsigil")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return handler

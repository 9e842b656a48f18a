"""Files written whole or not at all, and names made safe for files and HDF5."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROWS_AT_ONCE = 10_000  # of a table that is written: their texts take 1 kB a row
# A spreadsheet runs a cell that starts with one of these as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NEEDS_QUOTES = re.compile('[\t"\r\n]')


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is renamed over ``path``, else removed.

    A failure or a kill leaves the old file whole. Works for a file or a folder (a zarr store).

    Raises
    ------
    FileNotFoundError
        The folder that ``path`` should lie in does not exist.
    OSError
        Nothing can be written there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        msg = f"Cannot write {path}: the folder {path.parent} does not exist. Create it first."
        raise FileNotFoundError(msg)
    try:
        holder = Path(
            tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
        )
    except OSError as error:  # would name the temporary folder
        raise OSError(error.errno, error.strerror, str(path)) from error
    part = holder / path.name
    try:
        yield part
        if part.is_file():
            with open(part, "rb") as written:
                os.fsync(written.fileno())
        if path.is_dir() and part.is_dir():
            _exchange(part, path, holder / "old")
        else:
            os.replace(part, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _exchange(part: Path, path: Path, old: Path) -> None:
    """Put a folder in the place of another; a rename can't do it in one step, so undo a half one."""
    path.rename(old)
    try:
        os.replace(part, path)
    except BaseException:
        old.rename(path)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: str | Path, table: Any, *, digits: int = 6, index: bool = False) -> None:
    """Write a DataFrame as tab-separated text, atomically; numbers with ``digits`` significant digits.

    A text cell that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    names = [table.index.name or "", *table.columns] if index else table.columns
    text = functools.lru_cache(None, typed=True)(_text)  # names come again and again
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        file.write("\t".join(map(text, names)) + "\n")
        for start in range(0, len(table), ROWS_AT_ONCE):
            rows = table.iloc[start : start + ROWS_AT_ONCE]
            columns = [
                _cells(rows.iloc[:, place], f"%.{digits}g", text) for place in range(rows.shape[1])
            ]
            if index:
                columns.insert(0, ("%s", [text(value) for value in rows.index]))
            line = "\t".join(form for form, _ in columns) + "\n"
            lines: Iterator[str] = map(line.__mod__, zip(*(cells for _, cells in columns)))
            if len(columns) == 1:  # readers skip an empty line
                lines = ('""\n' if line == "\n" else line for line in lines)
            file.write("".join(lines))


def _cells(column: Any, number: str, text: Callable[[Any], Any]) -> tuple[str, list]:
    """Return the format of a column's cells and what goes into it.

    A row is formatted at once: 300,000 rows of markers take 1.3 s, cell by cell 2.1.
    """
    kind = getattr(column.dtype, "kind", "O")
    missing = column.isna().to_numpy().nonzero()[0]
    if kind == "f":
        cells = column.to_numpy(float, na_value=float("nan")).tolist()
        if not missing.size:
            return number, cells
        cells = [number % value for value in cells]
    elif kind in "iub":
        cells = column.tolist()
    else:
        cells = [text(v) if isinstance(v, str) else v for v in column.astype(object)]
    for place in missing:
        cells[place] = "NA"
    return "%s", cells


def _text(value: Any) -> str:
    """Return a cell of text as it is written: no formula for a spreadsheet, in quotes where it must be."""
    text = str(value)
    if isinstance(value, str) and text.startswith(_FORMULA_STARTS):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def as_named(text: str) -> str:
    """Return what a text cell was before `write_table` put an apostrophe before a formula's start."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA_STARTS) else text


def sha256(path: str | Path) -> str:
    """Return the hex digest of a file, or of a folder's files in name order."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        if file != path:
            digest.update(str(file.relative_to(path)).encode())
        with open(file, "rb") as handle:
            while piece := handle.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def check_key(key: str) -> None:
    """Refuse a key that HDF5 can't take: one "/" in it makes the user's own ``write_h5ad`` fail."""
    if "/" in key:
        msg = f"key_added={key!r} holds a '/', which .h5ad can't store. Use another name."
        raise ValueError(msg)


def hdf5_names(names: Iterable[str]) -> dict[str, str]:
    """Map each name to one that HDF5 takes as a key ("/" becomes "_"), unique among them all."""
    return _made_unique(
        names, lambda name: name.replace("/", "_") or "_", sep="-", ignore_case=False
    )


def label_names(names: Iterable[str]) -> dict[str, str]:
    """Map each display name to one that R, GMT and file readers leave as it is.

    Letters, digits and "_", starting with a letter, unique ignoring case.
    """

    def safe(name: str) -> str:
        plain = re.sub(r"\+", "pos", name)
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", plain).strip("_")
        return plain if plain[:1].isalpha() else f"type_{plain}".rstrip("_")

    return _made_unique(names, safe, sep="_", ignore_case=True)


def _made_unique(
    names: Iterable[str], safe: Callable[[str], str], *, sep: str, ignore_case: bool
) -> dict[str, str]:
    fold = str.lower if ignore_case else str
    names = [str(name) for name in names]
    out: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(
        names, key=lambda n: safe(n) != n
    ):  # names that are safe already keep theirs
        if name in out:
            continue
        base = candidate = safe(name)
        n = 1
        while fold(candidate) in taken:
            n += 1
            candidate = f"{base}{sep}{n}"
        taken.add(fold(candidate))
        out[name] = candidate
    return {name: out[name] for name in names}

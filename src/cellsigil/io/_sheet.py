"""A sample sheet: one line per sample, its file and what is known about it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

from cellsigil import _keys
from cellsigil._files import hdf5_names
from cellsigil._matrix import suggest
from cellsigil.io._errors import ReadError, reading
from cellsigil.io._text import is_text_table, open_text, sniff

PATH = "path"
_RESERVED = (PATH, _keys.SAMPLE, "condition", "batch")


def is_sheet(path: Path) -> bool:
    """Tell by its header whether a file is a sample sheet: a text table with a column ``path``."""
    if not (path.is_file() and is_text_table(path) and path.stat().st_size):
        return False
    return PATH in [field.lower() for field in sniff(path).header]


def files_of(path: str | Path) -> list[Path]:
    """Return the file or folder given, and after a sample sheet all that it names."""
    path = Path(path).expanduser()
    if is_sheet(path):
        return [path, *map(Path, read_sheet(path)[PATH])]
    return [path]


def read_sheet(path: Path) -> pd.DataFrame:
    """Read a sheet: ``path`` made absolute, index = sample, further columns as given.

    Raises
    ------
    ReadError
        A column, a sample's name or a file is missing, or a sample or a file is named twice.
    """
    sheet = _parse(path)
    sheet = sheet.rename(columns={n: n.lower() for n in sheet.columns if n.lower() in _RESERVED})
    if _keys.SAMPLE not in sheet:
        msg = f"{path} has a column 'path', but none named 'sample'. {suggest(_keys.SAMPLE, sheet.columns)} Rename it."
        raise ReadError(msg)
    if sheet.empty:
        msg = f"{path} is a sample sheet without samples. Add a line for each."
        raise ReadError(msg)
    sheet[PATH] = [_found(path, line, row) for line, row in enumerate(sheet.to_dict("records"), 2)]
    for column in (_keys.SAMPLE, PATH):
        twice = sheet[column][sheet[column].duplicated()]
        if len(twice):
            msg = (
                f"{path} names the {column} {str(twice.iloc[0])!r} twice. Every sample needs its own "
                f"name and its own file."
            )
            raise ReadError(msg)
    sheet = sheet.set_index(_keys.SAMPLE)
    sheet.columns = list(hdf5_names(sheet.columns).values())
    return sheet.apply(_typed)


def _parse(path: Path) -> pd.DataFrame:
    delimiter = sniff(path).delimiter
    way_out = "Save it as comma- or tab-separated UTF-8 text."
    with reading(path, "a sample sheet", way_out), open_text(path) as file:
        rows = [[field.strip() for field in row] for row in csv.reader(file, delimiter=delimiter)]
    header, *rows = [row for row in rows if any(row)]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            msg = (
                f"{path}, line {number}: {len(row)} fields, where the header has {len(header)} "
                f"({', '.join(header)}). Complete the line; put a field that holds {delimiter!r} in quotes."
            )
            raise ReadError(msg)
    if len(set(header)) < len(header):
        msg = f"{path} has two columns of one name ({', '.join(header)}). Rename or remove one."
        raise ReadError(msg)
    return pd.DataFrame(rows, columns=header, dtype=object)


def _found(sheet: Path, line: int, row: dict[str, str]) -> Path:
    if not row[_keys.SAMPLE] or not row[PATH]:
        missing = PATH if row[_keys.SAMPLE] else _keys.SAMPLE
        msg = f"{sheet}, line {line}: the {missing} is empty. Fill it in, or remove the line."
        raise ReadError(msg)
    place = Path(row[PATH]).expanduser()
    place = place if place.is_absolute() else sheet.parent / place
    if not place.exists():
        near = ""
        if place.parent.is_dir():
            near = suggest(place.name, [p.name for p in place.parent.iterdir()])
        msg = (
            f"{sheet}, line {line}, sample {row[_keys.SAMPLE]!r}: there is no {place}. {near} "
            f"Paths are relative to the sheet's own folder."
        )
        raise ReadError(msg)
    return place


def _typed(column: pd.Series) -> pd.Series:
    """Return numbers where every value is one; codes such as 007 stay text, an empty field is missing."""
    number = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
    held = column[column != ""]
    if column.name not in _RESERVED and len(held) and all(number.fullmatch(x) for x in held):
        return pd.to_numeric(held).reindex(column.index)
    return column.where(column != "", None) if column.name != PATH else column

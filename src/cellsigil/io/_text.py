"""Delimited text: open it plain or gzipped, and see how it is cut."""

from __future__ import annotations

import csv
import gzip
import itertools
from pathlib import Path
from typing import NamedTuple, TextIO

from cellsigil.io._errors import ReadError, reading

DELIMITERS = "\t,;"
SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


class Cut(NamedTuple):
    """How a text file is cut into fields, and its first lines."""

    delimiter: str
    header: list[str]
    rows: list[list[str]]


def is_text_table(path: Path) -> bool:
    """Tell by the suffix whether a file should be delimited text, plain or gzipped."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(SUFFIXES)


def open_text(path: Path) -> TextIO:
    """Open UTF-8 text, or UTF-16 with its mark (a spreadsheet's "Unicode text"); gzip is known by its first bytes."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if packed else open
    with opener(path, "rb") as file:  # type: ignore[operator]
        marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    return opener(path, "rt", encoding="utf-16" if marked else "utf-8-sig", newline="")  # type: ignore[operator]


def sniff(path: Path) -> Cut:
    """Find the delimiter and the first fields of a text table.

    Raises
    ------
    ReadError
        The file is empty or no text, or its header line holds no delimiter.
    """
    way_out = "Save it as comma- or tab-separated UTF-8 text."
    with reading(path, "delimited text", way_out), open_text(path) as file:
        lines = [line for line in itertools.islice(file, 50) if line.strip()]
    if not lines:
        msg = f"{path} is empty. Download or write it again."
        raise ReadError(msg)
    if "\0" in lines[0]:
        msg = f"{path} is no text: its first line holds zero bytes. {way_out}"
        raise ReadError(msg)
    delimiter = max(DELIMITERS, key=lines[0].count)
    if not lines[0].count(delimiter):
        msg = f"{path} has no tab, comma or semicolon in its first line ({lines[0].strip()[:60]!r}). {way_out}"
        raise ReadError(msg)
    header, *rows = csv.reader(lines, delimiter=delimiter)
    return Cut(delimiter, [field.strip() for field in header], rows)

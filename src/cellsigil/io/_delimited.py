"""Tables of numbers with names, genes in rows: how the text is cut, whether it has a header, its values."""

from __future__ import annotations

import csv
import itertools
import re
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cellsigil.io._errors import ReadError, reading
from cellsigil.io._text import open_text

_MISSING = ["", "NA", "NaN", "nan", "N/A", "NULL", "null", "#N/A"]
# What stands over the genes where samples are named by numbers, so that a header looks like a line of values.
_CORNER = re.compile(
    r"(ensembl|entrez|hgnc|hugo|ncbi|official)?(gene|symbol|target|feature|transcript|row|probe(set)?)?"
    r"s?(ids?|names?|symbols?|index)?"
)


class Layout(NamedTuple):
    """How a table is cut."""

    skip: int  # lines above the header
    delimiter: str
    header: bool
    names: list[str]  # of the columns, the genes' first; made up without a header
    decimal: str = "."


def read_whole(path: Path) -> str:
    """Return a file's text with plain line ends.

    Raises
    ------
    ReadError
        A damaged or foreign file.
    """
    way_out = "Save the table as tab-separated UTF-8 text, plain or gzipped."
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            msg = f"{path.name} is an Excel or zip file. {way_out}"
            raise ReadError(msg)
    with reading(path, "delimited text", way_out), open_text(path) as file:
        return file.read().replace("\r\n", "\n").replace("\r", "\n")


def first_lines(text: str) -> list[str]:
    """Return the first hundred lines, however long they are."""
    return [line.rstrip("\n") for line in itertools.islice(StringIO(text), 100)]


def find_layout(path: Path, lines: list[str]) -> Layout:
    """Find out how a table is cut from its first lines.

    Raises
    ------
    ReadError
        There is no table, one column only, or a header that is shorter than the lines below it.
    """
    skip = 0
    while skip < len(lines) and (lines[skip].startswith("#") or not lines[skip].strip()):
        skip += 1
    lines = [line for line in lines[skip:] if line.strip()]
    if len(lines) < 2:
        msg = f"{path.name} holds no table: fewer than two lines. It needs a header and one line per gene."
        raise ReadError(msg)
    delimiter = _find_delimiter(lines[:3])
    first, second = _split(lines[0], delimiter), _split(lines[1], delimiter)
    if len(second) < 2:
        msg = f"{path.name} has one column only. It needs genes and numbers, separated by tabs or commas."
        raise ReadError(msg)
    header = _is_header(first, second)
    if len(second) == len(first) + 1:
        # R's write.table leaves the corner out; others end every line but the first with a tab
        first = [*first, ""] if second[-1] == "" else ["", *first]
    if header and len(second) > len(first):
        msg = (
            f"{path.name}: the first line has {len(first)} fields, the next one {len(second)}. Take out what stands "
            f"above the header, and name every column."
        )
        raise ReadError(msg)
    names = first if header else ["gene", *[f"column{i}" for i in range(2, len(first) + 1)]]
    fields = [field for line in lines[1:] for field in _split(line, delimiter)]
    comma = delimiter == ";" and any(re.fullmatch(r"-?\d+,\d+", field) for field in fields)
    return Layout(skip, delimiter, header, names, "," if comma else ".")


def parse(path: Path, text: str, layout: Layout, *, text_columns: tuple[str, ...]) -> pd.DataFrame:
    """Parse a table; a gene called NA keeps its name, and columns may share one.

    ``text_columns``: names, lower case, of columns that are text where they are among the first four.

    Raises
    ------
    ReadError
        A line has more fields than the header.
    """
    unique, seen = [], dict[str, int]()
    for name in layout.names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}\0{seen[name]}")
    as_text = {unique[0], *[name for name in unique[:4] if name.lower() in text_columns]}
    with reading(path, "a table", "Every line needs as many fields as the header."):
        table = pd.read_csv(
            StringIO(text), sep=layout.delimiter, skiprows=layout.skip + layout.header, header=None,
            names=unique, index_col=False, dtype=dict.fromkeys(as_text, str), keep_default_na=False,
            na_values={name: _MISSING for name in unique if name not in as_text},
            decimal=layout.decimal, skip_blank_lines=True, low_memory=False,
        )  # fmt: skip
    table = table.set_axis([name.split("\0")[0] for name in unique], axis=1)
    at_the_end = (table.columns == "") & table.isna().all().to_numpy()  # of lines that end in a tab
    return table.loc[:, ~at_the_end]


def _find_delimiter(lines: list[str]) -> str:
    for delimiter in ("\t", ";", ","):
        if all(delimiter in line for line in lines[1:]):
            return delimiter
    return r"\s+"


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == r"\s+":
        return line.split()
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True


def _is_header(first: list[str], second: list[str]) -> bool:
    """Whether the first line names the columns; these may be numbers, below a corner that is no gene."""
    if len(first) < 2 or len(second) == len(first) + 1:
        return True
    if re.fullmatch(r"ENS[A-Z]*[GT]\d{11}(\.\d+)?", first[0]):
        return False
    if not all(_is_number(field) for field in first[1:] if field):
        return True
    return bool(_CORNER.fullmatch(re.sub(r"[\W_]", "", first[0].lower())))

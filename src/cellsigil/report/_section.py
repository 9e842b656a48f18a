"""What a section of the report is made of: a sentence, figures, and tables that say the same in numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Picture:
    """A figure as it stands in the page."""

    source: str  # a data: address
    text: str  # what it shows, in words
    width: int  # CSS pixels
    legend: tuple[tuple[str, str], ...] = ()  # (name, colour)


@dataclass(frozen=True)
class Table:
    """Numbers: ``frame`` is written to ``tables/<name>.tsv`` whole, ``shown`` (or ``frame``) stands in the page."""

    name: str
    caption: str
    frame: pd.DataFrame
    shown: pd.DataFrame | None = None
    folded: bool = False

    @cached_property  # the page asks at every cell: 1.4 s of 280 rows
    def columns(self) -> list[tuple[str, bool]]:
        """Return each column's heading and whether it holds numbers."""
        frame = self.visible
        return [(str(name), _is_number(frame.iloc[:, i])) for i, name in enumerate(frame.columns)]

    @property
    def visible(self) -> pd.DataFrame:
        """Return the rows and columns that stand in the page."""
        return self.frame if self.shown is None else self.shown

    @cached_property
    def rows(self) -> list[list[str]]:
        """Return every shown cell as text; the numbers of a column have the same digits."""
        frame = self.visible
        columns = [_column(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
        return [list(row) for row in zip(*columns)]


@dataclass
class Section:
    """A part of the page with a place of its own."""

    anchor: str
    title: str
    sentence: str = ""
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    code: str = ""
    missing: str = ""  # the call that would fill it


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool


def shown(value: Any) -> str:
    """Return a value with as many digits as a reader needs."""
    if (
        value is None
        or value is pd.NA
        or (isinstance(value, (float, np.floating)) and np.isnan(value))
    ):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, (float, np.floating)):
        return _number(float(value)).replace("-", "−")
    return str(value)


def _number(value: float) -> str:
    size = abs(value)
    if not np.isfinite(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if size < 0.001:
        return f"{value:.1e}"
    return f"{value:,.{_decimals(size)}f}"


def _decimals(size: float) -> int:
    """Return the decimals of a column whose largest number is ``size``."""
    return 0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 2 else 3


def _column(name: str, values: pd.Series) -> list[str]:
    if not pd.api.types.is_float_dtype(values.dtype):
        return [shown(value) for value in values]
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    if re.search(r"(^|\W)p(\W|$)|^limit$", name):  # p-values and limits: each for itself
        return [
            "<\u202f1e−300" if name != "limit" and value < 1e-300 else shown(value)
            for value in numbers
        ]
    finite = np.abs(numbers[np.isfinite(numbers)])
    decimals = _decimals(float(finite.max(initial=0)))
    if (finite == np.round(finite)).all():
        decimals = 0
    least = 0.5 * 10.0**-decimals
    out = []
    for value in numbers:
        if not np.isfinite(value) or value == 0:
            out.append(shown(value))
        elif 0 < abs(value) < least:
            out.append(f"{'<' if value > 0 else '>−'}\u202f{10.0**-decimals:.{decimals}f}")
        else:
            out.append(f"{value:,.{decimals}f}".replace("-", "−"))
    return out

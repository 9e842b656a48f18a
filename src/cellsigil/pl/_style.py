"""What all figures share: colours, names made safe to draw, axes."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellsigil._keys import UNKNOWN, UNRESOLVED
from cellsigil._matrix import suggest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_shows: ContextVar[bool] = ContextVar("cellsigil_pl_shows", default=True)

# Okabe and Ito's hues, then each colour the farthest (OKLab) from all before it, as seen by normal
# eyes, deuteranopes, protanopes and tritanopes (Machado 2009), and from the grey of "unknown".
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#E3D33B", "#6A3D9A",
    "#760714", "#9C381C", "#363B57", "#3A6765", "#8977EC", "#A5CFFE", "#D1A978", "#5A0B7B",
    "#56EB9B", "#B75135", "#7E6C8A", "#ED647C", "#265149", "#6F3B74", "#749CC9", "#B89240",
    "#237B4D", "#8F4896", "#5E7EC2", "#DFB866", "#484DBB", "#9588E9", "#CF90A2", "#B0815A",
    "#735ED1", "#C1A7C3", "#EDB7DF", "#90272A", "#582493", "#811733", "#C9C510", "#A74A04",
)  # fmt: skip
GREY = "#BDBDBD"  # cells without a label, and "unknown"
INK = "#222B38"
FAINT = "#8A93A0"
RASTER_FROM = 2000  # above so many marks a vector figure is larger and slower than pixels


def palette(names: Iterable[Any], *, colors: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give each name a colour that colour-blind readers can tell apart; the same names get the same.

    Colours are given out in the names' own order, numbers by value, whatever the order they come in;
    labels that were left open ("T cell, unresolved") come last, so that a figure with them and one
    without agree on the rest.

    Parameters
    ----------
    names
        Category names. Those that begin with "unknown" are grey.
    colors
        Colours that are fixed already, name to colour; the others get colours not used yet.

    Returns
    -------
    Name to colour, in the order of ``names``.
    """
    fixed = {str(name): color for name, color in (colors or {}).items()}
    names = list(dict.fromkeys(str(name) for name in names))
    taken = {fixed[name] for name in names if name in fixed}
    free = [color for color in PALETTE if color not in taken] or list(PALETTE)
    given = {name: GREY for name in names if name.lower().startswith(UNKNOWN)} | fixed
    others = sorted((name for name in names if name not in given), key=_in_order)
    given |= {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: given[name] for name in names}


def _in_order(name: str) -> tuple[bool, list[tuple[bool, int, str]], str]:
    parts = [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", name.casefold())
        if part
    ]
    return name.endswith(UNRESOLVED), parts, name


def shown(name: Any, longest: int = 60) -> str:
    """Return a name as matplotlib draws it letter by letter: no mathtext, no control characters."""
    text = "".join(" " if unicodedata.category(c).startswith("C") else c for c in str(name))
    if len(text) > longest:
        text = text[: longest - 1].rstrip() + "…"
    if text.startswith("_"):  # matplotlib leaves such entries out of a legend
        text = " " + text
    return text.replace("$", r"\$")


@contextmanager
def off_screen() -> Iterator[None]:
    """Make figures for files only inside the ``with`` block: no notebook shows them."""
    token = _shows.set(False)
    try:
        yield
    finally:
        _shows.reset(token)


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches; pyplot knows of it only where a notebook is to show it."""
    size: dict[str, Any] = {
        "figsize": (width, height),
        "layout": "constrained",
        "facecolor": "white",
    }
    if _shows.get() and _in_notebook():
        import matplotlib.pyplot as plt

        return plt.figure(**size)
    from matplotlib.figure import Figure

    return Figure(**size)


def _in_notebook() -> bool:
    """Say whether IPython runs this code: it draws pyplot's figures below the cell and closes them."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return ``ax``, or axes in a new figure of so many inches, high enough for a colour bar's name."""
    return new_figure(width, max(height, 2.6)).add_subplot() if ax is None else ax


def lay_out(ax: Axes) -> None:
    """Give the axes the place and the limits that they will be drawn with."""
    from matplotlib.figure import Figure

    engine = ax.figure.get_layout_engine()
    if engine is not None and isinstance(ax.figure, Figure):
        engine.execute(ax.figure)
    ax.apply_aspect()


def dress(ax: Axes, *, size: float = 9, grid: str | None = None) -> Axes:
    """Take the frame away and set quiet ticks; set here, not in rcParams, so that it stays."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(labelsize=size, labelcolor=INK, color=FAINT, length=3, width=0.8)
    ax.xaxis.label.set(size=size + 0.5, color=INK)
    ax.yaxis.label.set(size=size + 0.5, color=INK)
    if grid:
        ax.grid(axis=grid, color="#E4E8ED", linewidth=0.8)  # type: ignore[arg-type]
        ax.set_axisbelow(True)
    return ax


def name_ticks(
    ax: Axes,
    axis: str,
    names: Iterable[Any],
    *,
    size: float = 9,
    longest: int = 40,
    first: float = 0,
) -> None:
    """Put names at ``first`` and every 1 after; on x upright where they would run into each other."""
    texts = [shown(name, longest) for name in names]
    kind = ax.xaxis if axis == "x" else ax.yaxis
    kind.set_ticks(first + np.arange(len(texts)), texts)
    upright = axis == "x" and max(map(len, texts), default=0) > 2
    for label in kind.get_ticklabels():
        label.set(size=size, color=INK)
        if upright:
            label.set(rotation=90, ha="right", va="center", rotation_mode="anchor")


def title(ax: Axes, text: str | None) -> None:
    """Set a left-aligned title."""
    if text:
        ax.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color=INK)


def ink_on(color: Any) -> str:
    """Return black or white, whichever reads better on ``color``."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def column(adata: Any, key: str) -> pd.Series:
    """Return ``obs[key]``.

    Raises
    ------
    KeyError
        There is no such column; the near names are in the message.
    """
    if key not in adata.obs:
        msg = f"No obs column {key!r}. {suggest(key, adata.obs.columns)}"
        raise KeyError(msg)
    return adata.obs[key]


def as_categories(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return a code per cell (-1 for missing) and the names in category order, unused ones dropped."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        cats = values.cat.remove_unused_categories().cat
        return cats.codes.to_numpy(), [str(name) for name in cats.categories]
    codes, names = pd.factorize(values, sort=True)
    return codes, [str(name) for name in names]


def heat(
    ax: Axes,
    values: np.ndarray,
    *,
    cmap: str = "Blues",
    vmin: float | None = None,
    vmax: float | None = None,
) -> Any:
    """Draw a matrix as cells, first row on top; missing values are grey."""
    ax.set_facecolor("#ECEFF3")
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=cmap, vmin=vmin, vmax=vmax,
        edgecolors="white", linewidth=0.6 if values.size <= RASTER_FROM else 0,
        rasterized=values.size > RASTER_FROM,
    )  # fmt: skip
    ax.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    return mesh


def name_cells(ax: Axes, axis: str, names: Iterable[Any], *, size: float = 9) -> None:
    """Name the rows or columns of `heat`: as `name_ticks`, in the middle of the cells."""
    name_ticks(ax, axis, names, size=size, first=0.5)


def key_bar(ax: Axes, mesh: Any, label: str) -> Any:
    """Add a slim colour bar with a name."""
    assert ax.figure is not None
    height = ax.bbox.height / ax.figure.dpi  # inches
    shrink = float(np.clip(2.2 / height, 0.05, 0.8))
    bar = ax.figure.colorbar(mesh, ax=ax, shrink=shrink, aspect=16, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=8, labelcolor=INK, color=FAINT, length=2)
    bar.set_label(label, size=8.5, color=INK)
    return bar

"""Stacked bars: shares of cell types in samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil.pl import _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

NAMED_SAMPLES = 200  # a bar each with its name, down a page that may be 23 inches long


def composition(
    adata: AnnData,
    *,
    cell_type: str = _keys.CELL_TYPE,
    sample_key: str = _keys.SAMPLE,
    colors: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the share of each cell type in each sample as stacked bars, with the number of cells.

    Parameters
    ----------
    adata
        Annotated data.
    cell_type
        Column of ``obs`` with the types.
    sample_key
        Column of ``obs`` with the samples.
    colors
        Type to colour; others follow `palette`.
    ax
        Axes to draw in; None: a new figure.
    """
    types, names = _style.as_categories(_style.column(adata, cell_type))
    samples, sample_names = _style.as_categories(_style.column(adata, sample_key))
    keep = (types >= 0) & (samples >= 0)
    cells = np.zeros((len(sample_names), len(names)))
    np.add.at(cells, (samples[keep], types[keep]), 1)
    total = cells.sum(axis=1)
    shares = pd.DataFrame(cells / np.maximum(total, 1)[:, None], index=sample_names, columns=names)
    ax = stacked(shares, colors=colors, ax=ax)
    if len(total) <= 60:
        for i, n in enumerate(total):
            ax.text(
                1.01, i, f"{n:,.0f}", va="center", ha="left", fontsize=8, color=_style.FAINT,
                transform=ax.get_yaxis_transform(),
            )  # fmt: skip
    ax.set_xlabel("Share of cells (%), with the number of cells")
    return ax


def stacked(
    shares: pd.DataFrame, *, colors: Mapping[str, str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw rows of shares as stacked horizontal bars, first row on top."""
    n = len(shares)
    wheel = _style.palette(shares.columns, colors=colors)
    columns = min(4, max(1, 104 // (6 + max(map(len, wheel), default=1))))
    roomy, named = n <= 60, n <= NAMED_SAMPLES
    bars = max(1.2, 0.27 * min(n, 33), 0.115 * n if named else 9.0)
    own = ax is None
    ax = _style.axes(ax, 8.6, bars + 0.75 + 0.22 * -(-len(wheel) // columns))
    left = np.zeros(n)
    for name, values in shares.items():
        wide = 100 * values.to_numpy(dtype=float)
        wide = np.where(np.isfinite(wide), wide, 0)
        ax.barh(
            range(n), wide, left=left, height=0.8 if roomy else 0.9 if named else 1.0, color=wheel[str(name)],
            edgecolor="white", linewidth=0.5 if roomy else 0, label=_style.shown(name),
        )  # fmt: skip
        left += wide
    _style.dress(ax, size=8.5)
    ax.set(xlim=(0, 100), ylim=(n - 0.4, -0.6))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    if roomy or (named and own):
        size = 8.5 if n <= 33 else 7.0 if roomy else 6.0
        _style.name_ticks(ax, "y", shares.index, size=size)
    else:
        ax.set(yticks=[], ylabel=f"{n} samples")
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=8.5,
        labelcolor=_style.INK, handlelength=1, handleheight=1, columnspacing=1.4,
        handletextpad=0.5, borderaxespad=0.2,
    )  # fmt: skip
    return ax

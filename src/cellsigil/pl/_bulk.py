"""Figures of a deconvolution: fractions, their intervals, the truth where known, and the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellsigil._matrix import suggest
from cellsigil.pl import _style
from cellsigil.pl._profiles import leaves
from cellsigil.pl._shares import stacked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellsigil.deconv import Deconvolution

NAMED_SAMPLES = 60


def fractions(
    result: Deconvolution,
    *,
    cluster: bool = False,
    colors: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the estimated cell fractions of each bulk sample as stacked bars.

    Parameters
    ----------
    result
        What `cellsigil.deconv.deconvolve` answered.
    cluster
        Put alike samples next to each other; otherwise samples keep their order.
    colors
        Type to colour; others follow `palette`.
    ax
        Axes to draw in; None: a new figure.
    """
    shares = result.fractions
    if cluster:
        x = np.nan_to_num(shares.to_numpy(dtype=float))
        shares = shares.iloc[leaves(np.abs(x[:, None, :] - x[None]).sum(axis=2) / 2)]
    ax = stacked(shares, colors=colors, ax=ax)
    ax.set_xlabel("Estimated share of cells (%)")
    return ax


def intervals(
    result: Deconvolution,
    *,
    types: Sequence[str] | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Show each type's estimate with its interval in every sample, one panel a type.

    Parameters
    ----------
    result
        What `cellsigil.deconv.deconvolve` answered.
    types
        Types to show, in this order; None: all.
    colors
        Type to colour; others follow `palette`.

    Returns
    -------
    A figure; each panel has its own scale, from 0. A sample without an interval has its estimate alone.

    Raises
    ------
    KeyError
        A type that the result does not have.
    """
    known = [str(name) for name in result.fractions.columns]
    shown = known if types is None else [str(name) for name in types]
    if odd := [name for name in shown if name not in known]:
        msg = f"No type {odd[0]!r} in the fractions. {suggest(odd[0], known)}"
        raise KeyError(msg)
    samples = [str(name) for name in result.fractions.index]
    wheel = _style.palette(known, colors=colors)
    table = result.intervals
    table = table.assign(sample=table["sample"].astype(str), type=table["type"].astype(str))
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    each = float(np.clip(0.19 * len(samples), 0.9, 6.0)) if _few(samples) else 2.4
    figure = _style.new_figure(9.4 if columns > 2 else 3.2 * columns, rows * (each + 0.62) + 0.2)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax in panels.ravel()[len(shown) :]:
        ax.remove()
    for ax, name in zip(panels.ravel(), shown):
        rows_of = table[table["type"] == name].drop_duplicates("sample").set_index("sample")
        _forest(ax, rows_of.reindex(samples)[["estimate", "low", "high"]], wheel[name])
        _style.dress(ax, size=8, grid="x")
        _style.title(ax, _style.shown(name, 22))
    for ax in panels[:, 0]:
        if _few(samples):
            _style.name_ticks(ax, "y", samples, size=8, longest=24)
        else:
            ax.set(yticks=[], ylabel=f"{len(samples)} samples")
    panels[0, 0].set_ylim(len(samples) - 0.4, -0.6)
    figure.supxlabel("Estimated share of cells (%)", fontsize=9, color=_style.INK)
    return figure


def _few(samples: list[str]) -> bool:
    return len(samples) <= NAMED_SAMPLES // 2


def _forest(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    estimate, low, high = (100 * rows[c].to_numpy(dtype=float) for c in rows)
    y = np.arange(len(rows))
    wide = 2.2 if len(rows) <= NAMED_SAMPLES // 2 else 1.2
    ax.hlines(y, low, high, color=color, lw=wide, alpha=0.45)
    ax.plot(estimate, y, "o", ms=4.4 if wide > 2 else 2.6, mfc=color, mec="white", mew=0.5)
    top = np.nanmax([*estimate, *high], initial=0.0)
    ax.set_xlim(-0.02 * max(top, 1), 1.06 * max(top, 1))
    ax.tick_params(axis="y", length=0)


def truth(
    result: Deconvolution,
    truth: pd.DataFrame,
    *,
    colors: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show estimated against known cell fractions, over the samples and types that both have.

    Parameters
    ----------
    result
        What `cellsigil.deconv.deconvolve` answered.
    truth
        Known cell fractions, samples x types.
    colors
        Type to colour; others follow `palette`.
    ax
        Axes to draw in; None: a new figure.

    Returns
    -------
    The axes, with Pearson's r and the RMSE over all points, and r of each type in the legend.

    Raises
    ------
    ValueError
        No sample, or no type, is in both.
    """
    estimated, known = _matched(result.fractions, truth)
    wheel = _style.palette(result.fractions.columns, colors=colors)
    widest = max(len(name) for name in estimated.columns)
    columns = -(-estimated.shape[1] // 22)
    ax = _style.axes(ax, 4.9 + columns * (0.85 + 0.072 * min(widest, 40)), 4.6)
    x, y = 100 * known.to_numpy(dtype=float), 100 * estimated.to_numpy(dtype=float)
    top = 1.06 * max(float(np.nanmax(x, initial=0)), float(np.nanmax(y, initial=0)), 1.0)
    ax.plot([0, top], [0, top], color=_style.FAINT, lw=1, ls=(0, (4, 3)), zorder=1)
    for i, name in enumerate(estimated.columns):
        ax.scatter(
            x[:, i], y[:, i], s=34 if x.size < 600 else 14, color=wheel[name], linewidths=0.5,
            edgecolors="white", zorder=2, rasterized=x.size > _style.RASTER_FROM,
            label=f"{_style.shown(name, 40)}  r {_number(_pearson(x[:, i], y[:, i]))}",
        )  # fmt: skip
    both = np.isfinite(x) & np.isfinite(y)
    rmse = float(np.sqrt(np.mean((x[both] - y[both]) ** 2))) if both.any() else np.nan
    ax.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
    ax.set_aspect("equal", adjustable="box", anchor="W")
    ax.set(xlabel="Known share of cells (%)", ylabel="Estimated share of cells (%)")
    _style.dress(ax, size=8.5)
    ax.text(
        0.03, 0.97, f"r {_number(_pearson(x.ravel(), y.ravel()))}\nRMSE {rmse:.1f} points",
        transform=ax.transAxes, ha="left", va="top", fontsize=9.5, color=_style.INK, linespacing=1.4,
    )  # fmt: skip
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8.5, ncols=columns,
        labelcolor=_style.INK, handletextpad=0.2, labelspacing=0.5,
    )  # fmt: skip
    return ax


def _matched(fractions: pd.DataFrame, truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables over the samples and types that they share, in the first one's order."""
    fractions, truth = (
        table.set_axis(table.index.astype(str), axis=0).set_axis(table.columns.astype(str), axis=1)
        for table in (fractions, truth)
    )
    samples = [name for name in fractions.index if name in truth.index]
    types = [name for name in fractions.columns if name in truth.columns]
    for what, found, first, second in (
        ("sample", samples, fractions.index, truth.index),
        ("type", types, fractions.columns, truth.columns),
    ):
        if not found:
            msg = (
                f"No {what} is in both: the estimate has {_some(first)}, the truth {_some(second)}. "
                f"Give the truth as samples x types under the same names."
            )
            raise ValueError(msg)
    return fractions.loc[samples, types], truth.loc[samples, types]


def _some(names: pd.Index) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "") or "none"


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) < 3 or np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def fit(result: Deconvolution, *, ax: Axes | None = None) -> Axes:
    """Show how well the signature explains each bulk sample.

    Parameters
    ----------
    result
        What `cellsigil.deconv.deconvolve` answered.
    ax
        Axes to draw in; None: a new figure.

    Returns
    -------
    The axes: bars for ``residual_share`` (what is left, over the genes used, 0 is best), dots for
    ``r`` (of log expression, 1 is best).
    """
    table = result.fit
    n = len(table)
    named = n <= NAMED_SAMPLES
    ax = _style.axes(ax, 6.4, 0.9 + float(np.clip(0.23 * n, 0.8, 9.0)))
    y = np.arange(n)
    left = table["residual_share"].to_numpy(dtype=float)
    r = table["r"].to_numpy(dtype=float)
    ax.barh(y, left, height=0.62 if named else 1.0, color="#C9D3DE", label="Residual share")
    ax.plot(r, y, "o", ms=5 if named else 2.6, color=_style.PALETTE[0], label="r of log expression")
    top = float(np.nanmax([1.0, *left]))
    low = float(np.nanmin([0.0, *r]))
    ax.set(xlim=(low - (0.03 if low < 0 else 0), top + 0.03), ylim=(n - 0.4, -0.6))
    _style.dress(ax, size=8.5, grid="x")
    ax.tick_params(axis="y", length=0)
    if named:
        _style.name_ticks(ax, "y", table.index, size=8.5)
    else:
        ax.set(yticks=[], ylabel=f"{n} samples")
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=8.5,
        labelcolor=_style.INK, borderaxespad=0.2, handlelength=1, columnspacing=1.4,
    )  # fmt: skip
    return ax

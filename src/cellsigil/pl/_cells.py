"""Figures of cells: quality control, the UMAP, and what each sample is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil._matrix import read_matrix, suggest
from cellsigil.pl import _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED_SAMPLES = 200  # a bar each with its name, down a page that may be 23 inches long
QC_METRICS = {
    "total_counts": "Molecules per cell",
    "n_genes_by_counts": "Genes per cell",
    "pct_counts_mt": "Mitochondrial counts (%)",
}


def qc(
    adata: AnnData,
    *,
    metrics: Sequence[str] = tuple(QC_METRICS),
    sample_key: str | None = None,
    thresholds: Mapping[str, float | Sequence[float | None]] | None = None,
) -> Figure:
    """Show how the quality measures of cells are spread: histograms, or a violin per sample.

    Parameters
    ----------
    adata
        Annotated data after `cellsigil.pp.qc`.
    metrics
        Columns of ``obs``; those that are absent are left out, as long as one is there.
    sample_key
        Column of ``obs`` that holds the sample.
    thresholds
        Measure to one limit or several, drawn as dashed lines; None entries are left out.

    Returns
    -------
    A figure with one panel per measure.

    Raises
    ------
    KeyError
        None of the measures is in ``obs``.
    """
    there = [metric for metric in metrics if metric in adata.obs]
    if not there:
        msg = (
            f"None of {', '.join(map(repr, metrics))} is in obs. Run cellsigil.pp.qc(adata) first."
        )
        raise KeyError(msg)
    codes, samples = np.zeros(adata.n_obs, dtype=int), [""]
    if sample_key is not None:
        codes, samples = _style.as_categories(_style.column(adata, sample_key))
    wide = len(samples) > 12
    figure = _style.new_figure(
        9.2, 2.5 * len(there) + 0.4 if wide else 2.7 + 0.2 * (samples != [""])
    )
    panels = figure.subplots(len(there) if wide else 1, 1 if wide else len(there), squeeze=False)
    for ax, metric in zip(panels.ravel(), there):
        values = adata.obs[metric].to_numpy(dtype=float)
        log = not metric.startswith("pct_") and np.nanmax(values, initial=0) > 100
        by_sample = [_finite(values[codes == i], log=log) for i in range(len(samples))]
        if len(samples) == 1:
            _histogram(ax, by_sample[0], log=log)
        else:
            _violins(ax, by_sample, samples, log=log)
        limits: Any = (thresholds or {}).get(metric, [])
        for limit in np.atleast_1d(limits).tolist():
            if limit is not None:
                (ax.axvline if len(samples) == 1 else ax.axhline)(
                    _to_scale(limit, log), color="#C0392B", lw=1.1, ls=(0, (4, 3))
                )
        _style.title(ax, QC_METRICS.get(metric, _style.shown(metric)))
    return figure


def _to_scale(values: Any, log: bool) -> Any:
    return np.log10(np.maximum(values, 1)) if log else values


def _finite(values: np.ndarray, *, log: bool) -> np.ndarray:
    return _to_scale(values[np.isfinite(values)], log)


def _log_ticks(axis: Any, low: float, high: float) -> None:
    """Label a log10 axis with the plain numbers 1, 2, 5, 10, 20, ..."""
    steps = [(1, 2, 5), (1, 3), (1,)][int(np.digitize(high - low, [1.2, 2.5]))]
    places = [np.log10(s * 10.0**e) for e in range(0, 9) for s in steps]
    places = [p for p in places if low - 0.05 <= p <= high + 0.05]
    axis.set_ticks(places, [f"{10**p:,.0f}" for p in places])


def _histogram(ax: Axes, values: np.ndarray, *, log: bool) -> None:
    ax.hist(values, bins=50, color=_style.PALETTE[0], alpha=0.85, edgecolor="white", linewidth=0.3)
    ax.set_ylabel("Cells")
    if log and values.size:
        _log_ticks(ax.xaxis, float(values.min()), float(values.max()))
    if values.size:
        middle = float(np.median(values))
        ax.axvline(middle, color=_style.INK, lw=1)
    _style.dress(ax, size=8.5, grid="y")


def _violins(ax: Axes, groups: list[np.ndarray], names: list[str], *, log: bool) -> None:
    low = min((float(v.min()) for v in groups if v.size), default=0.0)
    high = max((float(v.max()) for v in groups if v.size), default=1.0)
    edges = np.linspace(low, high if high > low else low + 1, 81)
    bell = np.exp(-0.5 * (np.arange(-8, 9) / 2.5) ** 2)  # a smoothed histogram: a KDE is O(80 n)
    for i, values in enumerate(groups):
        density = np.convolve(np.histogram(values, edges)[0], bell / bell.sum(), mode="same")
        half = 0.42 * density / max(density.max(), 1e-12)
        middle = (edges[1:] + edges[:-1]) / 2
        keep = half > 0.004
        ax.fill_betweenx(
            middle,
            i - half,
            i + half,
            where=keep.tolist(),
            lw=0,
            color=_style.PALETTE[0],
            alpha=0.8,
        )
        if values.size:
            lower, mid, upper = np.percentile(values, [25, 50, 75])
            ax.plot([i, i], [lower, upper], color=_style.INK, lw=2.2, solid_capstyle="butt")
            ax.plot(i, mid, "o", ms=4, mfc="white", mec=_style.INK, mew=1)
    ax.set_xlim(-0.6, len(groups) - 0.4)
    _style.dress(ax, size=8.5, grid="y")
    _style.name_ticks(ax, "x", names, size=8.5, longest=24)
    if log:
        _log_ticks(ax.yaxis, low, high)


def umap(
    adata: AnnData,
    *,
    color: str | None = None,
    basis: str = _keys.X_UMAP,
    layer: str | None = None,
    colors: Mapping[str, str] | None = None,
    labels: bool | None = None,
    legend: bool = True,
    size: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show cells in two dimensions, coloured by a column, a score or a gene.

    Parameters
    ----------
    adata
        Annotated data after `cellsigil.tl.umap`.
    color
        A column of ``obs``, a signature of ``obsm["score_signatures"]``, or a gene, looked for in
        this order. None: all cells in one colour.
    basis
        Key of ``obsm``; the first two columns are drawn.
    layer
        Layer of a gene's values; X if None.
    colors
        Category to colour; others follow `palette`.
    labels
        Write category names on the data; None: up to 25 categories.
    legend
        Draw the legend or the colour bar.
    size
        Area of a point in square points; None: by the number of cells.
    title
        Title; None: the name of what is shown.
    ax
        Axes to draw in; None: a new figure.

    Raises
    ------
    KeyError
        No such embedding, or nothing is called ``color``; the near names are in the message.
    """
    if basis not in adata.obsm:
        msg = f"No obsm[{basis!r}]. Run cellsigil.tl.umap(adata), or name one with basis=. "
        raise KeyError(msg + suggest(basis, adata.obsm))
    places = np.asarray(adata.obsm[basis])[:, :2]
    values = None if color is None else _values(adata, color, layer)
    names: list[str] = []
    if values is not None and _is_categorical(values):
        codes, names = _style.as_categories(values)
    columns = -(-len(names) // 20)
    widest = max((len(name) for name in names), default=0)
    ax = _style.axes(ax, 5.6 + (columns * (0.45 + 0.075 * min(widest, 40)) if names else 0.7), 5.0)
    if size is None:
        size = float(np.clip(24_000 / max(adata.n_obs, 1), 1.0, 28.0))
    # Drawn in a random order, so that no group lies on top of another because of its name.
    order = np.random.default_rng(0).permutation(adata.n_obs)
    common: dict[str, Any] = {
        "s": size,
        "linewidths": 0,
        "rasterized": adata.n_obs > _style.RASTER_FROM,
    }
    x, y = places[order].T
    if values is None:
        ax.scatter(x, y, color=_style.PALETTE[0], alpha=0.7, **common)
    elif names:
        wheel = _style.palette(names, colors=colors)
        shades = np.array([*(wheel[name] for name in names), _style.GREY])
        ax.scatter(x, y, c=shades[codes[order]], **common)
        if labels if labels is not None else len(names) <= 25:
            _label(ax, places, codes, names)
        if legend:
            _legend(ax, wheel, columns, missing=bool((codes < 0).any()))
    else:
        numbers = np.asarray(values, dtype=float)
        order = order[np.argsort(numbers[order], kind="stable")]  # high values on top
        x, y = places[order].T
        points = ax.scatter(x, y, c=numbers[order], cmap="viridis", **common)
        if legend:
            _style.key_bar(ax, points, _style.shown(color))
    _bare(ax, basis.removeprefix("X_").upper())
    _style.title(ax, _style.shown(color) if title is None and color is not None else title)
    return ax


def _values(adata: AnnData, color: str, layer: str | None) -> pd.Series:
    if color in adata.obs:
        return adata.obs[color]
    scores = adata.obsm.get(_keys.SCORE_SIGNATURES)
    if isinstance(scores, pd.DataFrame) and color in scores:
        return scores[color]
    if color in adata.var_names:
        rows = read_matrix(adata[:, [adata.var_names.get_loc(color)]], layer)
        return pd.Series(rows.whole().to_scipy().toarray().ravel(), index=adata.obs_names)
    known = [*adata.obs.columns, *(scores if isinstance(scores, pd.DataFrame) else [])]
    msg = f"{color!r} is no column of obs, no signature score and no gene. "
    raise KeyError(msg + suggest(color, [*known, *adata.var_names]))


def _is_categorical(values: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(values.dtype) or values.dtype == bool:
        return True
    return pd.api.types.is_integer_dtype(values.dtype) and values.nunique() <= 40


def _bare(ax: Axes, name: str) -> None:
    ax.set(xticks=[], yticks=[], xlabel=f"{name} 1", ylabel=f"{name} 2")
    ax.set_aspect("equal", adjustable="datalim")
    _style.dress(ax, size=8.5)


def _legend(ax: Axes, wheel: dict[str, str], columns: int, *, missing: bool) -> None:
    from matplotlib.lines import Line2D

    entries = wheel | ({"no label": _style.GREY} if missing else {})
    dots = [Line2D([], [], marker="o", ls="", ms=6.5, mew=0, color=c) for c in entries.values()]
    ax.legend(
        dots, [_style.shown(name, 40) for name in entries], loc="upper left", frameon=False,
        bbox_to_anchor=(1.0, 1.0), ncols=columns, fontsize=8.5, labelcolor=_style.INK,
        handletextpad=0.2, columnspacing=1.0, labelspacing=0.45,
    )  # fmt: skip


def _label(ax: Axes, places: np.ndarray, codes: np.ndarray, names: list[str]) -> None:
    """Write each name at the cell nearest to the median of its cells, pushed apart up and down."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    nearest, texts = [], []
    for i, name in enumerate(names):
        own = places[codes == i]
        middle = np.median(own, axis=0)
        nearest.append(own[((own - middle) ** 2).sum(axis=1).argmin()])
        texts.append(_style.shown(name, 24))
    spots = _apart((np.array(nearest) - low) / span, [0.0145 * len(t) for t in texts], 0.045)
    for (x, y), text in zip(spots * span + low, texts):
        ax.text(
            x, y, text, ha="center", va="center", fontsize=8.5, fontweight="bold",
            color=_style.INK, clip_on=False,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.72},
        )  # fmt: skip


def _apart(spots: np.ndarray, widths: list[float], height: float) -> np.ndarray:
    """Move boxes up and down until none overlap (or 200 rounds are over)."""
    spots = spots.astype(float).copy()
    for _ in range(200):
        moved = False
        for i in range(len(spots)):
            for j in range(i + 1, len(spots)):
                dx, dy = np.abs(spots[i] - spots[j])
                if dx < (widths[i] + widths[j]) / 2 and dy < height - 1e-9:
                    push = (height - dy) / 2
                    up = 1.0 if spots[i, 1] >= spots[j, 1] else -1.0
                    spots[i, 1] += up * push
                    spots[j, 1] -= up * push
                    moved = True
        if not moved:
            break
    return spots


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

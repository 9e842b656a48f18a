"""Figures of quality control: molecules, genes and mitochondrial counts per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellsigil.pl import _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    ax.stairs(*np.histogram(values, bins=50), fill=True, color=_style.PALETTE[0], alpha=0.85)
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

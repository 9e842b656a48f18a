"""How each flavor ranks genes by their variance."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from cellsigil._moments import Moments, count_sums, gene_moments, moments_of_sums, squares_below
from cellsigil._rows import Rows

MAD_OF_NORMAL = 0.6744897501960817  # median absolute deviation of a standard normal
SPANS = (0.3, 0.5, 0.75, 1.0)


def by_dispersion(
    moments: Moments, n_top: int, flavor: str, names: pd.Index, batch_key: str | None
) -> dict[str, np.ndarray]:
    """Rank by variance / mean, normalised within bins of the mean; return columns of ``var``."""
    n_batches, n_genes = moments.mean.shape
    tables = []
    for b in range(n_batches):
        seen = moments.mean[b] > 0 if batch_key else np.ones(n_genes, bool)
        columns = _dispersions(moments.mean[b, seen], moments.var[b, seen], flavor)
        columns["highly_variable"] = _at_least_nth(columns["dispersions_norm"], n_top)
        if batch_key is None:
            return columns | {"dispersions_norm": columns["dispersions_norm"].astype(np.float32)}
        # With batches, a gene that a batch lacks counts there as 0, as in scanpy.
        full = pd.DataFrame(0.0, index=range(n_genes), columns=list(columns))
        full.loc[np.flatnonzero(seen)] = pd.DataFrame(columns).astype(np.float64).to_numpy()
        tables.append(full)
    stacked = pd.concat(tables).groupby(level=0)
    mean = stacked.mean()
    votes = stacked["highly_variable"].sum().to_numpy().astype(np.int64)
    norm = mean["dispersions_norm"].fillna(-np.inf).to_numpy()
    order = np.lexsort((_by_name(names), -norm, -votes))
    return {
        "means": mean["means"].to_numpy(copy=True),
        "dispersions": mean["dispersions"].to_numpy(copy=True),
        "dispersions_norm": mean["dispersions_norm"].to_numpy().astype(np.float32),
        "highly_variable": _first(order, n_top, order.size),
        "highly_variable_nbatches": votes,
        "highly_variable_intersection": votes == n_batches,
    }


def by_variance(
    counts: Rows, label: np.ndarray, n_batches: int, n_top: int, span: float, names: pd.Index,
    batch_key: str | None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Rank by the variance of counts, standardised and clipped by a loess trend; return columns of ``var``."""

    sizes = np.bincount(label + 1, minlength=n_batches + 1)[:, None]  # the first: in no batch
    sums = count_sums(counts, label + 1, n_batches + 1)
    if sums is not None:
        whole = moments_of_sums(sums.sum(axis=0, keepdims=True), sizes.sum(keepdims=True))
        moments = moments_of_sums(sums[1:], sizes[1:])
    else:
        whole = gene_moments(counts)
        moments = gene_moments(counts, label, n_batches)
    sd = np.stack([_trend_sd(m, v, span) for m, v in zip(moments.mean, moments.var)])
    limit = moments.mean + sd * np.sqrt(moments.size)
    if sums is not None:
        squares = squares_below(counts, label, sums[1:], moments, limit)
    else:
        clipped = gene_moments(counts, label, n_batches, limit=limit)
        away = moments.size * (clipped.mean - moments.mean) ** 2
        squares = clipped.var * (moments.size - 1) + away
    norm = squares / ((moments.size - 1) * sd**2)

    rank = np.stack([_ranked(of_batch, names, n_top) for of_batch in norm])
    votes = (~np.isnan(rank)).sum(axis=0)
    voted = np.flatnonzero(votes)  # n_top genes or all: none of the others is chosen
    median = np.full(norm.shape[1], np.nan)
    median[voted] = np.nanmedian(rank[:, voted], axis=0)
    order = voted[np.lexsort((_by_name(names[voted]), -votes[voted], median[voted]))]
    columns = {
        "highly_variable": _first(order, n_top, median.size),
        "highly_variable_rank": median,
        "means": whole.mean[0],
        "variances": whole.var[0],
        "variances_norm": norm.mean(axis=0),
    }
    if batch_key is not None:
        columns["highly_variable_nbatches"] = votes
        columns["highly_variable_intersection"] = votes == n_batches
    return columns


def _ranked(norm: np.ndarray, names: pd.Index, n: int) -> np.ndarray:
    """Return the rank, from 0, of the n largest, ties by name; NaN for the others.

    Only what reaches the n-th is put in order: sorting the names of 32,738 genes took 8 ms of 60.
    """
    near = np.flatnonzero(_at_least_nth(norm, n))
    if near.size < n:  # some are not known
        near = np.arange(norm.size)
    order = near[np.lexsort((_by_name(names[near]), -norm[near]))][:n]
    rank = np.full(norm.size, np.nan)
    rank[order] = np.arange(order.size)
    return rank


def _by_name(names: pd.Index) -> np.ndarray:
    return pd.factorize(names.astype("str"), sort=True)[0]


def _first(order: np.ndarray, n: int, n_genes: int) -> np.ndarray:
    mask = np.zeros(n_genes, bool)
    mask[order[:n]] = True
    return mask


def _at_least_nth(x: np.ndarray, n: int) -> np.ndarray:
    known = x[~np.isnan(x)]
    if not known.size:
        return np.zeros(x.size, bool)
    nth = max(known.size - n, 0)
    return np.nan_to_num(x, nan=-np.inf) >= np.partition(known, nth)[nth]


def _dispersions(mean: np.ndarray, var: np.ndarray, flavor: str) -> dict[str, np.ndarray]:
    """Return means, dispersions and dispersions_norm of the genes."""
    mean = np.where(mean == 0, 1e-12, mean)
    dispersion = var / mean
    if flavor == "seurat":
        dispersion = np.log(np.where(dispersion == 0, np.nan, dispersion))
        mean = np.log1p(mean)
        bins = pd.cut(mean, 20, labels=False)
    else:
        edges = np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf]
        bins = pd.cut(mean, edges, labels=False, duplicates="drop")
    if flavor == "seurat":
        average, spread = _mean_and_sd(dispersion, bins)
        alone = np.isnan(spread)  # one gene in the bin: a normalised dispersion of 1
        average, spread = np.where(alone, 0.0, average), np.where(alone, average, spread)
    else:
        average = pd.Series(dispersion).groupby(bins).transform("median").to_numpy()
        spread = pd.Series(np.abs(dispersion - average)).groupby(bins).transform("median")
        spread = spread.to_numpy() / MAD_OF_NORMAL
    with np.errstate(divide="ignore", invalid="ignore"):
        norm = (dispersion - average) / spread
    return {"means": mean, "dispersions": dispersion, "dispersions_norm": norm}


def _mean_and_sd(x: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each x the mean and the standard deviation (ddof 1) of its group; NaN are not in any."""
    known = ~np.isnan(x)
    x, of = x[known], group[known]
    n = np.bincount(of, minlength=group.max(initial=-1) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(of, x, n.size) / n
        sd = np.sqrt(np.bincount(of, (x - mean[of]) ** 2, n.size) / (n - 1))
    return mean[group], sd[group]


def _trend_sd(mean: np.ndarray, var: np.ndarray, span: float) -> np.ndarray:
    """Return the standard deviation that a loess of log10 variance on log10 mean expects."""
    trend = np.zeros(mean.size)
    varies = var > 0
    if varies.any():
        trend[varies] = _loess(np.log10(mean[varies]), np.log10(var[varies]), span)
    return np.sqrt(10**trend)


def _loess(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    from skmisc.loess import loess

    for wider in (span, *(s for s in SPANS if s > span)):
        model = loess(x, y, span=wider, degree=2)
        try:
            model.fit()
        except ValueError as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
            continue
        fitted = np.asarray(model.outputs.fitted_values)
        if not np.isfinite(fitted).all():
            reason = "the fitted values are not finite"
            continue
        if wider > span:
            msg = (
                f"The loess fit of flavor='seurat_v3' is singular at span={span:g} (many genes with the "
                f"same few low counts); span={wider:g} was used. To avoid it, remove rare genes with "
                f"cellsigil.pp.filter_genes, or pass a wider span."
            )
            warnings.warn(msg, UserWarning, stacklevel=6)
        return fitted
    msg = (
        f"The loess fit of flavor='seurat_v3' is singular at every span ({reason}): {x.size} genes vary, "
        f"with too few different means. Remove rare genes with cellsigil.pp.filter_genes, or use "
        f"flavor='seurat' on log-normalised data."
    )
    raise ValueError(msg)

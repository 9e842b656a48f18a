"""Leave out poor cells and rare genes, and keep a record of which rule took what."""

from __future__ import annotations

import json
import logging
import numbers
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._block import Block
from cellsigil._matrix import read_counts, read_matrix, read_tables, suggest
from cellsigil.pp._normalize import refuse_backed, row_sums
from cellsigil.pp._subset import subset

log = logging.getLogger(__name__)

MT = "pct_counts_mt"
# Without it, 5 deviations take 9 of pbmc3k's 15 megakaryocytes, small cells; with it, 1.
SD_PER_MAD = 1.4826022185056018


def filter_cells(
    adata: AnnData,
    *,
    min_genes: int | None = None,
    min_counts: float | None = None,
    max_genes: int | None = None,
    max_counts: float | None = None,
    max_pct: Mapping[str, float] | None = None,
    n_mads: float | None = None,
    sample_key: str | None = None,
) -> None:
    """Remove cells by fixed thresholds, and outliers among the other cells of the same sample.

    Totals and numbers of genes are counted anew from the counts of the genes that are there. With
    ``n_mads``, a cell is an outlier whose log1p total or log1p number of genes lies more than that
    many median absolute deviations (times 1.4826, as R's ``mad``: a normal's standard deviation)
    from its sample's median, on either side, or whose ``pct_counts_mt``, where `qc` wrote it, lies
    as far above. Medians are taken over the cells that pass the fixed thresholds. A measure whose
    deviation is zero takes no cell.

    Parameters
    ----------
    adata
        Cells x genes with raw counts in ``layers["counts"]`` or ``X``.
    min_genes, max_genes
        Fewest and most genes of a cell.
    min_counts, max_counts
        Smallest and largest total of a cell.
    max_pct
        Gene set -> largest share of a cell's counts in per cent, from ``obs["pct_counts_{set}"]``.
        A cell without counts has no share and is removed.
    n_mads
        Number of median absolute deviations; None means no outliers are removed.
    sample_key
        Column of ``obs`` with the samples; None means all cells are one.

    Raises
    ------
    KeyError
        There is no such column of ``obs``.
    ValueError
        No cell would be left, a cell has no sample, a threshold is no number, the values are no
        counts, or ``adata`` is backed by a file.

    Sets
    ----
    ``adata``
        Keeps the cells that passed.
    ``uns["qc_filter"]``
        JSON, ``{"steps": [...]}``: per call of a filter, numbers before and after, and for each rule
        (and sample) its measure, side, limit and the number of cells it would remove on its own.

    References
    ----------
    Outliers by MAD as in scuttle: McCarthy et al. 2017, Bioinformatics 33:1179.
    """
    refuse_backed(adata)
    read_tables(adata)
    measures, log_measures = _measure(adata)
    rules = []
    for measure, low, high in (
        ("n_genes_by_counts", min_genes, max_genes),
        ("total_counts", min_counts, max_counts),
    ):
        rules += [_fixed(measures, measure, "low", low)] if low is not None else []
        rules += [_fixed(measures, measure, "high", high)] if high is not None else []
    if max_pct is not None and not isinstance(max_pct, Mapping):
        msg = f"max_pct={max_pct!r}: name the gene set too, max_pct={{'mt': {max_pct!r}}}."
        raise ValueError(msg)
    for name, limit in (max_pct or {}).items():
        column = f"pct_counts_{name}"
        if column not in adata.obs:
            msg = f"No obs[{column!r}]. {suggest(column, adata.obs)} Run cellsigil.pp.qc(adata) first."
            raise KeyError(msg)
        measures[column] = adata.obs[column].to_numpy(np.float64)
        rules.append(_fixed(measures, column, "high", limit))
    passed = np.ones(adata.n_obs, bool)
    for _, removed in rules:
        passed &= ~removed
    if n_mads is not None:
        if MT in adata.obs:
            log_measures[MT] = adata.obs[MT].to_numpy(np.float64)
        for sample, of_sample in _samples(adata, sample_key).items():
            for measure, x in log_measures.items():
                rules += _outliers(measure, x, of_sample & passed, n_mads, sample)
    kept = ~np.logical_or.reduce([np.zeros(adata.n_obs, bool), *(removed for _, removed in rules)])
    _keep(adata, "cells", kept, rules)


def filter_genes(
    adata: AnnData, *, min_cells: int | None = 3, min_counts: float | None = None
) -> None:
    """Remove genes that few cells express.

    Parameters
    ----------
    adata
        Cells x genes; counts in ``layers["counts"]`` or ``X``. Without counts, ``X`` may be
        log-normalised as long as only ``min_cells`` is asked for.
    min_cells
        Fewest cells with a value above zero; None means any number.
    min_counts
        Smallest total over all cells; None means any.

    Raises
    ------
    ValueError
        No gene would be left, a threshold is no number, the values are no counts, or ``adata`` is
        backed by a file.

    Sets
    ----
    ``adata``
        Keeps the genes that passed.
    ``uns["qc_filter"]``
        As in `filter_cells`.
    """
    refuse_backed(adata)
    read_tables(adata)
    layer = _keys.COUNTS if _keys.COUNTS in adata.layers else None
    rows = (
        read_matrix(adata, layer, expects="nonnegative")
        if min_counts is None
        else read_counts(adata)
    )
    rules = []
    if min_cells is not None:
        measures = {"n_cells_by_counts": rows.column_counts()}
        rules.append(_fixed(measures, "n_cells_by_counts", "low", min_cells))
    if min_counts is not None:

        def add(block: Block, _: int, total: np.ndarray) -> None:
            total += np.bincount(block.indices, weights=block.data, minlength=block.n_cols)

        measures = {"total_counts": rows.accumulate(lambda: np.zeros(adata.n_vars), add, np.add)}
        rules.append(_fixed(measures, "total_counts", "low", min_counts))
    kept = ~np.logical_or.reduce([np.zeros(adata.n_vars, bool), *(removed for _, removed in rules)])
    _keep(adata, "genes", kept, rules)


def _measure(adata: AnnData) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    counts = read_counts(adata)
    total = row_sums(counts)
    n_genes = np.concatenate([np.empty(0), *counts.collect(lambda block, _: np.diff(block.indptr))])
    return (
        {"n_genes_by_counts": n_genes, "total_counts": total},
        {
            "log1p_n_genes_by_counts": np.log1p(n_genes),
            "log1p_total_counts": np.log1p(total),
        },
    )


def _fixed(
    measures: dict[str, np.ndarray], measure: str, side: str, limit: float
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the record of a rule and what it removes; NaN passes nothing."""
    if not isinstance(limit, numbers.Real) or np.isnan(limit):
        msg = f"The limit for {measure} is {limit!r}: a number is needed."
        raise ValueError(msg)
    x = measures[measure]
    removed = ~(x >= limit) if side == "low" else ~(x <= limit)
    return _record(measure, side, limit, None, removed), removed


def _outliers(
    measure: str, x: np.ndarray, cells: np.ndarray, n_mads: float, sample: str | None
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Return the rules of one measure in one sample: both tails, of shares the upper one only."""
    if not isinstance(n_mads, numbers.Real) or not 0 < n_mads < np.inf:
        msg = f"n_mads={n_mads!r}: a positive number of median absolute deviations is needed."
        raise ValueError(msg)
    cells = cells & ~np.isnan(x)
    if not cells.any():
        return []
    median = float(np.median(x[cells]))
    deviation = SD_PER_MAD * float(np.median(np.abs(x[cells] - median)))
    if deviation == 0:
        where = "" if sample is None else f" of sample {sample!r}"
        log.info("no outliers sought in %s%s: its median absolute deviation is 0", measure, where)
        return []
    rules = []
    for side, sign in (("high", 1),) if measure == MT else (("low", -1), ("high", 1)):
        limit = median + sign * n_mads * deviation
        removed = cells & (x > limit if sign > 0 else x < limit)
        rules.append((_record(measure, side, limit, sample, removed, n_mads), removed))
    return rules


def _record(
    measure: str,
    side: str,
    limit: float,
    sample: str | None,
    removed: np.ndarray,
    n_mads: float | None = None,
) -> dict[str, Any]:
    return {
        "measure": measure,
        "side": side,
        "limit": float(limit) if np.isfinite(limit) else str(limit),
        "sample": sample,
        "n_mads": None if n_mads is None else float(n_mads),
        "removed": int(removed.sum()),
    }


def _samples(adata: AnnData, sample_key: str | None) -> dict[str | None, np.ndarray]:
    """Return a mask over the cells for each sample."""
    if sample_key is None:
        return {None: np.ones(adata.n_obs, bool)}
    if sample_key not in adata.obs:
        msg = f"No obs[{sample_key!r}]. {suggest(sample_key, adata.obs)}"
        raise KeyError(msg)
    codes, known = pd.factorize(adata.obs[sample_key], sort=True)
    if (codes < 0).any():
        first = str(adata.obs_names[codes < 0][0])
        msg = (
            f"{int((codes < 0).sum())} cells have no obs[{sample_key!r}] (NaN; first {first!r}). "
            f"Fill the column or remove them: adata[adata.obs[{sample_key!r}].notna()]."
        )
        raise ValueError(msg)
    return {str(name): codes == c for c, name in enumerate(known)}


def _keep(
    adata: AnnData,
    what: str,
    kept: np.ndarray,
    rules: list[tuple[dict[str, Any], np.ndarray]],
) -> None:
    """Subset ``adata``, and record what was done."""
    records = [record for record, _ in rules]
    parts = ", ".join(
        f"{r['measure']} {'below' if r['side'] == 'low' else 'above'} {r['limit']:.6g} takes {r['removed']}"
        + ("" if r["sample"] is None else f" ({r['sample']})")
        for r in records
    )
    if kept.size and not kept.any():
        msg = f"The filter would remove all {kept.size} {what}: {parts}. Choose milder thresholds."
        raise ValueError(msg)
    step = {"what": what, "before": kept.size, "after": int(kept.sum()), "rules": records}
    try:
        steps = (
            json.loads(adata.uns[_keys.QC_FILTER])["steps"] if _keys.QC_FILTER in adata.uns else []
        )
    except (TypeError, KeyError, ValueError):
        warnings.warn(
            f"uns[{_keys.QC_FILTER!r}] held something that no filter of ours wrote; it was replaced.",
            UserWarning,
            stacklevel=3,
        )
        steps = []
    if not kept.all():
        _make_native(adata)
        subset(adata, ("cells", "genes").index(what), kept)
    adata.uns[_keys.QC_FILTER] = json.dumps({"steps": [*steps, step]})
    log.info("kept %d of %d %s: %s", step["after"], step["before"], what, parts or "no rule")


def _make_native(adata: AnnData) -> None:
    """Bring sparse matrices to our byte order: scipy can't copy any other, and a subset copies."""
    if adata.is_view:
        return
    if sp.issparse(adata.X) and not adata.X.dtype.isnative:
        adata.X = adata.X.astype(adata.X.dtype.newbyteorder("="))
    for name, matrix in list(adata.layers.items()):
        if sp.issparse(matrix) and not matrix.dtype.isnative:
            adata.layers[name] = matrix.astype(matrix.dtype.newbyteorder("="))

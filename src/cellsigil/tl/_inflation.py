"""How much more a sum over a set of genes varies than one over uncorrelated genes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from cellsigil._core._fixed import scale_for
from cellsigil._core._scores import add_groups
from cellsigil._matrix import read_log
from cellsigil.tl._groups import read_groups
from cellsigil.tl._score_cells import apply
from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl._stats import GroupStats
from cellsigil.tl.scores import Plan
from cellsigil.tl.scores._record import to_weights


def shares_of(s: IndexedSet) -> np.ndarray:
    """Return the weights of a set's genes, up then down (negative); their absolute values add to 1."""
    weights = np.concatenate((s.up_weights, -s.down_weights))
    return weights / np.abs(weights).sum()


def inflations(adata: Any, stats: GroupStats, indexed: list[IndexedSet]) -> np.ndarray:
    """Return by how much the variance of a set's weighted sum exceeds that of uncorrelated genes, within groups.

    Var(sum w z) / sum w^2 with every gene's z standardised within groups; one sparse product for all sets.
    """
    with warnings.catch_warnings(
        action="ignore"
    ):  # unlabelled cells: said when the stats were made
        codes = read_groups(adata, stats.groupby).codes
    size = stats.n.sum(axis=1)
    free = np.maximum(size - 1, 0)
    within = np.nansum(stats.var * free[:, None], axis=0) / max(free.sum(), 1)
    sd = np.sqrt(within)
    columns = []
    for s in indexed:
        column = np.zeros(len(stats.genes))
        where = np.concatenate((s.up, s.down))
        if where.size:
            kept = sd[where] > 0
            shares = np.where(kept, shares_of(s), 0.0)
            norm = np.sqrt((shares**2).sum())
            column[where[kept]] = shares[kept] / sd[where[kept]] / max(norm, 1e-300)
        columns.append(column)
    plan = Plan(to_weights(columns), np.zeros(len(indexed)))
    rows = read_log(adata, stats.layer)
    scores = np.concatenate(list(rows.map(lambda block, _: apply(plan, block))))
    variance = _group_variances(scores, codes, len(stats.groups))
    pooled = np.nansum(variance * free[:, None], axis=0) / max(free.sum(), 1)
    return np.maximum(pooled, 1.0)


def _group_variances(scores: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the variance (ddof 1, 0 of a single cell) of every column in every group: the order moves no bit."""
    n = np.bincount(codes[codes >= 0], minlength=n_groups)[:, None]

    def total(center: np.ndarray, power: int) -> np.ndarray:
        most = float(np.abs(scores).max(initial=0.0)) * power
        scale = scale_for(most**power, len(scores))
        sums = np.zeros(center.shape, np.int64)
        add_groups(scores, codes, center, power, scale, sums, 0, scores.shape[1])
        return sums / scale

    mean = total(np.zeros((n_groups, scores.shape[1])), 1) / np.maximum(n, 1)
    return total(mean, 2) / np.maximum(n - 1, 1)

"""How much more a sum over a set of genes varies than one over uncorrelated genes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from cellsigil._block import Block
from cellsigil._core._fixed import scale_for
from cellsigil._core._jit import n_threads, over_range
from cellsigil._core._scores import add_groups, project_rows
from cellsigil._matrix import map_log
from cellsigil.tl._groups import read_groups
from cellsigil.tl._score_cells import parts_of
from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl._stats import GroupStats


def shares_of(s: IndexedSet) -> np.ndarray:
    """Return the weights of a set's genes, up then down (negative); their absolute values add to 1."""
    weights = np.concatenate((s.up_weights, -s.down_weights))
    return weights / np.abs(weights).sum()


def inflations(adata: Any, stats: GroupStats, indexed: list[IndexedSet]) -> np.ndarray:
    """Return by how much the variance of a set's weighted sum exceeds that of uncorrelated genes, within groups.

    Var(sum w z) / sum w^2 with every gene's z standardised within groups; one sparse product for all sets.
    """
    # Unlabelled cells were told of when the stats were made.
    with warnings.catch_warnings(action="ignore"):
        codes = read_groups(adata, stats.groupby).codes
    size = stats.n.sum(axis=1)
    free = np.maximum(size - 1, 0)
    places = [np.concatenate((s.up, s.down)) for s in indexed]
    ends = np.cumsum([where.size for where in places])
    where = np.concatenate(places)
    within = np.take(stats.var, where, axis=1) * free[:, None]
    sds = np.sqrt(np.nansum(within, axis=0) / max(free.sum(), 1))
    values = []
    for s, sd in zip(indexed, np.split(sds, ends[:-1])):
        shares = np.where(sd > 0, shares_of(s), 0.0)
        norm = max(np.sqrt((shares**2).sum()), 1e-300)
        values.append(np.divide(shares, sd, out=np.zeros(sd.size), where=sd > 0) / norm)
    of_set = np.repeat(np.arange(len(indexed)), np.diff(ends, prepend=0))
    entries = (np.concatenate(values), (where, of_set))
    weights = parts_of(sp.csr_matrix(entries, shape=(len(stats.genes), len(indexed))))

    def score(block: Block, _: int) -> np.ndarray:
        out = np.zeros((block.n_rows, len(indexed)))
        project_rows(*block[:3], *weights, out, 0, block.n_rows)
        return out

    scores = np.concatenate(map_log(adata, score, stats.layer))
    variance = _group_variances(scores, codes, len(stats.groups))
    pooled = np.nansum(variance * free[:, None], axis=0) / max(free.sum(), 1)
    return np.maximum(pooled, 1.0)


def _group_variances(scores: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the variance (ddof 1, 0 of a single cell) of every column in every group: the order moves no bit."""
    n = np.bincount(codes[codes >= 0], minlength=n_groups)[:, None]
    largest = float(max(scores.max(initial=0.0), -scores.min(initial=0.0)))

    def total(center: np.ndarray, power: int) -> np.ndarray:
        most = largest * power
        scale = scale_for(most**power, len(scores))
        sums = np.zeros(center.shape, np.int64)
        n_columns = scores.shape[1]
        chunk = -(-n_columns // n_threads())  # few and wide: a row's scores lie side by side
        over_range(add_groups, n_columns, scores, codes, center, power, scale, sums, chunk=chunk)
        return sums / scale

    mean = total(np.zeros((n_groups, scores.shape[1])), 1) / np.maximum(n, 1)
    return total(mean, 2) / np.maximum(n - 1, 1)

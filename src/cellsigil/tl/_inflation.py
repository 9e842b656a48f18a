"""How much more a sum over a set of genes varies than one over uncorrelated genes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from cellsigil._block import Block
from cellsigil._core._fixed import scale_for
from cellsigil._core._scores import add_squares, project_rows
from cellsigil._matrix import HIGHEST_LOG, map_log
from cellsigil.tl._groups import read_labels
from cellsigil.tl._score_cells import parts_of
from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl._stats import GroupStats


def shares_of(s: IndexedSet) -> np.ndarray:
    """Return the weights of a set's genes, up then down (negative); their absolute values add to 1."""
    weights = np.concatenate((s.up_weights, -s.down_weights))
    return weights / np.abs(weights).sum()


def inflations(adata: Any, stats: GroupStats, indexed: list[IndexedSet]) -> np.ndarray:
    """Return by how much the variance of a set's weighted sum exceeds that of uncorrelated genes, within groups.

    Var(sum w z) / sum w^2 with every gene's z standardised within groups; one sparse product for all sets, about
    the groups' means, which the statistics know.
    """
    # Unlabelled cells were told of when the stats were made.
    with warnings.catch_warnings(action="ignore"):
        groups, samples = read_labels(adata, stats.groupby, stats.sample_key)
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
    weights = sp.csr_matrix(entries, shape=(len(stats.genes), len(indexed)))
    counts = size > 1  # a group of one cell has no variance, and NaN for a mean
    center = np.where(counts[:, None], stats.mean, 0.0) @ weights
    counted = (groups.codes >= 0) & (samples.codes >= 0) & counts[groups.codes]
    codes = np.where(counted, groups.codes, -1)
    # no score, and no center, is farther from 0 on its side than all weights of that side times the greatest value
    most = HIGHEST_LOG * np.asarray(abs(weights).sum(axis=0)).ravel()
    scale = np.array([scale_for(x * x, int(size[counts].sum())) for x in most])
    parts = parts_of(weights)

    def squares(block: Block, first: int) -> np.ndarray:
        scores, total = np.zeros((block.n_rows, len(indexed))), np.zeros(len(indexed), np.int64)
        project_rows(*block[:3], *parts, scores, 0, block.n_rows)
        add_squares(scores, codes[first:], center, scale, total, 0, block.n_rows)
        return total

    total = np.sum(map_log(adata, squares, stats.layer), axis=0, dtype=np.int64)
    return np.maximum(total / scale / max(free.sum(), 1), 1.0)

"""Inverted lists: cells in the order of the k-means centres that they are nearest to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellsigil._core._jit import all_in_threads
from cellsigil._core._knn import asking

# Cells a list. With 300 the resampled 100,000 cells took as much: fewer products, but smaller ones.
PER_LIST, MOST_LISTS = 500, 4096
STEPS, SEEN_PER_LIST = 8, 64  # of k-means, on a sample
QUERIES = 512  # rows of one product


class Lists(NamedTuple):
    """The cells in the order of their lists: first all of list 0, then of list 1, ..."""

    order: np.ndarray  # cell at each place, int32
    start: np.ndarray  # first place of each list, and the end
    near: np.ndarray  # the nearest list of each place, its own, and the second nearest, int32
    centres: np.ndarray  # packed


def make_lists(packed: np.ndarray) -> Lists:
    """Put the cells into lists by k-means on a fixed sample; within a list, by the second nearest list."""
    n = len(packed)
    n_lists = max(1, min(MOST_LISTS, n // PER_LIST))
    draw = np.random.default_rng(0)
    sample = np.sort(draw.choice(n, min(n, n_lists * SEEN_PER_LIST), replace=False))
    seen = packed[sample]
    centres = seen[np.sort(draw.choice(sample.size, n_lists, replace=False))]
    for _ in range(STEPS):
        own = _nearest_lists(seen, centres, 1)[:, 0]
        size = np.bincount(own, minlength=n_lists)
        kept = np.flatnonzero(size)  # a list without cells keeps its centre
        first = (np.cumsum(size) - size)[kept]
        sums = np.add.reduceat(seen[np.argsort(own, kind="stable")], first, axis=0)
        centres[kept] = sums / size[kept, None].astype(np.float32)
        centres[:, -1] = (centres[:, :-1] ** 2).sum(axis=1) / 2
    centres = centres[_chain(centres)]
    near = _nearest_lists(packed, centres, min(2, n_lists))
    order = np.lexsort((near[:, -1], near[:, 0])).astype(np.int32)
    near = near[order]
    return Lists(order, np.searchsorted(near[:, 0], np.arange(n_lists + 1)), near, centres)


def _chain(centres: np.ndarray) -> np.ndarray:
    """Return an order of the lists in which each is followed by the nearest that is left."""
    order, asked = np.zeros(len(centres), np.int64), asking(centres)
    left = np.ones(len(centres), bool)
    for t in range(1, len(centres)):
        left[order[t - 1]] = False
        order[t] = np.where(left, centres @ asked[order[t - 1]], -np.inf).argmax()
    return order


def _nearest_lists(packed: np.ndarray, centres: np.ndarray, n: int) -> np.ndarray:
    """Return the n nearest lists of each row, int32, the nearest first."""
    out = np.empty((len(packed), n), np.int32)

    def choose(first: int) -> None:
        scores = asking(packed[first : first + QUERIES]) @ centres.T
        rows = np.arange(len(scores))
        for c in range(n):
            best = scores.argmax(axis=1)
            out[first : first + QUERIES, c] = best
            scores[rows, best] = -np.inf

    all_in_threads(choose, range(0, len(packed), QUERIES))
    return out

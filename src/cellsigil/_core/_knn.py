"""Exact nearest neighbours: float32 products choose candidates, float64 differences decide."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel, over_range

SPARE = 16  # candidates beyond k, so that float32 rounding rarely sends a row to the slow way
BLOCK_VALUES = 1 << 23  # products held at a time: 32 MiB


@kernel
def choose_candidates(products, norms, first, ids, bound, start, stop):
    """Keep in ``ids[first + r]`` the columns with the smallest ``norms[j] - 2 products[r, j]``, as a heap.

    ``bound[first + r]`` is the largest of them: nothing left out is smaller. The row's own column is left out.
    """
    m = ids.shape[1]
    heap = np.empty(m, np.float32)
    for r in range(start, stop):
        heap[:] = np.inf
        heap_ids = ids[first + r]
        for j in range(norms.size):
            d = norms[j] - np.float32(2) * products[r, j]
            if d >= heap[0] or j == first + r:
                continue
            slot = 0
            while 2 * slot + 1 < m:
                child = 2 * slot + 1
                if child + 1 < m and heap[child + 1] > heap[child]:
                    child += 1
                if heap[child] <= d:
                    break
                heap[slot] = heap[child]
                heap_ids[slot] = heap_ids[child]
                slot = child
            heap[slot] = d
            heap_ids[slot] = j
        bound[first + r] = heap[0] + norms[first + r]


@inner
def insert_nearest(points, i, j, ids, squares):
    """Insert j among the sorted nearest of i: by distance, ties by the index counted from i onwards.

    Counting from i spreads the ties of identical cells; from 0 the first cells would become hubs.
    """
    n, last = points.shape[0], ids.size - 1
    d = 0.0
    for c in range(points.shape[1]):
        step = points[i, c] - points[j, c]
        d += step * step
    turn = (j - i) % n
    if d > squares[last] or (d == squares[last] and turn > (ids[last] - i) % n):
        return
    slot = last
    while slot > 0 and (
        d < squares[slot - 1] or (d == squares[slot - 1] and turn < (ids[slot - 1] - i) % n)
    ):
        squares[slot] = squares[slot - 1]
        ids[slot] = ids[slot - 1]
        slot -= 1
    squares[slot] = d
    ids[slot] = j


@kernel
def rank_candidates(points, candidates, bound, slack, ids, squares, start, stop):
    """Write the nearest rows of ``points`` by exact distance; a row in doubt looks at all of them."""
    n = points.shape[0]
    for i in range(start, stop):
        squares[i, :] = np.inf
        ids[i, :] = i + n - 1  # the last turn of all: a sentinel that loses every tie
        for t in range(candidates.shape[1]):
            insert_nearest(points, i, np.int64(candidates[i, t]), ids[i], squares[i])
        if candidates.shape[1] < n - 1 and squares[i, -1] >= bound[i] - slack[i]:
            squares[i, :] = np.inf
            ids[i, :] = i + n - 1
            for j in range(n):
                if j != i:
                    insert_nearest(points, i, j, ids[i], squares[i])


def nearest(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest other rows of each row and their Euclidean distances, both (n, k), float64.

    Exact: float32 only proposes. A row is decided again over all rows where the rounding bound
    (d + 8) eps (|x_i| + max |x|)^2 could hide a neighbour.
    """
    n, d = points.shape
    ids, squares = np.empty((n, k), np.int64), np.empty((n, k))
    if k == 0:
        return ids, squares
    # Centre (uncentred input costs half the recall in float32) and scale by a power of two (no overflow).
    centred = np.ascontiguousarray(points, np.float64)
    centred = centred - centred.mean(axis=0)
    exponent = int(np.frexp(np.abs(centred).max(initial=0))[1])
    centred = np.ldexp(centred, -exponent)
    small = centred.astype(np.float32)
    norms = (centred * centred).sum(axis=1)
    m = min(n - 1, k + SPARE)
    candidates, bound = np.zeros((n, m), np.int32), np.empty(n, np.float32)
    step = max(1, min(1024, BLOCK_VALUES // n))
    for first in range(0, n, step):
        products = small[first : first + step] @ small.T
        over_range(
            choose_candidates, len(products), products, norms.astype(np.float32),
            first, candidates, bound,
        )  # fmt: skip
    slack = (d + 8) * 2.0**-23 * (np.sqrt(norms) + np.sqrt(norms.max())) ** 2
    scaled = np.ldexp(points.astype(np.float64), -exponent)  # not centred: exact ties stay ties
    over_range(rank_candidates, n, scaled, candidates, bound, slack, ids, squares)
    return ids, np.ldexp(np.sqrt(squares), exponent)

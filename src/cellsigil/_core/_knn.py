"""Exact nearest neighbours: float32 products choose candidates, float64 differences decide."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellsigil._core._jit import all_in_threads, inner, kernel
from cellsigil._core._keep import keeping, look_at

SPARE = 16  # candidates beyond k, so that float32 rounding rarely sends a row to the slow way
QUERIES = 512  # rows of one product; with 256 the search of 20,000 took 5 % more
GREATEST = (
    256  # binary exponent from which float64 values are scaled, for squares beyond are infinite
)


class Space(NamedTuple):
    """Points, and what float32 products of them give: (|x|^2 - |x - y|^2) / 2 = [x, -1] . [y, |y|^2 / 2]."""

    points: np.ndarray  # (n, d), float32 as it was, or float64, perhaps divided by 2**shift
    packed: np.ndarray  # (n, d + 1), float32: centred, divided by 2**exponent, then |y|^2 / 2
    exponent: int
    shift: int


@inner
def square_distance(points, i, j):
    """Return |x_i - x_j|^2 in float64, in four sums that the processor works on at once."""
    x, y = points[i], points[j]
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    whole = x.size - x.size % 4
    for c in range(0, whole, 4):
        d0 = np.float64(x[c]) - np.float64(y[c])
        d1 = np.float64(x[c + 1]) - np.float64(y[c + 1])
        d2 = np.float64(x[c + 2]) - np.float64(y[c + 2])
        d3 = np.float64(x[c + 3]) - np.float64(y[c + 3])
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
    for c in range(whole, x.size):
        d0 = np.float64(x[c]) - np.float64(y[c])
        s0 += d0 * d0
    return (s0 + s1) + (s2 + s3)


@inner
def turns(order, i, b):
    """Return how far the cell at place b comes after cell i, counted round."""
    after = order[b] - i
    return after if after >= 0 else after + order.size


@inner
def insert_nearest(d, i, b, order, ids, squares):
    """Insert place b at squared distance d among the sorted nearest of cell i, ties by the cells' order.

    ``order[b]`` is the cell at place b. Ties count from i onwards: that spreads the ties of identical
    cells; from 0 the first cells would become hubs.
    """
    slot = ids.size
    while slot > 0 and d <= squares[slot - 1]:
        if d == squares[slot - 1] and turns(order, i, b) > turns(order, i, ids[slot - 1]):
            break
        if slot < ids.size:
            squares[slot] = squares[slot - 1]
            ids[slot] = ids[slot - 1]
        slot -= 1
    if slot < ids.size:
        squares[slot] = d
        ids[slot] = b


@kernel
def rank(points, order, at, places, filled, ids, squares, start, stop):
    """Write the nearest of the ``places[r, : filled[r]]`` to the cell at place ``at[r]``, by exact distance.

    ``points`` lie in the places' order; ``places`` without columns are all. Where there are too few, the
    last distances stay infinite.
    """
    some = places.shape[1] > 0
    far = np.empty(places.shape[1] if some else order.size)
    for r in range(start, stop):
        i, mine, mine_squares = order[at[r]], ids[at[r]], squares[at[r]]
        for t in range(mine.size):
            mine[t], mine_squares[t] = 0, np.inf
        n = filled[r] if some else order.size
        for t in range(n):  # all before any is inserted: the processor waits for many at a time
            far[t] = square_distance(points, at[r], places[r, t] if some else t)
        for t in range(n):
            b = places[r, t] if some else np.int32(t)
            if b != at[r] and far[t] <= mine_squares[mine.size - 1]:
                insert_nearest(far[t], i, b, order, mine, mine_squares)


def pack(points: np.ndarray) -> Space:
    """Centre for float32 (uncentred input costs half the recall) and scale by a power of two (no overflow)."""
    n, d = points.shape
    mean = points.mean(axis=0, dtype=np.float64)
    reach = np.maximum(points.max(axis=0) - mean, mean - points.min(axis=0))
    exponent = int(np.frexp(reach.max(initial=0.0))[1])
    shift = exponent if abs(exponent) > GREATEST else 0
    packed = np.empty((n, d + 1), np.float32)
    for first in range(0, n, 8192):
        centred = np.ldexp(points[first : first + 8192] - mean, -exponent)
        packed[first : first + 8192, :-1] = centred
        packed[first : first + 8192, -1] = (centred * centred).sum(axis=1) / 2
    exact = np.ldexp(points, -shift) if shift else points
    return Space(np.ascontiguousarray(exact), packed, exponent, shift)


def asking(packed: np.ndarray) -> np.ndarray:
    """Return packed rows as the left side of a product."""
    asked = packed.copy()
    asked[:, -1] = -1
    return asked


def search_everything(
    space: Space, order: np.ndarray, at: np.ndarray, ids: np.ndarray, squares: np.ndarray
) -> None:
    """Write the exact nearest of the cells at places ``at``; ``space`` lies in ``order``.

    float32 only proposes. A row is decided again over all rows where the rounding bound
    (d + 8) eps (|x_i| + max |x|)^2 could hide a neighbour.
    """
    n, d = space.points.shape
    m = min(n, ids.shape[1] + SPARE)
    halves = space.packed[:, -1]  # |y|^2 / 2
    farthest = np.sqrt(2.0 * halves.max())
    to_packed = 2 * (space.shift - space.exponent)

    def search(first: int) -> None:
        here = at[first : first + QUERIES]
        kept = keeping(here.size, m)
        everything = [(np.arange(here.size), 0, n)]
        look_at(kept, m, asking(space.packed[here]), here, space.packed, everything)
        rank(space.points, order, here, kept.places, kept.filled, ids, squares, 0, here.size)
        square = 2.0 * halves[here]
        slack = (d + 8) * 2.0**-23 * (np.sqrt(square) + farthest) ** 2
        left_out = square - 2.0 * kept.least - slack  # nothing that was left out is nearer
        doubt = here[np.ldexp(squares[here, -1], to_packed) >= left_out]
        if doubt.size:
            everything = np.empty((doubt.size, 0), np.int32), kept.filled
            rank(space.points, order, doubt, *everything, ids, squares, 0, doubt.size)

    all_in_threads(search, range(0, at.size, QUERIES))


def twins(points: np.ndarray) -> list[np.ndarray]:
    """Return the cells of each set of identical points, ascending."""
    word = np.dtype(f"u{points.itemsize}")
    odd = np.random.default_rng(0).integers(2**31, size=points.shape[1]).astype(word) * 2 + 1
    key = np.empty(len(points), word)
    for first in range(
        0, len(points), 8192
    ):  # -0.0 is 0.0; whole numbers have the same sum in any order
        key[first : first + 8192] = (points[first : first + 8192] + points.dtype.type(0)).view(
            word
        ) @ odd
    by_key = np.argsort(key, kind="stable")
    same = key[by_key[1:]] == key[by_key[:-1]]
    same[same] = (points[by_key[:-1][same]] == points[by_key[1:][same]]).all(axis=1)
    edge = np.diff(np.concatenate(([False], same, [False])).astype(np.int8))
    sets = zip(np.flatnonzero(edge == 1), np.flatnonzero(edge == -1), strict=True)
    return [np.sort(by_key[first : last + 1]) for first, last in sets]


def link_twins(sets: list[np.ndarray], ids: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Write the neighbours of cells that have more than k twins: the next k of them. Return who is left.

    float32 cannot tell which twins to propose: they would all be in doubt, or, proposed as they come,
    all be linked to the same few.
    """
    k = ids.shape[1]
    left = np.ones(len(ids), bool)
    for members in sets:
        if members.size > k:
            turn = np.arange(members.size)[:, None] + np.arange(1, k + 1)
            ids[members] = members[turn % members.size]
            squares[members] = 0.0
            left[members] = False
    return np.flatnonzero(left)


def nearest(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest other rows of each row, int32, and their Euclidean distances, float64: both (n, k)."""
    from threadpoolctl import threadpool_limits

    n = len(points)
    ids, squares = np.empty((n, k), np.int32), np.empty((n, k))
    if k == 0:
        return ids, squares
    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        at = link_twins(twins(points), ids, squares)
        space = pack(points)
        search_everything(space, np.arange(n, dtype=np.int32), at, ids, squares)
    return ids, np.ldexp(np.sqrt(squares, out=squares), space.shift)

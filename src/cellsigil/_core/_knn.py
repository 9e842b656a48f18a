"""Exact nearest neighbours: float32 products choose candidates, float64 differences decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cellsigil._core._jit import in_threads, inner, kernel

SPARE = 16  # candidates beyond k, so that float32 rounding rarely sends a row to the slow way
QUERIES, TILE = 256, 1024  # rows x columns of one product: 1 MiB, what a core's own cache holds
GREATEST = (
    256  # binary exponent from which float64 values are scaled, for squares beyond are infinite
)


class Space(NamedTuple):
    """Points, and what float32 products of them give: (|x|^2 - |x - y|^2) / 2 = [x, -1] . [y, |y|^2 / 2]."""

    points: np.ndarray  # (n, d), float32 as it was, or float64, perhaps divided by 2**shift
    packed: np.ndarray  # (n, d + 1), float32: centred, divided by 2**exponent, then |y|^2 / 2
    exponent: int
    shift: int


@kernel
def keep_largest(products, rows, at, first, best, ids, start, stop):
    """Keep the largest ``products[r, c]`` of each query ``rows[r]`` in a heap, and first + c in ``ids``.

    The query's own column ``at[rows[r]]`` is left out. ``best[:, 0]`` is the smallest kept. 64 products
    are compared at once (0.08 ns each, 0.5 one by one): after the first columns hardly any is larger.
    """
    m = best.shape[1]
    for r in range(start, stop):
        heap, heap_ids = best[rows[r]], ids[rows[r]]
        row, own, least = products[r], at[rows[r]] - first, heap[0]
        for begin in range(0, row.size, 64):
            piece = row[begin : begin + 64]
            larger = 0
            for c in range(piece.size):
                larger += piece[c] > least
            if larger == 0:
                continue
            for c in range(piece.size):
                p = piece[c]
                if p <= least or begin + c == own:
                    continue
                slot = 0
                while 2 * slot + 1 < m:
                    child = 2 * slot + 1
                    if child + 1 < m and heap[child + 1] < heap[child]:
                        child += 1
                    if heap[child] >= p:
                        break
                    heap[slot] = heap[child]
                    heap_ids[slot] = heap_ids[child]
                    slot = child
                heap[slot] = p
                heap_ids[slot] = first + begin + c
                least = heap[0]


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
def insert_nearest(d, i, b, order, ids, squares):
    """Insert place b at squared distance d among the sorted nearest of cell i, ties by the cells' order.

    ``order[b]`` is the cell at place b. Ties count from i onwards: that spreads the ties of identical
    cells; from 0 the first cells would become hubs.
    """
    n, last = order.size, ids.size - 1
    turn = (order[b] - i) % n
    if d > squares[last] or (d == squares[last] and turn > (order[ids[last]] - i) % n):
        return
    slot = last
    while slot > 0 and (
        d < squares[slot - 1] or (d == squares[slot - 1] and turn < (order[ids[slot - 1]] - i) % n)
    ):
        squares[slot] = squares[slot - 1]
        ids[slot] = ids[slot - 1]
        slot -= 1
    squares[slot] = d
    ids[slot] = b


@kernel
def rank_candidates(points, order, at, candidates, ids, squares, start, stop):
    """Write the places of the nearest candidates of the cells at places ``at``, by exact distance.

    A candidate of -1 is none; where there are too few, the last distances stay infinite.
    """
    for r in range(start, stop):
        i = order[at[r]]
        squares[at[r], :] = np.inf
        ids[at[r], :] = 0
        for t in range(candidates.shape[1]):
            b = candidates[r, t]
            if b >= 0:
                d = square_distance(points, i, order[b])
                insert_nearest(d, i, b, order, ids[at[r]], squares[at[r]])


@kernel
def rank_all(points, order, at, ids, squares, start, stop):
    """Do as `rank_candidates` with all cells as candidates."""
    for r in range(start, stop):
        i = order[at[r]]
        squares[at[r], :] = np.inf
        ids[at[r], :] = 0
        for b in range(order.size):
            if b != at[r]:
                d = square_distance(points, i, order[b])
                insert_nearest(d, i, b, order, ids[at[r]], squares[at[r]])


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


def candidates(
    asked: np.ndarray, at: np.ndarray, packed: np.ndarray, visits: Iterable, m: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the m largest products of each query and their places, as heaps (-inf and -1: none).

    ``visits`` are (queries, first, last): which queries look at which stretch of ``packed``; ``at``
    are the queries' own places.
    """
    best = np.full((at.size, m), -np.inf, np.float32)
    ids = np.full((at.size, m), -1, np.int32)
    room = np.empty(at.size * TILE, np.float32)
    for rows, start, stop in visits:
        left = asked[rows]
        for first in range(start, stop, TILE):
            width = min(TILE, stop - first)
            products = room[: rows.size * width].reshape(rows.size, width)
            np.matmul(left, packed[first : first + width].T, out=products)
            keep_largest(products, rows, at, first, best, ids, 0, rows.size)
    return best, ids


def search_everything(
    space: Space, order: np.ndarray, at: np.ndarray, ids: np.ndarray, squares: np.ndarray
) -> None:
    """Write the exact nearest of the cells at places ``at``; ``space.packed`` lies in ``order``.

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
        rows = np.arange(here.size)
        best, proposed = candidates(
            asking(space.packed[here]), here, space.packed, [(rows, 0, n)], m
        )
        rank_candidates(space.points, order, here, proposed, ids, squares, 0, here.size)
        square = 2.0 * halves[here]
        slack = (d + 8) * 2.0**-23 * (np.sqrt(square) + farthest) ** 2
        left_out = square - 2.0 * best[:, 0] - slack  # nothing that was left out is nearer
        doubt = here[np.ldexp(squares[here, -1], to_packed) >= left_out]
        if doubt.size:
            rank_all(space.points, order, doubt, ids, squares, 0, doubt.size)

    for _ in in_threads(search, range(0, at.size, QUERIES)):
        pass


def twins(points: np.ndarray) -> list[np.ndarray]:
    """Return the cells of each set of identical points, ascending."""
    weight = np.cos(1.0 + np.arange(points.shape[1]))
    key = np.zeros(len(points))
    for c in range(points.shape[1]):  # one sum at a time: identical rows get the same bits
        key += points[:, c] * weight[c]
    by_key = np.argsort(key, kind="stable")
    same = np.diff(key[by_key]) == 0
    same[same] = (points[by_key[:-1][same]] == points[by_key[1:][same]]).all(axis=1)
    pieces = np.split(by_key, np.flatnonzero(~same) + 1)
    return [np.sort(piece) for piece in pieces if piece.size > 1]


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

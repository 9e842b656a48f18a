"""The largest of many float32 products, chosen while they are made, tile by tile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cellsigil._core._jit import inner, kernel

TILE = 1024  # columns of one product
PIECE = 64  # products that are compared at once


class Kept(NamedTuple):
    """The largest products of each query so far, in no order: at least the m largest, and some that were once."""

    values: np.ndarray  # (queries, room), float32
    places: np.ndarray  # (queries, room), int32
    filled: np.ndarray  # how many there are, int64
    least: np.ndarray  # nothing at or below is kept any more, nothing above was left out, float32


@inner
def bound(values, filled, m, spare):
    """Return a value that m to m + ``spare`` of ``filled`` values reach, and how many that equal it are needed.

    By bisection: a count of 128 values takes 10 ns. A heap took 35 ns for each value put into it, mispredicted.
    """
    low, high = values[0], values[0]
    for a in range(1, filled):
        low, high = min(low, values[a]), max(high, values[a])
    n_larger, last = 0, False
    while True:
        middle = np.float32(0.5) * (low + high)
        if not low < middle < high:  # no other between them: ties at one
            middle, last = high, True
        n = 0
        for a in range(filled):
            n += values[a] >= middle
        if n >= m and (last or n <= m + spare):
            return middle, m - n_larger if last else filled
        if n >= m:
            low = middle
        else:
            high, n_larger = middle, n
            if last:
                return low, m - n_larger


@kernel
def keep_largest(products, rows, at, first, m, spare, values, places, filled, least, start, stop):
    """Keep the largest ``products[r, c]`` of each query ``rows[r]``, and first + c in ``places``.

    Of equals the first are kept; the query's own column ``at[rows[r]]`` is left out. `PIECE` products are
    compared at once (0.08 ns each, 0.5 one by one): after the first columns hardly any is larger. What is no
    longer among the m + ``spare`` largest is dropped when the room is full, or, without products, at once.
    """
    for r in range(start, stop):
        q = rows[r]
        row, own = products[r], at[q] - first
        kept, kept_places, n, low = values[q], places[q], filled[q], least[q]
        if 0 <= own < row.size:
            row[own] = -np.inf
        for begin in range(0, max(1, row.size), PIECE):
            piece = row[begin : begin + PIECE]
            larger = 0
            for c in range(piece.size):
                larger += piece[c] > low
            if n >= m and (row.size == 0 or (larger and n + PIECE > kept.size)):
                low, ties = bound(kept, n, m, spare)
                have, n = n, 0
                for a in range(have):
                    value = kept[a]
                    kept[n], kept_places[n] = value, kept_places[a]
                    tied = value == low and ties > 0
                    ties -= tied
                    n += value > low or tied
            if larger:
                for c in range(piece.size):  # without a branch that can't be foretold
                    kept[n], kept_places[n] = piece[c], first + begin + c
                    n += piece[c] > low
        filled[q], least[q] = n, low


def keeping(n_queries: int, m: int) -> Kept:
    """Return empty room for the m largest products of each query."""
    shape = n_queries, PIECE + max(PIECE, 2 * m)
    least = np.full(n_queries, -np.inf, np.float32)
    filled = np.zeros(n_queries, np.int64)
    return Kept(np.empty(shape, np.float32), np.empty(shape, np.int32), filled, least)


def look_at(
    kept: Kept, m: int, asked: np.ndarray, at: np.ndarray, packed: np.ndarray, visits: Iterable
) -> None:
    """Keep the m largest products of each query with the rows of ``packed`` that it visits.

    ``visits`` are (queries, first, last): which queries look at which stretch of ``packed``; ``at``
    are the queries' own places.
    """
    room = np.empty(len(asked) * TILE, np.float32)
    for rows, start, stop in visits:
        left = asked[rows] if rows.size < len(asked) else asked
        for first in range(start, stop, TILE):
            width = min(TILE, stop - first)
            products = room[: rows.size * width].reshape(rows.size, width)
            np.matmul(left, packed[first : first + width].T, out=products)
            keep_largest(products, rows, at, first, m, m // 2, *kept, 0, rows.size)
    nothing = np.empty((len(asked), 0), np.float32)
    keep_largest(nothing, np.arange(len(asked)), at, 0, m, 0, *kept, 0, len(asked))

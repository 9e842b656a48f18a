"""Neighbours of neighbours: what they add to a search, done or foretold."""

from __future__ import annotations

import numpy as np

from cellsigil._core._copy import copy_values
from cellsigil._core._graph import reverse_of
from cellsigil._core._jit import inner, kernel, over_range
from cellsigil._core._knn import insert_nearest, square_distance
from cellsigil._core._lists import Lists

REVERSE = 14  # how many cells that name a cell are asked for theirs


@inner
def offers(a, ids, fresh, own, was_probed, seen, named_by, room):
    """Write the neighbours of a's neighbours, and those that name a and theirs, into ``room``; return how many.

    Left out are cells of lists that were probed, and ways without a fresh edge: seen before. No branch
    hangs on what is found, as none could be foretold.
    """
    k, n = ids.shape[1], np.uint32(0)
    seen[a] = a
    for t in range(k):
        seen[np.uint32(ids[a, t])] = a
    for t in range(k + named_by.size):
        slot = a * k + t if t < k else named_by[t - k]
        b = np.uint32(ids[a, t] if t < k else slot // k)
        is_fresh = fresh[slot // k, slot % k]
        room[n] = b
        new = is_fresh and seen[b] != a
        seen[b] = a if new else seen[b]
        n += np.uint32(new and was_probed[np.uint32(own[b])] != a)
        for u in range(k):
            c = np.uint32(ids[b, u])
            room[n] = c
            new = (is_fresh or fresh[b, u]) and seen[c] != a
            seen[c] = a if new else seen[c]
            n += np.uint32(new and was_probed[np.uint32(own[c])] != a)
    return np.int64(n)


@kernel
def refine(
    points, order, own, first_probed, probed, ids, fresh, squares, reverse_start, named_by, most,
    out, out_fresh, out_squares, start, stop,
):  # fmt: skip
    """Offer each place the neighbours of its neighbours, and of those that name it (``most`` of them)."""
    k = ids.shape[1]
    seen = np.full(order.size, -1, np.int32)
    was_probed = np.full(own[order.size - 1] + 1, -1, np.int32)
    room = np.empty((k + most) * (k + 1) + 1, np.int32)
    far = np.empty(room.size)
    for a in range(start, stop):
        mine, mine_squares = out[a], out_squares[a]
        copy_values(ids[a], mine)
        copy_values(squares[a], mine_squares)
        for t in range(first_probed[a], first_probed[a + 1]):
            was_probed[probed[t]] = a
        last = min(reverse_start[a] + most, reverse_start[a + 1])
        names = named_by[reverse_start[a] : last]
        n = offers(a, ids, fresh, own, was_probed, seen, names, room)
        for t in range(n):
            far[t] = square_distance(points, a, room[t])
        for t in range(n):
            if far[t] <= mine_squares[k - 1]:
                insert_nearest(far[t], order[a], room[t], order, mine, mine_squares)
        for t in range(k):
            out_fresh[a, t] = True
            for u in range(k):
                if ids[a, u] == mine[t]:
                    out_fresh[a, t] = False


@kernel
def by_way_of(needed, ids, rows, ids_there, needed_there, out, start, stop):
    """Write how far lists must be probed to meet each neighbour, or a neighbour of which it is one.

    Cell a's neighbours ``ids[a]`` are met from ``needed[a]`` on; neighbour b's own are in row ``rows[a, b]`` of
    ``ids_there`` and ``needed_there``.
    """
    k = ids.shape[1]
    for a in range(start, stop):
        for t in range(k):
            least = needed[a, t]
            for b in range(k):
                r = rows[a, b]
                for u in range(k):
                    if ids_there[r, u] == ids[a, t]:
                        least = min(least, max(needed[a, b], needed_there[r, u]))
            out[a, t] = least


def refined(
    points: np.ndarray,
    lists: Lists,
    first_probed: np.ndarray,
    probed: np.ndarray,
    ids: np.ndarray,
    fresh: np.ndarray,
    squares: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, named_by = reverse_of(ids)
    out = np.empty_like(ids), np.empty_like(fresh), np.empty_like(squares)
    own = np.ascontiguousarray(lists.near[:, 0])
    over_range(
        refine, len(ids), points, lists.order, own, first_probed, probed, ids, fresh, squares,
        start, named_by, REVERSE, *out,
    )  # fmt: skip
    return out

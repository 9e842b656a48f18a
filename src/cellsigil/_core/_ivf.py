"""Nearest neighbours of many rows: inverted lists, then neighbours of neighbours, recall measured."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import all_in_threads, over_range
from cellsigil._core._keep import Kept, keeping, look_at
from cellsigil._core._knn import (
    Space,
    asking,
    link_twins,
    pack,
    rank,
    search_everything,
    twins,
)
from cellsigil._core._lists import Lists, make_lists
from cellsigil._core._refine import by_way_of, refined

QUERIES = 2048  # cells that look into the lists together: what they share are large products
FARTHEST = 1e30  # half a square distance beyond any
SAMPLE = 512  # cells whose true neighbours are sought to choose the probes, and others to measure the recall
# From so many cells on it pays to foretell, for so many of the sample, what refinement will find: 100,000 cells of
# pbmc3k resampled then probe 13 lists instead of 21, in four fifths of the CPU, with a recall of .996 instead of
# .999; simulated ones 12.3 instead of 13.5, for the same CPU. Of 50,000 it cost what it spared.
WORTH_A_PILOT, PILOT = 80_000, 256
ROUNDS = 2  # of refinement
SPARE = 6  # candidates beyond k: exact distances decide only among the last few


def nearest_by_lists(
    points: np.ndarray, k: int, promise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Do as `_knn.nearest`, approximately; answer also the recall, measured on `SAMPLE` cells.

    Cells are put into lists by k-means, and look for neighbours in the nearest two; how far the others
    may be, in terms of how far the neighbours found there are, the true neighbours of a sample of cells
    decide (of many cells, with what asking neighbours will find). Twice cells ask their neighbours for
    theirs. The recall is that of another sample, which had no part in the choice. While either sample's is
    below ``promise``, lists farther off are probed; all lists are an exact search.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        return _nearest_by_lists(points, k, promise)


def _nearest_by_lists(
    points: np.ndarray, k: int, promise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    n = len(points)
    space = pack(points)
    lists = make_lists(space.packed)
    order = lists.order
    space = space._replace(points=space.points[order], packed=space.packed[order])
    choosing, measuring = _samples(n)
    ids, squares = np.zeros((n, k), np.int32), np.zeros((n, k))
    search_everything(space, order, np.append(choosing, measuring), ids, squares)
    farthest = squares[:, -1:].copy()  # known of the samples
    needed = _needed(space, lists, choosing, ids)

    place = np.empty(n, np.int32)
    place[order] = np.arange(n, dtype=np.int32)
    sets = [place[members] for members in twins(points)]
    reach = _all_but(needed, 1 - promise)
    if n >= WORTH_A_PILOT and np.isfinite(reach):
        foretold = _needed_when_refined(space, lists, choosing[:PILOT], reach, ids, squares)
        reach = min(reach, _all_but(foretold, 1 - promise))
    while True:
        left = link_twins(sets, ids, squares)
        if np.isfinite(reach):
            first_probed, probed = _search(space, lists, reach, left, ids, squares)
            fresh = np.ones((n, k), bool)
            for _ in range(ROUNDS):
                ids, fresh, squares = refined(
                    space.points, lists, first_probed, probed, ids, fresh, squares
                )
        else:
            search_everything(space, order, left, ids, squares)
        of_choice, recall = (
            float((squares[at] <= farthest[at]).mean()) for at in (choosing, measuring)
        )
        if min(of_choice, recall) >= promise or not np.isfinite(reach):
            break
        farther = np.sort(needed[needed > reach])  # half of those that were not reached
        reach = farther[farther.size // 2] if farther.size else np.inf
    by_cell = lists.order[ids]
    ids[lists.order] = by_cell
    distances = np.empty((n, k))
    distances[lists.order] = np.ldexp(np.sqrt(squares, out=squares), space.shift)
    return ids, distances, recall


def _samples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places by which the probes are chosen, and as many others by which the recall is measured."""
    drawn = np.random.default_rng(1).choice(n, min(n, 2 * SAMPLE), replace=False)
    choosing, measuring = np.array_split(drawn, 2)
    return np.sort(choosing), np.sort(measuring)


def _visits(
    listed: np.ndarray, rows: np.ndarray, lists: Lists
) -> list[tuple[np.ndarray, int, int]]:
    """Return who looks at which stretch of cells, ``rows[t]`` at the ascending list ``listed[t]``: most first."""
    edges = np.searchsorted(listed, np.arange(len(lists.centres) + 1))
    return [
        (rows[edges[c] : edges[c + 1]], lists.start[c], lists.start[c + 1])
        for c in np.argsort(edges[:-1] - edges[1:], kind="stable")
        if edges[c] < edges[c + 1]
    ]


def _begin(
    space: Space, lists: Lists, at: np.ndarray, m: int
) -> tuple[np.ndarray, np.ndarray, Kept]:
    """Look at the nearest two lists; return the cells' side of products, how near lists are, and what was kept."""
    asked = asking(space.packed[at])
    kept = keeping(at.size, m)
    for near in lists.near[at].T:
        rows = np.argsort(near, kind="stable")
        look_at(kept, m, asked, at, space.packed, _visits(near[rows], rows, lists))
    return asked, lists.centres @ asked.T, kept


def _needed(space: Space, lists: Lists, sample: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return, for each true neighbour of the sampled cells, how far lists must be probed to meet it.

    That is how much farther than the nearest list its list is, in squares, over the square distance of the
    farthest kept from the nearest two. For as many neighbours met, this took a fifth to a quarter fewer
    products than the same number of lists for every cell: a cell amid its kind needs few.
    """
    m = min(len(ids), ids.shape[1] + SPARE)
    _, scores, kept = _begin(space, lists, sample, m)
    own = lists.near[ids[sample], 0]
    looked_at = (own[:, :, None] == lists.near[sample][:, None, :]).any(axis=2)
    farther = scores.max(axis=0)[:, None] - scores[own, np.arange(sample.size)[:, None]]
    found = np.broadcast_to(_found(space, sample, kept)[:, None], own.shape)
    far = np.full(own.shape, np.inf)
    np.divide(farther, found, out=far, where=found > 0)
    return np.where(looked_at, 0.0, far).ravel()


def _all_but(needed: np.ndarray, share: float) -> float:
    """Return how far to probe so that no more than a share is left out."""
    return np.sort(needed, axis=None)[max(0, needed.size - 1 - int(share * needed.size))]


def _needed_when_refined(
    space: Space, lists: Lists, sample: np.ndarray, reach: float, ids: np.ndarray, squares: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Return what `_needed` does where neighbours of neighbours are met too.

    The neighbours' own are those found by probing up to ``reach``. Those that name a cell are left out, so that
    some more are met than this foretells.
    """
    there = np.unique(ids[sample])
    _search(space, lists, reach, there, ids, squares)
    needed, needed_there = (
        _needed(space, lists, at, ids).reshape(at.size, -1) for at in (sample, there)
    )
    rows = np.searchsorted(there, ids[sample])
    for _ in range(ROUNDS):
        met = needed.copy()
        over_range(by_way_of, len(sample), met, ids[sample], rows, ids[there], needed_there, needed)
    return needed


def _found(space: Space, at: np.ndarray, kept: Kept) -> np.ndarray:
    """Return half the square of how far the cells at places ``at`` found the farthest of those kept."""
    half = space.packed[at, -1].astype(np.float64)
    return np.clip(half - kept.least, 0.0, FARTHEST)


def _search(
    space: Space,
    lists: Lists,
    reach: float,
    left: np.ndarray,
    ids: np.ndarray,
    squares: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Write the nearest among the cells of the probed lists, for the cells at places ``left``; return those lists."""
    m = min(len(ids), ids.shape[1] + SPARE)
    n_probed = np.zeros(len(ids) + 1, np.int64)

    def search(first: int) -> np.ndarray:
        at = left[first : first + QUERIES]
        asked, scores, kept = _begin(space, lists, at, m)
        limit = scores.max(axis=0) - reach * _found(space, at, kept)
        chosen = scores >= np.maximum(limit, -FARTHEST).astype(np.float32)
        for near in lists.near[at].T:
            chosen[near, np.arange(at.size)] = False
        listed, rows = np.divmod(np.flatnonzero(chosen), at.size)
        look_at(kept, m, asked, at, space.packed, _visits(listed, rows, lists))
        rank(space.points, lists.order, at, kept.places, kept.filled, ids, squares, 0, at.size)
        few = at[~np.isfinite(squares[at, -1])]
        if few.size:  # the probed lists hold fewer than k cells
            search_everything(space, lists.order, few, ids, squares)
        for near in lists.near[at].T:
            chosen[near, np.arange(at.size)] = True
        rows, listed = np.divmod(np.flatnonzero(chosen.T), len(lists.centres))
        n_probed[at + 1] = np.bincount(rows, minlength=at.size)
        return listed.astype(np.int32)

    probed = all_in_threads(search, range(0, left.size, QUERIES))
    return np.cumsum(n_probed), np.concatenate([np.empty(0, np.int32), *probed])

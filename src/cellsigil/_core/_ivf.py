"""Nearest neighbours of many rows: inverted lists, then neighbours of neighbours, recall measured."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from cellsigil._core._copy import copy_values
from cellsigil._core._graph import reverse_of
from cellsigil._core._jit import in_threads, kernel, over_range
from cellsigil._core._knn import (
    QUERIES,
    Space,
    asking,
    candidates,
    insert_nearest,
    link_twins,
    pack,
    rank_candidates,
    search_everything,
    square_distance,
    twins,
)

# Cells a list; finer lists reach the same recall with fewer products.
PER_LIST, MOST_LISTS = 500, 4096
STEPS, SEEN_PER_LIST = 8, 64  # of k-means, on a sample
SAMPLE = 512  # cells whose true neighbours are sought to choose the probes, and others to measure the recall
# True neighbours outside the probed lists, for each that may be missed after refinement. At 3 the
# simulated 100,000 cells had to be searched twice (10.5 CPU-s; 4.7 at 2); resampled real ones cost 6.1.
MISSED = 2.0
ROUNDS, REVERSE = 2, 14  # of refinement; how many cells that name a cell are asked for theirs
SPARE = 6  # candidates beyond k: exact distances decide only among the last few


class Lists(NamedTuple):
    """The cells in the order of their lists: first all of list 0, then of list 1, ..."""

    order: np.ndarray  # cell at each place, int32
    start: np.ndarray  # first place of each list, and the end
    own: np.ndarray  # list of each place, int32
    centres: np.ndarray  # packed


@kernel
def refine(
    points, order, own, probed, ids, fresh, squares, reverse_start, named_by, most,
    out, out_fresh, out_squares, start, stop,
):  # fmt: skip
    """Offer each place the neighbours of its neighbours, and of those that name it.

    Left out are cells of lists that were probed, and ways without a fresh edge: seen before.
    """
    k = ids.shape[1]
    seen = np.full(order.size, -1, np.int32)
    was_probed = np.full(own[order.size - 1] + 1, -1, np.int32)
    for a in range(start, stop):
        mine, mine_squares = out[a], out_squares[a]
        seen[a] = a
        copy_values(ids[a], mine)
        copy_values(squares[a], mine_squares)
        for t in range(k):
            seen[ids[a, t]] = a
        for t in range(probed.shape[1]):
            was_probed[probed[a, t]] = a
        n_reverse = min(most, reverse_start[a + 1] - reverse_start[a])
        for t in range(k + n_reverse):
            if t < k:
                b, is_fresh = ids[a, t], fresh[a, t]
            else:
                slot = named_by[reverse_start[a] + t - k]
                b = np.int32(slot // k)
                is_fresh = fresh[b, slot % k]
                if is_fresh and seen[b] != a:
                    seen[b] = a
                    if was_probed[own[b]] != a and squares[b, slot % k] <= mine_squares[k - 1]:
                        insert_nearest(squares[b, slot % k], order[a], b, order, mine, mine_squares)
            for u in range(k):
                c = ids[b, u]
                if seen[c] == a or not (is_fresh or fresh[b, u]):
                    continue
                seen[c] = a
                if was_probed[own[c]] != a:
                    d = square_distance(points, order[a], order[c])
                    if d <= mine_squares[k - 1]:
                        insert_nearest(d, order[a], c, order, mine, mine_squares)
        for t in range(k):
            out_fresh[a, t] = True
            for u in range(k):
                if ids[a, u] == mine[t]:
                    out_fresh[a, t] = False


def nearest_by_lists(
    points: np.ndarray, k: int, promise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Do as `_knn.nearest`, approximately; answer also the recall, measured on `SAMPLE` cells.

    Cells are put into lists by k-means, and look for neighbours in the nearest lists: as many as the
    true neighbours of a sample of cells need. Twice they ask their neighbours for theirs. The recall is
    that of another sample, which had no part in the choice. While either sample's is below ``promise``,
    half as many lists again are probed; all lists are an exact search.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        return _nearest_by_lists(points, k, promise)


def _nearest_by_lists(
    points: np.ndarray, k: int, promise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    n = len(points)
    space = pack(points)
    lists = _make_lists(space.packed)
    space = space._replace(packed=space.packed[lists.order])
    choosing, measuring = _samples(n)
    ids, squares = np.zeros((n, k), np.int32), np.zeros((n, k))
    search_everything(space, lists.order, np.append(choosing, measuring), ids, squares)
    farthest = squares[:, -1:].copy()  # known of the samples
    ranks = _ranks_of_lists(space, lists, choosing, ids)

    missed = min(1.0, MISSED * (1 - promise))
    n_probed = 1 + int(np.quantile(ranks, 1 - missed, method="higher"))
    n_probed = min(
        lists.start.size - 1, max(2, n_probed)
    )  # of one list alone 2 % stay out of reach
    place = np.empty(n, np.int32)
    place[lists.order] = np.arange(n, dtype=np.int32)
    sets = [place[members] for members in twins(points)]
    while True:
        probed = _nearest_lists(space.packed, lists.centres, n_probed)
        _search(space, lists, probed, link_twins(sets, ids, squares), ids, squares)
        fresh = np.ones((n, k), bool)
        for _ in range(ROUNDS):
            ids, fresh, squares = _refined(space.points, lists, probed, ids, fresh, squares)
        of_choice, recall = (
            float((squares[at] <= farthest[at]).mean()) for at in (choosing, measuring)
        )
        if min(of_choice, recall) >= promise or n_probed == lists.start.size - 1:
            break
        n_probed = min(lists.start.size - 1, n_probed + n_probed // 2 + 1)
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


def _make_lists(packed: np.ndarray) -> Lists:
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
    nearest = _nearest_lists(packed, centres, min(2, n_lists))
    order = np.lexsort((nearest[:, -1], nearest[:, 0])).astype(np.int32)
    own = nearest[order, 0]
    return Lists(order, np.searchsorted(own, np.arange(n_lists + 1)), own, centres)


def _nearest_lists(packed: np.ndarray, centres: np.ndarray, n: int) -> np.ndarray:
    """Return the n nearest lists of each row, int32: the nearest two first, the others in no order."""
    out = np.empty((len(packed), n), np.int32)

    def choose(first: int) -> None:
        asked = asking(packed[first : first + QUERIES])
        rows = np.arange(len(asked))
        nobody = np.full(rows.size, -1)
        best, ids = candidates(asked, nobody, centres, [(rows, 0, len(centres))], n)
        for c in range(min(n, 2)):
            at = c + best[:, c:].argmax(axis=1)
            best[rows, at], best[:, c] = best[:, c], best[rows, at]
            ids[rows, at], ids[:, c] = ids[:, c], ids[rows, at]
        out[first : first + QUERIES] = ids

    for _ in in_threads(choose, range(0, len(packed), QUERIES)):
        pass
    return out


def _ranks_of_lists(space: Space, lists: Lists, sample: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return, for each true neighbour of the sampled cells, how many lists are nearer than its own."""
    scores = asking(space.packed[sample]) @ lists.centres.T
    holding = np.take_along_axis(scores, lists.own[ids[sample]], axis=1)
    return (scores[:, None, :] > holding[:, :, None]).sum(axis=2).ravel()


def _search(
    space: Space,
    lists: Lists,
    probed: np.ndarray,
    left: np.ndarray,
    ids: np.ndarray,
    squares: np.ndarray,
) -> None:
    """Write the nearest among the cells of the probed lists, for the cells at places ``left``."""
    m = min(len(ids), ids.shape[1] + SPARE)

    def search(at: np.ndarray) -> None:
        by_list = np.argsort(probed[at], axis=None, kind="stable")
        listed = probed[at].ravel()[by_list]
        edges = np.flatnonzero(np.diff(listed, prepend=-1, append=-1))
        largest_first = np.argsort(
            -np.diff(edges), kind="stable"
        )  # the own list: far ones find it full
        visits = [
            (by_list[edges[v] : edges[v + 1]] // probed.shape[1], *lists.start[listed[edges[v]] :][:2])
            for v in largest_first
        ]  # fmt: skip
        _, proposed = candidates(asking(space.packed[at]), at, space.packed, visits, m)
        rank_candidates(space.points, lists.order, at, proposed, ids, squares, 0, at.size)
        few = at[~np.isfinite(squares[at, -1])]
        if few.size:  # the probed lists hold fewer than k cells
            search_everything(space, lists.order, few, ids, squares)

    bounds = np.searchsorted(left, lists.start)
    blocks = (
        left[first : min(first + QUERIES, last)]
        for start, last in itertools.pairwise(bounds)
        for first in range(start, last, QUERIES)
    )
    for _ in in_threads(search, blocks):
        pass


def _refined(
    points: np.ndarray,
    lists: Lists,
    probed: np.ndarray,
    ids: np.ndarray,
    fresh: np.ndarray,
    squares: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, named_by = reverse_of(ids)
    out = np.empty_like(ids), np.empty_like(fresh), np.empty_like(squares)
    over_range(
        refine, len(ids), points, lists.order, lists.own, probed, ids, fresh, squares,
        start, named_by, REVERSE, *out,
    )  # fmt: skip
    return out

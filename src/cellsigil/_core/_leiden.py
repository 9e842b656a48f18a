"""Leiden's modularity (Traag, Waltman and van Eck 2019, Sci Rep 9:5233): a run is serial, runs go in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import batched, product

import numpy as np
import scipy.sparse as sp

from cellsigil._core._jit import all_in_threads, kernel, threads
from cellsigil._core._layout import scramble
from cellsigil._core._leiden_refine import aggregate, renumber
from cellsigil._core._leiden_round import ROUNDING, Graph, climb, modularity, one_round

# What runs combine to is carried on only if it beats the second best of them by more than this: where types are clean
# it does not, which saves a quarter; over 24 seeds each on seven graphs modularity lost .00003 at most. That two runs
# end alike is not enough: on pbmc3k resampled to 20,000 they may by chance, far below what they combine to (-.0003).
SAME = 5e-5
# It ends with a round that gains less: .00005 of modularity on graphs of 909 and 2,700 cells, an eighth of the cost.
ENOUGH = 2e-4
SMALL = 40_000  # stored edges: a run takes 3 ms, and two threads gain nothing for a tenth more CPU


@kernel
def near_each_other(indptr, indices):
    """Return the vertices (n,) int32 in an order in which neighbours follow one another: depth first.

    What a vertex reads of its neighbours then lies in few places of memory: a run on 100,000 cells in any
    order takes a sixth to a quarter less, for a tenth of that.
    """
    n = indptr.size - 1
    order, seen, stack = np.empty(n, np.int32), np.zeros(n, np.bool_), np.empty(n, np.int32)
    n_found = 0
    for first in range(n):
        if seen[first]:
            continue
        seen[first] = True
        stack[0], waiting = first, 1
        while waiting:
            waiting -= 1
            v = stack[waiting]
            order[n_found] = v
            n_found += 1
            for k in range(indptr[v], indptr[v + 1]):
                j = np.uint32(indices[k])
                if not seen[j]:
                    seen[j] = True
                    stack[waiting] = j
                    waiting += 1
    return order


@kernel
def scaled(indptr, indices, data, order, columns, weights):
    """Return CSR of the vertices in ``order``, their strengths, which sum to 1, and the self-loops' weight.

    Self-loops and zeros are left out of the CSR, of which ``columns`` and ``weights`` are filled. Where no edge
    has a weight, strengths are 0.
    """
    n, most = order.size, 0.0
    place, strength = np.empty(n, np.int32), np.zeros(n)
    for k in range(data.size):
        most = max(most, data[k])
    unit = most if most > 0 else 1.0  # weights may be too large to add up, or too small
    total = 0.0
    for t in range(n):
        place[order[t]] = t
    for v in range(n):
        of_v = 0.0
        for k in range(indptr[v], indptr[v + 1]):
            of_v += data[k] / unit
        strength[place[v]] = of_v
        total += of_v
    total = total if total > 0 else 1.0
    starts, filled, within = np.zeros(n + 1, np.int64), np.uint64(0), 0.0
    for t in range(n):
        strength[t] /= total
        for k in range(np.uint64(indptr[order[t]]), np.uint64(indptr[order[t] + 1])):
            to, share = place[np.uint32(indices[k])], data[k] / unit / total
            if to == t:
                within += share
            elif np.float32(share) > 0:
                columns[filled], weights[filled] = to, share
                filled += np.uint64(1)
        starts[t + 1] = filled
    return (starts, columns[:filled], weights[:filled], strength), within


@kernel
def split(indptr, indices, labels):
    """Return parts (n,) int32 from 0, and how many: vertices that all ``labels`` (m, n) put together.

    Each part is connected: every component for itself.
    """
    n_labels, n = labels.shape
    found, stack, n_found = np.full(n, -1, np.int32), np.empty(n, np.int32), 0
    for first in range(n):
        if found[first] >= 0:
            continue
        found[first] = n_found
        stack[0], waiting = first, 1
        while waiting:
            waiting -= 1
            v = stack[waiting]
            for k in range(indptr[v], indptr[v + 1]):
                j = np.uint32(indices[k])
                if found[j] >= 0:
                    continue
                n_same = 0
                for m in range(n_labels):
                    n_same += labels[m, j] == labels[m, v]
                if n_same == n_labels:
                    found[j] = n_found
                    stack[waiting] = j
                    waiting += 1
        n_found += 1
    return found, n_found


def leiden(
    graph: sp.csr_matrix, *, resolution: float, n_iterations: int, seeds: Sequence[int]
) -> tuple[np.ndarray, float]:
    """Return labels (n,) int32, and their modularity at resolution 1, of one run a seed.

    The graph is symmetric with weights from 0 up; a self-loop counts in its vertex's strength. A run makes
    ``n_iterations`` rounds, or with -1 goes on until nothing changes. What the runs of several seeds agree on
    becomes one node each, each run climbs on the graph of those, and the best, if it is more than .00005
    better than the second best run, goes on for as many rounds again, or until one gains less than .0002.
    Without any weight every vertex stays alone, and the modularity is NaN.
    """
    return sweep(graph, resolutions=[resolution], n_iterations=n_iterations, seeds=seeds)[0]


def sweep(
    graph: sp.csr_matrix, *, resolutions: Sequence[float], n_iterations: int, seeds: Sequence[int]
) -> list[tuple[np.ndarray, float]]:
    """Return what `leiden` does at each of the resolutions; all runs go in parallel."""
    n = graph.shape[0]
    order, level, within = _in_order(graph)
    if not level[3].any():
        return [(np.arange(n, dtype=np.int32), float("nan")) for _ in resolutions]

    def run(task: tuple[float, int]) -> tuple[np.ndarray, float]:
        resolution, seed = task
        return _rounds(level, resolution, n_iterations, seed)

    def finish(task: tuple[float, list[tuple[np.ndarray, float]]]) -> tuple[np.ndarray, float]:
        resolution, found = task
        best = found[0][0]
        if len(found) > 1:
            dice = scramble(seeds[0])
            best = _combined(level, resolution, found, dice)
            second = sorted(quality for _, quality in found)[-2]
            reached = modularity(*level, 0.0, resolution, best)
            if reached - second > SAME:
                best = _rounds(level, resolution, n_iterations, dice, (best, reached))[0]
        parts = split(*level[:2], best[None])[0]
        labels = np.empty_like(parts)
        labels[order] = parts
        return labels, float(modularity(*level, within, 1.0, parts))

    with threads(1) if graph.nnz < SMALL else nullcontext():
        runs = all_in_threads(run, list(product(resolutions, seeds)))
        by_resolution = map(list, batched(runs, len(seeds)))
        return all_in_threads(finish, list(zip(resolutions, by_resolution, strict=True)))


def _in_order(graph: sp.csr_matrix) -> tuple[np.ndarray, Graph, float]:
    """Return the vertices, those that are neighbours near each other, and what `scaled` makes of them."""
    indptr, indices = graph.indptr.astype(np.int64), graph.indices.astype(np.int32, copy=False)
    order = near_each_other(indptr, indices)
    room = np.empty(graph.nnz, np.int32), np.empty(graph.nnz, np.float32)  # numpy's: in huge pages
    return order, *scaled(indptr, indices, graph.data.astype(np.float64, copy=False), order, *room)


def _rounds(
    graph: Graph,
    resolution: float,
    n_iterations: int,
    seed: int,
    found: tuple[np.ndarray, float] | None = None,
) -> tuple[np.ndarray, float]:
    """Return labels from 0 and their quality after so many rounds, or fewer if one gains next to nothing.

    Rounds go on from labels and quality that were ``found``, and change these labels, or begin with every vertex
    alone.
    """
    done, gain, first = 0, np.inf, found is None
    enough = ROUNDING if first or n_iterations < 0 else ENOUGH
    labels, reached = found or (np.arange(graph[3].size, dtype=np.int32), -np.inf)
    while done != n_iterations and gain > enough:
        dice = scramble(scramble(seed) + done)
        labels = one_round(graph, resolution, labels, dice, first=first and done == 0)
        quality = modularity(*graph, 0.0, resolution, labels)
        done, reached, gain = done + 1, quality, quality - reached
    renumber(labels)
    return labels, reached


def _combined(
    graph: Graph, resolution: float, found: list[tuple[np.ndarray, float]], dice: int
) -> np.ndarray:
    """Return the best labels that the runs reach on the graph of what they agree on.

    Over 100 seeds single runs on pbmc3k have a mean modularity of .7183, two combined and carried on .7196.
    """
    part, n_parts = split(*graph[:2], np.stack([labels for labels, _ in found]))
    coarse, best, reached = aggregate(*graph, part, n_parts), part, -np.inf
    for labels, _ in found:
        community = np.empty(n_parts, np.int32)
        community[part] = labels
        dice = scramble(dice + 1)
        end = climb(*coarse, resolution, community, dice)
        quality = modularity(*coarse, 0.0, resolution, end)
        if quality > reached:
            best, reached = end, quality
    return best[part]

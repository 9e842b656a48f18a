"""Leiden's modularity (Traag, Waltman and van Eck 2019, Sci Rep 9:5233): a run is serial, runs go in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import scipy.sparse as sp

from cellsigil._core._jit import in_threads, kernel
from cellsigil._core._layout import scramble
from cellsigil._core._leiden_refine import aggregate, renumber
from cellsigil._core._leiden_round import ROUNDING, Graph, climb, modularity, one_round

# Two runs this close in modularity, combined, are enough; the sd between seeds is .0005 to .001. On ten graphs the
# mean modularity was at or above four separate runs', but for one of 909 cells (.0001 below, its standard error), for
# half the cost where runs are alike; at .001 that graph, whose runs end in different places, lost .0002.
ALIKE = 5e-4
# What runs combine to is carried on only if it beats the second best of them by more than this: where types are clean
# it does not, which saves a quarter; over 24 seeds each on seven graphs modularity lost .00003 at most. That two runs
# end alike is not enough: on pbmc3k resampled to 20,000 they may by chance, far below what they combine to (-.0003).
SAME = 5e-5
SMALL = 20_000  # stored edges: a run takes 2 ms, and threads would wait for each other


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
    ``n_iterations`` rounds, or with -1 goes on until nothing changes. Of several seeds the first two run; the
    others only if the modularities of the two differ by more than .0005. What the runs agree on becomes one
    node each, each run climbs on the graph of those, and the best, if it is more than .00005 better than the
    second best run, goes on for as many rounds again. Without any weight every vertex stays alone, and the
    modularity is NaN.
    """
    return sweep(graph, resolutions=[resolution], n_iterations=n_iterations, seeds=seeds)[0]


def sweep(
    graph: sp.csr_matrix, *, resolutions: Sequence[float], n_iterations: int, seeds: Sequence[int]
) -> list[tuple[np.ndarray, float]]:
    """Return what `leiden` does at each of the resolutions; all runs go in parallel."""
    n = graph.shape[0]
    level, within = _scaled(graph)
    if not level[3].any():
        return [(np.arange(n, dtype=np.int32), float("nan")) for _ in resolutions]
    in_turn: Callable[[Callable, Iterable], Iterator] = map if graph.nnz < SMALL else in_threads
    runs: list[list[tuple[np.ndarray, float]]] = [[] for _ in resolutions]

    def run(task: tuple[int, int]) -> tuple[np.ndarray, float]:
        which, seed = task
        return _rounds(level, resolutions[which], n_iterations, seed)

    def finish(task: tuple[float, list[tuple[np.ndarray, float]]]) -> tuple[np.ndarray, float]:
        resolution, found = task
        best = found[0][0]
        if len(found) > 1:
            dice = scramble(seeds[0])
            best = _combined(level, resolution, found, dice)
            second = sorted(quality for _, quality in found)[-2]
            if modularity(*level, 0.0, resolution, best) - second > SAME:
                best = _rounds(level, resolution, n_iterations, dice, best)[0]
        best = split(*level[:2], best[None])[0]
        return best, float(modularity(*level, within, 1.0, best))

    for wave in (seeds[:2], seeds[2:]):
        apart = [which for which, found in enumerate(runs) if not _alike(found)]
        tasks = [(which, seed) for which in apart for seed in wave]
        for (which, _), result in zip(tasks, in_turn(run, tasks), strict=True):
            runs[which].append(result)
    return list(in_turn(finish, zip(resolutions, runs, strict=True)))


def _alike(found: list[tuple[np.ndarray, float]]) -> bool:
    reached = [quality for _, quality in found]
    return len(found) > 1 and max(reached) - min(reached) <= ALIKE


def _scaled(graph: sp.csr_matrix) -> tuple[Graph, float]:
    """Return CSR without self-loops and zeros, strengths that sum to 1, and the weight of all self-loops."""
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    data = graph.data.astype(np.float64) / (graph.data.max(initial=0) or 1)
    strength = np.bincount(rows, data, minlength=graph.shape[0])
    total = strength.sum() or 1.0
    data, strength = data / total, strength / total
    loop = rows == graph.indices
    kept = ~loop & (data > 0)
    if kept.all():
        indptr, indices = graph.indptr.astype(np.int64), graph.indices.astype(np.int32, copy=False)
        return (indptr, indices, data, strength), 0.0
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=graph.shape[0]))])
    indices = graph.indices[kept].astype(np.int32)
    return (indptr.astype(np.int64), indices, data[kept], strength), float(data[loop].sum())


def _rounds(
    graph: Graph, resolution: float, n_iterations: int, seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Return labels from 0 and their quality after so many rounds, or fewer if one gains nothing.

    Rounds go on from ``labels``, or begin with every vertex alone.
    """
    done, reached, gain, first = 0, -np.inf, np.inf, labels is None
    if labels is None:
        labels = np.arange(graph[3].size, dtype=np.int32)
    else:
        labels, reached = labels.copy(), modularity(*graph, 0.0, resolution, labels)
    while done != n_iterations and gain > ROUNDING:
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

    At half of four runs' cost, two so combined are as good: on pbmc3k and its resampled 20,000 cells .0001
    better, where without it the best of two falls .0003 to .001 short.
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

"""UMAP's layout with the same bits on any number of threads: every vertex moves only itself."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from cellsigil._core._jit import inner, kernel, over_range

NODES = 4096  # of a force table over t = d2 / (1 + d2), which spares two powers a pair
NEGATIVES = 5  # random vertices pushed off per attraction, as in umap
FARTHEST = 4.0  # a step's largest component, as in umap
PHASES = 4  # vertices i, i+4, ... move together and read where the others were
CHUNK = 2048  # vertices of one task; fewer run without a thread pool


@inner
def scramble(x):
    """Return 32 well-mixed bits; multipliers below 2**31 keep int64 from overflowing, with or without JIT."""
    x &= 0xFFFFFFFF
    x ^= x >> 16
    x = (x * 0x21F0AAAD) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 0x735A2D97) & 0xFFFFFFFF
    return x ^ (x >> 15)


@inner
def pull(table, dx, dy):
    """Return the force's coefficient at a difference, interpolated in its table."""
    square = dx * dx + dy * dy
    place = square / (1.0 + square) * NODES
    node = min(int(place), NODES - 1)
    return table[node] + (place - node) * (table[node + 1] - table[node])


@inner
def clip(step):
    """Limit a step."""
    return min(max(step, -FARTHEST), FARTHEST)


@kernel
def move_vertices(
    indptr, indices, rate, here, there, attract, repel, pace, epoch, seed, phase, start, stop
):
    """Move vertices phase + 4t of one epoch from ``here`` to ``there``.

    Edge k acts in ``rate[k]`` of the epochs. umap moves both ends of an edge, and every edge is stored
    both ways: a vertex that moves alone is attracted twice as far. It is pushed first, so that what the
    others read is a place near its neighbours.
    """
    n = here.shape[0]
    for t in range(start, stop):
        i = phase + t * PHASES
        x, y = np.float64(here[i, 0]), np.float64(here[i, 1])
        dice = scramble(scramble(scramble(seed) + i) + epoch)
        for k in range(indptr[i], indptr[i + 1]):
            if np.floor((epoch + 1) * rate[k]) == np.floor(epoch * rate[k]):
                continue
            j = indices[k]
            # All pushes are from one place: a chain of moves costs 1.5 times as much.
            step_x, step_y = 0.0, 0.0
            for _ in range(NEGATIVES):
                dice = (dice * 1664525 + 1013904223) & 0xFFFFFFFF
                other = (dice * n) >> 32
                dx, dy = x - here[other, 0], y - here[other, 1]
                force = pull(repel, dx, dy)
                step_x += clip(force * dx)
                step_y += clip(force * dy)
            x += pace * clip(step_x)
            y += pace * clip(step_y)
            dx, dy = x - here[j, 0], y - here[j, 1]
            force = pull(attract, dx, dy)
            x -= pace * clip(2 * force * dx)
            y -= pace * clip(2 * force * dy)
        there[i, 0], there[i, 1] = x, y


def fit_curve(min_dist: float, spread: float) -> tuple[float, float]:
    """Return a, b of 1 / (1 + a d^2b) nearest to 1 below ``min_dist`` and exp(-(d - min_dist) / spread) above."""
    from scipy.optimize import curve_fit

    d = np.linspace(0, 3 * spread, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(-(d - min_dist) / spread))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), d, wanted)
    return float(a), float(b)


def force_tables(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients of attraction and repulsion at the nodes, float32."""
    t = np.arange(NODES + 1) / NODES
    t[0], t[-1] = 0.25 / NODES, 1 - 0.25 / NODES
    square = t / (1 - t)
    attract = 2 * a * b * square ** (b - 1) / (1 + a * square**b)
    repel = 2 * b / ((0.001 + square) * (1 + a * square**b))
    repel[-1] = 0  # nobody pushes from infinity
    return attract.astype(np.float32), repel.astype(np.float32)


def layout(
    graph: sp.csr_matrix, init: np.ndarray, *, a: float, b: float, n_epochs: int, seed: int
) -> np.ndarray:
    """Return float32 positions (n, 2) after ``n_epochs`` of umap's stochastic descent from ``init``.

    Edges too weak to act once are left out; a vertex without edges stays where it is.
    """
    strongest = graph.data.max(initial=0)
    rate = graph.data.astype(np.float64) / (strongest or 1)
    rate[rate * n_epochs < 1] = 0
    here = np.ascontiguousarray(init, dtype=np.float32)
    there = here.copy()
    tables = force_tables(a, b)
    indptr, indices = graph.indptr.astype(np.int64), graph.indices.astype(np.int32)
    for epoch in range(n_epochs):
        pace = 1 - epoch / n_epochs
        for phase in range(min(PHASES, len(here))):
            n_here = -(-(len(here) - phase) // PHASES)
            over_range(
                move_vertices, n_here, indptr, indices, rate, here, there,
                *tables, pace, epoch, seed, phase, chunk=CHUNK,
            )  # fmt: skip
            here[phase::PHASES] = there[phase::PHASES]
    return here

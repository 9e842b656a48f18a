"""Adjusted neighbourhood scoring, a variant: every gene against controls of its own level."""

from __future__ import annotations

import numpy as np

from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._record import Genes, Method, Plan, signed_weights, to_weights

WINDOW = 100


def prepare(sets: list[IndexedSet], genes: Genes, _seed: int) -> Plan:
    """Score = mean over genes of (x - mean of the gene's controls); nothing is drawn at random.

    The controls are the ``WINDOW`` genes, contiguous by mean, whose mean is closest to the gene's,
    out of a pool without the signature's own genes, up or down. The window is clipped at the ends,
    where the original drops the gene: those are the best markers.
    """
    by_mean = genes.by_mean
    columns = []
    for s in sets:
        own = np.zeros(genes.names.size, bool)
        own[s.up] = own[s.down] = True
        pool = by_mean[~own[by_mean]]
        if not genes.present[pool].any():
            msg = f"Signature {s.name!r} holds all genes, so none is left to compare with. Use method='mean'."
            raise ValueError(msg)
        columns.append(_column(s, pool, genes))
    return Plan(to_weights(columns), np.zeros(len(sets)))


def _column(s: IndexedSet, pool: np.ndarray, genes: Genes) -> np.ndarray:
    size = min(WINDOW, pool.size)
    running = np.concatenate(([0.0], np.cumsum(genes.mean[pool])))
    window_mean = (running[size:] - running[:-size]) / size
    column = np.zeros(genes.names.size)
    where, weights = signed_weights(s)
    for gene, start, weight in zip(where, nearest(window_mean, genes.mean[where]), weights):
        controls = pool[start : start + size]
        controls = controls[genes.present[controls]]
        if controls.size:  # with a reference, a whole window may be missing in the data
            column[gene] += weight
            column[controls] -= weight / controls.size
    return column


def nearest(ascending: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the position of the entry closest to each value; the first of equals."""
    right = np.clip(np.searchsorted(ascending, values), 1, max(ascending.size - 1, 1))
    left = right - 1
    right = np.minimum(right, ascending.size - 1)
    closer = np.abs(ascending[right] - values) < np.abs(values - ascending[left])
    return np.where(closer, right, left)


ANS = Method(
    "ans", "after Ciernik et al. 2026, Genome Res 36:630 (a variant: windows clipped at the ends)",
    prepare, takes_reference=True,
)  # fmt: skip

"""AUCell: the area under the recovery curve among a cell's top genes, expected over all orders of ties."""

from __future__ import annotations

import functools

import numpy as np

from cellsigil._block import Block
from cellsigil._core._scores import rank_rows
from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._record import Genes, Method, Plan, to_weights

TOP = 0.05


def prepare(sets: list[IndexedSet], genes: Genes, _seed: int) -> Plan:
    """Score = sum over the set's genes of E[max(0, n_top - rank)], as a share of the most that it can be.

    The area is a sum over genes, so its expected value over random orders of ties needs only the mean of
    max(0, n_top - r) over a block of ties, r its ranks: the order of the genes cannot change it.
    Up minus down; weights are not used.
    """
    n_genes = genes.names.size
    n_top = min(max(2, int(np.ceil(TOP * n_genes))), n_genes)
    columns = []
    for s in sets:
        column = np.zeros(n_genes)
        for side, sign in ((s.up, 1.0), (s.down, -1.0)):
            if side.size:
                column[side] = sign / _area(np.array([min(side.size, n_top)]), n_top)[0]
        columns.append(column)
    transform = functools.partial(points, n_top=n_top)
    return Plan(to_weights(columns), np.zeros(len(sets)), transform)


def _area(rank: np.ndarray, n_top: int) -> np.ndarray:
    """Return the sum of max(0, n_top - r) over r = 1..rank."""
    r = np.minimum(rank, n_top).astype(np.float64)
    return r * n_top - r * (r + 1) / 2


def points(block: Block, n_top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected points of every stored value above those of a zero, and those of a zero, by row.

    Zeros are one block of ties, below positive and above negative values.
    """
    low, high = (np.empty(block.data.size, np.int32) for _ in range(2))
    rank_rows(block.data, block.indptr, low, high, 0, block.n_rows)
    stored = np.diff(block.indptr)
    row = np.repeat(np.arange(block.n_rows), stored)
    positive = np.bincount(row[block.data > 0], minlength=block.n_rows)
    n_zero = block.n_cols - stored
    shift = np.where(block.data < 0, n_zero[row], 0)
    here = (_area(high + shift, n_top) - _area(low + shift - 1, n_top)) / (high - low + 1)
    zeros = _area(positive + n_zero, n_top) - _area(positive, n_top)
    zero = np.divide(zeros, n_zero, out=np.zeros(block.n_rows), where=n_zero > 0)
    return here - zero[row], zero


AUCELL = Method(
    "aucell", "Aibar et al. 2017, Nat Methods 14:1083; expected value over orders of ties, top 5 %",
    prepare, expects="any", statistics="none",
)  # fmt: skip

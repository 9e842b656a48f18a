"""AUCell: the area under the recovery curve among a cell's top genes, expected over all orders of ties."""

from __future__ import annotations

import functools

import numpy as np

from cellsigil._block import Block
from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._ranked import rank_entries
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


def points(block: Block, wanted: np.ndarray, n_top: int) -> tuple[Block, np.ndarray]:
    """Return the expected points of every stored value above those of a zero, and those of a zero, by row.

    Zeros are one block of ties, below positive and above negative values.
    """
    found = rank_entries(block, wanted)
    n_zero = block.n_cols - np.diff(block.indptr)
    zeros = _area(found.positive + n_zero, n_top) - _area(found.positive, n_top)
    zero = np.divide(zeros, n_zero, out=np.zeros(block.n_rows), where=n_zero > 0)
    of_row = np.diff(found.starts)
    below = found.low > np.repeat(found.positive, of_row)  # negative values come after the zeros
    shift = np.where(below, np.repeat(n_zero, of_row), 0)
    here = _area(found.high + shift, n_top) - _area(found.low + shift - 1, n_top)
    here = here / (found.high - found.low + 1) - np.repeat(zero, of_row)
    return found.block(here, block.n_cols), zero


AUCELL = Method(
    "aucell", "Aibar et al. 2017, Nat Methods 14:1083; expected value over orders of ties, top 5 %",
    prepare, expects="any", statistics="none",
)  # fmt: skip

"""UCell: the Mann-Whitney U of the signature's genes among a cell's ranks."""

from __future__ import annotations

import numpy as np

from cellsigil._block import Block
from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._ranked import rank_entries
from cellsigil.tl.scores._record import Genes, Method, Plan, to_weights

MAX_RANK = 1500


def ranks(block: Block, wanted: np.ndarray) -> tuple[Block, np.ndarray]:
    """Return average rank - ``MAX_RANK`` of every stored value, 0 beyond it and for a zero."""
    found = rank_entries(block, wanted)
    values = np.minimum((found.low + found.high) / 2.0 - MAX_RANK, 0.0)
    return found.block(values, block.n_cols), np.zeros(block.n_rows)


def prepare(sets: list[IndexedSet], genes: Genes, _seed: int) -> Plan:
    """Score = max(0, U(up) - U(down)), U = 1 - (sum of ranks - least) / (most - least).

    Ranks are among a cell's non-zero genes; zero and missing genes have ``MAX_RANK``. Weights are not used.
    """
    columns = []
    for s in sets:
        column = np.zeros(genes.names.size)
        sides = ((s.up, s.n_missing_up, 1.0), (s.down, s.n_missing_down, -1.0))
        for side, n_missing, sign in sides:
            n = side.size + n_missing
            least, most = n * (n + 1) / 2, n * MAX_RANK
            if (
                n and most != least
            ):  # a cell without any of the genes has U = 0, so there is no offset
                column[side] -= sign / (most - least)
        columns.append(column)
    return Plan(
        to_weights(columns), np.zeros(len(sets)), ranks, lambda scores: np.maximum(scores, 0.0)
    )


UCELL = Method(
    "ucell", "Andreatta & Carmona 2021, Comput Struct Biotechnol J 19:3796; equal to pyucell 0.8",
    prepare, expects="any", least=0, statistics="none",
)  # fmt: skip

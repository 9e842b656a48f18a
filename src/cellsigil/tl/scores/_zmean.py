"""Mean z-score of the signature's genes, up minus down."""

from __future__ import annotations

import numpy as np

from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._record import Genes, Method, Plan, signed_weights, to_weights


def prepare(sets: list[IndexedSet], genes: Genes, _seed: int) -> Plan:
    """Score = weighted mean of (x - mean) / sd; a gene that never varies has z = 0.

    It is linear in x, so that the mean and sd go into the weights and an offset.
    """
    columns, offset = [], np.zeros(len(sets))
    for i, s in enumerate(sets):
        column = np.zeros(genes.names.size)
        where, weights = signed_weights(s)
        sd = genes.sd[where]
        column[where] = np.divide(weights, sd, out=np.zeros_like(weights), where=sd > 0)
        offset[i] = -(column[where] * genes.mean[where]).sum()
        columns.append(column)
    return Plan(to_weights(columns), offset)


ZMEAN = Method(
    "zmean", "mean z-score; Lee et al. 2008, PLoS Comput Biol 4:e1000217",
    prepare, takes_reference=True,
)  # fmt: skip

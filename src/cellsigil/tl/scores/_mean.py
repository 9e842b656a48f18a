"""Mean of the signature's genes, up minus down."""

from __future__ import annotations

import numpy as np

from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._record import Genes, Method, Plan, signed_weights, to_weights


def prepare(sets: list[IndexedSet], genes: Genes, _seed: int) -> Plan:
    """Score = weighted mean of x over the up genes, minus that over the down genes."""
    columns = []
    for s in sets:
        column = np.zeros(genes.names.size)
        where, weights = signed_weights(s)
        column[where] = weights
        columns.append(column)
    return Plan(to_weights(columns), np.zeros(len(sets)))


MEAN = Method("mean", "plain mean of log expression", prepare, statistics="none")

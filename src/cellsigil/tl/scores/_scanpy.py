"""scanpy's score_genes: the mean minus that of genes drawn from the same bins of expression."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cellsigil.tl._signatures import IndexedSet
from cellsigil.tl.scores._record import Genes, Method, Plan, to_weights

N_BINS = 25
PER_BIN = 50


def prepare(sets: list[IndexedSet], genes: Genes, seed: int) -> Plan:
    """Score as ``scanpy.tl.score_genes`` with its defaults does for ``random_state=seed``; weights are not used."""
    mean = pd.Series(genes.mean)
    cut = (mean.rank(method="min") // int(np.round(len(mean) / (N_BINS - 1)))).to_numpy()
    in_bin = {one: np.flatnonzero(cut == one) for one in np.unique(cut)}
    columns = []
    for s in sets:
        column = np.zeros(len(mean))
        for side, sign in ((s.up, 1.0), (s.down, -1.0)):
            if side.size:
                controls = _controls([in_bin[one] for one in np.unique(cut[side])], side, seed)
                if not controls.size:
                    msg = (
                        f"Signature {s.name!r} holds all genes of its levels of expression, so none is left as a "
                        f"control. Use method='ans' or 'mean'."
                    )
                    raise ValueError(msg)
                column[side] += sign / side.size
                column[controls] -= sign / controls.size
        columns.append(column)
    return Plan(to_weights(columns), np.zeros(len(sets)))


def _controls(bins: list[np.ndarray], own: np.ndarray, seed: int) -> np.ndarray:
    # The legacy generator: the same stream as np.random.seed(seed), without touching anybody's state.
    draw = np.random.RandomState(seed)
    drawn = [
        draw.choice(genes, PER_BIN, replace=False) if genes.size > PER_BIN else genes
        for genes in bins
    ]  # as pandas' sample draws
    return np.setdiff1d(np.concatenate(drawn), own)


SCANPY = Method(
    "scanpy", "Tirosh et al. 2016, Science 352:189, as in scanpy.tl.score_genes",
    prepare, statistics="in_order",
)  # fmt: skip

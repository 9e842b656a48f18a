"""Robust residuals on the log scale: a gene that is off by a factor counts little, at any level."""

from __future__ import annotations

import numpy as np

from cellsigil._core import _solve
from cellsigil._core._jit import over_range
from cellsigil.deconv.methods import _em, _wnnls
from cellsigil.deconv.methods._record import FLOOR, Method

TOLERANCE = 1e-9  # of the loss
TOLERANCE_FROM_START = 1e-6  # .02 standard errors off at 300 genes: enough for a draw
ROUNDS = 100


def fit(
    mixtures: np.ndarray, profiles: np.ndarray, weight: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Minimise Σ w ρ((log(y + c) - log(Sβ + c)) / s) over β >= 0, c = 10 CPM.

    The scale s comes from a first stage with Huber's loss and is frozen for the second with Tukey's.
    Not convex: it starts from ``em`` and from ``wnnls`` (or from ``start``) and keeps the lower end.
    """
    tolerance = TOLERANCE if start is None else TOLERANCE_FROM_START
    if start is None:
        starts = np.stack(
            [_em.fit(mixtures, profiles, weight), _wnnls.fit(mixtures, profiles, weight)]
        )
    else:
        starts = np.ascontiguousarray(start[None])
    out, scale = np.empty(starts.shape[1:]), np.empty(len(mixtures))
    over_range(
        _solve.logrob, len(mixtures),
        mixtures, profiles, weight, starts, FLOOR, tolerance, ROUNDS, out, scale,
    )  # fmt: skip
    return out


METHOD = Method(
    name="logrob",
    fit=fit,
    reference="Li and Wu 2019, dtangle, Bioinformatics 35:2093 (log scale); Huber 1964; Yohai 1987, Ann Stat 15:642 "
    "(robust scale first, then a redescending loss)",
    needs="nothing",
    answers="rna",
)

"""Non-negative least squares on relative residuals."""

from __future__ import annotations

import numpy as np

from cellsigil._core import _solve
from cellsigil._core._jit import over_range
from cellsigil.deconv.methods._record import FLOOR, Method

ROUNDS = 10


def fit(
    mixtures: np.ndarray, profiles: np.ndarray, weight: np.ndarray, _start: np.ndarray | None = None
) -> np.ndarray:
    """Minimise Σ w ((y - Sβ) / (ŷ + 10 CPM))² over β >= 0, ŷ from the round before."""
    out = np.empty((len(mixtures), profiles.shape[1]))
    over_range(
        _solve.relative_nnls, len(mixtures), mixtures, profiles, weight, FLOOR, ROUNDS, out
    )  # fmt: skip
    return out


METHOD = Method(
    name="wnnls",
    fit=fit,
    reference="Tsoucas et al. 2019, Nat Commun 10:2975 (weights 1 / fitted squared, here with a floor)",
    needs="nothing",
    answers="rna",
)

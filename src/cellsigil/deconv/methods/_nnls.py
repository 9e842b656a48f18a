"""Non-negative least squares."""

from __future__ import annotations

import numpy as np

from cellsigil._core import _solve
from cellsigil._core._jit import over_range
from cellsigil.deconv.methods._record import Method


def fit(
    mixtures: np.ndarray, profiles: np.ndarray, weight: np.ndarray, _start: np.ndarray | None = None
) -> np.ndarray:
    """Minimise Σ w (y - Sβ)² over β >= 0; the few highest genes decide."""
    out = np.empty((len(mixtures), profiles.shape[1]))
    over_range(_solve.nnls, len(mixtures), mixtures, profiles, weight, out)
    return out


METHOD = Method(
    name="nnls",
    fit=fit,
    reference="Lawson and Hanson 1974, Solving Least Squares Problems, ch. 23",
    needs="nothing",
    answers="rna",
)

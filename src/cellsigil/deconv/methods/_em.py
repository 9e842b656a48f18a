"""The multinomial likelihood, climbed by EM."""

from __future__ import annotations

import numpy as np

from cellsigil._core import _solve
from cellsigil._core._jit import over_range
from cellsigil.deconv.methods._record import Method

TOLERANCE = 1e-6  # largest change of a share in a round
ROUNDS = 3000
ABSENT = 1e-5  # of all: EM comes near 0 but never there


def fit(
    mixtures: np.ndarray, profiles: np.ndarray, weight: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Return shares of RNA r_k ∝ θ_k / m_k: θ the share of reads on these genes, m the profile's mass there."""
    n_types = profiles.shape[1]
    out = np.full((len(mixtures), n_types), 1.0 / n_types)
    if start is not None:  # a share of 0 could never grow again
        out = 0.98 * start / np.maximum(start.sum(axis=1, keepdims=True), 1e-300) + 0.02 / n_types
    over_range(_solve.em, len(mixtures), mixtures, profiles, weight, TOLERANCE, ROUNDS, out)
    out[out < ABSENT * out.sum(axis=1, keepdims=True)] = 0.0
    return out


METHOD = Method(
    name="em",
    fit=fit,
    reference="Chu et al. 2022, Nat Cancer 3:505 (BayesPrism); Hu and Chikina 2024, Bioinformatics 40:btae440",
    needs="nothing",
    answers="rna",
    sums_to_one=True,
)

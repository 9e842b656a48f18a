"""Intervals of cell fractions: the genes drawn anew, and the profiles as donors differ."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import in_threads, threads
from cellsigil.deconv.methods import Method

LEVEL = 0.95
GENES_ONLY = "gene sampling only"
WITH_DONORS = "gene sampling and donors (t)"


def draw_coefficients(
    method: Method,
    mixtures: np.ndarray,
    profiles: np.ndarray,
    first: np.ndarray,
    error: np.ndarray | None,
    n_boot: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Fit ``n_boot`` times: (n_boot, samples, types).

    Every draw takes the genes with replacement, the same for all samples; with ``error`` (the standard
    error of log profiles, genes x types) the profiles are disturbed too.
    """
    n_genes = len(profiles)
    seeds = rng.bit_generator.seed_seq.spawn(n_boot)

    def once(seed: np.random.SeedSequence) -> np.ndarray:
        own = np.random.default_rng(seed)
        weight = np.bincount(own.integers(n_genes, size=n_genes), minlength=n_genes)
        drawn = profiles
        if error is not None:
            drawn = profiles * np.exp(error * own.standard_normal(profiles.shape))
        used = np.flatnonzero(weight)
        with threads(1):
            return method.fit(
                np.ascontiguousarray(mixtures[:, used]), np.ascontiguousarray(drawn[used]),
                weight[used].astype(np.float64), first,
            )  # fmt: skip

    return np.stack(list(in_threads(once, seeds)))


def donor_error(
    profiles: np.ndarray, variance: np.ndarray | None, n_donors: np.ndarray
) -> np.ndarray | None:
    """Return the standard error of each log profile from the variance between donors, widened to Student's t.

    sd² = log(1 + v / (n S²)), times t(.975, n - 1) / 1.96: few donors tell little of how donors differ.
    None without two donors for every type; 0 for a gene without a variance.
    """
    if variance is None or (n_donors < 2).any() or not np.isfinite(variance).any():
        return None
    from scipy.stats import norm, t

    share = np.zeros_like(profiles)
    np.divide(
        variance, n_donors * profiles**2, out=share, where=(profiles > 0) & np.isfinite(variance)
    )  # fmt: skip
    wider = t.ppf((1 + LEVEL) / 2, n_donors - 1) / norm.ppf((1 + LEVEL) / 2)
    return np.sqrt(np.log1p(share)) * wider


def quantiles(draws: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval over the first axis, stretched where it leaves the estimate out."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.minimum(low, estimate), np.maximum(high, estimate)

"""Intervals of cell fractions: the genes drawn anew, and the profiles as donors differ."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import all_in_threads, threads
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

    def once(own: np.random.Generator) -> np.ndarray:
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

    return np.stack(all_in_threads(once, rng.spawn(n_boot)))


def donor_error(
    profiles: np.ndarray, variance: np.ndarray | None, n_donors: np.ndarray
) -> np.ndarray | None:
    """Return the standard error of each log profile from the variance v between donors: sd² = log(1 + v / (n S²)).

    None without two donors for any type; 0 for a type of one donor and a gene without a variance.
    """
    if variance is None or not (n_donors > 1).any() or not np.isfinite(variance).any():
        return None
    known = (profiles > 0) & (n_donors > 1) & np.isfinite(variance)
    share = np.zeros_like(profiles)
    np.divide(variance, n_donors * profiles**2, out=share, where=known)
    return np.sqrt(np.log1p(share))


def quantiles(draws: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval over the first axis, stretched where it leaves the estimate out."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.minimum(low, estimate), np.maximum(high, estimate)


def widen(
    genes: tuple[np.ndarray, np.ndarray],
    both: tuple[np.ndarray, np.ndarray],
    estimate: np.ndarray,
    n_donors: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Stretch the donors' part of an interval to Student's t: few donors tell little of how donors differ.

    On each side, what the donors add to the genes' width, √(both² - genes²), counts
    t(.975, n - 1) / 1.96 times. The draws themselves keep the plain error: with two donors, 6.5 times
    as much would leave nothing of a profile. A type of one donor has no t: its width is as drawn.
    """
    from scipy.stats import norm, t

    quantile = t.ppf((1 + LEVEL) / 2, np.maximum(n_donors - 1, 1))
    times = np.where(n_donors > 1, quantile / norm.ppf((1 + LEVEL) / 2), 1.0)
    sides = []
    for alone, together in zip(genes, both):
        a, b = np.abs(alone - estimate), np.abs(together - estimate)
        sides.append(np.sqrt(a**2 + times**2 * np.maximum(b**2 - a**2, 0)))
    return np.maximum(estimate - sides[0], 0), np.minimum(estimate + sides[1], 1)

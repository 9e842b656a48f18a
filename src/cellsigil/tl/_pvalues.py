"""P-values as logarithms, which never underflow."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, stdtr

LN10 = np.log(10.0)


def log10_two_sided(z: np.ndarray) -> np.ndarray:
    """Return log10 of the two-sided normal p of ``z``; z = 40 gives -349.1, not -inf."""
    return np.minimum((log_ndtr(-np.abs(z)) + np.log(2.0)) / LN10, 0.0)


def log10_two_sided_t(t: np.ndarray, df: int) -> np.ndarray:
    """Return log10 of the two-sided p of Student's t with ``df`` degrees of freedom."""
    return np.log10(np.maximum(2 * stdtr(df, -np.abs(t)), np.finfo(float).tiny))


def log10_benjamini_hochberg(log10_p: np.ndarray) -> np.ndarray:
    """Adjust each row of log10 p-values (groups x genes); NaN was not tested and stays NaN.

    The i-th smallest of m becomes min over j >= i of p_j m / j, at most 1.
    """
    order = np.argsort(log10_p, axis=1)  # NaN last; equal p-values come out equal in any order
    ordered = np.take_along_axis(log10_p, order, axis=1)
    tested = np.isfinite(ordered).sum(axis=1, keepdims=True)
    place = np.arange(1, log10_p.shape[1] + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        raised = ordered + np.log10(tested / place)
    raised = np.where(np.isfinite(ordered), np.minimum(raised, 0.0), np.inf)
    least = np.minimum.accumulate(raised[:, ::-1], axis=1)[:, ::-1]
    out = np.empty_like(ordered)
    np.put_along_axis(out, order, np.where(np.isfinite(ordered), least, np.nan), axis=1)
    return out

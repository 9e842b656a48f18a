"""P-values as logarithms, which never underflow."""

from __future__ import annotations

import functools

import numpy as np
from scipy.special import log_ndtr, stdtr

from cellsigil._core import _order
from cellsigil._core._jit import over_range

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
    log10_p = np.ascontiguousarray(log10_p)
    order, out = np.empty(log10_p.shape, np.int64), np.empty(log10_p.shape)
    first = np.arange(log10_p.shape[1])
    over_range(_order.order_values, len(out), log10_p, first, order)
    for i, own in enumerate(log10_p):
        more = _log10_shares(int(np.isfinite(own).sum()), own.size)
        _order.raise_ordered(log10_p, order, more, out, i, i + 1)
    return out


@functools.lru_cache(4)  # mostly all genes are tested in all groups
def _log10_shares(tested: int, n: int) -> np.ndarray:
    """Return log10(tested / j) of the places j = 1 .. n."""
    with np.errstate(divide="ignore"):
        return np.log10(tested / np.arange(1, n + 1))

"""Numbers as the unevaluated sum of two float64: twice the digits, where a difference would cancel them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sum(NamedTuple):
    """Numbers as the unevaluated sum of two float64, of which the second is small."""

    high: np.ndarray
    low: np.ndarray


def exact(x: np.ndarray) -> Sum:
    """Return float64 numbers as such sums."""
    return Sum(x, np.zeros(x.shape))


def from_units(total: np.ndarray, bits: int) -> Sum:
    """Return parts / 2**bits + rests / 4**bits, exactly."""
    parts, rests = total[..., 0], total[..., 1]
    parts = parts + (rests >> bits)
    high = parts.astype(np.float64)
    low = (parts - high.astype(np.int64)) + (rests & ((1 << bits) - 1)) * 2.0**-bits
    total = high + low
    return Sum(total * 2.0**-bits, (low - (total - high)) * 2.0**-bits)


def about_mean(sums: Sum, squares: Sum, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and sum((x - mean)**2) = sum(x**2) - sum(x)**2 / n, in twice float64's precision."""
    high, error = _product(sums.high, sums.high)
    error += 2 * sums.high * sums.low + sums.low**2
    ratio = high / size  # sum(x)**2 / n: the quotient, and what it leaves
    back, lost = _product(ratio, size)
    rest = ((high - back) - lost + error) / size
    away = (squares.high - ratio) + (squares.low - rest)
    return (sums.high + sums.low) / size, np.maximum(away, 0.0)


def _product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a * b and its rounding error (Dekker 1971)."""

    def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wide = x * 134217729.0
        high = wide - (wide - x)
        return high, x - high

    product = a * b
    (a_high, a_low), (b_high, b_low) = halves(a), halves(np.asarray(b, np.float64))
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error

"""Sums in fixed point: integers add up to the same bits in any order."""

from __future__ import annotations

import math

from cellsigil._core._jit import inner


@inner
def scale_for(most, n):
    """Return the power of two by which ``n`` values up to ``most`` can be multiplied and summed in int64.

    The sum of the rounded products stays under 2**62; it depends on ``most`` and ``n`` only.
    """
    if most <= 0.0 or n < 1:
        return 1.0
    _, exponent = math.frexp(most * n)
    return math.ldexp(1.0, min(62 - exponent, 1000))

"""Logarithms, with the same bits on every processor."""

from __future__ import annotations

import numpy as np

from cellsigil._core._expm1 import LN_2, LN_2_REST
from cellsigil._core._jit import inner

MANTISSA = np.uint64(52)
BELOW_ROOT_2 = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)  # brings 2**-0.5 up to 1, in bits
WHOLE_BITS = np.uint64(0x4338000000000000)  # of 1.5 * 2**52, whose last bits count in ones
WHOLE = 1.5 * 2.0**52
S1, S2, S3, S4, S5, S6, S7, S8, S9, S10 = (2.0 / n for n in range(3, 23, 2))


@inner
def log1p_into(x, out):
    """Write log1p(x) in float64, within 1 unit in the last place; for finite x from 0 up.

    1 + x is 2**k m with m within 2**-0.5 and 2**0.5. log m is twice the series of artanh((m - 1) / (m + 1)), to
    the 21st power, and what 1 + x rounds away is x's own last part. It runs in SIMD lanes.
    """
    for i in range(x.size):
        v = np.float64(x[i])
        u = 1.0 + v
        lost = (1.0 - (u - (u - 1.0))) + (v - (u - 1.0))
        bits = np.float64(u).view(np.uint64)
        k = ((bits + BELOW_ROOT_2) >> MANTISSA) - np.uint64(1023)
        f = np.uint64(bits - (k << MANTISSA)).view(np.float64) - 1.0
        times = np.uint64(k + WHOLE_BITS).view(np.float64) - WHOLE
        s = f / (2.0 + f)
        z = s * s
        z4 = (z * z) * (z * z)
        low = (S1 + z * S2) + (z * z) * (S3 + z * S4)
        middle = (S5 + z * S6) + (z * z) * (S7 + z * S8)
        rest = z * (low + z4 * (middle + z4 * (S9 + z * S10)))
        half = 0.5 * f * f
        out[i] = times * LN_2 - ((half - (s * (half + rest) + (times * LN_2_REST + lost / u))) - f)

"""The order of the values of each row, and what hangs on it: mean places of ties, adjusted p-values."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._ranks import tie_end
from cellsigil._core._sort import insert_sort, radix_sort

HIGHEST = np.int64(2**63 - 1)
COARSE = 30  # bits of a key that are sorted by digit: three passes, where all of them are seven


@kernel
def order_values(values, first, order, start, stop):
    """Write the places of ``values[i]`` in ascending order to ``order[i]``, equal ones in the order of ``first``.

    NaN come last. 11 ns a value, where numpy's stable sort takes 72: digits of 30 bits tell values 4e-6 of
    themselves apart, mostly far less, and few are left to an insertion sort.
    """
    n = first.size
    places, spare_places = np.empty(n, np.int32), np.empty(n, np.int32)
    shares, spare = np.empty(n, np.int32), np.empty(n, np.int32)
    keys, ordered = np.empty(n, np.int64), np.empty(n, np.int64)
    bits = values.view(np.int64)
    for i in range(start, stop):
        low, high = HIGHEST >> 1, -(HIGHEST >> 1)  # halves: the span of all int64 would overflow
        for k in range(n):
            keys[k] = HIGHEST if values[i, k] != values[i, k] else ordered_bits(bits[i, k])
            low, high = min(low, keys[k] >> 1), max(high, keys[k] >> 1)
        shift = 0
        while (high - low) >> shift >= 1 << COARSE:
            shift += 1
        for k in range(n):
            places[k] = first[k]
            shares[k] = ((keys[first[k]] >> 1) - low) >> shift
        radix_sort(shares, places, spare, spare_places, n)
        for k in range(n):
            ordered[k] = keys[places[k]]
        insert_sort(ordered, places, n)
        for k in range(n):
            order[i, k] = places[k]


@inner
def ordered_bits(bits):
    """Return a float64's bits as an integer of the same order, that of -0.0 as of 0.0."""
    return bits if bits >= 0 else (bits ^ HIGHEST) + 1


@kernel
def mean_places(values, order, places, start, stop):
    """Write the place of each value in its row, 1 = first of ``order``; ties share their mean, NaN stays."""
    for i in range(start, stop):
        own = values[i][order[i]]
        a = 0
        while a < own.size:
            b = tie_end(own, a, own.size)
            for k in range(a, b):
                places[i, order[i, k]] = (a + b + 1) / 2 if own[a] == own[a] else np.nan
            a = b


@kernel
def raise_ordered(values, order, more, raised, start, stop):
    """Write the least of ``values + more`` at and behind each place of ``order``, at most 0; NaN where not finite."""
    for i in range(start, stop):
        least = 0.0
        for k in range(order.shape[1] - 1, -1, -1):
            j = order[i, k]
            raised[i, j] = np.nan
            if np.isfinite(values[i, j]):
                least = min(least, values[i, j] + more[k])
                raised[i, j] = least

"""log1p of scaled counts, and what it adds to the sums of genes, in one pass."""

from __future__ import annotations

import numpy as np

from cellsigil._core._expm1 import expm1_into
from cellsigil._core._jit import inner, kernel
from cellsigil._core._log1p import log1p_into
from cellsigil._core._stream import stream
from cellsigil._core._vector import add_four, add_split

LEVELS = 32  # counts below are looked up: in pbmc3k and in our simulator 99 % and more are
LANES = 8  # of a SIMD register: 31 logarithms take 0.2 us, 32 take 0.05
AT_ONCE = 4096  # values that are made in the cache before they are written past it


@inner
def fill_table(n_stored, divisor, scaled, logs, table):
    """Write log1p(count / divisor) of a row's small counts, from 0 up, and return the first that is not one."""
    n = min((n_stored // (16 * LANES) + 1) * LANES, LEVELS)
    for count in range(n):
        scaled[count] = np.float64(count) / divisor
    log1p_into(scaled[:n], logs[:n])
    for count in range(n):
        table[count] = logs[count]
    return np.float64(n)


@inner
def fill_words(values, factor, coarse, coarse_square, linear, words):
    """Write to ``words[k]`` what `narrow_sums` adds of each value."""
    if factor > 0.0:
        expm1_into(values, factor, linear)
    else:
        for k in range(values.size):
            linear[k] = values[k]
    words[:] = 0.0
    for k in range(values.size):
        add_split(words[k], linear[k], coarse, coarse_square)


@inner
def look_up(row, columns, table, levels, words, adds, out, sums, where):
    """Write the logarithms of a row's small counts, add their words, and note the places of the others."""
    n = np.uint32(0)
    for k in range(np.uint64(row.size)):
        if row[k] < levels:
            count = np.uint32(row[k])
            out[k] = table[count]
            if adds:
                add_four(sums[np.uint32(columns[k])], words[count])
        else:  # its division here would cost all others a quarter
            where[n] = k
            n += np.uint32(1)
    return n


@inner
def write_large(row, where, divisor, scaled, logs, out):
    """Write log1p(count / divisor) of the counts at these places of a row."""
    filled = -(-where.size // LANES) * LANES
    scaled[:filled] = 0.0
    for t in range(where.size):
        scaled[t] = np.float64(row[where[t]]) / divisor
    log1p_into(scaled[:filled], logs[:filled])
    for t in range(where.size):
        out[where[t]] = logs[t]


@inner
def add_large(values, columns, where, factor, coarse, coarse_square, x, linear, sums):
    """Add what `narrow_sums` adds of the values at these places of a row."""
    filled = -(-where.size // LANES) * LANES
    x[:filled] = 0.0
    for t in range(where.size):
        x[t] = values[where[t]]
    if factor > 0.0:
        expm1_into(x[:filled], factor, linear)
    else:
        linear = x
    for t in range(where.size):
        add_split(sums[np.uint32(columns[where[t]])], linear[t], coarse, coarse_square)


@inner
def longest_row(indptr, start, stop):
    """Return how many entries the longest of rows start..stop has, `LEVELS` at least, in full registers."""
    longest = np.int64(LEVELS)
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    return -(-longest // LANES) * LANES


@kernel
def log1p_scaled(
    counts, indices, indptr, divisor, label, factor, coarse, coarse_square, out, sums, start, stop
):  # fmt: skip
    """Write log1p(count / divisor[i]) of the whole numbers above 0 of row i, rounded to float32 once.

    Adds to ``sums[label[i], j]`` what `narrow_sums` adds of it; where the label is -1, nothing. Equal counts of a
    row are equal values: the logarithm of a small one, and what it adds, is worked out once.
    """
    longest = longest_row(indptr, start, stop)
    scaled, logs, table = np.empty(longest), np.empty(longest), np.empty(LEVELS, np.float32)
    where, made = np.empty(longest, np.uint32), np.empty(AT_ONCE + longest, np.float32)
    words = np.empty((LEVELS, 4))
    first, n_made = np.int64(indptr[start]), np.int64(0)
    for i in range(start, stop):
        row, columns = counts[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        own, own_sums = made[n_made : n_made + row.size], sums[max(label[i], 0)]
        adds = label[i] >= 0
        levels = fill_table(row.size, divisor[i], scaled, logs, table)
        if adds:
            fill_words(table[: np.int64(levels)], factor, coarse, coarse_square, scaled, words)
        n = look_up(row, columns, table, levels, words, adds, own, own_sums, where)
        write_large(row, where[:n], divisor[i], scaled, logs, own)
        if adds:
            add_large(
                own, columns, where[:n], factor, coarse, coarse_square, scaled, logs, own_sums
            )
        n_made += row.size
        if n_made >= AT_ONCE or i + 1 == stop:
            stream(made[:n_made], out[first : first + n_made])
            first, n_made = first + n_made, np.int64(0)

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
def linear_into(values, factor, out):
    """Write expm1(value * factor), or the value where the factor is 0."""
    if factor > 0.0:
        expm1_into(values, factor, out)
    else:
        for k in range(values.size):
            out[k] = values[k]


@inner
def fill_words(values, units, linear, words):
    """Write to ``words[k]`` what `narrow_sums` adds of each value."""
    factor, coarse, coarse_square = units
    linear_into(values, factor, linear)
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
            if sums is not None and adds:
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
def write_all(row, divisor, scaled, logs, out):
    """Write log1p(count / divisor) of a row's counts, small or not, and return how many are at least `LEVELS`."""
    n = np.uint32(0)
    for k in range(row.size):
        scaled[k] = np.float64(row[k]) / divisor
        n += np.uint32(row[k] >= LEVELS)
    filled = -(-row.size // LANES) * LANES
    scaled[row.size : filled] = 0.0
    log1p_into(scaled[:filled], logs[:filled])
    for k in range(row.size):
        out[k] = logs[k]
    return n


@inner
def add_large(values, columns, where, units, x, linear, sums):
    """Add what `narrow_sums` adds of the values at these places of a row."""
    factor, coarse, coarse_square = units
    filled = -(-where.size // LANES) * LANES
    x[:filled] = 0.0
    for t in range(where.size):
        x[t] = values[where[t]]
    linear_into(x[:filled], factor, linear)
    for t in range(where.size):
        add_split(sums[np.uint32(columns[where[t]])], linear[t], coarse, coarse_square)


@kernel
def log1p_scaled(counts, indices, indptr, divisor, label, units, out, sums, start, stop):
    """Write log1p(count / divisor[i]) of the whole numbers above 0 of row i, rounded to float32 once.

    Adds to ``sums[label[i], j]`` what `narrow_sums` adds of it in ``units`` (factor, coarse, coarse_square); where
    the label is -1, nothing. Labels, units and sums of None add none, in a kernel that compiles in less than half
    the time. Equal counts of a row are equal values: the logarithm of a small one, and what it adds, is worked out
    once.
    """
    longest = np.int64(LEVELS)
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    longest = -(-longest // LANES) * LANES
    scaled, logs, table = np.empty(longest), np.empty(longest), np.empty(LEVELS, np.float32)
    where, made = np.empty(longest, np.uint32), np.empty(AT_ONCE + longest, np.float32)
    words, x = np.empty((LEVELS, 4)), np.empty(longest, np.float32)
    first, n_made = np.int64(indptr[start]), np.int64(0)
    n = np.uint32(0)  # of large counts: where they are most in one row, the next is not looked up
    for i in range(start, stop):
        row, columns = counts[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        own = made[n_made : n_made + row.size]
        if sums is None and 2 * n > row.size:
            n = write_all(row, divisor[i], scaled, logs, own)
        else:
            levels = fill_table(row.size, divisor[i], scaled, logs, table)
            if sums is None:
                n = look_up(row, columns, table, levels, words, False, own, None, where)
            else:
                own_sums, adds = sums[max(label[i], 0)], label[i] >= 0
                if adds:
                    fill_words(table[: np.int64(levels)], units, scaled, words)
                n = look_up(row, columns, table, levels, words, adds, own, own_sums, where)
            write_large(row, where[:n], divisor[i], scaled, logs, own)
            if sums is not None and adds:
                add_large(own, columns, where[:n], units, x, logs, own_sums)
        n_made += row.size
        if n_made >= AT_ONCE or i + 1 == stop:
            stream(made[:n_made], out[first : first + n_made])
            first, n_made = first + n_made, np.int64(0)

"""Checks of compressed sparse rows, and rows of fewer columns."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel

# What `inspect` answers for a row: bits of a flag, so that one pass finds everything.
INDPTR, INDEX, NOT_FINITE, NEGATIVE, FRACTION, UNSORTED, DUPLICATE, ZERO = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
)


@inner
def row_flags(data, indices, first, last, n_cols):
    """Return the bits of all that is unusual in one row."""
    bits = 0
    before = -1
    for k in range(first, last):
        j = np.int64(indices[k])
        x = data[k]
        if j < 0 or j >= n_cols:
            bits |= INDEX
        if j < before:
            bits |= UNSORTED
        elif j == before:
            bits |= DUPLICATE
        before = j
        if x == 0:
            bits |= ZERO
        elif not np.isfinite(x):
            bits |= NOT_FINITE
        else:
            if x < 0:
                bits |= NEGATIVE
            if x != np.floor(x):
                bits |= FRACTION
    return bits


@inner
def quick_look(x, j, n_cols, beyond):
    """Return whether a row is canonical with values above 0 and below ``beyond``, and whether one is a fraction.

    Loops that only ask whether it is run in SIMD lanes: a tenth of the cost of naming what each entry has.
    """
    odd, fraction, falls = False, False, False
    for k in range(x.size):
        odd |= not ((x[k] > 0) & (x[k] < beyond))
        fraction |= x[k] != np.floor(x[k])
    left, right = j[:-1], j[1:]
    for k in range(right.size):
        falls |= right[k] <= left[k]
    outside = j.size > 0 and (j[0] < 0 or j[-1] >= n_cols)
    return not (odd or falls or outside), fraction


@kernel
def inspect(data, indices, indptr, n_cols, found, start, stop):
    """Write into ``found[i]`` the bits of all that is unusual in row i, for rows start..stop.

    Nearly every row passes a quick look; one that does not is looked at entry by entry.
    """
    for i in range(start, stop):
        first, last = indptr[i], indptr[i + 1]
        if first < 0 or last < first or last > indices.size:
            found[i] = INDPTR
            continue
        usual, fraction = quick_look(data[first:last], indices[first:last], n_cols, np.inf)
        if usual:
            found[i] = FRACTION if fraction else 0
        else:
            found[i] = row_flags(data, indices, first, last, n_cols)


@kernel
def vouch(data, indices, indptr, n_cols, beyond):
    """Return whether a quick look finds all rows usual, with values below ``beyond``, and whether one is a fraction."""
    fractions = False
    for i in range(indptr.size - 1):
        row = slice(indptr[i], indptr[i + 1])
        usual, fraction = quick_look(data[row], indices[row], n_cols, np.float64(beyond))
        if not usual:
            return False, False
        fractions |= fraction
    return True, fractions


@kernel
def count_in_columns(indices, indptr, place, n_kept, start, stop):
    """Count in ``n_kept[i]`` the entries of row i in columns with a ``place``; -1 is none."""
    for i in range(start, stop):
        n = 0
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            n += place[np.uint32(indices[k])] >= 0
        n_kept[i] = n


@kernel
def copy_columns(data, indices, indptr, place, new_data, new_indices, new_indptr, start, stop):
    """Copy the entries that `count_in_columns` counted; column j becomes ``place[j]``."""
    for i in range(start, stop):
        t = np.uint64(new_indptr[i])
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j = place[np.uint32(indices[k])]
            if j >= 0:
                new_data[t] = data[k]
                new_indices[t] = j
                t += np.uint64(1)


@kernel
def move_entries(data, indices, indptr, rows, place, new_indptr, start, stop):
    """Move the entries of ``rows[start:stop]`` in columns with a ``place`` to the front of their own arrays.

    For one thread: rows go in ascending order, so that what is written is never ahead of what is read.
    """
    t = np.uint64(new_indptr[start])
    for i in range(start, stop):
        for k in range(np.uint64(indptr[rows[i]]), np.uint64(indptr[rows[i] + 1])):
            x, j = data[k], place[np.uint32(indices[k])]
            data[t] = x
            indices[t] = j
            t += np.uint64(j >= 0)
        new_indptr[i + 1] = t

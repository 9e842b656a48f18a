"""Checks and canonical form of compressed sparse rows."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import kernel

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


@kernel
def inspect(data, indices, indptr, n_cols, found, start, stop):
    """Write into ``found[i]`` the bits of all that is unusual in row i, for rows start..stop."""
    n_stored = indices.size
    for i in range(start, stop):
        bits = 0
        first, last = indptr[i], indptr[i + 1]
        if first < 0 or last < first or last > n_stored:
            found[i] = INDPTR
            continue
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
        found[i] = bits


@kernel
def sort_rows(data, indices, indptr, start, stop):
    """Sort each row by column and add up duplicates in place; unused slots at a row's end get index -1."""
    for i in range(start, stop):
        first, last = indptr[i], indptr[i + 1]
        order = np.argsort(indices[first:last], kind="mergesort")
        columns = indices[first:last][order]
        values = data[first:last][order]
        k = first - 1
        for t in range(columns.size):
            if k >= first and indices[k] == columns[t]:
                data[k] += values[t]
            else:
                k += 1
                indices[k] = columns[t]
                data[k] = values[t]
        for rest in range(k + 1, last):
            indices[rest] = -1
            data[rest] = 0


@kernel
def count_kept(data, indices, indptr, kept, start, stop):
    """Count in ``kept[i]`` the entries of row i that are neither zero nor an unused slot."""
    for i in range(start, stop):
        n = 0
        for k in range(indptr[i], indptr[i + 1]):
            if data[k] != 0 and indices[k] >= 0:
                n += 1
        kept[i] = n


@kernel
def copy_kept(data, indices, indptr, new_data, new_indices, new_indptr, start, stop):
    """Copy the entries that `count_kept` counted."""
    for i in range(start, stop):
        t = new_indptr[i]
        for k in range(indptr[i], indptr[i + 1]):
            if data[k] != 0 and indices[k] >= 0:
                new_data[t] = data[k]
                new_indices[t] = indices[k]
                t += 1

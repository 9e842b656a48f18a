"""Canonical rows of what is not: of entries out of order, repeated or zero, and of dense arrays."""

from __future__ import annotations

import numpy as np

from cellsigil._core._copy import copy_values
from cellsigil._core._jit import kernel, over_range
from cellsigil._core._memory import empty
from cellsigil._core._sort import FEW, insert_sort, radix_sort


@kernel
def tidy_rows(data, indices, indptr, n_kept, start, stop):
    """Put each row's columns in order, add up those that are repeated, and leave out zeros.

    What is left of row i, ``n_kept[i]`` entries, lies at the front of its place. Radix passes: a fifth of the time
    of scipy's sort of pairs, on one thread.
    """
    longest = np.int64(0)
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    columns, spare_columns = np.empty(longest, np.int32), np.empty(longest, np.int32)
    places, spare_places = np.empty(longest, np.int32), np.empty(longest, np.int32)
    values = np.empty(longest, data.dtype)
    for i in range(start, stop):
        row, own = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        n, m = row.size, 0
        for k in range(n):
            columns[k], places[k], values[k] = own[k], k, row[k]
        if n > FEW:
            radix_sort(columns, places, spare_columns, spare_places, n)
        else:
            insert_sort(columns, places, n)
        for k in range(n):  # equal columns in the order in which they were stored
            value = values[places[k]]
            if m > 0 and own[m - 1] == columns[k]:
                row[m - 1] += value
            else:
                if m > 0 and row[m - 1] == 0:
                    m -= 1
                own[m], row[m] = columns[k], value
                m += 1
        if m > 0 and row[m - 1] == 0:
            m -= 1
        n_kept[i] = m


@kernel
def pack_rows(data, indices, indptr, new_data, new_indices, new_indptr, start, stop):
    """Copy as many entries of each row, from its first on, as the new place holds."""
    for i in range(start, stop):
        old, first, last = indptr[i], new_indptr[i], new_indptr[i + 1]
        copy_values(data[old : old + last - first], new_data[first:last])
        copy_values(indices[old : old + last - first], new_indices[first:last])


@kernel
def count_stored(dense, n_stored, start, stop):
    """Count the values of each row that are not zero."""
    for i in range(start, stop):
        n = 0
        for j in range(dense.shape[1]):
            n += dense[i, j] != 0
        n_stored[i] = n


@kernel
def take_stored(dense, data, indices, indptr, start, stop):
    """Write the values of each row that are not zero, and their columns."""
    room = dense.shape[1] + 1  # what is no value is written too, behind the last
    values, columns = np.empty(room, dense.dtype), np.empty(room, np.int32)
    for i in range(start, stop):
        n = np.uint32(0)
        for j in range(np.uint32(dense.shape[1])):  # without a branch that can't be foretold
            values[n], columns[n] = dense[i, j], j
            n += np.uint32(dense[i, j] != 0)
        copy_values(values[:n], data[indptr[i] : indptr[i + 1]])
        copy_values(columns[:n], indices[indptr[i] : indptr[i + 1]])


def tidy(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return data, indices and indptr of the same rows in canonical form, in new arrays."""
    n_rows = indptr.size - 1
    data, indices, n_kept = data.copy(), indices.copy(), np.zeros(n_rows + 1, np.int64)
    over_range(tidy_rows, n_rows, data, indices, indptr, n_kept[1:])
    new_indptr = np.cumsum(n_kept)
    if new_indptr[-1] == data.size:
        return data, indices, indptr
    new_data, new_indices = empty(new_indptr[-1], data.dtype), empty(new_indptr[-1], np.int32)
    over_range(pack_rows, n_rows, data, indices, indptr, new_data, new_indices, new_indptr)
    return new_data, new_indices, new_indptr


def stored(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return data, indices and indptr of the values of a C-contiguous array that are not zero."""
    n_stored = np.zeros(len(dense) + 1, np.int64)
    over_range(count_stored, len(dense), dense, n_stored[1:])
    indptr = np.cumsum(n_stored)
    data, indices = empty(indptr[-1], dense.dtype), empty(indptr[-1], np.int32)
    over_range(take_stored, len(dense), dense, data, indices, indptr)
    return data, indices, indptr

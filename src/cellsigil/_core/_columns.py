"""A gene's values of all cells: from canonical CSR rows to blocks of columns."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel


@kernel
def count_columns(indices, counts):
    """Add to ``counts[j]`` the stored entries of column j."""
    for k in range(indices.size):
        counts[np.uint32(indices[k])] += 1


@inner
def seek(indices, first, last, column):
    """Return the first k in first..last with ``indices[k] >= column``; indices are sorted there."""
    while first < last:
        middle = (first + last) // 2
        if indices[middle] < column:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def scatter_columns(data, indices, indptr, first_row, base, free, rows, values, start, stop):
    """Append the entries of columns base+start..base+stop to their slots, in row order.

    ``free[j]`` is the next free slot of column base+j; every column has one owner.
    """
    for i in range(indptr.size - 1):
        k = seek(indices, indptr[i], indptr[i + 1], base + start)
        while k < indptr[i + 1] and indices[k] < base + stop:
            j = indices[k] - base
            rows[free[j]] = first_row + i
            values[free[j]] = data[k]
            free[j] += 1
            k += 1


@kernel
def count_classes(indices, indptr, order, edges, counts, start, stop):
    """Add to ``counts[c, j]`` the stored entries of column j in the rows of class c.

    The rows of class c are ``order[edges[c]:edges[c + 1]]``.
    """
    for c in range(start, stop):
        own = counts[c]
        for r in range(edges[c], edges[c + 1]):
            for k in range(np.uint64(indptr[order[r]]), np.uint64(indptr[order[r] + 1])):
                own[np.uint32(indices[k])] += 1


@kernel
def scatter_classes(data, indices, indptr, order, free, values, start, stop):
    """Append the values of columns start..stop to their slots, row after row of ``order``.

    ``free[j]`` is the next free slot of column start+j. With the rows in the order of their classes
    every column comes out in classes, and neither cells nor classes need to be written beside it.
    """
    for i in order:
        first = seek(indices, indptr[i], indptr[i + 1], start)
        last = seek(indices, first, indptr[i + 1], stop)
        x, columns = data[first:last], indices[first:last]
        for k in range(x.size):
            j = np.uint32(
                columns[k] - start
            )  # unsigned: no look at negative places, 5.4 ns, not 6.7
            slot = np.uint64(free[j])
            values[slot] = x[k]
            free[j] = slot + np.uint64(1)


def plan_blocks(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Cut columns into contiguous blocks of at most ``most`` entries, and at least one column."""
    blocks, start, held = [], 0, 0
    for j, n in enumerate(counts.tolist()):
        if j > start and held + n > most:
            blocks.append((start, j))
            start, held = j, 0
        held += n
    if counts.size > start:
        blocks.append((start, counts.size))
    return blocks

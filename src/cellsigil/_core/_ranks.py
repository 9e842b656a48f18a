"""Mid-rank sums of a gene's values per group of cells; implicit zeros are one block of ties.

All ranks are doubled, so that mid-ranks are whole numbers and sums are exact. Values are positive.
"""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel


@inner
def gather(cells, values, label, first, last, kept, classes):
    """Copy the values and classes of entries first..last whose cell has a class; return how many."""
    n = 0
    for k in range(first, last):
        c = label[cells[k]]
        if c >= 0:
            kept[n] = values[k]
            classes[n] = c
            n += 1
    return n


@inner
def tie_end(kept, order, a, n):
    """Return the end of the block of values equal to the one at ``order[a]``."""
    b = a + 1
    while b < n and kept[order[b]] == kept[order[a]]:
        b += 1
    return b


@kernel
def rank_sums(indptr, cells, values, label, size, ranks, ties, start, stop):
    """Write twice the sum of mid-ranks of group g among all labelled cells, and Σ(t³ - t) over ties."""
    n_all = size.sum()
    longest = 0
    for j in range(start, stop):
        longest = max(longest, indptr[j + 1] - indptr[j])
    kept = np.empty(longest, values.dtype)
    groups = np.empty(longest, np.int32)
    for j in range(start, stop):
        n = gather(cells, values, label, indptr[j], indptr[j + 1], kept, groups)
        order = np.argsort(kept[:n])
        below = n_all - n
        tied = np.float64(below) ** 3 - below
        for g in range(size.size):
            ranks[j, g] = size[g] * (below + 1)
        for k in range(n):  # all that is not stored is a zero
            ranks[j, groups[k]] -= below + 1
        a = 0
        while a < n:
            b = tie_end(kept, order, a, n)
            for k in range(a, b):
                ranks[j, groups[order[k]]] += 2 * below + (b - a) + 1
            tied += np.float64(b - a) ** 3 - (b - a)
            below += b - a
            a = b
        ties[j] = tied


@kernel
def rank_sums_within(indptr, cells, values, label, block_of, size, block_size, ranks, start, stop):
    """Write twice the sum of mid-ranks of class c among the cells of its own block (sample).

    ``block_of[c]`` is the block of class c, ``size[c]`` and ``block_size[b]`` count cells.
    """
    n_blocks = block_size.size
    below = np.empty(n_blocks, np.int64)
    tied = np.zeros(n_blocks, np.int64)
    longest = 0
    for j in range(start, stop):
        longest = max(longest, indptr[j + 1] - indptr[j])
    kept = np.empty(longest, values.dtype)
    classes = np.empty(longest, np.int32)
    for j in range(start, stop):
        n = gather(cells, values, label, indptr[j], indptr[j + 1], kept, classes)
        order = np.argsort(kept[:n])
        below[:] = block_size
        for k in range(n):
            below[block_of[classes[k]]] -= 1
        for c in range(size.size):
            ranks[j, c] = size[c] * (below[block_of[c]] + 1)
        for k in range(n):
            ranks[j, classes[k]] -= below[block_of[classes[k]]] + 1
        a = 0
        while a < n:
            b = tie_end(kept, order, a, n)
            for k in range(a, b):
                tied[block_of[classes[order[k]]]] += 1
            for k in range(a, b):
                s = block_of[classes[order[k]]]
                ranks[j, classes[order[k]]] += 2 * below[s] + tied[s] + 1
            for k in range(a, b):
                s = block_of[classes[order[k]]]
                below[s] += tied[s]
                tied[s] = 0
            a = b

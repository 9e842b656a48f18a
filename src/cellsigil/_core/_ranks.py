"""Mid-rank sums of a gene's values per group of cells; implicit zeros are one block of ties.

All ranks are doubled, so that mid-ranks are whole numbers and sums are exact. ``keys`` are the bits of
the positive float values as integers (int32 of float32, int64 of float64): their order is the same,
and integers can be sorted by radix.
"""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._sort import FEW, insert_sort, radix_sort


@inner
def sorted_entries(cells, keys, label, first, last, kept, classes):
    """Copy the keys and classes of entries first..last whose cell has a class, sorted; return how many.

    ``kept`` and ``classes`` have two rows; the answer is in the first, the second is scratch.
    """
    n = 0
    for k in range(first, last):
        c = label[cells[k]]
        if c >= 0:
            kept[0, n] = keys[k]
            classes[0, n] = c
            n += 1
    if n <= FEW:
        insert_sort(kept[0], classes[0], n)
    else:
        radix_sort(kept[0], classes[0], kept[1], classes[1], n)
    return n


@inner
def tie_end(kept, a, n):
    """Return the end of the block of keys equal to the one at ``a``."""
    b = a + 1
    while b < n and kept[b] == kept[a]:
        b += 1
    return b


@inner
def longest_column(indptr, start, stop):
    """Return the number of entries of the longest column of start..stop."""
    longest = 0
    for j in range(start, stop):
        longest = max(longest, indptr[j + 1] - indptr[j])
    return longest


@inner
def cubed(t):
    """Return t³ - t, a tie's part in the correction of the variance; float64, since N³ overflows."""
    return np.float64(t) ** 3 - np.float64(t)


@kernel
def rank_sums(indptr, cells, keys, label, size, ranks, ties, start, stop):
    """Write twice the sum of mid-ranks of group g among all labelled cells, and Σ(t³ - t) over ties."""
    n_all = size.sum()
    longest = longest_column(indptr, start, stop)
    both = np.empty((2, longest), keys.dtype)
    labels = np.empty((2, longest), np.int32)
    kept, groups = both[0], labels[0]
    for j in range(start, stop):
        n = sorted_entries(cells, keys, label, indptr[j], indptr[j + 1], both, labels)
        below = n_all - n
        tied = cubed(below)
        for g in range(size.size):
            ranks[j, g] = size[g] * (below + 1)
        for k in range(n):  # all that is not stored is a zero
            ranks[j, groups[k]] -= below + 1
        a = 0
        while a < n:
            b = tie_end(kept, a, n)
            for k in range(a, b):
                ranks[j, groups[k]] += 2 * below + (b - a) + 1
            tied += cubed(b - a)
            below += b - a
            a = b
        ties[j] = tied


@kernel
def rank_sums_within(
    indptr, cells, keys, label, block_of, size, block_size, ranks, ties, start, stop
):
    """Write twice the sum of mid-ranks of class c among the cells of its own block (sample).

    ``block_of[c]`` is the block of class c; ``size[c]`` and ``block_size[b]`` count cells;
    ``ties[j, b]`` becomes Σ(t³ - t) over the ties within block b.
    """
    below = np.empty(block_size.size, np.int64)
    tied = np.zeros(block_size.size, np.int64)
    longest = longest_column(indptr, start, stop)
    both = np.empty((2, longest), keys.dtype)
    labels = np.empty((2, longest), np.int32)
    kept, classes = both[0], labels[0]
    for j in range(start, stop):
        n = sorted_entries(cells, keys, label, indptr[j], indptr[j + 1], both, labels)
        below[:] = block_size
        for k in range(n):  # all that is not stored is a zero
            below[block_of[classes[k]]] -= 1
        for b in range(below.size):
            ties[j, b] = cubed(below[b])
        for c in range(size.size):
            ranks[j, c] = size[c] * (below[block_of[c]] + 1)
        for k in range(n):
            ranks[j, classes[k]] -= below[block_of[classes[k]]] + 1
        a = 0
        while a < n:
            end = tie_end(kept, a, n)
            for k in range(a, end):
                tied[block_of[classes[k]]] += 1
            for k in range(a, end):
                b = block_of[classes[k]]
                ranks[j, classes[k]] += 2 * below[b] + tied[b] + 1
            for k in range(a, end):
                b = block_of[classes[k]]
                ties[j, b] += cubed(tied[b])
                below[b] += tied[b]
                tied[b] = 0
            a = end


@kernel
def wins_against(
    indptr,
    cells,
    keys,
    label,
    group_of,
    block_of,
    size,
    reference,
    wins,
    ties,
    within,
    start,
    stop,
):
    """Count twice how often a cell of a group is above one of group ``reference``; a tie counts half.

    ``wins[j, g]``: group g over all; ``within[j, c]``: class c against the reference's cells of its
    own block; ``ties[j, g]``: Σ(t³ - t) over the ties of both groups together. All come in as zeros.
    """
    n_groups, n_blocks = wins.shape[1], block_of[-1] + 1
    zeros = np.empty(size.size, np.int64)
    count = np.zeros(n_groups, np.int64)
    below = np.zeros(n_blocks, np.int64)
    tied = np.zeros(n_blocks, np.int64)
    longest = longest_column(indptr, start, stop)
    both = np.empty((2, longest), keys.dtype)
    labels = np.empty((2, longest), np.int32)
    kept, classes = both[0], labels[0]
    for j in range(start, stop):
        n = sorted_entries(cells, keys, label, indptr[j], indptr[j + 1], both, labels)
        zeros[:] = size
        for k in range(n):
            zeros[classes[k]] -= 1
        count[:] = 0
        for c in range(size.size):
            count[group_of[c]] += zeros[c]
            if group_of[c] == reference:
                below[block_of[c]] = zeros[c]
        below_all = count[reference]
        for c in range(size.size):
            wins[j, group_of[c]] += zeros[c] * below_all
            within[j, c] = zeros[c] * below[block_of[c]]
        for g in range(n_groups):
            ties[j, g] = cubed(count[g] + below_all)
        count[:] = 0
        shared = 0.0  # ties within the reference are ties of every pair
        a = 0
        while a < n:
            end = tie_end(kept, a, n)
            for k in range(a, end):
                c = classes[k]
                count[group_of[c]] += 1
                if group_of[c] == reference:
                    tied[block_of[c]] += 1
            t = count[reference]
            for k in range(a, end):
                c = classes[k]
                wins[j, group_of[c]] += 2 * below_all + t
                within[j, c] += 2 * below[block_of[c]] + tied[block_of[c]]
            shared += cubed(t)
            below_all += t
            count[reference] = 0
            for k in range(a, end):
                c = classes[k]
                ties[j, group_of[c]] += cubed(count[group_of[c]] + t) - cubed(t)
                count[group_of[c]] = 0
                below[block_of[c]] += tied[block_of[c]]
                tied[block_of[c]] = 0
            a = end
        for g in range(n_groups):
            ties[j, g] += shared


@kernel
def pairwise_auc(indptr, cells, keys, label, group_of, block_of, size, fewest, auc, start, stop):
    """Write ``auc[j, g, h]``: how often a cell of group g is above one of group h; a tie counts half.

    Within each block (sample), averaged with weights n1 n2 / (n1 + n2) over the blocks in which
    both groups have at least ``fewest`` cells; NaN where there is none, and for g = h.
    """
    n_groups, n_blocks = auc.shape[1], block_of[-1] + 1
    counts = np.zeros((n_blocks, n_groups), np.int64)
    for c in range(size.size):
        counts[block_of[c], group_of[c]] = size[c]
    below = np.empty((n_blocks, n_groups), np.int64)
    tied = np.zeros((n_blocks, n_groups), np.int64)
    wins = np.empty((size.size, n_groups), np.int64)
    longest = longest_column(indptr, start, stop)
    both = np.empty((2, longest), keys.dtype)
    labels = np.empty((2, longest), np.int32)
    kept, classes = both[0], labels[0]
    for j in range(start, stop):
        n = sorted_entries(cells, keys, label, indptr[j], indptr[j + 1], both, labels)
        below[:] = counts
        for k in range(n):
            below[block_of[classes[k]], group_of[classes[k]]] -= 1
        for c in range(size.size):
            zeros = below[block_of[c], group_of[c]]
            for h in range(n_groups):
                wins[c, h] = zeros * below[block_of[c], h]
        a = 0
        while a < n:
            end = tie_end(kept, a, n)
            for k in range(a, end):
                tied[block_of[classes[k]], group_of[classes[k]]] += 1
            for k in range(a, end):
                c = classes[k]
                b = block_of[c]
                for h in range(n_groups):
                    wins[c, h] += 2 * below[b, h] + tied[b, h]
            for k in range(a, end):
                b, g = block_of[classes[k]], group_of[classes[k]]
                below[b, g] += tied[b, g]
                tied[b, g] = 0
            a = end
        average_pairs(wins, counts, group_of, block_of, fewest, auc[j])


@inner
def average_pairs(wins, counts, group_of, block_of, fewest, auc):
    """Average doubled wins over blocks into ``auc[g, h]``."""
    for g in range(auc.shape[0]):
        for h in range(auc.shape[0]):
            total, weight = 0.0, 0.0
            for c in range(group_of.size):
                n1, n2 = counts[block_of[c], g], counts[block_of[c], h]
                if group_of[c] == g and g != h and n1 >= fewest and n2 >= fewest:
                    total += wins[c, h] / (2.0 * (n1 + n2))  # = weight of the block x its AUC
                    weight += n1 * n2 / (n1 + n2)
            auc[g, h] = total / weight if weight > 0 else np.nan

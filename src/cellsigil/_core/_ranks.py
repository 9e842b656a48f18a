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
def rank_sums(indptr, cells, values, label, size, ranks, ties, start, stop):
    """Write twice the sum of mid-ranks of group g among all labelled cells, and Σ(t³ - t) over ties."""
    n_all = size.sum()
    longest = longest_column(indptr, start, stop)
    kept = np.empty(longest, values.dtype)
    groups = np.empty(longest, np.int32)
    for j in range(start, stop):
        n = gather(cells, values, label, indptr[j], indptr[j + 1], kept, groups)
        order = np.argsort(kept[:n])
        below = n_all - n
        tied = cubed(below)
        for g in range(size.size):
            ranks[j, g] = size[g] * (below + 1)
        for k in range(n):  # all that is not stored is a zero
            ranks[j, groups[k]] -= below + 1
        a = 0
        while a < n:
            b = tie_end(kept, order, a, n)
            for k in range(a, b):
                ranks[j, groups[order[k]]] += 2 * below + (b - a) + 1
            tied += cubed(b - a)
            below += b - a
            a = b
        ties[j] = tied


@kernel
def rank_sums_within(
    indptr, cells, values, label, block_of, size, block_size, ranks, ties, start, stop
):
    """Write twice the sum of mid-ranks of class c among the cells of its own block (sample).

    ``block_of[c]`` is the block of class c; ``size[c]`` and ``block_size[b]`` count cells;
    ``ties[j, b]`` becomes Σ(t³ - t) over the ties within block b.
    """
    below = np.empty(block_size.size, np.int64)
    tied = np.zeros(block_size.size, np.int64)
    longest = longest_column(indptr, start, stop)
    kept = np.empty(longest, values.dtype)
    classes = np.empty(longest, np.int32)
    for j in range(start, stop):
        n = gather(cells, values, label, indptr[j], indptr[j + 1], kept, classes)
        order = np.argsort(kept[:n])
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
            end = tie_end(kept, order, a, n)
            for k in range(a, end):
                tied[block_of[classes[order[k]]]] += 1
            for k in range(a, end):
                b = block_of[classes[order[k]]]
                ranks[j, classes[order[k]]] += 2 * below[b] + tied[b] + 1
            for k in range(a, end):
                b = block_of[classes[order[k]]]
                ties[j, b] += cubed(tied[b])
                below[b] += tied[b]
                tied[b] = 0
            a = end


@kernel
def wins_against(
    indptr,
    cells,
    values,
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
    kept = np.empty(longest, values.dtype)
    classes = np.empty(longest, np.int32)
    for j in range(start, stop):
        n = gather(cells, values, label, indptr[j], indptr[j + 1], kept, classes)
        order = np.argsort(kept[:n])
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
            end = tie_end(kept, order, a, n)
            for k in range(a, end):
                c = classes[order[k]]
                count[group_of[c]] += 1
                if group_of[c] == reference:
                    tied[block_of[c]] += 1
            t = count[reference]
            for k in range(a, end):
                c = classes[order[k]]
                wins[j, group_of[c]] += 2 * below_all + t
                within[j, c] += 2 * below[block_of[c]] + tied[block_of[c]]
            shared += cubed(t)
            below_all += t
            count[reference] = 0
            for k in range(a, end):
                c = classes[order[k]]
                ties[j, group_of[c]] += cubed(count[group_of[c]] + t) - cubed(t)
                count[group_of[c]] = 0
                below[block_of[c]] += tied[block_of[c]]
                tied[block_of[c]] = 0
            a = end
        for g in range(n_groups):
            ties[j, g] += shared


@kernel
def pairwise_auc(indptr, cells, values, label, group_of, block_of, size, fewest, auc, start, stop):
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
    kept = np.empty(longest, values.dtype)
    classes = np.empty(longest, np.int32)
    for j in range(start, stop):
        n = gather(cells, values, label, indptr[j], indptr[j + 1], kept, classes)
        order = np.argsort(kept[:n])
        below[:] = counts
        for k in range(n):
            below[block_of[classes[k]], group_of[classes[k]]] -= 1
        for c in range(size.size):
            zeros = below[block_of[c], group_of[c]]
            for h in range(n_groups):
                wins[c, h] = zeros * below[block_of[c], h]
        a = 0
        while a < n:
            end = tie_end(kept, order, a, n)
            for k in range(a, end):
                tied[block_of[classes[order[k]]], group_of[classes[order[k]]]] += 1
            for k in range(a, end):
                c = classes[order[k]]
                b = block_of[c]
                for h in range(n_groups):
                    wins[c, h] += 2 * below[b, h] + tied[b, h]
            for k in range(a, end):
                b, g = block_of[classes[order[k]]], group_of[classes[order[k]]]
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

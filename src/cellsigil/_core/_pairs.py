"""Each group against each other one, from a gene's sorted values (`_ranks` has their shape)."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._ranks import tie_end
from cellsigil._core._sort import radix_sort


@kernel
def pairwise_auc(
    edges, keys, classes, group_of, block_of, place, size, total_size, weight, auc, start, stop
):
    """Write ``auc[j, g, h]``: how often a cell of group g is above one of group h; a tie counts half.

    Within each block (sample), averaged with weights n1 n2 / (n1 + n2) over the blocks that count for
    both: ``total_size[c, h]`` is n1 + n2 for class c and group h in c's block, infinite where that does
    not count; ``weight[g, h]`` is the sum of the weights, NaN where there is none.

    ``place[g]`` numbers the groups, greatest first: a value is compared with the groups of a lower place
    only, which are few for most values, and the other half of the wins is what is left of the pairs.
    """
    n_classes, n_groups, n_blocks = size.size, auc.shape[1], block_of[-1] + 1
    counts = np.zeros((n_blocks, n_groups), np.int64)
    for c in range(n_classes):
        counts[block_of[c], place[group_of[c]]] = size[c]
    below = np.empty((n_blocks, n_groups), np.int64)  # twice the cells of a group that are below
    tied = np.zeros((n_blocks, n_groups), np.int64)
    wins = np.empty((n_blocks, n_groups, n_groups), np.int64)
    for j in range(start, stop):
        a, n = edges[j, 0], edges[j, n_classes]
        below[:] = 2 * counts
        for c in range(n_classes):  # all that is not stored is a zero
            below[block_of[c], place[group_of[c]]] -= 2 * (edges[j, c + 1] - edges[j, c])
        for b in range(n_blocks):
            for p in range(n_groups):
                for q in range(p):
                    wins[b, p, q] = below[b, p] * below[b, q] // 4
        while a < n:
            end = tie_end(keys, a, n)
            if end - a == 1:
                b, p = block_of[classes[a]], place[group_of[classes[a]]]
                add_row(wins[b, p], below[b], p)
                below[b, p] += 2
            else:
                add_tied(wins, below, tied, classes, a, end, group_of, block_of, place)
            a = end
        average_pairs(wins, counts, group_of, block_of, place, total_size, weight, auc[j])


@inner
def add_row(total, row, n):
    """Add the first n of ``row`` to ``total``."""
    for h in range(n):
        total[h] += row[h]


@inner
def add_tied(wins, below, tied, classes, a, end, group_of, block_of, place):
    """Add the wins of a block of ties a..end, and count it among what is below; ``tied`` is 0 before and after."""
    for k in range(a, end):
        tied[block_of[classes[k]], place[group_of[classes[k]]]] += 1
    for k in range(a, end):
        b, p = block_of[classes[k]], place[group_of[classes[k]]]
        add_row(wins[b, p], below[b], p)
        add_row(wins[b, p], tied[b], p)
    for k in range(a, end):
        b, p = block_of[classes[k]], place[group_of[classes[k]]]
        below[b, p] += 2 * tied[b, p]
        tied[b, p] = 0


@inner
def average_pairs(wins, counts, group_of, block_of, place, total_size, weight, auc):
    """Average doubled wins over blocks into ``auc[g, h]``; wins / 2 (n1 + n2) = a block's weight x its AUC."""
    auc[:] = 0.0
    for c in range(group_of.size):
        b, p = block_of[c], place[group_of[c]]
        for h in range(auc.shape[0]):
            q = place[h]
            won = wins[b, p, q] if q < p else 2 * counts[b, p] * counts[b, q] - wins[b, q, p]
            auc[group_of[c], h] += won / (2.0 * total_size[c, h])
    for g in range(auc.shape[0]):
        for h in range(auc.shape[0]):
            auc[g, h] /= weight[g, h]


@kernel
def summarise_pairs(auc, least, median, mean, start, stop):
    """Write minimum, median and mean over h of ``auc[j, g, h]`` that is known; NaN where none is."""
    row = np.empty(auc.shape[2])
    for j in range(start, stop):
        for g in range(auc.shape[1]):
            n, total = 0, 0.0
            for h in range(auc.shape[2]):
                value = auc[j, g, h]
                if value == value:
                    t = n
                    while t > 0 and row[t - 1] > value:
                        row[t] = row[t - 1]
                        t -= 1
                    row[t] = value
                    total += value
                    n += 1
            least[j, g] = row[0] if n else np.nan
            median[j, g] = (row[(n - 1) // 2] + row[n // 2]) / 2 if n else np.nan
            mean[j, g] = total / n if n else np.nan


@kernel
def best_ranks(keys, one, two, best, start, stop):
    """Lower ``best[g, j]`` to the rank of gene j in pairs start..stop, ties sharing the best.

    ``keys[i]`` are the bits of the AUC of group ``one[i]`` against ``two[i]``; the greatest is first for
    the one and the smallest for the other.
    """
    n = keys.shape[1]
    ordered, spare = np.empty((2, n), keys.dtype)
    genes, spare_genes = np.empty((2, n), np.int32)
    for i in range(start, stop):
        ordered[:] = keys[i]
        genes[:] = np.arange(n)
        radix_sort(ordered, genes, spare, spare_genes, n)
        a = 0
        while a < n:
            end = tie_end(ordered, a, n)
            for k in range(a, end):
                j = genes[k]
                best[one[i], j] = min(best[one[i], j], n - end + 1)
                best[two[i], j] = min(best[two[i], j], a + 1)
            a = end

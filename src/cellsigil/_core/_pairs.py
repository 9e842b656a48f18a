"""Each group against each other one, from a gene's sorted values (`_ranks` has their shape)."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._ranks import tie_end


@kernel
def pairwise_auc(
    edges, keys, classes, group_of, block_of, size, total_size, weight, auc, start, stop
):
    """Write ``auc[j, g, h]``: how often a cell of group g is above one of group h; a tie counts half.

    Within each block (sample), averaged with weights n1 n2 / (n1 + n2) over the blocks that count for
    both: ``total_size[c, h]`` is n1 + n2 for class c and group h in c's block, infinite where that does
    not count; ``weight[g, h]`` is the sum of the weights, NaN where there is none.
    """
    n_classes, n_groups, n_blocks = size.size, auc.shape[1], block_of[-1] + 1
    counts = np.zeros((n_blocks, n_groups), np.int64)
    for c in range(n_classes):
        counts[block_of[c], group_of[c]] = size[c]
    below = np.empty((n_blocks, n_groups), np.int64)  # twice the cells of a group that are below
    tied = np.zeros((n_blocks, n_groups), np.int64)
    wins = np.empty((n_classes, n_groups), np.int64)
    for j in range(start, stop):
        a, n = edges[j, 0], edges[j, n_classes]
        below[:] = 2 * counts
        for c in range(n_classes):  # all that is not stored is a zero
            below[block_of[c], group_of[c]] -= 2 * (edges[j, c + 1] - edges[j, c])
        for c in range(n_classes):
            zeros = below[block_of[c], group_of[c]] // 2
            for h in range(n_groups):
                wins[c, h] = zeros * (below[block_of[c], h] // 2)
        while a < n:
            end = tie_end(keys, a, n)
            if end - a == 1:
                c = classes[a]
                add_row(wins[c], below[block_of[c]])
                below[block_of[c], group_of[c]] += 2
            else:
                add_tied(wins, below, tied, classes, a, end, group_of, block_of)
            a = end
        average_pairs(wins, group_of, total_size, weight, auc[j])


@inner
def add_row(total, row):
    """Add ``row`` to ``total``."""
    for h in range(total.size):
        total[h] += row[h]


@inner
def add_tied(wins, below, tied, classes, a, end, group_of, block_of):
    """Add the wins of a block of ties a..end, and count it among what is below; ``tied`` is 0 before and after."""
    for k in range(a, end):
        tied[block_of[classes[k]], group_of[classes[k]]] += 1
    for k in range(a, end):
        c = classes[k]
        add_row(wins[c], below[block_of[c]])
        add_row(wins[c], tied[block_of[c]])
    for k in range(a, end):
        b, g = block_of[classes[k]], group_of[classes[k]]
        below[b, g] += 2 * tied[b, g]
        tied[b, g] = 0


@inner
def average_pairs(wins, group_of, total_size, weight, auc):
    """Average doubled wins over blocks into ``auc[g, h]``; wins / 2 (n1 + n2) = a block's weight x its AUC."""
    auc[:] = 0.0
    for c in range(group_of.size):
        for h in range(auc.shape[0]):
            auc[group_of[c], h] += wins[c, h] / (2.0 * total_size[c, h])
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

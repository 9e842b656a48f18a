"""Mid-rank sums of a gene's values per group of cells; implicit zeros are one block of ties.

All ranks are doubled, so that mid-ranks are whole numbers and sums are exact. Columns come sorted (`_sort`):
the entries of column j are ``edges[j, 0]:edges[j, -1]`` of ``keys`` and ``classes``, and
``edges[j, c + 1] - edges[j, c]`` of them are of class c.
"""

from __future__ import annotations

import numpy as np

from cellsigil._core._copy import copy_values
from cellsigil._core._jit import inner, kernel


@inner
def tie_end(keys, a, n):
    """Return the end of the block of keys equal to the one at ``a``."""
    b = a + 1
    while b < n and keys[b] == keys[a]:
        b += 1
    return b


@inner
def cubed(t):
    """Return t³ - t, a tie's part in the correction of the variance; float64, since N³ overflows."""
    return np.float64(t) ** 3 - np.float64(t)


@kernel
def rank_sums(edges, keys, classes, group_of, size, ranks, ties, start, stop):
    """Write twice the sum of mid-ranks of group g among all labelled cells, and Σ(t³ - t) over ties.

    ``group_of[c]`` is the group of class c, ``size[c]`` its cells.
    """
    n_classes, n_all, longest = size.size, size.sum(), 0
    for j in range(start, stop):
        longest = max(longest, edges[j, n_classes] - edges[j, 0])
    own, tied = np.empty(n_classes, np.int64), np.empty(longest + 1, np.int64)
    for j in range(start, stop):
        a, n = edges[j, 0], edges[j, n_classes]
        below = n_all - (n - a)  # all that is not stored is a zero
        for c in range(n_classes):
            zeros = size[c] - (edges[j, c + 1] - edges[j, c])
            own[c] = zeros * (below + 1)
        n_tied = add_places(keys[a:n], classes[a:n], below, own, tied)
        ties[j] = share_places(classes[a:n], tied, n_tied, own, cubed(below))
        ranks[j] = 0
        for c in range(n_classes):
            ranks[j, group_of[c]] += own[c]


@inner
def add_places(keys, classes, below, own, tied):
    """Add twice the rank of each entry to its class in ``own``, as if none were tied; count those that equal the next.

    Their places go to ``tied``, without a branch: a fifth are, and no guess would hold. With `share_places`
    1.9 ns an entry, where looking for the end of each tie took 4.4.
    """
    n = np.uint32(0)
    for k in range(keys.size - 1):
        own[np.uint32(classes[k])] += 2 * (below + k + 1)
        tied[n] = k
        n += np.uint32(keys[k] == keys[k + 1])
    if keys.size:
        own[classes[-1]] += 2 * (below + keys.size)
    return np.int64(n)


@inner
def share_places(classes, tied, n, own, total):
    """Give tied entries, noted by `add_places`, their mean place instead; return ``total`` and Σ(t³ - t)."""
    h = 0
    tied[n] = -2
    while h < n:
        first, h = tied[h], h + 1
        if tied[h] != first + 1:  # a pair, as most are
            own[np.uint32(classes[first])] += 1
            own[np.uint32(classes[first + 1])] -= 1
            total += 6.0
            continue
        while tied[h] == tied[h - 1] + 1:
            h += 1
        end = tied[h - 1] + 2
        for k in range(first, end):
            own[np.uint32(classes[k])] += first + end - 1 - 2 * k
        total += cubed(end - first)
    return total


@kernel
def rank_sums_within(edges, keys, classes, block_of, size, block_size, ranks, ties, start, stop):
    """Write twice the sum of mid-ranks of class c among the cells of its own block (sample).

    ``block_of[c]`` is the block of class c; ``size[c]`` and ``block_size[b]`` count cells;
    ``ties[j, b]`` becomes Σ(t³ - t) over the ties within block b.
    """
    n_classes = size.size
    below = np.empty(block_size.size, np.int64)
    tied = np.zeros(block_size.size, np.int64)
    for j in range(start, stop):
        a, n = edges[j, 0], edges[j, n_classes]
        copy_values(block_size, below)
        for c in range(n_classes):  # all that is not stored is a zero
            below[block_of[c]] -= edges[j, c + 1] - edges[j, c]
        for b in range(below.size):
            ties[j, b] = cubed(below[b])
        for c in range(n_classes):
            zeros = size[c] - (edges[j, c + 1] - edges[j, c])
            ranks[j, c] = zeros * (below[block_of[c]] + 1)
        while a < n:
            end = tie_end(keys, a, n)
            if end - a == 1:
                b = block_of[classes[a]]
                ranks[j, classes[a]] += 2 * below[b] + 2
                below[b] += 1
                a = end
                continue
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
    edges, keys, classes, group_of, block_of, size, reference, wins, ties, within, start, stop
):
    """Count twice how often a cell of a group is above one of group ``reference``; a tie counts half.

    ``wins[j, g]``: group g over all; ``within[j, c]``: class c against the reference's cells of its
    own block; ``ties[j, g]``: Σ(t³ - t) over the ties of both groups together. All come in as zeros.
    """
    n_classes, n_groups, n_blocks = size.size, wins.shape[1], block_of[-1] + 1
    zeros = np.empty(n_classes, np.int64)
    count = np.zeros(n_groups, np.int64)
    below = np.zeros(n_blocks, np.int64)
    tied = np.zeros(n_blocks, np.int64)
    for j in range(start, stop):
        a, n = edges[j, 0], edges[j, n_classes]
        count[:] = 0
        for c in range(n_classes):
            zeros[c] = size[c] - (edges[j, c + 1] - edges[j, c])
            count[group_of[c]] += zeros[c]
            if group_of[c] == reference:
                below[block_of[c]] = zeros[c]
        below_all = count[reference]
        for c in range(n_classes):
            wins[j, group_of[c]] += zeros[c] * below_all
            within[j, c] = zeros[c] * below[block_of[c]]
        for g in range(n_groups):
            ties[j, g] = cubed(count[g] + below_all)
        count[:] = 0
        shared = 0.0  # ties within the reference are ties of every pair
        while a < n:
            end = tie_end(keys, a, n)
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

"""Each group against each other one, from a gene's sorted values (`_ranks` has their shape)."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._ranks import cubed, tie_end
from cellsigil._core._sort import FEW, insert_sort, radix_sort

LANES = 16  # genes of a pair that lie side by side
COLUMNS = 32  # groups whose rivals are put in order together: 100 of them are 25 kB
AT_ONCE = 16  # pairs that are fetched together: 40 us each of 16,000 genes, by 8 x 8 70
# Parts of 1 that an AUC is rounded to: equal ones differ in their last bits, by 2**-52 or so, and should tie.
FINEST = 2.0**44
FLOOR = 109 << 23  # the bits of 2**-18 in float32: what is nearer to 1/2 shares a bucket with it
COARSE = 15  # bits of a distance from 1/2 that a bucket leaves out: 8,700 buckets, 35 kB
MIDDLE = (
    ((126 << 23) - FLOOR) >> COARSE
) + 1  # the bucket of 1/2 alone; that of 0 is 0, of 1 the last


@kernel
def compare_pairs(
    edges, keys, classes, group_of, block_of, size, expected, share, highest, rivals,
    least, median, mean, above, ties, first, pairs, first_pair, start, stop,
):  # fmt: skip
    """Compare every two groups: how often a cell of group g is above one of group h; a tie counts half.

    Within each block (sample), averaged with weights n1 n2 / (n1 + n2) over the blocks that count for
    both: ``share[c, h]`` is n1 n2 / (n1 + n2) / (sum of weights) / 2 n1 n2 for class c and group h in c's
    block, 0 where that does not count; ``highest[g, h]`` is 1/2, minus infinity where none counts, and
    ``rivals[g]`` the number of groups that are known. Class g * blocks + b is group g in block b.

    ``expected[c, h]`` is n1 n2, zero in the columns that fill up the vectors; its dtype is what is counted
    in, and holds twice the largest. Counted is by how much twice U is above it: exactly 0 where all is tied.

    ``least``, ``median`` and ``mean`` (genes, G) become those of a group's AUC where ``first_pair`` is 0. Gene
    ``first + j`` of ``pairs[:, p]`` becomes that of group g against h > g, in parts of `FINEST`: as many pairs
    as there is room for from ``first_pair`` on, in the order of (g, h).
    ``above[j, c]`` becomes twice the U of class c against all others of its block, ``ties[j, b]`` Σ(t³ - t)
    over the ties within block b: what `rank_sums_within` counts.
    """
    n_classes, n_blocks, width = size.size, block_of[-1] + 1, share.shape[1]
    n_groups = n_classes // n_blocks
    below = np.empty((n_blocks, width), expected.dtype)
    wins = np.empty((n_classes, width), expected.dtype)
    away, rows = np.empty((n_groups, width)), np.zeros((n_groups, COLUMNS))
    sums, tied = np.empty(width), np.zeros(n_blocks, np.int64)
    for j in range(start, stop):
        below[:] = 0
        for c in range(n_classes):  # all that is not stored is a zero
            below[block_of[c], group_of[c]] = size[c] - (edges[j, c + 1] - edges[j, c])
        for b in range(n_blocks):
            ties[j, b] = cubed(np.int64(below[b].sum()))
        begin_with_zeros(wins, below, expected, group_of, block_of)
        a, n = edges[j, 0], edges[j, n_classes]
        count_wins(keys[a:n], classes[a:n], group_of, block_of, below, wins, tied, ties[j])
        weigh_wins(wins, share, highest, n_blocks, above[j], away, sums)
        for c in range(n_classes):
            own = expected[c, :n_groups].sum()
            above[j, c] += own - np.int64(size[c]) * size[c]
        if first_pair == 0:  # of 196 groups half of the time
            summarise(away, sums, rivals, rows, least[j], median[j], mean[j])
        tile, lane, p = (first + j) // LANES, (first + j) % LANES, -first_pair
        for g in range(n_groups):
            p -= g + 1  # from here on p + h is the place of (g, h)
            for h in range(max(g + 1, -p), min(n_groups, pairs.shape[1] - p)):
                pairs[tile, p + h, lane] = 0.5 + np.rint(away[g, h] * FINEST) / FINEST
            p += n_groups


@inner
def begin_with_zeros(wins, below, expected, group_of, block_of):
    """Set twice the wins of the zeros of each class, less what is expected of all; double ``below``, of zeros."""
    for c in range(wins.shape[0]):
        b = block_of[c]
        zeros = below[b, group_of[c]]
        for h in range(wins.shape[1]):
            wins[c, h] = zeros * below[b, h] - expected[c, h]
    for b in range(below.shape[0]):
        for h in range(below.shape[1]):
            below[b, h] *= 2


@inner
def count_wins(keys, classes, group_of, block_of, below, wins, tied, ties):
    """Add to ``wins[c, h]`` twice how often an entry of class c is above a cell of group h in its block.

    ``below[b, h]`` is twice the cells of group h in block b that are below, once those that tie. Every entry
    adds its block's row, its own group too. ``ties[b]`` grows by t³ - t for each run of t.
    """
    a = 0
    while a < keys.size:
        end = tie_end(keys, a, keys.size)
        for k in range(a, end):
            below[block_of[classes[k]], group_of[classes[k]]] += 1
        for k in range(a, end):
            c = classes[k]
            b = block_of[c]
            for h in range(below.shape[1]):
                wins[c, h] += below[b, h]
        for k in range(a, end):
            below[block_of[classes[k]], group_of[classes[k]]] += 1
        if end - a > 1:
            for k in range(a, end):
                tied[block_of[classes[k]]] += 1
            for k in range(a, end):
                b = block_of[classes[k]]
                ties[b] += cubed(tied[b])
                tied[b] = 0
        a = end


@inner
def weigh_wins(wins, share, highest, n_blocks, total, away, sums):
    """Write how far the AUC of group g against h is from 1/2, and the sum of the wins of each class.

    Mirrored to the last bit, since the wins are whole numbers: what g has more than 1/2, h has less.
    ``sums[h]`` is that of ``away[:, h]`` where it is known; elsewhere that is minus infinity.
    """
    sums[:] = 0.0
    for g in range(away.shape[0]):
        own = away[g]
        own[:] = 0.0
        for c in range(g * n_blocks, (g + 1) * n_blocks):
            more = np.int64(0)
            for h in range(own.size):
                own[h] += wins[c, h] * share[c, h]
            for h in range(own.size):
                more += wins[c, h]
            total[c] = more
        for h in range(own.size):
            sums[h] += own[h]
        for h in range(own.size):  # the shares of the blocks add to 1, rounded
            own[h] = min(max(own[h], -0.5), highest[g, h])


@inner
def summarise(away, sums, rivals, rows, least, median, mean):
    """Write minimum, median and mean of 1/2 + ``away[g, h]`` over the known h; NaN where there is none.

    Read as columns, of the opposite sign: groups side by side. In the middle of most lie ties at 1/2,
    in four of five of 86 clusters of pbmc3k; only the others' are put in order.
    """
    n_groups, width = away.shape
    low, negative, no_more = np.full(width, np.inf), np.zeros(width), np.zeros(width)
    for h in range(n_groups):
        tally(away[h], low, negative, no_more)
    held, n_held = np.empty(n_groups + 1, np.int64), 0
    for g in range(n_groups):
        n = rivals[g]
        least[g] = 0.5 + low[g] if n else np.nan
        mean[g] = 0.5 - sums[g] / n if n else np.nan
        median[g] = 0.5 if n else np.nan
        held[n_held] = g
        n_held += n > 0 and (negative[g] > (n - 1) // 2 or n // 2 >= no_more[g])
    for first in range(0, n_held, COLUMNS):
        own = held[first : min(first + COLUMNS, n_held)]
        for h in range(n_groups):
            for i in range(own.size):
                rows[h, i] = -away[h, own[i]]
        sort_rows(rows[:, : (own.size + 7) // 8 * 8])
        for i in range(own.size):
            n = rivals[own[i]]
            median[own[i]] += (rows[(n - 1) // 2, i] + rows[n // 2, i]) / 2


@inner
def tally(away, low, negative, no_more):
    """Take one more rival's values, of the opposite sign, to the least and to how many are below 0, and at most 0."""
    for g in range(away.size):
        low[g] = min(low[g], -away[g])
        negative[g] += 1.0 if away[g] > 0.0 else 0.0
        no_more[g] += 1.0 if away[g] >= 0.0 else 0.0


@inner
def sort_rows(rows):
    """Put each column in order by Batcher's merge exchange (Knuth 5.2.2M): no branch, columns side by side."""
    n, top = rows.shape[0], 1
    while 2 * top < n:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    exchange(rows[i], rows[i + d])
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2


@inner
def exchange(one, two):
    """Put the lesser of each two values into ``one``: min and max take half of what a choice does."""
    for v in range(one.size):
        a, b = one[v], two[v]
        one[v] = min(a, b)
        two[v] = max(a, b)


@kernel
def best_ranks(pairs, n_genes, chosen, one, two, best, start, stop):
    """Lower ``best[g, j]`` to the rank of gene j in the pairs ``chosen[start:stop]``, ties sharing the best.

    ``pairs[:, i]`` holds the AUC of group ``one[i]`` against ``two[i]``, within 0..1; the greatest is first for
    the one and the smallest for the other. Few genes can do better than in the pairs before: only the
    buckets of these are put in order.
    """
    values, bucket = np.empty((AT_ONCE, n_genes)), np.empty(n_genes, np.int32)
    edges, free = np.empty(2 * MIDDLE + 2, np.int32), np.empty(2 * MIDDLE + 1, np.int32)
    genes, spare_genes, held = np.empty((3, n_genes), np.int32)
    ordered, spare = np.empty((2, n_genes), np.int64)
    for i in range(start, stop):
        if (i - start) % AT_ONCE == 0:
            fetch_pairs(pairs, chosen[i : min(i + AT_ONCE, stop)], values)
        auc, p = values[(i - start) % AT_ONCE], chosen[i]
        keys = auc.view(np.int64)  # in the order of the values, none of which is below 0
        ups, downs = best[one[p]], best[two[p]]
        fill_buckets(auc, bucket, edges)
        n = list_better(bucket, edges, ups, downs, free, held)
        for k in range(n):
            j = held[k]
            slot = free[bucket[j]]
            ordered[slot], genes[slot] = keys[j], j
            free[bucket[j]] += 1
        for k in range(n):
            b = bucket[held[k]]
            a, end = edges[b], edges[b + 1]
            if free[b] != end:  # done
                continue
            free[b] = a
            if end - a > FEW:
                radix_sort(ordered[a:end], genes[a:end], spare, spare_genes, end - a)
            else:
                insert_sort(ordered[a:end], genes[a:end], end - a)
            while a < end:
                stop_tie = tie_end(ordered, a, end)
                for t in range(a, stop_tie):
                    j = genes[t]
                    ups[j] = min(ups[j], n_genes - stop_tie + 1)
                    downs[j] = min(downs[j], a + 1)
                a = stop_tie


@inner
def fetch_pairs(pairs, chosen, values):
    """Bring the genes of some pairs from their tiles to rows."""
    n = values.shape[1]
    for tile in range(pairs.shape[0]):
        first = tile * LANES
        last = min(first + LANES, n)
        for i in range(chosen.size):
            for j in range(first, last):
                values[i, j] = pairs[tile, chosen[i], j - first]


@inner
def fill_buckets(auc, bucket, edges):
    """Write the bucket of each value, and where it begins and ends among all.

    Buckets are as fine as float32 is, so finest at 1/2, where most values are.
    """
    near = np.empty(auc.size, np.float32)
    bits = near.view(np.int32)
    for j in range(auc.size):
        near[j] = auc[j] - 0.5
    for j in range(auc.size):
        far = (max((bits[j] & 0x7FFFFFFF) - FLOOR, 0) >> COARSE) + (auc[j] != 0.5)
        bucket[j] = MIDDLE - far if bits[j] < 0 else MIDDLE + far
    edges[:] = 0
    for j in range(auc.size):
        edges[bucket[j] + 1] += 1
    for b in range(1, edges.size):
        edges[b] += edges[b - 1]


@inner
def list_better(bucket, edges, ups, downs, free, held):
    """List the genes in buckets where one might rank better than before; return their number.

    ``free`` becomes the first slot of such a bucket, -1 of others.
    """
    n_genes = bucket.size
    free[:] = -1
    for j in range(n_genes):
        first, last = edges[bucket[j]], edges[bucket[j] + 1]
        if n_genes - last + 1 < ups[j] or first + 1 < downs[j]:
            free[bucket[j]] = first
    n = 0
    for j in range(n_genes):
        held[n] = j
        n += free[bucket[j]] >= 0
    return n

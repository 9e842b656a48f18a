"""Scores as sparse products: sums of columns, ranks within a row, rows times weights."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._sort import FEW, insert_sort, radix_sort

SPREAD = 2654435761  # Knuth's multiplier, 2**32 / golden ratio


@kernel
def add_columns(data, indices, sums):
    """Add every value to ``sums[j]`` in the order of storage, in float64."""
    for k in range(data.size):
        sums[indices[k]] += np.float64(data[k])


@inner
def find(key, table):
    """Return the slot of a key in a hash table (its size a power of two), or the empty one (0) where it belongs.

    The product of 31 and 32 bits fits int64, so that plain Python agrees.
    """
    wide, last = np.int64(key), np.uint32(table.size - 1)
    slot = np.uint32(((((wide ^ (wide >> 32)) & 0x7FFFFFFF) * SPREAD) >> 20) & (table.size - 1))
    while table[slot] != 0 and table[slot] != key:
        slot = (slot + np.uint32(1)) & last
    return slot


@inner
def rank_values(table, count, used, n, below_zero, above, rank, keys, slots):
    """Rank the n distinct values of one sign, largest first, after ``above`` entries; return that with these added.

    Signs are taken apart since the span of all int64 keys would overflow the radix sort's arithmetic.
    """
    m = 0
    for t in range(n):
        key = table[used[t]]
        if (key < 0) == below_zero:
            keys[0, m] = key
            slots[0, m] = used[t]
            m += 1
    if m <= FEW:
        insert_sort(keys[0], slots[0], m)
    else:
        radix_sort(keys[0], slots[0], keys[1], slots[1], m)
    for t in range(m - 1, -1, -1):
        rank[slots[0, t]] = above + 1
        above += count[slots[0, t]]
    return above


@kernel
def rank_rows(keys, indices, indptr, wanted, columns, starts, low, high, positive, start, stop):
    """Write the first and last rank (1 = largest) of the block of ties of every entry in a wanted column.

    Row i's wanted entries go to ``starts[i]:starts[i + 1]``, their columns to ``columns``; ``positive[i]`` counts the
    row's keys above 0. Equal keys are counted in a hash table and only distinct ones sorted: a cell's log counts
    hold a few dozen values (measured: 0.2 CPU-s for 39 M entries, by argsort 1.7).
    """
    longest = 1
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    size = 2
    while size < 2 * longest:
        size *= 2
    table = np.zeros(size, keys.dtype)  # 0 is no key: zeros are not stored
    count = np.zeros(size, np.int32)
    rank = np.empty(size, np.int32)
    used = np.empty(longest, np.int32)
    sorted_keys = np.empty((2, longest), keys.dtype)
    slots = np.empty((2, longest), np.int32)
    for i in range(start, stop):
        n = 0
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            slot = find(keys[k], table)
            if table[slot] == 0:
                table[slot] = keys[k]
                used[n] = slot
                n += 1
            count[slot] += 1
        positive[i] = rank_values(table, count, used, n, False, 0, rank, sorted_keys, slots)
        rank_values(table, count, used, n, True, positive[i], rank, sorted_keys, slots)
        free = np.uint64(starts[i])
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            if wanted[np.uint32(indices[k])]:
                slot = find(keys[k], table)
                columns[free] = indices[k]
                low[free] = rank[slot]
                high[free] = rank[slot] + count[slot] - 1
                free += np.uint64(1)
        starts[i + 1] = free
        for t in range(n):
            table[used[t]] = 0
            count[used[t]] = 0


@kernel
def project_rows(data, indices, indptr, wanted, w_data, w_indices, w_indptr, out, start, stop):
    """Add to ``out[i]`` the product of row i and a CSR matrix of weights (columns of the rows x columns of out).

    ``wanted`` is 1 for columns with a weight, else 0. A row's wanted entries are listed first, without a branch:
    half the cost of asking each entry where 5 to 50 % are wanted, and no more where all are.
    """
    longest = 0
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    held = np.empty(longest + 1, np.uint32)
    for i in range(start, stop):
        x, j = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        n = np.uint32(0)  # unsigned: no look at negative places
        for k in range(j.size):
            held[n] = k
            n += np.uint32(wanted[np.uint32(j[k])])
        own = out[i]
        for h in range(np.int64(n)):
            column, value = np.uint32(j[held[h]]), np.float64(x[held[h]])
            t, last = np.uint32(w_indptr[column]), np.uint32(w_indptr[column + np.uint32(1)])
            while (
                t < last
            ):  # mostly once; a range over int64 looks at negative places: 13 ms, not 9
                own[np.uint32(w_indices[t])] += value * w_data[t]
                t += np.uint32(1)


@kernel
def project_dense(data, indices, indptr, weights, out, start, stop):
    """Do what `project_rows` does, to the same bits, with a dense matrix of weights."""
    for i in range(start, stop):
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            of_column = weights[np.uint32(indices[k])]
            x = np.float64(data[k])
            for s in range(of_column.size):
                out[i, s] += x * of_column[s]


@kernel
def bring_to_rows(auc, place, rows, start, stop):
    """Write ``auc[:, j] - 1/2`` to row ``place[j]``, of genes j = start..stop: a gene's values move together."""
    for j in range(start, stop):
        row = rows[place[j]]
        for g in range(row.size):
            row[g] = auc[g, j] - 0.5


@kernel
def match_windows(first_alike, own, taken, n_others, windows, start, stop):
    """Write to ``windows[g]`` the places around that of ``own[g]``, in the order of the means, that are not taken.

    ``taken`` are the places of the set, ascending, ``first_alike[place]`` the first place of an equal mean; all
    others are ``n_others``.
    """
    size = windows.shape[1]
    for g in range(start, stop):
        lowest, n_lower = first_alike[own[g]], 0
        while n_lower < taken.size and taken[n_lower] < lowest:
            n_lower += 1
        first = min(max(lowest - n_lower - size // 2, 0), n_others - size)
        before = 0  # of the set's own, before the other that is looked at
        for t in range(size):
            while before < taken.size and taken[before] - before <= first + t:
                before += 1
            windows[g, t] = first + t + before


@kernel
def count_reaching(values, windows, drawn, shares, least, count, start, stop):
    """Count in ``count[c]`` the draws of start..stop whose sum reaches ``least[c]`` in column c of ``values``.

    Draw d takes row ``windows[g, drawn[d, g]]`` for gene g, times its share.
    """
    total, whole = np.empty(values.shape[1]), shares.size // 4 * 4
    for d in range(start, stop):
        total[:] = 0.0
        # four at a time, in the same order: total is read and written less
        for g in range(0, whole, 4):
            one = values[windows[g, drawn[d, g]]]
            two = values[windows[g + 1, drawn[d, g + 1]]]
            three = values[windows[g + 2, drawn[d, g + 2]]]
            four = values[windows[g + 3, drawn[d, g + 3]]]
            a, b, c, e = shares[g], shares[g + 1], shares[g + 2], shares[g + 3]
            for k in range(total.size):
                total[k] = total[k] + a * one[k] + b * two[k] + c * three[k] + e * four[k]
        for g in range(whole, shares.size):
            own = values[windows[g, drawn[d, g]]]
            for k in range(total.size):
                total[k] += shares[g] * own[k]
        for k in range(total.size):
            count[k] += total[k] >= least[k]


@kernel
def window_cumulants(values, windows, shares, out, start, stop):
    """Write the first three cumulants of a sum of one random row of each window, for columns start..stop.

    Of independent draws they add up: mean, variance and third central moment of each window, times its share.
    """
    size, width = windows.shape[1], stop - start
    mean, squares, cubes = np.empty(width), np.empty(width), np.empty(width)
    for g in range(
        shares.size
    ):  # columns inside: they are added in SIMD lanes, a third of the cost
        mean[:] = 0.0
        squares[:] = 0.0
        cubes[:] = 0.0
        for t in range(size):
            own = values[windows[g, t], start:stop]
            for c in range(width):
                mean[c] += own[c]
        for c in range(width):
            mean[c] /= size
        for t in range(size):
            own = values[windows[g, t], start:stop]
            for c in range(width):
                away = own[c] - mean[c]
                squares[c] += away * away
                cubes[c] += away * away * away
        for c in range(width):
            out[0, start + c] += shares[g] * mean[c]
            out[1, start + c] += shares[g] ** 2 * squares[c] / size
            out[2, start + c] += shares[g] ** 3 * cubes[c] / size


@kernel
def add_squares(values, group, center, scale, squares, start, stop):
    """Add round((x - center[g, s])**2 * scale[s]) of each cell of group g to ``squares[s]``; group -1 is none.

    Integers, so any order of the cells gives the same bits.
    """
    for i in range(start, stop):
        if group[i] >= 0:
            own = center[group[i]]
            for s in range(squares.size):
                away = values[i, s] - own[s]
                squares[s] += np.int64(np.rint(away * away * scale[s]))

"""Passes over canonical CSR rows: sums, largest values, tables."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel

AS_INTEGERS = 2.0**24  # rows of numbers up to here are added as integers
SMALL = 256  # 99.98 % of counts are below: counting them costs 0.03 s where sorting took 0.9
# A column's number of small counts is in the upper 28 bits of an integer, their sum in the lower 36: in fewer than
# 2**28 rows neither spills over.
SHIFT = np.uint64(36)
ONE = np.uint64(1 << 36)


@kernel
def sum_and_span(data, bits, indptr, ends, end_bits, out, start, stop):
    """Write each row's sum, exact, its smallest and its largest value to ``out[:, i]``, for whole numbers above 0.

    ``bits`` are those of ``data`` read as integers, which positive floats are in the order of, and ``end_bits`` those
    of ``ends``: infinity and 0, what a row without values spans, and room for what others do. Integers are
    compared and added in SIMD lanes, floats one by one: 0.007 instead of 0.017 s at 39 M entries.
    """
    least, most = end_bits[0], end_bits[1]
    for i in range(start, stop):
        row, own = data[indptr[i] : indptr[i + 1]], bits[indptr[i] : indptr[i + 1]]
        low, high = least, most
        for k in range(own.size):
            low, high = min(low, own[k]), max(high, own[k])
        end_bits[0], end_bits[1] = low, high
        out[1, i], out[2, i] = ends[0], ends[1]
        if ends[1] <= AS_INTEGERS:
            whole = np.int64(0)
            for k in range(row.size):
                whole += np.int64(np.int32(row[k]))
            out[0, i] = whole
        else:
            wide = 0.0
            for k in range(row.size):
                wide += np.float64(row[k])
            out[0, i] = wide


@kernel
def span(values, bits, least, most):
    """Return the bits of the smallest and the largest value, and whether one of the first 100,000 is a fraction.

    ``bits`` are the values' read as integers: of values from 0 up, in their order, and below 0 if one is. ``least``
    and ``most`` are those of no values at all.
    """
    for k in range(bits.size):
        least, most = min(least, bits[k]), max(most, bits[k])
    fraction, k = False, 0
    while not fraction and k < min(values.size, 100_000):
        fraction = values[k] != np.floor(values[k])
        k += 1
    return least, most, fraction


@inner
def bring_largest(values, n, m):
    """Put the m largest of the first n values, 0 < m <= n, before the others.

    Of each part that holds the m-th, what is larger than one of its values goes first, without a branch that can't
    be foretold, then what equals it.
    """
    low, high = 0, n
    while m < high:
        pivot, larger = values[(low + high) // 2], low
        for k in range(low, high):
            x = values[k]
            values[k], values[larger] = values[larger], x
            larger += x > pivot
        if m <= larger:
            high = larger
            continue
        alike = larger
        for k in range(larger, high):
            x = values[k]
            values[k], values[alike] = values[alike], x
            alike += x == pivot
        if m <= alike:
            return
        low = alike


@inner
def sum_top(lanes, most, large, ns, total):
    """Write ``total[t]``: the sum of the ``ns[t]`` largest of whole numbers; ``ns`` ascends.

    ``lanes[x]`` count the values x, up to ``most``; ``large`` holds those beyond the lanes, and changes its order.
    Where it holds many (of a cell sequenced deeply, 2,000), to sort it took ten times as long.
    """
    n, in_large = large.size, ns.size
    while in_large > 0 and ns[in_large - 1] >= n:
        in_large -= 1
    above = 0.0
    for k in range(n):
        above += large[k]
    for t in range(in_large - 1, -1, -1):
        bring_largest(large, n, ns[t])
        n = ns[t]
        total[t] = 0.0
        for k in range(n):
            total[t] += large[k]
    x, taken, below = np.uint64(most), np.int64(large.size), np.int64(0)
    for t in range(in_large, ns.size):
        while x > 0:
            n = np.int64(lanes[x, 0] + lanes[x, 1] + lanes[x, 2] + lanes[x, 3])
            if taken + n >= ns[t]:
                break
            taken += n
            below += n * np.int64(x)
            x -= np.uint64(1)
        total[t] = above + np.float64(below + (ns[t] - taken) * np.int64(x))


@inner
def tally(row, columns, marked, packed, lanes, counting, large, found):
    """Count the small values of a row of whole numbers: nearly all that there are.

    x of column j below `SMALL` goes as `ONE` + x to ``packed[j]`` and, if ``counting``, to ``lanes[x]``; places of
    larger ones go to ``large``, of marked columns' to ``found``. Return the sum and the largest of the small ones,
    and how many places are in ``large`` and in ``found``.
    """
    total, most = np.uint64(0), np.uint64(0)
    n_large, n_found = np.uint32(0), np.uint32(0)
    for k in range(row.size):
        j = np.uint32(columns[k])
        # without a branch, as a set's genes can't be predicted: 0.057 to 0.042 s
        found[n_found] = k
        n_found += np.uint32(marked[j])
        if row[k] < SMALL:
            x = np.uint64(row[k])
            total += x
            packed[j] += ONE + x
            if counting:  # nearly all are 1: four lanes, so that none waits for the one before it
                lanes[x, k & 3] += 1
                most = max(most, x)
        else:
            large[n_large] = k
            n_large += np.uint32(1)
    return np.float64(total), np.int64(most), n_large, n_found


@inner
def add_large(row, columns, genes, large):
    """Put the values in place of their places, add them to ``genes[j]`` as (1, x), and return their sum."""
    total = 0.0
    for t in range(large.size):
        k = np.uint32(large[t])
        j, x = np.uint32(columns[k]), np.float64(row[k])
        genes[j, 0] += 1.0
        genes[j, 1] += x
        large[t] = x
        total += x
    return total


@inner
def sum_sets(row, columns, found, first, sets, lanes, total):
    """Write the sum of the entries ``found`` of a row in each set; column j is in ``sets[first[j] : first[j + 1]]``.

    Nearly all are of one set: four lanes again.
    """
    for t in range(np.uint64(found.size)):
        k = found[t]
        j, x = np.uint32(columns[k]), np.float64(row[k])
        for q in range(first[j], first[j + np.uint32(1)]):
            lanes[sets[q], t & np.uint64(3)] += x
    for s in range(total.size):
        total[s] = (lanes[s, 0] + lanes[s, 1]) + (lanes[s, 2] + lanes[s, 3])
    lanes[:] = 0.0


@kernel
def measure_rows(
    data, indices, indptr, marked, first, sets, ns, total, largest, of_sets, genes, start, stop
):
    """Measure rows of whole numbers and their columns in one pass.

    Writes row i's sum to ``total[i]``, the sums of its ``ns`` largest values to ``largest[:, i]`` and the sums
    over each set's columns to ``of_sets[:, i]``; column j is in ``sets[first[j] : first[j + 1]]``, and
    ``marked[j]`` says that there are any. Adds each entry to ``genes[j]`` as (1, x).
    """
    lanes = np.zeros((SMALL, 4), np.int32)
    set_lanes = np.zeros((of_sets.shape[0], 4))
    packed = np.zeros(genes.shape[0], np.uint64)
    large = np.empty(genes.shape[0], np.float64)
    found = np.empty(genes.shape[0] + 1, np.uint32)
    for i in range(start, stop):
        row, columns = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        small, most, n_large, n_found = tally(
            row, columns, marked, packed, lanes, ns.size > 0, large, found
        )
        total[i] = small + add_large(row, columns, genes, large[:n_large])
        sum_sets(row, columns, found[:n_found], first, sets, set_lanes, of_sets[:, i])
        if ns.size > 0:
            sum_top(lanes, most, large[:n_large], ns, largest[:, i])
            lanes[: most + 1] = 0  # most rows end far below
    for j in range(packed.size):
        genes[j, 0] += np.float64(packed[j] >> SHIFT)
        genes[j, 1] += np.float64(packed[j] & (ONE - np.uint64(1)))

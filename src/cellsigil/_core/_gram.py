"""Sums of x x^T over chosen columns of sparse rows, and products of the rows with a dense matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellsigil._core._jit import all_in_threads, kernel, over_range

ROWS = 2048  # taken at a time, at most: what is known of them stays in the processor's cache
COMMON = 0.2  # share of rows from which on a column is treated as dense
STRIPE = 256  # columns of a dense product, at most: what one thread does


class Columns(NamedTuple):
    """Which columns are chosen: the rare ones come first, so that products with common ones lie side by side."""

    place: np.ndarray  # of each column among the chosen ones, int32, -1 where it is left out
    n_rare: int
    n: int


class Entries(NamedTuple):
    """The chosen entries of some rows: row i's are ``first[i]`` to ``first[i + 1]``, from ``common[i]`` on common."""

    columns: np.ndarray
    values: np.ndarray
    first: np.ndarray
    common: np.ndarray


def spans(n_rows: int) -> list[tuple[int, int]]:
    """Return ranges of rows to be taken at a time, at least one."""
    step = -(-n_rows // max(1, -(-n_rows // ROWS)))
    return [(start, min(start + step, n_rows)) for start in range(0, max(n_rows, 1), max(step, 1))]


def order_by_frequency(indices, n_rows: int, n_cols: int, chosen) -> tuple[np.ndarray, int]:
    """Return the chosen columns, those that are rare in these rows first, and how many these are."""
    often = np.bincount(indices, minlength=n_cols)[chosen] > COMMON * n_rows
    return np.concatenate([chosen[~often], chosen[often]]), int((~often).sum())


def columns_at(chosen: np.ndarray, n_rare: int, n_cols: int) -> Columns:
    """Return where each of ``n_cols`` columns is among the chosen ones."""
    place = np.full(n_cols, -1, np.int32)
    place[chosen] = np.arange(chosen.size)
    return Columns(place, n_rare, chosen.size)


@kernel
def choose_entries(
    data, indices, indptr, place, is_chosen, n_rare, columns, values, first, common, start, stop
):
    """Write the entries of chosen columns row after row: rare ones in order, common ones from the row's end.

    Every position is noted, and the next one over it where it was not chosen: which are cannot be
    guessed, and a wrong guess costs more.
    """
    where = np.empty(place.size + 1, np.uint64)
    for i in range(start, stop):
        found = np.uint32(0)
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            where[found] = k
            found += np.uint32(is_chosen[np.uint32(indices[k])])
        head, tail = np.uint64(first[i]), np.uint64(first[i] + found)
        first[i + 1] = tail
        for t in range(found):
            p = place[np.uint32(indices[where[t]])]
            if p < n_rare:
                at = head
                head += np.uint64(1)
            else:
                tail -= np.uint64(1)
                at = tail
            columns[at] = p
            values[at] = data[where[t]]
        common[i] = head


def chosen_entries(data, indices, indptr, to: Columns) -> Entries:
    """Return the chosen entries of canonical CSR rows; views of a part of larger arrays."""
    n_rows = indptr.size - 1
    room = min(indices.size, n_rows * to.n)  # reserved, and for the most part never touched
    found = Entries(
        np.empty(room, np.int32), np.empty(room, data.dtype),
        np.zeros(n_rows + 1, np.int64), np.empty(n_rows, np.int64),
    )  # fmt: skip
    choose_entries(data, indices, indptr, to.place, to.place >= 0, to.n_rare, *found, 0, n_rows)
    last = found.first[-1]
    return found._replace(columns=found.columns[:last], values=found.values[:last])


@kernel
def fill_common(columns, values, first, common, n_rare, dense, start, stop):
    """Write the common columns' entries as dense rows."""
    for i in range(start, stop):
        dense[i, :] = 0.0
        for k in range(np.uint64(common[i]), np.uint64(first[i + 1])):
            dense[i, np.uint32(columns[k] - n_rare)] = values[k]


@kernel
def list_by_column(columns, first, common, before, entries, rows):
    """Write which entries rare column a has, and in which rows: ``before[a]`` to ``before[a + 1]``."""
    before[:] = 0
    for i in range(common.size):
        for k in range(np.uint64(first[i]), np.uint64(common[i])):
            before[np.uint32(columns[k] + 1)] += 1
    for a in range(before.size - 1):
        before[a + 1] += before[a]
    free = before.copy()
    for i in range(common.size):
        for k in range(np.uint64(first[i]), np.uint64(common[i])):
            a = np.uint32(columns[k])
            at = np.uint64(free[a])
            entries[at], rows[at] = k, i
            free[a] += 1


@kernel
def add_rare(columns, values, common, before, entries, rows, dense, products, sums, start, stop):
    """Add x_a x_b to ``products`` for rare columns a of start..stop and all b from a on.

    One column's products stay in the processor's nearest cache: row by row they would be strewn over
    32 MB (2,000 columns).
    """
    n_rare = before.size - 1
    for a in range(start, stop):
        along = products[a]
        beside = along[n_rare:]
        begin, end = before[a], before[a + 1]
        for t in range(begin, end):
            v = np.float64(values[entries[t]])
            sums[a] += v
            here = slice(entries[t], common[rows[t]])
            in_row, row_values = columns[here], values[here]
            for k in range(in_row.size):
                along[np.uint32(in_row[k])] += v * row_values[k]
        fours = end - (end - begin) % 4
        for t in range(begin, fours, 4):  # at once: each sum is read and written a quarter as often
            x0, x1 = dense[rows[t]], dense[rows[t + 1]]
            x2, x3 = dense[rows[t + 2]], dense[rows[t + 3]]
            v0, v1 = values[entries[t]], values[entries[t + 1]]
            v2, v3 = values[entries[t + 2]], values[entries[t + 3]]
            for c in range(beside.size):
                beside[c] += (v0 * x0[c] + v1 * x1[c]) + (v2 * x2[c] + v3 * x3[c])
        for t in range(fours, end):
            x0, v0 = dense[rows[t]], values[entries[t]]
            for c in range(beside.size):
                beside[c] += v0 * x0[c]


def add_gram(found: Entries, n_rare: int, products: np.ndarray, sums: np.ndarray) -> None:
    """Add x x^T of the rows to the upper triangle of ``products``, and x to ``sums``.

    Common columns are multiplied as a dense matrix (BLAS, to be held to one thread by the caller), the
    rest entry by entry. Below the diagonal ``products`` has no meaning.
    """
    columns, values, first, common = found
    dense = np.empty((common.size, sums.size - n_rare))
    over_range(fill_common, common.size, columns, values, first, common, n_rare, dense)
    sums[n_rare:] += dense.sum(axis=0)
    _add_common(dense, products[n_rare:, n_rare:])
    before = np.empty(n_rare + 1, np.int64)
    entries, rows = np.empty(columns.size, np.int64), np.empty(columns.size, np.int64)
    list_by_column(columns, first, common, before, entries, rows)
    over_range(
        add_rare, n_rare, columns, values, common, before, entries, rows, dense, products, sums
    )


def _add_common(dense: np.ndarray, products: np.ndarray) -> None:
    def add(start: int) -> None:
        stripe = slice(start, start + STRIPE)
        here = dense[:, stripe]
        products[:start, stripe] += dense[:, :start].T @ here
        products[stripe, stripe] += here.T @ here  # numpy sees the symmetry: 1.3 ms instead of 1.7

    all_in_threads(add, range(0, dense.shape[1], STRIPE))


@kernel
def to_covariance(products, mean, n, start, stop):
    """Make the upper triangle of the sums of x x^T over n rows that of the covariance, rows start..stop."""
    for j in range(start, stop):
        own, scaled = products[j], n * mean[j]
        for k in range(j, own.size):
            own[k] = (own[k] - scaled * mean[k]) / (n - 1)


@kernel
def project_entries(columns, values, first, loadings, offset, out, start, stop):
    """Write x @ loadings - offset for each row x, summed in float64."""
    score = np.empty(offset.size, np.float64)
    for i in range(start, stop):
        for c in range(score.size):  # in loops: slices take a second longer to compile
            score[c] = -offset[c]
        fours = first[i + 1] - (first[i + 1] - first[i]) % 4
        # four at once: each sum is read and written a quarter as often
        for k in range(first[i], fours, 4):
            a0, a1 = loadings[columns[k]], loadings[columns[k + 1]]
            a2, a3 = loadings[columns[k + 2]], loadings[columns[k + 3]]
            v0, v1, v2, v3 = values[k], values[k + 1], values[k + 2], values[k + 3]
            for c in range(score.size):
                score[c] += (v0 * a0[c] + v1 * a1[c]) + (v2 * a2[c] + v3 * a3[c])
        for k in range(fours, first[i + 1]):
            a0, v0 = loadings[columns[k]], values[k]
            for c in range(score.size):
                score[c] += v0 * a0[c]
        for c in range(score.size):
            out[i, c] = score[c]

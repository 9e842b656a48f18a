"""Sums of x x^T over sparse rows, and products of the rows with a dense matrix."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import in_threads, kernel, over_range

ROWS = 1024  # taken at a time: what is known of them stays in the processor's cache
ENTRIES = 1 << 21  # room for the chosen entries of these rows: 24 MiB
COMMON = 0.3  # share of rows from which on a column is treated as dense
STRIPE = 256  # columns of a dense product, at most: what one thread does


@kernel
def choose_entries(data, indices, indptr, place, columns, values, size, start, stop):
    """Write the entries of chosen columns of row i into the first ``size[i]`` of ``columns[i]``.

    Every entry is written, and the next one over it where it was not chosen: which are cannot be
    guessed, and a wrong guess costs more.
    """
    for i in range(start, stop):
        at, to, to_values = 0, columns[i], values[i]
        for k in range(indptr[i], indptr[i + 1]):
            p = place[indices[k]]
            to[at] = p
            to_values[at] = data[k]
            at += p >= 0
        size[i] = at


@kernel
def count_entries(columns, size, counts):
    """Count the entries of each column."""
    for i in range(size.size):
        for k in range(size[i]):
            counts[columns[i, k]] += 1


@kernel
def split_entries(columns, values, size, common_place, dense, start, stop):
    """Move the entries of common columns to ``dense``; the others close up."""
    for i in range(start, stop):
        dense[i, :] = 0.0
        at = 0
        for k in range(size[i]):
            p = common_place[columns[i, k]]
            if p >= 0:
                dense[i, p] = values[i, k]
            else:
                columns[i, at], values[i, at] = columns[i, k], values[i, k]
                at += 1
        size[i] = at


@kernel
def list_by_column(columns, size, first, slots, rows):
    """Write where the entries of column a are: rows and slots ``first[a]`` to ``first[a + 1]``."""
    free = first[:-1].copy()
    for i in range(size.size):
        for k in range(size[i]):
            at = free[columns[i, k]]
            rows[at], slots[at] = i, k
            free[columns[i, k]] += 1


@kernel
def add_rare(columns, values, size, first, slots, rows, dense, common, products, sums, start, stop):
    """Add x_a x_b to ``products`` (upper triangle) for rare columns a of start..stop and all others b.

    One column's products stay in the processor's nearest cache: row by row they would be strewn over
    32 MB (2,000 columns): with the dense part .40 CPU-s instead of .95 at 20,000 rows.
    """
    beside = np.empty(common.size)
    for a in range(start, stop):
        if first[a] == first[a + 1]:
            continue
        beside[:] = 0.0
        along = products[a]
        for t in range(first[a], first[a + 1]):
            i = rows[t]
            in_row, row_values, in_common = columns[i], values[i], dense[i]
            v = row_values[slots[t]]
            sums[a] += v
            for k in range(slots[t], size[i]):
                along[in_row[k]] += v * row_values[k]
            for c in range(beside.size):
                beside[c] += v * in_common[c]
        for c in range(common.size):
            products[min(a, common[c]), max(a, common[c])] += beside[c]


def room_for(n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays that `add_gram` works in: made once, as fresh pages cost as much as its work."""
    n_rows = max(1, min(ROWS, ENTRIES // (n_columns + 1)))
    shape = n_rows, n_columns + 1  # one more: an entry is written before it is known to be chosen
    return np.empty(shape, np.int32), np.empty(shape)


def add_gram(data, indices, indptr, place, room, products, sums) -> None:
    """Add x x^T of canonical CSR rows to the upper triangle of ``products``, and x to ``sums``.

    ``place[j]`` (int32) is the position of column j among the chosen ones, ascending, -1 where it is
    left out. Columns that many rows have are multiplied as a dense matrix (BLAS, to be held to one
    thread by the caller), the rest entry by entry. Below the diagonal ``products`` has no meaning.
    """
    n_columns, n_rows = sums.size, indptr.size - 1
    step = len(room[0])
    for top in range(0, n_rows, step):
        here = indptr[top : top + step + 1]
        n = here.size - 1
        columns, values, size = room[0][:n], room[1][:n], np.empty(n, np.int64)
        over_range(choose_entries, n, data, indices, here, place, columns, values, size)
        counts = np.zeros(n_columns, np.int64)
        count_entries(columns, size, counts)
        common = np.flatnonzero(counts > COMMON * n)
        common_place = np.full(n_columns, -1, np.int32)
        common_place[common] = np.arange(common.size)
        dense = np.empty((n, common.size))
        over_range(split_entries, n, columns, values, size, common_place, dense)
        _add_common(dense, common, products, sums)
        counts[common] = 0
        first = np.concatenate(([0], np.cumsum(counts)))
        slots, rows = np.empty(first[-1], np.int32), np.empty(first[-1], np.int32)
        list_by_column(columns, size, first, slots, rows)
        over_range(
            add_rare, n_columns, columns, values, size, first, slots, rows, dense, common,
            products, sums,
        )  # fmt: skip


def _add_common(
    dense: np.ndarray, common: np.ndarray, products: np.ndarray, sums: np.ndarray
) -> None:
    sums[common] += dense.sum(axis=0)
    step = min(STRIPE, max(16, -(-common.size // 4)))

    def add(start: int) -> None:
        stripe = slice(start, start + step)
        above = dense[:, : start + step].T @ dense[:, stripe]
        if common.size == sums.size:
            products[: start + step, stripe] += above
        else:
            products[np.ix_(common[: start + step], common[stripe])] += above

    for _ in in_threads(add, range(0, common.size, step)):
        pass


@kernel
def project_rows(data, indices, indptr, place, loadings, offset, out, start, stop):
    """Write x @ loadings - offset for each row x, summed in float64."""
    score = np.empty(offset.size, np.float64)
    columns = np.empty(loadings.shape[0] + 1, np.int32)  # one more: written before it is known
    values = np.empty(columns.size, np.float64)
    for i in range(start, stop):
        at = 0
        for k in range(indptr[i], indptr[i + 1]):
            p = place[indices[k]]
            columns[at] = p
            values[at] = data[k]
            at += p >= 0
        for c in range(score.size):  # in loops: slices take a second longer to compile
            score[c] = -offset[c]
        for k in range(at):
            value, along = values[k], loadings[columns[k]]
            for c in range(score.size):
                score[c] += value * along[c]
        for c in range(score.size):
            out[i, c] = score[c]

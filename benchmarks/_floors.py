"""What no program can leave out of a step, alone and on one thread: each row's floor.

A rival's time over the floor's is the most that its bar can ever show; a bar above it is out of reach. Beside the bare
floor stands that of our contract (DESIGN.md): every value and index is checked, sums are split in two words, as those
that no order of the cells changes must be (to move them on before they are full is left out), and X shares no array
with the counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numba
import numpy as np
import scipy.sparse as sp
from _measure import CONTRACT, FLOOR, Tool

from cellsigil._core._vector import add_split

ROWS = 128  # whose values are transformed together
LEVELS = 32  # counts below are looked up: 99 % and more
HIGHEST = 2.0**16  # of what is added up here


@numba.njit(cache=True, nogil=True)
def totals(values, indices, indptr, n_genes):
    """Add up cells, and genes' values and cells, in one read."""
    cells, genes = np.zeros(indptr.size - 1), np.zeros((n_genes, 2))
    for i in range(indptr.size - 1):
        total = 0.0
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j, x = np.uint32(indices[k]), np.float64(values[k])
            total += x
            genes[j, 0] += x
            genes[j, 1] += 1.0
        cells[i] = total
    return cells, genes


@numba.njit(cache=True, nogil=True)
def add_squares(values, indices, indptr, sums):
    """Add x and x**2 to each gene's sums in one read, in the order of storage."""
    for i in range(indptr.size - 1):
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j, x = np.uint32(indices[k]), np.float64(values[k])
            sums[j, 0] += x
            sums[j, 1] += x * x


@numba.njit(cache=True, nogil=True)
def add_exact_squares(values, indices, indptr, sums):
    """Add x and x**2 to each gene's sums, each split in two words: its share of whole units, and the rest."""
    coarse, coarse_square = 1.5 * 2.0**9 * HIGHEST, 1.5 * 2.0**9 * HIGHEST**2
    for i in range(indptr.size - 1):
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j, x = np.uint32(indices[k]), np.float64(values[k])
            add_split(sums[j], x, coarse, coarse_square)


@numba.njit(cache=True, nogil=True)
def all_clean(values, indices, indptr, n_genes, whole):
    """Return whether values are positive, finite and, if it is asked, whole, and indices ascend within the genes."""
    clean = True
    for i in range(indptr.size - 1):
        x, j = values[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        for k in range(x.size):
            clean &= (x[k] > 0) & (x[k] < np.inf)
        if whole:
            for k in range(x.size):
                clean &= x[k] == np.floor(x[k])
        before, after = j[:-1], j[1:]
        for k in range(after.size):
            clean &= before[k] < after[k]
        clean &= j.size == 0 or (j[0] >= 0) & (j[-1] < n_genes)
    return clean


def pieces(indptr, n_rows):
    """Yield the entries and the own indptr of so many rows at a time."""
    for first in range(0, indptr.size - 1, n_rows):
        starts = indptr[first : first + n_rows + 1]
        yield slice(starts[0], starts[-1]), starts - starts[0]


def squares(values, indices, indptr, n_genes):
    """Add up x and x**2 of genes."""
    sums = np.zeros((n_genes, 2))
    add_squares(values, indices, indptr, sums)
    return sums


def zeros_on_lines(n_genes):
    """Return zeros of which no gene's four straddle two cache lines, as ours do."""
    room = np.zeros(n_genes * 4 + 8)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + n_genes * 4].reshape(n_genes, 4)


def checked_squares(values, indices, indptr, n_genes):
    """Add up x and x**2 of genes under our contract."""
    sums = zeros_on_lines(n_genes)
    for entries, starts in pieces(indptr, ROWS):
        assert all_clean(values[entries], indices[entries], starts, n_genes, False)
        add_exact_squares(values[entries], indices[entries], starts, sums)
    return sums


def linear_squares(values, indices, indptr, n_genes):
    """Add up expm1(x) and its square, in float32 and by pieces that stay in the cache."""
    sums = np.zeros((n_genes, 2))
    for entries, starts in pieces(indptr, ROWS):
        add_squares(np.expm1(values[entries]), indices[entries], starts, sums)
    return sums


def checked_linear_squares(values, indices, indptr, n_genes):
    """Add up expm1(x) and its square under our contract."""
    sums = zeros_on_lines(n_genes)
    for entries, starts in pieces(indptr, ROWS):
        assert all_clean(values[entries], indices[entries], starts, n_genes, False)
        add_exact_squares(np.expm1(values[entries]), indices[entries], starts, sums)
    return sums


@numba.njit(cache=True, nogil=True)
def look_up(values, indptr, table, factor, out, scaled):
    """Write log1p of every scaled count, small ones from a cell's table, and the scaled counts."""
    for i in range(indptr.size - 1):
        own = table[i]
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            scaled[k] = values[k] * factor[i]
            out[k] = own[np.uint32(values[k])] if values[k] < LEVELS else np.log1p(scaled[k])


def log_squares(values, indices, indptr, n_genes):
    """Write log1p of every scaled count; add up the scaled counts and their squares on the way."""
    return _log_squares(values, indices, indptr, n_genes, contract=False)


def checked_log_squares(values, indices, indptr, n_genes):
    """Do as `log_squares` under our contract: the indices are copied too."""
    return _log_squares(values, indices, indptr, n_genes, contract=True)


def _log_squares(values, indices, indptr, n_genes, *, contract: bool):
    out, own = np.empty(values.size, np.float32), np.empty_like(indices) if contract else indices
    sums = zeros_on_lines(n_genes) if contract else np.zeros((n_genes, 2))
    add = add_exact_squares if contract else add_squares
    for entries, starts in pieces(indptr, ROWS):
        counts, columns = values[entries], indices[entries]
        if contract:
            assert all_clean(counts, columns, starts, n_genes, True)
            own[entries] = columns
        total = np.add.reduceat(counts, starts[:-1]) if counts.size else np.ones(starts.size - 1)
        factor = 1e4 / np.maximum(total, 1)
        table = np.log1p(np.arange(LEVELS, dtype=np.float32) * factor[:, None].astype(np.float32))
        scaled = np.empty(counts.size, np.float32)
        look_up(counts, starts, table, factor, out[entries], scaled)
        add(scaled, columns, starts, sums)
    return out, own, sums


def ranked(matrix: sp.csr_matrix, group: np.ndarray) -> np.ndarray:
    """Bring the entries into columns, sort each, and add up what Wilcoxon and t need of every group."""
    columns = matrix.tocsc()
    keys = (columns.data.view(np.uint32).astype(np.uint64) << 32) | group[columns.indices]
    for j in range(matrix.shape[1]):
        keys[columns.indptr[j] : columns.indptr[j + 1]].sort()
    sums = np.zeros((matrix.shape[1], int(group.max()) + 1, 3))
    add_ranks(keys, columns.indptr, matrix.shape[0], sums)
    return sums


@numba.njit(cache=True, nogil=True)
def add_ranks(keys, indptr, n_cells, sums):
    """Add (rank, x, x**2) of the entries of column j to those of its group, ``sums[j, g]``; equal ones share a rank."""
    for j in range(indptr.size - 1):
        own, last = sums[j], np.uint64(indptr[j + 1])
        first = np.uint64(indptr[j])
        below = n_cells - (indptr[j + 1] - indptr[j])  # zeros
        while first < last:
            bits, end = keys[first] >> np.uint64(32), first + np.uint64(1)
            while end < last and keys[end] >> np.uint64(32) == bits:
                end += np.uint64(1)
            n = np.int64(end - first)
            rank, x = below + (n + 1) / 2, np.float64(np.uint32(bits).view(np.float32))
            for k in range(first, end):
                of_group = own[np.uint32(keys[k])]
                of_group[0] += rank
                of_group[1] += x
                of_group[2] += x * x
            below += n
            first = end


def read_arrays(path: str, copies: int, *, contract: bool = False) -> list[np.ndarray]:
    """Read X's three arrays from the file, nothing else, check them if our contract asks, and copy them."""
    with h5py.File(path) as file:
        arrays = [file["X"][key][:] for key in ("data", "indices", "indptr")]
        n_genes = int(file["X"].attrs["shape"][1])
    assert not contract or all_clean(*arrays, n_genes, True)
    return arrays + [array.copy() for array in arrays * (copies - 1)]


def floors_of(bare: Callable[..., Any], contract: Callable[..., Any], says: str) -> list[Tool]:
    """Return the contenders that run a row's floor, and that of our contract, over X."""
    kernels = (
        (FLOOR, bare, says),
        (CONTRACT, contract, "the same, checked, sums in two words, with arrays of its own"),
    )
    return [
        Tool(
            name, lambda m, kernel=kernel: kernel(m.data, m.indices, m.indptr, m.shape[1]),
            ready=lambda a: a.X.copy(), note=note,
        )
        for name, kernel, note in kernels
    ]  # fmt: skip


def floor_of(kernel: Callable[..., Any], says: str) -> Tool:
    """Return the contender that runs a row's floor over X, where our contract has none of its own."""
    return floors_of(kernel, kernel, says)[0]

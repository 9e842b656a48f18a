"""What no program can leave out of a step, alone and without checks, on one thread: each row's floor.

A rival's time over the floor's is the most that its bar can ever show; a bar above it is out of reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numba
import numpy as np
import scipy.sparse as sp
from _measure import FLOOR, Tool

ROWS = 128  # whose values are transformed together
LEVELS = 32  # counts below are looked up: 99 % and more


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


def squares(values, indices, indptr, n_genes):
    """Add up x and x**2 of genes."""
    sums = np.zeros((n_genes, 2))
    add_squares(values, indices, indptr, sums)
    return sums


def linear_squares(values, indices, indptr, n_genes):
    """Add up expm1(x) and its square, in float32 and by pieces that stay in the cache."""
    sums = np.zeros((n_genes, 2))
    for first in range(0, indptr.size - 1, ROWS):
        starts = indptr[first : first + ROWS + 1]
        entries = slice(starts[0], starts[-1])
        add_squares(np.expm1(values[entries]), indices[entries], starts - starts[0], sums)
    return sums


@numba.njit(cache=True, nogil=True)
def log_squares(values, indices, indptr, n_genes):
    """Write log1p of every scaled count, small ones from a cell's table; add up x and x**2 of genes on the way."""
    out, sums, table = np.empty(values.size, np.float32), np.zeros((n_genes, 2)), np.empty(LEVELS)
    for i in range(indptr.size - 1):
        total = 0.0
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            total += values[k]
        factor = 1e4 / max(total, 1.0)
        for x in range(LEVELS):
            table[x] = np.log1p(x * factor)
        for k in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
            j, x = np.uint32(indices[k]), values[k] * factor
            out[k] = table[np.uint32(values[k])] if values[k] < LEVELS else np.log1p(x)
            sums[j, 0] += x
            sums[j, 1] += x * x
    return out, sums


@numba.njit(cache=True, nogil=True)
def marked(indices, flags):
    """Look once whether each entry's gene is in a set."""
    n = 0
    for k in range(indices.size):
        n += flags[np.uint32(indices[k])]
    return n


def columns_sorted(matrix: sp.csr_matrix) -> None:
    """Bring the entries into columns and sort each: what ranks need."""
    columns = matrix.tocsc()
    for j in range(matrix.shape[1]):
        columns.data[columns.indptr[j] : columns.indptr[j + 1]].sort()


def read_arrays(path: str, copies: int) -> list[np.ndarray]:
    """Read X's three arrays from the file, nothing else, and copy them."""
    with h5py.File(path) as file:
        arrays = [file["X"][key][:] for key in ("data", "indices", "indptr")]
    return arrays + [array.copy() for array in arrays * (copies - 1)]


def floor_of(kernel: Callable[..., Any], says: str) -> Tool:
    """Return the contender that runs a kernel over X."""
    return Tool(
        FLOOR, lambda m: kernel(m.data, m.indices, m.indptr, m.shape[1]), ready=lambda a: a.X.copy(), note=says
    )  # fmt: skip

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


@numba.njit(cache=True, nogil=True)
def totals(values, indices, indptr, n_genes):
    """Add up cells, and genes' values and cells, in one read."""
    cells, genes = np.zeros(indptr.size - 1), np.zeros((n_genes, 2))
    for i in range(indptr.size - 1):
        for k in range(indptr[i], indptr[i + 1]):
            cells[i] += values[k]
            genes[indices[k], 0] += values[k]
            genes[indices[k], 1] += 1
    return cells, genes


@numba.njit(cache=True, nogil=True)
def squares(values, indices, indptr, n_genes):
    """Add up x and x**2 of genes in one read, in the order of storage."""
    sums = np.zeros((n_genes, 2))
    for i in range(indptr.size - 1):
        for k in range(indptr[i], indptr[i + 1]):
            x = np.float64(values[k])
            sums[indices[k], 0] += x
            sums[indices[k], 1] += x * x
    return sums


@numba.njit(cache=True, nogil=True)
def scaled_squares(values, indices, indptr, n_genes):
    """Write every value of a cell times a number, no log1p, and add up x and x**2 of genes on the way."""
    out, sums = np.empty(values.size, np.float32), np.zeros((n_genes, 2))
    for i in range(indptr.size - 1):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += values[k]
        for k in range(indptr[i], indptr[i + 1]):
            x = values[k] * (1e4 / total)
            out[k] = x
            sums[indices[k], 0] += x
            sums[indices[k], 1] += x * x
    return out, sums


@numba.njit(cache=True, nogil=True)
def marked(indices, flags):
    """Look once whether each entry's gene is in a set."""
    n = 0
    for k in range(indices.size):
        n += flags[indices[k]]
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

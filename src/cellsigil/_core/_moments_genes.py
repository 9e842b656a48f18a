"""Sums and squares of genes per batch of cells, over rows: the same bits in any order of the cells.

Fixed point: integers add up to the same bits in any order and over any row blocks, and gene means
decide sorts.
"""

from __future__ import annotations

import numpy as np

from cellsigil._core._fixed import scale_for
from cellsigil._core._jit import kernel


@kernel
def gene_extent(values, indices, indptr, label, most, nonzero, start, stop):
    """Update the largest |x| of gene j in batch b and its number of stored entries; -1 is no batch."""
    for i in range(start, stop):
        b = label[i]
        if b >= 0:
            for k in range(indptr[i], indptr[i + 1]):
                j = indices[k]
                nonzero[b, j] += 1
                most[b, j] = max(most[b, j], abs(values[k]))


@kernel
def scales(most, nonzero, scale, start, stop):
    """Write the fixed-point scale of each gene; ``most`` bounds what is summed."""
    for j in range(start, stop):
        for b in range(most.shape[0]):
            scale[b, j] = scale_for(most[b, j], nonzero[b, j])


@kernel
def gene_sums(values, indices, indptr, label, scale, sums, start, stop):
    """Add x of rows start..stop to ``sums[b, j]``, in units of 1 / scale."""
    for i in range(start, stop):
        b = label[i]
        if b >= 0:
            for k in range(indptr[i], indptr[i + 1]):
                j = indices[k]
                sums[b, j] += np.int64(np.rint(values[k] * scale[b, j]))


@kernel
def gene_squares(values, indices, indptr, label, mean, limit, scale, squares, start, stop):
    """Add (min(x, limit) - mean)**2 of the stored entries to ``squares[b, j]``, in units of 1 / scale.

    The mean is known, so nothing cancels: never E[x**2] - E[x]**2.
    """
    for i in range(start, stop):
        b = label[i]
        if b >= 0:
            for k in range(indptr[i], indptr[i + 1]):
                j = indices[k]
                away = min(values[k], limit[b, j]) - mean[b, j]
                squares[b, j] += np.int64(np.rint(away * away * scale[b, j]))

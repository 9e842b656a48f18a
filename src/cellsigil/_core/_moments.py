"""Sums and squares of a gene's values per class of cells, the same bits in any order of the cells."""

from __future__ import annotations

import numpy as np

from cellsigil._core._fixed import scale_for
from cellsigil._core._jit import kernel


@kernel
def class_sums(indptr, cells, values, label, sums, scale, nonzero, start, stop):
    """Add up column j's values per class of cells: the sum is ``sums[j, c] / scale[j]``.

    ``label[i]`` is the class of cell i, -1 where it is left out; ``nonzero[j, c]`` counts the
    stored entries. ``sums`` and ``nonzero`` come in as zeros.
    """
    for j in range(start, stop):
        most, n = 0.0, 0
        for k in range(indptr[j], indptr[j + 1]):
            if label[cells[k]] >= 0:
                most = max(most, abs(np.float64(values[k])))
                n += 1
        scale[j] = scale_for(most, n)
        for k in range(indptr[j], indptr[j + 1]):
            c = label[cells[k]]
            if c >= 0:
                sums[j, c] += np.int64(np.rint(values[k] * scale[j]))
                nonzero[j, c] += 1


@kernel
def class_squares(indptr, cells, values, label, size, mean, nonzero, squares, start, stop):
    """Write the sum of (x - mean[j, c])**2 over all cells of class c, implicit zeros too.

    Two passes with the mean known, so nothing cancels: never E[x**2] - E[x]**2.
    """
    n_classes = size.size
    fixed = np.zeros(n_classes, np.int64)
    for j in range(start, stop):
        fixed[:] = 0
        most, n = 0.0, 0
        for k in range(indptr[j], indptr[j + 1]):
            c = label[cells[k]]
            if c >= 0:
                most = max(most, abs(values[k] - mean[j, c]))
                n += 1
        scale = scale_for(most * most, n)
        for k in range(indptr[j], indptr[j + 1]):
            c = label[cells[k]]
            if c >= 0:
                away = values[k] - mean[j, c]
                fixed[c] += np.int64(np.rint(away * away * scale))
        for c in range(n_classes):
            zeros = size[c] - nonzero[j, c]
            squares[j, c] = fixed[c] / scale + zeros * mean[j, c] * mean[j, c]

"""Sums and squares of a gene's values per class of cells, the same bits in any order of the cells.

The stored values of column j and class c are ``values[edges[j, c]:edges[j, c + 1]]``: runs without an index
that the processor adds up several at a time, 5x cheaper than entries that each look up their class.
"""

from __future__ import annotations

import numpy as np

from cellsigil._core._fixed import scale_for
from cellsigil._core._jit import kernel


@kernel
def class_sums(edges, values, most, sums, scale, start, stop):
    """Write the sum of column j's values in class c as ``sums[j, c] / scale[j]``; none is above ``most[j]``."""
    n_classes = sums.shape[1]
    for j in range(start, stop):
        scale[j] = scale_for(most[j], edges[j, n_classes] - edges[j, 0])
        unit = scale[j]
        for c in range(n_classes):
            total = np.int64(0)
            for k in range(np.uint64(edges[j, c]), np.uint64(edges[j, c + 1])):
                total += np.int64(np.rint(values[k] * unit))
            sums[j, c] = total


@kernel
def class_squares(edges, values, size, mean, squares, start, stop):
    """Write the sum of (x - mean[j, c])**2 over all cells of class c, implicit zeros too.

    Two passes with the mean known, so nothing cancels: never E[x**2] - E[x]**2.
    """
    n_classes = size.size
    for j in range(start, stop):
        most = 0.0
        for c in range(n_classes):
            m = mean[j, c]
            for k in range(np.uint64(edges[j, c]), np.uint64(edges[j, c + 1])):
                most = max(most, abs(values[k] - m))
        scale = scale_for(most * most, edges[j, n_classes] - edges[j, 0])
        for c in range(n_classes):
            m = mean[j, c]
            total = np.int64(0)
            for k in range(np.uint64(edges[j, c]), np.uint64(edges[j, c + 1])):
                away = values[k] - m
                total += np.int64(np.rint(away * away * scale))
            zeros = size[c] - (edges[j, c + 1] - edges[j, c])
            squares[j, c] = total / scale + zeros * m * m

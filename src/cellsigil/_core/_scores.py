"""Scores as sparse products: exact column sums, ranks within a row, rows times weights."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import kernel


@kernel
def add_fixed(data, indices, center, power, scale, sums):
    """Add round((x - center[j])**power * scale) to ``sums[j]``: integers, so any order gives the same bits."""
    for k in range(data.size):
        j = indices[k]
        x = np.float64(data[k]) - center[j]
        sums[j] += np.int64(np.rint((x * x if power == 2 else x) * scale))


@kernel
def rank_rows(data, indptr, low, high, start, stop):
    """Write the first and last rank (1 = largest) of every entry's block of ties within its row."""
    for i in range(start, stop):
        first, last = indptr[i], indptr[i + 1]
        order = np.argsort(-data[first:last])
        n = last - first
        t = 0
        while t < n:
            x = data[first + order[t]]
            end = t
            while end + 1 < n and data[first + order[end + 1]] == x:
                end += 1
            for place in range(t, end + 1):
                low[first + order[place]] = t + 1
                high[first + order[place]] = end + 1
            t = end + 1


@kernel
def project_rows(data, indices, indptr, w_data, w_indices, w_indptr, out, start, stop):
    """Add to ``out[i]`` the product of row i and a CSR matrix of weights (columns of the rows x columns of out)."""
    for i in range(start, stop):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            x = np.float64(data[k])
            for t in range(w_indptr[j], w_indptr[j + 1]):
                out[i, w_indices[t]] += x * w_data[t]

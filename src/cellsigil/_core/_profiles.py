"""Sums and squared deviations of scaled counts per gene, group and sample."""

from __future__ import annotations

import numpy as np

from cellsigil._core._columns import seek
from cellsigil._core._jit import inner, kernel

SMALL = 64  # counts below this share a cell's logarithms: 98 % of UMI counts are 1, 2 or 3


@inner
def log_of(value, factor, logs):
    """Return log1p(value * factor), from ``logs`` where this cell had the same small count before."""
    v = np.uint32(value) if value < SMALL else np.uint32(0)
    if v != value:
        return np.log1p(value * factor)
    if np.isnan(logs[v]):
        logs[v] = np.log1p(value * factor)
    return logs[v]


@kernel
def sum_scaled(
    data, indices, indptr, scale, group, sample, linear, log, squares, found, start, stop
):
    """Add up x = count * scale[row] and log1p(x) of genes start..stop over all rows, in their order.

    ``linear`` and ``log`` are groups x samples x genes, ``squares`` (of the logarithm) samples x
    genes, ``found`` (entries) groups x genes; rows of group -1 are left out.
    """
    logs = np.empty(SMALL)
    for i in range(indptr.size - 1):
        g, s = group[i], sample[i]
        if g < 0:
            continue
        logs[:] = np.nan
        first = seek(indices, indptr[i], indptr[i + 1], start)
        for k in range(np.uint64(first), np.uint64(indptr[i + 1])):
            j = np.uint32(indices[k])
            if j >= stop:
                break
            y = log_of(data[k], scale[i], logs)
            linear[g, s, j] += data[k] * scale[i]
            log[g, s, j] += y
            squares[s, j] += y * y
            found[g, j] += 1


@kernel
def sum_deviations(data, indices, indptr, scale, group, mean, mean_log, squared, log, start, stop):
    """Add up (x - mean[group, gene])² and (log1p(x) - mean_log[gene])² over the stored entries.

    The zeros' share, n₀·mean², is the caller's. Two passes: E[x²] - E[x]² cancels.
    """
    logs = np.empty(SMALL)
    for i in range(indptr.size - 1):
        g = group[i]
        if g < 0:
            continue
        logs[:] = np.nan
        first = seek(indices, indptr[i], indptr[i + 1], start)
        for k in range(np.uint64(first), np.uint64(indptr[i + 1])):
            j = np.uint32(indices[k])
            if j >= stop:
                break
            squared[g, j] += (data[k] * scale[i] - mean[g, j]) ** 2
            log[j] += (log_of(data[k], scale[i], logs) - mean_log[j]) ** 2

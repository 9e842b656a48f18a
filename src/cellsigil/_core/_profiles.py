"""Sums and squared deviations of scaled counts per gene, group and sample."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import kernel


@kernel
def sum_scaled(
    values, cells, indptr, scale, group, sample, linear, log, squares, found, start, stop
):
    """Add up x = value * scale[cell] and log1p(x) of genes start..stop, by group and sample.

    ``linear`` and ``log`` are genes x groups x samples, ``squares`` (of the logarithm) genes x
    samples, ``found`` (entries) genes x groups; cells of group -1 are left out.
    """
    for j in range(start, stop):
        for k in range(indptr[j], indptr[j + 1]):
            i = cells[k]
            g = group[i]
            if g < 0:
                continue
            x = values[k] * scale[i]
            y = np.log1p(x)
            linear[j, g, sample[i]] += x
            log[j, g, sample[i]] += y
            squares[j, sample[i]] += y * y
            found[j, g] += 1


@kernel
def sum_deviations(values, cells, indptr, scale, group, mean, mean_log, squared, log, start, stop):
    """Add up (x - mean[gene, group])² and (log1p(x) - mean_log[gene])² over the stored entries.

    The zeros' share, n₀·mean², is the caller's. Two passes: E[x²] - E[x]² cancels.
    """
    for j in range(start, stop):
        for k in range(indptr[j], indptr[j + 1]):
            i = cells[k]
            g = group[i]
            if g < 0:
                continue
            x = values[k] * scale[i]
            squared[j, g] += (x - mean[j, g]) ** 2
            log[j] += (np.log1p(x) - mean_log[j]) ** 2

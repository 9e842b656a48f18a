"""Passes over canonical CSR rows: sums, largest values, scaling, products with a dense matrix."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import kernel


@kernel
def sum_rows(data, indptr, total, start, stop):
    """Write the sum of each row, float64: exact for counts."""
    for i in range(start, stop):
        s = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            s += data[k]
        total[i] = s


@kernel
def sum_sets(data, indices, indptr, member, total, start, stop):
    """Write ``total[i, s]``: the sum of row i over the columns j with ``member[j, s]``."""
    for i in range(start, stop):
        total[i, :] = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            for s in range(member.shape[1]):
                if member[indices[k], s]:
                    total[i, s] += data[k]


@kernel
def sum_largest(data, indptr, ns, total, start, stop):
    """Write ``total[i, t]``: the sum of the ``ns[t]`` largest values of row i; ``ns`` ascends."""
    for i in range(start, stop):
        values = np.sort(data[indptr[i] : indptr[i + 1]])
        s, taken = 0.0, 0
        for t in range(ns.size):
            while taken < min(ns[t], values.size):
                taken += 1
                s += values[values.size - taken]
            total[i, t] = s


@kernel
def divide_rows(data, indptr, factor, out, start, stop):
    """Write data / factor[row] into ``out``; a factor of 0 leaves the row as it is in ``out``."""
    for i in range(start, stop):
        if factor[i] > 0:
            for k in range(indptr[i], indptr[i + 1]):
                out[k] = data[k] / factor[i]


@kernel
def gram(data, indices, indptr, place, products, sums, start, stop):
    """Add x x^T of rows start..stop to the upper triangle of ``products``, and x to ``sums``.

    ``place[j]`` is the position of column j among the chosen ones, ascending, -1 where it is left
    out. Costs the square of a row's chosen entries, not of the chosen columns.
    """
    columns = np.empty(sums.size, np.int64)
    values = np.empty(sums.size, np.float64)
    for i in range(start, stop):
        n = 0
        for k in range(indptr[i], indptr[i + 1]):
            if place[indices[k]] >= 0:
                columns[n] = place[indices[k]]
                values[n] = data[k]
                n += 1
        for a in range(n):
            sums[columns[a]] += values[a]
            row = products[columns[a]]
            for b in range(a, n):
                row[columns[b]] += values[a] * values[b]


@kernel
def project_rows(data, indices, indptr, place, loadings, offset, out, start, stop):
    """Write x @ loadings - offset for each row x, summed in float64."""
    score = np.empty(offset.size, np.float64)
    for i in range(start, stop):
        score[:] = -offset
        for k in range(indptr[i], indptr[i + 1]):
            p = place[indices[k]]
            if p >= 0:
                for c in range(offset.size):
                    score[c] += data[k] * loadings[p, c]
        out[i] = score

"""All groups but each: means and squares merged by Chan's rule from both ends, so that nothing is subtracted."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel

GENES_AT_ONCE = 256  # of 100 groups they take 400 kB, which stay in the second-level cache


@inner
def merge(n, mean, squares, other_n, other, other_squares, out, out_squares):
    """Write n cells and ``other_n`` others in one: M2 = M2_a + M2_b + (mean_b - mean_a)^2 n_a n_b / n."""
    total = n + other_n
    weight = n * other_n / max(total, 1)
    for j in range(squares.size):
        apart = other[j] - mean[j]
        out_squares[j] = squares[j] + other_squares[j] + apart * apart * weight
    for j in range(mean.size):
        out[j] = (mean[j] * n + other[j] * other_n) / total if total else mean[j]


@kernel
def merge_others(n, mean, squares, rest_mean, rest_squares, start, stop):
    """Write the mean and the squares about it of all groups but each, genes start..stop.

    ``n`` counts the cells of the groups, all else is (G, genes), or (G, 0) where squares are not known.
    """
    own, own_squares = mean[:, start:stop], squares[:, start:stop]
    out, out_squares = rest_mean[:, start:stop], rest_squares[:, start:stop]
    behind = np.zeros(
        n.size, np.int64
    )  # cells of all groups behind each, whose mean and squares are:
    after, after_squares = np.zeros(own.shape), np.zeros(own_squares.shape)
    for g in range(n.size - 1, 0, -1):
        behind[g - 1] = behind[g] + n[g]
        merge(
            behind[g], after[g], after_squares[g], n[g], own[g], own_squares[g],
            after[g - 1], after_squares[g - 1],
        )  # fmt: skip
    before, before_squares = np.zeros(own.shape), np.zeros(own_squares.shape)
    size = np.int64(0)
    for g in range(n.size):
        merge(
            size, before[g], before_squares[g], behind[g], after[g], after_squares[g],
            out[g], out_squares[g],
        )  # fmt: skip
        if g + 1 < n.size:
            merge(
                size, before[g], before_squares[g], n[g], own[g], own_squares[g],
                before[g + 1], before_squares[g + 1],
            )  # fmt: skip
            size += n[g]

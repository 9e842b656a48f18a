"""Products of a few vectors with every row of a matrix."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import kernel, n_threads, over_range
from cellsigil._core._vector import EIGHT, WIDTH, in_lanes, write_products

SMALL = 1 << 24  # multiplications below which threads do not pay
FEW = 4  # vectors below which lanes would be empty: they go to BLAS


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return left @ right.T of float64, on all threads; the same bits on any number of them.

    BLAS takes three times as long (with AVX2 a third more): it copies the matrix to have it in its own order, and
    with so few vectors that is half the work.
    """
    if len(left) < FEW or len(right) < EIGHT:
        return left @ right.T
    right = np.ascontiguousarray(right, np.float64)
    out = np.empty((len(left), len(right)))
    pieces = 4 * n_threads() if left.size * len(right) >= SMALL and n_threads() > 1 else 1
    chunk = EIGHT * -(-len(right) // (EIGHT * pieces))
    for some, wide in in_lanes(left):
        products = np.empty((len(right), WIDTH))
        over_range(multiply, len(right), products, right, wide, chunk=chunk)
        out[some] = products.T[: len(out[some])]
    return out


@kernel
def multiply(out, rows, wide, start, stop):
    """Write the products of rows start..stop; the last eight overlap those before, and are the same again."""
    for i in range(start, stop, EIGHT):
        write_products(out, rows, wide, min(i, rows.shape[0] - EIGHT))

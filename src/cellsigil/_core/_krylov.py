"""The largest eigenvalues of a symmetric matrix that is only multiplied with: block Krylov."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ROOM = 1 << 25  # values of the basis and of its products: 256 MiB
TOLERANCE = 1e-7  # residual, as a share of the eigenvalue (at least of 1e-6 of the largest)
MOST_PRODUCTS = 200  # 2,000 genes of 4,000 cells took 15, to 1e-10


def largest_by_products(
    multiply: Callable[[np.ndarray], np.ndarray], size: int, n: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the n largest eigenvalues, descending, their vectors, and whether all have converged.

    The basis grows by the products of its last block, made orthogonal to all before; when it is
    full, it shrinks to the best vectors and their residuals lead on. The start is fixed.
    """
    import scipy.linalg

    width = n + max(8, n // 4)
    most = min(size, max(3 * width, ROOM // (2 * size)))
    basis, products = np.empty((size, most)), np.empty((size, most))
    projected = np.zeros((most, most))
    block = np.linalg.qr(np.random.default_rng(0).standard_normal((size, width)))[0]
    filled = 0
    for step in range(MOST_PRODUCTS):
        now = filled + width
        basis[:, filled:now] = block
        products[:, filled:now] = onward = multiply(block)
        projected[:now, filled:now] = basis[:, :now].T @ onward
        filled = now
        full = filled + width > most
        if full or step % 2:
            values, within = scipy.linalg.eigh(projected[:filled, :filled], lower=False)
            values, within = values[: -width - 1 : -1], within[:, : -width - 1 : -1]
            vectors = basis[:, :filled] @ within
            left = products[:, :filled] @ within - vectors * values
            allowed = TOLERANCE * np.maximum(values[:n], 1e-6 * values[0])
            if (np.linalg.norm(left[:, :n], axis=0) <= allowed).all() or filled == size:
                return values[:n], vectors[:, :n], True
            if full:
                products[:, :width] = products[:, :filled] @ within
                basis[:, :width], onward, filled = vectors, left, width
                projected[:] = 0.0
                projected[np.arange(width), np.arange(width)] = values
        block = _orthogonal(onward, basis[:, :filled])
    return values[:n], vectors[:, :n], False


def _orthogonal(block: np.ndarray, basis: np.ndarray) -> np.ndarray:
    for _ in range(3):  # what rounding left of the basis is large in a block of small residuals
        block = np.linalg.qr(block - basis @ (basis.T @ block))[0]
    return block

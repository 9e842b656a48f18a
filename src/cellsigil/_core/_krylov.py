"""The largest eigenvalues of a symmetric matrix, by products with it: block Krylov."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

LARGE = 1000  # rows from which a float32 start pays
ROOM = 1 << 25  # values of the basis and of its products: 256 MiB
TOLERANCE = 1e-7  # residual, as a share of the eigenvalue (at least of 1e-6 of the largest)
MOST_PRODUCTS = 200  # 2,000 genes of 4,000 cells took 15, to 1e-10


def largest(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues, descending, and their vectors; reads the upper triangle, and may overwrite it.

    LAPACK in float32 gives a start that a few products in float64 make exact: .35 CPU-s for 50 of 2,000,
    where LAPACK in float64 takes .7. A small matrix, or one that does not converge, goes the plain way.
    """
    import scipy.linalg

    size = symmetric.shape[0]
    if size >= LARGE and size >= 10 * n:
        scale = np.abs(np.diagonal(symmetric)).max()
        small = (symmetric / (scale if scale > 0 else 1.0)).astype(np.float32)
        first = [size - _width(n), size - 1]
        start = scipy.linalg.eigh(small.T, lower=True, subset_by_index=first, overwrite_a=True)[1]
        multiply = functools.partial(scipy.linalg.blas.dsymm, 1.0, symmetric.T, lower=1)
        values, vectors, converged = largest_by_products(
            multiply,
            size,
            n,
            start=np.linalg.qr(start[:, ::-1].astype(np.float64))[0],
            most=4 * _width(n),
        )
        if converged:
            return np.maximum(values, 0.0), vectors
    values, vectors = scipy.linalg.eigh(
        symmetric.T,  # by columns, so that it is not copied
        lower=True, subset_by_index=[size - n, size - 1], overwrite_a=True,
    )  # fmt: skip
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _width(n: int) -> int:
    return n + max(8, n // 4)


def largest_by_products(
    multiply: Callable[[np.ndarray], np.ndarray],
    size: int,
    n: int,
    *,
    start: np.ndarray | None = None,
    most: int = 0,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the n largest eigenvalues, descending, their vectors, and whether all have converged.

    The basis grows by the products of its last block, made orthogonal to all before; when it is
    full (``most`` columns, else what `ROOM` allows), it shrinks to the best vectors and their residuals
    lead on. ``start`` is orthonormal; without it, a fixed random one.
    """
    import scipy.linalg

    width = _width(n)
    most = min(size, most or max(3 * width, ROOM // (2 * size)))
    basis, products = np.empty((size, most)), np.empty((size, most))
    projected = np.zeros((most, most))
    if start is None:
        start = np.linalg.qr(np.random.default_rng(0).standard_normal((size, width)))[0]
    block = start
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

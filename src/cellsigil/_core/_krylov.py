"""The largest eigenvalues of a symmetric matrix, by products with it: block Krylov."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cellsigil._core._jit import in_threads

LARGE = 1000  # rows from which products pay
# Blocks in float32 for a start, and for each correction. After 11 the residuals of three data sets are 2e-5 of the
# eigenvalue or less, near what float32 can tell; 5 more reach `TOLERANCE` at once: with 9 pbmc3k took two corrections.
START, STEPS, CORRECTIONS = 11, 5, 8
STRIPE = 512  # rows of one product, at most: what one thread does
ROOM = 1 << 25  # values of the basis and of its products: 256 MiB
TOLERANCE = 1e-7  # residual, as a share of the eigenvalue (at least of 1e-6 of the largest)
MOST_PRODUCTS = 200  # 2,000 genes of 4,000 cells took 15, to 1e-10


def largest(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues, descending, and their vectors; reads the upper triangle, and may overwrite it.

    Block Krylov in float32 gives a start; residuals in float64, and Krylov in float32 from them, correct it
    until they are below `TOLERANCE`: .32 CPU-s for 50 of 2,000, three quarters of it products that threads
    share, where LAPACK in float64 takes .7 on one. A small matrix, or one that does not converge, goes
    the plain way.
    """
    import scipy.linalg

    size, width = symmetric.shape[0], _width(n)
    if size >= LARGE and size >= 10 * n:
        for i in range(0, size, STRIPE):  # both triangles, for plain products
            above = symmetric[i : i + STRIPE, i:]
            above[:, :STRIPE] = np.triu(above[:, :STRIPE]) + np.triu(above[:, :STRIPE], 1).T
            symmetric[i + STRIPE :, i : i + STRIPE] = above[:, STRIPE:].T
        scale = np.abs(np.diagonal(symmetric)).max() or 1.0
        small = (symmetric / scale).astype(np.float32)
        draw = np.random.default_rng(0).standard_normal((size, width), np.float32)
        basis, within = _krylov(small, draw, min(START, size // (2 * width)))
        block = times(basis, _top(within, width)[1])
        for _ in range(CORRECTIONS):
            block = _unit(block.astype(np.float64))
            products = times(symmetric, block)
            values, turn = _top(block.T @ products, width)
            block, products = block @ turn, products @ turn
            left = (products - block * values) / scale
            allowed = TOLERANCE * np.maximum(values[:n], 1e-6 * values[0]) / scale
            if (np.linalg.norm(left[:, :n], axis=0) <= allowed).all():
                return np.maximum(values[:n], 0.0), block[:, :n]
            apart = block.astype(np.float32)
            basis, within = _krylov(small, left.astype(np.float32), STEPS, apart)
            along = basis - times(block, times(block.T, basis))
            both = np.zeros((width + len(within),) * 2)
            both[np.arange(width), np.arange(width)] = values / scale
            both[:width, width:] = times(left.T, along)  # block and left have nothing in common
            both[width:, width:] = within
            turn = _top(both, width)[1]
            block = block @ turn[:width] + times(along, turn[width:])
    values, vectors = scipy.linalg.eigh(
        symmetric.T,  # by columns, so that it is not copied
        lower=True, subset_by_index=[size - n, size - 1], overwrite_a=True,
    )  # fmt: skip
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return left @ right by stripes of rows, on all threads; BLAS is to be held to one by the caller."""
    out = np.empty((len(left), right.shape[1]), np.result_type(left, right))
    n_stripes = 4 * max(1, -(-len(left) // (4 * STRIPE)))  # of equal length
    step = max(1, -(-len(left) // n_stripes))

    def multiply(start: int) -> None:
        np.matmul(left[start : start + step], right, out=out[start : start + step])

    for _ in in_threads(multiply, range(0, len(left), step)):
        pass
    return out


def _krylov(
    symmetric: np.ndarray, block: np.ndarray, n_blocks: int, apart: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return an orthonormal basis of B, A B, A A B, ..., orthogonal to ``apart``, and A within it (upper triangle)."""
    size, width = block.shape
    known = 0 if apart is None else width
    basis = np.empty((size, known + n_blocks * width), symmetric.dtype, order="F")
    basis[:, :known] = 0 if apart is None else apart
    within = np.zeros((basis.shape[1],) * 2, symmetric.dtype)
    for now in range(known, basis.shape[1], width):
        before = basis[:, :now]
        block = _unit(block)
        block = _unit(block - times(before, times(before.T, block)))
        basis[:, now : now + width] = block
        onward = times(symmetric, block)
        filled = basis[:, : now + width]
        within[: now + width, now : now + width] = along = times(filled.T, onward)
        block = onward - times(filled, along)
    return basis[:, known:], within[known:, known:]


def _top(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues, descending, and their vectors; reads the upper triangle."""
    import scipy.linalg

    last = len(symmetric) - 1
    values, vectors = scipy.linalg.eigh(
        symmetric, lower=False, subset_by_index=[last - n + 1, last]
    )
    if values.size < n:  # LAPACK of scipy 1.14 loses some of a nearly flat spectrum in float32
        values, vectors = scipy.linalg.eigh(symmetric, lower=False, driver="evd")
    return values[: -n - 1 : -1], vectors[:, : -n - 1 : -1]


def _unit(block: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns: by Cholesky, a fifth of the time of QR, where they allow it."""
    import scipy.linalg

    length = np.linalg.norm(block, axis=0)
    block = block / np.where(length > 0, length, 1)
    try:
        upper = scipy.linalg.cholesky((block.T @ block).astype(np.float64))
    except np.linalg.LinAlgError:
        return np.linalg.qr(block)[0]
    solved = scipy.linalg.solve_triangular(upper.astype(block.dtype), block.T, trans="T")
    return solved.T


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

"""The largest eigenvalues of a symmetric matrix, by products with it: block Krylov."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cellsigil._core._dots import SMALL, dots
from cellsigil._core._jit import all_in_threads

LARGE = 1000  # rows from which products pay
WIDTH = 16  # vectors multiplied at a time: 26 products for 50 of 2,000; of 8 it takes 39, of 62 12, each by its cost
FALL = 4.2  # of the residuals from block to block, near the end: says when to look at them again, 10 ms each time
TILE = 64  # rows and columns copied at a time: a mirrored matrix of 2,000 in 8 ms, 25 in one go
STRIPE = 512  # columns of one product, at most: what one thread does
ROOM = 1 << 25  # values of the basis and of its products: 256 MiB
TOLERANCE = 1e-7  # residual, as a share of the eigenvalue (at least of 1e-6 of the largest)
DEPENDENT = 1e-4  # of what is new in a vector: below, its block spans less than it should
ALIKE = 10  # allowed residuals apart, at most: eigenvalues that count as the same
MOST_PRODUCTS = 200  # 2,000 genes of 4,000 cells took 15, to 1e-10


def largest(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues, descending, and their vectors; reads the upper triangle, and may overwrite it.

    Block Lanczos in float64 until the residuals are below `TOLERANCE`: .17 CPU-s for 50 of 2,000, most of it
    products that threads share, where LAPACK takes .7 on one. A small matrix, or one whose spectrum
    is not for Krylov spaces (flat, many times the same value), goes the plain way.
    """
    import scipy.linalg

    size = len(symmetric)
    diagonal = symmetric.diagonal().copy()
    _mirror(symmetric)
    if is_large(size, n):
        found = lanczos(lambda vectors: dots(vectors, symmetric), diagonal, n)
        if found is not None:
            return found
    values, vectors = scipy.linalg.eigh(
        symmetric.T,  # by columns, so that it is not copied
        lower=True, subset_by_index=[size - n, size - 1], overwrite_a=True,
    )  # fmt: skip
    if values.size < n:  # LAPACK loses some of a flat spectrum: 3 of 100 of the unit matrix
        np.fill_diagonal(symmetric, diagonal)  # the lower triangle is as it was
        values, vectors = scipy.linalg.eigh(symmetric, driver="evd")
        values, vectors = values[size - n :], vectors[:, size - n :]
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def is_large(size: int, n: int) -> bool:
    """Return whether products pay for n eigenvectors of so many rows."""
    return size >= LARGE and size >= 10 * n


def _mirror(symmetric: np.ndarray) -> None:
    """Copy the upper triangle to the lower one."""
    for i in range(0, len(symmetric), TILE):
        here = symmetric[i : i + TILE, i : i + TILE]
        here[:] = np.triu(here) + np.triu(here, 1).T
        for j in range(i + TILE, len(symmetric), TILE):
            symmetric[j : j + TILE, i : i + TILE] = symmetric[i : i + TILE, j : j + TILE].T


def lanczos(
    multiply: Callable[[np.ndarray], np.ndarray], diagonal: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the n largest eigenvalues of a covariance matrix and their vectors, or None.

    ``multiply`` returns the products of vectors, as rows, with the matrix, of which ``diagonal`` is the diagonal.
    Each block's product is made orthogonal to the two blocks that it can have much in common with, then
    to the whole basis, which takes what rounding left.
    """
    import scipy.linalg

    size, scale = diagonal.size, diagonal.max()
    if not scale > 0:
        return None
    basis = np.empty((size // 2 // WIDTH * WIDTH, size))
    within = np.zeros((len(basis),) * 2)
    block = _unit(np.random.default_rng(0).standard_normal((WIDTH, size)))[0]
    look = 6 * n  # at the residuals, when so many vectors are there
    for now in range(0, len(basis), WIDTH):
        filled = now + WIDTH
        basis[now:filled] = block
        onward = multiply(block) / scale
        near, all_before = basis[max(0, now - WIDTH) : filled], basis[:filled]
        along = dots(onward, near)
        within[max(0, now - WIDTH) : filled, now:filled] = along.T
        onward -= times(along, near)
        onward -= times(dots(onward, all_before), all_before)
        block, coupling, independent = _unit(onward)
        if not independent:  # other directions in place of those that are spent
            block = _orthogonal(block.T, all_before.T).T
        if filled < (look if independent else n):
            continue
        values, turn = _top(within[:filled, :filled], n)
        excess = (np.linalg.norm(coupling.T @ turn[-WIDTH:], axis=0) / _allowed(values)).max()
        if excess <= 0.5:
            lowest = scipy.linalg.eigvalsh(
                within[:filled, :filled], lower=False, subset_by_index=[0, 0]
            )
            vectors = times(np.ascontiguousarray(turn.T), all_before)
            return _checked(multiply, scale, vectors, lowest[0])
        if not np.isfinite(excess):
            return None
        look = filled + WIDTH * math.ceil(math.log(2 * excess, FALL))
    return None


def _checked(
    multiply: Callable[[np.ndarray], np.ndarray],
    scale: float,
    vectors: np.ndarray,
    lowest: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the eigenvalues and vectors that are in the span of the rows, None if they are not exact or not all.

    Exact is what stays so when ``lowest``, about the smallest eigenvalue, is taken from all: of a nearly flat
    spectrum any vector has small residuals.

    A space grown from `WIDTH` vectors holds no more than as many of one eigenvalue's: where so many
    are alike and smaller ones follow, some may be missing.
    """
    vectors = _unit(vectors)[0]
    products = multiply(vectors) / scale
    values, turn = _top(products @ vectors.T, len(vectors))
    left = turn.T @ products - values[:, None] * (turn.T @ vectors)
    exact = np.linalg.norm(left, axis=1) <= _allowed(values - max(lowest, 0.0))
    near = ALIKE * _allowed(values)
    alike = values[: 1 - WIDTH] - values[WIDTH - 1 :] <= near[: 1 - WIDTH]
    followed = values[WIDTH - 1 :] - values[-1] > near[WIDTH - 1 :]
    if not exact.all() or (alike & followed).any():
        return None
    return np.maximum(values, 0.0) * scale, vectors.T @ turn


def _allowed(values: np.ndarray) -> np.ndarray:
    return TOLERANCE * np.maximum(values, 1e-6 * values[0])


def times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return left @ right by stripes of columns, on all threads; BLAS is to be held to one by the caller."""
    if left.shape[0] * right.size < SMALL:
        return left @ right
    out = np.empty((len(left), right.shape[1]))
    n_stripes = 4 * max(1, -(-right.shape[1] // (4 * STRIPE)))  # of equal length
    step = max(1, -(-right.shape[1] // n_stripes))

    def multiply(start: int) -> None:
        out[:, start : start + step] = left @ right[:, start : start + step]

    all_in_threads(multiply, range(0, right.shape[1], step))
    return out


def _top(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues, descending, and their vectors; reads the upper triangle."""
    import scipy.linalg

    last = len(symmetric) - 1
    values, vectors = scipy.linalg.eigh(
        symmetric, lower=False, subset_by_index=[last - n + 1, last]
    )
    if values.size < n:  # LAPACK of scipy 1.14 loses some of a nearly flat spectrum
        values, vectors = scipy.linalg.eigh(symmetric, lower=False, driver="evd")
    return values[: -n - 1 : -1], vectors[:, : -n - 1 : -1]


def _unit(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return Q of orthonormal rows and a triangular L with L Q = block, and whether the rows are independent.

    By Cholesky, a fifth of the time of QR, where they are.
    """
    import scipy.linalg

    length = np.linalg.norm(block, axis=1)
    if (length > DEPENDENT**3).all():  # the largest entry of the matrix is 1
        block = block / length[:, None]
        try:
            lower = scipy.linalg.cholesky(block @ block.T, lower=True)
        except np.linalg.LinAlgError:
            lower = np.zeros((1, 1))
        if lower.diagonal().min() > DEPENDENT:
            return np.linalg.inv(lower) @ block, length[:, None] * lower, True
        block = block * length[:, None]
    q, upper = np.linalg.qr(block.T)
    return q.T, upper.T, False


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

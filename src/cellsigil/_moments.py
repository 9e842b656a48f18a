"""Mean and variance of every gene per batch of cells: the same bits in any order of the cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cellsigil._block import Block
from cellsigil._core._moments_genes import gene_most, split_sums, sums_above, whole_sums
from cellsigil._rows import Rows

PIECE = 1024  # rows whose sums float64 holds exactly, before they go to integers
STEP = 128  # rows that are transformed at a time: 2 MB of values, not 16
Transform = Callable[[np.ndarray], np.ndarray]


class Moments(NamedTuple):
    """Of each batch and gene; arrays are batches x genes."""

    size: np.ndarray  # cells per batch, batches x 1
    mean: np.ndarray
    var: np.ndarray  # ddof=1


class Sum(NamedTuple):
    """Numbers as the unevaluated sum of two float64, of which the second is small."""

    high: np.ndarray
    low: np.ndarray


def gene_moments(
    rows: Rows,
    label: np.ndarray | None = None,
    n_batches: int = 1,
    transform: Transform | None = None,
    limit: np.ndarray | None = None,
) -> Moments:
    """Return the moments of ``min(transform(x), limit)`` per batch of cells.

    One pass: values and their squares are added as whole multiples of a power of two, which no order
    can change, and the variance is taken from the sums at twice the precision of float64, so that
    E[x**2] - E[x]**2 does not cancel. A multiple is small enough to keep 48 bits of the matrix's
    smallest square; where a matrix spans too much for that, each gene of a batch has its own, at a pass
    more.

    ``label`` is each cell's batch, -1 for none; ``transform`` works on arrays, rises, and keeps 0;
    ``limit`` is batches x genes.
    """
    n, n_genes = rows.shape
    label = np.zeros(n, np.int64) if label is None else label
    bits = min(43, 62 - int(np.ceil(np.log2(max(n, 1)))))
    scale = _scale(rows, label, n_batches, transform, bits, by_gene=limit is not None)
    unit = 2.0**-bits
    per_unit = np.array([1 / unit, 1 / unit**2] * 2)

    def values(block: Block, batch: np.ndarray) -> np.ndarray:
        x = block.data.astype(np.float64) if transform is None else transform(block.data)
        if limit is None:
            return x
        return np.minimum(x, limit[np.repeat(batch, np.diff(block.indptr)), block.indices])

    def part(block: Block, first: int) -> np.ndarray:
        total = np.zeros((n_batches, n_genes, 4), np.int64)
        sums = np.zeros(total.shape)
        for start in range(0, block.n_rows, PIECE):
            stop = min(start + PIECE, block.n_rows)
            for begin in range(start, stop, STEP):
                piece = block.rows(begin, min(begin + STEP, stop))
                batch = label[first + begin :][: piece.n_rows]
                split_sums(
                    values(piece, batch), piece.indices, piece.indptr, batch, scale, unit, sums,
                    0, piece.n_rows,
                )  # fmt: skip
            batches = label[first + start : first + stop]
            for b in np.unique(batches[batches >= 0]):
                total[b] += (sums[b] * per_unit).astype(np.int64)
                sums[b] = 0.0
        return total

    total = rows.reduce(part, np.add)
    if total is None:
        total = np.zeros((n_batches, n_genes, 4), np.int64)
    size = np.bincount(label[label >= 0], minlength=n_batches)[:, None]
    sums, squares = _from_units(total[..., :2], bits), _from_units(total[..., 2:], bits)
    mean, away = _about_mean(sums, squares, size)
    # what rounding of the squares may have made is no variance: a constant gene has none
    away[away <= size * unit**2 + squares.high * 2.0**-75] = 0.0
    return Moments(size, mean / scale, away / np.maximum(size - 1, 1) / scale / scale)


def count_sums(rows: Rows, label: np.ndarray, n_batches: int) -> np.ndarray | None:
    """Return sums and sums of squares of counts, batches x genes x 2; None where float64 can't hold them.

    A sum of whole numbers that ends below 2**53 was below it all the way: every addition was exact.
    """

    def part(block: Block, first: int) -> np.ndarray:
        sums = np.zeros((n_batches, block.n_cols, 2))
        whole_sums(*block[:3], label[first:], sums, 0, block.n_rows)
        return sums

    sums = rows.reduce(part, np.add)
    return sums if sums.max() < 2.0**53 else None


def moments_of_sums(sums: np.ndarray, size: np.ndarray) -> Moments:
    """Return the moments of counts from their exact sums and squares."""
    mean, away = _about_mean(_exact(sums[..., 0]), _exact(sums[..., 1]), size)
    return Moments(size, mean, away / np.maximum(size - 1, 1))


def squares_below(
    rows: Rows, label: np.ndarray, sums: np.ndarray, moments: Moments, limit: np.ndarray
) -> np.ndarray:
    """Return the sums of (min(x, limit) - mean)**2 of counts, given their exact sums and squares."""

    def part(block: Block, first: int) -> np.ndarray:
        above = np.zeros((*limit.shape, 3))
        sums_above(*block[:3], label[first:], limit, above, 0, block.n_rows)
        return above

    above = rows.reduce(part, np.add)
    n_above = above[..., 0]
    below = moments.size - n_above
    left = sums - above[..., 1:]
    own_mean, away = _about_mean(_exact(left[..., 0]), _exact(left[..., 1]), np.maximum(below, 1))
    away += below * (own_mean - moments.mean) ** 2
    return away + np.where(n_above > 0, n_above * (limit - moments.mean) ** 2, 0.0)


def _scale(
    rows: Rows, label: np.ndarray, n_batches: int, transform: Transform | None, bits: int, *, by_gene: bool
) -> np.ndarray:  # fmt: skip
    """Return the powers of two that bring values into -1..1: one for all of them if that will do."""

    def extent(block: Block, _: int) -> tuple[float, float]:
        x = np.abs(block.data) if block.data.min(initial=0) < 0 else block.data
        return float(x.min(initial=np.inf)), float(x.max(initial=0))

    low, high = rows.reduce(extent, lambda a, b: (min(a[0], b[0]), max(a[1], b[1]))) or (1, 1)
    most = np.full((n_batches, rows.shape[1]), high)
    if transform is not None:
        low, high = transform(np.array([low, high]))
    if high > 0 and (by_gene or high / low > 2.0 ** (bits - 24)):

        def largest(block: Block, first: int) -> np.ndarray:
            most = np.zeros((n_batches, block.n_cols))
            gene_most(*block[:3], label[first:], most, 0, block.n_rows)
            return most

        most = rows.reduce(largest, np.maximum)
    exponent = np.frexp(most if transform is None else transform(most))[1]
    return np.ldexp(1.0, np.clip(-exponent, -1000, 1000))


def _exact(x: np.ndarray) -> Sum:
    return Sum(x, np.zeros(x.shape))


def _from_units(total: np.ndarray, bits: int) -> Sum:
    """Return parts / 2**bits + rests / 4**bits, exactly."""
    parts, rests = total[..., 0], total[..., 1]
    parts = parts + (rests >> bits)
    high = parts.astype(np.float64)
    low = (parts - high.astype(np.int64)) + (rests & ((1 << bits) - 1)) * 2.0**-bits
    total = high + low
    return Sum(total * 2.0**-bits, (low - (total - high)) * 2.0**-bits)


def _about_mean(sums: Sum, squares: Sum, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and sum((x - mean)**2) = sum(x**2) - sum(x)**2 / n, in twice float64's precision."""
    high, error = _product(sums.high, sums.high)
    error += 2 * sums.high * sums.low + sums.low**2
    ratio = high / size  # sum(x)**2 / n: the quotient, and what it leaves
    back, lost = _product(ratio, size)
    rest = ((high - back) - lost + error) / size
    away = (squares.high - ratio) + (squares.low - rest)
    return (sums.high + sums.low) / size, np.maximum(away, 0.0)


def _product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a * b and its rounding error (Dekker 1971)."""

    def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wide = x * 134217729.0
        high = wide - (wide - x)
        return high, x - high

    product = a * b
    (a_high, a_low), (b_high, b_low) = halves(a), halves(np.asarray(b, np.float64))
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error

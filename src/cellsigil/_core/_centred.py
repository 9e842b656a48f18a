"""Products of a few vectors with the covariance matrix of sparse columns, which is never made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from cellsigil._core._gram import Entries
from cellsigil._core._jit import kernel, over_range
from cellsigil._core._vector import WIDTH, add_rows, in_lanes


@kernel
def multiply_rows(columns, values, first, vectors, offset, out, start, stop):
    """Write x @ vectors - offset, `WIDTH` numbers, for each row x of start..stop."""
    zero = np.float64(0.0)
    for i in range(start, stop):
        sums = out[i]
        for c in range(WIDTH):
            sums[c] = -offset[c]
        k, last = np.uint64(first[i]), np.uint64(first[i + 1])
        while k + np.uint64(4) <= last:
            row, x = columns[k : k + np.uint64(4)], values[k : k + np.uint64(4)]
            places = np.uint32(row[0]), np.uint32(row[1]), np.uint32(row[2]), np.uint32(row[3])
            four = np.float64(x[0]), np.float64(x[1]), np.float64(x[2]), np.float64(x[3])
            add_rows(sums, vectors, places, four)
            k += np.uint64(4)
        while k < last:
            j = np.uint32(columns[k])
            add_rows(sums, vectors, (j, j, j, j), (np.float64(values[k]), zero, zero, zero))
            k += np.uint64(1)


class Part(NamedTuple):
    """Entries of CSR rows."""

    columns: np.ndarray  # int32
    values: np.ndarray
    first: np.ndarray  # int64

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> Part:
        """Return a scipy matrix's."""
        return cls(matrix.indices.astype(np.int32), matrix.data, matrix.indptr.astype(np.int64))

    def times(self, vectors: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return x @ vectors - offset of all rows x."""
        out = np.empty((self.first.size - 1, WIDTH))
        over_range(multiply_rows, len(out), *self, vectors, offset, out)
        return out


class Centred(NamedTuple):
    """Columns of sparse rows, less their means, and what their covariance matrix has on its diagonal."""

    rows: Part
    columns: Part
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, pieces: list[Entries], n_columns: int) -> Centred:
        """Put the entries of consecutive rows together."""
        columns, values = (np.concatenate([piece[t] for piece in pieces]) for t in range(2))
        lengths = np.concatenate([np.diff(piece.first) for piece in pieces])
        first = np.concatenate([[0], np.cumsum(lengths)])
        by_columns = sp.csr_matrix(
            (values, columns, first), shape=(lengths.size, n_columns)
        ).T.tocsr()
        sums = np.bincount(columns, values, n_columns)
        squares = np.bincount(columns, np.square(values, dtype=np.float64), n_columns)
        mean = sums / lengths.size
        variance = np.maximum(squares - sums * mean, 0.0) / (lengths.size - 1)
        return cls(Part(columns, values, first), Part.of(by_columns), mean, variance)

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors @ covariance, for vectors as rows."""
        out = np.empty(vectors.shape)
        for some, wide in in_lanes(vectors):
            scores = self.rows.times(wide, self.mean @ wide)
            along = self.columns.times(scores, np.zeros(WIDTH))
            along -= np.outer(self.mean, scores.sum(axis=0))
            out[some] = along.T[: len(out[some])]
        return out / (self.rows.first.size - 2)

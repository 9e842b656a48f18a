"""One in-memory matrix, of any container: brought to CSR with our types, checked, made canonical."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from cellsigil._core import _csr
from cellsigil._core._jit import over_range
from cellsigil._core._to_csr import stored, tidy

Expects = Literal["finite", "nonnegative", "counts"]
DAMAGED = " The file or the code that made it is damaged; write it anew from its source."
LARGEST_EXACT = 2**24  # float32 holds every integer up to here
LARGE = (
    1 << 20
)  # values, from which kernels pay: of fewer, scipy is done before one is loaded (or compiled, .5 s)
KINDS = ("float32", "float64", "int32", "int64")  # of dense arrays that kernels are compiled for
PIECE = 1 << 17  # entries looked at in one go: they and what is made of them stay in the cache


def pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a flat array in pieces that share its memory."""
    for start in range(0, values.size, PIECE):
        yield values[start : start + PIECE]


class Block(NamedTuple):
    """Canonical CSR rows."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    n_cols: int

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return self.indptr.size - 1

    def rows(self, start: int, stop: int) -> Block:
        """Return rows start..stop; shares memory with this block."""
        first, last = self.indptr[start], self.indptr[stop]
        indptr = self.indptr[start : stop + 1] - first
        return Block(self.data[first:last], self.indices[first:last], indptr, self.n_cols)

    def to_scipy(self) -> sp.csr_matrix:
        """Return a scipy matrix that shares memory with this block."""
        shape = (self.n_rows, self.n_cols)
        out = sp.csr_matrix((self.data, self.indices, self.indptr), shape=shape)
        out.has_canonical_format = True
        return out


def to_block(matrix: Any, name: str, dtype: np.dtype | None = None, first_row: int = 0) -> Block:
    """Bring any in-memory container to CSR with our types; values and indices are for `checked` to see."""
    if not sp.issparse(matrix):
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
            msg = f"{name} is a {matrix.ndim}-d array of {matrix.dtype}; a 2-d array of numbers is needed."
            raise ValueError(msg)
        if not matrix.dtype.isnative:
            matrix = matrix.astype(matrix.dtype.newbyteorder("="))
        if matrix.dtype == np.float16:  # scipy has no sparse one
            matrix = matrix.astype(np.float32)
        matrix = _sparse(matrix)
    elif matrix.format == "csc":
        check_structure(matrix, name, matrix.shape[1], matrix.shape[0], "column")
    if matrix.dtype.kind not in "biuf":
        msg = f"{name} holds {matrix.dtype}; numbers are needed."
        raise ValueError(msg)
    if sp.issparse(matrix) and matrix.format != "csr":
        matrix = _native(matrix).tocsr()
    check_indptr(matrix, name, matrix.shape[0], "row", first_row)
    n_stored = int(matrix.indptr[-1])
    if matrix.indices.dtype != np.int32:  # what does not fit would fold into its range
        check_indices(matrix, name, matrix.shape[1], "row", first_row)
    return Block(
        _as_float(matrix.data[:n_stored], dtype),
        _writable(matrix.indices[:n_stored], np.int32),
        _writable(matrix.indptr, np.int64),
        int(matrix.shape[1]),
    )


def _sparse(dense: np.ndarray) -> Any:
    """Return a CSR matrix of the values that are not zero; a CSC of an array that lies column by column."""
    if dense.size < LARGE or dense.dtype.name not in KINDS:
        return sp.csr_matrix(dense)
    if dense.flags.f_contiguous and not dense.flags.c_contiguous:
        return sp.csc_matrix(stored(dense.T), shape=dense.shape)
    return sp.csr_matrix(stored(np.ascontiguousarray(dense)), shape=dense.shape)


def _native(matrix: Any) -> Any:
    if matrix.dtype.isnative:
        return matrix
    return matrix.astype(matrix.dtype.newbyteorder("="))


def _writable(array: np.ndarray, dtype: Any) -> np.ndarray:
    array = np.ascontiguousarray(array, dtype=dtype)
    return array if array.flags.writeable else array.copy()


def _as_float(data: np.ndarray, dtype: Any) -> np.ndarray:
    """Return float32 where that is exact for what the type or the integers hold, else float64."""
    if dtype is None:
        wide = data.dtype.kind == "f" and data.dtype.itemsize >= 8
        if data.dtype.kind in "iu" and data.dtype.itemsize >= 4 and data.size:
            wide = max(int(data.max()), -int(data.min())) > LARGEST_EXACT
        dtype = np.float64 if wide else np.float32
    return _writable(data, dtype)


def check_structure(matrix: Any, name: str, n_major: int, n_minor: int, axis: str) -> None:
    """Refuse a broken indptr or an index out of bounds, before any kernel walks on it."""
    check_indptr(matrix, name, n_major, axis)
    check_indices(matrix, name, n_minor, axis)


def check_indptr(matrix: Any, name: str, n_major: int, axis: str, first: int = 0) -> None:
    """Refuse edges of rows (or columns) that do not fit; the first of them is ``first`` in the user's matrix."""
    indptr, indices = np.asarray(matrix.indptr), np.asarray(matrix.indices)
    broken = f"{name} is a broken sparse matrix: "
    if indptr.size != n_major + 1:
        msg = f"{broken}indptr has {indptr.size} entries for {n_major} {axis}s.{DAMAGED}"
        raise ValueError(msg)
    if indptr[0] != 0:
        msg = f"{broken}indptr starts at {indptr[0]} instead of 0.{DAMAGED}"
        raise ValueError(msg)
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        msg = f"{broken}indptr decreases at {axis} {first + falls[0]}.{DAMAGED}"
        raise ValueError(msg)
    if indptr[-1] > min(indices.size, matrix.data.size):
        msg = (
            f"{broken}indptr ends at {indptr[-1]}, but {indices.size} indices and "
            f"{matrix.data.size} values are stored.{DAMAGED}"
        )
        raise ValueError(msg)


def check_indices(matrix: Any, name: str, n_minor: int, axis: str, first: int = 0) -> None:
    """Refuse an index out of bounds."""
    indptr, indices = np.asarray(matrix.indptr), np.asarray(matrix.indices)
    used = indices[: indptr[-1]]
    if used.size and (used.min() < 0 or used.max() >= n_minor):
        k = int(np.flatnonzero((used < 0) | (used >= n_minor))[0])
        row = int(np.searchsorted(indptr, k, side="right")) - 1
        msg = (
            f"{name} is a broken sparse matrix: index {used[k]} in {axis} {first + row} is out of range; only 0 to "
            f"{n_minor - 1} exist.{DAMAGED}"
        )
        raise ValueError(msg)


def checked(
    block: Block, name: str, expects: Expects, names: tuple[Any, Any], first_row: int = 0
) -> Block:
    """Refuse indices out of bounds and bad values by cell and gene, then return the block in canonical form."""
    found = np.zeros(block.n_rows, np.uint8)  # bits of all that is unusual in each row
    over_range(_csr.inspect, block.n_rows, *block, found)
    if (found & _csr.INDEX).any():
        check_indices(block, name, block.n_cols, "row", first_row)
    refused = {"finite": 0, "nonnegative": _csr.NEGATIVE, "counts": _csr.NEGATIVE | _csr.FRACTION}
    bad = np.flatnonzero(found & (refused[expects] | _csr.NOT_FINITE))
    if bad.size:
        raise ValueError(_complaint(block, name, expects, names, first_row, int(bad[0]), bad.size))
    unusual = np.bitwise_or.reduce(found, initial=0)
    if unusual & (_csr.UNSORTED | _csr.DUPLICATE | _csr.ZERO):
        block = _canonical(block)
    return block


def _canonical(block: Block) -> Block:
    """Return a copy with sorted columns, duplicates added up and zeros left out."""
    if block.data.size >= LARGE:
        return Block(*tidy(block.data, block.indices, block.indptr), block.n_cols)
    shape = (block.n_rows, block.n_cols)
    matrix = sp.csr_matrix((block.data, block.indices, block.indptr), shape=shape, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    n_stored = int(matrix.indptr[-1])
    indices = matrix.indices[:n_stored].astype(np.int32, copy=False)
    indptr = matrix.indptr.astype(np.int64, copy=False)
    return Block(matrix.data[:n_stored], indices, indptr, block.n_cols)


def _complaint(
    block: Block,
    name: str,
    expects: Expects,
    names: tuple[Any, Any],
    first: int,
    row: int,
    n_bad: int,
) -> str:
    piece = block.rows(row, row + 1)
    x = piece.data
    bad = ~np.isfinite(x)
    if not bad.any():
        bad = (x < 0) if expects != "counts" else (x < 0) | (x != np.floor(x))
    k = int(np.flatnonzero(bad)[0])
    cell = first + row if names[0] is None else repr(str(names[0][first + row]))
    gene = piece.indices[k] if names[1] is None else repr(str(names[1][piece.indices[k]]))
    found = f"{name} holds {x[k]:g} at cell {cell}, gene {gene} ({n_bad} cells have such values)"
    if not np.isfinite(x[k]):
        return f"{found}. Only finite numbers can be used: find where it came from, or remove the cells."
    if expects == "counts":
        return (
            f"{found}, but raw counts are whole numbers from 0 up. If {name} was normalised or "
            f"scaled, use the counts from before; estimated counts can be rounded with numpy.rint."
        )
    return f"{found}, but no value may be negative here. Was the matrix scaled or batch-corrected?"


def stack(blocks: Iterable[Block], n_cols: int, most: int | None = None) -> Block:
    """Put row blocks on top of each other.

    Where it is known that they hold ``most`` entries or fewer, each is let go of once it is copied, and
    all rows are held once instead of twice.
    """
    if most is None:
        blocks = list(blocks)
        most = sum(block.data.size for block in blocks)
    data, indices = np.empty(0, np.float32), np.empty(most, np.int32)
    lengths: list[np.ndarray] = []
    end = 0
    for block in blocks:
        if not lengths:
            data = np.empty(most, block.data.dtype)
        start, end = end, end + block.data.size
        data[start:end], indices[start:end] = block.data, block.indices
        lengths.append(np.diff(block.indptr))
    indptr = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
    return Block(data[:end], indices[:end], indptr, n_cols)

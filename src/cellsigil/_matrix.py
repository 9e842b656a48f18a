"""THE DOOR: any container comes in, validated row blocks of canonical CSR go on.

What goes on has fixed types, so that kernels compile once: ``data`` float32 or float64,
``indices`` int32, ``indptr`` int64, native, writable, sorted, without duplicates or zeros.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from cellsigil import _keys
from cellsigil._block import Block, Expects, checked, stack, to_block
from cellsigil._core import _columns
from cellsigil._core._jit import in_threads, threads
from cellsigil._genes import GeneBlock, gene_blocks


@dataclass(frozen=True)
class Rows:
    """A matrix that came through the door: cells x genes, touched by rows or by gene blocks."""

    shape: tuple[int, int]
    dtype: np.dtype
    name: str
    _expects: Expects
    _source: Any = field(repr=False)  # Block | dask array | anything that slices by rows
    _names: tuple[Any, Any] = field(repr=False, default=(None, None))

    @property
    def in_memory(self) -> bool:
        """Whether all values lie in memory as one block."""
        return isinstance(self._source, Block)

    @property
    def is_dask(self) -> bool:
        """Whether the matrix is a dask array."""
        return _is_dask(self._source)

    def grid(self) -> list[tuple[int, int]]:
        """Return the row ranges of the blocks: fixed by the matrix's shape or chunks alone."""
        if self.is_dask:
            edges = np.cumsum([0, *self._source.chunks[0]]).tolist()
            return list(itertools.pairwise(edges))
        size = max(1024, -(-self.shape[0] // 32))
        return [
            (start, min(start + size, self.shape[0])) for start in range(0, self.shape[0], size)
        ]

    def map(self, function: Callable[[Block, int], Any]) -> Iterator[Any]:
        """Yield ``function(block, first_row)`` for every block in row order, in parallel over blocks."""
        if self.is_dask:
            import dask

            yield from dask.compute(*self._delayed(function))
        elif self.in_memory:
            yield from in_threads(
                lambda span: function(self._source.rows(*span), span[0]), self.grid()
            )
        else:  # read in this thread (HDF5 is serial), work in others
            pieces = ((self._read(*span), span[0]) for span in self.grid())
            yield from in_threads(lambda piece: function(*piece), pieces)

    def reduce(
        self, function: Callable[[Block, int], Any], combine: Callable[[Any, Any], Any]
    ) -> Any:
        """Return the partial results of all blocks, combined from the first to the last."""
        if self.is_dask:  # on the workers, so that partial results do not pile up here
            import dask

            fold = dask.delayed(combine, pure=False)
            partials = self._delayed(function)
            return functools.reduce(fold, partials).compute() if partials else None
        total = None
        for partial in self.map(function):
            total = partial if total is None else combine(total, partial)
        return total

    def whole(self) -> Block:
        """Return the matrix as one block; a lazy one is read into memory."""
        if self.in_memory:
            return self._source
        return stack(list(self.map(lambda block, _: block)), self.shape[1])

    def map_to_matrix(self, function: Callable[[Block, int], np.ndarray]) -> Any:
        """Return the matrix with the same sparsity whose float32 data are ``function(block, first_row)``.

        A dask array stays lazy; everything else becomes a csr_matrix that owns its arrays.
        """
        if self.is_dask:
            return self._map_dask(function)
        if not self.in_memory:
            done = self.map(lambda block, first: block._replace(data=function(block, first)))
            return stack(list(done), self.shape[1]).to_scipy()
        block = self._source
        data, indices = np.empty(block.data.size, np.float32), np.empty_like(block.indices)

        def fill(span: tuple[int, int]) -> None:  # in the worker, which owns these entries
            entries = slice(*block.indptr[list(span)])
            data[entries] = function(block.rows(*span), span[0])
            indices[entries] = block.indices[entries]

        for _ in in_threads(fill, self.grid()):
            pass
        return Block(data, indices, block.indptr.copy(), block.n_cols).to_scipy()

    def column_counts(self) -> np.ndarray:
        """Return the number of stored entries (non-zero values) of each column, int64."""

        def count(block: Block, _: int) -> np.ndarray:
            counts = np.zeros(block.n_cols, np.int64)
            _columns.count_columns(block.indices, counts)
            return counts

        total = self.reduce(count, np.add)
        return np.zeros(self.shape[1], np.int64) if total is None else total

    def gene_blocks(self, *, budget_bytes: int | None = None) -> Iterator[GeneBlock]:
        """Yield all columns in contiguous blocks whose entries take at most ``budget_bytes``.

        The whole matrix is passed over once a block; the values do not depend on the budget.
        """
        return gene_blocks(self, budget_bytes)

    def columns(self, start: int, stop: int) -> Block:
        """Return at least columns start..stop in memory, their numbers as in the whole matrix."""
        if self.in_memory:
            return self._source
        return stack([block for _, block in self.in_order(start, stop)], self.shape[1])

    def in_order(self, start: int, stop: int) -> Iterator[tuple[int, Block]]:
        """Yield (first_row, block) in row order; a lazy matrix's blocks hold columns start..stop only."""
        if self.in_memory:
            yield 0, self._source
            return

        def select(block: Block, first: int) -> tuple[int, Block]:
            kept = block.to_scipy()[:, start:stop]
            indices = (kept.indices + start).astype(np.int32)
            return first, Block(kept.data, indices, kept.indptr.astype(np.int64), block.n_cols)

        yield from self.map(select)

    def _read(self, start: int, stop: int) -> Block:
        piece = to_block(self._source[start:stop], self.name, dtype=self.dtype)
        return checked(piece, self.name, self._expects, self._names, first_row=start)

    def _delayed(self, function: Callable[[Block, int], Any]) -> list:
        import dask

        task = dask.delayed(_work_on_chunk, pure=False)
        # sent once, not with every task; the array itself stays out of it
        about = dask.delayed(
            (function, self.name, self.dtype, self._expects, self._names), traverse=False
        )
        chunks = self._source.to_delayed().ravel()
        return [task(chunk, span[0], about) for chunk, span in zip(chunks, self.grid())]

    def _map_dask(self, function: Callable[[Block, int], np.ndarray]) -> Any:
        import dask.array as da

        def work(block: Block, first: int) -> sp.csr_matrix:
            return block._replace(data=function(block, first).astype(np.float32)).to_scipy()

        meta = sp.csr_matrix((0, 0), dtype=np.float32)
        pieces = [
            da.from_delayed(piece, (stop - start, self.shape[1]), dtype=np.float32, meta=meta)
            for piece, (start, stop) in zip(self._delayed(work), self.grid())
        ]
        return da.concatenate(pieces, axis=0)


def _work_on_chunk(chunk: Any, first: int, about: tuple) -> Any:
    """Check one dask chunk and apply the function to it, on a worker."""
    function, name, dtype, expects, names = about
    with threads(1):  # the scheduler's workers are the parallelism
        block = checked(to_block(chunk, name, dtype=dtype), name, expects, names, first_row=first)
        return function(block, first)


def read_matrix(adata: Any, layer: str | None = None, *, expects: Expects = "finite") -> Rows:
    """Read ``adata.X`` or a layer.

    Raises
    ------
    KeyError
        There is no such layer; the near names are in the message.
    ValueError
        A value is not what ``expects`` says, or the sparse structure is broken.
    """
    check_adata(adata)
    if layer is None:
        matrix, name = adata.X, "X"
        if matrix is None:
            msg = "adata.X is empty (None). Put the matrix there, or name a layer with layer=."
            raise ValueError(msg)
    else:
        if layer not in adata.layers:
            named = [
                name for name in adata.layers if name is not None
            ]  # anndata 0.13 lists X as None
            msg = f"No layer {layer!r}. {suggest(layer, named)}"
            raise KeyError(msg)
        matrix, name = adata.layers[layer], f"layers[{layer!r}]"
    names = (np.asarray(adata.obs_names), np.asarray(adata.var_names))
    return as_rows(matrix, name=name, expects=expects, names=names)


def read_counts(adata: Any, layer: str | None = None) -> Rows:
    """Read raw counts: from ``layer``, else ``layers["counts"]``, else X if it holds counts.

    Raises
    ------
    ValueError
        No counts there: a negative, fractional, NaN or infinite value, with its cell and gene.
    """
    check_adata(adata)
    if layer is None and _keys.COUNTS in adata.layers:
        layer = _keys.COUNTS
    try:
        return read_matrix(adata, layer, expects="counts")
    except ValueError as error:
        if layer is None and adata.X is not None:
            msg = (
                f"{error} There is no layers['counts'] either, so the raw counts are missing: put "
                f"them in adata.layers['counts'], or name their layer with layer=.{_of_raw(adata)}"
            )
            raise ValueError(msg) from None
        raise


def read_log(adata: Any, layer: str | None = None) -> Rows:
    """Read log-normalised expression from X or ``layer``; counts, scaled and linear values are refused."""
    rows = read_matrix(adata, layer, expects="finite")

    def look(block: Block, _: int) -> tuple[float, float, bool]:
        if not block.data.size:
            return 0.0, 0.0, False
        head = block.data[:100_000]
        fraction = bool((head != np.floor(head)).any())
        return float(block.data.min()), float(block.data.max()), fraction

    low, high, fraction = rows.reduce(
        look, lambda a, b: (min(a[0], b[0]), max(a[1], b[1]), a[2] or b[2])
    ) or (0.0, 0.0, False)
    way_out = "Run cellsigil.pp.normalize(adata), or name the log-normalised layer with layer=."
    if low < 0:
        msg = f"{rows.name} holds negative values (lowest {low:.4g}): it looks scaled. {way_out}{_of_raw(adata)}"
        raise ValueError(msg)
    if high > 0 and not fraction:
        msg = f"{rows.name} holds whole numbers only (highest {high:.4g}): it looks like counts. {way_out}"
        raise ValueError(msg)
    if high > 50:
        msg = f"{rows.name} reaches {high:.4g}: it is not on a log scale. {way_out}"
        raise ValueError(msg)
    return rows


def _of_raw(adata: Any) -> str:
    """Return a sentence on what ``.raw``, which no function of ours reads, holds that would help."""
    if getattr(adata, "raw", None) is None:
        return ""
    try:
        head = as_rows(adata.raw.X[:100], expects="nonnegative").whole().data
    except ValueError:
        return ""
    if (head == np.floor(head)).all():
        return (
            " adata.raw holds whole numbers: if they are the counts, adata.layers['counts'] = "
            "adata.raw[:, adata.var_names].X."
        )
    return (
        f" adata.raw holds unscaled values of {adata.raw.shape[1]} genes: if they are log-normalised, "
        f"go on with adata.raw.to_adata()."
    )


def as_rows(
    matrix: Any,
    *,
    name: str = "the matrix",
    expects: Expects = "finite",
    names: tuple[Any, Any] = (None, None),
) -> Rows:
    """Validate any container and canonicalise it without touching the caller's arrays."""
    if _is_dask(matrix):
        if matrix.ndim == 2 and len(matrix.chunks[1]) != 1:
            matrix = matrix.rechunk({1: -1})
        if any(np.isnan(size) for size in matrix.chunks[0]):
            msg = f"{name} is a dask array with unknown chunk sizes. Call compute_chunk_sizes() on it."
            raise ValueError(msg)
        return Rows(matrix.shape, _lazy_dtype(matrix.dtype), name, expects, matrix, names)
    if _is_on_disk(matrix):
        if getattr(matrix, "format", "csr") == "csc":
            msg = (
                f"{name} is stored on disk by columns (CSC) and can't be read by rows. Load it with "
                f"adata.to_memory(), or write it once as CSR: adata.X = adata.X.to_memory().tocsr()."
            )
            raise ValueError(msg)
        return Rows(tuple(matrix.shape), _lazy_dtype(matrix.dtype), name, expects, matrix, names)
    block = checked(to_block(matrix, name), name, expects, names)
    return Rows((block.n_rows, block.n_cols), block.data.dtype, name, expects, block, names)


def check_adata(adata: Any) -> None:
    """Refuse what is no AnnData."""
    if not (hasattr(adata, "obs_names") and hasattr(adata, "layers")):
        way_out = (
            "Read the file first: adata = cellsigil.io.read(path)."
            if isinstance(adata, str | os.PathLike)
            else "Make one: anndata.AnnData(matrix, obs=..., var=...), cells in rows."
        )
        msg = f"An AnnData is needed, and this is a {type(adata).__name__}. {way_out}"
        raise TypeError(msg)


def read_tables(adata: Any) -> None:
    """Read the tables of a lazily opened AnnData into memory: small beside the matrices, the same after."""
    check_adata(adata)
    for place in ("obs", "var"):
        if hasattr(table := getattr(adata, place), "to_memory"):
            setattr(adata, place, table.to_memory())
    pending = [adata.obsm, adata.varm, adata.uns]
    while pending:
        mapping = pending.pop()
        for key, value in list(mapping.items()):
            if type(value).__name__ == "Dataset2D":
                mapping[key] = value.to_memory()
            elif isinstance(value, dict):
                pending.append(value)


def suggest(name: Any, known: Any) -> str:
    """Return a half sentence that names the near, else all, known names."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), known, n=3)
    if near:
        return f"Did you mean {' or '.join(repr(n) for n in near)}?"
    shown = ", ".join(repr(k) for k in known[:12]) + (", ..." if len(known) > 12 else "")
    return f"There are: {shown}." if known else "There are none."


def _is_dask(matrix: Any) -> bool:
    # the part of a dask array that a view shows is of a class of anndata's own
    return any(base.__module__.startswith("dask.array") for base in type(matrix).__mro__)


def _is_on_disk(matrix: Any) -> bool:
    module = type(matrix).__module__
    return module.startswith(("anndata._core.sparse_dataset", "h5py", "zarr"))


def _lazy_dtype(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    return np.dtype(np.float64 if dtype.kind in "iuf" and dtype.itemsize >= 8 else np.float32)

"""What came through the door: a matrix of cells x genes, touched by rows or by gene blocks.

In memory it is one checked block; a dask array or a matrix on disk is brought to our form and checked block by
block as it is read. No caller knows which.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cellsigil._block import Block, Expects, checked, stack, to_block
from cellsigil._core import _columns
from cellsigil._core._jit import all_in_threads, in_threads
from cellsigil._core._memory import empty
from cellsigil._core._rooms import Rooms
from cellsigil._core._rows import span
from cellsigil._core._stream import copy_past_caches
from cellsigil._genes import GeneBlock, gene_blocks
from cellsigil._lazy import is_dask, stored_rows, work_on_chunk


class Extent(NamedTuple):
    """What stored values span."""

    least: float
    most: float
    fraction: bool  # among the first 100,000 of any block


NOTHING = Extent(np.inf, -np.inf, fraction=False)


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
        return is_dask(self._source)

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
            yield from in_threads(self._on_rows(function), self.grid())
        else:  # read in this thread (HDF5 is serial), work in others
            pieces = ((self._read(*span), span[0]) for span in self.grid())
            yield from in_threads(lambda piece: function(*piece), pieces)

    def collect(self, function: Callable[[Block, int], Any]) -> list:
        """Return ``list(self.map(function))``, for results that are small: with less to do for each block."""
        if self.in_memory:
            return all_in_threads(self._on_rows(function), self.grid())
        return list(self.map(function))

    def stacked(self, function: Callable[[Block, int], np.ndarray], n_columns: int) -> np.ndarray:
        """Return cells x ``n_columns``, float64: what ``function(block, first_row)`` returns of each block's rows.

        Column after column in memory, as pandas keeps them: it need not copy.
        """
        out = np.empty((self.shape[0], n_columns), order="F")

        def write(part: np.ndarray, first: int) -> None:
            out[first : first + len(part)] = part

        if self.in_memory:
            self.collect(lambda block, first: write(function(block, first), first))
        else:  # a dask array's blocks may be worked on in other processes
            for part, (first, _) in zip(self.map(function), self.grid()):
                write(part, first)
        return out

    def reduce(
        self,
        function: Callable[[Block, int], Any],
        combine: Callable[[Any, Any], Any],
        *,
        in_order: bool = False,
    ) -> Any:
        """Return the partial results of all blocks, neighbours combined, the first one first.

        Of a dask array by pairs, pairs of pairs and so on: a tree that the number of chunks alone shapes. For a
        ``combine`` that takes what came before and one block's, ``in_order`` goes from the first to the last.
        """
        if self.is_dask:  # on the workers, so that partial results do not pile up here
            import dask

            fold = dask.delayed(combine, pure=False)
            partials = self._delayed(function)
            at_once = max(1, len(partials)) if in_order else 2
            while len(partials) > 1:  # 64 of 18 MB on two workers: 3.2 s, in order 4.8
                partials = [
                    functools.reduce(fold, some) for some in itertools.batched(partials, at_once)
                ]
            return partials[0].compute() if partials else None
        total = None
        for partial in self.map(function):
            total = partial if total is None else combine(total, partial)
        return total

    def accumulate(
        self,
        make: Callable[[], Any],
        add: Callable[[Block, int, Any], None],
        combine: Callable[[Any, Any], Any],
        result: Callable[[Any], Any] = lambda room: room,
    ) -> Any:
        """Return the ``result`` of what ``add(block, first_row, room)`` of all blocks adds to a room, ``combine``d.

        Which blocks share a room is not told: for sums that are the same in any order. A dask array's have one each.
        """
        if self.is_dask:

            def part(block: Block, first: int) -> Any:
                room = make()
                add(block, first, room)
                return result(room)

            total = self.reduce(part, combine)
            return result(make()) if total is None else total
        rooms = Rooms(make)

        def work(block: Block, first: int) -> None:
            with rooms.one() as room:
                add(block, first, room)

        self.collect(work)
        return functools.reduce(combine, map(result, rooms.at_rest or [make()]))

    @functools.cached_property
    def extent(self) -> Extent:
        """What the stored values span; read once."""

        def of_block(block: Block, _: int) -> Extent:
            x, integer = block.data, np.dtype(f"i{block.data.dtype.itemsize}")
            bits, ends = x.view(integer), np.array([np.inf, -np.inf], x.dtype)
            low, high, fraction = span(x, bits, *ends.view(integer))
            least, most = np.array([low, high], integer).view(x.dtype)
            if low < 0:
                least, most = x.min(), x.max()
            return Extent(float(least), float(most), fraction)

        def join(a: Extent, b: Extent) -> Extent:
            return Extent(min(a.least, b.least), max(a.most, b.most), a.fraction or b.fraction)

        return functools.reduce(join, self.collect(of_block), NOTHING)

    def whole(self) -> Block:
        """Return the matrix as one block; a lazy one is read into memory."""
        if self.in_memory:
            return self._source
        return stack(self.map(lambda block, _: block), self.shape[1], self._stored())

    def map_to_matrix(self, function: Callable[[Block, int, np.ndarray], None]) -> Any:
        """Return the matrix with the same sparsity whose float32 data ``function(block, first_row, data)`` writes.

        A dask array stays lazy; everything else becomes a csr_matrix that owns its arrays.
        """
        if self.is_dask:
            return self._map_dask(function)
        if not self.in_memory:
            done = self.map(lambda block, first: _with_data(block, first, function))
            return stack(done, self.shape[1], self._stored()).to_scipy()
        block = self._source
        data, indices = empty(block.data.size, np.float32), empty(block.indices.size, np.int32)

        def fill(span: tuple[int, int]) -> None:  # in the worker, which owns these entries
            entries = slice(*block.indptr[list(span)])
            function(block.rows(*span), span[0], data[entries])
            copy_past_caches(block.indices, indices, entries.start, entries.stop)

        all_in_threads(fill, self.grid())
        return Block(data, indices, block.indptr.copy(), block.n_cols).to_scipy()

    def column_counts(self) -> np.ndarray:
        """Return the number of stored entries (non-zero values) of each column, int64."""

        def count(block: Block, _: int, counts: np.ndarray) -> None:
            _columns.count_columns(block.indices, counts)

        return self.accumulate(lambda: np.zeros(self.shape[1], np.int64), count, np.add)

    def gene_blocks(self, *, budget_bytes: int | None = None) -> Iterator[GeneBlock]:
        """Yield all columns in contiguous blocks whose entries take at most ``budget_bytes``.

        The whole matrix is passed over once a block; the values do not depend on the budget.
        """
        return gene_blocks(self, budget_bytes)

    def columns(self, start: int, stop: int) -> Block:
        """Return at least columns start..stop in memory, their numbers as in the whole matrix."""
        if self.in_memory:
            return self._source
        return stack((block for _, block in self.in_order(start, stop)), self.shape[1])

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

    def _on_rows(self, function: Callable[[Block, int], Any]) -> Callable[[tuple[int, int]], Any]:
        """Return the function of a range of rows in memory."""
        return lambda span: function(self._source.rows(*span), span[0])

    def _stored(self) -> int | None:
        """Return how many entries a sparse matrix on disk has, zeros too; None where that is not known."""
        group = getattr(self._source, "group", None)
        return None if group is None else int(group["data"].shape[0])

    def _read(self, start: int, stop: int) -> Block:
        group = getattr(self._source, "group", None)
        some = (
            self._source[start:stop]
            if group is None
            else stored_rows(group, start, stop, self.shape[1])
        )
        piece = to_block(some, self.name, dtype=self.dtype, first_row=start)
        return checked(piece, self.name, self._expects, self._names, first_row=start)

    def _delayed(self, function: Callable[[Block, int], Any]) -> list:
        import dask

        task = dask.delayed(work_on_chunk, pure=False)
        # sent once, not with every task; the array itself stays out of it
        about = dask.delayed(
            (function, self.name, self.dtype, self._expects, self._names), traverse=False
        )
        chunks = self._source.to_delayed().ravel()
        return [task(chunk, span[0], about) for chunk, span in zip(chunks, self.grid())]

    def _map_dask(self, function: Callable[[Block, int, np.ndarray], None]) -> Any:
        import dask.array as da

        def work(block: Block, first: int) -> sp.csr_matrix:
            return _with_data(block, first, function).to_scipy()

        meta = sp.csr_matrix((0, 0), dtype=np.float32)
        pieces = [
            da.from_delayed(piece, (stop - start, self.shape[1]), dtype=np.float32, meta=meta)
            for piece, (start, stop) in zip(self._delayed(work), self.grid())
        ]
        return da.concatenate(pieces, axis=0)


def _with_data(
    block: Block, first: int, function: Callable[[Block, int, np.ndarray], None]
) -> Block:
    data = np.empty(block.data.size, np.float32)
    function(block, first, data)
    return block._replace(data=data)

"""A gene's values of all cells: from the door's rows to blocks of columns, within a memory budget."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from cellsigil._block import Block
from cellsigil._core import _columns
from cellsigil._core._jit import in_threads, n_threads, over_range
from cellsigil._core._memory import empty

AT_ONCE = 1024  # columns that one thread scatters to: their ends stay in its second-level cache
LEAST, MOST = 1 << 25, 1 << 30  # bytes of the default budget


class Rows(Protocol):
    """What is asked of the door's `Rows`, which stands higher."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def in_memory(self) -> bool: ...
    def whole(self) -> Block: ...
    def columns(self, start: int, stop: int) -> Block: ...
    def in_order(self, start: int, stop: int) -> Iterator[tuple[int, Block]]: ...
    def column_counts(self) -> np.ndarray: ...
    def reduce(self, function: Callable, combine: Callable) -> Any: ...


class GeneBlock(NamedTuple):
    """The stored entries of columns start..stop, column by column, cells ascending."""

    start: int
    stop: int
    indptr: np.ndarray  # int64, stop - start + 1
    cells: np.ndarray  # int32
    values: np.ndarray


class ClassBlock(NamedTuple):
    """The stored values of columns start..stop, column by column, each in the classes of its cells."""

    start: int
    stop: int
    edges: (
        np.ndarray
    )  # int64 (genes, classes + 1): class c of gene j is values[edges[j, c]:edges[j, c + 1]]
    values: np.ndarray

    def parts(self, most: int) -> Iterator[ClassBlock]:
        """Yield pieces of at most ``most`` values and classes, and at least one gene, that share memory."""
        n_classes = self.edges.shape[1] - 1
        size = self.edges[:, -1] - self.edges[:, 0] + n_classes
        for a, b in _columns.plan_blocks(size, most):
            first, last = self.edges[a, 0], self.edges[b - 1, -1]
            edges = self.edges[a:b] - first
            yield ClassBlock(self.start + a, self.start + b, edges, self.values[first:last])


def default_budget(rows: Rows, entries: int) -> int:
    """Return the bytes that reordered entries may take where the caller names none.

    A 32nd of the matrix in memory: 100,000 cells then hold 49 MB beside their 1.5 GB, and a block is wide
    enough that a pass over the rows costs next to nothing. A lazy matrix is read anew for every block.
    """
    if not rows.in_memory:
        return MOST
    return min(max(LEAST, entries * (4 + rows.dtype.itemsize) // 32), MOST)


def gene_blocks(rows: Rows, budget_bytes: int | None) -> Iterator[GeneBlock]:
    """Yield the columns in contiguous blocks whose entries take at most ``budget_bytes``, or one column."""
    counts = rows.column_counts()
    budget = default_budget(rows, int(counts.sum())) if budget_bytes is None else budget_bytes
    most = max(1, budget // (4 + rows.dtype.itemsize))
    for start, stop in _columns.plan_blocks(counts, most):
        indptr = np.concatenate(([0], np.cumsum(counts[start:stop])))
        free = indptr[:-1].copy()
        cells = empty(indptr[-1], np.int32)
        values = empty(indptr[-1], rows.dtype)
        for first, block in rows.in_order(start, stop):
            over_range(
                _columns.scatter_columns, stop - start,
                *block[:3], first, start, free, cells, values, chunk=AT_ONCE,
            )  # fmt: skip
        yield GeneBlock(start, stop, indptr, cells, values)


def by_classes(
    rows: Rows,
    label: np.ndarray,
    n_classes: int,
    function: Callable[[ClassBlock], Any],
    budget_bytes: int | None,
) -> Iterator[Any]:
    """Yield ``function(block)`` for blocks of genes in their order, made and worked on in threads.

    ``label[i]`` is the class of cell i, -1 where it is left out. The values of all threads' blocks
    together take at most ``budget_bytes``; the values do not depend on it.
    """
    counts = _class_counts(rows, label, n_classes)
    total = counts.sum(axis=0, dtype=np.int64)
    entries = int(total.sum())
    budget = default_budget(rows, entries) if budget_bytes is None else budget_bytes
    at_once = entries + 1 if rows.in_memory else budget // (4 + rows.dtype.itemsize)
    most = max(1, budget // (rows.dtype.itemsize * n_threads()))
    order, _ = _in_classes(label, n_classes)
    for start, stop in _columns.plan_blocks(total, max(1, at_once)):
        block = rows.columns(start, stop)
        spans = _columns.plan_blocks(total[start:stop] + n_classes, most)
        scattered = functools.partial(_scattered, block, order, counts)
        yield from in_threads(
            lambda span, take=scattered: function(take(*span)),
            [(start + a, start + b) for a, b in spans],
        )


def _in_classes(label: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled cells class after class, and where each class begins."""
    order = np.argsort(label, kind="stable").astype(np.int32)[(label < 0).sum() :]
    return order, np.searchsorted(label[order], np.arange(n_classes + 1))


def _class_counts(rows: Rows, label: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the stored entries of each gene among the cells of each class, int32 (classes, genes)."""

    def count(block: Block, first: int) -> np.ndarray:
        order, edges = _in_classes(label[first : first + block.n_rows], n_classes)
        counts = np.zeros((n_classes, block.n_cols), np.int32)
        over_range(
            _columns.count_classes, n_classes,
            block.indices, block.indptr, order, edges, counts, chunk=1,
        )  # fmt: skip
        return counts

    if rows.in_memory:
        return count(rows.whole(), 0)
    total = rows.reduce(count, np.add)
    return np.zeros((n_classes, rows.shape[1]), np.int32) if total is None else total


def _scattered(
    block: Block, order: np.ndarray, counts: np.ndarray, start: int, stop: int
) -> ClassBlock:
    ends = np.cumsum(counts[:, start:stop].T.ravel(), dtype=np.int64).reshape(stop - start, -1)
    edges = np.empty((stop - start, counts.shape[0] + 1), np.int64)
    edges[:, 1:] = ends
    edges[0, 0], edges[1:, 0] = 0, ends[:-1, -1]
    values = np.empty(ends[-1, -1], block.data.dtype)
    _columns.scatter_classes(
        block.data, block.indices, block.indptr, order, edges[:, 0].copy(), values, start, stop
    )
    return ClassBlock(start, stop, edges, values)

"""Ranks of the entries of some genes among all of their cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellsigil._block import Block
from cellsigil._core._scores import rank_rows


class Ranked(NamedTuple):
    """Where a block's entries of some genes stand among all stored entries of their row."""

    columns: np.ndarray
    starts: np.ndarray  # of each row's entries, and the end
    low: np.ndarray  # first rank (1 = largest) of the entry's block of ties
    high: np.ndarray  # last one
    positive: np.ndarray  # entries above 0, by row

    def block(self, values: np.ndarray, n_cols: int) -> Block:
        """Return the entries as a block with these values."""
        return Block(values, self.columns, self.starts, n_cols)


def rank_entries(block: Block, wanted: np.ndarray) -> Ranked:
    """Rank the entries of a mask of genes within their rows."""
    integer = np.dtype(f"i{block.data.dtype.itemsize}")
    keys = block.data.view(integer)
    if (block.data < 0).any():  # their bits grow as they fall
        keys = np.where(keys < 0, keys ^ np.iinfo(integer).max, keys)
    columns, low, high = (np.empty(block.data.size, np.int32) for _ in range(3))
    starts, positive = np.zeros(block.n_rows + 1, np.int64), np.empty(block.n_rows, np.int64)
    rank_rows(
        keys, block.indices, block.indptr, wanted, columns, starts, low, high, positive,
        0, block.n_rows,
    )  # fmt: skip
    n = int(starts[-1])
    return Ranked(columns[:n], starts, low[:n], high[:n], positive)

"""Size factors and log-normalised expression."""

from __future__ import annotations

import logging
import numbers
from typing import NamedTuple

import numpy as np
from anndata import AnnData

from cellsigil import _keys
from cellsigil._block import LARGEST_EXACT, Block
from cellsigil._core._normalize import log1p_scaled
from cellsigil._core._rows import sum_and_span
from cellsigil._files import check_key
from cellsigil._matrix import check_adata, read_counts, read_tables
from cellsigil._rows import Rows

log = logging.getLogger(__name__)


def normalize(
    adata: AnnData,
    *,
    target_sum: float | None = 1e4,
    layer: str | None = None,
    key_added: str = _keys.SIZE_FACTOR,
) -> None:
    """Scale every cell to the same total and take log1p.

    Always starts from the counts, so running it twice gives the same result. A cell without counts
    stays zero, with a size factor of 0. A dask array stays lazy; only the totals are computed.

    Rounding: ``count / factor`` and its log1p are computed in float64 and rounded once, to float32,
    so that equal counts over equal totals stay ties and the bits don't depend on the processor.

    Parameters
    ----------
    adata
        Cells x genes with raw counts.
    target_sum
        Total of every cell after scaling; None means the median total of the cells that have counts.
    layer
        Where the counts are; None means ``layers["counts"]``, else ``X``.
    key_added
        Column of ``obs`` for the size factors.

    Raises
    ------
    KeyError
        There is no such layer.
    ValueError
        The values are no counts (already normalised, negative, NaN), ``target_sum`` is not positive,
        or ``adata`` is backed by a file.

    Sets
    ----
    ``X``
        log1p(count / size factor), float32 CSR that owns its arrays (or a lazy dask array).
    ``layers["counts"]``
        The counts, if they were only in ``X``.
    ``obs[key_added]``
        Size factor: total / target_sum, float64.
    ``uns["log1p"]``
        ``{"base": None}``, as scanpy stores it.
    """
    counts = counts_to_scale(adata, target_sum, layer, key_added)
    factor = size_factors(row_sums(counts), target_sum)
    normalised = counts.map_to_matrix(
        lambda block, first, out: log1p_of(block, factor[first:], out)
    )
    store_normalised(adata, counts, normalised, factor, layer, key_added)


def counts_to_scale(
    adata: AnnData, target_sum: float | None, layer: str | None, key_added: str
) -> Rows:
    """Check the arguments of `normalize` and return the counts."""
    if target_sum is not None and not (
        isinstance(target_sum, numbers.Real) and 0 < target_sum < np.inf
    ):
        msg = (
            f"target_sum={target_sum!r}: a positive number is needed, or None for the median total."
        )
        raise ValueError(msg)
    check_key(key_added)
    refuse_backed(adata)
    read_tables(adata)
    return read_counts(adata, layer)


def size_factors(totals: np.ndarray, target_sum: float | None) -> np.ndarray:
    """Return total / target_sum of each cell; None is the median total of the cells that have counts."""
    positive = totals[totals > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    target = target_sum or median or 1.0
    log.info(
        "normalising %d cells to a total of %g (median total %g); %d cells have no counts",
        totals.size, target, median, totals.size - positive.size,
    )  # fmt: skip
    return totals / target


def store_normalised(
    adata: AnnData, counts: Rows, normalised: object, factor: np.ndarray, layer: str | None, key_added: str
) -> None:  # fmt: skip
    """Write what `normalize` sets."""
    if layer is None and _keys.COUNTS not in adata.layers:
        kept = adata.X if counts.is_dask else _as_counts(counts.whole())
    else:
        kept = None
    make_own(adata)
    adata.obs[key_added] = factor
    if kept is not None:
        adata.layers[_keys.COUNTS] = kept
    adata.X = normalised
    adata.uns[_keys.LOG1P] = {"base": None}


class Totals(NamedTuple):
    """Of every cell's counts, float64; infinity and 0 are the least and the most of a cell without any."""

    total: np.ndarray  # exact
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, counts: Rows) -> Totals:
        """Measure the rows of whole numbers."""

        def measure(block: Block, _: int) -> np.ndarray:
            data, integer = block.data, np.dtype(f"i{block.data.dtype.itemsize}")
            ends, out = np.array([np.inf, 0.0], data.dtype), np.empty((3, block.n_rows))
            spans = ends, ends.view(integer)
            sum_and_span(data, data.view(integer), block.indptr, *spans, out, 0, block.n_rows)
            return out

        return cls(*np.concatenate([np.empty((3, 0)), *counts.collect(measure)], axis=1))


def row_sums(counts: Rows) -> np.ndarray:
    """Return the total of every cell, float64, exact: of rows read as counts, and of no others."""
    return Totals.of(counts).total


def refuse_backed(adata: AnnData) -> None:
    """Refuse an AnnData whose X lies in an open file: writing would change the file."""
    check_adata(adata)
    if adata.isbacked:
        msg = (
            f"adata is backed by {adata.filename}, and this step would change that file. Load it "
            f"first: adata = adata.to_memory(), or open it lazily with anndata.experimental.read_lazy."
        )
        raise ValueError(msg)


def make_own(adata: AnnData) -> None:
    """Make a view its own object, silently; its parent stays as it is."""
    if adata.is_view:
        adata.obs = adata.obs.copy()


def _as_counts(block: Block) -> object:
    """Return the counts as CSR, float32 where that holds them exactly; shares what it can."""
    if block.data.dtype != np.float32 and block.data.max(initial=0) <= LARGEST_EXACT:
        block = block._replace(data=block.data.astype(np.float32))
    return block.to_scipy()


def log1p_of(
    block: Block,
    factor: np.ndarray,
    out: np.ndarray,
    label: np.ndarray | None = None,
    units: tuple | None = None,
    sums: np.ndarray | None = None,
) -> None:
    """Write log1p(count / factor) of every stored count; `log1p_scaled` says what it adds where."""
    factor = factor[: block.n_rows]
    divisor = np.where(factor > 0, factor, 1.0)  # a cell without counts has no entries
    log1p_scaled(*block[:3], divisor, label, units, out, sums, 0, block.n_rows)

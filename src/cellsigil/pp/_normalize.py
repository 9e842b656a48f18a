"""Size factors and log-normalised expression."""

from __future__ import annotations

import logging
import numbers

import numpy as np
from anndata import AnnData

from cellsigil import _keys
from cellsigil._block import LARGEST_EXACT, Block
from cellsigil._core._rows import look_up_rows, sum_rows
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
    counts = read_counts(adata, layer)
    totals = row_sums(counts)
    positive = totals[totals > 0]
    target = target_sum or (float(np.median(positive)) if positive.size else 1.0)
    factor = totals / target
    if layer is None and _keys.COUNTS not in adata.layers:
        kept = adata.X if counts.is_dask else _as_counts(counts.whole())
    else:
        kept = None
    normalised = counts.map_to_matrix(
        lambda block, first, out: _log1p_scaled(block, factor[first:], out)
    )
    make_own(adata)
    adata.obs[key_added] = factor
    if kept is not None:
        adata.layers[_keys.COUNTS] = kept
    adata.X = normalised
    adata.uns[_keys.LOG1P] = {"base": None}
    log.info(
        "normalised %d cells to a total of %g (median total %g); %d cells have no counts",
        adata.n_obs, target, np.median(positive) if positive.size else 0, totals.size - positive.size,
    )  # fmt: skip


def row_sums(counts: Rows) -> np.ndarray:
    """Return the total of every cell, float64, exact for counts."""

    def sums(block: Block, _: int) -> np.ndarray:
        total = np.empty(block.n_rows)
        sum_rows(block.data, block.indptr, total, 0, block.n_rows)
        return total

    return np.concatenate([np.empty(0), *counts.map(sums)])


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


def _log1p_scaled(block: Block, factor: np.ndarray, out: np.ndarray) -> None:
    """Write log1p(count / factor) of every stored count, from a table of each cell's small counts.

    Equal counts of a cell are equal values: in pbmc3k and in our simulator 99 % and more are below 32, and the
    table costs a tenth of the division and log1p of every count, with the same bits.
    """
    n = block.n_rows
    levels = min(max(block.data.size // (16 * max(n, 1)), 4), 32)
    divisor = np.where(factor[:n] > 0, factor[:n], 1.0)  # a cell without counts has no entries
    table = np.arange(levels) / divisor[:, None]
    table = np.log1p(table, out=table).astype(np.float32)
    where, beyond = np.empty(out.size, np.int64), np.empty(out.size)
    n_beyond = np.zeros(1, np.int64)
    look_up_rows(block.data, block.indptr, table, divisor, out, where, beyond, n_beyond, 0, n)
    m = n_beyond[0]
    out[where[:m]] = np.log1p(beyond[:m])

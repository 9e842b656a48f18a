"""THE DOOR: any container comes in, validated row blocks of canonical CSR (`Rows`) go on.

What goes on has fixed types, so that kernels compile once: ``data`` float32 or float64,
``indices`` int32, ``indptr`` int64, native, writable, sorted, without duplicates or zeros.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from cellsigil import _keys
from cellsigil._block import Block, Expects, checked, to_block
from cellsigil._core import _csr
from cellsigil._core._jit import all_in_threads
from cellsigil._lazy import is_dask
from cellsigil._rows import Rows

HIGHEST_LOG = 50  # log1p of any count that could be is below
ENTRIES_AT_ONCE = 1 << 18  # 2 MB of values and indices, which stay in the cache while used


def read_matrix(adata: Any, layer: str | None = None, *, expects: Expects = "finite") -> Rows:
    """Read ``adata.X`` or a layer.

    Raises
    ------
    KeyError
        There is no such layer; the near names are in the message.
    ValueError
        A value is not what ``expects`` says, or the sparse structure is broken.
    """
    matrix, name = _find(adata, layer)
    return as_rows(matrix, name=name, expects=expects, names=(adata.obs_names, adata.var_names))


def _find(adata: Any, layer: str | None) -> tuple[Any, str]:
    """Return the matrix and what to call it."""
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
    return matrix, name


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

    low, high, fraction = rows.extent
    way_out = "Run cellsigil.pp.normalize(adata), or name the log-normalised layer with layer=."
    if low < 0:
        msg = f"{rows.name} holds negative values (lowest {low:.4g}): it looks scaled. {way_out}{_of_raw(adata)}"
        raise ValueError(msg)
    if high > 0 and not fraction:
        msg = f"{rows.name} holds whole numbers only (highest {high:.4g}): it looks like counts. {way_out}"
        raise ValueError(msg)
    if high > HIGHEST_LOG:
        msg = f"{rows.name} reaches {high:.4g}: it is not on a log scale. {way_out}"
        raise ValueError(msg)
    return rows


def map_log(adata: Any, function: Callable[[Block, int], Any], layer: str | None = None) -> list:
    """Return ``read_log(adata, layer).collect(function)``, in smaller blocks, for whoever walks over it once.

    A matrix in memory is checked piece by piece, and each handed on while it lies in the cache: `read_log` and a
    walk fetch 39 M entries from memory five times, 150 ms of CPU instead of 75. Whatever a quick look can't vouch
    for is left to `read_log`, its sentences too.
    """
    matrix, name = _find(adata, layer)
    if is_dask(matrix) or _is_on_disk(matrix):
        return read_log(adata, layer).collect(function)
    block = to_block(matrix, name)
    at_once = max(1, ENTRIES_AT_ONCE * block.n_rows // max(1, block.data.size))

    def work(first: int) -> tuple[bool, bool, Any]:
        piece = block.rows(first, min(first + at_once, block.n_rows))
        fine, fraction = _csr.vouch(*piece, HIGHEST_LOG)
        return fine, fraction, function(piece, first) if fine else None

    done = all_in_threads(work, range(0, block.n_rows, at_once))
    has_fraction = any(found[1] for found in done)
    if all(found[0] for found in done) and (has_fraction or not block.data.size):
        return [found[2] for found in done]
    return read_log(adata, layer).collect(function)


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
    if is_dask(matrix):
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


def _is_on_disk(matrix: Any) -> bool:
    module = type(matrix).__module__
    return module.startswith(("anndata._core.sparse_dataset", "h5py", "zarr"))


def _lazy_dtype(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    return np.dtype(np.float64 if dtype.kind in "iuf" and dtype.itemsize >= 8 else np.float32)

"""AnnData files: h5ad of any age, and zarr stores; as they are in the file, checked before use."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import scipy.sparse as sp

from cellsigil import _keys
from cellsigil._block import LARGEST_EXACT, pieces
from cellsigil._matrix import as_rows
from cellsigil.io._errors import ReadError, reading
from cellsigil.io._lean import read_lean
from cellsigil.io._sparse import NO_CACHE, are_below

log = logging.getLogger(__name__)
_WAY_OUT = "Copy it again, or write it anew from its source."


def read_h5ad(path: Path, *, x: bool = True) -> ad.AnnData:
    """Read an h5ad: cells, genes, order and names as they are; counts are added to the layers.

    Without ``x``, X may be left empty where there are counts, and these are float32 from the start.

    Raises
    ------
    ReadError
        The file is damaged, or a matrix's structure is broken.
    """
    with reading(path, "an .h5ad", _WAY_OUT):
        with h5py.File(path, "r", **NO_CACHE) as file:
            _check_lengths(file, path)
            adata = read_lean(file, path, x=x)
        adata = ad.read_h5ad(path) if adata is None else adata
    return _finish(adata, path, x=x)


def read_zarr(path: Path, *, x: bool = True) -> ad.AnnData:
    """Read an AnnData zarr store; ``x`` as in `read_h5ad`.

    Raises
    ------
    ReadError
        zarr is not installed, the store is damaged, or it holds no AnnData.
    """
    try:
        import zarr
    except ImportError as error:
        msg = f"{path} is a zarr store, and zarr is not installed: pip install 'cellsigil[scale]'."
        raise ReadError(msg) from error
    with reading(path, "an AnnData zarr store", _WAY_OUT):
        _check_pieces(zarr.open_group(path, mode="r"), path)
        adata = ad.read_zarr(path)
    if not isinstance(adata, ad.AnnData):
        msg = f"{path} is a zarr store, but holds {type(adata).__name__} and no AnnData. Name the store of the cells."
        raise ReadError(msg)
    return _finish(adata, path, x=x)


def _check_pieces(store: Any, path: Path) -> None:
    """Refuse a sparse matrix of which a piece is missing: zarr would read zeros in its place."""
    layers = store.get("layers", {})
    places = {"X": store.get("X"), **{f"layers[{key!r}]": layers[key] for key in layers}}
    for name, stored in places.items():
        if not hasattr(stored, "keys") or "indptr" not in stored:
            continue
        values = stored["data"]
        if values.nchunks_initialized < values.nchunks:
            msg = (
                f"{path}: {name} is incomplete: {values.nchunks_initialized} of {values.nchunks} pieces "
                f"of its values are there. {_WAY_OUT}"
            )
            raise ReadError(msg)


def _check_lengths(file: h5py.File, path: Path) -> None:
    """Refuse shapes and row starts that lie, before scipy builds anything on them."""
    n = {}
    for axis in ("obs", "var"):
        table = file.get(axis)
        if table is None:
            msg = f"{path} is HDF5, but has no {axis!r} table, so it is no AnnData. {_WAY_OUT}"
            raise ReadError(msg)
        if isinstance(table, h5py.Dataset):  # anndata before 0.7: one compound dataset
            n[axis] = table.shape[0]
        else:
            index = table.attrs.get("_index", "_index")
            index = index.decode() if isinstance(index, bytes) else index
            n[axis] = _length(table[index])
    where = {"X": file.get("X")}
    if isinstance(file.get("layers"), h5py.Group):
        where |= {f"layers[{key!r}]": value for key, value in file["layers"].items()}
    for name, stored in where.items():
        shape = _stored_shape(stored, f"{path}: {name}")
        if shape is not None and shape != (n["obs"], n["var"]):
            msg = (
                f"{path}: {name} is {shape[0]} x {shape[1]}, but there are {n['obs']} cells in obs and "
                f"{n['var']} genes in var. The file is damaged or was put together wrongly. {_WAY_OUT}"
            )
            raise ReadError(msg)


def _length(index: Any) -> int:
    return index["values"].shape[0] if isinstance(index, h5py.Group) else index.shape[0]


def _stored_shape(stored: Any, name: str) -> tuple[int, int] | None:
    """Return the shape of a stored matrix; a sparse one's row starts are checked on the way."""
    if isinstance(stored, h5py.Dataset):
        return tuple(stored.shape) if stored.ndim == 2 else None
    if not isinstance(stored, h5py.Group) or "indptr" not in stored:
        return None
    shape = stored.attrs.get("shape", stored.attrs.get("h5sparse_shape"))
    kind = stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", "csr"))
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    rows, columns = (int(n) for n in shape)
    indptr = stored["indptr"][:]
    sizes = stored["indices"].shape[0], stored["data"].shape[0]
    n_major = columns if kind.startswith("csc") else rows
    falls = np.flatnonzero(np.diff(indptr) < 0)
    if indptr.size != n_major + 1:
        found = f"indptr has {indptr.size} entries, where {n_major + 1} are needed"
    elif falls.size:
        found = f"indptr decreases at {falls[0]}"
    elif sizes[0] != sizes[1] or indptr[0] != 0 or indptr[-1] != sizes[0]:
        found = (
            f"indptr runs from {indptr[0]} to {indptr[-1]}, but {sizes[0]} indices and {sizes[1]} "
            f"values are stored"
        )
    else:
        return rows, columns
    msg = f"{name} is a broken sparse matrix: {found}. {_WAY_OUT}"
    raise ReadError(msg)


def _finish(adata: ad.AnnData, path: Path, *, x: bool) -> ad.AnnData:
    """Check every matrix's structure, and keep the counts of X in the layers."""
    places = ("X", f"layers[{_keys.COUNTS!r}]")
    place = places[_keys.COUNTS in adata.layers]
    counts = None
    for name, matrix in _matrices(adata):
        if name == place and (name == "X" or _is_lean(matrix)):
            counts = counts_of(matrix, copy=x and name == "X")
            if counts is not None:  # they came through the door: there is nothing left to find
                continue
        _check_structure(matrix, f"{path}: {name}")
        if name in places:
            _look_at_values(matrix, f"{path}: {name}", adata.obs_names, adata.var_names)
    if place == "X" and counts is not None:
        adata.layers[_keys.COUNTS] = counts
    elif place == "X" and adata.raw is not None and counts_of(adata.raw.X, copy=False) is not None:
        log.info("%s: X holds no counts, but .raw does: adata = adata.raw.to_adata()", path)
    return adata


def _matrices(adata: ad.AnnData) -> Iterator[tuple[str, Any]]:
    """Yield every matrix with its place."""
    if adata.X is not None:
        yield "X", adata.X
    if adata.raw is not None:
        yield "raw.X", adata.raw.X
    for place in ("layers", "obsp", "varp", "obsm", "varm"):
        for key, value in getattr(adata, place).items():
            if key is not None:  # anndata 0.13 lists X as layer None
                yield f"{place}[{key!r}]", value


def counts_of(matrix: Any, *, copy: bool) -> sp.csr_matrix | None:
    """Return a matrix's counts as canonical CSR, float32 where exact; None if it holds none.

    Without ``copy`` it may be the same matrix.
    """
    try:
        block = as_rows(matrix, expects="counts").whole()
    except ValueError:
        return None
    out = block.to_scipy()
    narrow = out.dtype == np.float32 or out.data.max(initial=0) <= LARGEST_EXACT
    return out.astype(np.float32 if narrow else np.float64, copy=copy)


def _is_lean(matrix: Any) -> bool:
    """Say whether the door lets a matrix through without a copy, if it is canonical."""
    return (
        sp.issparse(matrix)
        and matrix.format == "csr"
        and (matrix.dtype, matrix.indices.dtype) == (np.float32, np.int32)
    )


def _check_structure(matrix: Any, name: str) -> None:
    """Look at the indices of a sparse matrix before anything walks on them."""
    if not sp.issparse(matrix) or matrix.format not in ("csr", "csc"):
        return
    indices = matrix.indices
    n_minor = matrix.shape[1] if matrix.format == "csr" else matrix.shape[0]
    if not are_below(indices, n_minor):
        wrong = indices[(indices < 0) | (indices >= n_minor)][0]
        msg = (
            f"{name} is a broken sparse matrix: it holds index {wrong}, but only 0 to {n_minor - 1} "
            f"exist. {_WAY_OUT}"
        )
        raise ReadError(msg)


def _look_at_values(matrix: Any, name: str, cells: Any, genes: Any) -> None:
    """Warn of values that are not finite, and of a few odd ones among whole numbers (a damaged file)."""
    values = matrix.data if sp.issparse(matrix) else np.asarray(matrix)
    if values.dtype.kind != "f":
        return
    n_odd, few = 0, max(1, values.size // 1000)
    n_not_finite = 0
    for piece in pieces(values.ravel()):
        n_not_finite += piece.size - int(np.isfinite(piece).sum())
        if n_odd <= few:  # else these are no counts, but log values, say
            n_odd += int((~np.isfinite(piece) | (piece < 0) | (piece != np.floor(piece))).sum())
    damaged = 0 < n_odd <= few and values.size > 100
    if not damaged and not n_not_finite:
        return
    finite = np.isfinite(values)
    worst = ~finite if n_not_finite else (values < 0) | (values != np.floor(values))
    entries = matrix.tocoo() if sp.issparse(matrix) else None
    k = int(np.flatnonzero(worst.ravel())[0])
    if entries is None:
        i, j = np.unravel_index(k, values.shape)
    else:
        i, j = entries.row[k], entries.col[k]
    seen = "whole numbers but for" if damaged else "numbers, and"
    message = (
        f"{name} holds {seen} {int(worst.sum())} values like {values.ravel()[k]:g} at cell "
        f"{str(cells[i])!r}, gene {str(genes[j])!r}. The file may be damaged: compare its checksum "
        f"with the source's, or set these values right before going on."
    )
    warnings.warn(message, UserWarning, stacklevel=2)

"""An h5ad read by anndata's functions without HDF5's chunk cache; counts alone, float32 from the start."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.experimental import read_dispatched

from cellsigil import _keys
from cellsigil._block import LARGEST_EXACT
from cellsigil.io._sparse import are_below

COUNTS = f"/layers/{_keys.COUNTS}"
PLACES = {"X", "obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns", "raw"}
STR = pd.Series([""]).dtype  # of strings: pandas' own from pandas 3 on
PIECE = 1 << 18  # entries of a wide type brought to ours in one go: they stay in the cache


def read_lean(file: h5py.File, path: Path, *, x: bool) -> ad.AnnData | None:
    """Read an open h5ad; None where anndata's reader of old files has to.

    Without ``x``, X is left out where there are counts in the layers, and counts stored sparse are
    float32 and int32 from the start: a file with int64 indices and float64 counts would else hold 16
    bytes an entry beside the 8 that stay.
    """
    if file.attrs.get("encoding-type") != "anndata":  # written before anndata 0.8
        return None
    if unknown := sorted(set(file) - PLACES):
        message = (
            f"{path} holds {', '.join(unknown)}: an AnnData has no place for it, it was left out."
        )
        warnings.warn(message, UserWarning, stacklevel=2)

    def read(function: Callable, name: str, stored: Any, iospec: Any) -> Any:
        if not x and name == "/X" and COUNTS in file:
            return None
        if not x and name in ("/X", COUNTS) and iospec.encoding_type == "csr_matrix":
            counts = _counts(stored)
            return function(stored) if counts is None else counts
        if _are_strings(stored, iospec):
            return _strings(stored)
        return function(stored)

    return read_dispatched(file, read)


def _are_strings(stored: Any, iospec: Any) -> bool:
    """Say whether strings are stored as pandas 3 holds them, and this is pandas 3."""
    return (
        iospec.encoding_type == "nullable-string-array"
        and stored.attrs.get("na-value") == "NaN"
        and isinstance(STR, pd.StringDtype)
    )


def _strings(stored: h5py.Group) -> pd.api.extensions.ExtensionArray:
    """Return strings as anndata does, without its way through numpy's: two thirds of the time."""
    strings = pd.array(stored["values"].asstr()[()], dtype=STR)
    missing = stored["mask"][()]
    if missing.any():
        strings[missing] = np.nan
    return strings


def _counts(stored: h5py.Group) -> sp.csr_matrix | None:
    """Return a stored CSR as float32, read by pieces; None where it is float32 or holds other than exact counts."""
    shape = tuple(int(n) for n in stored.attrs["shape"])
    size = stored["data"].shape[0]
    if max(shape) > np.iinfo(np.int32).max or stored["data"].dtype.kind not in "iuf":
        return None
    if (stored["data"].dtype, stored["indices"].dtype) == (np.float32, np.int32):
        return None  # as they are to be held: one read of all is half the time of pieces
    data, indices = np.empty(size, np.float32), np.empty(size, np.int32)
    chunk = max((stored[key].chunks or (1,))[0] for key in ("data", "indices"))
    step = max(1, PIECE // chunk) * chunk  # whole chunks: without a cache each is unpacked once
    for start in range(0, size, step):
        values, places = (stored[key][start : start + step] for key in ("data", "indices"))
        if not are_below(places, shape[1]):
            return None  # what is wrong is said of the matrix as it is
        piece = values.astype(np.float32)
        whole = piece.min() >= 0 and piece.max() <= LARGEST_EXACT and (piece == values).all()
        if not whole or (values.dtype.kind == "f" and (piece != np.floor(piece)).any()):
            return None
        data[start : start + step] = piece
        indices[start : start + step] = places
    return sp.csr_matrix((data, indices, stored["indptr"][:]), shape=shape)

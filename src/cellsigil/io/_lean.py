"""Counts of an h5ad held once: float32 values and int32 indices from the start, X left where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import h5py
import numpy as np
import scipy.sparse as sp
from anndata.experimental import read_dispatched

from cellsigil import _keys
from cellsigil._block import LARGEST_EXACT, PIECE

COUNTS = f"/layers/{_keys.COUNTS}"


def read_lean(file: h5py.File) -> ad.AnnData | None:
    """Read an h5ad whose counts are stored sparse; None where the ordinary reader has to.

    A file with int64 indices and float64 counts would else hold 16 bytes an entry beside the 8 that
    stay. X is not read where there are counts in the layers.
    """
    if file.attrs.get("encoding-type") != "anndata":  # written before anndata 0.8
        return None

    def read(function: Callable, name: str, stored: Any, iospec: Any) -> Any:
        if name == "/X" and COUNTS in file:
            return None
        if name in ("/X", COUNTS) and iospec.encoding_type == "csr_matrix":
            counts = _counts(stored)
            return function(stored) if counts is None else counts
        return function(stored)

    return read_dispatched(file, read)


def _counts(stored: h5py.Group) -> sp.csr_matrix | None:
    """Return a stored CSR as float32, read by pieces; None where it is float32 or holds other than exact counts."""
    shape = tuple(int(n) for n in stored.attrs["shape"])
    size = stored["data"].shape[0]
    if max(shape) > np.iinfo(np.int32).max or stored["data"].dtype.kind not in "iuf":
        return None
    if (stored["data"].dtype, stored["indices"].dtype) == (np.float32, np.int32):
        return None  # as they are to be held: one read of all is half the time of pieces
    data, indices = np.empty(size, np.float32), np.empty(size, np.int32)
    for start in range(0, size, PIECE):
        values, places = (stored[key][start : start + PIECE] for key in ("data", "indices"))
        exact = (values >= 0) & (values <= LARGEST_EXACT)
        if values.dtype.kind == "f":
            exact &= values == np.floor(values)
        if not exact.all() or places.min() < 0 or places.max() >= shape[1]:
            return None  # what is wrong is said of the matrix as it is
        data[start : start + PIECE] = values
        indices[start : start + PIECE] = places
    return sp.csr_matrix((data, indices, stored["indptr"][:]), shape=shape)

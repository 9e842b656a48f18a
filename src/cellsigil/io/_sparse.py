"""Sparse matrices into HDF5, laid out as anndata's format says, in larger chunks than it makes."""

from __future__ import annotations

from typing import Any

import anndata as ad
import h5py
import numpy as np
import scipy.sparse as sp

# Without HDF5's chunk cache values go straight from the file to the array or back. Of 40 M entries that are not
# compressed reading takes 0.10 instead of 0.13 CPU s; compressed chunks are unpacked once either way.
NO_CACHE = {"rdcc_nbytes": 0}
# h5py's own guess is 77 kB for 40 M entries, 8,200 chunks: 0.21 CPU s to write where these take 0.12. Single rows
# are read from them as fast; from 1 MB at half the speed.
CHUNK_BYTES = 1 << 18
LARGE = 16 * CHUNK_BYTES  # below, anndata is as quick, and its file can be 4 kB smaller


def is_large(matrix: Any) -> bool:
    """Say whether `write_sparse` is for a matrix: CSR or CSC of many values, in memory or on disk."""
    # a setting of anndata 0.13, off by default, that its own writer heeds
    narrow = getattr(ad.settings, "write_csr_csc_indices_with_min_possible_dtype", False)
    if narrow or getattr(matrix, "format", None) not in ("csr", "csc"):
        return False
    return (sp.issparse(matrix) or hasattr(matrix, "group")) and _part(
        matrix, "data"
    ).nbytes >= LARGE


def write_sparse(file: h5py.File, place: str, matrix: Any) -> None:
    """Write a sparse matrix as anndata's ``csr_matrix`` or ``csc_matrix`` 0.1.0; it can be appended to."""
    group = file.create_group(place)
    group.attrs["encoding-type"] = f"{matrix.format}_matrix"
    group.attrs["encoding-version"] = "0.1.0"
    group.attrs["shape"] = matrix.shape
    for name in ("data", "indices", "indptr"):
        values = _part(matrix, name)
        size = values.shape[0]
        n_chunks = max(1, round(values.nbytes / CHUNK_BYTES))
        chunk = max(1, -(-size // n_chunks))  # the last one is all but full
        stored = group.create_dataset(
            name, (size,), values.dtype, chunks=(chunk,), maxshape=(None,)
        )
        for start in range(0, size, 64 * chunk):  # of one on disk 16 MB are held
            stored[start : start + 64 * chunk] = values[start : start + 64 * chunk]


def _part(matrix: Any, name: str) -> Any:
    """Return one array of a sparse matrix; one on disk as its dataset."""
    return getattr(matrix, name) if sp.issparse(matrix) else matrix.group[name]


def are_below(indices: np.ndarray, n: int) -> bool:
    """Say whether all indices are 0 to ``n`` - 1; as unsigned a negative one is the largest, so one pass tells."""
    return not indices.size or bool(indices.view(indices.dtype.str.replace("i", "u")).max() < n)

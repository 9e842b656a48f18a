"""Counts that wait on disk while a run makes X and works on it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import scipy.sparse as sp
from anndata import AnnData
from anndata.io import sparse_dataset

from cellsigil import _keys
from cellsigil.io._sparse import NO_CACHE, write_sparse
from cellsigil.presets._preset import Step

log = logging.getLogger(__name__)

NAME = ".adata.h5ad.counts.part"  # a leftover of a killed run to `_folder.prepare`, as other .part files
# 20k cells x 2k counts, 0.32 GB: from there on the two matrices are the peak of a run (1.50 -> 1.25 GB;
# 100k cells 4.4 -> 3.6). Smaller ones would be written for less than the 0.3 GB that imports take.
LARGE = 256 * 2**20
ROOM = 4  # times the counts free on disk: themselves, and the counts and X in the results


class Parking:
    """A place on disk for ``layers["counts"]``, in the folder of results until `close`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: h5py.File | None = None

    def park(self, adata: AnnData, later: Iterable[Step]) -> None:
        """Leave large counts on disk; the steps read them by row chunks, with the same results.

        Not where a ``later`` step filters: that would bring all of them back, and X beside.
        """
        counts = adata.layers.get(_keys.COUNTS)
        if self._file is not None or not _is_large(counts):
            return
        if any(step.call.startswith("pp.filter_") for step in later):
            return
        size = _size(counts)
        if shutil.disk_usage(self._path.parent).free < ROOM * size:
            return
        self._file = h5py.File(self._path, "w", **NO_CACHE)
        write_sparse(self._file, _keys.COUNTS, counts)
        self._file.flush()
        adata.layers[_keys.COUNTS] = sparse_dataset(self._file[_keys.COUNTS])
        log.info("counts of %.2f GB wait on disk", size / 1e9)

    def close(self) -> None:
        """Remove the file; the AnnData's counts are gone with it."""
        if self._file is not None:
            try:
                self._file.close()
            finally:
                self._path.unlink(missing_ok=True)


def _is_large(counts: Any) -> bool:
    return sp.issparse(counts) and counts.format == "csr" and _size(counts) > LARGE


def _size(counts: sp.csr_matrix) -> int:
    return counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes

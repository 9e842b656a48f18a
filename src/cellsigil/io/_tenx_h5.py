"""10x HDF5 files: Cell Ranger v2 (a group per genome) and v3 (one group ``matrix``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellsigil import _keys
from cellsigil._matrix import suggest
from cellsigil.io._assemble import assemble
from cellsigil.io._errors import ReadError, reading

_V3 = {"id": _keys.GENE_IDS, "name": _keys.GENE_SYMBOLS, "feature_type": _keys.FEATURE_TYPES,
       "genome": _keys.GENOME}  # fmt: skip
_V2 = {"genes": _keys.GENE_IDS, "gene_names": _keys.GENE_SYMBOLS}


def genomes(file: h5py.File) -> list[str]:
    """Return the groups of a v2 file that hold a matrix."""
    return [
        name for name, group in file.items()
        if isinstance(group, h5py.Group) and {"barcodes", "genes", "indptr"} <= set(group)
    ]  # fmt: skip


def is_tenx(file: h5py.File) -> bool:
    """Tell whether an open HDF5 file holds a 10x matrix."""
    matrix = file.get("matrix")
    return (isinstance(matrix, h5py.Group) and "barcodes" in matrix) or bool(genomes(file))


def read_tenx_h5(path: Path, genome: str | None = None) -> ad.AnnData:
    """Read a 10x HDF5 file of any version.

    Raises
    ------
    ReadError
        The file is damaged, or holds several genomes (v2) and ``genome`` names none.
    """
    way_out = "Copy it again, or write it anew with Cell Ranger."
    with reading(path, "a 10x HDF5 file", way_out), h5py.File(path, "r") as file:
        if "matrix" in file:
            group, table = file["matrix"], file["matrix/features"]
            features = pd.DataFrame(
                {ours: _text(table[name]) for name, ours in _V3.items() if name in table}
            )
        else:
            name = _one_of(genomes(file), path, genome)
            group = file[name]
            features = pd.DataFrame(
                {ours: _text(group[name]) for name, ours in _V2.items() if name in group}
            )
            features[_keys.GENOME] = name
        barcodes = pd.Index(_text(group["barcodes"]))
        matrix = _matrix(group, path, len(features), len(barcodes))
    return assemble(matrix, barcodes, features, path, genome)


def _one_of(held: list[str], path: Path, genome: str | None) -> str:
    if genome is None and len(held) == 1:
        return held[0]
    if genome in held:
        return str(genome)
    if genome is None:
        msg = (
            f"{path} holds {len(held)} genomes: {', '.join(held)}. Choose one with genome={held[0]!r} "
            f"(run: --genome {held[0]})."
        )
    else:
        msg = f"{path} has no genome {genome!r}. {suggest(genome, held)}"
    raise ReadError(msg)


def _text(dataset: Any) -> list[str]:
    return [x.decode() if isinstance(x, bytes) else str(x) for x in dataset[:].tolist()]


def _matrix(group: h5py.Group, path: Path, n_features: int, n_barcodes: int) -> sp.csr_matrix:
    """Return cells x features; the file's columns are cells, so its arrays are our CSR as they are."""
    shape = tuple(int(n) for n in group["shape"][:])
    if shape != (n_features, n_barcodes):
        msg = (
            f"{path} says {shape[0]} features x {shape[1]} cells, but lists {n_features} features and "
            f"{n_barcodes} barcodes. The file is damaged: copy it again, or write it anew."
        )
        raise ReadError(msg)
    data, indices, indptr = (group[name][:] for name in ("data", "indices", "indptr"))
    return unchecked_csr(data, indices, indptr, (n_barcodes, n_features), path)


def unchecked_csr(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int], path: Path
) -> sp.csr_matrix:
    """Make a CSR matrix without walking on its indices; the door's check comes next.

    Raises
    ------
    ReadError
        The arrays' lengths don't fit, which scipy would refuse without naming the file.
    """
    last = int(indptr[-1]) if indptr.size else 0
    if indptr.size != shape[0] + 1 or not last == indices.size == data.size:
        msg = (
            f"{path} is a broken sparse matrix: {indptr.size} row starts up to {last} for {shape[0]} "
            f"cells, {indices.size} indices and {data.size} values. Copy it again, or write it anew."
        )
        raise ReadError(msg)
    out = sp.csr_matrix(shape, dtype=data.dtype)
    out.data, out.indices, out.indptr = data, indices, indptr
    return out

"""One door for every kind of file: find out what it is, and read it."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import h5py

from cellsigil import _keys
from cellsigil._matrix import suggest
from cellsigil.io._anndata import read_h5ad, read_zarr
from cellsigil.io._errors import ReadError, reading
from cellsigil.io._tenx_h5 import is_tenx, read_tenx_h5
from cellsigil.io._tenx_mtx import find_triples, read_triple

log = logging.getLogger(__name__)
KINDS = (
    "a 10x folder (matrix.mtx, barcodes.tsv, features.tsv), a 10x .h5, an .h5ad, an AnnData .zarr, "
    "a .csv or .tsv of counts, a .loom, a folder of several 10x samples, or a sample sheet (.csv or "
    ".tsv with the columns path and sample)"
)


def read(path: str | Path, *, sample: str | None = None, genome: str | None = None) -> ad.AnnData:
    path = Path(path).expanduser()
    if not path.exists():
        near = (
            suggest(path.name, [p.name for p in path.parent.iterdir()])
            if path.parent.is_dir()
            else ""
        )
        raise ReadError(f"There is no file or folder {path}. {near}")
    adata = read_one(path, genome)
    if sample is not None:
        adata.obs[_keys.SAMPLE] = sample
        adata.obs[_keys.SAMPLE] = adata.obs[_keys.SAMPLE].astype("category")
    return adata


def read_one(path: Path, genome: str | None) -> ad.AnnData:
    if path.is_dir():
        triples = find_triples(path)
        if triples:
            return read_triple(next(iter(triples.values())), genome)
        subs = [p for p in sorted(path.iterdir()) if p.is_dir() and find_triples(p)]
        return read_one(subs[0], genome)
    with reading(path, "an HDF5 file", "Copy it again."), h5py.File(path, "r") as file:
        tenx = is_tenx(file)
    return read_tenx_h5(path, genome) if tenx else read_h5ad(path)

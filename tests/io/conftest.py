"""Small files of every kind, made on the spot."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp


def write_text(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def small():
    """Return 20 cells x 30 genes of whole numbers, cells in rows."""
    rng = np.random.default_rng(3)
    dense = rng.poisson(2, (20, 30)) * (rng.random((20, 30)) < 0.4)
    dense[0, 0] = 7
    return dense.astype(np.int64)


@pytest.fixture
def text():
    return write_text


@pytest.fixture
def tenx_folder(tmp_path, small):
    """Return a function that writes a 10x mtx folder (genes x cells, as 10x does)."""

    def make(
        name="run", counts=None, *, gz=False, v3=True, prefix="", ids=None, symbols=None,
        barcodes=None, kinds=None, genes_by_cells=True,
    ) -> Path:  # fmt: skip
        counts = small if counts is None else counts
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        n_cells, n_genes = counts.shape
        ids = [f"ENSG{i:011d}" for i in range(n_genes)] if ids is None else ids
        symbols = [f"GENE{i}" for i in range(n_genes)] if symbols is None else symbols
        barcodes = [f"ACGTACGT{i:04d}-1" for i in range(n_cells)] if barcodes is None else barcodes
        kinds = ["Gene Expression"] * len(ids) if kinds is None else kinds
        end = ".gz" if gz else ""
        lines = [
            "\t".join((i, s, k) if v3 else (i, s)) + "\n" for i, s, k in zip(ids, symbols, kinds)
        ]
        features = "features.tsv" if v3 else "genes.tsv"
        write_text(folder / f"{prefix}{features}{end}", "".join(lines))
        write_text(folder / f"{prefix}barcodes.tsv{end}", "".join(f"{b}\n" for b in barcodes))
        plain = folder / f"{prefix}matrix.mtx"
        matrix = counts.T if genes_by_cells else counts
        scipy.io.mmwrite(plain, sp.coo_matrix(matrix))
        if gz:
            (folder / f"{prefix}matrix.mtx.gz").write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
        return folder

    return make


@pytest.fixture
def tenx_h5(tmp_path, small):
    """Return a function that writes a 10x v3 .h5; ``spoil(group)`` may damage it."""

    def make(name="run.h5", counts=None, *, ids=None, kinds=None, genomes=None, spoil=None) -> Path:
        counts = small if counts is None else counts
        n_cells, n_genes = counts.shape
        rows = sp.csr_matrix(counts)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            group["barcodes"] = np.array([f"ACGTACGT{i:04d}-1" for i in range(n_cells)], "S")
            group["data"] = rows.data.astype(np.int32)
            group["indices"] = rows.indices.astype(np.int64)
            group["indptr"] = rows.indptr.astype(np.int64)
            group["shape"] = np.array([n_genes, n_cells], np.int32)
            features = group.create_group("features")
            ids = [f"ENSG{i:011d}" for i in range(n_genes)] if ids is None else ids
            features["id"] = np.array(ids, "S")
            features["name"] = np.array([f"GENE{i}" for i in range(n_genes)], "S")
            features["feature_type"] = np.array(kinds or ["Gene Expression"] * n_genes, "S")
            features["genome"] = np.array(genomes or ["GRCh38"] * n_genes, "S")
            if spoil is not None:
                spoil(group)
        return path

    return make


@pytest.fixture
def adata(small):
    """Return counts with labels, a graph, a table in obsm and nested uns."""
    adata = ad.AnnData(
        sp.csr_matrix(small.astype(np.float32)),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(20)]),
        var=pd.DataFrame(index=[f"GENE{i}" for i in range(30)]),
    )
    adata.obs["cell_type"] = pd.Categorical(["T/NK", "B"] * 10)
    adata.obs["donor"] = ["d1", "d2"] * 10
    adata.obs["note"] = ["seen", None] * 10
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["scores"] = pd.DataFrame({"a": range(20)}, index=adata.obs_names)
    adata.uns["log1p"] = {"base": None}
    adata.uns["parameters"] = '{"k": [1, 2]}'
    return adata

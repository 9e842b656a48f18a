"""Fixtures that every room's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CELLSIGIL_SHARED_DATA", ROOT.parent / "shared" / "data"))


def shared_file(name: str) -> Path:
    """Return the path of a real data file, or skip the test where the folder is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real data file {name} is not on this machine (see data/README.md)")
    return path


@pytest.fixture(scope="session")
def shared():
    return shared_file


@pytest.fixture(scope="session")
def _pbmc3k() -> ad.AnnData:
    return ad.read_h5ad(shared_file("pbmc3k_raw.h5ad"))


@pytest.fixture
def pbmc3k(_pbmc3k) -> ad.AnnData:
    """Raw counts of 2,700 PBMC in X, a fresh copy."""
    return _pbmc3k.copy()


def _dask(matrix: sp.csr_matrix):
    da = pytest.importorskip("dask.array")
    step = max(1, matrix.shape[0] // 3)
    starts = range(0, matrix.shape[0], step)
    pieces = [matrix[i : i + step] for i in starts]
    return da.concatenate([da.from_array(p, chunks=p.shape, asarray=False) for p in pieces])


CONTAINERS = {
    "csr_matrix": sp.csr_matrix,
    "csc_matrix": sp.csc_matrix,
    "csr_array": sp.csr_array,
    "csc_array": sp.csc_array,
    "dense": lambda m: m.toarray(),
    "dask": _dask,
}


@pytest.fixture(params=list(CONTAINERS))
def container(request):
    """Return a function that puts a csr_matrix into one kind of container."""
    return CONTAINERS[request.param]


@pytest.fixture(params=["float32", "float64", "int32", "int64", "uint16"])
def dtype(request) -> str:
    return request.param


def random_counts(
    n_cells: int = 60, n_genes: int = 40, seed: int = 0, density: float = 0.3
) -> sp.csr_matrix:
    """Make small integer counts, float32 CSR, with an empty cell and an empty gene."""
    rng = np.random.default_rng(seed)
    dense = rng.poisson(3, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < density)
    dense[n_cells // 2] = 0
    dense[:, n_genes // 2] = 0
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.fixture
def counts() -> sp.csr_matrix:
    return random_counts()

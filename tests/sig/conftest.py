"""Small labelled cells that a signature can be built from."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

TYPES = ["B", "T/NK", "Mono (CD14+)"]
GENES = [f"G{j}" for j in range(48)] + [
    "MT-CO1",
    "RPL3",
    "RPS6KA1",
    "XIST",
    "FOS",
    "HBB",
    "5'-X",
    "C#2",
]


def log_cp10k(counts: np.ndarray) -> np.ndarray:
    """Return log1p of counts per 10,000; an empty cell stays zero."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts / np.where(totals > 0, totals, 1) * 1e4)


def make_cells(n_donors: int = 3, per_type: int = 14, seed: int = 0) -> ad.AnnData:
    """Make three types, each with markers G0-G11, G12-G23, G24-G35, in donors that differ."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(1.0, 1.0, len(GENES)) + 0.2
    blocks, types, donors = [], [], []
    for d in range(n_donors):
        shift = np.exp(rng.normal(0, 0.2, len(GENES)))
        for k, name in enumerate(TYPES):
            mean = base * shift * (1 + d)
            mean[12 * k : 12 * k + 12] *= 6
            mean[GENES.index("XIST")] = 8.0 if k == 0 else 0.2
            blocks.append(rng.poisson(mean * (1, 2, 4)[k] * 0.7, (per_type + 2 * k, len(GENES))))
            types += [name] * (per_type + 2 * k)
            donors += [f"d{d}"] * (per_type + 2 * k)
    counts = np.concatenate(blocks)
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(types, categories=TYPES), "donor": pd.Categorical(donors)},
        index=[f"c{i}" for i in range(len(types))],
    )
    out = ad.AnnData(
        sp.csr_matrix(log_cp10k(counts).astype(np.float32)), obs=obs, var=pd.DataFrame(index=GENES)
    )
    out.layers["counts"] = sp.csr_matrix(counts.astype(np.float32))
    return out


@pytest.fixture
def cells() -> ad.AnnData:
    return make_cells()


@pytest.fixture
def real(shared):
    """Return a function that reads raw counts, optionally some cells of them, and log-normalises them."""

    def read(name: str, keep=None) -> ad.AnnData:
        adata = ad.read_h5ad(shared(name))
        if keep is not None:
            adata = adata[keep(adata.obs)].copy()
        adata.layers["counts"] = adata.X.copy()
        totals = np.asarray(adata.X.sum(axis=1)).ravel()
        x = (sp.diags(1e4 / totals) @ adata.X).tocsr().astype(np.float32)
        x.data = np.log1p(x.data)
        adata.X = x
        return adata

    return read

"""Small data with awkward names for every figure."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import deconv
from cellsigil._signature import LAYERS, SignatureSet

TYPES = ["T/NK", "<b>B</b>", "$x$ & y", "_hidden"]
GENES = [f"G{i}" for i in range(24)]


@pytest.fixture
def cells() -> ad.AnnData:
    """120 cells of four types with awkward names; genes 6 i to 6 i + 5 are high in type i."""
    rng = np.random.default_rng(0)
    codes = np.arange(120) % 4
    mean = 0.4 + 4.0 * (np.arange(24)[None, :] // 6 == codes[:, None])
    x = np.log1p(rng.poisson(mean)).astype(np.float32)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical([TYPES[i] for i in codes], categories=[*TYPES, "unused"]),
            "sample": [f"s{i % 3}" for i in range(120)],
            "total_counts": rng.integers(500, 5000, 120).astype(float),
            "pct_counts_mt": rng.random(120) * 8,
        },
        index=[f"c{i}" for i in range(120)],
    )
    out = ad.AnnData(sp.csr_matrix(x), obs=obs, var=pd.DataFrame(index=GENES))
    out.obsm["X_umap"] = rng.normal(0, 1, (120, 2)) + 8 * np.eye(4)[codes][:, :2]
    table = [
        (g, s, 0.5 + 0.4 * (i == j), 1.0, 0.1, 0.1)
        for i, g in enumerate(TYPES)
        for j, s in enumerate(TYPES)
    ]
    columns = ["group", "signature", "effect", "z", "p", "padj"]
    out.uns["score_clusters"] = pd.DataFrame(table, columns=columns)
    return out


@pytest.fixture
def profiles() -> SignatureSet:
    x = np.random.default_rng(1).gamma(1.0, 2.0, (4, 24))
    x[:, 3] = 0.0
    adata = ad.AnnData(x, obs=pd.DataFrame(index=TYPES), var=pd.DataFrame(index=GENES))
    for layer in LAYERS:
        adata.layers[layer] = np.ones((4, 24))
    adata.obs["n_cells"], adata.obs["n_samples"], adata.obs["rna_content"] = 30, 3, 1.0
    adata.obs["cell_ontology_id"] = ""
    adata.var["gene_id"] = adata.var["symbol"] = GENES
    adata.var["selected"] = np.arange(24) < 16
    adata.var["mean_log"] = adata.var["sd_log"] = 1.0
    return SignatureSet(adata)


@pytest.fixture
def result() -> deconv.Deconvolution:
    rng = np.random.default_rng(2)
    samples = ["a/1", "$b$", "<i>c", "d", "e"]
    shares = pd.DataFrame(rng.dirichlet(np.ones(4), 5), index=samples, columns=TYPES)
    rows = [
        (s, t, v, max(v - 0.05, 0), v + 0.05)
        for s, row in shares.iterrows()
        for t, v in row.items()
    ]
    spans = pd.DataFrame(rows, columns=["sample", "type", "estimate", "low", "high"])
    fit = pd.DataFrame({"r": rng.random(5), "residual_share": rng.random(5)}, index=samples)
    return deconv.Deconvolution(shares, shares, spans, fit, "logrob")

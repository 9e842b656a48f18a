"""A small analysis whose names try to leave their place."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import cellsigil as cs
from cellsigil.tl._hierarchy import Hierarchy, Node

SCRIPT = "<script>alert(1)</script>"
FORMULA = "=HYPERLINK(1)"
TYPES = (SCRIPT, "T/NK", "$x_1$ & <b>\"'")


def _counts() -> ad.AnnData:
    rng = np.random.default_rng(0)
    kinds, samples = np.repeat([0, 1, 2], 60), np.tile(["d1", "d2"], 90)
    rate = np.tile(rng.gamma(1.0, 0.8, 200), (3, 1))
    for k in range(3):
        rate[k, 10 * k : 10 * k + 10] += 6
    counts = rng.poisson(rate[kinds] * rng.gamma(8, 1 / 8, (180, 1)))
    genes = [f"gene{j}" for j in range(200)]
    genes[0], genes[1], genes[10], genes[199] = (
        FORMULA,
        "<img src=x onerror=alert(1)>",
        "A&B",
        "MT-CO1",
    )
    obs = pd.DataFrame(
        {"sample": pd.Categorical(samples), "leiden": pd.Categorical(kinds.astype(str))},
        index=[f"cell{i}" for i in range(180)],
    )
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs, pd.DataFrame(index=genes))


@pytest.fixture(scope="session")
def analysis() -> SimpleNamespace:
    """Return every step's result on a simulated 180 cells."""
    adata = _counts()
    tree = Hierarchy(
        "test",
        {
            name: Node(name, up=dict.fromkeys(adata.var_names[10 * k : 10 * k + 10], "here"))
            for k, name in enumerate(TYPES)
        },
    )
    with warnings.catch_warnings(action="ignore"):
        cs.pp.qc(adata, percent_top=())
        cs.pp.filter_cells(adata, min_genes=5, n_mads=5, sample_key="sample")
        cs.pp.filter_genes(adata, min_cells=2)
        cs.pp.normalize(adata)
        cs.pp.hvg(adata, n_top_genes=100)
        cs.pp.pca(adata, n_comps=10)
        cs.pp.neighbors(adata)
        cs.tl.umap(adata, n_epochs=20)
        markers = cs.tl.markers(adata, "leiden", sample_key="sample")
        cs.tl.score_clusters(adata, tree, "leiden", sample_key="sample")
        cs.tl.annotate(adata, tree, "leiden", sample_key="sample")
        signature = cs.sig.build(adata, "cell_type", sample_key="sample", n_markers=8)
        bulk = cs.deconv.simulate(adata, "cell_type", n_samples=5, n_cells=50)
        result = cs.deconv.deconvolve(bulk.bulk, signature, n_boot=10)
    assert set(adata.obs["cell_type"]) == set(TYPES)
    return SimpleNamespace(
        adata=adata,
        markers=markers,
        signature=signature,
        deconvolution=result,
        truth=bulk.fractions,
    )


@pytest.fixture(scope="session")
def page(analysis, tmp_path_factory):
    """Return the path of a full report."""
    return cs.report.write(
        analysis.adata,
        tmp_path_factory.mktemp("report") / "report.html",
        signature=analysis.signature,
        deconvolution=analysis.deconvolution,
        truth=analysis.truth,
        title=f"A report of {SCRIPT}",
        parameters='name = "<i>test</i>"\n',
        versions={"cellsigil": "0", "<u>": "1"},
        simulated=True,
        notes=[f"{SCRIPT} was heard", "twice", "twice"],
    )

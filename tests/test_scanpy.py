"""Any mixed order of our calls and scanpy's works, and scanpy draws our results."""

from __future__ import annotations

import warnings

import matplotlib
import numpy as np
import pytest

import cellsigil as cs

matplotlib.use("Agg")
sc = pytest.importorskip("scanpy")


@pytest.fixture(scope="module")
def cells():
    """Return 1,140 raw cells of three demo donors."""
    adata = cs.datasets.demo()
    return adata[adata.obs["sample"].isin(["donor1", "donor2", "donor3"])].copy()


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings(action="ignore"):
        yield


def ours_to_clusters(adata):
    cs.pp.qc(adata)
    cs.pp.filter_cells(adata, min_genes=200)
    cs.pp.filter_genes(adata)
    cs.pp.normalize(adata)
    cs.pp.hvg(adata)
    cs.pp.pca(adata)
    cs.pp.neighbors(adata)
    cs.tl.umap(adata)
    cs.tl.cluster(adata)


@pytest.fixture(scope="module")
def ours(cells):
    adata = cells.copy()
    ours_to_clusters(adata)
    cs.tl.markers(adata, "leiden")
    return adata


def test_our_normalise_then_scanpys_steps_then_our_clusters_and_markers(cells):
    adata = cells.copy()
    cs.pp.normalize(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=1000, flavor="seurat")
    sc.pp.pca(adata, n_comps=30, random_state=0)
    sc.pp.neighbors(adata, n_neighbors=15, random_state=0, transformer="sklearn")
    cs.tl.cluster(adata)
    table = cs.tl.markers(adata, "leiden")
    assert set(table["group"]) == set(adata.obs["leiden"].cat.categories)
    cs.tl.umap(adata)
    assert np.isfinite(adata.obsm["X_umap"]).all()


def test_scanpys_preprocessing_then_our_markers_signature_and_export(cells, tmp_path):
    adata = cells.copy()
    del adata.layers["counts"]
    adata.layers["counts"] = adata.X.copy()
    sc.pp.calculate_qc_metrics(adata, percent_top=None, log1p=False, inplace=True)
    sc.pp.filter_genes(adata, min_cells=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=1000, flavor="seurat")
    sc.pp.pca(adata, n_comps=30, random_state=0)
    table = cs.tl.markers(adata, "true_type")
    best = table[(table["group"] == "B cell") & (table["rank"] <= 10)]["gene"]
    assert {"CD79A", "MS4A1"} & set(best)
    signature = cs.sig.build(adata, "true_type")
    assert "size_factor" not in adata.obs
    cs.sig.export(signature, tmp_path / "signature.tsv")
    assert (tmp_path / "signature.tsv").read_text().startswith("GeneSymbol\t")


def test_ours_up_to_the_graph_then_scanpys_leiden_and_umap(ours):
    adata = ours.copy()
    sc.tl.leiden(
        adata, flavor="igraph", n_iterations=2, directed=False, random_state=0, key_added="theirs"
    )
    assert adata.obs["theirs"].nunique() > 3
    sc.tl.umap(adata, random_state=0, maxiter=20)
    assert np.isfinite(adata.obsm["X_umap"]).all()


def test_scanpys_qc_and_filters_then_our_filters(cells):
    adata = cells.copy()
    adata.var["mt"] = adata.var_names.str.startswith("MT-")
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], inplace=True)
    before = adata.n_obs
    cs.pp.filter_cells(adata, min_genes=200, n_mads=5)
    assert 0 < adata.n_obs < before


@pytest.mark.parametrize(
    "draw",
    [
        lambda a: sc.pl.umap(a, color=["leiden", "CST3"], show=False),
        lambda a: sc.pl.pca(a, color="leiden", show=False),
        lambda a: sc.pl.pca_variance_ratio(a, show=False),
        lambda a: sc.pl.highly_variable_genes(a, show=False),
        lambda a: sc.pl.rank_genes_groups(a, n_genes=5, show=False),
        lambda a: sc.pl.rank_genes_groups_dotplot(a, n_genes=3, show=False),
        lambda a: sc.pl.rank_genes_groups_matrixplot(a, n_genes=3, show=False),
        lambda a: sc.pl.rank_genes_groups_heatmap(a, n_genes=3, show=False),
        lambda a: sc.pl.rank_genes_groups_stacked_violin(a, n_genes=3, show=False),
        lambda a: sc.pl.rank_genes_groups_tracksplot(a, n_genes=3, show=False),
        lambda a: sc.pl.rank_genes_groups_violin(a, n_genes=3, show=False),
        lambda a: sc.pl.dotplot(a, ["CST3", "NKG7", "MS4A1"], groupby="leiden", show=False),
        lambda a: sc.pl.heatmap(a, ["CST3", "NKG7", "MS4A1"], groupby="leiden", show=False),
        lambda a: sc.pl.violin(
            a, ["n_genes_by_counts", "total_counts", "pct_counts_mt"], show=False
        ),
        lambda a: sc.pl.highest_expr_genes(a, n_top=10, show=False),
        lambda a: sc.pl.scatter(a, x="total_counts", y="n_genes_by_counts", show=False),
    ],
    ids=lambda draw: "",
)
def test_scanpy_draws_our_result(draw, ours):
    import matplotlib.pyplot as plt

    adata = ours.copy()
    draw(adata)
    figures = [plt.figure(n) for n in plt.get_fignums()]
    assert figures
    assert any(figure.axes for figure in figures)
    plt.close("all")


def test_scanpy_reads_our_marker_table(ours):
    table = cs.tl.markers(ours.copy(), "leiden")
    group = ours.obs["leiden"].cat.categories[0]
    theirs = sc.get.rank_genes_groups_df(ours, group=group)
    mine = table[table["group"] == group].sort_values("rank")
    assert theirs["names"].head(20).tolist() == mine["gene"].head(20).tolist()


def test_ingest_and_paga_take_our_graph(ours):
    adata = ours.copy()
    sc.tl.paga(adata, groups="leiden")
    assert adata.uns["paga"]["connectivities"].shape[0] == adata.obs["leiden"].nunique()

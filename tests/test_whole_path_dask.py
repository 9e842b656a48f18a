"""The whole path on matrices that are not in memory, and on cells in another order: the same answers."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import cellsigil as cs

SETS = {"T cell": ["CD3D", "CD3E", "IL7R", "TRAC"], "B cell": ["CD79A", "MS4A1", "CD79B"]}
TYPES = ["CD4 T cell", "B cell", "classical monocyte", "NK cell"]


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """Counts of four types of the demo, the rarest genes left out."""
    demo = cs.datasets.demo()
    demo = demo[demo.obs["true_type"].isin(TYPES)][::2].copy()
    demo.obs["type"] = demo.obs["true_type"].astype(str).astype("category")
    cs.pp.filter_genes(demo, min_cells=20)
    counts = sp.csr_matrix(demo.layers["counts"], dtype=np.float32)
    obs = demo.obs[["sample", "type"]].copy()
    return ad.AnnData(counts.copy(), obs=obs, var=demo.var[[]].copy(), layers={"counts": counts})


def chunked(matrix: sp.csr_matrix, step: int = 173) -> object:
    """Return a dask array of sparse chunks of uneven length."""
    da = pytest.importorskip("dask.array")
    pieces = [matrix[i : i + step] for i in range(0, matrix.shape[0], step)]
    return da.concatenate([da.from_array(p, chunks=p.shape, asarray=False) for p in pieces])


def lazy_copy(cells: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(
        chunked(cells.X), obs=cells.obs.copy(), var=cells.var.copy(),
        layers={"counts": chunked(cells.X)},
    )  # fmt: skip


def upstream(adata: ad.AnnData) -> None:
    """Run from counts to clusters."""
    cs.pp.qc(adata)
    cs.pp.filter_cells(adata, min_genes=100)
    cs.pp.filter_genes(adata, min_cells=30)
    cs.pp.normalize(adata)
    cs.pp.hvg(adata, n_top_genes=400)
    cs.pp.pca(adata, n_comps=15)
    cs.pp.neighbors(adata)
    cs.tl.cluster(adata)


def downstream(adata: ad.AnnData) -> dict[str, object]:
    """Run what reads labelled, normalised cells, and return the tables."""
    table = cs.tl.markers(adata, "type", sample_key="sample")
    cs.tl.score_cells(adata, SETS)
    clusters = cs.tl.score_clusters(adata, SETS, "type", sample_key="sample")
    labels = cs.tl.annotate(adata, "immune", "type", sample_key="sample")
    signature = cs.sig.build(adata, "type", sample_key="sample", n_markers=20)
    return {"markers": table, "clusters": clusters, "labels": labels, "signature": signature}


@pytest.fixture(scope="module")
def expected(cells) -> tuple[ad.AnnData, dict[str, object]]:
    adata = cells.copy()
    upstream(adata)
    return adata, downstream(adata)


def dense(matrix: object) -> np.ndarray:
    return cs._matrix.as_rows(matrix).whole().to_scipy().toarray()


def same_downstream(found: dict, right: dict) -> None:
    """Markers, scores of clusters and labels to the last bit; profiles to 1e-9."""
    for name in ("markers", "clusters", "labels"):
        pd.testing.assert_frame_equal(found[name], right[name], rtol=1e-9)
    for name in ("group", "gene", "rank", "auc"):
        pd.testing.assert_series_equal(found["markers"][name], right["markers"][name])
    a, b = found["signature"], right["signature"]
    assert a.selected.tolist() == b.selected.tolist()
    pd.testing.assert_frame_equal(a.profiles, b.profiles, rtol=1e-9)
    pd.testing.assert_series_equal(a.rna_content, b.rna_content, rtol=1e-9)
    assert a.info["input_hash"] == b.info["input_hash"]


def same_upstream(found: ad.AnnData, right: ad.AnnData) -> None:
    """Everything up to the chosen genes to the last bit; components to 1e-4 of their spread."""
    assert found.obs_names.equals(right.obs_names)
    assert found.var_names.equals(right.var_names)
    of_cells = ["n_genes_by_counts", "total_counts", "pct_counts_mt", "size_factor"]
    pd.testing.assert_frame_equal(found.obs[of_cells], right.obs[of_cells], check_exact=True)
    pd.testing.assert_frame_equal(found.var, right.var, rtol=1e-12)
    np.testing.assert_array_equal(dense(found.X), dense(right.X))
    np.testing.assert_array_equal(dense(found.layers["counts"]), dense(right.layers["counts"]))
    spread = right.obsm["X_pca"].std()
    np.testing.assert_allclose(
        np.asarray(found.obsm["X_pca"]), right.obsm["X_pca"], atol=1e-4 * spread
    )
    pd.testing.assert_series_equal(found.obs["leiden"], right.obs["leiden"])


def test_dask_gives_the_same_answers_and_stays_lazy(cells, expected):
    adata = lazy_copy(cells)
    upstream(adata)
    for matrix in (adata.X, adata.layers["counts"]):
        assert type(matrix).__module__.startswith("dask.array")
    same_upstream(adata, expected[0])
    same_downstream(downstream(adata), expected[1])
    np.testing.assert_array_equal(
        adata.obsm["score_signatures"].to_numpy(), expected[0].obsm["score_signatures"].to_numpy()
    )
    for matrix in (adata.X, adata.layers["counts"]):
        assert type(matrix).__module__.startswith("dask.array")


def test_normalize_reads_the_chunks_once_for_the_totals_and_no_more(cells):
    da = pytest.importorskip("dask.array")
    read: list[int] = []

    def look(chunk: sp.csr_matrix) -> sp.csr_matrix:
        read.append(chunk.shape[0])
        return chunk

    adata = lazy_copy(cells)
    adata.X = da.map_blocks(look, adata.X, dtype=np.float32, meta=adata.X._meta)
    del adata.layers["counts"]
    read.clear()
    cs.pp.normalize(adata)
    assert sum(read) == cells.n_obs


@pytest.mark.parametrize("backing", ["zarr", "h5ad"])
def test_an_anndata_opened_lazily(cells, expected, tmp_path, backing):
    pytest.importorskip("xarray")
    path = tmp_path / f"cells.{backing}"
    cs.io.write(cells, path)
    if backing == "h5ad":
        import h5py

        held = h5py.File(path, "r")
        adata = ad.experimental.read_lazy(held)
    else:
        adata = ad.experimental.read_lazy(path)
    upstream(adata)
    same_upstream(adata, expected[0])
    same_downstream(downstream(adata), expected[1])
    if backing == "h5ad":
        held.close()


def test_a_view_of_an_anndata_opened_lazily(cells, tmp_path):
    pytest.importorskip("xarray")
    cs.io.write(cells, tmp_path / "cells.zarr")
    view = ad.experimental.read_lazy(tmp_path / "cells.zarr")[::2]
    right = cells[::2].copy()
    for adata in (view, right):
        cs.pp.qc(adata)
        cs.pp.normalize(adata)
        cs.pp.hvg(adata, n_top_genes=300, batch_key="sample")
    pd.testing.assert_frame_equal(view.var, right.var, rtol=1e-12)
    pd.testing.assert_frame_equal(
        cs.tl.markers(view, "type"), cs.tl.markers(right, "type"), rtol=1e-9
    )


def test_a_view_of_dask_arrays(cells):
    adata, right = lazy_copy(cells), cells.copy()
    genes = right.var_names[::-2]
    for one in (adata, right):
        cs.pp.normalize(one)
    pd.testing.assert_frame_equal(
        cs.tl.markers(adata[::2, genes], "type"), cs.tl.markers(right[::2, genes], "type")
    )
    view = adata[::2]
    cs.pp.qc(view)
    cs.pp.normalize(view)
    np.testing.assert_array_equal(dense(view.X), dense(right[::2].X))


def test_what_was_opened_lazily_can_be_processed_written_and_opened_again(cells, tmp_path):
    pytest.importorskip("xarray")
    adata = cells.copy()
    upstream(adata)
    downstream(adata)
    cs.io.write(adata, tmp_path / "done.zarr")
    again = ad.experimental.read_lazy(tmp_path / "done.zarr")
    cs.tl.cluster(again)
    pd.testing.assert_series_equal(
        again.obs.to_memory()["leiden"] if hasattr(again.obs, "to_memory") else again.obs["leiden"],
        adata.obs["leiden"],
    )
    cs.io.write(again, tmp_path / "again.h5ad")
    back = cs.io.read(tmp_path / "again.h5ad")
    np.testing.assert_array_equal(dense(back.X), dense(adata.X))
    pd.testing.assert_frame_equal(
        back.uns["annotate"], adata.uns["annotate"], check_dtype=False, check_index_type=False
    )
    pd.testing.assert_frame_equal(back.obsm["score_signatures"], adata.obsm["score_signatures"])


def test_a_backed_file_is_read_to_the_end_and_never_changed(cells, expected, tmp_path):
    path = tmp_path / "cells.h5ad"
    adata, right = expected
    ad.AnnData(
        adata.X, obs=adata.obs[["sample", "type", "size_factor"]], var=adata.var[[]],
        layers={"counts": adata.layers["counts"]}, uns={"log1p": {"base": None}},
    ).write_h5ad(path)  # fmt: skip
    before = path.read_bytes()
    backed = ad.read_h5ad(path, backed="r")
    for change in (cs.pp.normalize, cs.pp.filter_cells, cs.pp.filter_genes):
        with pytest.raises(ValueError, match=r"is backed by .*adata = adata.to_memory\(\)"):
            change(backed)
    cs.pp.qc(backed)
    cs.pp.hvg(backed, n_top_genes=400)
    cs.pp.pca(backed, n_comps=15)
    cs.pp.neighbors(backed)
    cs.tl.cluster(backed)
    pd.testing.assert_series_equal(backed.obs["leiden"], adata.obs["leiden"])
    same_downstream(downstream(backed), right)
    backed.file.close()
    assert path.read_bytes() == before


def test_the_order_of_cells_changes_no_answer(cells, expected):
    order = np.random.default_rng(0).permutation(cells.n_obs)
    adata = cells[order].copy()
    upstream(adata)
    right = expected[0]
    back = adata[right.obs_names]
    np.testing.assert_array_equal(dense(back.X), dense(right.X))
    pd.testing.assert_frame_equal(adata.var, right.var, check_exact=True)
    spread = right.obsm["X_pca"].std()
    np.testing.assert_allclose(back.obsm["X_pca"], right.obsm["X_pca"], atol=1e-4 * spread)
    found = downstream(adata)
    pd.testing.assert_frame_equal(found["markers"], expected[1]["markers"], check_exact=True)
    pd.testing.assert_frame_equal(found["labels"], expected[1]["labels"], rtol=1e-9)
    a, b = found["signature"], expected[1]["signature"]
    assert a.selected.tolist() == b.selected.tolist()
    pd.testing.assert_frame_equal(a.layer("marker_rank"), b.layer("marker_rank"), check_exact=True)
    pd.testing.assert_frame_equal(a.profiles, b.profiles, rtol=1e-9)


@pytest.mark.parametrize("method", ["ans", "ucell", "aucell", "zmean", "mean"])
def test_the_order_of_cells_moves_no_control_gene(expected, method):
    right = expected[0].copy()
    adata = right[np.random.default_rng(1).permutation(right.n_obs)].copy()
    for one in (adata, right):
        cs.tl.score_cells(one, SETS, method=method)
    pd.testing.assert_frame_equal(
        adata.obsm["score_signatures"].loc[right.obs_names],
        right.obsm["score_signatures"],
        check_exact=True,
    )

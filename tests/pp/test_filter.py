"""filter_cells and filter_genes: what they keep, and what they write down."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest

from cellsigil import pp


@pytest.fixture
def adata(counts) -> ad.AnnData:
    adata = ad.AnnData(counts)
    adata.var_names = ["MT-A", "MT-B"] + [f"G{j}" for j in range(38)]
    return adata


def steps(adata: ad.AnnData) -> list[dict]:
    return json.loads(adata.uns["qc_filter"])["steps"]


def test_fixed_thresholds_mean_what_they_say(counts, container, dtype):
    dense = counts.toarray()
    n_genes, total = (dense > 0).sum(axis=1), dense.sum(axis=1)
    want = (n_genes >= 9) & (n_genes <= 15) & (total >= 25) & (total <= 50)
    assert 0 < want.sum() < 60
    adata = ad.AnnData(container(counts.astype(dtype)))
    pp.filter_cells(adata, min_genes=9, max_genes=15, min_counts=25, max_counts=50)
    assert list(adata.obs_names) == [str(i) for i in np.flatnonzero(want)]
    (step,) = steps(adata)
    assert (step["before"], step["after"]) == (60, want.sum())
    assert [r["removed"] for r in step["rules"]] == [
        (n_genes < 9).sum(), (n_genes > 15).sum(), (total < 25).sum(), (total > 50).sum(),
    ]  # fmt: skip


def test_genes_mean_what_they_say(counts, container, dtype):
    dense = counts.toarray()
    want = ((dense > 0).sum(axis=0) >= 16) & (dense.sum(axis=0) >= 50)
    assert 0 < want.sum() < 40
    adata = ad.AnnData(container(counts.astype(dtype)))
    pp.filter_genes(adata, min_cells=16, min_counts=50)
    assert list(adata.var_names) == [str(j) for j in np.flatnonzero(want)]
    assert steps(adata)[0]["rules"][0]["measure"] == "n_cells_by_counts"


def test_agrees_with_scanpy(pbmc3k):
    sc = pytest.importorskip("scanpy")
    theirs = pbmc3k.copy()
    sc.pp.filter_cells(theirs, min_genes=500)
    sc.pp.filter_cells(theirs, max_counts=5000)
    sc.pp.filter_genes(theirs, min_cells=3)
    pp.filter_cells(pbmc3k, min_genes=500, max_counts=5000)
    pp.filter_genes(pbmc3k)
    assert list(pbmc3k.obs_names) == list(theirs.obs_names)
    assert list(pbmc3k.var_names) == list(theirs.var_names)


def test_share_of_a_gene_set(adata):
    pp.qc(adata)
    pct = adata.obs["pct_counts_mt"].to_numpy()
    with np.errstate(invalid="ignore"):
        want = pct <= 8  # a cell without counts has no share, and goes
    pp.filter_cells(adata, max_pct={"mt": 8})
    assert adata.n_obs == want.sum()
    assert steps(adata)[0]["rules"][0]["limit"] == 8.0


def test_outliers_per_sample(adata):
    rng = np.random.default_rng(0)
    deep = np.repeat([False, True], 30)
    counts = rng.poisson(np.where(deep, 30, 3)[:, None], (60, 40)).astype(np.float32)
    counts[5] = 30  # an outlier among shallow cells, none among all
    adata = ad.AnnData(counts)
    adata.var_names = ["MT-A", "MT-B"] + [f"G{j}" for j in range(38)]
    counts[40, :2] += 300
    adata.X = counts
    adata.obs["sample"] = np.where(deep, "b", "a")
    pp.qc(adata)
    log_total = np.log1p(counts.sum(axis=1, dtype=float))
    shallow = log_total[:30]
    limit = np.median(shallow) + 5 * 1.4826022185056018 * np.median(
        np.abs(shallow - np.median(shallow))
    )
    pp.filter_cells(adata, n_mads=5, sample_key="sample")
    gone = set(range(60)) - {int(name) for name in adata.obs_names}
    assert 5 in gone
    assert 40 in gone
    high = [
        r for r in steps(adata)[0]["rules"]
        if r["measure"] == "log1p_total_counts" and r["side"] == "high" and r["sample"] == "a"
    ]  # fmt: skip
    assert high[0]["limit"] == pytest.approx(limit, rel=1e-12)
    assert {r["side"] for r in steps(adata)[0]["rules"] if r["measure"] == "pct_counts_mt"} == {
        "high"
    }


def test_keeps_the_rare_small_cells_of_pbmc(pbmc3k):
    pp.qc(pbmc3k)
    pp.filter_cells(pbmc3k, min_genes=200, n_mads=5)
    kept = pbmc3k.obs["scanpy_louvain_label"].value_counts()
    assert kept["Megakaryocytes"] >= 14
    assert 2600 < pbmc3k.n_obs < 2700


def test_cells_that_are_all_alike_have_no_outliers():
    adata = ad.AnnData(np.ones((10, 4), np.float32))
    pp.filter_cells(adata, n_mads=3)
    assert adata.n_obs == 10


def test_steps_add_up(adata):
    pp.filter_cells(adata, min_genes=1)
    pp.filter_cells(adata, min_genes=8)
    pp.filter_genes(adata)
    assert [s["what"] for s in steps(adata)] == ["cells", "cells", "genes"]
    assert steps(adata)[1]["before"] == steps(adata)[0]["after"] == 59


def test_genes_of_log_data_without_counts(adata):
    pp.normalize(adata)
    del adata.layers["counts"]
    pp.filter_genes(adata, min_cells=1)
    assert adata.n_vars == 39
    with pytest.raises(ValueError, match="raw counts are missing"):
        pp.filter_genes(adata, min_counts=5)


def test_a_view_leaves_its_parent_alone(adata):
    view = adata[:50]
    pp.filter_cells(view, min_genes=8)
    assert adata.n_obs == 60
    assert "qc_filter" not in adata.uns
    assert not view.is_view


def test_layers_go_along(adata):
    pp.normalize(adata)
    pp.filter_cells(adata, min_genes=8)
    pp.filter_genes(adata, min_cells=10)
    assert adata.layers["counts"].shape == adata.X.shape == adata.shape


def test_survives_a_file(adata, tmp_path):
    pp.filter_cells(adata, min_genes=8)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert steps(ad.read_h5ad(tmp_path / "a.h5ad")) == steps(adata)


def test_foreign_record_is_replaced_with_a_warning(adata):
    adata.uns["qc_filter"] = {"mine": 1}
    with pytest.warns(UserWarning, match="held something that no filter of ours wrote"):
        pp.filter_cells(adata, min_genes=8)
    assert len(steps(adata)) == 1


def test_errors_say_what_to_do(adata):
    with pytest.raises(
        ValueError, match=r"remove all 60 cells: n_genes_by_counts below 500 takes 60"
    ):
        pp.filter_cells(adata, min_genes=500)
    assert adata.n_obs == 60
    with pytest.raises(ValueError, match="remove all 40 genes"):
        pp.filter_genes(adata, min_cells=61)
    with pytest.raises(KeyError, match=r"No obs\['pct_counts_mt'\].*pp.qc"):
        pp.filter_cells(adata, max_pct={"mt": 5})
    with pytest.raises(ValueError, match="a number is needed"):
        pp.filter_cells(adata, min_genes="200")
    with pytest.raises(ValueError, match="n_mads=-1"):
        pp.filter_cells(adata, n_mads=-1)
    adata.obs["sample"] = ["a"] * 60
    with pytest.raises(KeyError, match="Did you mean 'sample'"):
        pp.filter_cells(adata, n_mads=5, sample_key="sampel")
    adata.obs.loc["3", "sample"] = np.nan
    with pytest.raises(ValueError, match=r"1 cells have no obs\['sample'\] \(NaN; first '3'\)"):
        pp.filter_cells(adata, n_mads=5, sample_key="sample")

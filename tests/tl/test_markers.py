"""Markers: the table's meaning, agreement with scanpy, and scanpy's own plots on the result."""

from __future__ import annotations

import json
import runpy
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import tl
from cellsigil._core._jit import threads
from cellsigil.tl._pvalues import log10_benjamini_hochberg, log10_two_sided, log10_two_sided_t

naive = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "naive.py")))

LABELS = np.array(["T/NK"] * 20 + ["B"] * 17 + ["Mono"] * 22 + ["B"])
KEY = "scanpy_louvain_label"


def log_adata(counts, container=sp.csr_matrix, dtype="float32") -> ad.AnnData:
    values = counts.copy()
    values.data = np.log1p(values.data)
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(LABELS, categories=["Mono", "T/NK", "B", "ghost"]),
            "donor": [f"d{i % 3}" for i in range(60)],
        },
        index=[f"c{i}" for i in range(60)],
    )
    adata = ad.AnnData(sp.csr_matrix((60, counts.shape[1])), obs=obs)
    adata.var_names = [f"g{j}" for j in range(counts.shape[1])]
    adata.X = container(values.astype(dtype))
    return adata


@pytest.fixture
def adata(counts):
    return log_adata(counts)


@pytest.fixture(scope="module")
def real(shared):
    adata = ad.read_h5ad(shared("pbmc3k_raw.h5ad"))
    adata = adata[adata.obs[KEY].notna()].copy()
    adata.layers["counts"] = adata.X.copy()
    totals = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.X = sp.csr_matrix(adata.X.multiply(1e4 / totals[:, None])).log1p().astype(np.float32)
    return adata


def row(table, group, gene):
    return table[(table["group"] == group) & (table["gene"] == gene)].iloc[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_what_naive_says(counts, container, dtype):
    adata = log_adata(counts, container, dtype)
    table = tl.markers(adata, "type")
    assert table["group"].unique().tolist() == ["Mono", "T/NK", "B"]
    assert len(table) == 3 * 40
    dense = log_adata(counts, lambda m: m.toarray(), dtype).X.astype(float)
    for group in ("T/NK", "B"):
        own = table[table["group"] == group]
        assert own["rank"].tolist() == list(range(1, 41))
        assert (np.diff(own["auc"]) <= 0).all()
        want_padj = naive.benjamini_hochberg((10.0 ** own["log10_p"]).tolist())
        np.testing.assert_allclose(10.0 ** own["log10_padj"], want_padj, rtol=1e-9)
        for j in (0, 3, 20, 31):  # 20: zero in every cell
            x, rest = dense[group == LABELS, j], dense[group != LABELS, j]
            got = row(table, group, f"g{j}")
            assert got["auc"] == pytest.approx(naive.wins(x, rest) / (x.size * rest.size))
            assert got["z"] == pytest.approx(naive.normal_score(x.tolist(), rest.tolist()))
            v1, v2 = x.var(ddof=1), rest.var(ddof=1)
            apart = x.mean() - rest.mean()
            t = apart / np.sqrt(v1 / x.size + v2 / rest.size) if apart else 0.0
            assert got["t"] == pytest.approx(t)
            assert got["cohen_d"] == pytest.approx(apart / np.sqrt((v1 + v2) / 2) if apart else 0.0)
            fold = (np.expm1(x).mean() + 1) / (np.expm1(rest).mean() + 1)
            assert got["log2fc"] == pytest.approx(np.log2(fold))
            assert got["pct_in"] == pytest.approx((x > 0).mean())
            assert got["pct_out"] == pytest.approx((rest > 0).mean())
            assert got["mean_in"] == pytest.approx(x.mean())
            assert got["mean_out"] == pytest.approx(rest.mean())
            assert got["cosg"] == pytest.approx(naive.cosg(dense[:, j], LABELS.tolist(), group))
            means = np.array([dense[k == LABELS, j].mean() for k in ("Mono", "T/NK", "B")])
            if means.max() > 0:
                assert got["tau"] == pytest.approx((1 - means / means.max()).sum() / 2)
            else:
                assert np.isnan(got["tau"])


def test_columns_within_samples(adata):
    table = tl.markers(adata, "type", sample_key="donor")
    dense, donors = adata.X.toarray().astype(float), adata.obs["donor"].to_numpy()
    for group in ("Mono", "B"):
        for j in (0, 11):
            aucs, ds, cosines, changes, n1, n2 = [], [], [], [], [], []
            for donor in ("d0", "d1", "d2"):
                here = donors == donor
                x, rest = dense[here & (group == LABELS), j], dense[here & (group != LABELS), j]
                aucs.append(naive.wins(x, rest) / (x.size * rest.size))
                spread = np.sqrt((x.var(ddof=1) + rest.var(ddof=1)) / 2)
                ds.append((x.mean() - rest.mean()) / spread)
                cosines.append(naive.cosg(dense[here, j], LABELS[here].tolist(), group))
                fold = (np.expm1(x).mean() + 1) / (np.expm1(rest).mean() + 1)
                changes.append(np.log2(fold))
                n1.append(x.size)
                n2.append(rest.size)
            got = row(table, group, f"g{j}")
            assert got["auc_blocked"] == pytest.approx(naive.average_by_weight(aucs, n1, n2))
            assert got["cohen_d_blocked"] == pytest.approx(naive.average_by_weight(ds, n1, n2))
            assert got["cosg_blocked"] == pytest.approx(naive.average_by_weight(cosines, n1, n2))
            assert got["n_samples_pos"] == sum(auc > 0.5 for auc in aucs)
            from scipy.stats import ttest_1samp

            p = ttest_1samp(changes, 0).pvalue
            assert got["log10_p_samples"] == pytest.approx(np.log10(p))
    first = table[table["group"] == "B"]
    assert (np.diff(first["auc_blocked"]) <= 0).all()


def test_two_samples_have_no_test_between_samples(adata):
    adata.obs["donor"] = ["a", "b"] * 30
    table = tl.markers(adata, "type", sample_key="donor")
    assert "auc_blocked" in table
    assert not {"log10_p_samples", "z_blocked"} & set(table.columns)


def test_pairwise_summaries(adata):
    table = tl.markers(adata, "type", reference="pairwise")
    dense = adata.X.toarray().astype(float)

    def auc(group, other, j):
        x, y = dense[group == LABELS, j], dense[other == LABELS, j]
        return naive.wins(x, y) / (x.size * y.size)

    pairs = {k: np.array([auc("B", k, j) for j in range(40)]) for k in ("Mono", "T/NK")}
    for j in range(40):
        values = [pairs["Mono"][j], pairs["T/NK"][j]]
        got = row(table, "B", f"g{j}")
        assert got["auc_min"] == pytest.approx(min(values))
        assert got["auc_mean"] == pytest.approx(np.mean(values))
        assert got["auc_median"] == pytest.approx(np.median(values))
        best = min(int((each > each[j]).sum()) + 1 for each in pairs.values())
        assert got["auc_rank"] == best
    plain = tl.markers(adata, "type")
    pd.testing.assert_series_equal(table["auc"], plain["auc"])


def test_against_one_group(adata):
    table = tl.markers(adata, "type", reference="B", sample_key="donor")
    assert table["group"].unique().tolist() == ["Mono", "T/NK"]
    two = adata[adata.obs["type"].isin(["B", "Mono"])].copy()
    alone = tl.markers(two, "type", groups=["Mono"], sample_key="donor").set_index("gene")
    got = table[table["group"] == "Mono"].set_index("gene").loc[alone.index]
    for name in ("auc", "auc_blocked", "z", "z_raw", "t", "log10_padj", "log2fc", "pct_out"):
        np.testing.assert_allclose(got[name], alone[name], rtol=1e-9, atol=1e-12, err_msg=name)
    for name in ("mean_out", "cohen_d", "cohen_d_blocked", "n_samples_pos", "log10_p_samples"):
        np.testing.assert_allclose(got[name], alone[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("reference", ["rest", "B cells"])
@pytest.mark.parametrize("method", ["wilcoxon", "t-test"])
def test_equals_scanpy_on_pbmc3k(real, method, reference):
    import scanpy as sc

    real = real[:, ::4].copy()
    table = tl.markers(real, KEY, reference=reference)
    extra = {"tie_correct": True} if method == "wilcoxon" else {}
    with np.errstate(all="ignore"):
        sc.tl.rank_genes_groups(
            real, KEY, method=method, reference=reference, use_raw=False, **extra
        )
    theirs = real.uns["rank_genes_groups"]
    for group in theirs["names"].dtype.names:
        ours = table[table["group"] == group].set_index("gene").loc[theirs["names"][group]]
        score = ours["z" if method == "wilcoxon" else "t"]
        np.testing.assert_allclose(score, theirs["scores"][group], rtol=1e-6, atol=1e-6)
        if method == "wilcoxon":
            np.testing.assert_allclose(
                10 ** ours["log10_p"], theirs["pvals"][group], rtol=1e-9, atol=1e-300
            )
            adjusted = theirs["pvals_adj"][group]
            np.testing.assert_allclose(10 ** ours["log10_padj"], adjusted, rtol=1e-9, atol=1e-300)


def test_markers_of_pbmc3k_are_known_ones(real):
    table = tl.markers(real, KEY, rank_by="balanced")
    top = {group: set(part["gene"].head(10)) for group, part in table.groupby("group")}
    assert {"CD79A", "MS4A1", "CD79B"} <= top["B cells"]
    assert {"GNLY", "NKG7", "GZMB"} <= top["NK cells"]
    assert {"S100A8", "S100A9", "LYZ"} <= top["CD14+ Monocytes"]
    assert {"PPBP", "PF4"} <= top["Megakaryocytes"]
    assert (table["log10_p"] < -320).any()  # below what a double can hold
    assert np.isfinite(table["log10_padj"]).all()


def test_rankings_differ_as_they_say(adata):
    tables = {
        by: tl.markers(adata, "type", sample_key="donor", rank_by=by)
        for by in ("auto", "auc", "auc_blocked", "balanced", "specific", "z", "log2fc", "cosg")
    }
    pd.testing.assert_frame_equal(tables["auto"], tables["auc_blocked"])
    column = {"auc": "auc", "z": "z_raw", "log2fc": "log2fc", "cosg": "cosg"}
    column |= {"specific": "cosg_blocked"}
    for by, name in column.items():
        own = tables[by][tables[by]["group"] == "B"]
        assert (np.diff(own[name]) <= 0).all(), by
    own = tables["balanced"][tables["balanced"]["group"] == "B"]
    places = own["auc_blocked"].rank(ascending=False) + own["cosg_blocked"].rank(ascending=False)
    assert (np.diff(places) >= 0).all()


def test_ties_go_by_gene_name(counts):
    values = counts.toarray()[:, :4]
    adata = log_adata(sp.csr_matrix(np.hstack([values, values])))
    adata.var_names = list("dbcahfge")
    for part in [p for _, p in tl.markers(adata, "type").groupby("group")]:
        for _, tied in part.groupby("auc"):
            assert tied["gene"].tolist() == sorted(tied["gene"])
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    shuffled = adata[:, order].copy()
    one, two = tl.markers(adata, "type"), tl.markers(shuffled, "type")
    assert one["gene"].tolist() == two["gene"].tolist()


def test_small_groups_have_no_rank_and_harm_no_other(adata):
    adata.obs["type"] = ["lone", *LABELS[1:]]
    with pytest.warns(UserWarning, match="'lone' has fewer than 2 cells"):
        table = tl.markers(adata, "type", sample_key="donor")
    lone = table[table["group"] == "lone"]
    assert lone.drop(columns=["group", "gene", "n_samples_pos"]).isna().all(axis=None)
    others = table[table["group"] != "lone"]
    assert others["rank"].notna().all()
    assert others["auc_blocked"].notna().all()
    assert "lone" not in adata.uns["rank_genes_groups"]["names"].dtype.names


def test_group_in_no_whole_sample_is_ranked_by_pooled_auc(adata):
    adata.obs["donor"] = [f"d{i}" for i in range(20)] + ["rest"] * 40  # T/NK: one cell a donor
    with pytest.warns(UserWarning, match=r"3 cells of 'T/NK'.*pooled AUC"):
        table = tl.markers(adata, "type", sample_key="donor")
    own = table[table["group"] == "T/NK"]
    assert own["auc_blocked"].isna().all()
    assert (np.diff(own["auc"]) <= 0).all()


def test_names_that_are_not_there(adata):
    with pytest.raises(KeyError, match=r"reference='Mon' is no group of obs\['type'\].*'Mono'"):
        tl.markers(adata, "type", reference="Mon")
    with pytest.raises(KeyError, match=r"No group 'ghost'"):
        tl.markers(adata, "type", groups=["ghost"])
    with pytest.raises(ValueError, match=r"leaves no group"):
        tl.markers(adata, "type", groups=["B"], reference="B")
    with pytest.raises(ValueError, match=r"rank_by='aucc' is no ranking. Did you mean 'auc'"):
        tl.markers(adata, "type", rank_by="aucc")
    with pytest.raises(ValueError, match="needs samples"):
        tl.markers(adata, "type", rank_by="auc_blocked")
    adata.obs["one"] = "x"
    with pytest.raises(ValueError, match="only the group 'x'"):
        tl.markers(adata, "one")
    assert not adata.uns


def test_subset_of_groups_is_the_same_numbers(adata):
    table = tl.markers(adata, "type", groups=["B", "Mono"])
    assert table["group"].unique().tolist() == ["Mono", "B"]
    whole = tl.markers(adata, "type")
    want = whole[whole["group"] != "T/NK"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, want)


@pytest.mark.parametrize("reference", ["rest", "pairwise", "B"])
def test_given_stats_save_a_pass_and_change_nothing(adata, reference):
    stats = tl.group_stats(adata, "type", sample_key="donor")
    kwargs = {"sample_key": "donor", "reference": reference}
    one = tl.markers(adata, "type", stats=stats, **kwargs)
    pd.testing.assert_frame_equal(one, tl.markers(adata, "type", **kwargs), check_exact=True)
    with pytest.raises(ValueError, match="stats= was made with"):
        tl.markers(adata, "type", stats=stats)


@pytest.mark.parametrize("reference", ["rest", "pairwise", "B"])
def test_same_bits_on_any_budget_and_number_of_threads(counts, container, reference):
    adata = log_adata(counts, container)
    kwargs = {"reference": reference, "sample_key": "donor"}
    table = tl.markers(adata, "type", **kwargs)
    pd.testing.assert_frame_equal(
        table, tl.markers(adata, "type", memory_budget=200, **kwargs), check_exact=True
    )
    with threads(1):
        one = tl.markers(adata, "type", **kwargs)
    pd.testing.assert_frame_equal(table, one, check_exact=True)
    plain = tl.markers(log_adata(counts), "type", **kwargs)
    pd.testing.assert_frame_equal(table, plain, check_exact=True)


@pytest.fixture
def many_groups():
    """Nineteen groups, one of them a single cell, of 600 cells and 50 genes: 171 pairs."""
    rng = np.random.default_rng(3)
    adata = ad.AnnData(sp.random(600, 50, 0.4, "csr", np.float32, rng))
    group = rng.integers(0, 18, 600)
    group[0] = 18
    adata.obs["type"] = [f"t{g}" for g in group]
    adata.obs["donor"] = rng.choice(["a", "b", "c"], 600)
    return adata


@pytest.mark.parametrize("sample_key", [None, "donor"])
@pytest.mark.filterwarnings("ignore:.*fewer than 2 cells")
def test_pairs_in_ranges_are_the_same_bits(many_groups, sample_key):
    kwargs = {"reference": "pairwise", "sample_key": sample_key}
    table = tl.markers(many_groups, "type", **kwargs)
    assert table["auc_rank"].isna().sum() == 50
    stats = tl.group_stats(many_groups, "type", sample_key=sample_key)
    for budget in (200, 40 * 64 * 8, 100 * 64 * 8):  # 19, 40 and 100 pairs of 64 genes
        for given in (None, stats):
            got = tl.markers(many_groups, "type", memory_budget=budget, stats=given, **kwargs)
            pd.testing.assert_frame_equal(table, got, check_exact=True)
    with threads(1):
        got = tl.markers(many_groups, "type", memory_budget=200, **kwargs)
    pd.testing.assert_frame_equal(table, got, check_exact=True)


def test_a_memory_budget_bounds_the_pairs():
    rng = np.random.default_rng(4)
    adata = ad.AnnData(sp.random(1200, 32, 0.3, "csr", np.float32, rng))
    adata.obs["type"] = [f"t{i % 300}" for i in range(1200)]
    pairs = 8 * 32 * 300 * 299 / 2
    peak = {}
    for budget in (None, 1 << 20):
        tl.markers(adata[:, :3].copy(), "type", reference="pairwise")  # compiled before
        tracemalloc.start()
        try:
            tl.markers(adata, "type", reference="pairwise", memory_budget=budget)
            peak[budget] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak[None] > pairs
    assert peak[1 << 20] < peak[None] - 0.8 * pairs


def test_raw_is_never_read(adata):
    table = tl.markers(adata, "type")
    adata.raw = adata.copy()
    adata.raw.X.data[:] = 7.5
    pd.testing.assert_frame_equal(table, tl.markers(adata, "type"))


def test_says_that_p_values_are_circular(adata):
    table = tl.markers(adata, "type")
    assert "circular" in table.attrs["note"]
    params = json.loads(adata.uns["rank_genes_groups"]["cellsigil"])
    assert "circular" in params["note"]
    assert params["rank_by"] == "auto"
    declared = tl.markers(adata, "type", labels_independent=True)
    assert declared.attrs["note"] == ""


def test_result_goes_to_disk_and_back(adata, tmp_path):
    table = tl.markers(adata, "type")
    adata.write_h5ad(tmp_path / "a.h5ad")
    found = ad.read_h5ad(tmp_path / "a.h5ad").uns["rank_genes_groups"]
    assert found["names"].dtype.names == ("Mono", "T/NK", "B")
    own = table[table["group"] == "T/NK"]
    assert list(found["names"]["T/NK"].astype(str)) == own["gene"].tolist()
    np.testing.assert_allclose(found["scores"]["T/NK"], own["z"], rtol=1e-6)
    assert found["params"]["method"] == "wilcoxon"
    assert "layer" not in found["params"]  # None would be unreadable for anndata 0.10


def test_files_opened_lazily_give_the_same_table(adata, tmp_path):
    experimental = pytest.importorskip("anndata.experimental")
    table = tl.markers(adata, "type", sample_key="donor", reference="pairwise")
    adata.write_h5ad(tmp_path / "a.h5ad")
    opened = [ad.read_h5ad(tmp_path / "a.h5ad", backed="r")]
    pytest.importorskip("xarray")
    opened.append(experimental.read_lazy(tmp_path / "a.h5ad"))
    for each in opened:
        found = tl.markers(each, "type", sample_key="donor", reference="pairwise")
        pd.testing.assert_frame_equal(found, table, check_exact=True)


def test_scanpy_reads_and_plots_the_result(real):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import scanpy as sc

    adata = real[:, ::6].copy()
    adata.obs[KEY] = adata.obs[KEY].cat.rename_categories({"NK cells": "T/NK"})
    table = tl.markers(adata, KEY)
    frame = sc.get.rank_genes_groups_df(adata, "T/NK")
    assert frame["names"].tolist() == table[table["group"] == "T/NK"]["gene"].tolist()
    assert frame.columns[:5].tolist() == ["names", "scores", "logfoldchanges", "pvals", "pvals_adj"]
    assert len(sc.get.rank_genes_groups_df(adata, None)) == len(table)
    sc.pl.rank_genes_groups(adata, show=False)
    sc.pl.rank_genes_groups_violin(adata, groups=["T/NK"], n_genes=3, show=False)
    for plot in ("dotplot", "matrixplot", "stacked_violin", "heatmap", "tracksplot"):
        draw = getattr(sc.pl, f"rank_genes_groups_{plot}")
        draw(adata, n_genes=2, show=False, dendrogram=False)
    sc.pl.rank_genes_groups_dotplot(
        adata, n_genes=2, values_to_plot="logfoldchanges", dendrogram=False, show=False
    )
    sc.tl.filter_rank_genes_groups(adata, use_raw=False)
    plt.close("all")


def test_logarithms_of_p_never_underflow():
    from scipy.stats import norm
    from scipy.stats import t as student

    z = np.array([0.0, 1.0, -8.0, 30.0])
    np.testing.assert_allclose(10 ** log10_two_sided(z), 2 * norm.sf(np.abs(z)), rtol=1e-12)
    assert log10_two_sided(np.array([100.0]))[0] == pytest.approx(-2173.57, abs=0.01)
    np.testing.assert_allclose(10 ** log10_two_sided_t(z, 4), 2 * student.sf(np.abs(z), 4))


def test_benjamini_hochberg_leaves_out_nan():
    p = np.array([[0.01, np.nan, 0.04, 0.03, 1.0], [0.5, 0.5, np.nan, np.nan, np.nan]])
    got = 10 ** log10_benjamini_hochberg(np.log10(p))
    for own, want in zip(got, p):
        tested = ~np.isnan(want)
        np.testing.assert_allclose(own[tested], naive.benjamini_hochberg(want[tested].tolist()))
        assert np.isnan(own[~tested]).all()
    tiny = log10_benjamini_hochberg(np.array([[-400.0, -1000.0, -2.0]]))
    np.testing.assert_allclose(tiny, [[-400 + np.log10(1.5), -1000 + np.log10(3), -2.0]])


def test_no_blocked_test_without_a_sample_to_test_in(adata):
    adata.obs["own"] = (adata.obs["type"].astype(str) + adata.obs["donor"]).astype("category")
    with pytest.warns(UserWarning, match="pooled AUC"):
        table = tl.markers(adata, "type", sample_key="own")
    assert table["z_blocked"].isna().all()
    assert table["log10_p_blocked"].isna().all()
    with pytest.raises(ValueError, match="holds a '/'"):
        tl.markers(adata, "type", key_added="T/NK")
    with pytest.raises(KeyError, match="no column of adata.obs"):
        tl.markers(adata, ["type"])


def test_best_rank_is_the_best_of_all_pairs(adata):
    table = tl.markers(adata, "type", reference="pairwise")
    dense, types = adata.X.toarray().astype(float), adata.obs["type"].to_numpy()
    groups = ["Mono", "T/NK", "B"]
    for one in groups:
        ranks = []
        for two in groups:
            if one != two:
                auc = np.array(
                    [naive.wins(dense[types == one, j], dense[types == two, j]) for j in range(40)]
                )
                ranks.append([(auc > auc[j]).sum() + 1 for j in range(40)])
        own = table[table["group"] == one].set_index("gene").loc[adata.var_names, "auc_rank"]
        np.testing.assert_array_equal(own, np.min(ranks, axis=0))

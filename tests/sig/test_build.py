from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import pp, sig, tl
from cellsigil._core._jit import threads
from cellsigil.sig._choose import rank_genes
from cellsigil.sig._inputs import cell_factors, of_no_type, open_counts, read_cells
from cellsigil.sig._moments import measure


def cp10k(adata) -> np.ndarray:
    counts = np.asarray(adata.layers["counts"].todense(), dtype=float)
    return counts / counts.sum(axis=1, keepdims=True) * 1e4


def naive(adata, groupby="cell_type", sample_key="donor"):
    """What every field means, in slow plain Python."""
    x = cp10k(adata)
    log = np.log1p(x)
    fields = {name: [] for name in ("mean", "var_cells", "var_samples", "detection", "log2fc")}
    for name in adata.obs[groupby].cat.categories:
        mine = (adata.obs[groupby] == name).to_numpy()
        fields["mean"].append(x[mine].mean(axis=0))
        fields["var_cells"].append(x[mine].var(axis=0, ddof=1))
        donors = adata.obs[sample_key]
        means = [x[mine & (donors == d).to_numpy()].mean(axis=0) for d in donors.unique()]
        fields["var_samples"].append(np.var(means, axis=0, ddof=1))
        fields["detection"].append((x[mine] > 0).mean(axis=0))
        fields["log2fc"].append(np.log2((x[mine].mean(axis=0) + 1) / (x[~mine].mean(axis=0) + 1)))
    return {name: np.array(value) for name, value in fields.items()} | {
        "mean_log": log.mean(axis=0), "sd_log": log.std(axis=0, ddof=1),
    }  # fmt: skip


def naive_cosg(log: np.ndarray, labels: np.ndarray, types: list[str]) -> np.ndarray:
    def cosine_with(gene, mine):
        return gene @ mine / (np.linalg.norm(gene) * np.sqrt(mine.sum()))

    cosine = np.array([[cosine_with(gene, labels == name) for gene in log.T] for name in types])
    return cosine * cosine**2 / (cosine**2).sum(axis=0)


def test_means_what_naive_says(cells, container, dtype):
    cells.layers["counts"] = cells.layers["counts"].astype(dtype)
    expected = naive(cells)
    cells.layers["counts"] = container(cells.layers["counts"])
    built = sig.build(cells, "cell_type", sample_key="donor").adata
    np.testing.assert_allclose(built.X, expected["mean"], rtol=1e-10)
    for name in ("var_cells", "var_samples", "detection", "log2fc"):
        np.testing.assert_allclose(built.layers[name], expected[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(built.var["mean_log"], expected["mean_log"], rtol=1e-10)
    np.testing.assert_allclose(built.var["sd_log"], expected["sd_log"], rtol=1e-9)
    assert built.obs["n_cells"].tolist() == [42, 48, 54]
    assert built.obs["n_samples"].tolist() == [3, 3, 3]


def test_a_profile_is_a_mean_never_a_sum(cells):
    twice = ad.concat([cells, cells[cells.obs["cell_type"] == "B"]])
    twice.obs_names_make_unique()
    twice.obs["cell_type"] = pd.Categorical(
        twice.obs["cell_type"], cells.obs["cell_type"].cat.categories
    )
    a, b = sig.build(cells, "cell_type").profiles, sig.build(twice, "cell_type").profiles
    np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(a.sum(), 1e4, rtol=1e-12)


def test_auc_is_mann_whitney_and_specificity_is_cosg(cells):
    from scipy.stats import mannwhitneyu

    built = sig.build(cells, "cell_type")
    labels = cells.obs["cell_type"].to_numpy(dtype=object)
    x = cells.X.toarray()
    for k, name in enumerate(built.types):
        mine = labels == name
        u = mannwhitneyu(x[mine], x[~mine]).statistic
        np.testing.assert_allclose(
            built.adata.layers["auc"][k], u / (mine.sum() * (~mine).sum()), rtol=1e-9
        )
    expected = naive_cosg(np.log1p(cp10k(cells)), labels, built.types)
    np.testing.assert_allclose(built.adata.layers["specificity"], expected, rtol=1e-9)


def test_cosg_is_blocked_by_sample(cells):
    built = sig.build(cells, "cell_type", sample_key="donor")
    total, weight = 0.0, 0.0
    for donor in ("d0", "d1", "d2"):
        part = cells[cells.obs["donor"] == donor]
        labels = part.obs["cell_type"].to_numpy(dtype=object)
        n = np.array([(labels == t).sum() for t in built.types], float)
        w = (n * (n.sum() - n) / n.sum())[:, None]
        total = total + w * naive_cosg(np.log1p(cp10k(part)), labels, built.types)
        weight = weight + w
    np.testing.assert_allclose(built.adata.layers["specificity"], total / weight, rtol=1e-9)


def test_rna_content_is_the_geometric_mean_of_ratios_within_samples(cells):
    totals = pd.Series(
        np.asarray(cells.layers["counts"].sum(axis=1, dtype=float)).ravel(), cells.obs_names
    )
    means = (
        totals.groupby([cells.obs["donor"], cells.obs["cell_type"]], observed=True).mean().unstack()
    )
    ratio = np.exp(np.log(means.div(means["B"], axis=0)).mean())
    expected = (ratio / ratio.mean()).reindex(cells.obs["cell_type"].cat.categories)
    content = sig.build(cells, "cell_type", sample_key="donor").rna_content
    np.testing.assert_allclose(content, expected, rtol=1e-10)
    assert content.mean() == pytest.approx(1)
    # a donor sequenced deeper, with one type only, must not move the ratio of the others
    lone = cells[~((cells.obs["donor"] == "d2") & (cells.obs["cell_type"] != "B"))].copy()
    content = sig.build(lone, "cell_type", sample_key="donor").rna_content
    expected = np.exp(np.log(means.loc[["d0", "d1"], "T/NK"] / means.loc[["d0", "d1"], "B"]).mean())
    assert content["T/NK"] / content["B"] == pytest.approx(expected)


@pytest.mark.parametrize("target", [1e4, 2345.0, 8000.0, 1e6])
def test_a_size_factor_for_any_target_gives_cp10k(cells, target):
    plain = sig.build(cells, "cell_type")
    assert "totals of layers['counts']" in plain.info["size_factor"]
    cells.obs["size_factor"] = (
        np.asarray(cells.layers["counts"].sum(axis=1, dtype=float)).ravel() / target
    )
    built = sig.build(cells, "cell_type")
    np.testing.assert_allclose(built.profiles, plain.profiles, rtol=1e-9)
    assert "size_factor" in built.card["size_factor"]
    np.testing.assert_allclose(built.rna_content, plain.rna_content, rtol=1e-9)


def test_a_size_factor_outlives_a_filter_of_genes(cells):
    cells.obs["size_factor"] = (
        np.asarray(cells.layers["counts"].sum(axis=1, dtype=float)).ravel() / 1e4
    )
    whole = sig.build(cells, "cell_type").profiles
    few = cells[:, cells.var_names != "G40"].copy()
    np.testing.assert_allclose(sig.build(few, "cell_type").profiles, whole.drop("G40"), rtol=1e-9)


def test_a_broken_size_factor_is_not_used_and_that_is_said(cells):
    cells.obs["size_factor"] = np.nan
    card = sig.build(cells, "cell_type").card
    assert "zero, negative or missing" in card["size_factor"]


def test_genes_of_handling_and_sex_are_never_selected_and_named(cells):
    built = sig.build(cells, "cell_type", sample_key="donor")
    assert built.info["excluded"] == {
        "mitochondrial": ["MT-CO1"], "ribosomal": ["RPL3"], "sex": ["XIST"],
        "dissociation": ["FOS"], "haemoglobin": ["HBB"],
    }  # fmt: skip
    assert not {"MT-CO1", "RPL3", "XIST", "FOS", "HBB"} & set(built.selected)
    assert np.isnan(built.layer("marker_rank").loc["XIST"]).all()
    assert built.profiles.loc["XIST"].gt(0).all(), "the profile is kept"
    assert np.isfinite(built.layer("marker_rank").loc["RPS6KA1"]).all(), "a kinase, not ribosomal"
    kept = sig.build(cells, "cell_type", exclude=("ribosomal",))
    assert kept.layer("marker_rank").loc["XIST", "B"] == 1
    with pytest.raises(KeyError, match="No gene set 'sexes' to exclude. Did you mean 'sex'"):
        sig.build(cells, "cell_type", exclude=("sexes",))


def test_ensembl_ids_without_symbols_are_known_for_sex_and_mitochondria(cells):
    ids = [f"ENSG{j:011d}" for j in range(cells.n_vars)]
    ids[50], ids[51] = "ENSG00000198804", "ENSG00000229807.13"
    cells.var_names = ids
    built = sig.build(cells, "cell_type")
    assert built.info["excluded"]["mitochondrial"] == ["ENSG00000198804"]
    assert built.info["excluded"]["sex"] == ["ENSG00000229807.13"]
    assert built.adata.var["gene_id"].tolist() == ids
    assert (built.adata.var["symbol"] == "").all()


def test_symbols_in_var_or_glued_to_an_id_are_used(cells):
    names = cells.var_names.tolist()
    cells.var["gene_symbols"] = names
    cells.var_names = [f"ENSG{j:011d}" for j in range(cells.n_vars)]
    assert sig.build(cells, "cell_type").info["excluded"]["sex"] == [cells.var_names[51]]
    del cells.var["gene_symbols"]
    cells.var_names = [f"{name}_ENSG{j:011d}" for j, name in enumerate(names)]
    built = sig.build(cells, "cell_type")
    assert built.info["excluded"]["ribosomal"] == ["RPL3_ENSG00000000049"]
    assert built.adata.var["symbol"].tolist() == names


def test_the_planted_markers_come_first(cells):
    built = sig.build(cells, "cell_type", sample_key="donor", n_markers=12)
    for k, name in enumerate(built.types):
        assert set(built.info["markers"][name]) <= {f"G{j}" for j in range(12 * k, 12 * k + 12)}
    assert built.card["genes_per_type"] == 12
    assert built.card["condition_number"] < 5


def test_the_ranking_without_a_sample_never_sees_it(cells):
    def ranked(adata):
        counts, labels = open_counts(adata), read_cells(adata, "cell_type", "donor")
        scale = cell_factors(adata, counts, np.ones(adata.n_obs, bool)).scale
        moments = measure(counts, scale, labels)
        stats = tl.group_stats(adata, "cell_type", sample_key="donor")
        return rank_genes(moments, stats, np.ones(adata.n_vars, bool), np.array([0, 2]))

    before = ranked(cells)
    changed = (cells.obs["donor"] == "d1").to_numpy()
    for matrix in (cells.X, cells.layers["counts"]):
        flipped = matrix.toarray()
        flipped[changed] = flipped[changed][:, ::-1]
        matrix.data, matrix.indices, matrix.indptr = (
            getattr(sp.csr_matrix(flipped), part) for part in ("data", "indices", "indptr")
        )
    after = ranked(cells)
    for name in ("auc", "cosg", "ranks", "profiles", "log2fc"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_the_card_says_what_held_out_samples_showed(cells):
    card = sig.build(cells, "cell_type", sample_key="donor").card
    assert card["held_out"] == ["d0", "d1", "d2"]
    assert set(card["transfer"]["auroc"]) == {"B", "T/NK", "Mono (CD14+)"}
    assert all(value > 0.95 for value in card["transfer"]["worst_auroc"].values())
    assert card["deconvolution"]["r"] > 0.95
    assert all(0 <= limit < 0.3 for limit in card["detection_limit"].values())
    json.dumps(card, allow_nan=False)


def test_the_card_says_what_one_sample_cannot_show(cells):
    built = sig.build(cells[cells.obs["donor"] == "d0"].copy(), "cell_type", sample_key="donor")
    assert built.card["transfer"] is None
    assert built.card["deconvolution"] is None
    assert "one sample" in built.card["not_measured"]
    assert np.isnan(built.adata.layers["var_samples"]).all()
    card = sig.build(cells, "cell_type").card
    assert "no sample_key" in card["not_measured"]
    held_out = sig.build(cells, "cell_type", sample_key="donor").card["detection_limit"]
    assert all(0 <= card["detection_limit"][name] < held_out[name] for name in held_out)
    assert "lower bound" in card["scheme"]


@pytest.mark.parametrize("target", [1e4, None])
def test_what_scanpy_normalised_gives_the_same_set(cells, target):
    import scanpy as sc

    theirs = cells.copy()
    theirs.X = theirs.layers["counts"].copy()
    sc.pp.normalize_total(theirs, target_sum=target)
    sc.pp.log1p(theirs)
    a = sig.build(cells, "cell_type", sample_key="donor")
    b = sig.build(theirs, "cell_type", sample_key="donor")
    np.testing.assert_array_equal(a.adata.X, b.adata.X)
    assert b.card["size_factor"] == "totals of layers['counts']"
    if target:
        assert a.info["markers"] == b.info["markers"]
    sc.pp.scale(theirs)
    with pytest.raises(ValueError, match="looks scaled"):
        sig.build(theirs, "cell_type")


def test_nan_labels_are_left_out_with_a_warning(cells):
    kept = (np.arange(cells.n_obs) % 5 > 0) | (cells.obs["donor"] == "d1").to_numpy()
    expected = sig.build(cells[kept].copy(), "cell_type", sample_key="donor")
    cells.obs["cell_type"] = cells.obs["cell_type"].where(kept)
    with pytest.warns(UserWarning, match="no label"):
        built = sig.build(cells, "cell_type", sample_key="donor")
    np.testing.assert_array_equal(built.adata.X, expected.adata.X)
    np.testing.assert_array_equal(
        built.adata.layers["marker_rank"], expected.adata.layers["marker_rank"]
    )
    np.testing.assert_array_equal(built.adata.var["sd_log"], expected.adata.var["sd_log"])


@pytest.mark.parametrize("kind", ["int", "bool", "str", "unused"])
def test_any_kind_of_label(cells, kind):
    codes = cells.obs["cell_type"].cat.codes
    made = {
        "int": codes.astype(int) + 7, "bool": codes == 1, "str": cells.obs["cell_type"].astype(str),
        "unused": cells.obs["cell_type"].cat.add_categories(["ghost"]),
    }  # fmt: skip
    cells.obs["label"] = made[kind]
    types = {"int": ["7", "8", "9"], "bool": ["False", "True"], "str": ["B", "Mono (CD14+)", "T/NK"],
             "unused": ["B", "T/NK", "Mono (CD14+)"]}  # fmt: skip
    assert sig.build(cells, "label").types == types[kind]


def test_an_empty_cell_counts_as_a_cell_of_zeros(cells):
    for matrix in (cells.X, cells.layers["counts"]):
        matrix.data[matrix.indptr[0] : matrix.indptr[1]] = 0
    built = sig.build(cells, "cell_type")
    x = np.nan_to_num(np.expm1(cells.X.toarray().astype(float)))
    np.testing.assert_allclose(
        built.adata.X[0], x[(cells.obs["cell_type"] == "B").to_numpy()].mean(axis=0), rtol=1e-5
    )


def test_same_bits_on_any_number_of_threads_and_nothing_changed(cells):
    before = cells.copy()
    with threads(1):
        one = sig.build(cells, "cell_type", sample_key="donor")
    with threads(2):
        two = sig.build(cells, "cell_type", sample_key="donor")
    np.testing.assert_array_equal(one.adata.X, two.adata.X)
    for name in one.adata.layers:
        np.testing.assert_array_equal(one.adata.layers[name], two.adata.layers[name])
    assert one.info == two.info
    for matrix, old in ((cells.X, before.X), (cells.layers["counts"], before.layers["counts"])):
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(matrix, part), getattr(old, part))
    assert list(cells.uns) == list(before.uns)
    pd.testing.assert_frame_equal(cells.obs, before.obs)


def test_the_order_of_cells_does_not_choose_genes(cells):
    order = np.random.default_rng(1).permutation(cells.n_obs)
    a = sig.build(cells, "cell_type", sample_key="donor")
    b = sig.build(cells[order].copy(), "cell_type", sample_key="donor")
    assert a.info["markers"] == b.info["markers"]
    np.testing.assert_allclose(a.adata.X, b.adata.X, rtol=1e-12)


def test_the_input_hash_knows_values_and_labels_but_no_container(cells):
    first = sig.build(cells, "cell_type").info["input_hash"]
    cells.layers["counts"] = sp.csc_array(cells.layers["counts"]).astype(np.int64)
    assert sig.build(cells, "cell_type").info["input_hash"] == first
    moved = cells.copy()
    moved.obs.iloc[0, 0] = "T/NK"
    assert sig.build(moved, "cell_type").info["input_hash"] != first
    cells.layers["counts"] = cells.layers["counts"].tocsr()
    cells.layers["counts"].data[0] += 1
    assert sig.build(cells, "cell_type").info["input_hash"] != first


def test_sorted_samples_of_one_type_each_fall_back_on_pooled_ranks(cells):
    cells.obs["sorted"] = cells.obs["cell_type"].astype(str) + cells.obs["donor"].astype(str)
    with pytest.warns(
        UserWarning, match="No chain of samples of obs\\['sorted'\\] links all types"
    ):
        built = sig.build(cells, "cell_type", sample_key="sorted")
    pooled = sig.build(cells, "cell_type")
    np.testing.assert_allclose(built.adata.layers["auc"], pooled.adata.layers["auc"])
    assert built.info["markers"] == pooled.info["markers"]
    assert built.adata.obs["n_samples"].tolist() == [3, 3, 3]
    totals = pd.Series(
        np.asarray(cells.layers["counts"].sum(axis=1, dtype=float)).ravel(), cells.obs_names
    )
    means = (
        totals.groupby([cells.obs["cell_type"], cells.obs["donor"]], observed=True).mean().unstack()
    )
    content = np.exp(np.log(means).mean(axis=1))
    np.testing.assert_allclose(built.rna_content, content / content.mean(), rtol=1e-10)
    assert "depth" in built.card["rna_content"]
    json.dumps(built.info, allow_nan=False)


def test_a_type_of_one_cell_is_kept_without_ranks(cells):
    kept = (cells.obs["cell_type"] != "B").to_numpy(copy=True)
    kept[0] = True
    with pytest.warns(UserWarning, match="fewer than 2 cells"):
        built = sig.build(cells[kept].copy(), "cell_type", sample_key="donor")
    assert built.info["markers"]["B"] == []
    assert np.isfinite(built.adata.X).all()
    assert np.isnan(built.adata.layers["var_cells"][0]).all()
    json.dumps(built.info, allow_nan=False)


def test_types_that_nothing_tells_apart_are_told(cells):
    rng = np.random.default_rng(0)
    cells.obs["noise"] = rng.permutation(cells.obs["cell_type"].to_numpy(dtype=object))
    with pytest.warns(UserWarning, match="can't deconvolve"):
        built = sig.build(cells[:, :2].copy(), "noise", sample_key="donor")
    json.dumps(built.info, allow_nan=False)


def test_ontology_ids_come_from_a_dict_or_obs(cells):
    built = sig.build(cells, "cell_type", ontology={"B": "CL:0000236"}, genome="GRCh38")
    assert built.adata.obs["cell_ontology_id"].tolist() == ["CL:0000236", "", ""]
    assert built.info["genome"] == "GRCh38"
    cells.obs["cell_type_ontology_term_id"] = np.where(
        cells.obs["cell_type"] == "T/NK", "CL:0000084", ""
    )
    assert sig.build(cells, "cell_type").adata.obs["cell_ontology_id"].tolist() == [
        "",
        "CL:0000084",
        "",
    ]
    with pytest.raises(KeyError, match="Did you mean 'T/NK'"):
        sig.build(cells, "cell_type", ontology={"TNK": "CL:0000084"})
    with pytest.raises(ValueError, match="no Cell Ontology id"):
        sig.build(cells, "cell_type", ontology={"B": "B cell"})


def test_stats_made_before_give_the_same_and_others_are_refused(cells):
    stats = tl.group_stats(cells, "cell_type", sample_key="donor")
    a = sig.build(cells, "cell_type", sample_key="donor", stats=stats)
    b = sig.build(cells, "cell_type", sample_key="donor")
    np.testing.assert_array_equal(a.adata.layers["marker_rank"], b.adata.layers["marker_rank"])
    with pytest.raises(ValueError, match="stats= was made from other sample_key"):
        sig.build(cells, "cell_type", stats=stats)
    with pytest.raises(ValueError, match="stats= was made from other genes"):
        sig.build(cells[:, :40].copy(), "cell_type", sample_key="donor", stats=stats)


def test_refusals_say_the_place_and_the_way_out(cells):
    with pytest.raises(KeyError, match="Did you mean 'cell_type'"):
        sig.build(cells, "celltype")
    with pytest.raises(ValueError, match="n_markers=0"):
        sig.build(cells, "cell_type", n_markers=0)
    raw = cells.copy()
    raw.X = raw.layers["counts"].copy()
    with pytest.raises(ValueError, match="looks like counts"):
        sig.build(raw, "cell_type")
    no_counts = cells.copy()
    del no_counts.layers["counts"]
    with pytest.raises(ValueError, match="raw counts are missing"):
        sig.build(no_counts, "cell_type")
    one = cells[cells.obs["cell_type"] == "B"].copy()
    with pytest.raises(ValueError, match="only the group 'B'"):
        sig.build(one, "cell_type")
    twice = cells.copy()
    twice.var_names = ["A", "A", *twice.var_names[2:]]
    with pytest.raises(ValueError, match="Gene names repeat"):
        sig.build(twice, "cell_type")
    with pytest.raises(ValueError, match="nothing to build from"):
        sig.build(cells[:0].copy(), "cell_type")


def test_newman_markers_make_sense(real, tmp_path):
    built = sig.build(real("sc_newman_reference.h5ad"), "cell_type")
    markers = built.info["markers"]
    assert {"CD79A", "MS4A1"} <= set(markers["B"][:5])
    assert {"CD8A", "CD8B"} <= set(markers["CD8T"])
    assert {"IL7R", "CCR7"} <= set(markers["CD4T"])
    assert {"KLRF1", "GNLY"} <= set(markers["NK"])
    assert {"LYZ", "VCAN"} <= set(markers["Monocyte"])
    assert {"CXCR2", "CSF3R"} <= set(markers["Neutrophil"])
    assert built.rna_content["Neutrophil"] < 0.3, "neutrophils hold little RNA"
    assert built.card["condition_number"] < 4
    built.write(tmp_path / "newman.h5ad")
    back = sig.read(tmp_path / "newman.h5ad")
    assert back.info == built.info
    np.testing.assert_array_equal(back.adata.X, built.adata.X)


def test_cell_lines_by_ensembl_id(real):
    cells = real("mix_sc_celseq2.h5ad", lambda obs: obs["demuxlet_cls"] == "SNG")
    built = sig.build(cells, "cell_line")
    assert built.types == ["H1975", "H2228", "HCC827"]
    assert built.card["condition_number"] < 2
    assert "ENSG00000146648" not in built.info["markers"]["H2228"], "EGFR is HCC827's"
    assert built.profiles.loc["ENSG00000146648"].idxmax() == "HCC827"


def test_kang_transfers_to_held_out_samples(real):
    card = sig.build(real("kang_muscat_example.h5ad"), "cluster_id", sample_key="sample_id").card
    assert min(card["transfer"]["worst_auroc"].values()) > 0.85
    assert card["deconvolution"]["r"] > 0.9


def test_labels_left_open_are_left_out_with_a_warning_unless_asked_for():
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(2.0, (90, 40)).astype(np.float32))
    adata = ad.AnnData(counts, layers={"counts": counts.copy()})
    adata.obs["type"] = np.repeat(["B cell", "T cell", "T cell, unresolved", "unknown", "NK"], 18)
    pp.normalize(adata)
    with pytest.warns(
        UserWarning, match="36 cells labelled 'T cell, unresolved', 'unknown' are left out"
    ):
        signature = sig.build(adata, "type")
    assert signature.types == ["B cell", "NK", "T cell"]
    alone = sig.build(
        adata[~adata.obs["type"].isin(["T cell, unresolved", "unknown"])].copy(), "type"
    )
    np.testing.assert_array_equal(signature.adata.X, alone.adata.X)
    assert len(sig.build(adata, "type", keep_unresolved=True).types) == 5


def test_cells_without_a_sample_are_counted_once_whatever_was_left_out(cells):
    labels = cells.obs["cell_type"].astype(object)
    labels.iloc[:40] = "unknown"
    donors = cells.obs["donor"].astype(object)
    donors.iloc[30:45] = None  # 10 of them left out by their label
    cells.obs["cell_type"], cells.obs["donor"] = labels, donors
    with pytest.warns(UserWarning, match="labelled 'unknown'") as caught:
        sig.build(cells, "cell_type", sample_key="donor")
    said = [str(w.message) for w in caught]
    assert [text for text in said if "no label" in text] == [
        "5 cells have no label in obs['donor'] (NaN): they are left out."
    ]
    donors.iloc[40:45] = "d1"
    cells.obs["donor"] = donors
    with pytest.warns(UserWarning, match="labelled 'unknown'") as caught:
        sig.build(cells, "cell_type", sample_key="donor")
    assert not any("no label" in str(w.message) for w in caught)


@pytest.mark.parametrize("kind", ["category", object])
def test_cells_left_out_by_their_label_are_as_if_not_there(cells, kind):
    rng = np.random.default_rng(0)
    cells = cells.copy()
    labels = cells.obs["cell_type"].astype(object)
    out = (rng.random(cells.n_obs) < 0.2) | (cells.obs["donor"] == cells.obs["donor"].iloc[0])
    nameless = np.flatnonzero(~out)[:7]
    labels[out] = "unknown"
    labels.iloc[nameless] = None
    cells.obs["cell_type"] = labels.astype(kind)
    with pytest.warns(UserWarning, match="are left out") as caught:
        built = sig.build(cells, "cell_type", sample_key="donor")
    said = [str(w.message) for w in caught]
    assert sum("labelled 'unknown'" in text for text in said) == 1
    assert [text[:26] for text in said if "no label" in text] == ["7 cells have no label in o"]
    assert {w.filename for w in caught if issubclass(w.category, UserWarning)} == {__file__}
    with pytest.warns(UserWarning, match="7 cells have no label"):
        alone = sig.build(cells[~out].copy(), "cell_type", sample_key="donor")
    assert built.info["card"] == alone.info["card"]
    assert built.info["n_cells"] == alone.info["n_cells"]
    pd.testing.assert_frame_equal(built.adata.obs, alone.adata.obs)
    pd.testing.assert_frame_equal(built.adata.var, alone.adata.var)
    np.testing.assert_array_equal(built.adata.X, alone.adata.X)
    for name in ("var_cells", "var_samples", "detection", "auc", "log2fc", "specificity"):
        np.testing.assert_array_equal(built.adata.layers[name], alone.adata.layers[name])


@pytest.mark.parametrize(
    ("label", "left_out"),
    [
        ("damaged", True), ("Doublet", True), ("doublets T/B", True), ("low-quality cells", True),
        ("Unassigned", True), ("multiplet_2", True), ("unknown", True), ("Dead cells", True),
        ("T cell, unresolved", True), ("B", False), ("unconventional T", False), ("Deadly", False),
        ("empty-looking B", False), ("other", False),
    ],
)  # fmt: skip
def test_labels_that_name_no_type(label, left_out):
    obs = pd.DataFrame({"l": [label, "T", None]}, index=["a", "b", "c"])
    for column in (obs["l"], obs["l"].astype("category"), obs["l"].astype(object)):
        adata = ad.AnnData(np.ones((3, 1)), obs=column.to_frame())
        assert of_no_type(adata, "l").tolist() == [left_out, False, False]

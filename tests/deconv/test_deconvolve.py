"""From bulk and signature to fractions: what the runner adds to a method."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import deconv, sig
from cellsigil._core._jit import threads
from cellsigil._signature import LAYERS, SignatureSet
from cellsigil.deconv._intervals import donor_error, widen
from cellsigil.deconv._match import match_genes, open_signature
from cellsigil.deconv._rna_content import KINDS, PUBLISHED, kind_of
from cellsigil.deconv.methods import METHODS

TYPES = ["B", "CD4 T", "T/NK", "Mono"]
CONTENT = np.array([0.8, 1.0, 0.7, 1.5])


def make_set(n_genes=300, variance=np.nan, n_samples=1, seed=0) -> SignatureSet:
    rng = np.random.default_rng(seed)
    profiles = rng.lognormal(0, 1.2, (len(TYPES), n_genes))
    selected = np.zeros(n_genes, bool)
    for k in range(len(TYPES)):
        profiles[k, 30 * k : 30 * (k + 1)] *= 20
        selected[30 * k : 30 * (k + 1)] = True
    profiles *= 1e4 / profiles.sum(axis=1, keepdims=True)
    genes = [f"GENE{g}" for g in range(n_genes)]
    layers = {name: np.full(profiles.shape, np.nan) for name in LAYERS}
    layers["var_samples"] = (variance * profiles) ** 2
    obs = pd.DataFrame(
        {"n_cells": 50, "n_samples": n_samples, "rna_content": CONTENT, "cell_ontology_id": ""}, index=TYPES
    )  # fmt: skip
    var = pd.DataFrame(
        {"gene_id": [f"ENSG{g:011d}" for g in range(n_genes)], "symbol": genes, "selected": selected,
         "mean_log": 1.0, "sd_log": 1.0}, index=genes,
    )  # fmt: skip
    return SignatureSet(ad.AnnData(profiles, obs=obs, var=var, layers=layers), {"card": {}})


def make_bulk(signature, n_samples=5, noise=0.1, seed=1):
    """Return bulk TPM and the true cell fractions."""
    rng = np.random.default_rng(seed)
    cells = rng.dirichlet(np.full(len(TYPES), 2.0), n_samples)
    rna = cells * CONTENT
    values = signature.profiles.to_numpy() @ rna.T
    values *= rng.lognormal(0, noise, (len(values), 1))
    names = [f"s{i}" for i in range(n_samples)]
    bulk = pd.DataFrame(values / values.sum(axis=0) * 1e6, index=signature.genes, columns=names)
    return bulk, pd.DataFrame(cells, index=names, columns=TYPES)


@pytest.fixture
def signature():
    return make_set()


@pytest.mark.parametrize("method", list(METHODS))
def test_cell_fractions_are_rna_fractions_over_rna_content(signature, method):
    bulk, true = make_bulk(signature, noise=0.0)
    result = deconv.deconvolve(bulk, signature, method=method, n_boot=0)
    assert result.fractions.columns.tolist() == TYPES
    np.testing.assert_allclose(result.fractions, true, atol=1e-3)
    np.testing.assert_allclose(result.fractions.sum(axis=1), 1)
    np.testing.assert_allclose(result.rna_fractions.sum(axis=1), 1)
    by_hand = result.rna_fractions / CONTENT
    np.testing.assert_allclose(result.fractions, by_hand.div(by_hand.sum(axis=1), axis=0))
    assert result.method == method


def test_without_rna_content_both_are_the_same_and_it_is_said(signature):
    bulk, _ = make_bulk(signature)
    with pytest.warns(UserWarning, match="no RNA content per cell.*epic"):
        result = deconv.deconvolve(bulk, signature.profiles, genes=signature.selected, n_boot=0)
    pd.testing.assert_frame_equal(result.fractions, result.rna_fractions)
    assert any("equal RNA fractions" in note for note in result.notes)
    with warnings.catch_warnings(action="error", category=UserWarning):  # asked for: no warning
        asked = deconv.deconvolve(bulk, signature, size_factors=None, n_boot=0)
    assert any("no RNA-content correction was asked for" in note for note in asked.notes)
    pd.testing.assert_frame_equal(asked.fractions, asked.rna_fractions)
    np.testing.assert_allclose(asked.fractions, result.fractions, rtol=1e-6)


def test_given_and_published_factors(signature):
    bulk, _ = make_bulk(signature)
    own = deconv.deconvolve(bulk, signature, n_boot=0)
    series = pd.Series(CONTENT * 7, index=TYPES)
    for given in (series, series.to_dict(), series.to_frame()):
        again = deconv.deconvolve(bulk, signature, size_factors=given, n_boot=0)
        np.testing.assert_allclose(again.fractions, own.fractions)
    with pytest.warns(UserWarning, match="'T/NK' is not in 'epic': its default of 0.4"):
        epic = deconv.deconvolve(bulk, signature, size_factors="epic", n_boot=0)
    by_hand = epic.rna_fractions / [0.4016, 0.3952, 0.4, 1.4196]
    np.testing.assert_allclose(epic.fractions, by_hand.div(by_hand.sum(axis=1), axis=0))
    assert "Racle" in epic.parameters["rna_content"]


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ({"B": 1, "CD4 T": 1, "T/NK": 1, "Monocyte": 1}, "lacks type 'Mono'. Did you mean 'Monocyte'"),
        (dict.fromkeys(TYPES, 0.0), "0 for type 'B'"),
        ("quantiseq", "no RNA content for type 'T/NK'"),
        ("epik", "Did you mean 'epic'"),
        (pd.DataFrame({"a": CONTENT, "b": CONTENT}, index=TYPES), "2 columns"),
    ],
)  # fmt: skip
def test_refuses_bad_factors(signature, factors, says):
    bulk, _ = make_bulk(signature)
    with pytest.raises(ValueError, match=says):
        deconv.deconvolve(bulk, signature, size_factors=factors)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_sample_alone_gets_the_same_bits(signature, method):
    bulk, _ = make_bulk(signature, n_samples=6)
    together = deconv.deconvolve(bulk, signature, method=method, n_boot=20)
    with threads(1):
        again = deconv.deconvolve(bulk, signature, method=method, n_boot=20)
    pd.testing.assert_frame_equal(again.fractions, together.fractions, check_exact=True)
    pd.testing.assert_frame_equal(again.intervals, together.intervals, check_exact=True)
    with warnings.catch_warnings(action="ignore"):
        alone = deconv.deconvolve(bulk[["s3"]], signature, method=method, n_boot=20)
    pd.testing.assert_frame_equal(alone.fractions, together.fractions.loc[["s3"]], check_exact=True)
    mine = together.intervals.query("sample == 's3'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.intervals, mine, check_exact=True)
    pd.testing.assert_frame_equal(alone.fit, together.fit.loc[["s3"]], check_exact=True)


def test_the_scale_of_a_sample_does_not_matter(signature):
    bulk, _ = make_bulk(signature)
    first = deconv.deconvolve(bulk, signature, n_boot=0)
    scaled = deconv.deconvolve(bulk * [1, 3, 10, 0.2, 7], signature, n_boot=0)
    np.testing.assert_allclose(scaled.fractions, first.fractions, rtol=1e-6, atol=1e-9)


def test_genes_absent_from_the_bulk_do_not_pass_for_zeros(signature):
    bulk, true = make_bulk(signature, noise=0.0)
    some = bulk.drop(index=bulk.index[::4])
    result = deconv.deconvolve(some, signature, n_boot=0)
    np.testing.assert_allclose(result.fractions, true, atol=2e-3)
    assert (result.fit["n_genes"] == 90).all()


def test_bulk_may_use_the_other_names_of_the_genes(signature):
    bulk, _ = make_bulk(signature)
    by_name = deconv.deconvolve(bulk, signature, n_boot=0)
    ids = bulk.set_axis([f"{gene}.3" for gene in signature.adata.var["gene_id"]], axis=0)
    by_id = deconv.deconvolve(ids, signature, n_boot=0)
    pd.testing.assert_frame_equal(by_id.fractions, by_name.fractions)
    coded = bulk.set_axis([f"X{g}" for g in range(len(bulk))], axis=0)
    coded.attrs["gene_symbols"] = dict(zip(coded.index, bulk.index))
    by_symbol = deconv.deconvolve(coded, signature, n_boot=0)
    pd.testing.assert_frame_equal(by_symbol.fractions, by_name.fractions)


def test_intervals_hold_the_estimate_and_say_what_they_hold(signature):
    bulk, _ = make_bulk(signature, noise=0.3)
    table = deconv.deconvolve(bulk, signature, n_boot=100).intervals
    assert table.columns.tolist() == ["sample", "type", "estimate", "low", "high", "kind"]
    assert (table["kind"] == "gene sampling only").all()
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()
    assert table["low"].min() >= 0
    assert table["high"].max() <= 1
    donors = deconv.deconvolve(bulk, make_set(variance=0.6, n_samples=3), n_boot=100).intervals
    assert donors["kind"].str.contains("donors").all()
    assert (donors["high"] - donors["low"]).mean() > (table["high"] - table["low"]).mean()
    other = deconv.deconvolve(bulk, signature, n_boot=100, rng=1).intervals
    assert not np.array_equal(other["low"], table["low"])
    none = deconv.deconvolve(bulk, signature, n_boot=0).intervals
    assert none["low"].isna().all()


def test_the_donors_part_is_widened_by_students_t():
    profiles = np.array([[10.0, 10.0]])
    error = donor_error(profiles, np.array([[4.0, 4.0]]), np.array([3, 30]))
    np.testing.assert_allclose(error, np.sqrt(np.log1p([[4 / 300, 4 / 3000]])))
    estimate = np.array([[0.5, 0.02]])
    low, high = widen(
        (estimate - 0.01, estimate + 0.03), (estimate - 0.02, estimate + 0.01), estimate, np.array([3, 3])
    )  # fmt: skip
    half = np.hypot(0.01, 4.3026527 / 1.9599640 * np.sqrt(0.02**2 - 0.01**2))
    np.testing.assert_allclose(low, [[0.5 - half, 0]])
    np.testing.assert_allclose(high, estimate + 0.03)
    of_one = donor_error(profiles, np.array([[np.nan, 4.0]]), np.array([1, 30]))
    np.testing.assert_allclose(of_one, np.sqrt(np.log1p([[0, 4 / 3000]])))
    low, high = widen(
        (estimate, estimate), (estimate - 0.01, estimate + 0.01), estimate, np.array([1, 1])
    )
    np.testing.assert_allclose([low, high], [estimate - 0.01, estimate + 0.01])
    assert donor_error(profiles, np.array([[4.0, 4.0]]), np.array([1, 1])) is None


def test_a_type_of_one_donor_does_not_take_the_others_donors_away():
    signature = make_set(variance=0.6, n_samples=3)
    bulk, _ = make_bulk(signature, noise=0.3)
    adata = signature.adata.copy()
    adata.obs.loc["Mono", "n_samples"] = 1
    adata.layers["var_samples"][TYPES.index("Mono")] = np.nan
    every = deconv.deconvolve(bulk, signature, n_boot=100).intervals
    with pytest.warns(UserWarning, match="'Mono': of one donor"):
        some = deconv.deconvolve(bulk, SignatureSet(adata, {}), n_boot=100).intervals
    assert some.groupby("type")["kind"].first().str.contains("donors").to_dict() == {
        name: name != "Mono" for name in TYPES
    }
    width = [
        t.assign(width=t["high"] - t["low"]).groupby("type")["width"].mean() for t in (every, some)
    ]
    assert width[1]["Mono"] < width[0]["Mono"]
    assert width[1]["B"] > 0.5 * width[0]["B"]


def test_fit_tells_what_is_not_explained(signature):
    bulk, _ = make_bulk(signature, noise=0.0)
    clean = deconv.deconvolve(bulk, signature, n_boot=0).fit
    assert clean["r"].min() > 0.999
    assert clean["rmse"].max() < 0.02
    np.testing.assert_allclose(clean["unexplained"], 0, atol=0.01)
    other = np.random.default_rng(5).lognormal(0, 1, len(bulk))
    other[signature.adata.var["selected"].to_numpy()] = 0
    mixed = bulk * 0.7 + (other / other.sum() * 0.3e6)[:, None]
    fit = deconv.deconvolve(mixed, signature, n_boot=0).fit
    np.testing.assert_allclose(fit["unexplained"], 0.3, atol=0.02)
    assert (fit["scale"] == "TPM or CPM").all()
    assert deconv.deconvolve(bulk, signature, method="em", n_boot=0).fit["unexplained"].isna().all()


def test_names_types_that_are_alike(signature):
    profiles = signature.profiles.copy()
    profiles["B again"] = profiles["B"] * np.random.default_rng(0).lognormal(0, 0.05, len(profiles))
    bulk, _ = make_bulk(signature)
    with warnings.catch_warnings(action="ignore"):
        result = deconv.deconvolve(bulk, profiles, genes=signature.selected, n_boot=0)
    assert (result.fit["similar_types"] == "B ~ B again").all()


def test_says_when_a_type_is_zero_everywhere(signature):
    bulk = make_bulk(signature)[0]
    values = signature.profiles[["B", "Mono"]].to_numpy() @ [[0.5, 0.2], [0.5, 0.8]]
    without = pd.DataFrame(values * 100, index=bulk.index, columns=["a", "b"])
    with pytest.warns(UserWarning, match="'CD4 T', 'T/NK' came out as 0 in every sample"):
        deconv.deconvolve(without, signature, method="nnls", n_boot=0)


def test_refuses_what_cannot_match(signature):
    bulk, _ = make_bulk(signature)
    with pytest.raises(deconv.BulkError, match=r"samples x genes. Pass bulk.T"):
        deconv.deconvolve(bulk.T, signature)
    entrez = bulk.set_axis([str(g) for g in range(len(bulk))], axis=0)
    with pytest.raises(deconv.BulkError, match="Entrez ids.*gene symbols"):
        deconv.deconvolve(entrez, signature)
    mouse = bulk.set_axis([str(g).capitalize() for g in bulk.index], axis=0)
    with pytest.raises(deconv.BulkError, match="upper and lower case.*another species"):
        deconv.deconvolve(mouse, signature)
    with pytest.raises(deconv.BulkError, match="Only 3 of the signature's 120 genes"):
        deconv.deconvolve(bulk.drop(index=signature.selected[3:]), signature)
    with pytest.raises(deconv.BulkError, match="looks log-transformed"):
        deconv.deconvolve(np.log2(bulk + 1), signature)
    with pytest.raises(KeyError, match=r"No method 'logrub'. Did you mean 'logrob'"):
        deconv.deconvolve(bulk, signature, method="logrub")
    with pytest.raises(KeyError, match="'GENE5000', which is no gene"):
        deconv.deconvolve(bulk, signature, genes=["GENE1", "GENE5000"])
    with pytest.raises(ValueError, match="n_boot=-1"):
        deconv.deconvolve(bulk, signature, n_boot=-1)
    with pytest.raises(ValueError, match="pass a SignatureSet"):
        deconv.deconvolve(bulk, [1, 2])


def test_says_when_half_of_the_genes_are_missing(signature):
    bulk, _ = make_bulk(signature)
    with pytest.warns(UserWarning, match="only 40 of the signature's 120 genes"):
        deconv.deconvolve(
            bulk.drop(index=signature.selected[::3].union(signature.selected[1::3])),
            signature,
            n_boot=0,
        )


def test_refuses_profiles_that_are_none(signature):
    bulk, _ = make_bulk(signature)
    bad = signature.profiles.copy()
    bad.loc["GENE7", "Mono"] = -1
    with pytest.raises(ValueError, match=r"'GENE7' is -1.0 in 'Mono'"):
        deconv.deconvolve(bulk, bad)
    with pytest.raises(ValueError, match="holds 1 type"):
        deconv.deconvolve(bulk, signature.profiles[["B"]])
    with pytest.raises(ValueError, match="Column 'note' of the signature holds text"):
        deconv.deconvolve(bulk, signature.profiles.assign(note="x"))


def test_files_in_and_files_out(signature, tmp_path):
    bulk, _ = make_bulk(signature)
    bulk.rename_axis("gene").to_csv(tmp_path / "bulk.tsv", sep="\t")
    signature.write(tmp_path / "sig.h5ad")
    result = deconv.deconvolve(str(tmp_path / "bulk.tsv"), tmp_path / "sig.h5ad", n_boot=10)
    direct = deconv.deconvolve(bulk, signature, n_boot=10)
    np.testing.assert_allclose(result.fractions, direct.fractions, rtol=1e-9)
    result.write(tmp_path)
    for name in ("fractions", "rna_fractions", "fit"):
        back = pd.read_csv(tmp_path / f"{name}.tsv", sep="\t", index_col=0)
        assert back.index.name == "sample"
        assert back.shape == getattr(result, name).shape
    back = pd.read_csv(tmp_path / "fractions.tsv", sep="\t", index_col=0)
    assert back.columns.tolist() == TYPES
    np.testing.assert_allclose(back, result.fractions, rtol=1e-5)
    assert len(pd.read_csv(tmp_path / "intervals.tsv", sep="\t")) == 5 * 4


def test_an_exported_table_gives_what_its_set_gives(signature, tmp_path):
    bulk, _ = make_bulk(signature, noise=0.5)
    sig.export(signature, tmp_path / "s.tsv")
    whole = deconv.deconvolve(bulk, signature, n_boot=0)
    table = deconv.deconvolve(bulk, tmp_path / "s.tsv", n_boot=0)
    assert table.fractions.columns.tolist() == TYPES
    np.testing.assert_allclose(table.fractions, whole.fractions, atol=1e-4)
    np.testing.assert_allclose(table.rna_fractions, whole.rna_fractions, atol=1e-4)


def test_bulk_and_signature_exchanged(signature, tmp_path):
    signature.write(tmp_path / "sig.h5ad")
    with pytest.raises(deconv.BulkError, match=r"sig.h5ad is a SignatureSet, no bulk"):
        deconv.deconvolve(tmp_path / "sig.h5ad", signature)


def test_leaves_what_it_was_given_alone(signature):
    bulk, _ = make_bulk(signature)
    before, profiles = bulk.copy(), signature.profiles.copy()
    deconv.deconvolve(bulk, signature, n_boot=5)
    pd.testing.assert_frame_equal(bulk, before)
    pd.testing.assert_frame_equal(signature.profiles, profiles)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("B", "B cell"), ("B cells", "B cell"), ("Naive B", "B cell"), ("CD4T", "CD4 T cell"),
        ("CD4+ T cells", "CD4 T cell"), ("CD8T", "CD8 T cell"), ("T", "T cell"), ("T cells", "T cell"),
        ("Tregs", "regulatory T cell"), ("CD14+ Monocytes", "monocyte"), ("Mono", "monocyte"),
        ("NK", "NK cell"), ("NK cells", "NK cell"), ("Neutrophil", "neutrophil"), ("DC", "dendritic cell"),
        ("Dendritic cells", "dendritic cell"), ("pDC", "dendritic cell"), ("Macrophage M1", "macrophage"),
        ("Plasma cell", "B cell"), ("T/NK", None), ("Megakaryocytes", None), ("Beta", None),
        ("Fibroblast", None), ("Enterocyte", None), ("Mast cell", None), ("Basal cell", None),
        ("CD45+ cells", None), ("Club cell", None),
    ],
)  # fmt: skip
def test_labels_tell_their_kind(label, kind):
    assert kind_of(label) == kind


def test_an_ontology_id_goes_before_the_label():
    assert kind_of("cluster 7", "CL:0000775") == "neutrophil"
    for published in PUBLISHED.values():
        assert set(published.factors) <= set(KINDS)


def real_set(path, groupby, keep=None):
    adata = ad.read_h5ad(path)
    if keep:
        adata = adata[adata.obs[keep[0]] == keep[1]].copy()
    adata.layers["counts"] = adata.X.copy()
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.X = (sp.diags(1e4 / total) @ adata.X).tocsr().log1p()
    return sig.build(adata, groupby)


def score(found, true):
    r = np.corrcoef(found.to_numpy().ravel(), true.to_numpy().ravel())[0, 1]
    return r, np.sqrt(((found - true) ** 2).to_numpy().mean())


def test_whole_blood_against_flow_cytometry(shared):
    signature = real_set(shared("sc_newman_reference.h5ad"), "cell_type")
    result = deconv.deconvolve(shared("bulk_newman2019_wholeblood.tpm.tsv.gz"), signature, n_boot=0)
    true = pd.read_csv(shared("bulk_newman2019_wholeblood.fractions.tsv"), sep="\t", index_col=0)
    true = true.rename(columns={"Neutrophils": "Neutrophil", "Monocytes": "Monocyte"})
    r, rmse = score(result.fractions.loc[true.index, true.columns], true)
    assert r > 0.96
    assert rmse < 0.06


def test_mixed_rna_of_cell_lines(shared):
    signature = real_set(shared("mix_sc_celseq2.h5ad"), "cell_line", ("demuxlet_cls", "SNG"))
    path = shared("mix_RNAmix_celseq2.h5ad")
    result = deconv.deconvolve(path, signature, n_boot=0)
    mixed = ad.read_h5ad(path).obs
    true = mixed[[f"true_{name}" for name in signature.types]].set_axis(signature.types, axis=1)
    true = true.div(true.sum(axis=1), axis=0)
    for found in (result.fractions, result.rna_fractions):
        r, rmse = score(found, true)
        assert r > 0.957
        assert rmse < 0.106


def test_matches_each_gene_once():
    signature = make_set()
    signature.adata.var["gene_id"] = "same"
    reference = open_signature(signature)
    bulk, _ = make_bulk(signature)
    values, matched, _ = match_genes(bulk.iloc[::-1], reference)
    assert matched.genes.tolist() == signature.genes.tolist()
    np.testing.assert_array_equal(values, bulk.to_numpy().T)

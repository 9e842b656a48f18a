from __future__ import annotations

import re
from html.parser import HTMLParser

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import cellsigil as cs
from cellsigil.report._collect import _limits

SCRIPT = "<script>alert(1)</script>"
ANCHORS = (
    "summary", "qc", "umap", "composition", "annotation", "markers", "scores", "signature",
    "deconvolution", "parameters", "versions", "methods",
)  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: tags, ids, links, text by section and table rows."""

    def __init__(self, path) -> None:
        super().__init__()
        self.tags, self.ids, self.addresses, self.text = [], [], [], {}
        self.section, self.depth = "", []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "section":
            self.section = attrs["id"]
        self.addresses += [attrs[k] for k in ("src", "href") if k in attrs]
        assert not any(name.startswith("on") for name in attrs)

    def handle_data(self, data):
        if data.strip():
            self.text.setdefault(self.section, []).append(data.strip())

    def __getitem__(self, section) -> str:
        return " ".join(self.text[section])


@pytest.fixture(scope="session")
def seen(page):
    return Page(page)


def table(page, name) -> pd.DataFrame:
    return pd.read_csv(
        page.parent / "tables" / f"{name}.tsv", sep="\t", keep_default_na=False, na_values="NA"
    )


def test_every_section_is_there_once_and_linked(seen):
    assert tuple(i for i in seen.ids if i in ANCHORS) == ANCHORS
    assert {f"#{anchor}" for anchor in ANCHORS} <= set(seen.addresses)
    assert len(seen.ids) == len(set(seen.ids))
    assert "Not run." not in seen.source


def test_nothing_is_fetched_from_anywhere(seen, page):
    for address in seen.addresses:
        assert address.startswith(("#", "data:", "tables/"))
        if address.startswith("tables/"):
            assert (page.parent / address).is_file()
    assert "script" not in seen.tags
    assert not re.search(r"url\(|@import|https?://", seen.source)
    assert page.stat().st_size < 5e6


def test_names_are_text_and_nothing_else(seen):
    assert SCRIPT not in seen.source
    assert "<img src=x" not in seen.source
    assert "<i>test" not in seen.source
    for section in ("composition", "annotation", "signature", "deconvolution", "umap"):
        assert SCRIPT in seen[section]
        assert "T/NK" in seen[section]
    assert "=HYPERLINK(1)" in seen["markers"] + seen["signature"]
    assert f"{SCRIPT} was heard" in seen["summary"]
    assert seen["summary"].count("twice") == 1


def test_tables_are_safe_in_a_spreadsheet(page):
    for path in (page.parent / "tables").glob("*.tsv"):
        cells = re.split(r"[\t\n]", path.read_text(encoding="utf-8"))
        assert not [c for c in cells if c.startswith(("=", "@")) or re.match(r"[+-]\D", c)]
    assert "'=HYPERLINK(1)" in set(table(page, "top_markers")["gene"])


def test_simulated_data_are_called_so(seen, analysis, tmp_path):
    assert "These data are simulated" in seen.source
    real = cs.report.write(analysis.adata, tmp_path / "r.html", tables=False)
    assert "simulated" not in real.read_text(encoding="utf-8")


def test_summary_says_what_the_data_hold(seen, analysis):
    adata = analysis.adata
    for number, word in (
        (adata.n_obs, "cells"), (adata.n_vars, "genes"), (2, "samples"), (3, "clusters"),
        (3, "cell types"), (5, "bulk samples"),
    ):  # fmt: skip
        at = seen.text["summary"].index(word)
        assert seen.text["summary"][at + 1] == f"{number:,}"


def test_filters_are_told_with_numbers_before_and_after(page, analysis):
    kept = table(page, "qc_filter")
    assert kept["filtered"].tolist() == ["cells", "genes"]
    assert kept["before"].tolist() == [180, 200]
    assert kept["after"].tolist() == list(analysis.adata.shape)
    assert (kept["removed"] == kept["before"] - kept["after"]).all()
    rules = table(page, "qc_rules")
    low = rules[(rules["measure"] == "genes per cell") & (rules["sample"] == "all")]
    assert low["limit"].tolist() == [5.0]


def test_tables_hold_the_numbers_of_the_steps(page, analysis):
    adata, result = analysis.adata, analysis.deconvolution
    counts = table(page, "composition").set_index("cell type")
    assert counts["all"].to_dict() == adata.obs["cell_type"].value_counts().to_dict()
    top = table(page, "top_markers")
    best = analysis.markers[analysis.markers["rank"] <= 5].reset_index(drop=True)
    assert top["gene"].str.removeprefix("'").tolist() == best["gene"].tolist()
    for ours, theirs, factor in (
        ("AUC", "auc_blocked", 1), ("log2 fold change", "log2fc", 1),
        ("cells of the cluster (%)", "pct_in", None), ("other cells (%)", "pct_out", None),
    ):  # fmt: skip
        expected = best[theirs].to_numpy()
        factor = factor or (100 if best["pct_in"].max() <= 1 else 1)
        np.testing.assert_allclose(top[ours], factor * expected, rtol=1e-4)
    fractions = table(page, "fractions").set_index("sample")
    np.testing.assert_allclose(fractions, result.fractions, rtol=1e-4, atol=1e-12)
    scores = table(page, "signature_scores")
    np.testing.assert_allclose(scores["effect"], adata.uns["score_clusters"]["effect"], rtol=1e-4)


def test_truth_is_told_by_type(page, analysis):
    told = table(page, "truth").set_index("type")
    for name in analysis.truth:
        a, b = analysis.truth[name], analysis.deconvolution.fractions[name]
        assert told.loc[name, "RMSE"] == pytest.approx(np.sqrt(((a - b) ** 2).mean()), rel=1e-4)
        assert told.loc[name, "r"] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4)


def test_truth_of_other_samples_is_told(analysis, tmp_path):
    other = analysis.truth.set_axis([f"x{i}" for i in range(5)])
    path = cs.report.write(
        analysis.adata,
        tmp_path / "r.html",
        deconvolution=analysis.deconvolution,
        truth=other,
        tables=False,
    )
    assert "share no sample or no type" in path.read_text(encoding="utf-8")


def test_cautions_stand_where_they_belong(seen):
    assert "circular" in seen["markers"]
    assert "competitive" in seen["scores"]
    assert "No interval holds" in seen["deconvolution"]


def test_labels_that_are_independent_need_no_caution(analysis, tmp_path):
    adata = analysis.adata.copy()
    cs.tl.markers(adata, "leiden", labels_independent=True)
    text = cs.report.write(adata, tmp_path / "r.html", tables=False).read_text(encoding="utf-8")
    assert "circular" not in text


def test_auc_against_the_rest_is_not_shown_for_another_reference(analysis, tmp_path):
    adata = analysis.adata.copy()
    cs.tl.markers(adata, "leiden", reference="0")
    page = Page(cs.report.write(adata, tmp_path / "r.html"))
    assert "of every cluster against 0." in page["markers"]
    assert "AUC" not in table(tmp_path / "r.html", "top_markers")


def test_limits_of_all_cells_are_drawn_where_they_are_near():
    adata = ad.AnnData(
        np.ones((2, 1)), pd.DataFrame({"total_counts": [100, 200]}, index=["a", "b"])
    )
    rules = [
        {"measure": "total_counts", "limit": 80.0, "sample": None},
        {"measure": "log1p_total_counts", "limit": np.log1p(250), "sample": None},
        {"measure": "total_counts", "limit": 9.0, "sample": None},
        {"measure": "total_counts", "limit": 120.0, "sample": "d1"},
    ]
    near = _limits(adata, [{"rules": rules}], ["total_counts"])
    assert near["total_counts"] == pytest.approx([80, 250])


def test_what_was_not_run_names_its_call(tmp_path):
    adata = ad.AnnData(np.ones((3, 2), np.float32))
    path = cs.report.write(adata, tmp_path / "empty.html")
    page = Page(path)
    assert tuple(i for i in page.ids if i in ANCHORS) == ANCHORS
    for section, call in (
        ("qc", "cellsigil.pp.qc(adata)"), ("umap", "cellsigil.tl.umap(adata)"),
        ("markers", "cellsigil.tl.markers("), ("signature", "cellsigil.sig.build("),
        ("deconvolution", "cellsigil.deconv.deconvolve("), ("annotation", "cellsigil.tl.annotate("),
        ("scores", "cellsigil.tl.score_clusters("), ("composition", "cellsigil.tl.annotate("),
    ):  # fmt: skip
        assert "Not run." in page[section]
        assert call in page[section]


@pytest.mark.parametrize("gone", ["qc_filter", "annotate", "score_clusters", "rank_genes_groups"])
def test_any_result_may_be_absent(analysis, tmp_path, gone):
    adata = analysis.adata.copy()
    del adata.uns[gone]
    assert cs.report.write(adata, tmp_path / "r.html", tables=False).is_file()


def test_no_figure_of_more_clusters_than_can_be_read(seen, analysis, tmp_path, monkeypatch):
    monkeypatch.setattr("cellsigil.report._evidence.MOST", 2)
    few = Page(cs.report.write(analysis.adata, tmp_path / "few.html"))
    for section in ("markers", "scores"):
        assert "3 clusters are too many for a figure" in few[section]
        assert "too many" not in seen[section]
    monkeypatch.undo()
    all_of_them = Page(cs.report.write(analysis.adata, tmp_path / "all.html"))
    assert few.tags.count("img") == all_of_them.tags.count("img") - 2


def test_the_data_are_left_alone(analysis, tmp_path):
    adata = analysis.adata
    before = adata.copy()
    cs.report.write(adata, tmp_path / "r.html", signature=analysis.signature)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert set(adata.uns) == set(before.uns)
    assert (adata.X != before.X).nnz == 0


def test_same_bytes_twice(analysis, tmp_path):
    first, second = (
        cs.report.write(
            analysis.adata, tmp_path / f"{i}.html", signature=analysis.signature, tables=False
        )
        for i in range(2)
    )
    assert first.read_bytes() == second.read_bytes()


def test_without_tables_none_are_written_or_linked(analysis, tmp_path):
    path = cs.report.write(analysis.adata, tmp_path / "r.html", tables=False)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    assert "tables/" not in path.read_text(encoding="utf-8")


def test_reads_back_from_a_file(analysis, tmp_path):
    cs.io.write(analysis.adata, tmp_path / "a.h5ad", compat=True)
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    page = Page(cs.report.write(again, tmp_path / "r.html"))
    assert "Not run." not in page["annotation"] + page["scores"] + page["markers"]


def test_markers_of_scanpy_do_as_well(analysis, tmp_path):
    sc = pytest.importorskip("scanpy")
    adata = analysis.adata.copy()
    sc.tl.rank_genes_groups(adata, "leiden", method="wilcoxon")
    page = Page(cs.report.write(adata, tmp_path / "r.html"))
    assert "AUC" in page["markers"]
    assert "circular" in page["markers"]


def test_a_folder_that_is_not_there_is_named(analysis, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        cs.report.write(analysis.adata, tmp_path / "nowhere" / "r.html")

"""A type named "T/NK" (and worse) goes the whole way, and comes back under its name."""

from __future__ import annotations

import anndata as ad
import pytest

import cellsigil as cs

ODD = {
    "CD4 T cell": "T/NK",
    "B cell": "B <b>&amp;",
    "classical monocyte": "Mono $x_1$",
    "NK cell": "=NK+cell",
}


@pytest.fixture(scope="module")
def odd():
    adata = cs.datasets.demo()
    adata = adata[adata.obs["true_type"].isin(ODD)].copy()
    adata.obs["type"] = adata.obs["true_type"].astype(str).map(ODD).astype("category")
    cs.pp.qc(adata)
    cs.pp.filter_genes(adata)
    cs.pp.normalize(adata)
    cs.pp.hvg(adata)
    cs.pp.pca(adata)
    cs.pp.neighbors(adata)
    cs.tl.umap(adata)
    cs.tl.cluster(adata)
    cs.tl.markers(adata, "type")
    cs.tl.score_cells(
        adata, {"T/NK": ["CD3D", "CD3E", "IL7R"], "B <b>": ["CD79A", "MS4A1", "CD79B"]}
    )
    cs.tl.score_clusters(adata, {"T/NK": ["CD3D", "CD3E", "IL7R"]}, "type")
    return adata


@pytest.fixture(scope="module")
def signature(odd):
    return cs.sig.build(odd, "type", sample_key="sample")


def test_the_h5ad_is_written_by_us_and_by_the_user(odd, tmp_path):
    cs.io.write(odd, tmp_path / "ours.h5ad", compat=True)
    odd.copy().write_h5ad(tmp_path / "theirs.h5ad")
    for name in ("ours.h5ad", "theirs.h5ad"):
        back = ad.read_h5ad(tmp_path / name)
        assert set(back.obs["type"].cat.categories) == set(ODD.values())


def test_the_signature_set_comes_back(signature, tmp_path):
    signature.write(tmp_path / "set.h5ad")
    assert set(cs.sig.read(tmp_path / "set.h5ad").types) == set(ODD.values())


@pytest.mark.parametrize(("format", "suffix"), [("tsv", "tsv"), ("gmt", "gmt"), ("h5ad", "h5ad")])
def test_every_export_is_written_with_safe_labels(signature, tmp_path, format, suffix):
    path = tmp_path / f"signature.{suffix}"
    cs.sig.export(signature, path, format=format)
    if format == "tsv":
        header = path.read_text().splitlines()[0].split("\t")
        assert len(header) == 1 + len(ODD)
        assert all(label.replace("_", "").isalnum() for label in header)
        assert set(
            cs.sig.read(path).columns
            if hasattr(cs.sig.read(path), "columns")
            else cs.sig.read(path).types
        ) == set(ODD.values())


def test_fractions_carry_the_own_names(signature):
    result = cs.deconv.deconvolve(cs.datasets.demo_bulk(), signature)
    assert set(result.fractions.columns) == set(ODD.values())


def test_the_report_shows_them_escaped(odd, signature, tmp_path):
    result = cs.deconv.deconvolve(cs.datasets.demo_bulk(), signature)
    path = cs.report.write(odd, tmp_path / "report.html", signature=signature, deconvolution=result)
    text = path.read_text()
    assert "T/NK" in text
    assert "B <b>&amp;" not in text
    assert "B &lt;b&gt;&amp;amp;" in text


def test_a_gmt_of_ours_gives_the_types_their_own_names_again(signature, tmp_path):
    cs.sig.export(signature, tmp_path / "markers.gmt", format="gmt")
    assert set(cs.tl.read_signatures(tmp_path / "markers.gmt")) == set(ODD.values())
    (tmp_path / "markers.types.tsv").unlink()
    assert "T_NK" in cs.tl.read_signatures(tmp_path / "markers.gmt")

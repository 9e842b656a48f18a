"""qc: scanpy's measures under scanpy's names."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellsigil import pp
from cellsigil._core._jit import threads

SYMBOLS = {
    "mt": ["MT-CO1", "mt-Nd1", "GRCh38_MT-ND4", "mm10___mt-Co1", "MT.CYB"],
    "ribo": ["RPS4X", "RPS4Y1", "RPLP0", "RPSA", "RPL36AL", "RPL22L1", "RPS27L", "Rpl7a", "Rps15a"],
    "hb": ["HBA1", "HBB", "HBG2", "HBQ1", "Hba-a1", "Hbb-bs", "Hbb-bh1", "Hbb-y", "Hbq1b"],
    "": ["RPS6KA1", "RPS19BP1", "HBEGF", "HBS1L", "HBP1", "MTOR", "CD3D", "RPL13AP5", "HBEGF-AS1"],
}


def named(counts, seed=0) -> ad.AnnData:
    adata = ad.AnnData(counts)
    adata.var_names = ["MT-A", "MT-B", "RPS1", "RPL7A", "HBB"] + [
        f"G{j}" for j in range(counts.shape[1] - 5)
    ]
    return adata


def naive(dense: np.ndarray, genes: list[int], top: int) -> dict[str, np.ndarray]:
    """Write down each measure of a cell."""
    out = {"total": [], "n": [], "top": [], "set": []}
    for row in dense.tolist():
        total = float(sum(row))
        out["total"].append(total)
        out["n"].append(sum(x > 0 for x in row))
        largest = sum(sorted(row, reverse=True)[:top])
        out["top"].append(100 * largest / total if total else np.nan)
        out["set"].append(100 * sum(row[j] for j in genes) / total if total else np.nan)
    return {k: np.array(v) for k, v in out.items()}


def test_means_what_naive_says(counts, container, dtype):
    adata = ad.AnnData(container(counts.astype(dtype)))
    adata.var_names = named(counts).var_names
    pp.qc(adata, percent_top=(3, 10))
    dense = counts.toarray()
    want = naive(dense, [0, 1], 10)
    np.testing.assert_array_equal(adata.obs["total_counts"], want["total"])
    np.testing.assert_array_equal(adata.obs["n_genes_by_counts"], want["n"])
    np.testing.assert_allclose(adata.obs["pct_counts_in_top_10_genes"], want["top"], rtol=1e-14)
    np.testing.assert_allclose(adata.obs["pct_counts_mt"], want["set"], rtol=1e-14)
    np.testing.assert_array_equal(adata.var["total_counts"], dense.sum(axis=0))
    np.testing.assert_array_equal(adata.var["n_cells_by_counts"], (dense > 0).sum(axis=0))
    assert list(adata.var_names[adata.var["mt"]]) == ["MT-A", "MT-B"]


def test_agrees_with_scanpy(pbmc3k):
    sc = pytest.importorskip("scanpy")
    theirs = pbmc3k.copy()
    pp.qc(pbmc3k)
    for key in ("mt", "ribo", "hb"):
        theirs.var[key] = pbmc3k.var[key]
    assert list(pbmc3k.var["mt"]) == list(theirs.var_names.str.startswith("MT-"))
    sc.pp.calculate_qc_metrics(theirs, qc_vars=["mt", "ribo", "hb"], inplace=True)
    for ours, reference in ((pbmc3k.obs, theirs.obs), (pbmc3k.var, theirs.var)):
        for column in reference.columns.difference(["scanpy_louvain_label"]):
            if reference[column].dtype.kind in "fiub":
                np.testing.assert_allclose(
                    ours[column].astype(float), reference[column].astype(float), rtol=1e-6
                )


def test_finds_genes_by_symbol():
    names = [name for group in SYMBOLS.values() for name in group]
    adata = ad.AnnData(np.ones((3, len(names)), np.float32))
    adata.var["gene_symbols"] = names  # var_names are no symbols here
    pp.qc(adata)
    for key in ("mt", "ribo", "hb"):
        assert list(adata.var["gene_symbols"][adata.var[key]]) == SYMBOLS[key]


def test_says_that_no_mitochondrial_gene_matched(counts):
    adata = ad.AnnData(counts)
    adata.obs["pct_counts_mt"] = 1.0  # of an earlier run
    with pytest.warns(UserWarning, match=r"No mitochondrial gene .* pct_counts_mt is not written"):
        pp.qc(adata)
    assert "pct_counts_mt" not in adata.obs
    assert "mt" not in adata.var


def test_leaves_out_a_top_that_is_too_large(counts, caplog):
    with caplog.at_level(logging.INFO, "cellsigil"):
        adata = named(counts)
        pp.qc(adata)
    assert "percent_top: left out 50, 100, 200, 500, as there are only 40 genes" in caplog.text
    assert not [c for c in adata.obs if "in_top" in c]


@pytest.mark.parametrize("percent_top", [[0], [-5], [2.5]])
def test_refuses_a_top_that_is_none(counts, percent_top):
    with pytest.raises(ValueError, match="whole numbers of genes from 1 up"):
        pp.qc(named(counts), percent_top=percent_top)


def test_takes_gene_sets(counts, tmp_path):
    adata = named(counts)
    mask = np.arange(40) < 7
    sets = {
        "T/NK": ["G1", "G2", "absent"],
        "mask": mask,
        "series": pd.Series(mask, dtype="boolean"),
    }
    sets["index"] = pd.Index(["G1", "G2"])
    pp.qc(adata, gene_sets=sets, percent_top=None)
    assert list(adata.var_names[adata.var["T_NK"]]) == ["G1", "G2"]
    np.testing.assert_array_equal(
        adata.obs["total_counts_mask"], counts.toarray()[:, :7].sum(axis=1)
    )
    np.testing.assert_array_equal(adata.obs["total_counts_mask"], adata.obs["total_counts_series"])
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_gene_set_errors(counts):
    with pytest.raises(ValueError, match=r"is the string 'G1': a list"):
        pp.qc(named(counts), gene_sets={"a": "G1"})
    with pytest.raises(ValueError, match="has 3 entries for 40 genes"):
        pp.qc(named(counts), gene_sets={"a": np.ones(3, bool)})
    with pytest.warns(UserWarning, match=r"No gene of gene_sets\['a'\]"):
        pp.qc(named(counts), gene_sets={"a": ["g"]})


def test_gene_names_with_gaps(counts):
    adata = named(counts)
    names = adata.var_names.to_numpy(object).copy()
    names[-1] = np.nan
    adata.var.index = pd.Index(names, dtype=object)
    adata.var["gene_symbols"] = [None, *names[1:]]
    pp.qc(adata)
    assert adata.var["mt"].sum() == 2


def test_shares_of_an_empty_cell_are_nan(counts):
    adata = named(counts)
    pp.qc(adata)
    assert np.isnan(adata.obs["pct_counts_mt"].iloc[30])
    assert adata.obs["total_counts"].iloc[30] == 0


def test_sums_are_exact_and_do_not_wrap():
    big = np.full((300, 3), 100, np.int8)
    adata = ad.AnnData(big)
    adata.var_names = ["MT-1", "b", "c"]
    pp.qc(adata)
    assert (adata.obs["total_counts"] == 300).all()
    wide = np.array([[2.0**24, 1, 1], [1, 1, 1]] * 200, np.float32)
    adata = ad.AnnData(wide)
    adata.var_names = ["MT-1", "b", "c"]
    pp.qc(adata)
    assert adata.var["total_counts"].iloc[0] == 200 * (2**24 + 1)


def test_reads_the_counts_after_normalising(counts):
    adata = named(counts)
    pp.qc(adata)
    before = adata.obs["total_counts"].copy()
    pp.normalize(adata)
    pp.qc(adata)
    np.testing.assert_array_equal(adata.obs["total_counts"], before)


def test_a_view_leaves_its_parent_alone(counts):
    parent = named(counts)
    view = parent[:20]
    pp.qc(view)
    assert "total_counts" not in parent.obs
    assert len(view.obs["total_counts"]) == 20


def test_same_bits_on_any_number_of_threads(pbmc3k):
    one = pbmc3k.copy()
    with threads(1):
        pp.qc(one)
    with threads(2):
        pp.qc(pbmc3k)
    pd.testing.assert_frame_equal(one.obs, pbmc3k.obs, check_exact=True)
    pd.testing.assert_frame_equal(one.var, pbmc3k.var, check_exact=True)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_no_cells_or_no_genes(shape):
    adata = ad.AnnData(np.zeros(shape, np.float32))
    if shape[1]:
        adata.var_names = ["MT-1", "b", "c", "d", "e"]
    pp.qc(adata)
    assert len(adata.obs["total_counts"]) == shape[0]
    assert len(adata.var["total_counts"]) == shape[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 40, 10**6])
def test_the_largest_are_found_among_small_counts_and_large_ones(scale, dtype):
    rng = np.random.default_rng(scale)
    dense = np.rint(rng.gamma(0.3, 5.0, (40, 60)) * scale).astype(dtype)
    dense[0] = 0
    dense[1] = 255  # the last that is counted by value
    dense[2] = 256  # the first that is not
    dense[3, :] = np.arange(60) * 8
    dense[4, :] = np.arange(60)[::-1] * 300
    dense[5, :] = np.arange(60) // 4 * 1000
    adata = ad.AnnData(dense)
    adata.var_names = named(dense).var_names
    pp.qc(adata, percent_top=(1, 2, 7, 59, 60))
    for n in (1, 2, 7, 59, 60):
        want = naive(dense, [0, 1], n)
        np.testing.assert_allclose(
            adata.obs[f"pct_counts_in_top_{n}_genes"], want["top"], rtol=1e-14
        )
    np.testing.assert_array_equal(adata.obs["total_counts"], want["total"])
    np.testing.assert_allclose(adata.obs["pct_counts_mt"], want["set"], rtol=1e-14)
    np.testing.assert_array_equal(adata.var["total_counts"], dense.sum(axis=0, dtype=np.float64))


def test_a_mask_stays_the_callers_and_every_column_can_be_written_to(counts):
    adata = named(counts)
    mask = np.arange(adata.n_vars) < 2
    pp.qc(adata, gene_sets={"a": mask}, percent_top=(2,))
    pp.qc(adata, gene_sets={"b": adata.var["a"]}, percent_top=(2,))
    mask[:] = False
    assert adata.var["a"].sum() == 2
    pp.normalize(adata)
    pp.hvg(adata, n_top_genes=5)
    for table in (adata.obs, adata.var):
        for column in table:
            table.loc[table.index[0], column] = table[column].iloc[1]
    adata.var.loc[adata.var_names[0], "a"] = False
    assert adata.var["b"].iloc[0]

"""Odd and bad inputs as they arrive in the wild: the right result, or a sentence that says what to do.

Every test is named after its probe: s = how a matrix is stored; v = values; g = groups and genes;
z = sizes; b = backed files, writing, names; r = reading (tested in tests/io).
"""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import cellsigil as cs
from cellsigil._files import write_table

SETS = {"first": [f"GENE{i}" for i in range(2, 8)], "second": [f"GENE{i}" for i in range(12, 18)]}
N_CELLS, N_GENES = 90, 80


def make(seed: int = 0) -> ad.AnnData:
    """Return counts of three groups with ten planted markers each, two samples, as int64."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], N_CELLS // 3)
    rate = np.tile(rng.gamma(1.0, 1.0, N_GENES), (N_CELLS, 1))
    for g in range(3):
        rate[np.ix_(group == g, np.arange(2 + 10 * g, 12 + 10 * g))] += 4
    counts = rng.poisson(rate * rng.uniform(0.7, 1.5, (N_CELLS, 1)))
    genes = ["MT-CO1", "MT-ND1", *[f"GENE{i}" for i in range(2, N_GENES)]]
    adata = ad.AnnData(
        sp.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(N_CELLS)]),
        var=pd.DataFrame(index=genes),
    )
    adata.obs["type"] = pd.Categorical([f"k{g}" for g in group])
    adata.obs["sample"] = pd.Categorical(["d1", "d2"] * (N_CELLS // 2))
    return adata


def normalised(adata: ad.AnnData) -> ad.AnnData:
    """Return it with counts kept and X log-normalised."""
    cs.pp.normalize(adata)
    return adata


def with_x(matrix: object, like: ad.AnnData | None = None) -> ad.AnnData:
    """Return the cells and genes of ``like`` around another matrix."""
    like = make() if like is None else like
    return ad.AnnData(matrix, obs=like.obs.copy(), var=like.var.copy())


def everything(adata: ad.AnnData) -> dict[str, np.ndarray]:
    """Run the whole room on counts in X and return the numbers."""
    with warnings.catch_warnings(action="ignore"):
        cs.pp.qc(adata)
        cs.pp.filter_genes(adata, min_cells=1)
        cs.pp.normalize(adata)
        cs.pp.hvg(adata, n_top_genes=40)
        cs.pp.pca(adata, n_comps=5)
        cs.pp.neighbors(adata)
        cs.tl.cluster(adata)
        table = cs.tl.markers(adata, "type", sample_key="sample")
        cs.tl.score_cells(adata, SETS)
    return {
        "qc": adata.obs[["n_genes_by_counts", "total_counts", "pct_counts_mt"]].to_numpy(),
        "genes": adata.var[["n_cells_by_counts", "total_counts"]].to_numpy(np.float64),
        "x": cs._matrix.read_matrix(adata).whole().to_scipy().toarray(),
        "hvg": adata.var["highly_variable"].to_numpy(),
        "pca": np.asarray(adata.obsm["X_pca"]),
        "clusters": adata.obs["leiden"].cat.codes.to_numpy(),
        "rank": table["rank"].to_numpy(),
        "z": table["z"].to_numpy(),
        "scores": adata.obsm["score_signatures"].to_numpy(),
    }


@pytest.fixture(scope="module")
def right() -> dict[str, np.ndarray]:
    return everything(make())


@pytest.fixture
def counts() -> ad.AnnData:
    return make()


@pytest.fixture
def logs() -> ad.AnnData:
    return normalised(make())


def assert_same(found: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    for name, value in right.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# --- s: how a matrix is stored -------------------------------------------------------------------


def doubled() -> sp.csr_matrix:
    """Return the counts with every entry above 1 split in two, in reversed order within rows."""
    x = make().X
    rows, columns = np.repeat(np.arange(N_CELLS), np.diff(x.indptr)), x.indices
    split = x.data > 1
    rows = np.concatenate([rows, rows[split]])
    columns = np.concatenate([columns, columns[split]])
    values = np.concatenate([np.where(split, x.data - 1, x.data), np.ones(split.sum(), np.float32)])
    order = np.lexsort((-columns, rows))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=N_CELLS))))
    return sp.csr_matrix((values[order], columns[order], indptr), shape=x.shape)


def test_s01_noncanonical_duplicates_log1p(right):
    assert_same(everything(with_x(doubled())), right)


@pytest.mark.parametrize("step", ["qc", "filter_genes", "hvg", "wilcoxon"])
def test_s02_s03_s04_s05_noncanonical(step, right):
    found = everything(with_x(doubled()))
    names = {
        "qc": ["qc", "genes"],
        "filter_genes": ["genes"],
        "hvg": ["hvg"],
        "wilcoxon": ["z", "rank"],
    }
    assert_same(found, {name: right[name] for name in names[step]})


def test_s06_s07_explicit_zeros(right):
    x = make().X
    zeros = np.flatnonzero(x.toarray().ravel() == 0)[::3]
    full = sp.coo_matrix(x)
    matrix = sp.csr_matrix(
        (
            np.concatenate([full.data, np.zeros(zeros.size, np.float32)]),
            (
                np.concatenate([full.row, zeros // N_GENES]),
                np.concatenate([full.col, zeros % N_GENES]),
            ),
        ),
        shape=x.shape,
    )
    assert (matrix.data == 0).sum() == zeros.size
    adata = with_x(matrix)
    assert_same(everything(adata), right)
    table = cs.tl.markers(adata, "type")
    dense = adata.layers["counts"].toarray()[(adata.obs["type"] == "k0").to_numpy()]
    share = table[table["group"] == "k0"].set_index("gene")["pct_in"][adata.var_names]
    np.testing.assert_allclose(share, (dense > 0).mean(axis=0))


def test_s08_unsorted_indices(right):
    x = make().X
    for i in range(N_CELLS):
        part = slice(x.indptr[i], x.indptr[i + 1])
        x.indices[part], x.data[part] = x.indices[part][::-1].copy(), x.data[part][::-1].copy()
    x.has_sorted_indices = False
    before = x.indices.copy()
    adata = with_x(x)
    cs.pp.qc(adata)
    np.testing.assert_array_equal(adata.X.indices, before)  # the caller's stay as they are
    assert_same(everything(adata), right)


@pytest.mark.parametrize(
    "kind", [sp.csc_matrix, sp.csr_array, sp.csc_array, lambda m: m.toarray()]
)  # fmt: skip
def test_s09_csc_and_arrays(kind, right):
    assert_same(everything(with_x(kind(make().X))), right)


@pytest.mark.parametrize(("indptr", "indices"), [("i8", "i8"), ("i8", "i4"), ("i4", "i8")])
def test_s10_s11_index_dtypes(indptr, indices, right):
    x = make().X
    matrix = sp.csr_matrix(x.shape, dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = (
        x.data,
        x.indices.astype(indices),
        x.indptr.astype(indptr),
    )
    assert_same(everything(with_x(matrix)), right)


@pytest.mark.parametrize("kind", ["coo", "lil", "dok", "bsr", "dia"])
def test_s12_coo_input(kind, right):
    adata = make()  # anndata itself takes none of them, so the door alone is asked
    rows = cs._matrix.as_rows(adata.X.asformat(kind), expects="counts")
    np.testing.assert_array_equal(rows.whole().to_scipy().toarray(), adata.X.toarray())
    with pytest.raises((ValueError, TypeError), match=r"[Ss]parse|CSR"):
        ad.AnnData(adata.X.asformat(kind))


@pytest.mark.parametrize("dense", [True, False])
def test_s13_s14_bigendian(dense, right):
    x = make().X
    if dense:
        adata = with_x(x.toarray().astype(">f4"))
    else:
        adata = with_x(
            sp.csr_matrix((x.data.astype(">f4"), x.indices, x.indptr), shape=x.shape, copy=False)
        )
    assert_same(everything(adata), right)


def test_s15_readonly_arrays(right):
    x = make().X
    for array in (x.data, x.indices, x.indptr):
        array.flags.writeable = False
    assert_same(everything(with_x(x)), right)


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "uint16", "int8", "int16", "int32", "int64", "uint64", "float16", "float64", "bool"],
)  # fmt: skip
@pytest.mark.parametrize("dense", [False, True])
def test_s16_dtypes(dtype, dense, right):
    if dtype == "float16" and not dense:
        return  # scipy has no sparse float16
    values = make().X.astype(dtype) if not dense else make().X.toarray().astype(dtype)
    adata = with_x(values)
    if dtype == "bool":
        cs.pp.normalize(adata)
        assert np.isfinite(adata.X.data).all()
    else:
        assert_same(everything(adata), right)


def test_s17_int8_total_counts_overflow():
    adata = with_x(np.full((N_CELLS, N_GENES), 100, np.int8))
    cs.pp.qc(adata)
    assert set(adata.obs["total_counts"]) == {100.0 * N_GENES}
    cs.pp.filter_cells(adata, min_counts=100 * N_GENES)
    assert adata.n_obs == N_CELLS


def test_s18_float32_large_sum(counts):
    x = counts.X.toarray()
    x[:, 0] = 2**23
    x[0, 0] = 1
    adata = with_x(x)
    cs.pp.qc(adata)
    assert adata.var["total_counts"].iloc[0] == 2**23 * (N_CELLS - 1) + 1


# --- v: values -----------------------------------------------------------------------------------

COUNTERS = {
    "qc": cs.pp.qc,
    "filter_cells": lambda a: cs.pp.filter_cells(a, min_genes=1),
    "normalize": cs.pp.normalize,
    "seurat_v3": lambda a: cs.pp.hvg(a, flavor="seurat_v3"),
}  # fmt: skip
READERS = {
    "hvg": cs.pp.hvg,
    "pca": lambda a: cs.pp.pca(a, mask_var=None, n_comps=3),
    "markers": lambda a: cs.tl.markers(a, "type"),
    "score_cells": lambda a: cs.tl.score_cells(a, SETS),
    "score_clusters": lambda a: cs.tl.score_clusters(a, SETS, "type"),
    "build": lambda a: cs.sig.build(a, "type"),
    "neighbors": lambda a: cs.pp.neighbors(a, use_rep="X"),
}


@pytest.mark.parametrize("step", COUNTERS)
@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-1, "-1")])
def test_v01_v03_v04_bad_counts(counts, step, bad, shown):
    counts.X[7, 11] = bad
    with pytest.raises(ValueError, match=rf"X holds {shown} at cell 'cell7', gene 'GENE11'"):
        COUNTERS[step](counts)


@pytest.mark.parametrize("step", READERS)
@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_v02_v03_nan_and_inf_in_X(logs, step, bad, shown):
    logs.X[7, 11] = bad
    with pytest.raises(ValueError, match=rf"X holds {shown} at cell 'cell7', gene 'GENE11'"):
        READERS[step](logs)


def test_v05_negative_small_silent(counts):
    counts.X[7, 11] = -1e-6
    with pytest.raises(ValueError, match=r"-1e-06 at cell 'cell7', gene 'GENE11'.*whole numbers"):
        cs.pp.normalize(counts)


def test_v06_log_data_as_counts(logs):
    del logs.layers["counts"]
    with pytest.raises(ValueError, match=r"raw counts are whole numbers.*layers\['counts'\]"):
        cs.pp.normalize(logs)


def test_v06_twice_is_once(logs, right):
    cs.pp.normalize(logs)
    np.testing.assert_array_equal(logs.X.toarray(), right["x"])


@pytest.mark.parametrize("scale", [1, 100_000])
def test_v07_v08_hvg_seurat_on_counts(counts, scale):
    counts.X.data *= scale
    with pytest.raises(ValueError, match=r"whole numbers only.*looks like counts.*pp.normalize"):
        cs.pp.hvg(counts)


def test_v09_seurat_v3_on_lognorm(logs):
    del logs.layers["counts"]
    with pytest.raises(ValueError, match=r"raw counts are whole numbers.*layers\['counts'\]"):
        cs.pp.hvg(logs, flavor="seurat_v3")


def test_v10_v11_zero_cell(counts):
    x = counts.X.toarray()
    x[4] = 0
    adata = with_x(x)
    cs.pp.qc(adata)
    assert np.isnan(adata.obs["pct_counts_mt"].iloc[4])
    cs.pp.normalize(adata)
    assert np.isfinite(adata.X.data).all()
    assert adata.X[4].nnz == 0
    cs.pp.filter_cells(adata, max_pct={"mt": 100})
    assert "cell4" not in adata.obs_names
    assert adata.n_obs == N_CELLS - 1


def test_v12_qc_percent_top_small_panel(counts):
    cs.pp.qc(counts)
    assert "pct_counts_in_top_50_genes" in counts.obs
    assert "pct_counts_in_top_100_genes" not in counts.obs


def test_v13_mt_prefix_wrong_species(counts):
    counts.var_names = [name.replace("MT-", "mt-") for name in counts.var_names]
    cs.pp.qc(counts)
    assert (counts.obs["pct_counts_mt"] > 0).any()
    counts.var_names = [f"ENSG{i:011d}" for i in range(N_GENES)]
    with pytest.warns(UserWarning, match=r"No mitochondrial gene.*ENSG.*gene_symbols"):
        cs.pp.qc(counts)
    assert "pct_counts_mt" not in counts.obs


def test_v14_zero_gene(counts):
    x = counts.X.toarray()
    x[:, 40] = 0
    found = everything(with_x(x))
    assert all(np.isfinite(found[name].astype(float)).all() for name in ("pca", "z", "scores"))


@pytest.mark.parametrize("step", ["markers", "score_cells", "score_clusters", "build"])
def test_v16_raw_counts_where_logs_are_meant(counts, step):
    with pytest.raises(ValueError, match=r"looks like counts. Run cellsigil.pp.normalize"):
        READERS[step](counts)


@pytest.mark.parametrize("step", ["markers", "score_cells", "score_clusters", "build", "hvg"])
def test_v17_scaled(logs, step):
    dense = logs.X.toarray()
    logs.X = (dense - dense.mean(axis=0)) / (dense.std(axis=0) + 1e-9)
    with pytest.raises(ValueError, match=r"negative values.*looks scaled.*layer="):
        READERS[step](logs)


# --- g: groups and genes -------------------------------------------------------------------------


def markers(adata: ad.AnnData, groupby: str = "type", **arguments) -> pd.DataFrame:
    with warnings.catch_warnings(action="error"):
        return cs.tl.markers(adata, groupby, **arguments)


def same_table(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_categorical=False)


@pytest.mark.parametrize("step", ["markers", "score_cells", "score_clusters", "build"])
def test_g01_dup_var_names(logs, step):
    logs.var_names = ["GENE2", *logs.var_names[1:]]
    with pytest.raises(ValueError, match=r"'?GENE2'?.*var_names_make_unique\(\)"):
        READERS[step](logs)


def test_g02_dup_obs_names(right):
    adata = make()
    with warnings.catch_warnings(action="ignore"):
        adata.obs_names = ["same"] * N_CELLS
        assert_same(everything(adata), right)


def test_g03_one_cell_cluster(logs):
    logs.obs["type"] = logs.obs["type"].astype(str)
    logs.obs.iloc[0, logs.obs.columns.get_loc("type")] = "single"
    with pytest.warns(UserWarning, match=r"'single' has fewer than 2 cells.*Merge"):
        table = cs.tl.markers(logs, "type")
    assert table.loc[table["group"] == "single", "rank"].isna().all()
    assert table.loc[table["group"] != "single", "rank"].notna().all()


def test_g04_unused_category(logs):
    expected = markers(logs)
    logs.obs["type"] = logs.obs["type"].cat.add_categories("ghost")
    same_table(markers(logs), expected)


def test_g05_nan_labels(logs):
    labels = logs.obs["type"].astype(object)
    labels.iloc[::7] = None
    logs.obs["type"] = pd.Categorical(labels)
    with pytest.warns(UserWarning, match=r"13 cells have no label in obs\['type'\]"):
        found = cs.tl.markers(logs, "type")
    same_table(found, markers(logs[logs.obs["type"].notna()].copy()))
    with pytest.warns(UserWarning, match="13 cells have no label"):
        cs.tl.score_clusters(logs, SETS, "type")


@pytest.mark.parametrize("kind", ["int", "category of int", "bool", "str", "string"])
def test_g06_g07_g09_kinds_of_labels(logs, kind):
    codes = logs.obs["type"].cat.codes.to_numpy().astype(int)
    if kind == "bool":
        logs.obs["label"] = codes == 1
        names = ["False", "True"]
    else:
        logs.obs["label"] = pd.Series(codes, logs.obs_names).astype(
            {"int": "int64", "category of int": "category"}.get(kind, kind)
        )
        names = ["0", "1", "2"]
    table = markers(logs, "label")
    assert list(table["group"].unique()) == names
    assert markers(logs, "label", groups=names[-1:])["group"].unique().tolist() == names[-1:]


def test_g08_mixed_categories(logs):
    logs.obs["label"] = logs.obs["type"].cat.rename_categories([1, 2.5, "a"])
    assert markers(logs, "label")["group"].unique().tolist() == ["1", "2.5", "a"]
    logs.obs["label"] = logs.obs["type"].cat.rename_categories([1, "1", "a"])
    with pytest.raises(ValueError, match="two categories that read '1' as text"):
        cs.tl.markers(logs, "label")


def test_g10_slash_group_name_write(logs, tmp_path):
    names = ["T/NK", "B cell; (naïve)", "k2"]
    logs.obs["type"] = logs.obs["type"].cat.rename_categories(names)
    cs.tl.markers(logs, "type")
    cs.tl.score_cells(logs, {"T/NK": SETS["first"]})
    cs.tl.score_clusters(logs, {"T/NK": SETS["first"]}, "type")
    cs.io.write(logs, tmp_path / "ours.h5ad")
    logs.write_h5ad(tmp_path / "theirs.h5ad")
    for file in ("ours.h5ad", "theirs.h5ad"):
        back = ad.read_h5ad(tmp_path / file)
        assert set(back.obs["type"].cat.categories) == set(names)
        assert set(back.uns["rank_genes_groups"]["names"].dtype.names) == set(names)


def test_g11_slash_obs_column_write(counts, tmp_path):
    counts.obs["T/NK"] = 1.0
    with pytest.raises(ValueError, match=r"adata.obs has the key 'T/NK'.*'T_NK'"):
        cs.io.write(counts, tmp_path / "a.h5ad")


def test_g12_group_absent(logs):
    with pytest.raises(KeyError, match=r"No group 'k11' in obs\['type'\]. Did you mean 'k1'"):
        cs.tl.markers(logs, "type", groups=["k11"])


def test_g13_reference_absent(logs):
    with pytest.raises(
        KeyError, match=r"reference='zzz' is no group of obs\['type'\].*'rest', 'pairwise', 'k0'"
    ):
        cs.tl.markers(logs, "type", reference="zzz")


@pytest.mark.parametrize("step", ["markers", "score_clusters", "build", "simulate"])
def test_g14_groupby_float_column(logs, step):
    logs.obs["type"] = np.linspace(0, 1, N_CELLS)
    run = READERS.get(step) or (lambda a: cs.deconv.simulate(a, "type", n_samples=2))
    with pytest.raises(ValueError, match=r"obs\['type'\] holds fractions.*astype\('category'\)"):
        run(logs)


@pytest.mark.parametrize("step", ["markers", "score_clusters", "build"])
def test_g15_one_group_only(logs, step):
    logs.obs["type"] = "all"
    with pytest.raises(ValueError, match=r"only the group 'all'.*at least 2 groups"):
        READERS[step](logs)


def test_g16_score_missing_genes(logs):
    cs.tl.score_cells(logs, {"s": [*SETS["first"], "NOPE1", "NOPE2"]})
    table = logs.uns["score_signatures"]
    assert table.loc["s", ["n_genes", "n_found"]].tolist() == [8, 6]
    assert table.loc["s", "missing"] == "NOPE1 NOPE2"
    with pytest.warns(UserWarning, match=r"Fewer than 3 genes found.*'few' \(1\)"):
        cs.tl.score_cells(logs, {"few": ["GENE3", "NOPE"], **SETS})
    assert logs.obsm["score_signatures"]["few"].isna().all()


def test_g17_score_all_missing(logs):
    with pytest.raises(ValueError, match="None of the 2 signature genes is in var_names"):
        cs.tl.score_cells(logs, {"s": ["NOPE1", "NOPE2"]})


@pytest.mark.parametrize("run", [cs.tl.score_cells, cs.tl.score_clusters])
def test_g18_score_string_instead_of_list(logs, run):
    more = ["type"] if run is cs.tl.score_clusters else []
    with pytest.raises(TypeError, match=r"Signature 's' is the string 'GENE3'; a list of genes"):
        run(logs, {"s": "GENE3"}, *more)


@pytest.mark.parametrize("method", ["ans", "ucell", "aucell", "zmean", "mean", "scanpy"])
def test_g19_score_all_genes(logs, method):
    every = {"s": logs.var_names.tolist()}
    if method in ("ans", "scanpy"):
        with pytest.raises(ValueError, match=r"Signature 's' holds all genes.*Use method="):
            cs.tl.score_cells(logs, every, method=method)
    else:
        cs.tl.score_cells(logs, every, method=method)
        assert np.isfinite(logs.obsm["score_signatures"].to_numpy()).all()


@pytest.mark.parametrize("method", ["ans", "ucell", "aucell", "zmean", "mean", "scanpy"])
def test_g20_score_with_nan(logs, method):
    logs.X[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"X holds nan at cell 'cell3', gene 'GENE3'"):
        cs.tl.score_cells(logs, SETS, method=method)


def test_g21_raw_silently_used(logs):
    logs.raw = logs
    small = logs[:, :30].copy()
    table = markers(small)
    assert set(table["gene"]) == set(small.var_names)
    small.raw = None
    same_table(markers(small), table)


def test_g22_gene_name_none(logs, tmp_path):
    logs.var_names = ["GENE0", None, *logs.var_names[2:]]
    with pytest.raises(ValueError, match=r"1 gene names are missing.*position 1.*notna\(\)"):
        cs.tl.markers(logs, "type")
    with pytest.raises(ValueError, match=r"adata.var_names holds (None|nan) at place 1"):
        cs.io.write(logs, tmp_path / "a.h5ad")
    for step in ("score_cells", "score_clusters", "build"):
        with pytest.raises(ValueError, match=r"names are missing.*position 1"):
            READERS[step](logs)


# --- z: sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["cells", "genes"])
def test_z01_z02_nothing_there(logs, shape):
    empty = logs[:0].copy() if shape == "cells" else logs[:, :0].copy()
    steps = {
        "hvg": "two cells",
        "pca": "at most 0 components",
        "markers": "no genes|no labels|no cells",
        "score_cells": "no genes|no cells",
        "score_clusters": "no genes|no labels|no cells",
        "build": "no labels|nothing to build|no cells",
    }
    for step, sentence in steps.items():
        with pytest.raises(ValueError, match=sentence):
            READERS[step](empty)
    cs.pp.qc(empty)
    cs.pp.normalize(empty)


@pytest.mark.parametrize("n", [1, 3])
def test_z03_z04_few_cells(counts, n):
    adata = counts[[0, 40, 80][:n]].copy()
    cs.pp.qc(adata)
    cs.pp.normalize(adata)
    with pytest.raises(ValueError, match=rf"n_comps=10: {n} cells .* at most {n - 1} components"):
        cs.pp.pca(adata, n_comps=10, mask_var=None)
    if n == 1:
        with pytest.raises(ValueError, match="variance of a gene needs two cells"):
            cs.pp.hvg(adata)
    else:
        cs.pp.pca(adata, n_comps=2, mask_var=None)
        assert np.isfinite(adata.obsm["X_pca"]).all()


def test_z05_ncomps_too_big(logs):
    with pytest.raises(ValueError, match=r"n_comps=1000: 90 cells and 80 chosen genes"):
        cs.pp.pca(logs, n_comps=1000, mask_var=None)


def test_z06_neighbors_too_many(logs):
    cs.pp.pca(logs, n_comps=5, mask_var=None)
    with pytest.warns(UserWarning, match="n_neighbors=151, but there are 90 cells"):
        cs.pp.neighbors(logs, n_neighbors=151)
    assert logs.obsp["distances"].nnz == 90 * 89


def test_z07_all_identical_cells(counts):
    adata = with_x(np.tile(counts.X[0].toarray(), (N_CELLS, 1)))
    cs.pp.normalize(adata)
    cs.pp.hvg(adata)
    with pytest.raises(ValueError, match="All cells are the same in the .* chosen genes"):
        cs.pp.pca(adata, mask_var=None, n_comps=3)
    table = markers(adata)
    assert (table["auc"] == 0.5).all()


def test_z08_hvg_batch_one_cell(logs):
    logs.obs["batch"] = ["alone", *["many"] * (N_CELLS - 1)]
    with pytest.warns(UserWarning, match=r"1 batches of obs\['batch'\] have one cell \('alone'\)"):
        cs.pp.hvg(logs, n_top_genes=20, batch_key="batch")
    assert logs.var["highly_variable"].sum() == 20


def test_z09_hvg_batch_nan(logs):
    logs.obs["batch"] = [None, *["a", "b"] * 44, "a"]
    with pytest.warns(UserWarning, match=r"1 cells have no obs\['batch'\] \(NaN\)"):
        cs.pp.hvg(logs, n_top_genes=20, batch_key="batch")


def test_z10_ntop_gt_nvars(logs):
    cs.pp.hvg(logs, n_top_genes=5000)
    assert 0 < logs.var["highly_variable"].sum() <= N_GENES


def test_z11_seurat_v3_low_counts():
    def rare(share: float) -> ad.AnnData:
        drawn = np.random.default_rng(0).random((60, 300)) < share
        return ad.AnnData(sp.csr_matrix(drawn.astype(np.float32)))

    adata = rare(0.02)
    with pytest.warns(UserWarning, match=r"singular at span=0.3.*span=1 was used.*filter_genes"):
        cs.pp.hvg(adata, flavor="seurat_v3", n_top_genes=30)
    assert adata.var["highly_variable"].sum() == 30
    with pytest.raises(ValueError, match=r"singular at every span.*filter_genes"):
        cs.pp.hvg(rare(0.005), flavor="seurat_v3", n_top_genes=30)


# --- b: backed files, writing, names -------------------------------------------------------------


def test_b01_view_input(counts):
    view = counts[::2]
    before = counts.X.copy()
    found, expected = everything(view), everything(counts[::2].copy())
    assert_same(found, expected)
    assert (before != counts.X).nnz == 0
    assert not set(counts.obs) - {"type", "sample"}
    assert "counts" not in counts.layers


@pytest.fixture
def backed(tmp_path):
    logs = normalised(make())
    logs.write_h5ad(tmp_path / "logs.h5ad")
    adata = ad.read_h5ad(tmp_path / "logs.h5ad", backed="r")
    yield adata
    adata.file.close()


def test_b02_backed_normalize(backed):
    with pytest.raises(ValueError, match=r"backed by .*logs.h5ad.*adata.to_memory\(\)"):
        cs.pp.normalize(backed)
    for run in (cs.pp.filter_cells, cs.pp.filter_genes):
        with pytest.raises(ValueError, match=r"adata.to_memory\(\)"):
            run(backed)


def test_b03_backed_qc(backed, right):
    cs.pp.qc(backed)
    names = ["n_genes_by_counts", "total_counts", "pct_counts_mt"]
    np.testing.assert_array_equal(backed.obs[names].to_numpy(), right["qc"])


def test_b04_backed_wilcoxon(backed, logs):
    same_table(markers(backed), markers(logs))
    cs.tl.score_cells(backed, SETS)
    cs.tl.score_cells(logs, SETS)
    np.testing.assert_array_equal(
        backed.obsm["score_signatures"].to_numpy(), logs.obsm["score_signatures"].to_numpy()
    )


def test_b05_mixed_obs_write(counts, tmp_path):
    counts.obs["m"] = pd.Series([1, "a", 2.5] * 30, counts.obs_names, dtype=object)
    with pytest.raises(ValueError, match=r"obs\['m'\] holds values of type float, int, str"):
        cs.io.write(counts, tmp_path / "a.h5ad")


def test_b06_none_in_uns(counts, tmp_path):
    counts.uns["k"] = {"a": (1, 2), "b": None}
    with pytest.raises(ValueError, match=r"uns\['k'\]\['a'\] is a tuple.*list\("):
        cs.io.write(counts, tmp_path / "a.h5ad")
    counts.uns["k"] = {"b": None}
    cs.io.write(counts, tmp_path / "a.h5ad")
    cs.io.write(counts, tmp_path / "a.h5ad", compat=True)


def test_b10_concat_dup_and_outer(counts, right):
    other = counts[:, ::-1][:, :60].copy()
    with warnings.catch_warnings(action="ignore"):
        both = ad.concat([counts, other], join="outer")
        found = everything(both)
    assert not both.obs_names.is_unique
    assert np.isfinite(found["z"]).all()
    np.testing.assert_array_equal(found["qc"][:N_CELLS, 1], right["qc"][:, 1])


def test_b12_a_mistyped_parameter_is_pythons_own_error(logs):
    calls = [
        (cs.pp.normalize, (), {"target": 1e4}),
        (cs.pp.hvg, (), {"n_top": 10}),
        (cs.pp.pca, (), {"n_pcs": 5}),
        (cs.pp.neighbors, (), {"k": 5}),
        (cs.tl.cluster, (), {"resolutoin": 1}),
        (cs.tl.markers, ("type",), {"method": "wilcoxon"}),
        (cs.tl.score_cells, (SETS,), {"metod": "ans"}),
        (cs.sig.build, ("type",), {"markers": 5}),
    ]
    for run, positional, named in calls:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(named))}'"):
            run(logs, *positional, **named)


@pytest.mark.parametrize("bad", [-1, 0, np.nan, np.inf, "1"])
def test_b13_leiden_resolution_bad(logs, bad):
    cs.pp.pca(logs, n_comps=5, mask_var=None)
    cs.pp.neighbors(logs)
    with pytest.raises(ValueError, match=r"resolution=.*a number above 0 is needed"):
        cs.tl.cluster(logs, resolution=bad)


def test_b12_bad_values_of_parameters_are_named(logs):
    for bad in (-1, 0, np.nan):
        with pytest.raises(ValueError, match="target_sum="):
            cs.pp.normalize(logs, target_sum=bad)
        with pytest.raises(ValueError, match="n_top_genes="):
            cs.pp.hvg(logs, n_top_genes=bad)
        with pytest.raises(ValueError, match="n_comps="):
            cs.pp.pca(logs, n_comps=bad, mask_var=None)
        with pytest.raises(ValueError, match="n_markers="):
            cs.sig.build(logs, "type", n_markers=bad)


def test_b14_neighbors_nan(logs):
    cs.pp.pca(logs, n_comps=5, mask_var=None)
    logs.obsm["X_pca"][6, 2] = np.nan
    with pytest.raises(ValueError, match=r"'cell6'"):
        cs.pp.neighbors(logs)


def test_b15_pca_nan_gene_names(logs):
    expected = logs.copy()
    cs.pp.pca(expected, n_comps=5, mask_var=None)
    logs.var_names = ["a", None, *logs.var_names[2:]]
    cs.pp.pca(logs, n_comps=5, mask_var=None)
    np.testing.assert_array_equal(logs.obsm["X_pca"], expected.obsm["X_pca"])


@pytest.mark.parametrize("evil", ['=HYPERLINK("http://evil")', "+1", "-1+2", "@SUM(A1)"])
def test_b16_excel_formula(logs, tmp_path, evil):
    logs.var_names = [evil, *logs.var_names[1:]]
    logs.obs["type"] = logs.obs["type"].cat.rename_categories([evil, "k1", "k2"])
    write_table(tmp_path / "markers.tsv", markers(logs))
    table = pd.read_csv(tmp_path / "markers.tsv", sep="\t", dtype=str)
    assert "'" + evil in set(table["group"])
    assert "'" + evil in set(table["gene"])
    signature = cs.sig.build(logs, "type", n_markers=20)
    cs.sig.export(signature, tmp_path / "set.tsv")
    text = (tmp_path / "set.tsv").read_text()
    cells = [cell for line in text.splitlines() for cell in line.split("\t")]
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)
    assert set(cs.sig.read(tmp_path / "set.tsv").types) == {evil, "k1", "k2"}


# --- odd but plausible: what a user meets beside the probes --------------------------------------


@pytest.mark.parametrize("given", ["cells.h5ad", Path("cells.h5ad"), pd.DataFrame(), np.eye(3)])
def test_what_is_no_anndata_is_refused(given):
    calls = [
        cs.pp.qc, cs.pp.filter_cells, cs.pp.filter_genes, cs.pp.normalize, cs.pp.hvg, cs.pp.pca,
        cs.pp.neighbors, cs.tl.cluster, cs.tl.umap,
        lambda a: cs.tl.group_stats(a, "type"), lambda a: cs.tl.markers(a, "type"),
        lambda a: cs.tl.score_clusters(a, SETS, "type"), lambda a: cs.sig.build(a, "type"),
        lambda a: cs.tl.score_cells(a, SETS),
    ]  # fmt: skip
    kind = type(given).__name__
    way_out = r"io.read\(path\)" if isinstance(given, str | Path) else r"anndata.AnnData\("
    for call in calls:
        with pytest.raises(
            TypeError, match=rf"An AnnData is needed, and this is a {kind}.*{way_out}"
        ):
            call(given)


def test_scaled_x_with_logs_in_raw_as_tutorials_leave_it(logs, tmp_path):
    expected = markers(logs)
    logs.raw = logs.copy()
    del logs.layers["counts"]
    dense = logs.X.toarray()
    logs.X = (dense - dense.mean(axis=0)) / (dense.std(axis=0) + 1e-9)
    small = logs[:, :50].copy()
    small.write_h5ad(tmp_path / "old.h5ad")
    adata = cs.io.read(tmp_path / "old.h5ad")
    with pytest.raises(
        ValueError, match=r"looks scaled.*adata.raw holds unscaled values of 80 genes"
    ):
        cs.tl.markers(adata, "type")
    same_table(markers(adata.raw.to_adata()), expected)
    with pytest.raises(ValueError, match=r"raw counts are missing"):
        cs.pp.normalize(adata)


def test_counts_in_raw_as_cellxgene_has_them(counts, logs):
    logs.raw = counts
    del logs.layers["counts"]
    small = logs[:, :50].copy()
    with pytest.raises(ValueError, match=r"adata.raw holds whole numbers.*layers\['counts'\] = "):
        cs.sig.build(small, "type")
    small.layers["counts"] = small.raw[:, small.var_names].X
    assert cs.sig.build(small, "type").types == ["k0", "k1", "k2"]


def test_symbols_in_a_column_of_another_name(logs):
    logs.var["feature_name"] = logs.var_names
    logs.var_names = [f"ENSG{i:011d}" for i in range(N_GENES)]
    with pytest.warns(
        UserWarning, match=r"adata.var\['gene_symbols'\] = adata.var\['feature_name'\]"
    ):
        cs.pp.qc(logs)
    logs.var["gene_symbols"] = logs.var["feature_name"]
    cs.pp.qc(logs)
    assert "pct_counts_mt" in logs.obs
    with pytest.raises(
        ValueError, match=r"adata.var_names = adata.var\['feature_name'\].astype\(str\)"
    ):
        cs.tl.score_cells(logs, SETS)


def test_mouse_data_and_human_signatures(logs):
    logs.var_names = [name.capitalize() for name in logs.var_names]
    with pytest.raises(
        ValueError, match="upper and lower case only: is one of them of another species"
    ):
        cs.tl.score_cells(logs, SETS)


def test_max_pct_without_the_name_of_a_set(counts):
    with pytest.raises(
        ValueError, match=r"max_pct=20: name the gene set too, max_pct=\{'mt': 20\}"
    ):
        cs.pp.filter_cells(counts, max_pct=20)


def test_two_samples_of_very_different_size(logs):
    rows = np.r_[np.flatnonzero(logs.obs["sample"] == "d1"), [1, 31, 61]]
    adata = logs[rows].copy()
    table = markers(adata, sample_key="sample")
    assert table["rank"].notna().all()
    alone = markers(adata[adata.obs["sample"] == "d1"].copy())
    best = table[table["rank"] <= 5].groupby("group")["gene"].agg(set)
    assert all(
        len(best[g] & set(alone[(alone["group"] == g) & (alone["rank"] <= 10)]["gene"])) >= 4
        for g in best.index
    )
    assert np.isfinite(cs.sig.build(adata, "type", sample_key="sample").profiles.to_numpy()).all()


# --- every probe has its test --------------------------------------------------------------------

ELSEWHERE = {  # probe -> file and test
    "b07_write_over_open_backed": ("io/test_write.py", "test_over_a_file_that_another_object_holds_open"),
    "b08_failed_write_leaves_partial": ("io/test_write.py", "test_a_failure_midway_leaves_the_old_file"),
    "b09_killed_mid_write": ("io/test_write.py", "test_a_kill_midway_leaves_the_old_file"),
    "r01_mtx_v3_plain_ok": ("io/test_tenx_mtx.py", "test_every_spelling_reads_the_same"),
    "r02_mtx_uncompressed_starsolo": ("io/test_tenx_mtx.py", "test_every_spelling_reads_the_same"),
    "r03_mtx_truncated_gz": ("io/test_tenx_mtx.py", "test_truncated_gz"),
    "r04_mtx_fewer_lines_than_header": ("io/test_tenx_mtx.py", "test_fewer_lines_than_the_header_says"),
    "r05_mtx_barcodes_too_few": ("io/test_tenx_mtx.py", "test_too_few_barcodes"),
    "r06_mtx_index_out_of_range": ("io/test_tenx_mtx.py", "test_index_out_of_range"),
    "r07_mtx_negative_and_nan": ("io/test_tenx_mtx.py", "test_values_that_are_no_counts"),
    "r08_mtx_duplicate_entries": ("io/test_tenx_mtx.py", "test_duplicate_entries_are_added_up"),
    "r09_mtx_dup_symbols_empty_symbol": ("io/test_tenx_mtx.py", "test_doubled_and_missing_symbols"),
    "r10_10xh5_antibody": ("io/test_tenx_h5.py", "test_antibodies_are_kept_aside"),
    "r11_10xh5_truncated": ("io/test_tenx_h5.py", "test_truncated"),
    "r12_10xh5_indices_out_of_range": ("io/test_tenx_h5.py", "test_index_out_of_range"),
    "r13_10xh5_indptr_decreasing": ("io/test_tenx_h5.py", "test_row_starts_that_fall"),
    "r14_h5ad_truncated": ("io/test_h5ad.py", "test_truncated"),
    "r15_h5ad_is_text": ("io/test_h5ad.py", "test_text_in_disguise"),
    "r16_h5ad_csr_indices_out_of_range": ("io/test_h5ad.py", "test_index_out_of_range"),
    "r17_h5ad_bitflip_in_data": ("io/test_h5ad.py", "test_a_flipped_bit"),
    "r18_csv_genes_by_cells": ("io/test_table.py", "test_square_with_plain_names"),
    "r19_csv_semicolon_decimal_comma": ("io/test_table.py", "test_what_is_wrong_is_said"),
    "r20_csv_ragged": ("io/test_table.py", "test_short_line_far_below"),
    "r21_csv_empty_cells": ("io/test_table.py", "test_what_is_wrong_is_said"),
    "r22_path_space_unicode": ("io/test_probes_r.py", "test_r22_path_space_unicode"),
    "r23_h5ad_shape_lies": ("io/test_h5ad.py", "test_shape_that_lies"),
    "r24_gz_corrupt_crc": ("io/test_tenx_mtx.py", "test_corrupt_gz"),
    "r25_mtx_transposed_cells_by_genes": ("io/test_tenx_mtx.py", "test_transposed"),
    "r26_mtx_square_transposed_silent": ("io/test_tenx_mtx.py", "test_square_may_be_transposed"),
    "r27_empty_file_mtx": ("io/test_tenx_mtx.py", "test_empty_file"),
    "r28_missing_dir": ("io/test_tenx_mtx.py", "test_missing_folder_and_folder_of_nothing"),
}  # fmt: skip
NOT_OURS = {
    "b11_pl_save_path": "our figures return Axes and save nothing",
    "v15_fractional_counts_scrublet": "we find no doublets; fractions as counts are v05 and v06",
}
LAST = {"r": 28, "s": 18, "v": 17, "g": 22, "z": 11, "b": 16}
PROBES = [f"{letter}{n:02d}" for letter, last in LAST.items() for n in range(1, last + 1)]


def functions_of(path: Path) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_probe_has_a_test():
    folder = Path(__file__).parent
    here = {part for name in functions_of(Path(__file__)) for part in name.split("_")}
    for probe, (file, test) in ELSEWHERE.items():
        assert test in functions_of(folder / file), probe
    elsewhere = {name[:3] for name in [*ELSEWHERE, *NOT_OURS]}
    assert len(PROBES) == 112
    assert [probe for probe in PROBES if probe not in here | elsewhere] == []

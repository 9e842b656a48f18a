"""hvg: scanpy's choice of genes, the same for any order of the cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import pp
from cellsigil._core._jit import threads
from cellsigil.pp._hvg_flavors import _ranked

FLAVORS = ["seurat", "cell_ranger", "seurat_v3"]


@pytest.fixture(scope="module")
def raw() -> sp.csr_matrix:
    """Counts of 150 cells x 300 genes with means over three decades, and a few empty genes."""
    rng = np.random.default_rng(3)
    mean = 10 ** rng.uniform(-1, 1.5, 300)
    spread = rng.gamma(2, 0.5, (150, 300)) ** rng.choice([0.3, 1.5], 300)
    dense = rng.poisson(mean * spread)
    dense[:, [5, 250]] = 0
    return sp.csr_matrix(dense.astype(np.float32))


def ready(raw, flavor: str, container=lambda m: m, dtype="float32") -> ad.AnnData:
    if flavor == "seurat_v3":
        return ad.AnnData(container(raw.astype(dtype)))
    adata = ad.AnnData(container(raw.astype(dtype)))
    pp.normalize(adata)
    return adata


def scanpy_table(raw, flavor: str, n_top: int, batch: np.ndarray | None = None) -> pd.DataFrame:
    sc = pytest.importorskip("scanpy")
    adata = ad.AnnData(raw.copy())
    if flavor != "seurat_v3":
        pp.normalize(adata)
        adata.X = adata.X.astype(np.float64)
    if batch is not None:
        adata.obs["batch"] = pd.Categorical(batch)
    sc.pp.highly_variable_genes(
        adata, n_top_genes=n_top, flavor=flavor, batch_key=None if batch is None else "batch"
    )
    return adata.var


def assert_same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    for column in theirs:
        x, y = ours[column].to_numpy(), theirs[column].to_numpy()
        if x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6, err_msg=column)
        else:
            np.testing.assert_array_equal(x, y, err_msg=column)


def v3_by_batch(raw, n_top: int, batch: np.ndarray) -> pd.DataFrame:
    """Merge scanpy's results of each batch alone, as its batched function says it does.

    That function takes a batch's means from another sum, and loess jumps by 7e-4 (measured) where
    tied means differ by 1e-15: its variances_norm are then off its own, per batch, by 1.5e-3.
    """
    tables = [scanpy_table(raw[batch == b], "seurat_v3", n_top) for b in np.unique(batch)]
    norm = np.array([t["variances_norm"] for t in tables])
    rank = np.argsort(np.argsort(-norm, axis=1, kind="stable"), axis=1).astype(float)
    rank[rank >= n_top] = np.nan
    votes = (~np.isnan(rank)).sum(axis=0)
    median = np.ma.median(np.ma.masked_invalid(rank), axis=0).filled(np.nan)
    return pd.DataFrame(
        {
            "variances_norm": norm.mean(axis=0),
            "highly_variable_nbatches": votes,
            "highly_variable_rank": median,
        }
    )


def naive_seurat(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means, dispersions and dispersions_norm of log-normalised ``x``, one gene at a time."""
    linear = np.expm1(x.astype(np.float64))
    means, dispersions = [], []
    for gene in linear.T:
        mean, var = gene.mean(), gene.var(ddof=1)
        means.append(np.log1p(mean if mean > 0 else 1e-12))
        dispersions.append(np.log(var / mean) if var > 0 else np.nan)
    means, dispersions = np.array(means), np.array(dispersions)
    width = (means.max() - means.min()) / 20
    bins = np.clip(np.ceil((means - means.min()) / width), 1, 20)
    norm = np.empty(means.size)
    for j, b in enumerate(bins):
        same = dispersions[(bins == b) & ~np.isnan(dispersions)]
        if same.size < 2:
            norm[j] = dispersions[j] / same.mean() if same.size else np.nan
        else:
            norm[j] = (dispersions[j] - same.mean()) / same.std(ddof=1)
    return means, dispersions, norm


def test_means_what_naive_says(raw, container, dtype):
    adata = ready(raw, "seurat", container, dtype)
    x = adata.X.compute() if hasattr(adata.X, "compute") else adata.X
    pp.hvg(adata, n_top_genes=50)
    means, dispersions, norm = naive_seurat(x.toarray())
    np.testing.assert_allclose(adata.var["means"], means, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(adata.var["dispersions"], dispersions, rtol=1e-10)
    np.testing.assert_allclose(adata.var["dispersions_norm"], norm, rtol=1e-5, atol=1e-6)
    assert adata.var["highly_variable"].sum() == 50
    assert adata.var["highly_variable"].dtype == bool
    assert norm[adata.var["highly_variable"]].min() >= np.nanmax(
        norm[~adata.var["highly_variable"]]
    )
    assert adata.uns["hvg"] == {"flavor": "seurat"}


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("batched", [False, True])
def test_agrees_with_scanpy_on_small_data(raw, flavor, batched):
    batch = np.array(list("abc"))[np.arange(150) % 3] if batched else None
    adata = ready(raw, flavor)
    if batched:
        adata.obs["batch"] = batch
    pp.hvg(adata, n_top_genes=70, flavor=flavor, batch_key="batch" if batched else None)
    theirs = scanpy_table(raw, flavor, 70, batch)
    if flavor == "seurat_v3" and batched:
        assert (adata.var["highly_variable"] == theirs["highly_variable"]).mean() > 0.98
        theirs = v3_by_batch(raw, 70, batch)
    assert_same(adata.var, theirs)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_any_container_gives_the_same_bits(raw, container, flavor):
    plain, other = ready(raw, flavor), ready(raw, flavor, container, "int64")
    for adata in (plain, other):
        adata.obs["batch"] = np.array(list("abc"))[np.arange(150) % 3]
        pp.hvg(adata, n_top_genes=70, flavor=flavor, batch_key="batch")
    pd.testing.assert_frame_equal(plain.var, other.var, check_exact=True)


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("batched", [False, True])
def test_agrees_with_scanpy_on_pbmc(pbmc3k, flavor, batched):
    pp.filter_genes(pbmc3k, min_cells=20)
    raw = pbmc3k.X.astype(np.float32)
    batch = np.array(list("abc"))[np.arange(pbmc3k.n_obs) % 3] if batched else None
    adata = ready(raw, flavor)
    if batched:
        adata.obs["batch"] = batch
    pp.hvg(adata, flavor=flavor, batch_key="batch" if batched else None)
    theirs = scanpy_table(raw, flavor, 2000, batch)
    if flavor == "seurat_v3" and batched:
        for column in ("highly_variable", "highly_variable_nbatches"):
            assert (adata.var[column] == theirs[column]).mean() > 0.99
        theirs = v3_by_batch(raw, 2000, batch)[["variances_norm"]]
    ties = ["highly_variable_rank"]  # of pbmc3k's genes, broken by the name here and anyhow there
    assert_same(adata.var, theirs.drop(columns=ties, errors="ignore"))


@pytest.mark.parametrize("flavor", FLAVORS)
def test_same_bits_in_any_order_of_the_cells_and_on_any_number_of_threads(pbmc3k, flavor):
    pp.filter_genes(pbmc3k, min_cells=20)
    adata = ready(pbmc3k.X.astype(np.float32), flavor)
    adata.obs["batch"] = np.array(list("ab"))[np.arange(adata.n_obs) % 2]
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    with threads(1):
        pp.hvg(adata, flavor=flavor, batch_key="batch")
    with threads(2):
        pp.hvg(shuffled, flavor=flavor, batch_key="batch")
    pd.testing.assert_frame_equal(adata.var, shuffled.var, check_exact=True)


def test_counts_too_large_for_the_quick_sums_rank_as_their_small_kin(raw):
    """A gene of 2**27 more in one cell takes the general way; the other genes' ranks must stay."""
    adata = ready(raw, "seurat_v3")
    pp.hvg(adata, flavor="seurat_v3", n_top_genes=50)
    large = adata.copy()
    counts = sp.lil_matrix(large.X, dtype=np.float64)
    counts[0, 0] = 2.0**27
    large.X = sp.csr_matrix(counts)
    pp.hvg(large, flavor="seurat_v3", n_top_genes=50)
    np.testing.assert_array_equal(large.var["means"][1:], adata.var["means"][1:])
    np.testing.assert_allclose(large.var["variances"][1:], adata.var["variances"][1:], rtol=1e-13)


def test_log_of_another_base(raw):
    adata = ready(raw, "seurat")
    other = adata.copy()
    other.X = sp.csr_matrix(adata.X / np.log(2), dtype=np.float64)
    other.uns["log1p"] = {"base": 2}
    pp.hvg(adata, n_top_genes=50)
    pp.hvg(other, n_top_genes=50)
    np.testing.assert_allclose(other.var["dispersions"], adata.var["dispersions"], rtol=1e-6)
    np.testing.assert_array_equal(other.var["highly_variable"], adata.var["highly_variable"])


@pytest.mark.parametrize("base", [1, 0.5, -2, np.nan, np.inf, 1e7, "e"])
def test_what_is_no_base_of_logarithms_is_refused(raw, base):
    adata = ready(raw, "seurat")
    adata.uns["log1p"] = {"base": base}
    before = adata.var.copy()
    with pytest.raises(ValueError, match=r"uns\['log1p'\]\['base'\] is .*a number above 1"):
        pp.hvg(adata)
    pd.testing.assert_frame_equal(adata.var, before)
    pp.hvg(adata, flavor="cell_ranger")  # looks at logarithms as they are


@pytest.mark.parametrize("flavor", FLAVORS)
def test_more_genes_asked_for_than_there_are(raw, flavor):
    adata = ready(raw, flavor)
    pp.hvg(adata, n_top_genes=10_000, flavor=flavor)
    assert adata.var["highly_variable"].sum() >= 298 - 2


def test_columns_of_another_flavor_go(raw):
    adata = ready(raw, "seurat")
    pp.hvg(adata, flavor="seurat_v3", n_top_genes=50)
    assert {"variances", "highly_variable_rank"} <= set(adata.var)
    pp.hvg(adata, n_top_genes=50)
    assert set(adata.var) == {"highly_variable", "means", "dispersions", "dispersions_norm"}


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
@pytest.mark.parametrize("scale", [1, 1000])
def test_refuses_counts_where_logs_are_needed(raw, flavor, scale):
    with pytest.raises(
        ValueError, match=r"whole numbers only .* looks like counts. Run cellsigil.pp"
    ):
        pp.hvg(ad.AnnData(raw * scale), flavor=flavor)


def test_refuses_logs_where_counts_are_needed(raw):
    adata = ready(raw, "seurat")
    del adata.layers["counts"]
    with pytest.raises(ValueError, match="raw counts are missing"):
        pp.hvg(adata, flavor="seurat_v3")


@pytest.mark.parametrize("flavor", FLAVORS)
def test_cells_without_a_batch_and_batches_of_one_cell_are_left_out(raw, flavor):
    adata = ready(raw, flavor)
    clean = adata[2:].copy()
    adata.obs["batch"] = [None, "alone"] + ["a", "b"] * 74
    clean.obs["batch"] = ["a", "b"] * 74
    pp.hvg(clean, flavor=flavor, batch_key="batch", n_top_genes=50)
    with (
        pytest.warns(UserWarning, match=r"1 cells have no obs\['batch'\] \(NaN\)"),
        pytest.warns(UserWarning, match=r"1 batches of obs\['batch'\] have one cell \('alone'\)"),
    ):
        pp.hvg(adata, flavor=flavor, batch_key="batch", n_top_genes=50)
    columns = clean.var.columns.difference(["means", "variances"])  # of v3: over all cells
    pd.testing.assert_frame_equal(adata.var[columns], clean.var[columns], check_exact=True)


def test_low_counts_widen_the_loess_or_say_why():
    rng = np.random.default_rng(0)
    adata = ad.AnnData(sp.csr_matrix(rng.poisson(0.02, (300, 400)).astype(np.float32)))
    with pytest.warns(UserWarning, match=r"singular at span=0.3 .* was used"):
        pp.hvg(adata, flavor="seurat_v3", n_top_genes=50)
    assert adata.var["highly_variable"].sum() == 50
    assert np.isfinite(adata.var["variances_norm"]).all()
    one = np.zeros((30, 5), np.float32)
    one[[0, 3, 5, 7, 9], range(5)] = 1
    with pytest.raises(ValueError, match=r"singular at every span .*filter_genes"):
        pp.hvg(ad.AnnData(sp.csr_matrix(one)), flavor="seurat_v3")


def test_errors_say_what_to_do(raw):
    adata = ready(raw, "seurat")
    with pytest.raises(ValueError, match="Did you mean 'seurat"):
        pp.hvg(adata, flavor="seurat_v4")
    with pytest.raises(ValueError, match="n_top_genes=0"):
        pp.hvg(adata, n_top_genes=0)
    with pytest.raises(ValueError, match="span=2"):
        pp.hvg(adata, span=2)
    adata.obs["batch"] = [str(i) for i in range(150)]
    with pytest.raises(KeyError, match="Did you mean 'batch'"):
        pp.hvg(adata, batch_key="bacth")
    with (
        pytest.warns(UserWarning, match="150 batches .* have one cell"),
        pytest.raises(ValueError, match="No batch .* has two cells"),
    ):
        pp.hvg(adata, batch_key="batch")
    with pytest.raises(ValueError, match="1 cells x 300 genes"):
        pp.hvg(adata[:1].copy())
    with pytest.raises(ValueError, match="150 cells x 0 genes"):
        pp.hvg(adata[:, :0].copy())


def test_cells_that_are_all_alike():
    adata = ad.AnnData(np.tile(np.linspace(0.1, 2, 30, dtype=np.float32), (20, 1)))
    for flavor in ("seurat", "cell_ranger"):
        pp.hvg(adata, flavor=flavor, n_top_genes=5)
        assert adata.var["dispersions_norm"].notna().sum() in (0, 30) or flavor == "cell_ranger"


def test_duplicated_gene_names(raw):
    adata = ready(raw, "seurat")
    adata.var_names = ["same"] * 300
    adata.obs["batch"] = ["a", "b"] * 75
    pp.hvg(adata, n_top_genes=50, batch_key="batch")
    assert adata.var["highly_variable"].sum() == 50


def test_ours_then_scanpy(pbmc3k):
    sc = pytest.importorskip("scanpy")
    pp.filter_genes(pbmc3k)
    pp.normalize(pbmc3k)
    sc.pp.highly_variable_genes(pbmc3k, n_top_genes=1000, flavor="seurat", batch_key=None)
    sc.pp.pca(pbmc3k, n_comps=20, mask_var="highly_variable", svd_solver="arpack", random_state=0)
    sc.pp.neighbors(pbmc3k, n_neighbors=10, transformer="sklearn", random_state=0)
    assert pbmc3k.obsp["connectivities"].shape == (2700, 2700)
    pp.pca(pbmc3k, n_comps=10)  # ours again, on scanpy's genes
    assert pbmc3k.uns["pca"]["variance"].size == 10


def test_scanpy_then_ours(pbmc3k):
    sc = pytest.importorskip("scanpy")
    ours = pbmc3k.copy()
    sc.pp.filter_genes(pbmc3k, min_cells=3)
    sc.pp.normalize_total(pbmc3k, target_sum=1e4)
    sc.pp.log1p(pbmc3k)
    sc.pp.highly_variable_genes(pbmc3k, n_top_genes=1000, flavor="seurat")
    pp.pca(pbmc3k, n_comps=10)
    pp.filter_genes(ours)
    pp.normalize(ours)
    pp.hvg(ours, n_top_genes=1000)
    pp.pca(ours, n_comps=10)
    np.testing.assert_array_equal(ours.var["highly_variable"], pbmc3k.var["highly_variable"])
    np.testing.assert_allclose(ours.obsm["X_pca"], pbmc3k.obsm["X_pca"], atol=1e-4)
    pp.hvg(pbmc3k, n_top_genes=1000)
    np.testing.assert_array_equal(ours.var["highly_variable"], pbmc3k.var["highly_variable"])
    with pytest.raises(ValueError, match="raw counts are missing"):
        pp.normalize(pbmc3k)


def test_ranks_of_the_largest_go_by_name_where_they_tie():
    names = pd.Index(["d", "c", "b", "a", "e"])
    norm = np.array([2.0, 3.0, 2.0, np.nan, 2.0])
    np.testing.assert_array_equal(_ranked(norm, names, 1), [np.nan, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(_ranked(norm, names, 2), [np.nan, 0, 1, np.nan, np.nan])
    np.testing.assert_array_equal(_ranked(norm, names, 4), [2, 0, 1, np.nan, 3])
    np.testing.assert_array_equal(_ranked(norm, names, 5), [2, 0, 1, 4, 3])  # the unknown one last

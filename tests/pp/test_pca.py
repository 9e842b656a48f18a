"""pca: eigenvectors of the covariance, from sparse rows."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from cellsigil import pp
from cellsigil._core import _gram, _krylov
from cellsigil._core._jit import threads
from cellsigil.pp import _components


def naive(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, loadings and variances: the largest |loading| is positive."""
    centred = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    loadings = vt[:n].T.copy()
    for c in range(n):
        if loadings[np.abs(loadings[:, c]).argmax(), c] < 0:
            loadings[:, c] *= -1
    return centred @ loadings, loadings, s[:n] ** 2 / (len(x) - 1)


def logged(counts) -> sp.csr_matrix:
    return sp.csr_matrix(counts, dtype=np.float32).log1p()


@pytest.fixture
def mask() -> np.ndarray:
    return np.arange(40) % 3 > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_cells", [60, 20])  # more and fewer cells than genes
def test_means_what_naive_says(counts, container, mask, dtype, n_cells):
    x = logged(counts)[:n_cells].astype(dtype)
    adata = ad.AnnData(container(x))
    adata.var["highly_variable"] = mask
    pp.pca(adata, n_comps=5)
    scores, loadings, variance = naive(x.toarray()[:, mask], 5)
    np.testing.assert_allclose(adata.obsm["X_pca"], scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(adata.varm["PCs"][mask], loadings, rtol=1e-9, atol=1e-10)
    assert (adata.varm["PCs"][~mask] == 0).all()
    np.testing.assert_allclose(adata.uns["pca"]["variance"], variance, rtol=1e-10)
    total = x.toarray()[:, mask].astype(np.float64).var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(adata.uns["pca"]["variance_ratio"], variance / total, rtol=1e-10)
    assert adata.obsm["X_pca"].dtype == np.float32


def test_dense_values_mean_the_same(counts):
    scaled = np.random.default_rng(0).normal(size=(60, 12)) + 3
    adata = ad.AnnData(scaled)
    pp.pca(adata, n_comps=12, mask_var=None)
    scores, _, variance = naive(scaled, 12)
    np.testing.assert_allclose(adata.obsm["X_pca"], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(adata.uns["pca"]["variance"], variance, rtol=1e-9)


def test_agrees_with_scanpy(pbmc3k):
    sc = pytest.importorskip("scanpy")
    pp.filter_genes(pbmc3k)
    pp.normalize(pbmc3k)
    pp.hvg(pbmc3k)
    pp.pca(pbmc3k)
    theirs = pbmc3k.copy()
    sc.pp.pca(theirs, n_comps=50, mask_var="highly_variable", svd_solver="arpack", random_state=0)
    sign = np.sign((pbmc3k.varm["PCs"] * theirs.varm["PCs"]).sum(axis=0))
    # scanpy works in float32: its later components are its own rounding
    np.testing.assert_allclose(
        pbmc3k.uns["pca"]["variance"], theirs.uns["pca"]["variance"], rtol=1e-5
    )
    np.testing.assert_allclose(
        pbmc3k.uns["pca"]["variance_ratio"], theirs.uns["pca"]["variance_ratio"], rtol=1e-5
    )
    np.testing.assert_allclose(pbmc3k.obsm["X_pca"], theirs.obsm["X_pca"] * sign, atol=5e-3)
    np.testing.assert_allclose(pbmc3k.varm["PCs"], theirs.varm["PCs"] * sign, atol=5e-4)
    exact = naive(pbmc3k.X[:, pbmc3k.var["highly_variable"].to_numpy()].toarray(), 50)[0]
    np.testing.assert_allclose(pbmc3k.obsm["X_pca"], exact, rtol=1e-5, atol=1e-5)


def test_same_bits_on_any_number_of_threads(pbmc3k):
    pp.normalize(pbmc3k)
    pp.hvg(pbmc3k, n_top_genes=500)
    one = pbmc3k.copy()
    with threads(1):
        pp.pca(one, n_comps=20)
    with threads(2):
        pp.pca(pbmc3k, n_comps=20)
    assert one.obsm["X_pca"].tobytes() == pbmc3k.obsm["X_pca"].tobytes()
    assert one.varm["PCs"].tobytes() == pbmc3k.varm["PCs"].tobytes()


def test_keys_and_parameters(counts, mask, tmp_path):
    adata = ad.AnnData(counts.copy(), layers={"log": logged(counts)})
    adata.var["mine"] = mask
    pp.pca(adata, n_comps=3, mask_var="mine", layer="log", key_added="p", rng=7)
    assert set(adata.obsm) == set(adata.varm) == set(adata.uns) == {"p"}
    params = adata.uns["p"]["params"]
    assert params == {
        "zero_center": True, "use_highly_variable": False, "mask_var": "mine", "layer": "log", "rng": 7,
    }  # fmt: skip
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_gene_names_with_gaps(counts):
    adata = ad.AnnData(logged(counts))
    names = adata.var_names.to_numpy(object).copy()
    names[3] = np.nan
    adata.var.index = pd.Index(names, dtype=object)
    pp.pca(adata, n_comps=3, mask_var=None)
    assert np.isfinite(adata.obsm["X_pca"]).all()


@pytest.mark.parametrize(("n_cells", "n_comps"), [(60, 1000), (60, 41), (3, 3), (1, 1), (60, 0)])
def test_refuses_more_components_than_there_are(counts, n_cells, n_comps):
    adata = ad.AnnData(logged(counts)[:n_cells])
    with pytest.raises(
        ValueError, match=rf"n_comps={n_comps}: {n_cells} cells and 40 chosen genes"
    ):
        pp.pca(adata, n_comps=n_comps, mask_var=None)


def test_all_components_there_are(counts):
    adata = ad.AnnData(logged(counts)[:6])
    pp.pca(adata, n_comps=5, mask_var=None)
    assert adata.uns["pca"]["variance_ratio"].sum() == pytest.approx(1, abs=1e-12)


def test_refuses_cells_that_are_all_alike():
    adata = ad.AnnData(np.full((20, 5), 0.5, np.float32))
    with pytest.raises(ValueError, match="All cells are the same in the 5 chosen genes"):
        pp.pca(adata, n_comps=2, mask_var=None)


def test_refuses_bad_values(counts):
    x = logged(counts)
    x.data[3] = np.nan
    with pytest.raises(ValueError, match="X holds nan at cell '0'"):
        pp.pca(ad.AnnData(x), n_comps=2, mask_var=None)


@pytest.mark.parametrize("n_cells", [20, None])  # fewer cells than genes, and more
def test_says_that_counts_look_like_counts(counts, n_cells):
    with pytest.warns(
        UserWarning, match="X holds whole numbers only: it looks like counts"
    ) as said:
        pp.pca(ad.AnnData(counts[:n_cells]), n_comps=2, mask_var=None)
    assert [warning.filename for warning in said] == [__file__]


def test_mask_errors(counts):
    adata = ad.AnnData(logged(counts))
    with pytest.raises(KeyError, match=r"No var\['highly_variable'\]. Run cellsigil.pp.hvg"):
        pp.pca(adata)
    adata.var["highly_variable"] = False
    with pytest.raises(ValueError, match="chooses no gene"):
        pp.pca(adata)
    adata.var["highly_variable"] = [True, None] * 20
    with pytest.raises(ValueError, match=r"is missing for 20 genes \(first '1'\)"):
        pp.pca(adata)
    adata.var["highly_variable"] = ["yes", "no"] * 20
    with pytest.raises(ValueError, match="True and False"):
        pp.pca(adata)
    with pytest.raises(KeyError, match="Did you mean 'highly_variable'"):
        pp.pca(adata, mask_var="highly_variabel")


def test_leaves_the_input_alone(counts):
    x = logged(counts)
    parent = ad.AnnData(x.copy())
    view = parent[:50]
    pp.pca(view, n_comps=3, mask_var=None)
    np.testing.assert_array_equal(parent.X.toarray(), x.toarray())
    assert not parent.obsm


def odd_storage(kind: str, counts: sp.csr_matrix):
    """Store the same counts in a way that the wild knows."""
    if kind == "big-endian dense":
        return counts.toarray().astype(">f4")
    matrix = counts.copy()
    if kind == "duplicates":  # each value as two entries
        half = counts.copy()
        half.data = np.ones_like(half.data)
        data = np.stack([counts.data - 1, half.data], axis=1).ravel()
        return sp.csr_matrix(
            (data, np.repeat(counts.indices, 2), counts.indptr * 2), shape=counts.shape
        )
    if kind == "unsorted":
        for i in range(matrix.shape[0]):
            row = slice(matrix.indptr[i], matrix.indptr[i + 1])
            matrix.indices[row] = matrix.indices[row][::-1]
            matrix.data[row] = matrix.data[row][::-1]
        matrix.has_sorted_indices = False
    elif kind == "big-endian":
        matrix.data = matrix.data.astype(">f4")
    elif kind == "read-only":
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.flags.writeable = False
    elif kind == "mixed index types":
        matrix.indptr = matrix.indptr.astype(np.int64)
    elif kind == "int64 indices":
        matrix.indptr, matrix.indices = matrix.indptr.astype("i8"), matrix.indices.astype("i8")
    elif kind == "explicit zeros":
        dense = counts.toarray()
        cells, genes = np.indices(dense.shape).reshape(2, -1)
        matrix = sp.csr_matrix((dense.ravel(), (cells, genes)), shape=dense.shape)
    return matrix


STORAGES = (
    "big-endian dense", "duplicates", "unsorted", "big-endian", "read-only", "mixed index types",
    "int64 indices", "explicit zeros",
)  # fmt: skip


def whole_room(matrix) -> ad.AnnData:
    adata = ad.AnnData(matrix)
    adata.var_names = ["MT-A", "MT-B"] + [f"G{j}" for j in range(matrix.shape[1] - 2)]
    pp.qc(adata, percent_top=(10,))
    pp.filter_cells(adata, min_genes=5, n_mads=5)
    pp.filter_genes(adata)
    pp.normalize(adata)
    pp.hvg(adata, n_top_genes=30)
    pp.pca(adata, n_comps=5)
    return adata


@pytest.mark.parametrize("kind", STORAGES)
def test_the_whole_room_does_not_mind_how_counts_are_stored(counts, kind):
    want = whole_room(counts)
    matrix = odd_storage(kind, counts)
    before = (matrix.indices.copy(), matrix.data.copy()) if sp.issparse(matrix) else matrix.copy()
    got = whole_room(matrix)
    pd.testing.assert_frame_equal(got.obs, want.obs, check_exact=True)
    pd.testing.assert_frame_equal(got.var, want.var, check_exact=True)
    assert got.X.data.tobytes() == want.X.data.tobytes()
    assert got.obsm["X_pca"].tobytes() == want.obsm["X_pca"].tobytes()
    if sp.issparse(matrix):
        np.testing.assert_array_equal(matrix.indices, before[0])
        np.testing.assert_array_equal(matrix.data, before[1])
    else:
        np.testing.assert_array_equal(matrix, before)


def test_a_backed_file_is_read_and_left_as_it_is(counts, tmp_path):
    adata = ad.AnnData(counts)
    adata.var_names = ["MT-A", "MT-B"] + [f"G{j}" for j in range(38)]
    pp.normalize(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    before = (tmp_path / "a.h5ad").read_bytes()
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for each in (adata, backed):
        pp.qc(each)
        pp.hvg(each, n_top_genes=30)
        pp.pca(each, n_comps=5)
    np.testing.assert_array_equal(backed.obs["total_counts"], adata.obs["total_counts"])
    assert backed.obsm["X_pca"].tobytes() == adata.obsm["X_pca"].tobytes()
    for refused in (pp.normalize, pp.filter_cells, pp.filter_genes):
        with pytest.raises(ValueError, match="to_memory"):
            refused(backed)
    backed.file.close()
    assert (tmp_path / "a.h5ad").read_bytes() == before


def graded(n_cells: int, n_genes: int) -> np.ndarray:
    """Return expression with components of falling variance, many zeros, and genes of every frequency."""
    draw = np.random.default_rng(3)
    programmes = draw.normal(size=(n_cells, 12)) * 0.8 ** np.arange(12)
    depth = draw.normal(-1, 2, n_genes)
    x = np.exp(programmes @ draw.normal(size=(12, n_genes)) * 0.6 + depth)
    return np.log1p(draw.poisson(x)).astype(np.float32)


def test_common_and_rare_genes_in_every_block_size(monkeypatch):
    x = graded(700, 90)
    adata = ad.AnnData(sp.csr_matrix(x))
    for rows, common in ((1024, 0.3), (64, 0.3), (50, 2.0), (300, -1.0)):  # -1: all dense; 2: none
        monkeypatch.setattr(_gram, "ROWS", rows)
        monkeypatch.setattr(_gram, "COMMON", common)
        monkeypatch.setattr(_gram, "STRIPE", 16)
        pp.pca(adata, n_comps=10, mask_var=None)
        scores, _, variance = naive(x, 10)
        np.testing.assert_allclose(adata.uns["pca"]["variance"], variance, rtol=1e-10)
        np.testing.assert_allclose(adata.obsm["X_pca"], scores, rtol=1e-5, atol=1e-5)


def test_kept_entries_and_a_second_search_give_the_same_bits(monkeypatch):
    found = []
    for share, array in ((2.0, 1 << 20), (2.0, 100), (0.1, 100), (0.0, 100)):
        monkeypatch.setattr(_components, "KEPT", share)
        monkeypatch.setattr(_components, "ARRAY", array)
        adata = ad.AnnData(sp.csr_matrix(graded(3000, 60)))
        pp.pca(adata, n_comps=5, mask_var=None)
        found.append(adata.obsm["X_pca"].tobytes() + adata.varm["PCs"].tobytes())
    assert len(set(found)) == 1


def test_blocks_that_differ_in_their_common_genes():
    da = pytest.importorskip("dask.array")
    x = graded(1500, 60)
    x[:700, ::2] = 0  # rare in the first rows, common in the others
    x = sp.csr_matrix(x)
    lazy = da.concatenate([da.from_array(x[a:b], (b - a, 60)) for a, b in ((0, 700), (700, 1500))])
    scores, _, variance = naive(x.toarray(), 8)
    for matrix in (x, lazy):
        adata = ad.AnnData(matrix)
        pp.pca(adata, n_comps=8, mask_var=None)
        np.testing.assert_allclose(adata.uns["pca"]["variance"], variance, rtol=1e-10)
        np.testing.assert_allclose(adata.obsm["X_pca"], scores, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def directions():
    return np.linalg.qr(np.random.default_rng(3).normal(size=(1000, 1000)))[0]


def spectrum(kind, size):
    values = {
        "like genes": 30.0 / np.arange(1, size + 1) ** 1.2,
        "of rank 30": np.where(np.arange(size) < 30, 2.0 ** -np.arange(size), 0.0),
        "in pairs": np.repeat(1.0 / np.arange(1, size // 2 + 1), 2),
        "all alike": np.ones(size),
        "nearly flat": 1 + np.linspace(0, 1e-6, size),
        "nothing": np.zeros(size),
        "twenty alike": np.where(np.arange(size) < 20, 9.0, 8.0 / np.arange(1, size + 1)),
    }[kind]
    return np.sort(values)[::-1]


KINDS = [
    "like genes",
    "of rank 30",
    "in pairs",
    "all alike",
    "nearly flat",
    "nothing",
    "twenty alike",
]


@pytest.mark.parametrize(
    ("kind", "n", "scale"),
    [
        *((kind, n, 1.0) for kind in KINDS for n in (1, 50, 100)),
        *((KINDS[0], 50, s) for s in (1e-250, 1e250)),
    ],
)
def test_eigenvectors_are_exact_whatever_the_spectrum(kind, n, scale, directions):
    values = spectrum(kind, 1000)
    whole = (directions * values) @ directions.T * scale
    asked = whole.copy()
    asked[np.tril_indices(1000, -1)] = np.inf  # has no meaning
    found = []
    for count in (1, 2):
        with threads(count), threadpool_limits(1, user_api="blas"):
            found.append(_krylov.largest(asked.copy(), n))
    for one, other in zip(*found):
        assert one.tobytes() == other.tobytes()
    got, vectors = found[0]
    np.testing.assert_allclose(got / scale, values[:n], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), atol=1e-10)
    left = np.linalg.norm((whole / scale) @ vectors - vectors * (got / scale), axis=0)
    assert (left <= 1e-7 * np.maximum(values[:n], 1e-6 * values[0]) + 1e-14).all()


def test_more_genes_and_cells_than_a_gram_matrix_takes(monkeypatch, container):
    x = graded(500, 400)
    adata = ad.AnnData(container(sp.csr_matrix(x)))
    monkeypatch.setattr(_components, "LARGEST_GRAM", 300)
    for room in (1 << 25, 1):  # a large basis, and one that is full at once
        monkeypatch.setattr(_krylov, "ROOM", room)
        pp.pca(adata, n_comps=9, mask_var=None)
        scores, loadings, variance = naive(x, 9)
        np.testing.assert_allclose(adata.uns["pca"]["variance"], variance, rtol=1e-10)
        total = x.astype(np.float64).var(axis=0, ddof=1).sum()
        np.testing.assert_allclose(adata.uns["pca"]["variance_ratio"], variance / total, rtol=1e-10)
        cosine = np.linalg.svd(adata.varm["PCs"].T @ loadings)[1].min()
        assert cosine > 1 - 1e-9
        np.testing.assert_allclose(adata.obsm["X_pca"], scores, atol=1e-3)


@pytest.fixture
def few_entries(monkeypatch):
    """Take products with the entries for what products with the Gram matrix are taken, and note what it was asked."""
    asked = []

    def by_entries(rows, *args):
        asked.append(by_entries_itself(rows, *args))
        return asked[-1]

    by_entries_itself = _components.by_entries
    monkeypatch.setattr(_components, "FEW", 1e3)
    monkeypatch.setattr(_components, "by_entries", by_entries)
    return asked


@pytest.mark.parametrize(
    ("n_cells", "n_genes", "n_comps"), [(1200, 1000, 9), (1000, 1300, 7), (2500, 1000, 1)]
)
def test_products_with_few_entries_mean_what_naive_says(few_entries, n_cells, n_genes, n_comps):
    x = graded(n_cells, n_genes)
    x[3] = 0
    found = []
    for n in (1, 2):
        adata = ad.AnnData(sp.csr_matrix(x))
        with threads(n):
            pp.pca(adata, n_comps=n_comps, mask_var=None)
        found.append(adata.obsm["X_pca"].tobytes() + adata.varm["PCs"].tobytes())
    assert found[0] == found[1]
    assert [answer is not None for answer in few_entries] == [True, True]
    scores, loadings, variance = naive(x, n_comps)
    np.testing.assert_allclose(adata.uns["pca"]["variance"], variance, rtol=1e-10)
    total = x.astype(np.float64).var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(adata.uns["pca"]["variance_ratio"], variance / total, rtol=1e-10)
    assert np.linalg.svd(adata.varm["PCs"].T @ loadings)[1].min() > 1 - 1e-9
    np.testing.assert_allclose(adata.obsm["X_pca"], scores, rtol=1e-4, atol=1e-4)


def test_a_backed_file_goes_the_way_of_few_entries_too(few_entries, tmp_path):
    adata = ad.AnnData(sp.csr_matrix(graded(1500, 1000)))
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for each in (adata, backed):
        pp.pca(each, n_comps=5, mask_var=None)
    assert backed.obsm["X_pca"].tobytes() == adata.obsm["X_pca"].tobytes()
    backed.file.close()
    assert [answer is not None for answer in few_entries] == [True, True]


def test_many_entries_behind_a_few_go_by_the_gram_matrix(few_entries, monkeypatch):
    x = graded(1300, 1000)
    x[:200] = 0
    monkeypatch.setattr(_components, "FEW", 0.45 * np.count_nonzero(x) / 1000**2)
    adata = ad.AnnData(sp.csr_matrix(x))
    pp.pca(adata, n_comps=5, mask_var=None)
    np.testing.assert_allclose(adata.uns["pca"]["variance"], naive(x, 5)[2], rtol=1e-10)
    adata.X = adata.X[::-1]
    pp.pca(adata, n_comps=5, mask_var=None)
    np.testing.assert_allclose(adata.uns["pca"]["variance"], naive(x, 5)[2], rtol=1e-10)
    assert few_entries == [None, None]


def test_few_entries_are_refused_as_many_are(monkeypatch):
    monkeypatch.setattr(_components, "FEW", 1e3)
    with pytest.raises(ValueError, match="All cells are the same in the 1000 chosen genes"):
        pp.pca(ad.AnnData(np.full((1000, 1000), 0.7, np.float32)), n_comps=2, mask_var=None)
    monkeypatch.setattr(_components, "FEW", 0.0)
    with pytest.raises(ValueError, match="All cells are the same in the 1000 chosen genes"):
        pp.pca(ad.AnnData(np.full((1000, 1000), 0.7, np.float32)), n_comps=2, mask_var=None)


def test_few_entries_that_are_counts_are_spoken_of_where_the_call_is(monkeypatch):
    monkeypatch.setattr(_components, "FEW", 1e3)
    counts = np.rint(np.expm1(graded(1100, 1000)))
    with pytest.warns(UserWarning, match="it looks like counts") as said:
        pp.pca(ad.AnnData(counts), n_comps=2, mask_var=None)
    assert said[0].filename == __file__


def test_without_a_gram_matrix_the_bits_do_not_depend_on_threads_either(monkeypatch):
    monkeypatch.setattr(_components, "LARGEST_GRAM", 100)
    found = []
    for n in (1, 2):
        adata = ad.AnnData(sp.csr_matrix(graded(2500, 150)))
        with threads(n):
            pp.pca(adata, n_comps=5, mask_var=None)
        found.append(adata.obsm["X_pca"].tobytes() + adata.varm["PCs"].tobytes())
    assert found[0] == found[1]


def test_without_a_gram_matrix_it_says_what_is_wrong(monkeypatch, counts):
    monkeypatch.setattr(_components, "LARGEST_GRAM", 10)
    with pytest.raises(ValueError, match="All cells are the same in the 30 chosen genes"):
        pp.pca(ad.AnnData(np.full((20, 30), 0.7, np.float32)), n_comps=2, mask_var=None)
    with pytest.warns(UserWarning, match="it looks like counts") as said:
        pp.pca(ad.AnnData(counts), n_comps=2, mask_var=None)
    assert said[0].filename == __file__
    monkeypatch.setattr(_krylov, "MOST_PRODUCTS", 2)
    noise = np.random.default_rng(0).normal(size=(400, 300)) + 0.5
    with pytest.warns(UserWarning, match="have not converged") as said:
        pp.pca(ad.AnnData(noise), n_comps=5, mask_var=None)
    assert said[0].filename == __file__

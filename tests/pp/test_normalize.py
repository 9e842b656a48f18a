"""normalize: log1p(count / size factor), from any container, always from the counts."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil import pp
from cellsigil._core._jit import threads


def naive(counts: np.ndarray, target_sum: float | None) -> tuple[np.ndarray, np.ndarray]:
    totals = [float(sum(row)) for row in counts.tolist()]
    target = target_sum or float(np.median([t for t in totals if t > 0]))
    factor = np.array([t / target for t in totals])
    x = np.zeros(counts.shape)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if count:
                x[i, j] = np.log1p(float(count) / factor[i])
    return x.astype(np.float32), factor


def dense(matrix) -> np.ndarray:
    matrix = matrix.compute() if hasattr(matrix, "compute") else matrix
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)


@pytest.mark.parametrize("target_sum", [1.0, 1e4, None])
def test_means_what_naive_says(counts, container, dtype, target_sum):
    adata = ad.AnnData(container(counts.astype(dtype)))
    pp.normalize(adata, target_sum=target_sum)
    x, factor = naive(counts.toarray(), target_sum)
    np.testing.assert_array_equal(dense(adata.X), x)
    np.testing.assert_allclose(adata.obs["size_factor"], factor, rtol=1e-14)
    np.testing.assert_array_equal(dense(adata.layers["counts"]), counts.toarray())
    assert adata.X.dtype == np.float32
    assert adata.uns["log1p"] == {"base": None}


def test_dask_stays_lazy(counts):
    da = pytest.importorskip("dask.array")
    lazy = da.from_array(counts, chunks=(20, counts.shape[1]), asarray=False)
    adata = ad.AnnData(lazy)
    pp.normalize(adata)
    assert isinstance(adata.X, da.Array)
    assert isinstance(adata.layers["counts"], da.Array)
    eager = ad.AnnData(counts)
    pp.normalize(eager)
    np.testing.assert_array_equal(dense(adata.X), dense(eager.X))
    np.testing.assert_array_equal(adata.obs["size_factor"], eager.obs["size_factor"])


def test_x_owns_its_arrays(counts):
    adata = ad.AnnData(counts.copy())
    pp.normalize(adata)
    for a in (adata.X.data, adata.X.indices, adata.X.indptr):
        for b in (
            adata.layers["counts"].data,
            adata.layers["counts"].indices,
            adata.layers["counts"].indptr,
        ):
            assert not np.shares_memory(a, b)


def test_twice_is_once(counts):
    adata = ad.AnnData(counts)
    pp.normalize(adata)
    once, factor = adata.X.copy(), adata.obs["size_factor"].copy()
    pp.normalize(adata)
    np.testing.assert_array_equal(adata.X.toarray(), once.toarray())
    np.testing.assert_array_equal(adata.obs["size_factor"], factor)


def test_an_empty_cell_stays_zero(counts):
    adata = ad.AnnData(counts)
    pp.normalize(adata)
    empty = counts.shape[0] // 2
    assert adata.obs["size_factor"].iloc[empty] == 0
    assert adata.X[empty].nnz == 0
    assert np.isfinite(adata.X.data).all()


def test_no_counts_at_all():
    adata = ad.AnnData(sp.csr_matrix((4, 3), dtype=np.float32))
    pp.normalize(adata, target_sum=None)
    assert adata.X.nnz == 0


def test_leaves_the_input_alone():
    odd = sp.csr_matrix(  # unsorted, duplicated, an explicit zero
        (np.array([1, 2, 0, 3, 4], np.float32), np.array([2, 0, 1, 1, 1]), np.array([0, 3, 5])),
        shape=(2, 3),
    )
    before = odd.data.copy(), odd.indices.copy(), odd.indptr.copy()
    adata = ad.AnnData(odd)
    pp.normalize(adata)
    for array, was in zip((odd.data, odd.indices, odd.indptr), before):
        np.testing.assert_array_equal(array, was)
    np.testing.assert_allclose(
        dense(adata.X), np.log1p([[2e4 / 3, 0, 1e4 / 3], [0, 1e4, 0]]), rtol=1e-6
    )


def test_a_view_becomes_its_own_and_the_parent_stays(counts):
    parent = ad.AnnData(counts.copy())
    view = parent[5:40]
    pp.normalize(view)
    assert not view.is_view
    np.testing.assert_array_equal(parent.X.toarray(), counts.toarray())
    assert "size_factor" not in parent.obs
    np.testing.assert_array_equal(view.X.toarray(), naive(counts[5:40].toarray(), 1e4)[0])


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, 0.5])
def test_refuses_what_is_no_count(counts, bad):
    matrix = counts.copy()
    matrix.data[7] = bad
    adata = ad.AnnData(matrix)
    with pytest.raises(ValueError, match=r"X holds .* at cell '\d+', gene '\d+'"):
        pp.normalize(adata)
    assert "counts" not in adata.layers


def test_refuses_data_already_normalised(counts):
    adata = ad.AnnData(counts)
    pp.normalize(adata)
    del adata.layers["counts"]
    with pytest.raises(ValueError, match="raw counts are missing"):
        pp.normalize(adata)


@pytest.mark.parametrize("target_sum", [0, -1.0, np.inf, "1e4"])
def test_refuses_a_target_that_is_none(counts, target_sum):
    with pytest.raises(ValueError, match="target_sum=.* a positive number is needed"):
        pp.normalize(ad.AnnData(counts), target_sum=target_sum)


def test_refuses_a_layer_that_is_not_there(counts):
    adata = ad.AnnData(counts, layers={"counts": counts})
    with pytest.raises(KeyError, match="Did you mean 'counts'"):
        pp.normalize(adata, layer="count")


def test_refuses_a_backed_file(counts, tmp_path):
    ad.AnnData(counts).write_h5ad(tmp_path / "a.h5ad")
    adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match="to_memory"):
        pp.normalize(adata)
    adata.file.close()


def test_same_bits_on_any_number_of_threads(pbmc3k):
    one, two = pbmc3k.copy(), pbmc3k
    with threads(1):
        pp.normalize(one)
    with threads(2):
        pp.normalize(two)
    assert one.X.data.tobytes() == two.X.data.tobytes()


def test_agrees_with_scanpy(pbmc3k):
    sc = pytest.importorskip("scanpy")
    theirs = pbmc3k.copy()
    theirs.X = theirs.X.astype(np.float32)
    sc.pp.normalize_total(theirs, target_sum=1e4)
    sc.pp.log1p(theirs)
    pp.normalize(pbmc3k)
    np.testing.assert_array_equal(pbmc3k.X.indices, theirs.X.indices)
    np.testing.assert_allclose(pbmc3k.X.data, theirs.X.data, rtol=3e-7)


def test_keeps_integers_that_float32_cannot():
    adata = ad.AnnData(sp.csr_matrix(np.array([[2**24 + 1, 3], [1, 0]], np.int64)))
    pp.normalize(adata)
    assert adata.layers["counts"][0, 0] == 2**24 + 1


@pytest.mark.parametrize("scale", [1, 50, 10**9])
def test_the_bits_of_one_formula_for_small_counts_and_large_ones(scale):
    rng = np.random.default_rng(scale)
    dense = np.rint(rng.gamma(0.3, 5.0, (70, 300)) * scale)
    dense[3] = 0
    adata = ad.AnnData(sp.csr_matrix(dense))
    pp.normalize(adata)
    factor = dense.sum(axis=1) / 1e4
    want = np.log1p(dense[factor > 0] / factor[factor > 0, None]).astype(np.float32)
    np.testing.assert_array_equal(adata.X.toarray()[factor > 0], want)
    assert adata.X[3].nnz == 0


def test_the_bits_of_a_cell_do_not_hang_on_the_others(pbmc3k):
    pbmc3k = pbmc3k[:300].copy()
    alone = [pbmc3k[i].copy() for i in (0, 17, 299)]
    pp.normalize(pbmc3k)
    for i, cell in zip((0, 17, 299), alone):
        pp.normalize(cell)
        assert cell.X.data.tobytes() == pbmc3k.X[i].data.tobytes()


def test_the_bits_of_a_cell_do_not_hang_on_how_deep_the_one_before_it_is():
    rng = np.random.default_rng(2)
    depth = np.array(
        [1, 900, 900, 1, 900, 1, 1, 900]
    )  # where most counts are large, none is looked up
    counts = rng.poisson(rng.gamma(0.5, 2.0, (8, 203)) * depth[:, None]).astype(np.float32)
    counts[2] = 0
    adata = ad.AnnData(sp.csr_matrix(counts))
    with threads(1):
        pp.normalize(adata, target_sum=1e4)
        for i in range(len(counts)):
            alone = ad.AnnData(sp.csr_matrix(counts[[i]]))
            pp.normalize(alone, target_sum=1e4)
            np.testing.assert_array_equal(dense(adata.X)[i], dense(alone.X)[0])

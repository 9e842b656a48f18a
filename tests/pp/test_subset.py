"""subset: what anndata's own subsetting gives, of every container."""

from __future__ import annotations

import contextlib
import tracemalloc

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil._core._jit import threads
from cellsigil.pp._subset import in_place, subset

MAKE = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
    "csc_array": sp.csc_array,
    "dense": np.asarray,
    "wide": lambda x: _wide(sp.csr_matrix(x)),
}


def _wide(matrix):
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def same(a, b):
    assert type(a) is type(b)
    assert a.dtype == b.dtype
    if sp.issparse(a):
        a.check_format(full_check=True)
        a, b = a.toarray(), b.toarray()
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int16])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("own", [False, True])
def test_is_what_anndata_gives(make, dtype, axis, own):
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.5, (30, 50)).astype(dtype)
    adata = ad.AnnData(
        MAKE[make](dense), layers={"b": MAKE[make](dense * 2), "a": MAKE[make](dense * 3)}
    )
    adata.obsm["z"] = rng.normal(size=(30, 2))
    adata.varm["w"] = rng.normal(size=(50, 2))
    adata.raw = adata.copy()
    kept = rng.random(dense.shape[axis]) < 0.6
    want = (adata[kept] if axis == 0 else adata[:, kept]).copy()
    old = adata.X.copy()
    before = adata.X
    with threads(2), in_place() if own else contextlib.nullcontext():
        subset(adata, axis, kept)
    same(adata.X, want.X)
    if not own:
        same(before, old)
    names = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X as None
    assert names == ["b", "a"]
    for name in names:
        same(adata.layers[name], want.layers[name])
    np.testing.assert_array_equal(adata.obsm["z"], want.obsm["z"])
    np.testing.assert_array_equal(adata.varm["w"], want.varm["w"])
    same(adata.raw.X, want.raw.X)


@pytest.mark.parametrize("axis", [0, 1])
def test_in_place_makes_no_second_matrix(axis):
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.5, (400, 500)).astype(np.float32)
    kept = rng.random(dense.shape[axis]) < 0.9
    rise = {}
    for own in (False, True):
        adata = ad.AnnData(sp.csr_matrix(dense))
        size = adata.X.data.nbytes + adata.X.indices.nbytes
        with in_place() if own else contextlib.nullcontext():
            subset(adata.copy(), axis, kept)  # compiled before it is measured
            tracemalloc.start()
            subset(adata, axis, kept)
            rise[own] = tracemalloc.get_traced_memory()[1] / size
            tracemalloc.stop()
    assert rise[True] < 0.2 < 0.7 < rise[False]


def test_in_place_lets_go_of_what_most_of_is_gone():
    matrix = sp.random(400, 300, 0.3, "csr", dtype=np.float32, random_state=0)
    want = matrix[:100].toarray()
    adata = ad.AnnData(matrix)
    held = adata.X.data
    with in_place():
        subset(adata, 0, np.arange(400) < 100)
    assert not np.shares_memory(adata.X.data, held)
    np.testing.assert_array_equal(adata.X.toarray(), want)


def test_in_place_copies_what_may_not_be_written():
    whole = sp.random(40, 30, 0.3, "csr", dtype=np.float32, random_state=0)
    adata, want = ad.AnnData(whole), whole.toarray()
    adata.X.data.flags.writeable = False
    with in_place():
        subset(adata, 1, np.arange(30) % 2 == 0)
    np.testing.assert_array_equal(adata.X.toarray(), want[:, ::2])
    np.testing.assert_array_equal(whole.toarray(), want)


def test_without_x_and_of_a_view_and_lazily():
    da = pytest.importorskip("dask.array")
    dense = np.arange(12.0).reshape(4, 3)
    kept = np.array([True, False, True])
    no_x = ad.AnnData(layers={"counts": sp.csr_matrix(dense)}, shape=(4, 3))
    view = ad.AnnData(sp.csr_matrix(dense))[:3]
    lazy = ad.AnnData(da.from_array(dense), layers={"counts": sp.csr_matrix(dense)})
    for adata in (no_x, view, lazy):
        subset(adata, 1, kept)
        assert not adata.is_view
        assert adata.n_vars == 2
    assert no_x.X is None
    np.testing.assert_array_equal(no_x.layers["counts"].toarray(), dense[:, kept])
    np.testing.assert_array_equal(view.X.toarray(), dense[:3, kept])
    np.testing.assert_array_equal(lazy.X.compute(), dense[:, kept])
    np.testing.assert_array_equal(lazy.layers["counts"].toarray(), dense[:, kept])


def test_a_broken_matrix_is_refused_and_nothing_is_done():
    adata = ad.AnnData(sp.csr_matrix(np.eye(4)))
    adata.layers["bad"] = sp.csr_matrix(np.eye(4))
    adata.layers["bad"].indices[2] = 9
    with pytest.raises(ValueError, match=r"layers\['bad'\] is a broken sparse matrix"):
        subset(adata, 1, np.array([True, False, True, True]))
    assert adata.shape == (4, 4)
    assert adata.X.shape == (4, 4)

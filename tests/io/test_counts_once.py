"""``x=False``: the counts are held once, and everything else is as it would be."""

from __future__ import annotations

import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import io, pp

DTYPES = (np.float32, np.float64, np.int32, np.int64, np.uint16)


def same_but_x(once: ad.AnnData, both: ad.AnnData) -> None:
    assert once.X is None
    counts, wanted = once.layers["counts"], both.layers["counts"]
    assert counts.format == "csr"
    assert counts.dtype == np.float32
    assert counts.indices.dtype == np.int32
    np.testing.assert_array_equal(counts.toarray(), wanted.toarray())
    pd.testing.assert_frame_equal(once.obs, both.obs)
    pd.testing.assert_frame_equal(once.var, both.var)
    assert once.uns.keys() == both.uns.keys()
    for place in ("obsm", "varm", "obsp", "layers"):
        assert [k for k in getattr(once, place) if k] == [k for k in getattr(both, place) if k]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", ["X", "layer", "both"])
def test_counts_of_an_h5ad(adata, tmp_path, small, dtype, where):
    counts = sp.csr_matrix(small).astype(dtype)
    adata.X = counts if where == "X" else sp.csr_matrix(np.log1p(small).astype(np.float32))
    if where != "X":
        adata.layers["counts"] = counts
    if where == "layer":
        adata.X = None
    adata.raw = ad.AnnData(sp.csr_matrix(small), obs=adata.obs, var=adata.var)
    adata.obs["kind"] = pd.Categorical(["a", None] * 10)
    adata.obsm["table"] = pd.DataFrame({"p": np.arange(20.0)}, index=adata.obs_names)
    adata.uns["nested"] = {"a": [1, 2], "b": {"c": "text"}}
    adata.write_h5ad(tmp_path / "a.h5ad")
    once, both = (io.read(tmp_path / "a.h5ad", x=x) for x in (False, True))
    same_but_x(once, both)
    np.testing.assert_array_equal(once.raw.X.toarray(), small)
    assert once.raw.var_names.tolist() == both.raw.var_names.tolist()
    for adata in (once, both):
        pp.normalize(adata)
    np.testing.assert_array_equal(once.X.toarray(), both.X.toarray())


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_every_way_to_store_x(make, tmp_path, small):
    ad.AnnData(make(small.astype(np.float64))).write_h5ad(tmp_path / "a.h5ad")
    same_but_x(*(io.read(tmp_path / "a.h5ad", x=x) for x in (False, True)))


def test_without_counts_x_stays_as_it_is(tmp_path, small):
    values = sp.csr_matrix(np.log1p(small).astype(np.float64))
    ad.AnnData(values.copy()).write_h5ad(tmp_path / "a.h5ad")
    back = io.read(tmp_path / "a.h5ad", x=False)
    assert "counts" not in back.layers
    assert back.X.dtype == np.float64
    np.testing.assert_array_equal(back.X.toarray(), values.toarray())


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, 0.5])
def test_a_value_that_is_no_count_is_told_as_ever(tmp_path, wrong):
    counts = sp.random(100, 50, 0.3, format="csr", random_state=0)
    counts.data = np.ceil(counts.data * 5)
    counts.data[7] = wrong
    ad.AnnData(counts).write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match="may be damaged") as caught:
        back = io.read(tmp_path / "a.h5ad", x=False)
    with pytest.warns(UserWarning, match="may be damaged") as as_ever:
        io.read(tmp_path / "a.h5ad")
    assert [str(w.message) for w in caught] == [str(w.message) for w in as_ever]
    assert back.X is not None
    assert "counts" not in back.layers


def test_counts_beyond_float32_stay_exact(tmp_path):
    counts = sp.csr_matrix(np.array([[2**24 + 1, 0], [1, 3]], dtype=np.int64))
    ad.AnnData(counts).write_h5ad(tmp_path / "a.h5ad")
    back = io.read(tmp_path / "a.h5ad", x=False)
    assert back.X is None
    assert back.layers["counts"].dtype == np.float64
    assert back.layers["counts"][0, 0] == 2**24 + 1


def test_other_kinds_of_files(tenx_folder, adata, tmp_path, text, small):
    tenx_folder("a")
    adata.copy().write_zarr(tmp_path / "b.zarr")
    adata.copy().write_h5ad(tmp_path / "c.h5ad")
    sheet = text(tmp_path / "sheet.csv", "path,sample\nb.zarr,one\nc.h5ad,two\n")
    for path in (tmp_path / "a", tmp_path / "b.zarr", sheet):
        once, both = (io.read(path, x=x) for x in (False, True))
        same_but_x(once, both)
        both.layers["counts"].data[:] = -1
        assert both.X.data.min() > 0


def test_memory_is_that_of_the_counts_alone(tmp_path):
    """float64 and int64 in the file, 16 bytes an entry; what is held is 8, and little more on the way."""
    rng = np.random.default_rng(0)
    n_cells, n_genes, each = 40_000, 2_000, 200
    indices = np.sort(rng.integers(0, 10, (n_cells, each)) + 10 * np.arange(each), axis=1)
    size = n_cells * each
    counts = sp.csr_matrix(
        (np.ones(size), indices.ravel(), np.arange(0, size + 1, each)), shape=(n_cells, n_genes)
    )
    counts.indices, counts.indptr = counts.indices.astype(np.int64), counts.indptr.astype(np.int64)
    ad.AnnData(counts).write_h5ad(tmp_path / "a.h5ad")
    del counts
    tracemalloc.start()
    try:
        back = io.read(tmp_path / "a.h5ad", x=False)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert back.layers["counts"].nnz == size
    assert now < 1.15 * 8 * size
    assert peak < 1.6 * 8 * size

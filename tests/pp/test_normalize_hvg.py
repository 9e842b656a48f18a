"""normalize_hvg: normalize and hvg in one pass, with the same bits."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import pp
from cellsigil._core._jit import threads
from cellsigil.pp import _normalize_hvg


def in_two_calls(adata: ad.AnnData, *, target_sum=1e4, layer=None, **choice) -> ad.AnnData:
    pp.normalize(adata, target_sum=target_sum, layer=layer)
    pp.hvg(adata, **choice)
    return adata


def assert_same_bits(ours: ad.AnnData, theirs: ad.AnnData) -> None:
    for name in ("data", "indices", "indptr"):
        assert getattr(ours.X, name).tobytes() == getattr(theirs.X, name).tobytes(), name
    pd.testing.assert_frame_equal(ours.var, theirs.var, check_exact=True)
    pd.testing.assert_frame_equal(ours.obs, theirs.obs, check_exact=True)
    assert ours.uns == theirs.uns
    assert (ours.layers["counts"] != theirs.layers["counts"]).nnz == 0


@pytest.fixture(scope="module")
def raw() -> sp.csr_matrix:
    """Counts of 1,500 cells x 300 genes up to some thousands, with an empty cell and empty genes."""
    rng = np.random.default_rng(3)
    mean = 10 ** rng.uniform(-2, 1.5, 300)
    dense = rng.poisson(mean * rng.gamma(0.5, 2, (1500, 300)))
    dense[:, [5, 250]] = 0
    dense[40] = 0
    dense[7, 9] = 5000
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
@pytest.mark.parametrize("target_sum", [1.0, 1e4, None])
def test_has_the_bits_of_two_calls(raw, flavor, target_sum, monkeypatch):
    ours, theirs = ad.AnnData(raw.copy()), ad.AnnData(raw.copy())
    in_two_calls(theirs, target_sum=target_sum, flavor=flavor, n_top_genes=50)
    monkeypatch.setattr(_normalize_hvg, "normalize", None)  # one pass: neither is called
    pp.normalize_hvg(ours, target_sum=target_sum, flavor=flavor, n_top_genes=50)
    assert_same_bits(ours, theirs)


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_has_the_bits_of_two_calls_with_batches(raw, flavor):
    batch = np.random.default_rng(0).choice(["a", "b", "c", None], raw.shape[0])
    made = [ad.AnnData(raw.copy(), obs={"batch": pd.Categorical(batch)}) for _ in range(2)]
    choice = {"flavor": flavor, "n_top_genes": 50, "batch_key": "batch"}
    with pytest.warns(UserWarning, match="cells have no obs"):
        pp.normalize_hvg(made[0], **choice)
    with pytest.warns(UserWarning, match="cells have no obs"):
        in_two_calls(made[1], **choice)
    assert_same_bits(*made)


def test_any_container_gives_the_same_bits(raw, container, dtype):
    small = raw[:200]
    ours = ad.AnnData(container(small.astype(dtype)))
    pp.normalize_hvg(ours, n_top_genes=50)
    theirs = in_two_calls(ad.AnnData(container(small.astype(dtype))), n_top_genes=50)
    pd.testing.assert_frame_equal(ours.var, theirs.var, check_exact=True)
    x, y = (a.X.compute() if hasattr(a.X, "compute") else a.X for a in (ours, theirs))
    assert (x != y).nnz == 0


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_has_the_bits_of_two_calls_on_pbmc(pbmc3k, flavor):
    ours, theirs = pbmc3k, pbmc3k.copy()
    pp.normalize_hvg(ours, flavor=flavor)
    assert_same_bits(ours, in_two_calls(theirs, flavor=flavor))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_same_bits_in_any_order_of_the_cells_and_on_any_number_of_threads(raw, n_threads):
    expected = ad.AnnData(raw.copy())
    pp.normalize_hvg(expected, n_top_genes=50)
    order = np.random.default_rng(0).permutation(raw.shape[0])
    moved = ad.AnnData(raw[order])
    with threads(n_threads):
        pp.normalize_hvg(moved, n_top_genes=50)
    pd.testing.assert_frame_equal(moved.var, expected.var, check_exact=True)
    assert (expected.X[order] != moved.X).nnz == 0


def test_values_that_one_pass_cannot_add_take_two_calls(raw):
    far_apart = raw.astype(np.float64)
    far_apart[0, 0] = 1e9
    ours, theirs = ad.AnnData(far_apart.copy()), ad.AnnData(far_apart.copy())
    pp.normalize_hvg(ours, n_top_genes=50)
    assert_same_bits(ours, in_two_calls(theirs, n_top_genes=50))


def test_a_layer_and_its_own_column(raw):
    made = [ad.AnnData(sp.csr_matrix(raw.shape), layers={"umi": raw.copy()}) for _ in range(2)]
    pp.normalize_hvg(made[0], layer="umi", key_added="size", n_top_genes=50)
    pp.normalize(made[1], layer="umi", key_added="size")
    pp.hvg(made[1], n_top_genes=50)
    assert "counts" not in made[0].layers
    assert (made[0].X != made[1].X).nnz == 0
    pd.testing.assert_frame_equal(made[0].var, made[1].var, check_exact=True)
    pd.testing.assert_frame_equal(made[0].obs, made[1].obs, check_exact=True)


def test_a_view_becomes_its_own_and_the_parent_stays(raw):
    parent = ad.AnnData(raw.copy())
    view = parent[5:200]
    pp.normalize_hvg(view, n_top_genes=50)
    assert not view.is_view
    assert (raw != parent.X).nnz == 0
    assert "highly_variable" not in parent.var


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"flavor": "seurat_v3"}, "call pp.normalize and pp.hvg"),
        ({"flavor": "seurrat"}, "Did you mean 'seurat'"),
        ({"n_top_genes": 0}, "a whole number from 1 up"),
        ({"target_sum": -1}, "a positive number is needed"),
    ],
)
def test_refuses_what_makes_no_sense_and_changes_nothing(raw, wrong, says):
    adata = ad.AnnData(raw.copy())
    with pytest.raises(ValueError, match=says):
        pp.normalize_hvg(adata, **wrong)
    with pytest.raises(KeyError, match="No obs\\['donor'\\]"):
        pp.normalize_hvg(adata, batch_key="donor")
    assert (raw != adata.X).nnz == 0
    assert "counts" not in adata.layers
    assert adata.obs.columns.empty

"""pp.neighbors: exact, scanpy's layout, and no trap springs."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import pp
from cellsigil._core import _knn
from cellsigil._core._graph import fuzzy_union
from cellsigil._core._jit import threads


def cells(points, key="X_pca"):
    adata = ad.AnnData(np.zeros((len(points), 1), np.float32))
    adata.obs_names = [f"cell{i}" for i in range(len(points))]
    adata.obsm[key] = points
    return adata


def random_points(n=200, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def naive_nearest(points, k):
    """All distances; sort by distance, ties by the index counted from the cell onwards."""
    points = np.asarray(points, np.float64)
    n = len(points)
    ids, distances = [], []
    for i in range(n):
        d = [float(np.sqrt(sum((a - b) ** 2 for a, b in zip(points[i], p)))) for p in points]
        near = sorted((j for j in range(n) if j != i), key=lambda j: (d[j], (j - i) % n))[:k]
        ids.append(near)
        distances.append([d[j] for j in near])
    return np.array(ids).reshape(n, k), np.array(distances).reshape(n, k)


def stored(adata, k):
    graph = adata.obsp["distances"]
    return graph.indices.reshape(-1, k), graph.data.reshape(-1, k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [0, 1000])
def test_means_what_naive_says(dtype, shift):
    points = (random_points() + shift).astype(dtype)
    adata = cells(points)
    pp.neighbors(adata, n_neighbors=11)
    ids, distances = stored(adata, 10)
    want_ids, want = naive_nearest(points, 10)
    np.testing.assert_array_equal(ids, want_ids)
    np.testing.assert_allclose(distances, want, rtol=1e-12)


def test_ties_go_by_index_from_the_cell_on():
    grid = np.array([[x, y] for x in range(9) for y in range(9)], float)
    for points in (grid, grid + 0.1, np.repeat(grid[:20], 4, axis=0)):
        ids, distances = _knn.nearest(points, 6)
        if points is grid:
            np.testing.assert_array_equal(ids, naive_nearest(points, 6)[0])
        np.testing.assert_allclose(distances, naive_nearest(points, 6)[1], atol=1e-12)


def test_an_outlier_or_a_huge_scale_costs_no_neighbour():
    points = random_points(120, 5)
    points[7] *= 1e7  # float32 products of the others are worthless now
    ids, _ = _knn.nearest(points, 9)
    np.testing.assert_array_equal(ids, naive_nearest(points, 9)[0])
    for scale in (1e-200, 1e200):
        ids_scaled, distances = _knn.nearest(random_points(50) * scale, 9)
        np.testing.assert_array_equal(ids_scaled, naive_nearest(random_points(50), 9)[0])
        assert np.isfinite(distances).all()
        assert (distances > 0).all()


def test_several_blocks_give_the_same(monkeypatch):
    points = random_points(300)
    whole = _knn.nearest(points, 14)
    monkeypatch.setattr(_knn, "BLOCK_VALUES", 300 * 7)
    for one, other in zip(whole, _knn.nearest(points, 14)):
        np.testing.assert_array_equal(one, other)


def test_cosine_agrees_with_scikit_learn_and_survives_zeros():
    from sklearn.neighbors import NearestNeighbors

    points = random_points(150) + 1
    adata = cells(points)
    pp.neighbors(adata, n_neighbors=8, metric="cosine")
    fit = NearestNeighbors(n_neighbors=8, metric="cosine", algorithm="brute").fit(points)
    want, want_ids = fit.kneighbors(points)
    ids, distances = stored(adata, 7)
    np.testing.assert_array_equal(ids, want_ids[:, 1:])
    np.testing.assert_allclose(distances, want[:, 1:], atol=1e-12)
    points[[3, 5]] = 0
    adata = cells(points)
    pp.neighbors(adata, n_neighbors=8, metric="cosine")
    ids, distances = stored(adata, 7)
    assert ids[3, 0] == 5
    np.testing.assert_allclose(distances[3], [0] + [1] * 6, atol=1e-12)


def test_connectivities_agree_with_umap_learn():
    from umap.umap_ import fuzzy_simplicial_set

    points = np.vstack([random_points(150), np.zeros((20, 8)), random_points(30, seed=1) + 50])
    points[40:44] = points[40]  # a few identical cells, a clump, an island
    ids, distances = _knn.nearest(points, 14)
    n = len(points)
    with_self = np.hstack([np.arange(n)[:, None], ids])
    want, _, _ = fuzzy_simplicial_set(
        sp.coo_matrix((n, 1)), 15, None, None, knn_indices=with_self,
        knn_dists=np.hstack([np.zeros((n, 1)), distances]).astype(np.float32),
    )  # fmt: skip
    got = fuzzy_union(ids, distances)
    assert got.dtype == np.float32
    assert got.has_sorted_indices
    np.testing.assert_allclose(got.toarray(), want.toarray(), rtol=2e-4, atol=1e-6)
    np.testing.assert_array_equal(got.toarray(), got.T.toarray())


def test_layout_is_scanpys():
    sc = pytest.importorskip("scanpy")
    ours, theirs = cells(random_points().astype(np.float32)), cells(random_points().astype("f4"))
    pp.neighbors(ours)
    sc.pp.neighbors(theirs, n_neighbors=15, use_rep="X_pca")
    for key in ("connectivities_key", "distances_key"):
        assert ours.uns["neighbors"][key] == theirs.uns["neighbors"][key]
    assert theirs.uns["neighbors"]["params"] == ours.uns["neighbors"]["params"]
    for key in ("distances", "connectivities"):
        assert ours.obsp[key].nnz == theirs.obsp[key].nnz
        np.testing.assert_allclose(
            ours.obsp[key].toarray(), theirs.obsp[key].toarray(), rtol=2e-3, atol=1e-5
        )


def test_representations(tmp_path):
    points = random_points(60)
    plain = cells(points)
    pp.neighbors(plain, n_pcs=4)
    assert plain.uns["neighbors"]["params"]["n_pcs"] == 4
    narrow = cells(points[:, :4], "X_other")
    narrow.obsm["sparse"] = sp.csr_matrix(points[:, :4])
    narrow.obsm["frame"] = pd.DataFrame(points[:, :4], index=narrow.obs_names, columns=list("abcd"))
    narrow = narrow.copy()
    for use_rep in ("X_other", "sparse", "frame"):
        pp.neighbors(narrow, use_rep=use_rep)
        np.testing.assert_array_equal(narrow.obsp["distances"].data, plain.obsp["distances"].data)
    in_x = ad.AnnData(sp.csr_matrix(points[:, :4]))
    pp.neighbors(in_x, use_rep="X")
    np.testing.assert_array_equal(in_x.obsp["distances"].data, plain.obsp["distances"].data)
    plain.write_h5ad(tmp_path / "a.h5ad")
    assert ad.read_h5ad(tmp_path / "a.h5ad").uns["neighbors"]["params"]["use_rep"] == "X_pca"


@pytest.mark.parametrize("n", [1, 2, 3, 15])
def test_few_cells_are_all_linked_and_it_is_said(n):
    adata = cells(random_points(n))
    with warnings.catch_warnings(record=True, action="always") as said:
        pp.neighbors(adata)
    assert ("every cell is linked" in "".join(str(w.message) for w in said)) == (n < 15)
    assert adata.obsp["distances"].shape == adata.obsp["connectivities"].shape == (n, n)
    assert adata.obsp["distances"].nnz == n * (n - 1)
    assert adata.uns["neighbors"]["params"]["n_neighbors"] == n
    assert np.isfinite(adata.obsp["connectivities"].data).all()


def test_identical_cells_make_no_hub():
    adata = cells(np.ones((600, 5), np.float32))
    pp.neighbors(adata)
    graph = adata.obsp["connectivities"]
    assert adata.obsp["distances"].nnz == 600 * 14
    assert np.isfinite(graph.data).all()
    assert np.diff(graph.indptr).max() == 28
    assert sp.csgraph.connected_components(graph)[0] == 1


def test_islands_stay_apart():
    adata = cells(np.vstack([random_points(40), random_points(40, seed=1) + 1e4]))
    pp.neighbors(adata)
    assert sp.csgraph.connected_components(adata.obsp["connectivities"])[0] == 2


def test_same_bits_on_any_number_of_threads_and_the_input_left_alone():
    points = random_points(500).astype(np.float32)
    points.flags.writeable = False
    one, two = cells(points), cells(points)
    before = points.copy()
    with threads(1):
        pp.neighbors(one)
    with threads(2):
        pp.neighbors(two, rng=np.random.default_rng(3))
    for key in ("distances", "connectivities"):
        for part in ("data", "indices", "indptr"):
            assert getattr(one.obsp[key], part).tobytes() == getattr(two.obsp[key], part).tobytes()
    np.testing.assert_array_equal(one.obsm["X_pca"], before)
    assert two.uns["neighbors"]["params"]["random_state"] == int(
        np.random.default_rng(3).integers(2**31 - 1)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_names_the_cell_that_is_not_finite(bad):
    points = random_points(30)
    points[17, 2] = bad
    with pytest.raises(ValueError, match="'cell17', column 2"):
        pp.neighbors(cells(points))


@pytest.mark.parametrize(
    ("error", "sentence", "arguments"),
    [
        (ValueError, "n_neighbors=1: a whole number of 2", {"n_neighbors": 1}),
        (ValueError, "n_neighbors=2.5", {"n_neighbors": 2.5}),
        (ValueError, "'manhatan' is not known", {"metric": "manhatan"}),
        (ValueError, "Ask for 1 to 8", {"n_pcs": 9}),
        (ValueError, "n_pcs=0", {"n_pcs": 0}),
        (ValueError, "pass a whole number", {"rng": -1}),
        (KeyError, "Did you mean 'X_pca'", {"use_rep": "X_pcs"}),
    ],
)
def test_errors_say_the_way_out(error, sentence, arguments):
    with pytest.raises(error, match=sentence):
        pp.neighbors(cells(random_points(30)), **arguments)


def test_without_pca_it_says_so():
    adata = ad.AnnData(np.ones((5, 2), np.float32))
    with pytest.raises(KeyError, match=r"Run cellsigil.pp.pca\(adata\) first"):
        pp.neighbors(adata)
    with pytest.raises(ValueError, match="no cells"):
        pp.neighbors(ad.AnnData(np.ones((0, 2), np.float32)))

"""pp.neighbors: exact, scanpy's layout, and no trap springs."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import pp
from cellsigil._core import _ivf, _keep, _knn, _lists, _refine
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
    monkeypatch.setattr(_knn, "QUERIES", 7)
    monkeypatch.setattr(_keep, "TILE", 70)
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
        (ValueError, "Did you mean 'exact'", {"method": "exat"}),
        (ValueError, "connectivities='gaus' is not known", {"connectivities": "gaus"}),
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


@pytest.mark.parametrize("m", [1, 5, 20, 31, 40, 200])
@pytest.mark.parametrize("n_columns", [1, 70, 300, 1000])
@pytest.mark.parametrize("kind", ["any", "few values", "all alike", "ever larger"])
def test_keeps_the_largest_and_of_ties_the_first(m, n_columns, kind, monkeypatch):
    monkeypatch.setattr(_keep, "TILE", 300)
    draw = np.random.default_rng(m + n_columns)
    packed = draw.normal(size=(n_columns, 1)).astype(np.float32)
    if kind == "few values":
        packed = np.round(packed)
    elif kind == "all alike":
        packed[:] = 1
    elif kind == "ever larger":
        packed = np.arange(n_columns, dtype=np.float32)[:, None]
    at = np.array([0, n_columns // 2, -1, n_columns - 1])  # -1: not among the columns
    kept, asked = _keep.keeping(4, m), np.ones((4, 1), np.float32)
    rows = np.arange(4)
    _keep.look_at(
        kept, m, asked, at, packed, [(rows[[1, 3]], 0, n_columns), (rows[::2], 0, n_columns)]
    )
    for q in range(4):
        others = np.delete(np.arange(n_columns), at[q]) if at[q] >= 0 else np.arange(n_columns)
        by_value = others[np.argsort(-packed[others, 0], kind="stable")][:m]
        assert kept.filled[q] == by_value.size
        got = kept.places[q, : by_value.size]
        np.testing.assert_array_equal(np.sort(got), np.sort(by_value))
        np.testing.assert_array_equal(kept.values[q, : got.size], packed[got, 0])
        left_out = np.setdiff1d(others, by_value)
        assert kept.least[q] <= packed[by_value, 0].min(initial=np.inf)
        assert kept.least[q] >= packed[left_out, 0].max(initial=-np.inf)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twins_are_the_sets_of_equal_rows(dtype):
    points = random_points(50, 3).astype(dtype)
    points[[4, 9, 30]] = points[20]
    points[7], points[41] = 0.0, -0.0  # equal, with other bits
    points[[11, 12]] = np.inf
    found = sorted(members.tolist() for members in _knn.twins(points))
    assert found == [[4, 9, 20, 30], [7, 41], [11, 12]]
    assert _knn.twins(random_points(20)) == _knn.twins(random_points(1)) == []


def overlapping(n=6000, d=20, seed=0):
    """Return cells of unequal, overlapping types in float32, and a few identical ones."""
    draw = np.random.default_rng(seed)
    centres, kinds = draw.normal(size=(12, d)) * 1.5, draw.geometric(0.25, size=n) % 12
    points = (centres[kinds] + draw.normal(size=(n, d)) * np.linspace(2, 0.3, d)).astype(np.float32)
    points[:600] = points[0]  # more twins than neighbours
    points[700:705] = points[700]  # fewer
    return draw.permutation(points)


@pytest.fixture
def many_lists(monkeypatch):
    monkeypatch.setattr(_lists, "PER_LIST", 50)


def recall_of(ids, squares_like, points, k, rows):
    """Return the share of neighbours no farther than the true k-th, over ``rows``."""
    truth = np.sort(
        ((points[rows, None, :].astype(float) - points[None].astype(float)) ** 2).sum(axis=2),
        axis=1,
    )
    return float((squares_like[rows] ** 2 <= truth[:, k : k + 1] * (1 + 1e-12)).mean())


@pytest.mark.usefixtures("many_lists")
@pytest.mark.parametrize("shift", [0, 1000])
def test_approximate_keeps_its_promise(shift):
    points = overlapping() + np.float32(shift)
    adata = cells(points)
    pp.neighbors(adata, method="approximate")
    ids, distances = stored(adata, 14)
    assert (ids != np.arange(6000)[:, None]).all()
    assert (np.diff(np.sort(ids, axis=1), axis=1) > 0).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    rows = np.arange(0, 6000, 7)
    real = np.sqrt(
        ((points[rows, None].astype(float) - points[ids[rows]].astype(float)) ** 2).sum(axis=2)
    )
    np.testing.assert_allclose(distances[rows], real, rtol=1e-12)
    recall = adata.uns["neighbors"]["params"]["recall"]
    assert isinstance(recall, float)
    assert recall >= 0.99
    assert recall_of(ids, distances, points, 14, rows) >= 0.98
    sc = pytest.importorskip("scanpy")
    assert sc.Neighbors(adata).n_neighbors == 15  # scanpy reads it


def test_approximate_probes_more_until_it_is_enough(monkeypatch, many_lists):
    points = np.random.default_rng(2).normal(size=(4000, 30)).astype(np.float32)  # no lists to find
    all_but = _ivf._all_but
    monkeypatch.setattr(_ivf, "_all_but", lambda needed, share: all_but(needed, 90 * share))
    monkeypatch.setattr(_ivf, "ROUNDS", 0)
    asked = []
    search = _ivf._search
    monkeypatch.setattr(_ivf, "_search", lambda *a: (asked.append(a[2]), search(*a))[1])
    _, distances, recall = _ivf.nearest_by_lists(points, 14, 0.99)
    assert recall >= 0.99
    assert len(asked) > 2
    assert asked == sorted(set(asked))
    exact = _knn.nearest(points, 14)
    assert (distances <= exact[1][:, -1:]).mean() == pytest.approx(recall, abs=0.01)
    _, distances, recall = _ivf.nearest_by_lists(points, 14, 1.0)
    assert recall == 1.0
    assert (distances <= exact[1][:, -1:]).mean() > 0.9995
    monkeypatch.setattr("cellsigil.pp._neighbors.nearest_by_lists", lambda *_: (*exact, 0.9876))
    with pytest.warns(
        UserWarning, match="98.8 % of a sample's true neighbours, less than the 99 %"
    ):
        pp.neighbors(cells(points), method="approximate")


def test_what_refinement_will_find_is_foretold_and_fewer_lists_are_probed(monkeypatch, many_lists):
    points = overlapping()
    asked = []
    search = _ivf._search
    monkeypatch.setattr(
        _ivf, "_search", lambda *a: (asked.append((a[2], a[3].size)), search(*a))[1]
    )
    assert _ivf.nearest_by_lists(points, 14, 0.99)[2] >= 0.99
    monkeypatch.setattr(_ivf, "WORTH_A_PILOT", 0)
    ids, distances, recall = _ivf.nearest_by_lists(points, 14, 0.99)
    (plain, n), (same, n_pilot), (less, all_again) = asked
    assert same == plain > less
    assert n_pilot < n == all_again == 5400  # but for the twins
    assert recall >= 0.99
    assert recall_of(ids, distances, points, 14, np.arange(0, 6000, 7)) >= 0.98


def test_a_neighbour_is_met_by_way_of_another():
    rng = np.random.default_rng(0)
    ids, there = rng.integers(0, 30, (8, 5)), rng.integers(0, 30, (12, 5))
    rows = rng.integers(0, 12, (8, 5))
    needed, needed_there, out = rng.random((8, 5)), rng.random((12, 5)), np.empty((8, 5))
    for start in (0, 3):
        _refine.by_way_of(needed, ids, rows, there, needed_there, out, start, start + 5)
    for a in range(8):
        for t in range(5):
            ways = [
                max(needed[a, b], needed_there[rows[a, b], u])
                for b in range(5)
                for u in range(5)
                if there[rows[a, b], u] == ids[a, t]
            ]
            assert out[a, t] == min([needed[a, t], *ways])


@pytest.mark.parametrize("n", [2, 3, 700, 6000])
def test_one_sample_chooses_and_another_measures(n):
    choosing, measuring = _ivf._samples(n)
    assert not set(choosing) & set(measuring)
    assert choosing.size + measuring.size == min(n, 1024)
    assert 0 <= choosing.size - measuring.size <= 1


def test_the_recall_is_that_of_cells_that_had_no_part_in_the_choice(monkeypatch, many_lists):
    points = np.random.default_rng(2).normal(size=(4000, 30)).astype(np.float32)
    orders, asked = [], []
    make, needed = _ivf.make_lists, _ivf._needed
    monkeypatch.setattr(_ivf, "make_lists", lambda p: (orders.append(make(p)), orders[0])[1])
    monkeypatch.setattr(_ivf, "_needed", lambda *a: (asked.append(a[2]), needed(*a))[1])
    _, distances, recall = _ivf.nearest_by_lists(points, 14, 0.97)
    reached = distances <= _knn.nearest(points, 14)[1][:, -1:]
    choosing, measuring = _ivf._samples(4000)
    np.testing.assert_array_equal(asked[0], choosing)
    assert recall == reached[orders[0].order[measuring]].mean()
    assert 0.97 <= recall < 1.0
    assert reached[orders[0].order[choosing]].mean() >= 0.97


@pytest.mark.usefixtures("many_lists")
def test_approximate_gives_the_same_bits_on_any_number_of_threads():
    points, found = overlapping(), []
    for n in (1, 2, 5):
        with threads(n):
            found.append(_ivf.nearest_by_lists(points, 14, 0.99))
    for ids, distances, recall in found[1:]:
        assert ids.tobytes() == found[0][0].tobytes()
        assert distances.tobytes() == found[0][1].tobytes()
        assert recall == found[0][2]


@pytest.mark.parametrize("n", [1, 2, 3, 15, 40])
@pytest.mark.filterwarnings("ignore:n_neighbors=15")
def test_approximate_is_exact_for_few_cells(n):
    one, two = cells(random_points(n)), cells(random_points(n))
    pp.neighbors(one, method="approximate")
    pp.neighbors(two, method="exact")
    for key in ("distances", "connectivities"):
        np.testing.assert_array_equal(one.obsp[key].toarray(), two.obsp[key].toarray())


@pytest.mark.usefixtures("many_lists")
def test_approximate_makes_no_hub_of_identical_cells_and_fills_every_slot():
    same = cells(np.ones((600, 5), np.float32))
    pp.neighbors(same, method="approximate")
    assert np.diff(same.obsp["connectivities"].indptr).max() == 28
    assert sp.csgraph.connected_components(same.obsp["connectivities"])[0] == 1
    # 300 islands of 4 cells, so that many lists hold fewer cells than neighbours asked for
    islands = np.repeat(random_points(300, 6) * 1e3, 4, axis=0) + random_points(1200, 6)
    ids, distances, recall = _ivf.nearest_by_lists(islands, 14, 0.99)
    want = _knn.nearest(islands, 14)
    assert recall >= 0.99
    assert np.isfinite(distances).all()
    assert (ids == want[0]).mean() > 0.98
    assert (ids[:, :3] // 4 == np.arange(1200)[:, None] // 4).all()


def test_approximate_refuses_a_cell_that_is_not_finite():
    points = random_points(3000)
    points[17, 2] = np.nan
    with pytest.raises(ValueError, match="'cell17', column 2"):
        pp.neighbors(cells(points), method="approximate")


def test_real_cells_between_types_keep_their_neighbours(pbmc3k, many_lists):
    pp.normalize(pbmc3k)
    pp.hvg(pbmc3k)
    pp.pca(pbmc3k)
    exact = _knn.nearest(pbmc3k.obsm["X_pca"], 14)[1]
    _, distances, recall = _ivf.nearest_by_lists(pbmc3k.obsm["X_pca"], 14, 0.99)
    assert recall >= 0.99
    assert (distances <= exact[:, -1:]).mean() >= 0.985


@pytest.mark.parametrize("k", [15, 6])
def test_gauss_agrees_with_scanpy(k):
    sc = pytest.importorskip("scanpy")
    points = random_points(300).astype(np.float32)
    ours, theirs = cells(points), cells(points)
    pp.neighbors(ours, n_neighbors=k, connectivities="gauss")
    sc.pp.neighbors(theirs, n_neighbors=k, use_rep="X_pca", method="gauss")
    assert ours.uns["neighbors"]["params"] == theirs.uns["neighbors"]["params"]
    theirs.obsp["distances"] = ours.obsp["distances"]  # scanpy's are float32's own rounding
    from scanpy.neighbors._connectivity import gauss

    want = gauss(ours.obsp["distances"], k, knn=True)
    np.testing.assert_allclose(ours.obsp["connectivities"].toarray(), want.toarray(), rtol=1e-6)
    assert (ours.obsp["connectivities"] != ours.obsp["connectivities"].T).nnz == 0


def test_gauss_of_identical_and_few_cells():
    clump = np.vstack([np.ones((40, 5)), random_points(30, 5) + 3])
    adata = cells(clump)
    pp.neighbors(adata, connectivities="gauss")
    weights = adata.obsp["connectivities"]
    assert np.isfinite(weights.data).all()
    assert (weights[:40][:, :40].data == 1).all()
    for n in (1, 2):
        with warnings.catch_warnings(action="ignore"):
            pp.neighbors(few := cells(random_points(n)), connectivities="gauss")
        assert few.obsp["connectivities"].nnz == n * (n - 1)


def test_union_is_scipys():
    ids, distances = _knn.nearest(overlapping(900), 14)
    from cellsigil._core._graph import membership

    weights = np.empty(ids.shape)
    membership(distances, distances.sum() / (900 * 15), weights, 0, 900)
    one = sp.csr_matrix((weights.ravel(), ids.ravel(), np.arange(901) * 14), shape=(900, 900))
    want = (one + one.T - one.multiply(one.T)).tocsr().astype(np.float32)
    want.eliminate_zeros()
    want.sort_indices()
    got = fuzzy_union(ids, distances)
    np.testing.assert_array_equal(got.indptr, want.indptr)
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.data, want.data)
    assert got.indices.dtype == got.indptr.dtype == np.int32


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_weights_do_not_hang_on_the_scale(scale):
    ids, distances = _knn.nearest(random_points(120), 9)
    distances[3], distances[4, :3] = 0, 0  # identical cells; some of them
    want, got = fuzzy_union(ids, distances), fuzzy_union(ids, distances * scale)
    np.testing.assert_allclose(got.toarray(), want.toarray(), rtol=1e-4, atol=1e-6)

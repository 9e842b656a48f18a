"""tl.umap: as good as umap-learn's, the same bits on any number of threads."""

import warnings

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil import pp, tl
from cellsigil._core import _layout
from cellsigil._core._jit import threads
from cellsigil.tl import _umap


def cells(points, **kwargs):
    adata = ad.AnnData(np.zeros((len(points), 1), np.float32))
    adata.obsm["X_pca"] = np.asarray(points, np.float32)
    with warnings.catch_warnings(action="ignore"):
        pp.neighbors(adata, **kwargs)
    return adata


def blobs(sizes=(50, 60, 70), d=6, apart=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.vstack([rng.normal(size=(n, d)) + apart * i for i, n in enumerate(sizes)])


@pytest.fixture(scope="module")
def real(shared):
    """pbmc3k with scanpy's PCA and our graph."""
    sc = pytest.importorskip("scanpy")
    adata = ad.read_h5ad(shared("pbmc3k_raw.h5ad"))
    sc.pp.filter_genes(adata, min_cells=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=2000)
    adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.pca(adata, n_comps=30)
    pp.neighbors(adata)
    return adata


def test_the_curve_is_umap_learns():
    from umap.umap_ import find_ab_params

    for min_dist, spread in ((0.5, 1.0), (0.1, 1.0), (0.0, 1.0), (0.3, 2.0)):
        np.testing.assert_allclose(
            _layout.fit_curve(min_dist, spread), find_ab_params(spread, min_dist), rtol=1e-6
        )


def tables_of(a, b, pace=1.0):
    """Attraction (two steps of ``pace``) and repulsion at the nodes."""
    square = _layout.squares_of_nodes()
    return [
        table.astype(np.float32)
        for table in (
            _layout.two_steps(square, _layout.attraction(square, a, b), a, b, pace),
            _layout.repulsion(square, a, b),
        )
    ]


def twice(difference, a, b, pace=1.0):
    """What two steps of umap's attraction, one after the other, take off a difference."""
    left = np.array(difference, float)
    for _ in range(2):
        square = (left**2).sum()
        left = left - pace * 2 * a * b * square ** (b - 1) / (1 + a * square**b) * left
    return difference - left


@pytest.mark.parametrize("pace", [1.0, 0.3])
def test_force_tables_mean_the_gradient(pace):
    a, b = _layout.fit_curve(0.5, 1.0)
    attract, repel = tables_of(a, b, pace)
    for d in (0.05, 0.3, 1.0, 2.5, 10.0):
        want = twice(np.array([d, 0.0]), a, b, pace)[0] / d
        assert _layout.pull(attract, d, 0.0) == pytest.approx(want, rel=2e-3)
        want = 2 * b / ((0.001 + d * d) * (1 + a * d ** (2 * b)))
        assert _layout.pull(repel, d, 0.0) == pytest.approx(want, rel=2e-2)


def test_the_tables_reach_from_touching_to_far_apart():
    for a, b in (_layout.fit_curve(0.5, 1.0), _layout.fit_curve(0.0, 1.0)):
        attract, repel = tables_of(a, b)
        for d in (0.001, 0.02, 100.0, 30_000.0):
            for dx, dy in ((d, 0.0), (0.0, -d)):
                want = twice(np.array([d, 0.0]), a, b)[0] / d
                assert _layout.pull(attract, dx, dy) == pytest.approx(want, rel=2e-3)
                want = 2 * b / ((0.001 + d * d) * (1 + a * d ** (2 * b)))
                assert _layout.pull(repel, dx, dy) == pytest.approx(want, rel=2e-3)
        for table in (attract, repel):  # beyond its ends: finite, and what it is there
            assert abs(_layout.pull(table, 0.0, 0.0)) <= abs(table[0])
            assert 0 <= _layout.pull(table, 1e9, 1e9) <= table[-2]


def moved(here, rate, graph, tables, epoch, phase=0):
    """One epoch of one phase, from ``here``."""
    place, indptr, indices, rate = _layout._by_phase(graph, rate.astype(np.float32))
    placed = np.zeros((indptr.size - 1, 2), np.float32)
    placed[place] = here
    there = np.full((len(placed) // _layout.PHASES, 2), np.nan, np.float32)
    n_moved = -(-(len(here) - phase) // _layout.PHASES)
    widest = int(np.diff(graph.indptr).max())
    _layout.move_vertices(
        len(here), indptr, indices, rate, widest, placed, there, *tables, 1.0, epoch, 0, phase,
        0, n_moved,
    )  # fmt: skip
    out = here.copy()
    out[phase :: _layout.PHASES] = there[:n_moved]
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 30])
def test_places_hold_the_same_graph(n):
    weights = np.random.default_rng(n).random((n, n), np.float32)
    graph = sp.csr_matrix(np.where(weights < 0.3, weights, 0))
    place, indptr, indices, rate = _layout._by_phase(graph, graph.data * 2)
    assert np.unique(place).size == n
    assert (indptr.size - 1) % _layout.PHASES == 0
    for i in range(n):
        row, here = graph[i], slice(indptr[place[i]], indptr[place[i] + 1])
        np.testing.assert_array_equal(indices[here], place[row.indices])
        np.testing.assert_array_equal(rate[here], row.data * 2)
        assert place[i] == i % 4 * (indptr.size // 4) + i // 4


def test_an_edge_acts_as_often_as_it_weighs():
    graph = sp.csr_matrix([[0, 1], [1, 0]], dtype=np.float32)
    here = np.array([[0, 0], [3, 0]], np.float32)
    tables = tables_of(*_layout.fit_curve(0.5, 1.0))
    for rate in (1.0, 0.5, 0.01, 0.37, 0.0):
        acts = [
            (moved(here, np.full(2, rate), graph, tables, epoch) != here).any()
            for epoch in range(1000)
        ]
        assert sum(acts) == pytest.approx(1000 * rate, abs=1)


def test_an_epoch_means_what_umap_says():
    rng = np.random.default_rng(0)
    n, (a, b) = 40, _layout.fit_curve(0.5, 1.0)
    matrix = np.triu(rng.random((n, n)) < 0.3, k=1)
    graph = sp.csr_matrix((matrix | matrix.T).astype(np.float32))
    here = rng.normal(size=(n, 2)).astype(np.float32) * 3
    got = moved(here, np.ones(graph.nnz), graph, tables_of(a, b), 5, phase=1)
    want = here.astype(float)
    for i in range(1, n, 4):
        dice = _layout.scramble(_layout.scramble(_layout.scramble(0) + i) + 5)
        pushes = []
        for p in range(5 * graph[i].nnz):
            difference = want[i] - here[(dice + p * 0x9E3779B9) % 2**32 * n // 2**32]
            square = (difference**2).sum()
            force = 2 * b / ((0.001 + square) * (1 + a * square**b))
            pushes.append(np.clip(force * difference, -4, 4))
        at = want[i].copy()
        for t, j in enumerate(graph[i].indices):
            at += np.clip(np.sum(pushes[5 * t : 5 * t + 5], axis=0), -4, 4)
            at -= np.clip(twice(at - here[j], a, b), -4, 4)
        want[i] = at
    np.testing.assert_allclose(got, want, atol=0.02)  # rounding and tables, through a dozen steps
    np.testing.assert_array_equal(got[[0, 2, 3, 4]], here[[0, 2, 3, 4]])


def test_random_others_are_pushed_off_evenly():
    n, found = 1000, []
    for i in range(300):
        dice = _layout.scramble(_layout.scramble(i) + 7)
        others = (((dice + np.arange(75) * _layout.GOLDEN) & 0xFFFFFFFF) * n) >> 32
        assert len(np.unique(others)) == 75
        found.append(others)
    counts = np.bincount(np.concatenate(found), minlength=n)
    assert counts.min() > 0
    assert counts.var() < 1.2 * counts.mean()  # no more than chance


def test_the_dice_are_even_and_the_same_without_jit():
    dice = np.array([_layout.scramble(i) for i in range(20_000)])
    assert dice.min() >= 0
    assert dice.max() < 2**32
    counts = np.bincount((dice * 50) >> 32, minlength=50)
    assert ((counts - 400) ** 2 / 400).sum() < 100  # chi2 of 49 degrees of freedom
    assert len(set(dice.tolist())) == 20_000
    plain = getattr(_layout.scramble, "py_func", _layout.scramble)
    assert [plain(i) for i in range(50)] == dice[:50].tolist()


def neighbours(points):
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=15).fit(points)
    return found.kneighbors_graph() > 0


def test_trustworthy_as_umap_learns(real):
    from sklearn.manifold import trustworthiness

    points = real.obsm["X_pca"]
    trust, kept = {}, {}
    for method in ("cellsigil", "umap-learn"):
        tl.umap(real, method=method)
        positions = real.obsm["X_umap"]
        assert positions.dtype == np.float32
        trust[method] = trustworthiness(points, positions, n_neighbors=15)
        kept[method] = neighbours(points).multiply(neighbours(positions)).sum()
    assert trust["cellsigil"] >= trust["umap-learn"] - 0.003
    assert kept["cellsigil"] >= 0.95 * kept["umap-learn"]


def test_where_axes_begin_means_principal_components():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 6)) * [1, 5, 2, 3, 1, 1] + 100
    got = _umap._two_components(points)
    left, scale, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    want = left[:, :2] * scale[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(axis=1)])
    np.testing.assert_allclose(got, want, atol=1e-8)


def test_same_bits_on_any_number_of_threads(real):
    out = []
    for n in (1, 2, 3):
        with threads(n):
            tl.umap(real, n_epochs=20, rng=4)
        out.append(real.obsm["X_umap"].tobytes())
    assert out[0] == out[1] == out[2]
    tl.umap(real, n_epochs=20, rng=5)
    assert out[0] != real.obsm["X_umap"].tobytes()


def test_many_chunks_give_the_same_bits(monkeypatch):
    adata = cells(blobs())
    tl.umap(adata, n_epochs=30)
    whole = adata.obsm["X_umap"].copy()
    monkeypatch.setattr(_layout, "FEW", 7)
    for count in (2, 5):
        with threads(count):
            tl.umap(adata, n_epochs=30)
        np.testing.assert_array_equal(whole, adata.obsm["X_umap"])


@pytest.mark.parametrize("method", ["cellsigil", "umap-learn"])
def test_what_is_written_and_what_is_not(method, tmp_path):
    adata = cells(blobs())
    points, graph = adata.obsm["X_pca"].copy(), adata.obsp["connectivities"].copy()
    tl.umap(adata, n_epochs=20, method=method, rng=np.random.default_rng(1), key_added="mine")
    assert set(adata.obsm) == {"X_pca", "mine"}
    params = adata.uns["mine"]["params"]
    assert params["random_state"] == int(np.random.default_rng(1).integers(2**31 - 1))
    assert (params["a"], params["b"]) == _layout.fit_curve(0.5, 1.0)
    np.testing.assert_array_equal(points, adata.obsm["X_pca"])
    np.testing.assert_array_equal(graph.data, adata.obsp["connectivities"].data)
    adata.write_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(
        ad.read_h5ad(tmp_path / "a.h5ad").obsm["mine"], adata.obsm["mine"]
    )


def test_blobs_stay_whole_and_islands_near():
    for apart in (10.0, 1e5):
        adata = cells(blobs(apart=apart))
        assert sp.csgraph.connected_components(adata.obsp["connectivities"])[0] == 3
        for start in ("pca", "spectral"):
            if start == "spectral":
                del adata.obsm["X_pca"]
            tl.umap(adata)
            at = adata.obsm["X_umap"].astype(float)
            assert np.isfinite(at).all()
            assert np.ptp(at, axis=0).max() < 60
            centres = [at[s].mean(axis=0) for s in (slice(50), slice(50, 110), slice(110, 180))]
            for i in range(3):
                for j in range(i):
                    assert np.linalg.norm(centres[i] - centres[j]) > 2
            for s, centre in zip((slice(50), slice(50, 110), slice(110, 180)), centres):
                assert np.linalg.norm(at[s] - centre, axis=1).max() < 15


def test_a_cell_without_edges_stays_near_its_start():
    adata = cells(blobs())
    graph = adata.obsp["connectivities"].tolil()
    graph[5, :] = 0
    graph[:, 5] = 0
    adata.obsp["connectivities"] = graph.tocsr()
    tl.umap(adata, n_epochs=1)
    start = adata.obsm["X_umap"][5].copy()
    tl.umap(adata)
    np.testing.assert_array_equal(adata.obsm["X_umap"][5], start)
    adata.obsp["connectivities"] = sp.csr_matrix(graph.shape)
    tl.umap(adata)
    assert (adata.obsm["X_umap"] >= 0).all()
    assert (adata.obsm["X_umap"] <= 10).all()


@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("start", ["pca", "spectral"])
def test_few_cells(n, start):
    adata = cells(blobs((n,)))
    if start == "spectral":
        del adata.obsm["X_pca"]
    tl.umap(adata)
    assert adata.obsm["X_umap"].shape == (n, 2)
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert len(np.unique(adata.obsm["X_umap"], axis=0)) == n


def test_identical_cells_part():
    adata = cells(np.ones((100, 5)))
    tl.umap(adata)
    assert len(np.unique(adata.obsm["X_umap"], axis=0)) == 100
    assert np.ptp(adata.obsm["X_umap"], axis=0).max() < 40


def test_mixed_orders_with_scanpy(real):
    sc = pytest.importorskip("scanpy")
    import matplotlib.pyplot as plt

    adata = real.copy()
    tl.umap(adata, n_epochs=5)
    tl.cluster(adata)
    shown = sc.pl.umap(adata, color="leiden", show=False)
    assert shown.collections
    plt.close("all")
    adata = cells(blobs())
    sc.tl.umap(adata)  # on our graph
    assert np.isfinite(adata.obsm["X_umap"]).all()
    sc.pp.neighbors(adata, n_neighbors=10, use_rep="X_pca", key_added="theirs")
    tl.umap(adata, neighbors_key="theirs", key_added="ours")
    assert np.isfinite(adata.obsm["ours"]).all()


@pytest.mark.parametrize("shape", [1, 3])
def test_umap_learn_refuses_what_it_cannot_lay_out(shape):
    adata = cells(blobs((shape,)))
    with pytest.raises(ValueError, match="method='cellsigil'"):
        tl.umap(adata, method="umap-learn")


@pytest.mark.parametrize(
    ("sentence", "arguments"),
    [
        ("min_dist=-1: a number from 0", {"min_dist": -1}),
        ("min_dist=3.0: a number from 0 to below 3 \\* spread = 3", {"min_dist": 3.0}),
        ("spread=0: a number above 0", {"spread": 0}),
        ("spread=nan", {"spread": np.nan}),
        ("n_epochs=0: a whole number", {"n_epochs": 0}),
        ("Did you mean 'umap-learn'", {"method": "umap_learn"}),
        ("pass a whole number", {"rng": None}),
    ],
)
def test_errors_say_the_way_out(sentence, arguments):
    with pytest.raises(ValueError, match=sentence):
        tl.umap(cells(blobs((20,))), **arguments)


def test_without_a_graph_it_says_so():
    with pytest.raises(KeyError, match=r"Run cellsigil.pp.neighbors\(adata\) first"):
        tl.umap(ad.AnnData(np.ones((5, 2), np.float32)))

"""tl.cluster: Leiden on our graphs and scanpy's."""

import random
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cellsigil import io, pp, tl
from cellsigil._core import _leiden
from cellsigil._core._jit import threads
from cellsigil._core._leiden import leiden
from cellsigil.tl._graph import read_graph


def blobs(sizes=(30, 60, 60), d=5, seed=0):
    rng = np.random.default_rng(seed)
    points = np.vstack([rng.normal(size=(n, d)) + 30 * i for i, n in enumerate(sizes)])
    adata = ad.AnnData(np.zeros((len(points), 1), np.float32))
    adata.obsm["X_pca"] = points.astype(np.float32)
    return adata


def graph_of(matrix, key="connectivities"):
    adata = ad.AnnData(np.zeros((matrix.shape[0], 1), np.float32))
    adata.obsp[key] = sp.csr_matrix(matrix)
    adata.uns["neighbors"] = {"connectivities_key": key, "distances_key": "d", "params": {}}
    return adata


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


def naive_modularity(graph, labels):
    """Sum over pairs in one cluster of (A_ij - d_i d_j / 2m) / 2m."""
    a = graph.toarray().astype(float)
    degree, total = a.sum(1), a.sum()
    same = labels[:, None] == labels[None, :]
    return float(((a - np.outer(degree, degree) / total) * same).sum() / total)


@pytest.mark.parametrize("flavor", ["cellsigil", "igraph", "leidenalg"])
def test_finds_blobs_and_numbers_them_by_size(flavor):
    adata = blobs()
    pp.neighbors(adata)
    tl.cluster(adata, resolution=0.05, flavor=flavor)
    labels = adata.obs["leiden"]
    assert list(labels.cat.categories) == ["0", "1", "2"]
    # 60 and 60 tie: the one whose first cell comes first is 0; the 30 come last
    assert labels.tolist() == ["2"] * 30 + ["0"] * 60 + ["1"] * 60
    want = naive_modularity(adata.obsp["connectivities"], labels.to_numpy().astype(str))
    assert adata.uns["leiden"]["modularity"] == pytest.approx(want, abs=1e-6)
    assert adata.uns["leiden"]["params"] == {
        "resolution": 0.05, "random_state": 0, "n_iterations": 2,
        "n_runs": 1 if flavor == "leidenalg" else 2, "flavor": flavor,
    }  # fmt: skip


def test_as_modular_as_scanpys(real):
    sc = pytest.importorskip("scanpy")
    graph = real.obsp["connectivities"]
    ours, theirs, converged = [], [], []
    for seed in range(10):
        ours.append(leiden(graph, resolution=1.0, n_iterations=2, seeds=[seed])[1])
        for rounds, reached in ((2, theirs), (-1, converged)):
            sc.tl.leiden(
                real, flavor="igraph", n_iterations=rounds, directed=False,
                random_state=seed, key_added="sc",
            )  # fmt: skip
            reached.append(naive_modularity(graph, real.obs["sc"].to_numpy("U")))
    assert np.mean(ours) >= np.mean(theirs) - 5e-4
    tl.cluster(real, key_added="ours")
    assert real.uns["ours"]["modularity"] >= np.mean(converged) - 5e-4
    assert (np.diff(np.bincount(real.obs["ours"].cat.codes)) <= 0).all()
    for flavor in ("igraph", "leidenalg"):
        tl.cluster(real, flavor=flavor, key_added="ours")
        assert real.uns["ours"]["modularity"] >= np.median(theirs) - 2e-3


@pytest.mark.parametrize("n_runs", [1, 3, 4])
def test_clusters_are_connected_and_the_same_on_any_number_of_threads(real, n_runs):
    for resolution in (0.3, 1, 4):
        for n in (1, 2):
            with threads(n):
                tl.cluster(real, resolution=resolution, n_runs=n_runs, key_added=f"on{n}")
        assert real.obs["on1"].tolist() == real.obs["on2"].tolist()
        assert real.uns["on1"]["modularity"] == real.uns["on2"]["modularity"]
        labels = real.obs["on1"].to_numpy("U")
        for c in np.unique(labels):
            inside = real.obsp["connectivities"][labels == c][:, labels == c]
            assert connected_components(inside, directed=False)[0] == 1


def same_parts(a, b):
    pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("rng", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("n_runs", [None, 1, 2, 3, np.int64(4)])
def test_runs_of_a_seed_are_four_times_it_and_on(real, n_runs, rng):
    graph, _ = read_graph(real, "neighbors")
    tl.cluster(real, rng=rng, key_added="ours", **({} if n_runs is None else {"n_runs": n_runs}))
    seeds = [(4 * rng + run) % 2**32 for run in range(n_runs or 2)]
    labels, modularity = leiden(graph, resolution=1.0, n_iterations=2, seeds=seeds)
    assert same_parts(real.obs["ours"].cat.codes.to_numpy(), labels)
    assert real.uns["ours"]["modularity"] == modularity
    assert real.uns["ours"]["params"]["n_runs"] == (n_runs or 2)
    assert type(real.uns["ours"]["params"]["n_runs"]) is int


def test_a_single_run_is_cores_without_what_combines(real, monkeypatch):
    order, level, _ = _leiden._in_order(read_graph(real, "neighbors")[0])
    found, quality = _leiden._rounds(level, 1.0, 2, 4 * 3)
    labels = np.empty_like(found)
    labels[order] = found
    monkeypatch.setattr(_leiden, "_combined", None)
    tl.cluster(real, n_runs=1, rng=3, key_added="one")
    assert same_parts(real.obs["one"].cat.codes.to_numpy(), labels)
    assert real.uns["one"]["modularity"] == pytest.approx(quality, abs=1e-12)


def test_combined_runs_are_more_modular_than_single_ones(real):
    reached = {1: [], 2: [], 4: []}
    for rng in range(10):
        for n_runs, found in reached.items():
            tl.cluster(real, n_runs=n_runs, rng=rng, key_added="runs")
            found.append(real.uns["runs"]["modularity"])
    assert np.mean(reached[4]) > np.mean(reached[2]) > np.mean(reached[1])
    assert len(set(reached[1])) > 5  # each seed has runs of its own


@pytest.mark.parametrize("n_runs", [1, 3])
def test_igraphs_runs_are_as_many_as_asked(n_runs, monkeypatch):
    import igraph

    made, theirs = [], igraph.Graph.community_leiden
    monkeypatch.setattr(
        igraph.Graph, "community_leiden", lambda *a, **k: made.append(k) or theirs(*a, **k)
    )
    adata = blobs()
    pp.neighbors(adata)
    tl.cluster(adata, flavor="igraph", n_runs=n_runs)
    assert len(made) == n_runs
    assert adata.uns["leiden"]["params"]["n_runs"] == n_runs
    tl.cluster(adata, flavor="leidenalg", n_runs=n_runs)
    assert adata.uns["leiden"]["params"]["n_runs"] == 1


def test_agrees_with_scanpy_as_scanpy_does_with_itself(real):
    sc = pytest.importorskip("scanpy")
    from sklearn.metrics import adjusted_rand_score

    labels = []
    for seed in range(5):
        sc.tl.leiden(
            real, flavor="igraph", n_iterations=2, directed=False, random_state=seed, key_added="sc"
        )
        labels.append(real.obs["sc"].tolist())
    itself = [adjusted_rand_score(a, b) for i, a in enumerate(labels) for b in labels[:i]]
    tl.cluster(real)
    ours = np.mean([adjusted_rand_score(real.obs["leiden"].tolist(), a) for a in labels])
    assert ours >= min(itself) - 0.02


def test_the_default_leaves_igraph_and_matplotlib_alone():
    code = """
import sys, anndata, numpy, cellsigil
adata = anndata.AnnData(numpy.zeros((40, 1), "f4"))
adata.obsm["X_pca"] = numpy.random.default_rng(0).normal(size=(40, 5))
cellsigil.pp.neighbors(adata)
cellsigil.tl.cluster(adata)
print([m for m in ("igraph", "leidenalg", "matplotlib", "scanpy", "sklearn") if m in sys.modules])
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_same_labels_for_a_seed_and_igraphs_generator_restored(real):
    for flavor in ("cellsigil", "igraph"):
        tl.cluster(real, flavor=flavor, rng=5, key_added="a")
        random.seed(1)
        state = random.getstate()
        tl.cluster(real, flavor=flavor, rng=5, key_added="b")
        assert random.getstate() == state  # the user's generator is not drawn from ...
        assert real.obs["a"].tolist() == real.obs["b"].tolist()
    import igraph

    igraph.Graph.Erdos_Renyi(n=50, p=0.5)
    assert random.getstate() != state  # ... and igraph draws from it again
    tl.cluster(real, rng=np.random.default_rng(0), key_added="c")
    seed = real.uns["c"]["params"]["random_state"]
    tl.cluster(real, rng=seed, key_added="a")
    assert real.obs["a"].tolist() == real.obs["c"].tolist()


@pytest.mark.parametrize("n_runs", [1, 3, 4])
@pytest.mark.parametrize("flavor", ["cellsigil", "igraph", "leidenalg"])
def test_several_resolutions_are_as_many_calls(flavor, n_runs):
    adata = blobs()
    pp.neighbors(adata)
    several = adata.copy()
    asked = [0.05, 1, np.float32(2.5)]
    tl.cluster(several, resolution=asked, rng=3, n_runs=n_runs, flavor=flavor)
    names = ["leiden_0.05", "leiden_1", "leiden_2.5"]
    assert list(several.obs) == names
    for name, resolution in zip(names, asked, strict=True):
        tl.cluster(adata, resolution=resolution, rng=3, n_runs=n_runs, flavor=flavor)
        pd.testing.assert_series_equal(several.obs[name], adata.obs["leiden"], check_names=False)
        assert several.uns[name] == adata.uns["leiden"]
    assert several.uns[names[1]]["params"]["resolution"] == 1.0
    assert "leiden" not in several.uns


@pytest.mark.parametrize("n_runs", [1, 4])
def test_several_resolutions_of_real_cells(real, tmp_path, n_runs):
    on, asked = [], np.array([0.3, 1, 4])
    for n in (1, 3):
        with threads(n):
            tl.cluster(real, resolution=asked, n_runs=n_runs, key_added="sweep")
        on.append(real.obs[["sweep_0.3", "sweep_1", "sweep_4"]].copy())
    pd.testing.assert_frame_equal(*on)
    tl.cluster(real, n_runs=n_runs, key_added="one")
    assert real.obs["one"].tolist() == real.obs["sweep_1"].tolist()
    assert real.uns["one"] == real.uns["sweep_1"]
    slim = ad.AnnData(obs=real.obs[["sweep_0.3", "sweep_4"]], uns={"s": real.uns["sweep_0.3"]})
    io.write(slim, tmp_path / "a.h5ad")  # old anndata refuses pbmc3k's own names
    tl.cluster(real, resolution=(2,), key_added="one")  # a sequence of one is a sequence
    assert "one_2" in real.obs


def test_several_resolutions_without_an_edge():
    adata = graph_of(np.zeros((3, 3)))
    tl.cluster(adata, resolution=[0.5, 1])
    assert adata.obs["leiden_0.5"].tolist() == adata.obs["leiden_1"].tolist() == ["0", "1", "2"]
    assert np.isnan(adata.uns["leiden_1"]["modularity"])


def test_higher_resolution_more_clusters(real):
    n = []
    for resolution in (0.2, 1, 3):
        tl.cluster(real, resolution=resolution, key_added="r")
        n.append(real.obs["r"].nunique())
    assert n[0] < n[1] < n[2]


def test_scanpys_graphs_and_keys():
    sc = pytest.importorskip("scanpy")
    from sklearn.neighbors import KNeighborsTransformer

    adata = blobs()
    sc.pp.neighbors(adata, n_neighbors=10, use_rep="X_pca", key_added="theirs")
    tl.cluster(adata, resolution=0.05, neighbors_key="theirs")
    assert adata.obs["leiden"].nunique() == 3
    transformer = KNeighborsTransformer(n_neighbors=10, metric="manhattan")
    sc.pp.neighbors(adata, transformer=transformer, use_rep="X_pca")
    tl.cluster(adata, resolution=0.05)
    assert adata.obs["leiden"].nunique() == 3
    with pytest.raises(KeyError, match="Did you mean 'theirs'"):
        tl.cluster(adata, neighbors_key="their")
    pp.neighbors(adata)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False, resolution=0.05)
    assert adata.obs["leiden"].nunique() == 3


@pytest.mark.parametrize("flavor", ["cellsigil", "igraph", "leidenalg"])
@pytest.mark.parametrize("n", [1, 3])
def test_edgeless_graphs_leave_every_cell_alone(flavor, n):
    adata = graph_of(np.eye(n))  # only self-loops
    tl.cluster(adata, flavor=flavor)
    assert adata.obs["leiden"].tolist() == [str(i) for i in range(n)]


def test_three_cells_lone_cells_and_directed_graphs(tmp_path):
    adata = ad.AnnData(np.zeros((3, 1), np.float32))
    adata.obsm["X_pca"] = np.arange(9.0).reshape(3, 3)
    with pytest.warns(UserWarning, match="every cell is linked"):
        pp.neighbors(adata)
    tl.cluster(adata)
    assert len(adata.obs["leiden"]) == 3
    one_way = np.zeros((6, 6))
    one_way[1, 2] = one_way[4, 3] = 1.0
    adata = graph_of(one_way)
    tl.cluster(adata)
    assert adata.obs["leiden"].tolist() == ["2", "0", "0", "1", "1", "3"]
    before = adata.obsp["connectivities"].copy()
    tl.cluster(adata, key_added="mine")
    np.testing.assert_array_equal(adata.obsp["connectivities"].toarray(), before.toarray())
    assert isinstance(adata.obs["mine"].dtype, pd.CategoricalDtype)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.obs["mine"].tolist() == adata.obs["mine"].tolist()


@pytest.mark.parametrize(
    ("sentence", "arguments"),
    [
        *((f"resolution={r}: a number above 0", {"resolution": r}) for r in (0, -1.0, np.nan, np.inf)),
        ("resolution=0: a number above 0", {"resolution": [1, 0]}),
        ("resolution='1': a number above 0", {"resolution": "1"}),
        ("resolution=\\[\\]: at least one", {"resolution": []}),
        ("would both be obs\\['leiden_1'\\]", {"resolution": [1, 2, 1.0000001]}),
        ("n_iterations=0: a whole number", {"n_iterations": 0}),
        *((f"n_runs={n}: a whole number from 1 to 4", {"n_runs": n}) for n in (0, -1, 5, 2.0, None)),
        ("Did you mean 'leidenalg'", {"flavor": "leiden"}),
        ("pass a whole number", {"rng": 1.5}),
    ],
)  # fmt: skip
def test_errors_say_the_way_out(sentence, arguments):
    with pytest.raises(ValueError, match=sentence):
        tl.cluster(graph_of(np.ones((3, 3))), **arguments)


def test_a_missing_or_broken_graph_is_said():
    adata = graph_of(np.array([[0, 1.0], [np.nan, 0]]))
    with pytest.raises(ValueError, match="holds nan at cell '1'"):
        tl.cluster(adata)
    del adata.obsp["connectivities"]
    with pytest.raises(KeyError, match="names obsp\\['connectivities'\\], which is gone"):
        tl.cluster(adata)
    del adata.uns["neighbors"]
    with pytest.raises(KeyError, match=r"Run cellsigil.pp.neighbors\(adata\) first"):
        tl.cluster(adata)


def test_a_broken_sparse_structure_is_refused_by_its_place():
    for part, value, message in (
        (
            "indptr",
            9,
            r"obsp\['connectivities'\] is a broken sparse matrix: indptr decreases at row 1",
        ),
        ("indices", 7, r"index 7 in row 1 is out of range; only 0 to 2 exist"),
    ):
        adata = graph_of(sp.csr_matrix(np.ones((3, 3)) - np.eye(3)))
        getattr(adata.obsp["connectivities"], part)[1 if part == "indptr" else 2] = value
        with pytest.raises(ValueError, match=message):
            tl.cluster(adata)


def test_a_graph_is_read_as_the_mean_of_both_ways_and_left_alone():
    rng = np.random.default_rng(0)
    duplicated = sp.csr_matrix((rng.random(40), rng.integers(5, size=40), np.arange(0, 41, 8)))
    symmetric = sp.csr_matrix(np.triu(rng.random((6, 6)), k=1).round(1))
    symmetric = (symmetric + symmetric.T).tocsr()
    for stored in (duplicated, symmetric, symmetric + sp.identity(6), symmetric.tocsc()):
        adata = graph_of(stored)
        before = adata.obsp["connectivities"].copy()
        got, _ = read_graph(adata, "neighbors")
        want = (stored.toarray() + stored.toarray().T) / 2
        np.fill_diagonal(want, 0)
        np.testing.assert_allclose(got.toarray(), want)
        assert got.has_canonical_format
        assert got.data.dtype == np.float64
        assert (got.data > 0).all()
        assert not np.shares_memory(got.data, adata.obsp["connectivities"].data)
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(
                getattr(adata.obsp["connectivities"], part), getattr(before, part)
            )

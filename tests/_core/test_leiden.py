"""Leiden on arrays: what modularity means, the optimum of small graphs, connected communities, traps."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cellsigil._core import _leiden
from cellsigil._core._jit import threads
from cellsigil._core._leiden import (
    _combined,
    _in_order,
    _rounds,
    leiden,
    near_each_other,
    scaled,
    split,
    sweep,
)
from cellsigil._core._leiden_move import BLOCK, LARGE, move_nodes, shuffled
from cellsigil._core._leiden_refine import aggregate, refine, renumber
from cellsigil._core._leiden_round import HEAT, modularity


def naive_modularity(graph, labels, resolution=1.0):
    """Sum over pairs in one community of (A_ij - resolution d_i d_j / 2m) / 2m."""
    a = graph.toarray().astype(float)
    degree, total = a.sum(1), a.sum()
    same = labels[:, None] == labels[None, :]
    return float(((a - resolution * np.outer(degree, degree) / total) * same).sum() / total)


def random_graph(n, density, seed, groups=1):
    """Weighted, symmetric, denser within ``groups``."""
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=n)
    odds = np.where(group[:, None] == group[None, :], density, density / 10)
    a = np.triu(rng.random((n, n)) * (rng.random((n, n)) < odds), k=1).astype(np.float32)
    return sp.csr_matrix(a + a.T)


def cliques(size, n, link=0.1):
    """A ring of ``n`` identical cliques, joined by weak edges."""
    a = np.kron(np.eye(n), np.ones((size, size))) - np.eye(n * size)
    for c in range(n if n > 2 else n - 1):
        i, j = c * size, (c + 1) % n * size + 1
        a[i, j] = a[j, i] = link
    return sp.csr_matrix(a.astype(np.float32))


def run(graph, *, resolution=1.0, n_iterations=2, seeds=(0, 1, 2, 3)):
    return leiden(graph, resolution=resolution, n_iterations=n_iterations, seeds=seeds)


def level_of(graph):
    """The graph as kernels take it, vertices in their own order."""
    csr = graph.indptr.astype(np.int64), graph.indices, graph.data.astype(np.float64)
    room = np.empty(graph.nnz, np.int32), np.empty(graph.nnz, np.float32)
    return scaled(*csr, np.arange(graph.shape[0], dtype=np.int32), *room)[0]


def partitions(n):
    """Every partition of n things, as labels."""
    if n == 0:
        yield []
        return
    for labels in partitions(n - 1):
        for c in range(max(labels, default=-1) + 2):
            yield [*labels, c]


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_finds_the_optimum_of_most_small_graphs(resolution):
    short = []
    for seed in range(12):
        graph = random_graph(7, 0.5, seed)
        labels, _ = run(graph, resolution=resolution)
        best = max(naive_modularity(graph, np.array(p), resolution) for p in partitions(7))
        short.append(best - naive_modularity(graph, labels, resolution))
    assert min(short) > -1e-7
    assert np.mean(np.array(short) < 1e-7) >= 0.75
    assert max(short) < 0.02


@pytest.mark.parametrize("loops", [False, True])
def test_modularity_means_what_naive_says(loops):
    graph = random_graph(60, 0.3, 1, groups=3)
    if loops:
        graph = (graph + sp.diags(np.random.default_rng(0).random(60))).tocsr()
    for resolution in (0.3, 1.0, 3.0):
        labels, quality = run(graph, resolution=resolution)
        assert quality == pytest.approx(naive_modularity(graph, labels), abs=1e-6)


@pytest.mark.parametrize("resolution", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_vertex_gains_by_moving_and_communities_are_connected(seed, resolution):
    graph = random_graph(80, 0.2, seed, groups=4)
    labels, _ = run(graph, resolution=resolution, n_iterations=-1, seeds=[seed])
    reached = naive_modularity(graph, labels, resolution)
    for v in range(80):
        for c in range(labels.max() + 2):  # the last one is empty
            moved = labels.copy()
            moved[v] = c
            assert naive_modularity(graph, moved, resolution) <= reached + 1e-7
    assert_connected(graph, labels)


def assert_connected(graph, labels):
    for c in np.unique(labels):
        inside = graph[labels == c][:, labels == c]
        assert connected_components(inside, directed=False)[0] == 1


@pytest.mark.parametrize("n_iterations", [1, 2, -1])
def test_communities_are_connected_on_sparse_graphs(n_iterations):
    for seed in range(5):
        graph = random_graph(500, 0.01, seed, groups=5)
        graph.data[graph.data < 0.1] = 0  # stored zeros join nothing
        labels, _ = run(graph, n_iterations=n_iterations, seeds=[seed])
        graph.eliminate_zeros()
        assert_connected(graph, labels)


def test_more_rounds_and_more_runs_are_no_worse():
    graph = random_graph(400, 0.06, 3, groups=8)
    one = [run(graph, n_iterations=1, seeds=[s])[1] for s in range(4)]
    two = [run(graph, n_iterations=2, seeds=[s])[1] for s in range(4)]
    stable = [run(graph, n_iterations=-1, seeds=[s])[1] for s in range(4)]
    assert all(a <= b + 1e-12 <= c + 2e-12 for a, b, c in zip(one, two, stable, strict=True))
    assert run(graph)[1] >= max(two)


def test_same_bits_on_any_number_of_threads():
    graph = random_graph(600, 0.05, 0, groups=6)
    results = []
    for n in (1, 2, 3):
        with threads(n):
            results.append(run(graph))
    for labels, quality in results[1:]:
        np.testing.assert_array_equal(labels, results[0][0])
        assert quality == results[0][1]


def test_same_bits_with_threads_and_in_turn(monkeypatch):
    graph = random_graph(400, 0.06, 3, groups=8)
    assert graph.nnz < _leiden.SMALL
    labels, quality = run(graph)
    monkeypatch.setattr(_leiden, "SMALL", 0)
    with threads(3):
        other, reached = run(graph)
    np.testing.assert_array_equal(labels, other)
    assert quality == reached


def test_what_runs_combine_to_is_carried_on_only_where_it_is_better(monkeypatch):
    seen = []
    monkeypatch.setattr(_leiden, "_rounds", lambda *a: seen.append(a[3]) or _rounds(*a))
    clear, unclear = cliques(10, 6), random_graph(400, 0.02, 3)
    run(clear, seeds=[5, 6])
    assert sorted(seen) == [5, 6]
    seen.clear()
    single = [run(unclear, seeds=[seed])[1] for seed in (5, 6)]
    assert seen == [5, 6]
    seen.clear()
    _, quality = run(unclear, seeds=[5, 6])
    assert set(seen[:2]) == {5, 6}
    assert len(seen) == 2 + 1  # the last call goes on with what they combine to
    assert quality > max(single)
    seen.clear()
    sweep(unclear, resolutions=[1.0, 1e-9], n_iterations=2, seeds=[5, 6, 7])
    assert len(seen) == 3 + 1 + 3  # at 1e-9 all is one community, in every run


def test_every_vertex_has_one_place_near_its_neighbours():
    blocks = sp.block_diag([cliques(10, 20), np.zeros((2, 2)), cliques(7, 9)], "csr")
    mixed = np.random.default_rng(0).permutation(blocks.shape[0])
    graph = blocks[mixed][:, mixed]
    order, (indptr, indices, data, strength), within = _in_order(graph)
    assert np.array_equal(np.sort(order), np.arange(graph.shape[0]))
    moved = graph[order][:, order]
    got = sp.csr_matrix((data, indices, indptr), shape=graph.shape)
    np.testing.assert_allclose(got.toarray(), moved.toarray() / graph.sum(), rtol=2**-23)
    np.testing.assert_allclose(strength, moved.sum(axis=1).A1 / graph.sum(), rtol=1e-12)
    assert within == 0
    n, component = connected_components(moved, directed=False)
    assert (np.diff(component) != 0).sum() == n - 1  # one component after the other

    def apart(matrix):
        rows, columns = matrix.nonzero()
        return np.abs(rows - columns).mean()

    assert apart(moved) < apart(graph) / 2
    assert near_each_other(np.array([0, 0, 0]), np.empty(0, np.int32)).tolist() == [0, 1]


def test_loops_count_in_strengths_and_zeros_nowhere():
    dense = np.array([[3.0, 1, 0], [1, 0, 0], [0, 0, 4]])
    graph = sp.csr_matrix(
        (np.r_[3.0, 1, 1, 0, 4], ([0, 0, 1, 1, 2], [0, 1, 0, 2, 2])), shape=(3, 3)
    )
    order, (indptr, indices, data, strength), within = _in_order(graph)
    dense = dense[order][:, order] / 9
    assert within == pytest.approx(7 / 9)
    np.testing.assert_allclose(strength, dense.sum(axis=1))
    got = sp.csr_matrix((data, indices, indptr), shape=(3, 3))
    assert got.nnz == 2
    np.testing.assert_allclose(got.toarray(), dense - np.diag(np.diag(dense)), rtol=2**-23)


@pytest.mark.parametrize("n_labels", [1, 2, 4])
def test_split_means_connected_and_together_in_all_labels(n_labels):
    graph = random_graph(150, 0.03, 6)
    labels = np.random.default_rng(0).integers(3, size=(n_labels, 150)).astype(np.int32)
    part, n_parts = split(graph.indptr.astype(np.int64), graph.indices, labels)
    together = graph.toarray() * (labels[:, :, None] == labels[:, None, :]).all(axis=0)
    n, want = connected_components(together, directed=False)
    assert n_parts == n == len(np.unique(np.stack([part, want]), axis=1).T)
    assert part.max() == n - 1


def test_combined_runs_are_no_worse_than_the_best_of_them():
    better = 0
    for seed in range(6):
        level = level_of(random_graph(400, 0.05, seed, groups=8))
        found = [_rounds(level, 1.0, 1, run) for run in range(3)]
        for labels, quality in found:
            assert quality == pytest.approx(modularity(*level, 0.0, 1.0, labels), abs=1e-12)
        best = max(quality for _, quality in found)
        reached = modularity(*level, 0.0, 1.0, _combined(level, 1.0, found, 9))
        assert reached >= best - 1e-12
        better += reached > best + 1e-6
    assert better >= 3


def test_moving_stops_after_so_many_visits():
    level = level_of(random_graph(200, 0.1, 4, groups=4))
    whole, none, some = (np.arange(200, dtype=np.int32) for _ in range(3))
    n_moves, _ = move_nodes(*level, 1.0, 1e-12, whole, 7, -1)
    assert n_moves > 150
    assert move_nodes(*level, 1.0, 1e-12, none, 7, 0) == (0, 200)
    assert none.tolist() == list(range(200))
    n_some, left = move_nodes(*level, 1.0, 1e-12, some, 7, 50)
    assert 0 < n_some <= 50
    assert left == len(np.unique(some))


def test_identical_cliques_are_told_apart():
    for n in (2, 6):
        labels, _ = run(cliques(10, n))
        np.testing.assert_array_equal(labels, np.repeat(np.arange(n), 10))


def test_resolution_from_nothing_to_everything():
    graph = sp.block_diag([cliques(5, 4), cliques(4, 3)], format="csr")
    for tiny in (1e-300, 1e-9):
        assert len(np.unique(run(graph, resolution=tiny)[0])) == 2  # the components
    for huge in (1e6, 1e300):
        assert len(np.unique(run(graph, resolution=huge)[0])) == graph.shape[0]


def test_graphs_without_much_in_them():
    for n in (0, 1, 3):
        labels, quality = run(sp.csr_matrix((n, n), dtype=np.float32))
        assert labels.tolist() == list(range(n))
        assert np.isnan(quality)
    zeros = sp.csr_matrix(([0.0, 0.0], ([0, 1], [1, 0])), shape=(2, 2))
    assert run(zeros)[0].tolist() == [0, 1]
    labels, quality = run(sp.identity(3, format="csr"))  # only self-loops
    assert labels.tolist() == [0, 1, 2]
    assert quality == pytest.approx(1 - 1 / 3)
    lone = sp.block_diag([np.zeros((1, 1)), cliques(4, 1), np.zeros((2, 2))], format="csr")
    labels, _ = run(lone)
    assert labels.tolist() == [0, 1, 1, 1, 1, 2, 3]


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**1000])
def test_only_the_weights_proportions_count(scale):
    graph = random_graph(100, 0.2, 5, groups=3).astype(np.float64)
    labels, quality = run(graph)
    scaled, reached = run(graph * scale)
    np.testing.assert_array_equal(scaled, labels)
    assert reached == quality


def test_leaves_the_graph_alone():
    graph = random_graph(50, 0.2, 2)
    before = graph.copy()
    run(graph)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(graph, part), getattr(before, part))


def test_parts_lie_within_communities_are_connected_and_aggregate_to_the_same_weights():
    graph = random_graph(200, 0.1, 4, groups=4)
    level = level_of(graph)
    community = np.arange(200, dtype=np.int32)
    n_moves, left = move_nodes(*level, 1.0, 1e-12, community, 7)
    assert n_moves > 0
    assert left == len(np.unique(community))
    part, n_parts = refine(*level, 1.0, HEAT, community, 8)
    assert left <= n_parts < 200
    assert len(np.unique(np.stack([part, community]), axis=1).T) == n_parts
    assert_connected(graph, part)
    indptr, indices, data, strength = aggregate(*level, part, n_parts)
    member = np.eye(n_parts)[part]
    want = member.T @ graph.toarray() @ member / graph.sum()
    np.fill_diagonal(want, 0)
    got = sp.csr_matrix((data, indices, indptr), shape=(n_parts, n_parts)).toarray()
    np.testing.assert_allclose(got, want, atol=1e-8)
    totals = np.asarray(graph.sum(1, dtype=float)).ravel()
    np.testing.assert_allclose(strength, totals @ member / totals.sum())


def test_renumber_goes_by_appearance():
    labels = np.array([5, 2, 5, 0, 2, 1], np.int32)
    assert renumber(labels) == 4
    assert labels.tolist() == [0, 1, 0, 2, 1, 3]


@pytest.mark.parametrize("n", [1, 2, 500, LARGE, LARGE + 1, LARGE + 5 * BLOCK])
def test_shuffled_visits_everyone_once_in_another_order_per_dice(n):
    orders = [shuffled(n, dice) for dice in (0, 1)]
    for order in orders:
        assert order.dtype == np.int32
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
        if n > 2:
            assert np.abs(order - np.arange(n)).mean() == pytest.approx(n / 3, rel=0.1)
    assert n < 3 or (orders[0] != orders[1]).mean() > 0.99


def test_large_graphs_find_their_communities_whatever_the_order_of_vertices():
    rng = np.random.default_rng(0)
    n, groups = LARGE + 808, 9
    group = np.sort(rng.integers(groups, size=n))
    rows = np.repeat(np.arange(n), 8)
    starts, sizes = np.searchsorted(group, np.arange(groups)), np.bincount(group)
    columns = starts[group[rows]] + (rng.random(rows.size) * sizes[group[rows]]).astype(int)
    far = rng.random(rows.size) < 0.1
    columns[far] = rng.integers(n, size=far.sum())
    one_way = sp.csr_matrix((np.ones(rows.size), (rows, columns)), shape=(n, n))
    graph = (one_way + one_way.T).tocsr()
    graph.setdiag(0)
    graph.eliminate_zeros()
    reached = []
    for order in (np.arange(n), rng.permutation(n)):
        labels, quality = run(graph[order][:, order], seeds=[1])
        assert len(np.unique(labels)) == groups
        counts = np.zeros((groups, groups))
        np.add.at(counts, (labels, group[order]), 1)
        assert counts.max(axis=1).sum() > 0.99 * n
        reached.append(quality)
    assert reached[0] == pytest.approx(reached[1], abs=1e-3)


def test_a_sweep_is_as_many_calls():
    graph = random_graph(300, 0.06, 3, groups=8)
    for n in (1, 3):
        with threads(n):
            found = sweep(graph, resolutions=[0.3, 1.0, 3.0], n_iterations=2, seeds=range(4))
        for resolution, (labels, quality) in zip((0.3, 1.0, 3.0), found, strict=True):
            want, reached = run(graph, resolution=resolution)
            np.testing.assert_array_equal(labels, want)
            assert quality == reached

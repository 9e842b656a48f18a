"""Graphs: whether one is symmetric and sound, in one walk."""

import numpy as np
import scipy.sparse as sp

from cellsigil._core._graph import is_plain


def _symmetric(rng, n=60):
    upper = sp.triu(sp.random(n, n, density=0.1, random_state=rng), k=1)
    return sp.csr_matrix(upper + upper.T).astype(np.float32)


def test_a_symmetric_graph_is_plain():
    rng = np.random.default_rng(3)
    for dtype in (np.float32, np.float64):
        assert is_plain(_symmetric(rng).astype(dtype))
    ones = _symmetric(rng)
    ones.data[:] = 1
    assert is_plain(ones)
    assert is_plain(sp.csr_matrix((4, 4)))
    assert is_plain(sp.csr_matrix((0, 0)))


def test_whatever_is_not_plain_is_seen():
    rng = np.random.default_rng(4)
    good = _symmetric(rng)

    def changed(change):
        graph = good.copy()
        change(graph)
        return graph

    def put(place, value):
        return lambda graph: graph.data.__setitem__(place, value)

    def swap_columns(graph):  # of the first row with two
        first = graph.indptr[np.flatnonzero(np.diff(graph.indptr) > 1)[0]]
        graph.indices[[first, first + 1]] = graph.indices[[first + 1, first]]

    not_plain = [
        changed(put(3, np.nextafter(good.data[3], np.float32(2)))),
        *(changed(put(5, bad)) for bad in (0, -1, np.nan, np.inf)),
        changed(swap_columns),
        changed(lambda graph: graph.indices.__setitem__(0, 0)),  # a self-loop
        changed(lambda graph: graph.indices.__setitem__(-1, 99)),  # out of range
        changed(lambda graph: graph.indices.__setitem__(0, -1)),
        sp.csr_matrix(sp.triu(good)),
        sp.csr_matrix(good + sp.identity(good.shape[0])),
    ]
    assert not any(is_plain(graph) for graph in not_plain)


def test_ends_that_are_exchanged_between_edges_are_seen():
    # each vertex keeps its degree and each weight is there twice: (0, 1), (2, 3) one way, (0, 3), (2, 1) back
    rows, columns = [0, 2, 3, 1], [1, 3, 0, 2]
    assert not is_plain(sp.csr_matrix((np.ones(4), (rows, columns)), shape=(4, 4)))
    assert is_plain(sp.csr_matrix((np.ones(4), ([0, 2, 1, 3], [1, 3, 0, 2])), shape=(4, 4)))
    # two edges' weights exchanged on one way
    weights = [1.0, 2.0, 2.0, 1.0]
    assert not is_plain(sp.csr_matrix((weights, ([0, 2, 1, 3], [1, 3, 0, 2])), shape=(4, 4)))

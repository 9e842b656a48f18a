"""Clusters: Leiden on the neighbour graph."""

from __future__ import annotations

import logging
import numbers
import random
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._leiden import leiden
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil._matrix import suggest
from cellsigil.tl._graph import read_graph

log = logging.getLogger(__name__)

# Of so many runs the best is kept: between seeds the modularity's sd is .0005 to .001, more than between
# tools, and four runs still cost less than one call of scanpy's.
RUNS = 4
FLAVORS = ("cellsigil", "igraph", "leidenalg")


def cluster(
    adata: AnnData,
    *,
    resolution: float = 1.0,
    flavor: Literal["cellsigil", "igraph", "leidenalg"] = "cellsigil",
    n_iterations: int = 2,
    rng: int | np.random.Generator = 0,
    key_added: str = _keys.LEIDEN,
    neighbors_key: str = _keys.NEIGHBORS,
) -> None:
    """Cluster the cells by Leiden's modularity on the neighbour graph.

    Parameters
    ----------
    adata
        Cells with a graph from `cellsigil.pp.neighbors` or ``scanpy.pp.neighbors``.
    resolution
        Above 0; larger gives more clusters.
    flavor
        "cellsigil": our kernel, the best of four runs in parallel, same bits on any number of threads, every
        cluster connected; "igraph" (the best of four runs) or "leidenalg" (one run, slower): the same
        objective, GPL.
    n_iterations
        Rounds of a run; -1 goes on until nothing changes. The best of our four goes on for as many again.
    rng
        Seed or generator.
    key_added
        Name of the column in ``obs``.
    neighbors_key
        Entry of ``uns`` that says where the graph lies (scanpy's ``key_added``).

    Raises
    ------
    KeyError
        There is no graph.
    ValueError
        A parameter is out of range, or an edge's weight is negative or not finite.

    Sets
    ----
    ``obs[key_added]``
        Categorical "0", "1", ...: largest cluster first, ties by the first cell.
    ``uns[key_added]``
        ``params`` (resolution, random_state, n_iterations, flavor) and ``modularity``.

    References
    ----------
    Traag, Waltman and van Eck 2019, Sci Rep 9:5233.
    """
    if not isinstance(resolution, numbers.Real) or not 0 < resolution < np.inf:
        msg = f"resolution={resolution!r}: a number above 0 is needed; 1 is usual, larger gives more clusters."
        raise ValueError(msg)
    if flavor not in FLAVORS:
        msg = f"flavor={flavor!r} is not known. {suggest(flavor, FLAVORS)}"
        raise ValueError(msg)
    if not isinstance(n_iterations, numbers.Integral) or (n_iterations < 1 and n_iterations != -1):
        msg = f"n_iterations={n_iterations!r}: a whole number of 1 or more is needed, or -1 for as many as it takes."
        raise ValueError(msg)
    check_key(key_added)
    seed = seed_of(rng)
    graph = read_graph(adata, neighbors_key)[0]
    labels, modularity = np.arange(adata.n_obs), float("nan")
    if graph.nnz:  # without an edge every cell stays alone
        run = {"cellsigil": _ours, "igraph": _igraph, "leidenalg": _leidenalg}[flavor]
        labels, modularity = run(graph, float(resolution), int(n_iterations), seed)
    labels = _by_size(labels)
    n_clusters = int(labels.max(initial=-1)) + 1
    adata.obs[key_added] = pd.Categorical.from_codes(
        labels, categories=[str(c) for c in range(n_clusters)]
    )
    params = {"resolution": float(resolution), "random_state": seed}
    params |= {"n_iterations": int(n_iterations), "flavor": flavor}
    adata.uns[key_added] = {"params": params, "modularity": modularity}
    log.info(
        "cluster: %d cells, %d edges -> %d clusters, modularity %.4f",
        adata.n_obs, graph.nnz // 2, n_clusters, modularity,
    )  # fmt: skip


def _ours(
    graph: sp.csr_matrix, resolution: float, rounds: int, seed: int
) -> tuple[np.ndarray, float]:
    seeds = [(RUNS * seed + run) % 2**32 for run in range(RUNS)]
    return leiden(graph, resolution=resolution, n_iterations=rounds, seeds=seeds)


def _edges(graph: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return each edge once, (m, 2) int64 in order, and its weight."""
    upper = sp.triu(graph, k=1, format="csr")
    upper.sort_indices()
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(upper.indptr))
    return np.stack([rows, upper.indices], axis=1).astype(np.int64), upper.data


def _igraph(
    matrix: sp.csr_matrix, resolution: float, rounds: int, seed: int
) -> tuple[np.ndarray, float]:
    import igraph

    n = matrix.shape[0]
    edges, weights = _edges(matrix)
    graph = igraph.Graph(n=n, edges=edges)
    graph.es["weight"] = weights.tolist()
    best, reached = [0] * n, -np.inf
    try:
        igraph.set_random_number_generator(random.Random(seed))
        for _ in range(RUNS):
            part = graph.community_leiden(
                objective_function="modularity", weights="weight",
                resolution=resolution, n_iterations=rounds,
            ).membership  # fmt: skip
            quality = graph.modularity(part, weights="weight", resolution=resolution)
            if quality > reached:
                best, reached = part, quality
    finally:
        igraph.set_random_number_generator(random)  # what python-igraph starts with
    return np.asarray(best), _modularity(graph, best, weights)


def _leidenalg(
    matrix: sp.csr_matrix, resolution: float, rounds: int, seed: int
) -> tuple[np.ndarray, float]:
    import igraph
    import leidenalg

    edges, weights = _edges(matrix)
    graph = igraph.Graph(n=matrix.shape[0], edges=edges)
    part = leidenalg.find_partition(
        graph, leidenalg.RBConfigurationVertexPartition, weights=weights.tolist(),
        resolution_parameter=resolution, n_iterations=rounds, seed=seed % 2**31,
    )  # fmt: skip
    return np.asarray(part.membership), _modularity(graph, part.membership, weights)


def _modularity(graph: Any, membership: list[int], weights: np.ndarray) -> float:
    """Weighted modularity at resolution 1, so that runs can be compared."""
    return float(graph.modularity(membership, weights=weights.tolist()))


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Renumber clusters from the largest; equal ones by their first cell."""
    _, first, codes, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(sizes.size, np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(sizes.size)
    return rank[codes]

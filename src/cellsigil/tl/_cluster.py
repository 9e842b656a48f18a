"""Clusters: Leiden on the neighbour graph."""

from __future__ import annotations

import logging
import numbers
import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._leiden import sweep
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil._matrix import suggest
from cellsigil.tl._graph import read_graph

log = logging.getLogger(__name__)

# So many runs are made and combined: between seeds the modularity's sd is .0005 to .001, more than between tools,
# and two so combined reach igraph's converged but for .0002 on eight graphs of real cells (.0004 and .0005 below it
# on pbmc3k resampled to 50,000 and 100,000). Four gain .0001 to .001, for 1.6 times the cost. The runs of seed s have
# seeds 4 s to 4 s + 3: neighbouring seeds share none.
RUNS, MOST_RUNS = 2, 4
FLAVORS = ("cellsigil", "igraph", "leidenalg")

Found = tuple[np.ndarray, float]  # labels, and their modularity at resolution 1


def cluster(
    adata: AnnData,
    *,
    resolution: float | Sequence[float] = 1.0,
    flavor: Literal["cellsigil", "igraph", "leidenalg"] = "cellsigil",
    n_iterations: int = 2,
    n_runs: int = RUNS,
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
        Above 0; larger gives more clusters. Of several, ``[0.5, 1, 2]``, each has its own column, named after
        it, with the labels that a call of its own would give; the graph is read once, the runs go in parallel.
    flavor
        "cellsigil": our kernel, runs combined (``n_runs``), same bits on any number of threads, every cluster
        connected; "igraph" (the best of ``n_runs``) or "leidenalg" (always one run, slower): the same
        objective, GPL. To combine, cells that all runs put together become one node, and each run climbs on
        in the graph of those nodes; the best is kept.
    n_iterations
        Rounds of a run; -1 goes on until nothing changes. What our runs combine to goes on for as many again,
        unless two of them are as good or a round gains less than .0002 of modularity.
    n_runs
        So many runs are combined, 1 to 4. 4 gained .0001 to .001 of modularity over 2 on graphs of real cells,
        for 1.6 times the cost. 1: a single run, as scanpy's and CREST's, at half the cost; its modularity was
        .0002 to .003 less, with an sd of as much between seeds.
    rng
        Seed or generator.
    key_added
        Name of the column in ``obs``; of several resolutions, what stands before "_0.5", "_1", "_2".
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
        ``params`` (resolution, random_state, n_iterations, n_runs, flavor; n_runs is 1 of "leidenalg") and
        ``modularity``.
    ``obs[f"{key_added}_{r:g}"]``, ``uns[f"{key_added}_{r:g}"]``
        The same for each resolution r, where there are several.

    References
    ----------
    Traag, Waltman and van Eck 2019, Sci Rep 9:5233.
    """
    resolutions = _named(resolution, key_added)
    if flavor not in FLAVORS:
        msg = f"flavor={flavor!r} is not known. {suggest(flavor, FLAVORS)}"
        raise ValueError(msg)
    if not isinstance(n_iterations, numbers.Integral) or (n_iterations < 1 and n_iterations != -1):
        msg = f"n_iterations={n_iterations!r}: a whole number of 1 or more is needed, or -1 for as many as it takes."
        raise ValueError(msg)
    if not isinstance(n_runs, numbers.Integral) or not 1 <= n_runs <= MOST_RUNS:
        msg = f"n_runs={n_runs!r}: a whole number from 1 to {MOST_RUNS} is needed; {RUNS} is usual."
        raise ValueError(msg)
    n_runs = 1 if flavor == "leidenalg" else int(n_runs)
    check_key(key_added)
    seed = seed_of(rng)
    graph = read_graph(adata, neighbors_key)[0]
    values = list(resolutions.values())
    found = [(np.arange(adata.n_obs), float("nan"))] * len(values)
    if graph.nnz:  # without an edge every cell stays alone
        run = {"cellsigil": _ours, "igraph": _igraph, "leidenalg": _leidenalg}[flavor]
        found = run(graph, values, int(n_iterations), n_runs, seed)
    for (key, value), (labels, modularity) in zip(resolutions.items(), found, strict=True):
        codes = _by_size(labels)
        n_clusters = int(codes.max(initial=-1)) + 1
        names = [str(c) for c in range(n_clusters)]
        adata.obs[key] = pd.Categorical.from_codes(codes, categories=names)
        params = {"resolution": value, "random_state": seed}
        params |= {"n_iterations": int(n_iterations), "n_runs": n_runs, "flavor": flavor}
        adata.uns[key] = {"params": params, "modularity": modularity}
        log.info(
            "cluster: %d cells, %d edges, resolution %g -> %d clusters, modularity %.4f",
            adata.n_obs, graph.nnz // 2, value, n_clusters, modularity,
        )  # fmt: skip


def _named(resolution: float | Sequence[float], key_added: str) -> dict[str, float]:
    """Return the resolutions by the column that each one gets."""
    several = isinstance(resolution, Sequence | np.ndarray) and not isinstance(resolution, str)
    values: list[Any] = list(resolution) if several else [resolution]  # type: ignore[arg-type]
    for value in values:
        if not isinstance(value, numbers.Real) or not 0 < float(value) < np.inf:
            msg = f"resolution={value!r}: a number above 0 is needed; 1 is usual, larger gives more clusters."
            raise ValueError(msg)
    if not values:
        msg = "resolution=[]: at least one number above 0 is needed; 1 is usual."
        raise ValueError(msg)
    keys = [f"{key_added}_{value:g}" if several else key_added for value in values]
    for k, key in enumerate(keys):
        if key in keys[:k]:
            msg = (
                f"resolution={values[keys.index(key)]!r} and {values[k]!r} would both be obs[{key!r}]. "
                f"Leave one out, or call twice with another key_added=."
            )
            raise ValueError(msg)
    return dict(zip(keys, map(float, values), strict=True))


def _ours(
    graph: sp.csr_matrix, resolutions: list[float], rounds: int, n_runs: int, seed: int
) -> list[Found]:
    seeds = [(MOST_RUNS * seed + run) % 2**32 for run in range(n_runs)]
    return sweep(graph, resolutions=resolutions, n_iterations=rounds, seeds=seeds)


def _edges(graph: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return each edge once, (m, 2) int64 in order, and its weight."""
    upper = sp.triu(graph, k=1, format="csr")
    upper.sort_indices()
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(upper.indptr))
    return np.stack([rows, upper.indices], axis=1).astype(np.int64), upper.data


def _igraph(
    matrix: sp.csr_matrix, resolutions: list[float], rounds: int, n_runs: int, seed: int
) -> list[Found]:
    import igraph

    edges, weights = _edges(matrix)
    graph = igraph.Graph(n=matrix.shape[0], edges=edges)
    graph.es["weight"] = weights.tolist()
    try:
        return [_best_igraph(graph, resolution, rounds, n_runs, seed) for resolution in resolutions]
    finally:
        igraph.set_random_number_generator(random)  # what python-igraph starts with


def _best_igraph(graph: Any, resolution: float, rounds: int, n_runs: int, seed: int) -> Found:
    import igraph

    igraph.set_random_number_generator(random.Random(seed))
    best, reached = [0] * graph.vcount(), -np.inf
    for _ in range(n_runs):
        part = graph.community_leiden(
            objective_function="modularity", weights="weight",
            resolution=resolution, n_iterations=rounds,
        ).membership  # fmt: skip
        quality = graph.modularity(part, weights="weight", resolution=resolution)
        if quality > reached:
            best, reached = part, quality
    return np.asarray(best), _modularity(graph, best, graph.es["weight"])


def _leidenalg(
    matrix: sp.csr_matrix, resolutions: list[float], rounds: int, _n_runs: int, seed: int
) -> list[Found]:
    import igraph
    import leidenalg

    edges, data = _edges(matrix)
    graph, weights = igraph.Graph(n=matrix.shape[0], edges=edges), data.tolist()
    found = []
    for resolution in resolutions:
        part = leidenalg.find_partition(
            graph, leidenalg.RBConfigurationVertexPartition, weights=weights,
            resolution_parameter=resolution, n_iterations=rounds, seed=seed % 2**31,
        ).membership  # fmt: skip
        found.append((np.asarray(part), _modularity(graph, part, weights)))
    return found


def _modularity(graph: Any, membership: list[int], weights: list[float]) -> float:
    """Weighted modularity at resolution 1, so that runs can be compared."""
    return float(graph.modularity(membership, weights=weights))


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Renumber clusters from the largest; equal ones by their first cell."""
    _, first, codes, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(sizes.size, np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(sizes.size)
    return rank[codes]

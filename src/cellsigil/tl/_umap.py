"""UMAP of the neighbour graph."""

from __future__ import annotations

import logging
import numbers
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._layout import fit_curve, layout
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil._matrix import suggest
from cellsigil.tl._graph import read_graph

log = logging.getLogger(__name__)


def umap(
    adata: AnnData,
    *,
    min_dist: float = 0.5,
    spread: float = 1.0,
    n_epochs: int | None = None,
    method: Literal["cellsigil", "umap-learn"] = "cellsigil",
    rng: int | np.random.Generator = 0,
    key_added: str | None = None,
    neighbors_key: str = _keys.NEIGHBORS,
) -> None:
    """Lay out the neighbour graph in the plane with UMAP.

    Parameters
    ----------
    adata
        Cells with a graph from `cellsigil.pp.neighbors` or ``scanpy.pp.neighbors``.
    min_dist
        How close neighbours may come, 0 up to ``3 * spread``.
    spread
        Scale of the layout.
    n_epochs
        Rounds of the descent; None means 500 up to 10,000 cells, 200 above.
    method
        "cellsigil": our kernel, same bits on any number of threads, started from the first two
        principal components of what the graph was made from (spectral where that is gone, or wider than 200);
        "umap-learn": umap's own, started spectrally.
    rng
        Seed or generator.
    key_added
        Key in ``obsm`` and ``uns``; None means "X_umap" and "umap".
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
    ``obsm[key_added]``
        float32 (cells, 2). A cell without edges stays near its start.
    ``uns[key_added]``
        ``params``: a, b, min_dist, spread, n_epochs, method, random_state.

    References
    ----------
    McInnes, Healy and Melville 2018, arXiv:1802.03426.
    """
    if not isinstance(spread, numbers.Real) or not 0 < spread < np.inf:
        msg = f"spread={spread!r}: a number above 0 is needed; 1 is usual."
        raise ValueError(msg)
    if not isinstance(min_dist, numbers.Real) or not 0 <= min_dist < 3 * spread:
        msg = f"min_dist={min_dist!r}: a number from 0 to below 3 * spread = {3 * spread:g} is needed."
        raise ValueError(msg)
    if n_epochs is not None and (not isinstance(n_epochs, numbers.Integral) or n_epochs < 1):
        msg = f"n_epochs={n_epochs!r}: a whole number of 1 or more is needed, or None."
        raise ValueError(msg)
    if method not in ("cellsigil", "umap-learn"):
        msg = f"method={method!r} is not known. {suggest(method, ('cellsigil', 'umap-learn'))}"
        raise ValueError(msg)
    check_key(key_added or _keys.UMAP)
    seed = seed_of(rng)
    graph, made_from = read_graph(adata, neighbors_key)
    rounds = int(n_epochs or (500 if adata.n_obs <= 10_000 else 200))
    a, b = fit_curve(float(min_dist), float(spread))
    run = _ours if method == "cellsigil" else _umap_learn
    positions = run(graph, _representation(adata, made_from), a, b, rounds, seed)
    adata.obsm[key_added or _keys.X_UMAP] = positions
    params = {"a": a, "b": b, "min_dist": float(min_dist), "spread": float(spread)}
    params |= {"n_epochs": rounds, "method": method, "random_state": seed}
    adata.uns[key_added or _keys.UMAP] = {"params": params}
    log.info("umap: %d cells, %d edges, %d epochs", adata.n_obs, graph.nnz // 2, rounds)


def _representation(adata: AnnData, made_from: dict[str, Any]) -> np.ndarray | None:
    """Return what the graph was made from, if it is still there and has 2 to 200 columns."""
    points = adata.obsm.get(made_from.get("use_rep", _keys.X_PCA))
    if points is None or sp.issparse(points) or np.ndim(points) != 2:
        return None
    points = np.asarray(points, dtype=np.float64)[:, : made_from.get("n_pcs")]
    return points if 2 <= points.shape[1] <= 200 and np.isfinite(points).all() else None


def _ours(
    graph: sp.csr_matrix, points: np.ndarray | None, a: float, b: float, rounds: int, seed: int
) -> np.ndarray:
    start = _spectral(graph, seed) if points is None else _two_components(points)
    largest = np.abs(start).max(initial=0)
    start = start * (10 / largest if largest > 0 else 1)
    start += np.random.default_rng(seed).normal(
        scale=1e-4, size=start.shape
    )  # identical cells part
    width = np.ptp(start, axis=0) if len(start) > 1 else np.ones(2)
    start = 10 * (start - start.min(axis=0)) / np.where(width > 0, width, 1)
    return layout(graph, start, a=a, b=b, n_epochs=rounds, seed=seed)


def _two_components(points: np.ndarray) -> np.ndarray:
    """Return the first two principal components."""
    from threadpoolctl import threadpool_limits

    centred = points - points.mean(axis=0)
    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = axes[:, [-1, -2]]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
        return centred @ axes


def _spectral(graph: sp.csr_matrix, seed: int) -> np.ndarray:
    """Return the second and third eigenvector of the normalised graph; random where there are too few."""
    rng = np.random.default_rng(seed)
    n = graph.shape[0]
    if n < 8 or not graph.nnz:
        return rng.uniform(-1, 1, (n, 2))
    from scipy.sparse.linalg import ArpackError, eigsh

    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = sp.diags(np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0))
    try:
        values, vectors = eigsh(
            scale @ graph @ scale + sp.identity(n), k=3, which="LA", v0=np.ones(n), maxiter=20 * n
        )
    except ArpackError:
        log.info("umap: no spectral start was found in time; starting at random")
        return rng.uniform(-1, 1, (n, 2))
    return vectors[:, np.argsort(-values, kind="stable")[1:3]]


def _umap_learn(
    graph: sp.csr_matrix, points: np.ndarray | None, a: float, b: float, rounds: int, seed: int
) -> np.ndarray:
    if graph.shape[0] < 4 or not graph.nnz:
        msg = (
            f"umap-learn can't lay out {graph.shape[0]} cells with {graph.nnz // 2} edges. "
            f"Use method='cellsigil'."
        )
        raise ValueError(msg)
    from umap.umap_ import simplicial_set_embedding

    # umap reads the data only to place the parts of a graph that is not connected
    data = np.zeros((graph.shape[0], 2), np.float32) if points is None else points
    positions, _ = simplicial_set_embedding(
        data=data.astype(np.float32), graph=graph.tocoo(), n_components=2, initial_alpha=1.0,
        a=a, b=b, gamma=1.0, negative_sample_rate=5, n_epochs=rounds, init="spectral",
        random_state=np.random.RandomState(seed), metric="euclidean", metric_kwds={},
        densmap=False, densmap_kwds={}, output_dens=False,
    )  # fmt: skip
    return np.asarray(positions, dtype=np.float32)

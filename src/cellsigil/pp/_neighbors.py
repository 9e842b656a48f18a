"""The neighbour graph of cells: exact nearest neighbours, fuzzy connectivities."""

from __future__ import annotations

import logging
import numbers
import warnings
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._graph import fuzzy_union
from cellsigil._core._knn import nearest
from cellsigil._core._seed import seed_of
from cellsigil._matrix import check_adata, read_matrix, suggest

log = logging.getLogger(__name__)


def neighbors(
    adata: AnnData,
    *,
    n_neighbors: int = 15,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    rng: int | np.random.Generator = 0,
) -> None:
    """Find the nearest neighbours of every cell and weigh the graph that they make.

    The search is exact: its time grows with the square of the number of cells (about 100,000 are
    workable). Ties are broken by the cells' order, counted from the cell itself onwards.

    Parameters
    ----------
    adata
        Cells x genes with a representation in ``obsm``.
    n_neighbors
        Neighbours of a cell, itself included (scanpy's convention). With fewer cells than that, all
        of them, and a warning.
    use_rep
        Key in ``obsm`` (array, sparse matrix or DataFrame), or ``"X"``. None means ``"X_pca"``.
    n_pcs
        Use the first ``n_pcs`` columns only; None means all.
    metric
        Distance: "euclidean", or "cosine" (1 - cosine of the angle; a cell of zeros is at 1 from all
        others but cells of zeros).
    rng
        Stored for scanpy's functions that read it; an exact search draws nothing.

    Raises
    ------
    KeyError
        There is no such representation.
    ValueError
        A value is NaN or infinite (the cell is named), or a parameter is out of range.

    Sets
    ----
    ``obsp["distances"]``
        CSR float64, ``n_neighbors - 1`` stored a row, the cell itself left out.
    ``obsp["connectivities"]``
        CSR float32, symmetric: UMAP's fuzzy simplicial set.
    ``uns["neighbors"]``
        Where these lie, and the parameters, as scanpy stores them.

    References
    ----------
    McInnes, Healy and Melville 2018, arXiv:1802.03426, section 3.1.
    """
    if metric not in ("euclidean", "cosine"):
        msg = f"metric={metric!r} is not known. {suggest(metric, ('euclidean', 'cosine'))}"
        raise ValueError(msg)
    if not isinstance(n_neighbors, numbers.Integral) or n_neighbors < 2:
        msg = f"n_neighbors={n_neighbors!r}: a whole number of 2 or more is needed (the cell itself counts)."
        raise ValueError(msg)
    seed = seed_of(rng)
    use_rep = _keys.X_PCA if use_rep is None else use_rep
    points = _read_points(adata, use_rep, n_pcs)
    size = min(int(n_neighbors), adata.n_obs)
    if size < n_neighbors:
        msg = f"n_neighbors={n_neighbors}, but there are {adata.n_obs} cells: every cell is linked to all others."
        warnings.warn(msg, UserWarning, stacklevel=2)
    ids, distances = nearest(_directions(points) if metric == "cosine" else points, size - 1)
    if metric == "cosine":  # for unit vectors 1 - x.y = |x - y|^2 / 2, without its cancellation
        distances = distances**2 / 2
    indptr = np.arange(adata.n_obs + 1, dtype=np.int32) * (size - 1)
    shape = (adata.n_obs, adata.n_obs)
    graph = fuzzy_union(ids, distances)
    params: dict[str, Any] = {"n_neighbors": size, "method": "umap", "random_state": seed}
    params |= {"metric": metric, "use_rep": use_rep}
    if n_pcs is not None:
        params["n_pcs"] = int(n_pcs)
    adata.obsp[_keys.DISTANCES] = sp.csr_matrix(
        (distances.ravel(), ids.ravel().astype(np.int32), indptr), shape=shape
    )
    adata.obsp[_keys.CONNECTIVITIES] = graph
    adata.uns[_keys.NEIGHBORS] = {
        "connectivities_key": _keys.CONNECTIVITIES,
        "distances_key": _keys.DISTANCES,
        "params": params,
    }
    log.info(
        "neighbors: %d cells, %d columns of %s, %d neighbours each, %d edges",
        adata.n_obs, points.shape[1], use_rep, size - 1, graph.nnz // 2,
    )  # fmt: skip


def _read_points(adata: AnnData, use_rep: str, n_pcs: int | None) -> np.ndarray:
    """Return the representation as float64 (cells, columns), every value finite."""
    check_adata(adata)
    if adata.n_obs == 0:
        msg = "adata has no cells. Was everything filtered out?"
        raise ValueError(msg)
    if use_rep == "X":
        points = read_matrix(adata).whole().to_scipy().toarray()
    elif use_rep in adata.obsm:
        found = adata.obsm[use_rep]
        points = found.toarray() if sp.issparse(found) else np.asarray(found)
    elif use_rep == _keys.X_PCA:
        msg = (
            "No obsm['X_pca']: the neighbours are sought in the principal components. Run "
            "cellsigil.pp.pca(adata) first, or name another representation with use_rep=."
        )
        raise KeyError(msg)
    else:
        msg = f"No obsm[{use_rep!r}]. {suggest(use_rep, [*adata.obsm, 'X'])}"
        raise KeyError(msg)
    if points.ndim != 2 or points.dtype.kind not in "biuf" or points.shape[1] == 0:
        msg = (
            f"obsm[{use_rep!r}] is a {points.ndim}-d array of {points.dtype}, shape {points.shape}; "
            f"a table of numbers, cells x columns, is needed."
        )
        raise ValueError(msg)
    if n_pcs is not None:
        if not isinstance(n_pcs, numbers.Integral) or not 1 <= n_pcs <= points.shape[1]:
            msg = f"n_pcs={n_pcs!r}, but {use_rep} has {points.shape[1]} columns. Ask for 1 to {points.shape[1]}."
            raise ValueError(msg)
        points = points[:, :n_pcs]
    points = np.ascontiguousarray(points, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if bad.size:
        column = int(np.flatnonzero(~np.isfinite(points[bad[0]]))[0])
        msg = (
            f"{use_rep} holds {points[bad[0], column]:g} at cell {str(adata.obs_names[bad[0]])!r}, "
            f"column {column} ({bad.size} cells have such values). Only finite numbers have "
            f"neighbours: find where it came from, or remove the cells."
        )
        raise ValueError(msg)
    return points


def _directions(points: np.ndarray) -> np.ndarray:
    """Return rows of unit length; a row of zeros gets its own axis, at cosine 0 from all others."""
    largest = np.abs(points).max(axis=1, keepdims=True)
    scaled = points / np.where(largest > 0, largest, 1)
    length = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    return np.hstack([scaled / np.where(length > 0, length, 1), (length == 0).astype(np.float64)])

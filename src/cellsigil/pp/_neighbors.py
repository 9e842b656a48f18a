"""The neighbour graph of cells: nearest neighbours, exact or of measured recall, and their weights."""

from __future__ import annotations

import logging
import numbers
import warnings
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._graph import fuzzy_union, gaussian_union
from cellsigil._core._ivf import nearest_by_lists
from cellsigil._core._knn import nearest
from cellsigil._core._seed import seed_of
from cellsigil._matrix import check_adata, read_matrix, suggest

log = logging.getLogger(__name__)

# Cells. Of 10,000 exact takes .29 CPU-s and lists .19, of 20,000 .93 and .40: exact as long as it is cheap.
LARGEST_EXACT = 10_000


def neighbors(
    adata: AnnData,
    *,
    n_neighbors: int = 15,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    method: Literal["auto", "exact", "approximate"] = "auto",
    connectivities: Literal["umap", "gauss"] = "umap",
    rng: int | np.random.Generator = 0,
) -> None:
    """Find the nearest neighbours of every cell and weigh the graph that they make.

    Up to 10,000 cells the search is exact, and ties are broken by the cells' order, counted from the
    cell itself onwards. Above, cells look only into the lists of k-means that are near in terms of how
    far the neighbours in the nearest two are, and then among the neighbours of their neighbours. What that
    finds is measured on 512 cells against the exact answer, others than the 512 by which it was chosen how
    near is near, and lists farther off are searched until at least 99 % of the neighbours of both are found
    (95 % above 100,000 cells). The answer does not depend on the number of threads.

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
    method
        Search: "exact", its time grows with the square of the number of cells; "approximate"; or
        "auto", by the number of cells.
    connectivities
        Weights: "umap", the fuzzy simplicial set, or "gauss", a Gaussian kernel whose width is each
        cell's median squared distance.
    rng
        Stored for scanpy's functions that read it; the search draws its samples from seeds of its own.

    Warns
    -----
    UserWarning
        There are fewer cells than neighbours asked for, or the measured recall is below the promise.

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
        CSR float32, symmetric: the weights.
    ``uns["neighbors"]``
        Where these lie, and the parameters, as scanpy stores them; after an approximate search also
        the measured ``recall``.

    References
    ----------
    McInnes, Healy and Melville 2018, arXiv:1802.03426, section 3.1, for "umap". Haghverdi et al. 2016,
    Nat Methods 13:845, and Coifman et al. 2005, PNAS 102:7426, for "gauss", as scanpy defines it. Sivic
    and Zisserman 2003 for inverted lists; Dong et al. 2011 for neighbours of neighbours.
    """
    _check_choice("metric", metric, ("euclidean", "cosine"))
    _check_choice("method", method, ("auto", "exact", "approximate"))
    _check_choice("connectivities", connectivities, ("umap", "gauss"))
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
    if method == "auto":
        method = "exact" if adata.n_obs <= LARGEST_EXACT else "approximate"
    where = _directions(points) if metric == "cosine" else points
    if method == "exact" or size == 1:
        (ids, distances), recall = nearest(where, size - 1), None
    else:
        ids, distances, recall = _nearest_enough(where, size - 1)
    if metric == "cosine":  # for unit vectors 1 - x.y = |x - y|^2 / 2, without its cancellation
        distances = distances**2 / 2
    indptr = np.arange(adata.n_obs + 1, dtype=np.int32) * (size - 1)
    shape = (adata.n_obs, adata.n_obs)
    graph = (fuzzy_union if connectivities == "umap" else gaussian_union)(ids, distances)
    params: dict[str, Any] = {"n_neighbors": size, "method": connectivities, "random_state": seed}
    params |= {"metric": metric, "use_rep": use_rep}
    if recall is not None:
        params["recall"] = recall
    if n_pcs is not None:
        params["n_pcs"] = int(n_pcs)
    adata.obsp[_keys.DISTANCES] = sp.csr_matrix(
        (distances.ravel(), ids.ravel(), indptr), shape=shape
    )
    adata.obsp[_keys.CONNECTIVITIES] = graph
    adata.uns[_keys.NEIGHBORS] = {
        "connectivities_key": _keys.CONNECTIVITIES,
        "distances_key": _keys.DISTANCES,
        "params": params,
    }
    log.info(
        "neighbors: %d cells, %d columns of %s, %d neighbours each (%s), %d edges",
        adata.n_obs, points.shape[1], use_rep, size - 1,
        "exact" if recall is None else f"{100 * recall:.1f} % of a sample's true ones", graph.nnz // 2,
    )  # fmt: skip


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"{name}={value!r} is not known. {suggest(value, known)}"
        raise ValueError(msg)


def _nearest_enough(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Search approximately, and warn where the promise could not be kept."""
    promise = 0.99 if len(points) <= 100_000 else 0.95
    ids, distances, recall = nearest_by_lists(points, k, promise)
    if recall < promise:
        msg = (
            f"neighbors found {100 * recall:.1f} % of a sample's true neighbours, less than the "
            f"{100 * promise:.0f} % promised. Use method='exact'."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    return ids, distances, recall


def _read_points(adata: AnnData, use_rep: str, n_pcs: int | None) -> np.ndarray:
    """Return the representation as float32, if it was, or float64 (cells, columns), every value finite."""
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
    kept = np.float32 if points.dtype == np.float32 else np.float64
    points = np.ascontiguousarray(points, dtype=kept)
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
    points = points.astype(np.float64, copy=False)
    largest = np.abs(points).max(axis=1, keepdims=True)
    scaled = points / np.where(largest > 0, largest, 1)
    length = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    return np.hstack([scaled / np.where(length > 0, length, 1), (length == 0).astype(np.float64)])

"""The neighbour graph as `cellsigil.pp.neighbors` or scanpy left it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._block import check_indices, check_indptr
from cellsigil._core._graph import is_plain
from cellsigil._matrix import check_adata, suggest

WAY_OUT = "Run cellsigil.pp.neighbors(adata)"
PARTS = ("indptr", "indices", "data")


def read_graph(adata: AnnData, neighbors_key: str) -> tuple[sp.csr_matrix, dict[str, Any]]:
    """Return the graph and the parameters that it was made with.

    The graph is a float64 CSR: symmetric (a directed one becomes the mean of both ways), sorted, without
    self-loops and zeros. What is so already is not copied, but for its weights.

    Raises
    ------
    KeyError
        There is no graph.
    ValueError
        A weight is negative, NaN or infinite, or the sparse structure is broken.
    """
    check_adata(adata)
    if neighbors_key not in adata.uns:
        graphs = [key for key, entry in adata.uns.items() if _is_entry(entry)]
        near = f" {suggest(neighbors_key, graphs)}" if graphs else ""
        msg = f"No uns[{neighbors_key!r}]: there is no neighbour graph.{near} {WAY_OUT} first."
        raise KeyError(msg)
    entry = adata.uns[neighbors_key]
    key = entry.get("connectivities_key", _keys.CONNECTIVITIES)
    if key not in adata.obsp:
        msg = f"uns[{neighbors_key!r}] names obsp[{key!r}], which is gone. {WAY_OUT} again."
        raise KeyError(msg)
    stored = adata.obsp[key]
    if hasattr(stored, "compute"):  # opened lazily
        stored = stored.compute()
    graph = sp.csr_matrix(stored)
    check_indptr(graph, f"obsp[{key!r}]", adata.n_obs, "row")
    if not is_plain(graph):
        graph = _made_plain(graph, key, adata.obs_names)
    parts = (graph.data.astype(np.float64), graph.indices, graph.indptr)
    graph = sp.csr_matrix(parts, shape=graph.shape)
    graph.has_canonical_format = True
    return graph, dict(entry.get("params", {}))


def _made_plain(graph: sp.csr_matrix, key: str, names: Any) -> sp.csr_matrix:
    """Return the mean of both ways, without duplicates, self-loops and zeros, as a matrix of its own."""
    check_indices(graph, f"obsp[{key!r}]", graph.shape[1], "row")
    graph = graph.astype(np.float64, copy=True)
    bad = ~((graph.data >= 0) & np.isfinite(graph.data))
    if bad.any():
        row = np.searchsorted(graph.indptr, np.flatnonzero(bad)[0], side="right") - 1
        cell, found = str(names[row]), graph.data[bad][0]
        msg = (
            f"obsp[{key!r}] holds {found:g} at cell {cell!r}; weights are finite, from 0 up. "
            f"{WAY_OUT} again."
        )
        raise ValueError(msg)
    graph.sum_duplicates()
    other_way = graph.T.tocsr()
    if any((getattr(graph, part) != getattr(other_way, part)).any() for part in PARTS):
        graph = (graph + other_way) / 2
    graph = graph - sp.diags_array(graph.diagonal(), format="csr")
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _is_entry(entry: Any) -> bool:
    return hasattr(entry, "get") and "connectivities_key" in entry

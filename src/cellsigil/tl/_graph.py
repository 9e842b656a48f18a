"""The neighbour graph as `cellsigil.pp.neighbors` or scanpy left it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from cellsigil import _keys
from cellsigil._matrix import check_adata, suggest

WAY_OUT = "Run cellsigil.pp.neighbors(adata)"
PARTS = ("indptr", "indices", "data")


def read_graph(adata: AnnData, neighbors_key: str) -> tuple[sp.csr_matrix, dict[str, Any]]:
    """Return the graph and the parameters that it was made with.

    The graph is a float64 CSR of its own: symmetric (a directed one becomes the mean of both ways),
    sorted, without self-loops and zeros.

    Raises
    ------
    KeyError
        There is no graph.
    ValueError
        A weight is negative, NaN or infinite.
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
    graph = sp.csr_matrix(stored, dtype=np.float64, copy=True)
    bad = ~((graph.data >= 0) & np.isfinite(graph.data))
    if bad.any():
        row = np.searchsorted(graph.indptr, np.flatnonzero(bad)[0], side="right") - 1
        cell, found = str(adata.obs_names[row]), graph.data[bad][0]
        msg = (
            f"obsp[{key!r}] holds {found:g} at cell {cell!r}; weights are finite, from 0 up. "
            f"{WAY_OUT} again."
        )
        raise ValueError(msg)
    graph.sum_duplicates()
    other_way = graph.T.tocsr()
    if any((getattr(graph, part) != getattr(other_way, part)).any() for part in PARTS):
        graph = (graph + other_way) / 2
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    kept = (rows != graph.indices) & (graph.data > 0)
    if not kept.all():
        edges = (rows[kept], graph.indices[kept])
        graph = sp.csr_matrix((graph.data[kept], edges), shape=graph.shape)
    graph.sort_indices()
    return graph, dict(entry.get("params", {}))


def _is_entry(entry: Any) -> bool:
    return hasattr(entry, "get") and "connectivities_key" in entry

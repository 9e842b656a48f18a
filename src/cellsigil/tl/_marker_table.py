"""A marker table in two forms: tidy, and as scanpy keeps it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd


def tidy(
    columns: dict[str, np.ndarray],
    rank: np.ndarray,
    groups: list[str],
    genes: pd.Index,
    rows: list[int],
) -> pd.DataFrame:
    """Return a row per group and gene, best first; genes without a rank by name.

    ``columns`` (G, genes) is emptied as the table grows, so that both are never whole at once;
    ``groups`` are the names of ``rows``.
    """
    first = [
        "auc", "auc_blocked", "z", "z_raw", "t", "log10_p", "log10_padj", "log2fc", "pct_in", "pct_out",
        "mean_in", "mean_out", "cohen_d", "cohen_d_blocked", "cosg", "cosg_blocked", "tau", "n_samples_pos",
    ]  # fmt: skip
    names = [name for name in first if name in columns]
    names += [name for name in columns if name not in first]
    gene_names = pd.Index(genes.astype(str).to_numpy(dtype=object))
    order = _orders(rank[rows], gene_names)
    data: dict[str, Any] = {
        "group": pd.Index(groups).repeat(len(genes)).array,
        "gene": gene_names.take(order.ravel()).array,
        "rank": np.take_along_axis(rank[rows], order, axis=1).ravel(),
    }
    if not np.isnan(data["rank"]).any():
        data["rank"] = data["rank"].astype(np.int64)
    for name in names:
        data[name] = np.take_along_axis(columns.pop(name)[rows], order, axis=1).ravel()
    return pd.DataFrame(data, copy=False)


def _orders(rank: np.ndarray, genes: pd.Index) -> np.ndarray:
    """Return the genes of each row by rank, those without one by name."""
    order = np.empty(rank.shape, np.int64)
    by_name = None
    for own, ranked in zip(order, rank):
        if np.isnan(ranked).any():
            if by_name is None:
                by_name = np.argsort(genes.to_numpy(dtype=object), kind="stable")
            own[:] = by_name[np.argsort(ranked[by_name], kind="stable")]
        else:
            own[ranked.astype(np.int64) - 1] = np.arange(ranked.size)
    return order


def for_scanpy(table: pd.DataFrame, params: dict[str, Any]) -> dict[str, Any]:
    """Return what ``sc.tl.rank_genes_groups`` would leave in uns; groups without a rank are left out."""
    reference = params["reference"]
    out: dict[str, Any] = {
        "params": {
            "groupby": params["groupby"],
            "reference": "rest" if reference == "pairwise" else reference,
            "method": "wilcoxon",
            "use_raw": False,
            "corr_method": "benjamini-hochberg",
        },
        "cellsigil": json.dumps(params, ensure_ascii=False),
    }
    if params["layer"] is not None:  # anndata before 0.12 can't read a None that a newer one wrote
        out["params"]["layer"] = params["layer"]
    names = table["group"].unique()
    n_genes = len(table) // len(names)
    without = table["rank"].isna().to_numpy().reshape(-1, n_genes).any(axis=1)
    ranked = {
        name: slice(i * n_genes, (i + 1) * n_genes)
        for i, name in enumerate(names)
        if not without[i]
    }
    fields = {
        "names": ("O", table["gene"].to_numpy(dtype=object)),
        "scores": ("float32", table["z"].to_numpy()),
        "pvals": ("float64", 10.0 ** table["log10_p"].to_numpy()),
        "pvals_adj": ("float64", 10.0 ** table["log10_padj"].to_numpy()),
        "logfoldchanges": ("float32", table["log2fc"].to_numpy()),
    }
    for field, (dtype, values) in fields.items():
        out[field] = np.rec.fromarrays(
            [values[at] for at in ranked.values()], dtype=[(name, dtype) for name in ranked]
        )
    return out

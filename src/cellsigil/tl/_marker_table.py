"""A marker table in two forms: tidy, and as scanpy keeps it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from cellsigil.tl._stats import GroupStats


def tidy(
    columns: dict[str, np.ndarray], rank: np.ndarray, stats: GroupStats, rows: list[int]
) -> pd.DataFrame:
    """Return a row per group and gene, best first; genes without a rank by name."""
    first = [
        "auc", "auc_blocked", "z", "z_raw", "t", "log10_p", "log10_padj", "log2fc", "pct_in", "pct_out",
        "mean_in", "mean_out", "cohen_d", "cohen_d_blocked", "cosg", "cosg_blocked", "tau", "n_samples_pos",
    ]  # fmt: skip
    names = [name for name in first if name in columns]
    names += [name for name in columns if name not in first]
    genes = stats.genes.astype(str).to_numpy(dtype=object)
    by_name = np.argsort(genes, kind="stable")
    order = [by_name[np.argsort(rank[g][by_name], kind="stable")] for g in rows]
    data: dict[str, Any] = {
        "group": np.repeat(np.array([stats.groups[g] for g in rows], dtype=object), len(genes)),
        "gene": np.concatenate([genes[places] for places in order]),
        "rank": np.concatenate([rank[g][places] for g, places in zip(rows, order)]),
    }
    if not np.isnan(data["rank"]).any():
        data["rank"] = data["rank"].astype(np.int64)
    for name in names:
        data[name] = np.concatenate([columns[name][g][places] for g, places in zip(rows, order)])
    return pd.DataFrame(data)


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
    ranked = {
        name: part
        for name, part in table.groupby("group", sort=False)
        if part["rank"].notna().all()
    }
    fields = {
        "names": ("O", lambda part: part["gene"].to_numpy(dtype=object)),
        "scores": ("float32", lambda part: part["z"].to_numpy()),
        "pvals": ("float64", lambda part: 10.0 ** part["log10_p"].to_numpy()),
        "pvals_adj": ("float64", lambda part: 10.0 ** part["log10_padj"].to_numpy()),
        "logfoldchanges": ("float32", lambda part: part["log2fc"].to_numpy()),
    }
    for field, (dtype, values) in fields.items():
        out[field] = np.rec.fromarrays(
            [values(part) for part in ranked.values()], dtype=[(name, dtype) for name in ranked]
        )
    return out

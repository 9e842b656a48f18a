"""A marker table in two forms: tidy, and as scanpy keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from cellsigil._core._jit import all_in_threads
from cellsigil._core._memory import together

FIRST = [
    "auc", "auc_blocked", "z", "z_raw", "t", "log10_p", "log10_padj", "log2fc", "pct_in", "pct_out",
    "mean_in", "mean_out", "cohen_d", "cohen_d_blocked", "cosg", "cosg_blocked", "tau", "n_samples_pos",
]  # fmt: skip


def tidy(
    columns_of: Callable[[int], dict[str, np.ndarray]],
    order_of: Callable[[int, dict[str, np.ndarray]], tuple[np.ndarray, int]],
    groups: list[str],
    genes: pd.Index,
    rows: list[int],
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a row per group and gene, best first, genes without a rank behind them; and the genes' order.

    ``columns_of`` gives the columns (genes,) of one of ``rows``, ``order_of`` the genes in their order
    and how many of them have a rank; ``groups`` are the names of ``rows``.
    """
    shape = len(rows), len(genes)
    like = columns_of(rows[0])
    names = [name for name in FIRST if name in like]
    names += [name for name in like if name not in FIRST]
    out = dict(zip(names, together((shape, like[name].dtype) for name in names)))
    orders, ranked = np.empty(shape, np.int64), np.empty(len(rows), np.int64)

    def place(i: int) -> None:  # in a thread, which owns this group's part of the table
        columns = columns_of(rows[i])
        orders[i], ranked[i] = order_of(rows[i], columns)
        for name in names:
            np.take(columns[name], orders[i], out=out[name][i], mode="clip")

    all_in_threads(place, range(len(rows)))
    rank = np.tile(np.arange(1, len(genes) + 1), (len(rows), 1))
    if (ranked < len(genes)).any():
        rank = np.where(rank > ranked[:, None], np.nan, rank)
    gene_names = pd.Index(genes.astype(str).to_numpy(dtype=object))
    data: dict[str, Any] = {
        "group": pd.Index(groups).repeat(len(genes)).array,
        "gene": gene_names.take(orders.ravel()).array,
        "rank": rank.ravel(),
    }
    data |= {name: values.ravel() for name, values in out.items()}
    return pd.DataFrame(data, copy=False), orders


def for_scanpy(
    table: pd.DataFrame, params: dict[str, Any], groups: list[str], names: np.ndarray
) -> dict[str, Any]:
    """Return what ``sc.tl.rank_genes_groups`` would leave in uns; groups without a rank are left out.

    ``groups`` are those of the table, in their order; ``names`` (groups, genes) are its genes as Python's
    strings: made anew from a column of pandas they would take 77 ms of 86 groups, not 9.
    """
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
    fields = {
        "names": ("O", names),
        "scores": ("float32", table["z"].to_numpy()),
        "pvals": ("float64", 10.0 ** table["log10_p"].to_numpy()),
        "pvals_adj": ("float64", 10.0 ** table["log10_padj"].to_numpy()),
        "logfoldchanges": ("float32", table["log2fc"].to_numpy()),
    }
    whole = ~table["rank"].isna().to_numpy().reshape(len(groups), -1).any(axis=1)
    kept = [name for name, keep in zip(groups, whole) if keep]
    for field, (dtype, values) in fields.items():
        of_group = values.reshape(len(groups), -1)
        rows = [of_group[i] for i in np.flatnonzero(whole)]
        out[field] = _records(rows, [(name, dtype) for name in kept], of_group.shape[1])
    return out


def _records(rows: list[np.ndarray], dtype: list[tuple[str, str]], n: int) -> np.recarray:
    """Return n records with a field for each row."""
    out = np.zeros(n, dtype)  # np.empty would write None to each field: 42 ms of 100 groups, not 7
    for (name, _), values in zip(dtype, rows):
        out[name] = values
    return out.view(np.recarray)

"""Which markers a figure shows, and what every group has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil._matrix import suggest
from cellsigil.pl import _style
from cellsigil.tl import group_stats
from cellsigil.tl import markers as rank_markers

if TYPE_CHECKING:
    from anndata import AnnData


class Top(NamedTuple):
    """The top markers of groups, and what each group has of them."""

    owner: dict[str, str]  # gene -> the group that it marks
    mean: pd.DataFrame  # groups x genes, mean log expression
    share: pd.DataFrame  # groups x genes, share of cells with the gene


def top_markers(adata: AnnData, groupby: str, table: pd.DataFrame | None, n: int) -> Top:
    """Find the top n genes of each group, and what every group has of them."""
    if n < 1:
        msg = f"n={n}: at least one gene of each group is needed."
        raise ValueError(msg)
    _, names = _style.as_categories(_style.column(adata, groupby))
    chosen = _from_uns(adata, groupby, names, n) if table is None else None
    if chosen is None:
        if table is None:
            table = _ranked(adata, groupby)
        chosen = _from_table(table, groupby, names, n)
    owner: dict[str, str] = {}
    for group, genes in chosen.items():
        for gene in genes:
            owner.setdefault(gene, group)
    if not owner:
        msg = f"No marker of {groupby!r} is a gene of these data. Run cellsigil.tl.markers(adata, {groupby!r})."
        raise ValueError(msg)
    mean, share = _levels(adata, groupby, table, owner, list(chosen))
    return Top(owner, mean, share)


def _from_uns(
    adata: AnnData, groupby: str, names: list[str], n: int
) -> dict[str, list[str]] | None:
    result = adata.uns.get(_keys.RANK_GENES_GROUPS)
    try:
        genes, of = result["names"], result["params"]["groupby"]  # type: ignore[index]
        groups = list(genes.dtype.names or [])
    except (TypeError, KeyError, AttributeError):
        return None
    if of != groupby or not groups or not set(groups) <= set(names):
        return None
    known = set(adata.var_names.astype(str))
    return {
        group: [str(gene) for gene in genes[group] if str(gene) in known][:n]
        for group in names
        if group in groups
    }


def _ranked(adata: AnnData, groupby: str) -> pd.DataFrame:
    """Return the marker table without leaving anything in the caller's object."""
    import anndata as ad

    stats = group_stats(adata, groupby)
    shell = ad.AnnData(
        X=adata.X, obs=adata.obs[[groupby]].copy(), var=pd.DataFrame(index=adata.var_names)
    )
    return rank_markers(shell, groupby, stats=stats)


def _from_table(
    table: pd.DataFrame, groupby: str, names: list[str], n: int
) -> dict[str, list[str]]:
    missing = [column for column in ("group", "gene", "rank") if column not in table]
    if missing:
        msg = (
            f"The marker table has no column {', '.join(map(repr, missing))}. "
            f"Give what cellsigil.tl.markers(adata, {groupby!r}) answered."
        )
        raise KeyError(msg)
    groups = table["group"].astype(str)
    there = list(dict.fromkeys(groups))
    if odd := [group for group in there if group not in names]:
        msg = f"The marker table's group {odd[0]!r} is not in obs[{groupby!r}]. {suggest(odd[0], names)}"
        raise ValueError(msg)
    best = table.assign(group=groups, gene=table["gene"].astype(str)).sort_values(
        "rank", kind="stable"
    )
    best = best[best["rank"].notna()]
    return {g: best.loc[best["group"] == g, "gene"].head(n).tolist() for g in names if g in there}


def _levels(
    adata: AnnData,
    groupby: str,
    table: pd.DataFrame | None,
    owner: dict[str, str],
    groups: list[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return mean and share, groups x genes: from the table where it has them all, else from the cells."""
    genes = list(owner)
    if table is not None and {"mean_in", "pct_in"} <= set(table):
        part = table[table["gene"].astype(str).isin(genes)]
        part = part.assign(group=part["group"].astype(str), gene=part["gene"].astype(str))
        both = part.drop_duplicates(["group", "gene"]).set_index(["group", "gene"])
        wanted = pd.MultiIndex.from_product([groups, genes])
        if wanted.isin(both.index).all():
            shape = (len(groups), len(genes))
            values = both.reindex(wanted)
            return (
                pd.DataFrame(values["mean_in"].to_numpy(float).reshape(shape), groups, genes),
                pd.DataFrame(values["pct_in"].to_numpy(float).reshape(shape), groups, genes),
            )
    strange = [gene for gene in genes if gene not in adata.var_names]
    if strange:
        msg = f"The marker table's gene {strange[0]!r} is no gene of these data. {suggest(strange[0], adata.var_names)}"
        raise ValueError(msg)
    stats = group_stats(adata[:, genes], groupby)
    rows = [stats.groups.index(group) for group in groups]
    share = stats.detected / np.maximum(stats.n.sum(axis=1), 1)[:, None]
    return (
        pd.DataFrame(stats.mean[rows], groups, genes),
        pd.DataFrame(share[rows], groups, genes),
    )

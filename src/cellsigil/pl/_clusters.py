"""Figures of clusters: their markers as dots or as a heat map, and their signature scores."""

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
    from matplotlib.axes import Axes

GENES_ACROSS = 48  # more genes than these go down the page, not across it


class _Top(NamedTuple):
    """The top markers of groups, and what each group has of them."""

    owner: dict[str, str]  # gene -> the group that it marks
    mean: pd.DataFrame  # groups x genes, mean log expression
    share: pd.DataFrame  # groups x genes, share of cells with the gene


def markers(
    adata: AnnData,
    groupby: str,
    *,
    table: pd.DataFrame | None = None,
    n: int = 3,
    ax: Axes | None = None,
) -> Axes:
    """Show the top markers of every group as dots: size is how many cells have the gene, colour how much.

    Parameters
    ----------
    adata
        Log-normalised expression, cells x genes.
    groupby
        Column of ``obs`` with the groups.
    table
        What `cellsigil.tl.markers` answered. None: the genes of ``uns["rank_genes_groups"]`` where
        that is of the same groups, else they are ranked here.
    n
        Genes of each group; a gene that marks two groups is shown once.
    ax
        Axes to draw in; None: a new figure.

    Returns
    -------
    The axes. Size: share of the group's cells with the gene; colour: mean log expression, each gene
    scaled to 0 in its lowest and 1 in its highest group.

    Raises
    ------
    KeyError
        No such column, or the table is no marker table.
    ValueError
        The table is of other groups.
    """
    top = _top(adata, groupby, table, n)
    span = top.mean.max() - top.mean.min()
    level = ((top.mean - top.mean.min()) / span.where(span > 0, 1.0)).to_numpy()
    n_groups, n_genes = level.shape
    across = n_genes <= GENES_ACROSS
    wide, high = (n_genes, n_groups) if across else (n_groups, n_genes)
    ax = _style.axes(ax, max(4.8, 2.9 + 0.225 * wide), 1.5 + 0.225 * high)  # 4.8: the size legend
    row, column = np.indices(level.shape)
    x, y = (column, row) if across else (row, column)
    share = top.share.to_numpy()
    dots = ax.scatter(
        x.ravel(), y.ravel(), s=_area(share.ravel()), c=level.ravel(), cmap="Blues", vmin=-0.12,
        vmax=1, edgecolors=_style.FAINT, linewidths=0.3,
    )  # fmt: skip
    ax.set(xlim=(-0.7, wide - 0.3), ylim=(high - 0.3, -0.7))
    _style.dress(ax, size=8.5)
    _style.name_ticks(ax, "x" if across else "y", top.mean.columns, size=8)
    _style.name_ticks(ax, "y" if across else "x", top.mean.index, size=8.5)
    _part(ax, list(top.owner.values()), vertical=across)
    bar = _style.key_bar(ax, dots, "Mean expression, scaled per gene")
    bar.ax.set_ylim(0, 1)
    bar.set_ticks([0, 1], labels=["lowest", "highest"])
    _size_legend(ax)
    return ax


def _area(share: np.ndarray) -> np.ndarray:
    return 2.0 + 108.0 * np.nan_to_num(share)


def _size_legend(ax: Axes) -> None:
    from matplotlib.lines import Line2D

    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    dots = [
        Line2D([], [], marker="o", ls="", mew=0.3, mec=_style.FAINT, mfc="#C9D3DE",
               ms=float(np.sqrt(_area(np.array(share)))))
        for share in shares
    ]  # fmt: skip
    ax.legend(
        dots, [f"{share:.0%}" for share in shares], loc="lower left", bbox_to_anchor=(-0.01, 1.0),
        ncols=len(shares), frameon=False, fontsize=8, labelcolor=_style.INK, handletextpad=0.3,
        columnspacing=1.0, title="Cells with the gene", title_fontsize=8, borderaxespad=0.1,
    )  # fmt: skip


def _part(ax: Axes, owners: list[str], *, vertical: bool, shift: float = -0.5) -> None:
    """Draw a faint line where the genes of the next group begin."""
    for i in range(1, len(owners)):
        if owners[i] != owners[i - 1]:
            line = ax.axvline if vertical else ax.axhline
            line(i + shift, color="#D5DBE2", lw=0.7, zorder=0.5)


def heatmap(
    adata: AnnData,
    groupby: str,
    *,
    table: pd.DataFrame | None = None,
    n: int = 5,
    ax: Axes | None = None,
) -> Axes:
    """Show the top markers of every group as a heat map of mean log expression, z-scored per gene.

    Parameters
    ----------
    adata
        Log-normalised expression, cells x genes.
    groupby
        Column of ``obs`` with the groups.
    table
        What `cellsigil.tl.markers` answered. None: the genes of ``uns["rank_genes_groups"]`` where
        that is of the same groups, else they are ranked here.
    n
        Genes of each group; a gene that marks two groups is shown once.
    ax
        Axes to draw in; None: a new figure.

    Raises
    ------
    KeyError
        No such column, or the table is no marker table.
    ValueError
        The table is of other groups.
    """
    top = _top(adata, groupby, table, n)
    spread = top.mean.std(ddof=0)
    scaled = ((top.mean - top.mean.mean()) / spread.where(spread > 0, 1.0)).to_numpy()
    n_groups, n_genes = scaled.shape
    across = n_genes <= GENES_ACROSS
    wide, high = (n_genes, n_groups) if across else (n_groups, n_genes)
    ax = _style.axes(ax, 2.6 + 0.19 * wide, 1.1 + (0.24 if across else 0.17) * high)
    most = float(np.nanmax(np.abs(scaled), initial=1.0))
    limit = min(most, 3.0)
    drawn = scaled if across else scaled.T
    mesh = _style.heat(ax, drawn, cmap="RdBu_r", vmin=-limit, vmax=limit)
    _style.name_cells(ax, "x" if across else "y", top.mean.columns, size=7.5)
    _style.name_cells(ax, "y" if across else "x", top.mean.index, size=8.5)
    _style.key_bar(ax, mesh, "Mean log expression,\nz-score per gene")
    return ax


def _top(adata: AnnData, groupby: str, table: pd.DataFrame | None, n: int) -> _Top:
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
    return _Top(owner, mean, share)


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


def scores(adata: AnnData, *, key: str = _keys.SCORE_CLUSTERS, ax: Axes | None = None) -> Axes:
    """Show how high each signature is in each cluster.

    Parameters
    ----------
    adata
        Annotated data after `cellsigil.tl.score_clusters`.
    key
        Key of ``uns`` with the table.
    ax
        Axes to draw in; None: a new figure.

    Returns
    -------
    The axes: signatures down, clusters across, ``effect`` (mean AUC of the genes) as colour, white at
    0.5; a ring marks the highest signature of each cluster.

    Raises
    ------
    KeyError
        No such table.
    """
    if key not in adata.uns:
        msg = (
            f"No uns[{key!r}]. Run cellsigil.tl.score_clusters(adata, signatures, groupby) first, "
            f"or name its table with key=. {suggest(key, adata.uns)}"
        )
        raise KeyError(msg)
    table = adata.uns[key]
    missing = [c for c in ("group", "signature", "effect") if c not in table]
    if missing:
        msg = f"uns[{key!r}] has no column {missing[0]!r}. Run cellsigil.tl.score_clusters again."
        raise KeyError(msg)
    table = table.assign(group=table["group"].astype(str), signature=table["signature"].astype(str))
    effect = table.pivot_table(
        index="signature", columns="group", values="effect", sort=False, dropna=False
    )
    effect = effect[list(dict.fromkeys(table["group"]))]
    values = effect.to_numpy(dtype=float)
    filled = np.where(np.isfinite(values), values, -np.inf)
    none = np.isneginf(filled).all(axis=1)
    order = np.lexsort((-filled.max(axis=1), filled.argmax(axis=1), none))
    effect, values, filled = effect.iloc[order], values[order], filled[order]
    n_signatures, n_groups = values.shape
    widest = max(len(str(name)) for name in effect.index)
    ax = _style.axes(ax, 1.6 + 0.072 * min(widest, 40) + 0.3 * n_groups, 1.0 + 0.23 * n_signatures)
    most = float(np.nanmax(np.abs(values - 0.5), initial=0.05))
    mesh = _style.heat(ax, values, cmap="RdBu_r", vmin=0.5 - most, vmax=0.5 + most)
    best = filled.argmax(axis=0)
    for column, row in enumerate(best):
        if np.isfinite(filled[row, column]):
            ax.plot(column + 0.5, row + 0.5, "o", ms=4, mfc="white", mec=_style.INK, mew=0.8)
    _style.name_cells(ax, "x", effect.columns, size=8.5)
    _style.name_cells(ax, "y", effect.index, size=8.5)
    _style.key_bar(ax, mesh, "Effect (0.5: as the rest)")
    return ax

"""Figures of clusters: their markers as dots or as a heat map, and their signature scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellsigil import _keys
from cellsigil._matrix import suggest
from cellsigil.pl import _style
from cellsigil.pl._top import top_markers

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

GENES_ACROSS = 48  # more genes than these go down the page, not across it


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
    top = top_markers(adata, groupby, table, n)
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
    top = top_markers(adata, groupby, table, n)
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

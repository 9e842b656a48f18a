"""Figures of a SignatureSet: the profiles over the selected genes, and how alike types are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellsigil.pl import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cellsigil._signature import SignatureSet

NAMED_GENES = 70  # above so many, gene names are left out
FLOOR = 0.01  # CP10K; what is below is drawn as this


def signature(signature: SignatureSet, *, n: int | None = None, ax: Axes | None = None) -> Axes:
    """Show the profiles of the types over the selected genes, on a log scale.

    Parameters
    ----------
    signature
        What `cellsigil.sig.build` or `cellsigil.sig.read` answered.
    n
        At most so many genes of each type, those that stand out most; None: all selected genes.
    ax
        Axes to draw in; None: a new figure.

    Returns
    -------
    The axes: types down, genes across, log10 of mean CP10K as colour. A gene stands with the type in
    which it is highest, those that stand out most first; below 0.01 CP10K all is drawn as 0.01.

    Raises
    ------
    ValueError
        No gene is selected.
    """
    profiles = _selected(signature)
    level = np.log10(np.maximum(profiles.to_numpy(dtype=float), FLOOR))
    owner = level.argmax(axis=1)
    ranked = np.sort(level, axis=1)
    margin = ranked[:, -1] - ranked[:, -2] if level.shape[1] > 1 else ranked[:, -1]
    order = np.lexsort((-margin, owner))
    if n is not None:
        order = np.concatenate([order[owner[order] == i][:n] for i in range(level.shape[1])])
    drawn, genes = level[order].T, profiles.index[order]
    n_types, n_genes = drawn.shape
    widest = min(40, max(len(str(name)) for name in profiles.columns))
    named = n_genes <= NAMED_GENES
    room = max(2.4, 0.17 * n_genes) if named else 9.2
    below = 0.06 * min(40, max(len(str(gene)) for gene in genes)) if named else 0.4
    ax = _style.axes(ax, 1.1 + 0.072 * widest + room, 0.5 + below + 0.25 * n_types)
    mesh = _style.heat(ax, drawn, cmap="Blues", vmin=np.log10(FLOOR), vmax=max(2.0, drawn.max()))
    _style.name_cells(ax, "y", profiles.columns, size=8.5)
    if named:
        _style.name_cells(ax, "x", genes, size=7.5)
    else:
        ax.set_xticks([])
        ax.set_xlabel(f"{n_genes:,} selected genes", fontsize=9, color=_style.INK)
    for i in np.flatnonzero(np.diff(owner[order])):
        ax.axvline(float(i) + 1, color="white", lw=1.4)
    bar = _style.key_bar(ax, mesh, "Mean CP10K")
    ticks = np.arange(np.log10(FLOOR), np.floor(max(2.0, drawn.max())) + 1)
    names = [f"{10**tick:,.10g}" for tick in ticks]
    bar.set_ticks(ticks, labels=["≤ " + names[0], *names[1:]])
    return ax


def similarity(signature: SignatureSet, *, ax: Axes | None = None) -> Axes:
    """Show how alike the types' profiles are over the selected genes.

    Parameters
    ----------
    signature
        What `cellsigil.sig.build` or `cellsigil.sig.read` answered.
    ax
        Axes to draw in; None: a new figure.

    Returns
    -------
    The axes: Pearson correlation of log1p(mean CP10K), types in the order of a hierarchical clustering.

    Raises
    ------
    ValueError
        No gene is selected.
    """
    level = np.log1p(_selected(signature))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.corrcoef(level.to_numpy(dtype=float).T).reshape(level.shape[1], -1)
    order = leaves(1 - values)
    values = values[np.ix_(order, order)]
    names = [level.columns[i] for i in order]
    widest = min(40, max(len(str(name)) for name in names))
    side = 0.36 * len(names) if len(names) <= 20 else 0.25 * len(names)
    ax = _style.axes(ax, 1.3 + 0.072 * widest + side, 0.5 + 0.072 * widest + side)
    low = min(0.0, float(np.nanmin(values)))
    mesh = _style.heat(ax, values, cmap="Blues", vmin=low, vmax=1)
    ax.set_aspect("equal")
    _style.name_cells(ax, "x", names, size=8.5)
    _style.name_cells(ax, "y", names, size=8.5)
    if len(names) <= 20:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value) and i != j:
                ax.text(
                    j + 0.5, i + 0.5, f"{value:.2f}".replace("0.", "."), ha="center", va="center",
                    fontsize=7, color=_style.ink_on(mesh.cmap(mesh.norm(value))),
                )  # fmt: skip
    _style.key_bar(ax, mesh, "Correlation of log profiles")
    return ax


def leaves(distance: np.ndarray) -> list[int]:
    """Return an order in which alike rows of a square matrix of distances lie together."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(distance) < 3:
        return list(range(len(distance)))
    distance = np.nan_to_num(np.maximum((distance + distance.T) / 2, 0), nan=2.0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).tolist()


def _selected(signature: SignatureSet) -> pd.DataFrame:
    """Return the profiles over the selected genes, genes x types."""
    profiles = signature.profiles.loc[signature.selected]
    if profiles.empty:
        msg = "This SignatureSet has no selected genes. Make one with cellsigil.sig.build."
        raise ValueError(msg)
    return profiles

"""The map of cells, coloured by a label or by expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil._matrix import read_matrix, suggest
from cellsigil.pl import _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

PAD = np.array([4.0, 2.5])  # points that a name's box takes beside the name


def umap(
    adata: AnnData,
    *,
    color: str | None = None,
    basis: str = _keys.X_UMAP,
    layer: str | None = None,
    colors: Mapping[str, str] | None = None,
    labels: bool | None = None,
    legend: bool = True,
    size: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show cells in two dimensions, coloured by a column, a score or a gene.

    Parameters
    ----------
    adata
        Annotated data after `cellsigil.tl.umap`.
    color
        A column of ``obs``, a signature of ``obsm["score_signatures"]``, or a gene, looked for in
        this order. None: all cells in one colour.
    basis
        Key of ``obsm``; the first two columns are drawn.
    layer
        Layer of a gene's values; X if None.
    colors
        Category to colour; others follow `palette`.
    labels
        Write category names on the data; None: up to 25 categories.
    legend
        Draw the legend or the colour bar.
    size
        Area of a point in square points; None: by the number of cells.
    title
        Title; None: the name of what is shown.
    ax
        Axes to draw in; None: a new figure.

    Raises
    ------
    KeyError
        No such embedding, or nothing is called ``color``; the near names are in the message.
    """
    if basis not in adata.obsm:
        msg = f"No obsm[{basis!r}]. Run cellsigil.tl.umap(adata), or name one with basis=. "
        raise KeyError(msg + suggest(basis, adata.obsm))
    places = np.asarray(adata.obsm[basis])[:, :2]
    values = None if color is None else _values(adata, color, layer)
    names: list[str] = []
    if values is not None and _is_categorical(values):
        codes, names = _style.as_categories(values)
    columns = -(-len(names) // 20)
    widest = max((len(name) for name in names), default=0)
    ax = _style.axes(ax, 5.6 + (columns * (0.45 + 0.075 * min(widest, 40)) if names else 0.7), 5.0)
    if size is None:
        size = float(np.clip(24_000 / max(adata.n_obs, 1), 1.0, 28.0))
    # Drawn in a random order, so that no group lies on top of another because of its name.
    order = np.random.default_rng(0).permutation(adata.n_obs)
    common: dict[str, Any] = {
        "s": size,
        "linewidths": 0,
        "rasterized": adata.n_obs > _style.RASTER_FROM,
    }
    x, y = places[order].T
    if values is None:
        ax.scatter(x, y, color=_style.PALETTE[0], alpha=0.7, **common)
    elif names:
        wheel = _style.palette(names, colors=colors)
        shades = np.array([*(wheel[name] for name in names), _style.GREY])
        ax.scatter(x, y, c=shades[codes[order]], **common)
        if legend:
            _legend(ax, wheel, columns, missing=bool((codes < 0).any()))
    else:
        numbers = np.asarray(values, dtype=float)
        order = order[np.argsort(numbers[order], kind="stable")]  # high values on top
        x, y = places[order].T
        points = ax.scatter(x, y, c=numbers[order], cmap="viridis", **common)
        if legend:
            _style.key_bar(ax, points, _style.shown(color))
    _bare(ax, basis.removeprefix("X_").upper())
    _style.title(ax, _style.shown(color) if title is None and color is not None else title)
    if names and (labels if labels is not None else len(names) <= 25):
        _label(ax, places, codes, names)
    return ax


def _values(adata: AnnData, color: str, layer: str | None) -> pd.Series:
    if color in adata.obs:
        return adata.obs[color]
    scores = adata.obsm.get(_keys.SCORE_SIGNATURES)
    if isinstance(scores, pd.DataFrame) and color in scores:
        return scores[color]
    if color in adata.var_names:
        rows = read_matrix(adata[:, [adata.var_names.get_loc(color)]], layer)
        return pd.Series(rows.whole().to_scipy().toarray().ravel(), index=adata.obs_names)
    known = [*adata.obs.columns, *(scores if isinstance(scores, pd.DataFrame) else [])]
    msg = f"{color!r} is no column of obs, no signature score and no gene. "
    raise KeyError(msg + suggest(color, [*known, *adata.var_names]))


def _is_categorical(values: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(values.dtype) or values.dtype == bool:
        return True
    return pd.api.types.is_integer_dtype(values.dtype) and values.nunique() <= 40


def _bare(ax: Axes, name: str) -> None:
    ax.set(xticks=[], yticks=[], xlabel=f"{name} 1", ylabel=f"{name} 2")
    ax.set_aspect("equal", adjustable="datalim")
    _style.dress(ax, size=8.5)


def _legend(ax: Axes, wheel: dict[str, str], columns: int, *, missing: bool) -> None:
    from matplotlib.lines import Line2D

    entries = wheel | ({"no label": _style.GREY} if missing else {})
    dots = [Line2D([], [], marker="o", ls="", ms=6.5, mew=0, color=c) for c in entries.values()]
    ax.legend(
        dots, [_style.shown(name, 40) for name in entries], loc="upper left", frameon=False,
        bbox_to_anchor=(1.0, 1.0), ncols=columns, fontsize=8.5, labelcolor=_style.INK,
        handletextpad=0.2, columnspacing=1.0, labelspacing=0.45,
    )  # fmt: skip


def _label(ax: Axes, places: np.ndarray, codes: np.ndarray, names: list[str]) -> None:
    """Write each name at the cell nearest to the median of its cells, or above few; pushed apart up and down.

    Comes last: how much room the names take is known once everything else has its place.
    """
    texts, reach = [], []
    for i, name in enumerate(names):
        own = places[codes == i]
        x, y = own[((own - np.median(own, axis=0)) ** 2).sum(axis=1).argmin()]
        text = ax.text(
            x, y, _style.shown(name, 24), ha="center", va="center", fontsize=8.5,
            fontweight="bold", color=_style.INK, clip_on=False,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.72},
        )  # fmt: skip
        texts.append(text)
        reach.append([(x, edge) for edge in np.percentile(own[:, 1], [10, 90])])
    _style.lay_out(ax)
    boxes = [text.get_window_extent() for text in texts]
    sizes = np.array([(box.width, box.height) for box in boxes]) + PAD * ax.figure.dpi / 72
    spots = ax.transData.transform([text.get_position() for text in texts])
    bottom, top = (ax.transData.transform(edge)[:, 1] for edge in np.swapaxes(reach, 0, 1))
    few = top - bottom < sizes[:, 1]  # the name would hide them
    spots[few, 1] = top[few] + sizes[few, 1]
    spots = ax.transData.inverted().transform(_apart(spots, sizes))
    for text, spot in zip(texts, spots):
        text.set_position(spot)


def _apart(spots: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Move boxes up and down until none overlap (or 200 rounds are over)."""
    spots = spots.copy()
    for _ in range(200):
        moved = False
        for i in range(len(spots)):
            for j in range(i + 1, len(spots)):
                dx, dy = np.abs(spots[i] - spots[j])
                width, height = (sizes[i] + sizes[j]) / 2
                if dx < width and dy < height - 1e-9:
                    up = 1.0 if spots[i, 1] >= spots[j, 1] else -1.0
                    spots[i, 1] += up * (height - dy) / 2
                    spots[j, 1] -= up * (height - dy) / 2
                    moved = True
        if not moved:
            break
    return spots

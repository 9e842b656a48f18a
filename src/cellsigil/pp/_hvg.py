"""Highly variable genes."""

from __future__ import annotations

import logging
import numbers
import warnings
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from cellsigil import _keys
from cellsigil._matrix import read_counts, read_log, read_tables, suggest
from cellsigil._moments import gene_moments
from cellsigil._tables import with_columns
from cellsigil.pp._hvg_flavors import by_dispersion, by_variance

log = logging.getLogger(__name__)

FLAVORS = ("seurat", "cell_ranger", "seurat_v3")
COLUMNS = (
    _keys.HVG, "highly_variable_rank", "highly_variable_nbatches", "highly_variable_intersection",
    "means", "dispersions", "dispersions_norm", "variances", "variances_norm",
)  # fmt: skip


def hvg(
    adata: AnnData,
    *,
    n_top_genes: int = 2000,
    flavor: Literal["seurat", "cell_ranger", "seurat_v3"] = "seurat",
    batch_key: str | None = None,
    layer: str | None = None,
    span: float = 0.3,
) -> None:
    """Choose the genes that vary most for their mean expression.

    The same genes as scanpy's function of the same flavor. Sums are exact in fixed point, so the
    choice does not depend on the order of the cells; ties between batches' votes go by gene name.

    Parameters
    ----------
    adata
        Cells x genes: log-normalised expression for "seurat" and "cell_ranger", counts for "seurat_v3".
    n_top_genes
        Number of genes to choose; all that can be ranked if there are fewer. Genes that tie with the
        last one are chosen too ("seurat", "cell_ranger" without batches).
    flavor
        "seurat": dispersion on the linear scale, z-scored in 20 bins of the mean. "cell_ranger": the
        same with medians. "seurat_v3": variance of counts, standardised by a loess trend.
    batch_key
        Column of ``obs``: genes are ranked within each batch and chosen by how many batches chose them.
    layer
        Matrix to use; None means ``X`` ("seurat_v3": ``layers["counts"]``, else ``X``).
    span
        Share of genes in the loess window ("seurat_v3"). Widened with a warning where the fit is singular.

    Warns
    -----
    UserWarning
        Cells without a batch, or a batch of one cell: left out of the choice. Or ``span`` was widened.

    Raises
    ------
    KeyError
        There is no such layer or column of ``obs``.
    ValueError
        The matrix holds counts where log-normalised values are needed or the other way round, there are
        fewer than two cells (in every batch), or ``uns["log1p"]["base"]`` is no base of a logarithm.

    Sets
    ----
    ``var``
        ``highly_variable``, ``means``, and ``dispersions``, ``dispersions_norm``, or ``variances``,
        ``variances_norm``, ``highly_variable_rank`` ("seurat_v3"); with batches also
        ``highly_variable_nbatches`` and ``highly_variable_intersection``. Columns of another flavor
        are removed.
    ``uns["hvg"]``
        ``{"flavor": flavor}``.

    References
    ----------
    Satija et al. 2015; Zheng et al. 2017; Stuart et al. 2019.
    """
    check_choice(flavor, n_top_genes, span)
    read_tables(adata)
    label, n_batches = batches(adata, batch_key)
    names = adata.var_names
    if flavor == "seurat_v3":
        counts = read_counts(adata, layer)
        columns = by_variance(counts, label, n_batches, n_top_genes, span, names, batch_key)
    else:
        log_base = _log_base(adata) if flavor == "seurat" else None
        moments = gene_moments(read_log(adata, layer), label, n_batches, log_base)
        columns = by_dispersion(moments, n_top_genes, flavor, names, batch_key)
    store_choice(adata, columns, flavor, batch_key)


def check_choice(flavor: str, n_top_genes: int, span: float = 1.0) -> None:
    """Refuse what chooses no genes."""
    if flavor not in FLAVORS:
        msg = f"flavor={flavor!r} is not known. {suggest(flavor, FLAVORS)}"
        raise ValueError(msg)
    if not isinstance(n_top_genes, numbers.Integral) or n_top_genes < 1:
        msg = f"n_top_genes={n_top_genes!r}: a whole number from 1 up is needed."
        raise ValueError(msg)
    if not 0 < span <= 1:
        msg = f"span={span!r}: a share of the genes above 0 and up to 1 is needed."
        raise ValueError(msg)


def store_choice(
    adata: AnnData, columns: dict[str, np.ndarray], flavor: str, batch_key: str | None
) -> None:
    """Write the choice and what it rests on, in place of another flavor's."""
    adata.var = with_columns(adata.var, columns, COLUMNS)
    adata.uns[_keys.HVG_UNS] = {"flavor": flavor}
    log.info(
        "chose %d of %d genes as highly variable (%s%s)",
        columns[_keys.HVG].sum(), adata.n_vars, flavor,
        f", batches of {batch_key!r}" if batch_key else "",
    )  # fmt: skip


def batches(adata: AnnData, batch_key: str | None) -> tuple[np.ndarray, int]:
    """Return each cell's batch number, -1 where it is left out, and the number of batches."""
    if adata.n_obs < 2 or adata.n_vars < 1:
        msg = f"adata has {adata.n_obs} cells x {adata.n_vars} genes: the variance of a gene needs two cells."
        raise ValueError(msg)
    if batch_key is None:
        return np.zeros(adata.n_obs, np.int64), 1
    if batch_key not in adata.obs:
        msg = f"No obs[{batch_key!r}]. {suggest(batch_key, adata.obs.columns)}"
        raise KeyError(msg)
    codes, known = pd.factorize(adata.obs[batch_key])
    size = np.bincount(codes[codes >= 0], minlength=len(known))
    if (codes < 0).any():
        _warn(
            f"{int((codes < 0).sum())} cells have no obs[{batch_key!r}] (NaN): they take no part in the "
            f"choice of genes. Fill the column if they belong to a batch."
        )
    if (size == 1).any():
        alone = ", ".join(repr(str(known[b])) for b in np.flatnonzero(size == 1)[:5])
        _warn(
            f"{int((size == 1).sum())} batches of obs[{batch_key!r}] have one cell ({alone}) and no "
            f"variance: they take no part in the choice of genes. Merge or remove them to say otherwise."
        )
    if not (size > 1).any():
        msg = f"No batch of obs[{batch_key!r}] has two cells: a variance needs them. Is it the right column?"
        raise ValueError(msg)
    number = np.where(size > 1, np.cumsum(size > 1) - 1, -1)
    return np.where(codes < 0, -1, number[codes]).astype(np.int64), int((size > 1).sum())


def _log_base(adata: AnnData) -> float:
    """Return the base of X's logarithms, as scanpy notes it."""
    base = adata.uns.get(_keys.LOG1P, {}).get("base")
    if base is None:
        return np.e
    if not (isinstance(base, (int, float, np.number)) and 1 < base < 1e6):
        msg = (
            f"uns['log1p']['base'] is {base!r}: the base of a logarithm is a number above 1, or None for the "
            f"natural one. Was it meant for another matrix? Correct it, or del adata.uns['log1p']."
        )
        raise ValueError(msg)
    return float(base)


def _warn(msg: str) -> None:
    warnings.warn(msg, UserWarning, stacklevel=4)

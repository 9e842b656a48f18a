"""Principal components of sparse expression, by an implicitly centred Gram matrix."""

from __future__ import annotations

import logging
import numbers

import numpy as np
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._gram import Entries, chosen_entries, columns_at, project_entries
from cellsigil._core._jit import all_in_threads
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil._matrix import read_matrix, read_tables, suggest
from cellsigil._rows import Rows
from cellsigil.pp._components import Decomposed, decompose
from cellsigil.pp._normalize import make_own

log = logging.getLogger(__name__)


def pca(
    adata: AnnData,
    *,
    n_comps: int = 50,
    mask_var: str | None = _keys.HVG,
    layer: str | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str | None = None,
) -> None:
    """Find the principal components of the chosen genes.

    Exact: the eigenvectors of the covariance matrix in float64, with residuals below 1e-7 of their
    variance; the centred matrix is never made. Nor is the covariance matrix where products with the few
    entries of some thousand cells cost less, or above 20,000 genes and cells, where it would be too large: it
    is only multiplied with. Signs are fixed: the loading that is largest in magnitude is positive.

    Parameters
    ----------
    adata
        Cells x genes with log-normalised (or scaled) expression.
    n_comps
        Number of components.
    mask_var
        Boolean column of ``var`` that chooses the genes; None means all genes.
    layer
        Matrix to use; None means ``X``.
    rng
        Stored; an exact decomposition draws nothing.
    key_added
        Key in ``obsm``, ``varm`` and ``uns`` instead of ``X_pca``, ``PCs`` and ``pca``.

    Warns
    -----
    UserWarning
        The matrix holds whole numbers only: it looks like counts. Or, above 20,000 genes and cells,
        the components have not converged.

    Raises
    ------
    KeyError
        There is no such layer or column of ``var``.
    ValueError
        ``n_comps`` is too large for the cells and genes, all cells are the same in the chosen genes,
        or a value is not finite.

    Sets
    ----
    ``obsm["X_pca"]``
        Cells x components, float32.
    ``varm["PCs"]``
        Genes x components, float64; zero for genes that were not chosen.
    ``uns["pca"]``
        ``params``, ``variance`` and ``variance_ratio`` of the components.
    """
    import scipy.linalg  # noqa: F401 - it has a BLAS of its own, which can be held once it is loaded
    from threadpoolctl import threadpool_limits

    check_key(key_added or _keys.PCA)
    seed = seed_of(rng)
    read_tables(adata)
    genes = _chosen(adata, mask_var)
    rows = read_matrix(adata, layer)
    most = min(adata.n_obs - 1, genes.size)
    if not isinstance(n_comps, numbers.Integral) or not 1 <= n_comps <= most:
        msg = (
            f"n_comps={n_comps!r}: {adata.n_obs} cells and {genes.size} chosen genes have at most "
            f"{max(most, 0)} components; a whole number from 1 to that is needed."
        )
        raise ValueError(msg)
    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        found = decompose(rows, genes, int(n_comps))
        largest = found.loadings[np.abs(found.loadings).argmax(axis=0), np.arange(n_comps)]
        loadings = np.multiply(found.loadings, np.where(largest < 0, -1.0, 1.0), order="C")
        scores = _project(rows, found, loadings)

    full = np.zeros((adata.n_vars, n_comps))
    full[found.genes] = loadings
    params = {"zero_center": True, "use_highly_variable": mask_var == _keys.HVG, "rng": seed}
    params |= {k: v for k, v in (("mask_var", mask_var), ("layer", layer)) if v is not None}
    in_obsm, in_varm, in_uns = (
        (key_added,) * 3 if key_added else (_keys.X_PCA, _keys.PCS, _keys.PCA)
    )
    make_own(adata)
    adata.obsm[in_obsm] = scores
    adata.varm[in_varm] = full
    ratio = found.variance / found.total
    adata.uns[in_uns] = {"params": params, "variance": found.variance, "variance_ratio": ratio}
    log.info(
        "pca of %d cells over %d genes: %d components hold %.1f %% of the variance",
        adata.n_obs, genes.size, n_comps, 100 * ratio.sum(),
    )  # fmt: skip


def _chosen(adata: AnnData, mask_var: str | None) -> np.ndarray:
    """Return the positions of the chosen genes."""
    if mask_var is None:
        return np.arange(adata.n_vars)
    if mask_var not in adata.var:
        way_out = "Run cellsigil.pp.hvg(adata) first, or pass mask_var=None for all genes."
        msg = f"No var[{mask_var!r}]. {way_out if mask_var == _keys.HVG else suggest(mask_var, adata.var)}"
        raise KeyError(msg)
    column = adata.var[mask_var]
    if column.isna().any():
        msg = (
            f"var[{mask_var!r}] is missing for {int(column.isna().sum())} genes (first "
            f"{str(adata.var_names[column.isna()][0])!r}). Fill it with False, or choose the genes anew."
        )
        raise ValueError(msg)
    if set(column.unique()) - {True, False}:
        msg = f"var[{mask_var!r}] holds {column.dtype}; a column of True and False is needed."
        raise ValueError(msg)
    genes = np.flatnonzero(column.to_numpy(bool))
    if not genes.size:
        msg = f"var[{mask_var!r}] chooses no gene. Run cellsigil.pp.hvg(adata), or pass mask_var=None."
        raise ValueError(msg)
    return genes


def _project(rows: Rows, found: Decomposed, loadings: np.ndarray) -> np.ndarray:
    """Return the cells' scores, from the entries that were kept, else from the rows anew."""
    offset = found.mean @ loadings
    to = columns_at(found.genes, found.n_rare, rows.shape[1])

    def scores(entries: Entries) -> np.ndarray:
        out = np.empty((entries.common.size, offset.size), np.float32)
        project_entries(*entries[:3], loadings, offset, out, 0, entries.common.size)
        return out

    if found.kept is None:
        parts = rows.collect(lambda block, _: scores(chosen_entries(*block[:3], to)))
    else:
        parts = all_in_threads(scores, found.kept)
    return np.concatenate(parts)

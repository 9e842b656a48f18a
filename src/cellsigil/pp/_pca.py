"""Principal components of sparse expression, by an implicitly centred Gram matrix."""

from __future__ import annotations

import logging
import numbers
import warnings

import numpy as np
from anndata import AnnData

from cellsigil import _keys
from cellsigil._core._rows import gram, project_rows
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil._matrix import Block, Rows, read_matrix, read_tables, suggest
from cellsigil.pp._normalize import make_own

log = logging.getLogger(__name__)

LARGEST_GRAM = 20_000  # rows of the Gram matrix: 3.2 GB of float64
DENSE = 0.3  # above this density BLAS beats the walk over stored entries


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

    Exact: the eigenvectors of the covariance matrix in float64, from one pass over the rows that
    never makes the centred matrix. Signs are fixed: the loading that is largest in magnitude is
    positive.

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
        The matrix holds whole numbers only: it looks like counts.

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
    if min(adata.n_obs, genes.size) > LARGEST_GRAM:
        msg = (
            f"PCA of {adata.n_obs} cells over {genes.size} genes would need a Gram matrix above "
            f"{LARGEST_GRAM} rows. Choose genes first: cellsigil.pp.hvg(adata), then mask_var="
            f"'highly_variable'."
        )
        raise ValueError(msg)
    decompose = _by_genes if genes.size <= adata.n_obs else _by_cells
    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        mean, variance, loadings, total = decompose(rows, genes, int(n_comps))
    largest = np.abs(loadings).argmax(axis=0)
    loadings = loadings * np.where(loadings[largest, np.arange(n_comps)] < 0, -1.0, 1.0)
    scores = _project(rows, _places(rows, genes), np.ascontiguousarray(loadings), mean @ loadings)

    full = np.zeros((adata.n_vars, n_comps))
    full[genes] = loadings
    params = {"zero_center": True, "use_highly_variable": mask_var == _keys.HVG, "rng": seed}
    params |= {k: v for k, v in (("mask_var", mask_var), ("layer", layer)) if v is not None}
    in_obsm, in_varm, in_uns = (
        (key_added,) * 3 if key_added else (_keys.X_PCA, _keys.PCS, _keys.PCA)
    )
    make_own(adata)
    adata.obsm[in_obsm] = scores
    adata.varm[in_varm] = full
    ratio = variance / total
    adata.uns[in_uns] = {"params": params, "variance": variance, "variance_ratio": ratio}
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


def _places(rows: Rows, genes: np.ndarray) -> np.ndarray:
    """Return the position of each gene among the chosen ones, -1 where it was not."""
    place = np.full(rows.shape[1], -1, np.int64)
    place[genes] = np.arange(genes.size)
    return place


def _by_genes(
    rows: Rows, genes: np.ndarray, n_comps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return gene means, variances and loadings of the components, and the total variance."""
    place = _places(rows, genes)

    def partial(block: Block, _: int) -> tuple[np.ndarray, np.ndarray, bool]:
        products = np.zeros((genes.size, genes.size))
        sums = np.zeros(genes.size)
        if block.data.size > DENSE * block.n_rows * block.n_cols:
            x = block.to_scipy()[:, genes].toarray().astype(np.float64)
            products, sums = x.T @ x, x.sum(axis=0)
        else:
            gram(block.data, block.indices, block.indptr, place, products, sums, 0, block.n_rows)
        return products, sums, _all_whole(block)

    def add(a: tuple, b: tuple) -> tuple:
        return a[0] + b[0], a[1] + b[1], a[2] and b[2]

    products, sums, whole = rows.reduce(partial, add)
    _warn_of_counts(rows, whole)
    mean = sums / rows.shape[0]
    # E[xx'] - mean mean' cancels (mean / sd)**2 * 2**-52 of a gene's variance: 1e-12 at the worst on a
    # log scale, where no mean is above 10 and variable genes' sd is above .1.
    covariance = (products - rows.shape[0] * np.outer(mean, mean)) / (rows.shape[0] - 1)
    total = _total(covariance, genes.size)
    values, vectors = _largest_eigen(covariance, n_comps)
    return mean, values, vectors, total


def _by_cells(
    rows: Rows, genes: np.ndarray, n_comps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Do as `_by_genes` by the cells x cells Gram matrix: for fewer cells than genes."""
    block = rows.whole()
    _warn_of_counts(rows, _all_whole(block))
    x = block.to_scipy()[:, genes].astype(np.float64)
    mean = np.asarray(x.mean(axis=0)).ravel()
    products = (x @ x.T).toarray()
    along = x @ mean
    products += mean @ mean - along[:, None] - along[None, :]
    products /= rows.shape[0] - 1
    total = _total(products, genes.size)
    values, vectors = _largest_eigen(products.T, n_comps)
    length = np.sqrt(values * (rows.shape[0] - 1))
    length[values <= 1e-12 * total] = np.inf  # a direction without variance has no loadings
    loadings = (x.T @ vectors - np.outer(mean, vectors.sum(axis=0))) / length
    return mean, values, loadings, total


def _all_whole(block: Block) -> bool:
    return bool((block.data == np.floor(block.data)).all())


def _warn_of_counts(rows: Rows, whole: bool) -> None:
    if whole:
        msg = (
            f"{rows.name} holds whole numbers only: it looks like counts, and the components will follow "
            f"the cells' totals. Run cellsigil.pp.normalize(adata) first."
        )
        warnings.warn(msg, UserWarning, stacklevel=5)


def _total(covariance: np.ndarray, n_genes: int) -> float:
    total = float(np.trace(covariance))
    if not total > 0:
        msg = f"All cells are the same in the {n_genes} chosen genes: there is no variance to decompose."
        raise ValueError(msg)
    return total


def _largest_eigen(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues, descending, and their vectors; reads the upper triangle."""
    import scipy.linalg

    size = symmetric.shape[0]
    values, vectors = scipy.linalg.eigh(
        symmetric, lower=False, subset_by_index=[size - n, size - 1], overwrite_a=True
    )
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _project(rows: Rows, place: np.ndarray, loadings: np.ndarray, offset: np.ndarray) -> np.ndarray:
    def scores(block: Block, _: int) -> np.ndarray:
        out = np.empty((block.n_rows, offset.size), np.float32)
        project_rows(*block[:3], place, loadings, offset, out, 0, block.n_rows)
        return out

    return np.concatenate(list(rows.map(scores)))

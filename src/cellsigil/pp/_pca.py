"""Principal components of sparse expression, by an implicitly centred Gram matrix."""

from __future__ import annotations

import logging
import numbers
import warnings

import numpy as np
from anndata import AnnData

from cellsigil import _keys
from cellsigil._block import Block
from cellsigil._core._gram import add_gram, project_rows, room_for
from cellsigil._core._krylov import MOST_PRODUCTS, largest, largest_by_products
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil._matrix import read_matrix, read_tables, suggest
from cellsigil._rows import Rows
from cellsigil.pp._normalize import make_own

log = logging.getLogger(__name__)

LARGEST_GRAM = 20_000  # rows of the Gram matrix: 3.2 GB of float64


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
    never makes the centred matrix. Above 20,000 genes and cells that matrix would be too large: it is
    then only multiplied with, row block by row block, until the components' residuals are below 1e-7 of
    their variance. Signs are fixed: the loading that is largest in magnitude is positive.

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
    decompose = _by_genes if genes.size <= adata.n_obs else _by_cells
    if min(adata.n_obs, genes.size) > LARGEST_GRAM:
        decompose = _by_products
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
    place = np.full(rows.shape[1], -1, np.int32)
    place[genes] = np.arange(genes.size)
    return place


def _by_genes(
    rows: Rows, genes: np.ndarray, n_comps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return gene means, variances and loadings of the components, and the total variance."""
    place = _places(rows, genes)

    def fresh() -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((genes.size, genes.size)), np.zeros(genes.size)

    def partial(block: Block, _: int) -> tuple[np.ndarray, np.ndarray, bool]:
        products, sums = fresh()
        room = room_for(genes.size)
        add_gram(block.data, block.indices, block.indptr, place, room, products, sums)
        return products, sums, _all_whole(block)

    def add(a: tuple, b: tuple) -> tuple:
        return a[0] + b[0], a[1] + b[1], a[2] and b[2]

    if rows.is_dask:
        products, sums, whole = rows.reduce(partial, add)
    else:  # one matrix for all blocks, threads within a block
        (products, sums), whole, room = fresh(), True, room_for(genes.size)
        for block in rows.map(lambda block, _: block):
            add_gram(block.data, block.indices, block.indptr, place, room, products, sums)
            whole = whole and _all_whole(block)
    _warn_of_counts(rows, whole)
    mean = sums / rows.shape[0]
    # E[xx'] - mean mean' cancels (mean / sd)**2 * 2**-52 of a gene's variance: 1e-12 at the worst on a
    # log scale, where no mean is above 10 and variable genes' sd is above .1.
    covariance = products
    for j in range(genes.size):  # in place: 32 MB for 2,000 genes
        covariance[j] -= rows.shape[0] * mean[j] * mean
    covariance /= rows.shape[0] - 1
    total = _total(covariance, genes.size)
    values, vectors = largest(covariance, n_comps)
    return mean, values, vectors, total


def _by_cells(
    rows: Rows, genes: np.ndarray, n_comps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Do as `_by_genes` by the cells x cells Gram matrix: for fewer cells than genes."""
    block = rows.whole()
    _warn_of_counts(rows, _all_whole(block))
    x = block.to_scipy()[:, genes].astype(np.float64)
    mean = np.asarray(x.mean(axis=0)).ravel()
    by_gene, products = x.T.tocsr(), np.zeros((rows.shape[0],) * 2)
    cells = np.arange(rows.shape[0], dtype=np.int32)
    add_gram(
        by_gene.data, by_gene.indices.astype(np.int32), by_gene.indptr.astype(np.int64), cells,
        room_for(cells.size), products, np.zeros(cells.size),
    )  # fmt: skip
    along = x @ mean
    products += mean @ mean - along[:, None] - along[None, :]
    products /= rows.shape[0] - 1
    total = _total(products, genes.size)
    values, vectors = largest(products, n_comps)
    length = np.sqrt(values * (rows.shape[0] - 1))
    length[values <= 1e-12 * total] = np.inf  # a direction without variance has no loadings
    loadings = (x.T @ vectors - np.outer(mean, vectors.sum(axis=0))) / length
    return mean, values, loadings, total


def _by_products(
    rows: Rows, genes: np.ndarray, n_comps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Do as `_by_genes` without a Gram matrix: by products with some vectors at a time."""

    def moments(block: Block, _: int) -> tuple[np.ndarray, bool]:
        x = block.to_scipy()[:, genes].astype(np.float64)
        return np.asarray(x.sum(axis=0)).ravel(), _all_whole(block)

    def squares(block: Block, _: int) -> float:  # a stored x has (x - m)^2, all others m^2
        x = block.to_scipy()[:, genes]
        return float((x.data * (x.data - 2.0 * mean[x.indices])).sum())

    def multiply(vectors: np.ndarray) -> np.ndarray:
        def products(block: Block, _: int) -> tuple[np.ndarray, np.ndarray]:
            x = block.to_scipy()[:, genes].astype(np.float64)
            scores = x @ vectors - mean @ vectors
            return x.T @ scores, scores.sum(axis=0)

        along, sums = rows.reduce(products, lambda a, b: (a[0] + b[0], a[1] + b[1]))
        return (along - np.outer(mean, sums)) / (rows.shape[0] - 1)

    sums, whole = rows.reduce(moments, lambda a, b: (a[0] + b[0], a[1] and b[1]))
    _warn_of_counts(rows, whole)
    mean = sums / rows.shape[0]
    total = (rows.reduce(squares, float.__add__) + rows.shape[0] * mean @ mean) / (
        rows.shape[0] - 1
    )
    if not total > 1e-12 * (mean @ mean):
        _total(np.zeros((1, 1)), genes.size)
    variance, loadings, converged = largest_by_products(multiply, genes.size, n_comps)
    if not converged:
        msg = (
            f"The components of {rows.name} have not converged after {MOST_PRODUCTS} passes: the last of "
            f"them hardly differ in variance. Ask for fewer with n_comps=, or choose genes first."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    return mean, np.maximum(variance, 0.0), loadings, total


def _all_whole(block: Block) -> bool:
    head = block.data[:4096]  # normalised values show it at once
    return bool((head == np.floor(head)).all() and (block.data == np.floor(block.data)).all())


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


def _project(rows: Rows, place: np.ndarray, loadings: np.ndarray, offset: np.ndarray) -> np.ndarray:
    def scores(block: Block, _: int) -> np.ndarray:
        out = np.empty((block.n_rows, offset.size), np.float32)
        project_rows(*block[:3], place, loadings, offset, out, 0, block.n_rows)
        return out

    return np.concatenate(list(rows.map(scores)))

"""Eigenvalues and vectors of a covariance matrix, which is made, of genes or of cells, or only multiplied with."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cellsigil._block import Block
from cellsigil._core._centred import Centred
from cellsigil._core._gram import (
    Entries,
    add_gram,
    chosen_entries,
    columns_at,
    order_by_frequency,
    spans,
    to_covariance,
)  # fmt: skip
from cellsigil._core._jit import in_threads, over_range
from cellsigil._core._krylov import (
    MOST_PRODUCTS,
    is_large,
    lanczos,
    largest,
    largest_by_products,
)
from cellsigil._rows import Rows

# Share of the entries of a matrix in memory, at most: a second search for the chosen ones costs .07 of .6 CPU-s.
KEPT = 1 / 4
LARGEST_GRAM = 20_000  # rows of the Gram matrix: 3.2 GB of float64
HEAD = 128  # rows that say how many entries there are going to be
FEW = 0.2  # entries for one of the Gram matrix's: so many cost as much in a product
ARRAY = 1 << 20  # entries: from 4 MiB on fresh pages come by 2 MiB, at a tenth of the cost


class Decomposed(NamedTuple):
    """Components: of which genes in which order, and what was kept of these for the projection."""

    genes: np.ndarray
    n_rare: int  # genes before the common ones
    mean: np.ndarray
    variance: np.ndarray
    loadings: np.ndarray
    total: float  # variance
    kept: list[Entries] | None = None


class Gram(NamedTuple):
    """Sums of x x^T (upper triangle) and of x over chosen columns in this order."""

    products: np.ndarray
    sums: np.ndarray
    whole: bool  # whether all values are whole numbers
    chosen: np.ndarray
    n_rare: int
    kept: list[Entries] | None


def decompose(rows: Rows, genes: np.ndarray, n_comps: int) -> Decomposed:
    """Return the components, the cheapest way."""
    size = min(rows.shape[0], genes.size)
    if size > LARGEST_GRAM:
        return by_products(rows, genes, n_comps)
    if is_large(size, n_comps) and not rows.is_dask:
        found = by_entries(rows, genes, n_comps, FEW * size**2)
        if found is not None:
            return found
    by_gram = by_genes if genes.size <= rows.shape[0] else by_cells
    return by_gram(rows, genes, n_comps)


def by_genes(rows: Rows, genes: np.ndarray, n_comps: int) -> Decomposed:
    """Return the components from the genes x genes Gram matrix."""
    if rows.is_dask:
        gram = rows.reduce(lambda block, _: _ascending(_gram([block], genes)), _add)
    else:
        most_kept = KEPT * rows.whole().data.size if rows.in_memory else 0
        gram = _gram(rows.map(lambda block, _: block), genes, most_kept)
    _warn_of_counts(rows, gram.whole)
    mean = gram.sums / rows.shape[0]
    # E[xx'] - mean mean' cancels (mean / sd)**2 * 2**-52 of a gene's variance: 1e-12 at the worst on a
    # log scale, where no mean is above 10 and variable genes' sd is above .1.
    covariance = gram.products  # in place: 32 MB for 2,000 genes
    over_range(to_covariance, genes.size, covariance, mean, rows.shape[0])
    total = _varying(np.trace(covariance), mean, genes.size)
    values, vectors = largest(covariance, n_comps)
    return Decomposed(gram.chosen, gram.n_rare, mean, values, vectors, total, gram.kept)


def _gram(blocks: Iterable[Block], chosen: np.ndarray, most_kept: float = 0) -> Gram:
    """Return the sums over the blocks' rows, and the chosen entries where they are not more than ``most_kept``."""
    pieces = (block.rows(*span) for block in blocks for span in spans(block.n_rows))
    head = next(pieces)
    chosen, n_rare = order_by_frequency(head.indices, head.n_rows, head.n_cols, chosen)
    to = columns_at(chosen, n_rare, head.n_cols)
    products, sums, whole = np.zeros((chosen.size,) * 2), np.zeros(chosen.size), True
    kept: list[Entries] = []
    n_kept, room = 0, [np.empty(0)] * 2

    def choose(piece: Block) -> tuple[Entries, bool]:
        return chosen_entries(*piece[:3], to), _all_whole(piece)

    for found, is_whole in in_threads(choose, itertools.chain([head], pieces)):
        add_gram(found, n_rare, products, sums)
        whole = whole and is_whole
        n = found.values.size
        n_kept += n
        if n_kept > most_kept:
            kept, room = [], []
            continue
        if room[0].size < n:
            room = [np.empty(max(ARRAY, n), some.dtype) for some in found[:2]]
        for to_keep, some in zip(room, found):
            to_keep[:n] = some
        kept.append(found._replace(columns=room[0][:n], values=room[1][:n]))
        room = [some[n:] for some in room]
    return Gram(products, sums, whole, chosen, n_rare, kept if n_kept <= most_kept else None)


def _ascending(gram: Gram) -> Gram:
    """Return the sums in the order of columns, which all blocks share."""
    products = np.triu(gram.products) + np.triu(gram.products, 1).T
    order = np.argsort(gram.chosen)
    return Gram(
        products[np.ix_(order, order)], gram.sums[order], gram.whole, gram.chosen[order],
        order.size, None,
    )  # fmt: skip


def _add(a: Gram, b: Gram) -> Gram:
    return a._replace(
        products=a.products + b.products, sums=a.sums + b.sums, whole=a.whole and b.whole
    )


def by_cells(rows: Rows, genes: np.ndarray, n_comps: int) -> Decomposed:
    """Do as `by_genes` by the cells x cells Gram matrix: for fewer cells than genes."""
    block = rows.whole()
    _warn_of_counts(rows, _all_whole(block))
    x = block.to_scipy()[:, genes].astype(np.float64)
    mean = np.asarray(x.mean(axis=0)).ravel()
    by_gene = x.T.tocsr()
    indices, indptr = by_gene.indices.astype(np.int32), by_gene.indptr.astype(np.int64)
    gram = _gram([Block(by_gene.data, indices, indptr, rows.shape[0])], np.arange(rows.shape[0]))
    products, cells = gram.products, gram.chosen
    along = (x @ mean)[cells]
    products += mean @ mean - along[:, None] - along[None, :]
    products /= rows.shape[0] - 1
    total = _varying(np.trace(products), mean, genes.size)
    values, vectors = largest(products, n_comps)
    length = np.sqrt(values * (rows.shape[0] - 1))
    length[values <= 1e-12 * total] = np.inf  # a direction without variance has no loadings
    loadings = (x.T @ vectors[np.argsort(cells)] - np.outer(mean, vectors.sum(axis=0))) / length
    return Decomposed(genes, genes.size, mean, values, loadings, total)


def by_entries(rows: Rows, genes: np.ndarray, n_comps: int, most: float) -> Decomposed | None:
    """Do as `by_genes` by products with the chosen entries; None if they are far above ``most`` or it fails.

    Of pbmc3k's 2,700 cells and 2,000 genes a product takes .3 of one with the Gram matrix, which is not made either.
    """
    to = columns_at(genes, genes.size, rows.shape[1])
    head = next(iter(rows.map(lambda block, _: block.rows(0, min(block.n_rows, HEAD)))))
    if (to.place[head.indices] >= 0).sum() * rows.shape[0] > most * head.n_rows:
        return None
    kept: list[Entries] = []
    whole, n_kept = True, 0

    def choose(block: Block) -> tuple[Entries, bool]:
        return chosen_entries(*block[:3], to), _all_whole(block)

    for entries, is_whole in in_threads(choose, rows.map(lambda block, _: block)):
        kept.append(entries)
        whole, n_kept = whole and is_whole, n_kept + entries.values.size
        if n_kept > 2 * most:  # the first rows held fewer
            return None
    centred = Centred.of(kept, genes.size)
    total = _varying(centred.variance.sum(), centred.mean, genes.size)
    found = lanczos(centred.times, centred.variance, n_comps)
    if found is None:
        return None
    _warn_of_counts(rows, whole)
    return Decomposed(genes, genes.size, centred.mean, *found, total, kept)


def by_products(rows: Rows, genes: np.ndarray, n_comps: int) -> Decomposed:
    """Do as `by_genes` without a Gram matrix: by products with some vectors at a time."""

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
    total = rows.reduce(squares, float.__add__) + rows.shape[0] * mean @ mean
    total = _varying(total / (rows.shape[0] - 1), mean, genes.size)
    variance, loadings, converged = largest_by_products(multiply, genes.size, n_comps)
    if not converged:
        msg = (
            f"The components of {rows.name} have not converged after {MOST_PRODUCTS} passes: the last of "
            f"them hardly differ in variance. Ask for fewer with n_comps=, or choose genes first."
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    return Decomposed(genes, genes.size, mean, np.maximum(variance, 0.0), loadings, total)


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


def _varying(total: float, mean: np.ndarray, n_genes: int) -> float:
    """Return the variance of all genes; refuse what rounding alone makes."""
    if not total > 1e-12 * (mean @ mean):
        msg = f"All cells are the same in the {n_genes} chosen genes: there is no variance to decompose."
        raise ValueError(msg)
    return float(total)

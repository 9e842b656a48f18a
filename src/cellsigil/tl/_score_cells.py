"""Score cells for gene signatures: all of them in one pass, as one sparse product."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellsigil import _keys
from cellsigil._block import Block
from cellsigil._core._scores import add_columns, project_dense, project_rows
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key, hdf5_names
from cellsigil._matrix import read_log, read_matrix, suggest
from cellsigil._moments import gene_moments
from cellsigil._rows import Rows
from cellsigil._signature import SignatureSet
from cellsigil.tl._groups import read_genes
from cellsigil.tl._signatures import coverage, index_sets, read_signatures, warn_few
from cellsigil.tl.scores import METHODS, Genes, Method, Plan

log = logging.getLogger(__name__)

Product = Callable[[Block, np.ndarray], None]

PIECE = 256  # rows that are transformed at a time: what they hold stays in the cache
DENSE, WIDEST = (
    0.2,
    128,
)  # from which share of weights, up to how many signatures, a dense matrix is faster


def score_cells(
    adata: Any,
    signatures: Any,
    *,
    method: str = "ans",
    reference: SignatureSet | None = None,
    layer: str | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str = _keys.SCORE_SIGNATURES,
) -> None:
    """Score every cell for every signature.

    Parameters
    ----------
    adata
        Cells x genes, log-normalised.
    signatures
        Anything that `read_signatures` takes.
    method
        ``ans``: every gene against the 100 genes closest to it in mean expression (default; nothing is random).
        ``ucell``: ranks within a cell, genes that are missing count as unexpressed. ``aucell``: area under the
        recovery curve in the top 5 %, expected over the orders of ties. ``scanpy``: equal to
        ``scanpy.tl.score_genes`` for a seed. ``zmean``: mean z-score. ``mean``. Weights are used by ``ans``,
        ``zmean`` and ``mean``.
    reference
        A SignatureSet whose stored means and sds of the genes choose the controls (``ans``) or standardise
        (``zmean``), so that a score does not depend on who else is in the data. Needs CP10K.
    layer
        Layer with the values; X otherwise.
    rng
        Seed of the ``scanpy`` method; the others draw nothing.
    key_added
        Key of the result.

    Sets
    ----
    obsm[key_added]
        DataFrame, a column per signature under its own name ("/" made "_"); up minus down for a signed one.
        NaN where fewer than 3 genes were found (``ucell`` excepted), with a warning.
    uns[key_added]
        DataFrame by column of the above: signature (its own name), n_genes, n_found, n_up, n_down, missing,
        method, seed.

    Raises
    ------
    TypeError
        ``reference`` is no SignatureSet, or signatures are in no form that can be read.
    ValueError
        No such method, nothing found, a value that is NaN, values of the wrong scale, or ``rng`` is no seed.
    """
    if method not in METHODS:
        msg = f"There is no method {method!r}. {suggest(method, METHODS)}"
        raise ValueError(msg)
    how = METHODS[method]
    if reference is not None and not how.takes_reference:
        msg = f"Method {method!r} takes no reference. Use 'ans' or 'zmean', or leave reference out."
        raise ValueError(msg)
    if reference is not None and not isinstance(reference, SignatureSet):
        msg = f"reference is a {type(reference).__name__}; a SignatureSet is needed: cellsigil.sig.read(path)."
        raise TypeError(msg)
    check_key(key_added)
    seed = seed_of(rng)
    sets = read_signatures(signatures)
    read_genes(adata)
    if not adata.n_obs:
        msg = "adata has no cells. Was everything filtered out?"
        raise ValueError(msg)
    rows = (read_log if how.expects == "log" else read_matrix)(adata, layer)
    genes = gene_statistics(rows, adata.var_names, how, reference)
    indexed = index_sets(
        sets,
        pd.Index(genes.names),
        var=adata.var,
        present=None if reference is None else genes.present,
    )
    plan = how.prepare(indexed, genes, seed)
    plan = plan._replace(weights=_onto(plan.weights, genes.names, adata.var_names))
    product = product_with(plan.weights)
    scores = rows.stacked(lambda block, _: apply(plan, product, block), len(indexed))
    warn_few(indexed, how.least)
    for place, one in enumerate(indexed):
        if one.n_found < how.least:
            scores[:, place] = np.nan
    names = hdf5_names(sets)
    adata.obsm[key_added] = pd.DataFrame(
        scores, index=adata.obs_names, columns=list(names.values()), copy=False
    )
    table = coverage(indexed).assign(method=method, seed=seed)
    table.index = pd.Index(list(names.values()))
    adata.uns[key_added] = table
    log.info("scored %d cells for %d signatures with %s", *scores.shape, method)


def apply(plan: Plan, add_product: Product, block: Block) -> np.ndarray:
    """Return the scores of a block's cells, cells x signatures; ``add_product`` is of the plan's weights."""
    out = np.tile(plan.offset.astype(np.float64), (block.n_rows, 1))
    if plan.transform is None:
        add_product(block, out)
    else:
        weights = plan.weights
        wanted, total = np.diff(weights.indptr) > 0, np.asarray(weights.sum(axis=0)).ravel()
        for start in range(0, block.n_rows, PIECE):
            stop = min(start + PIECE, block.n_rows)
            piece, zero = plan.transform(block.rows(start, stop), wanted)
            out[start:stop] += np.outer(zero, total)
            add_product(piece, out[start:stop])
    return out if plan.finish is None else plan.finish(out)


def product_with(weights: sp.csr_matrix) -> Product:
    """Return what adds a block's rows times the weights to ``out``: the same bits from sparse and dense weights."""
    if weights.shape[1] <= WIDEST and weights.nnz > DENSE * weights.shape[0] * weights.shape[1]:
        dense = weights.toarray()
        return lambda block, out: project_dense(*block[:3], dense, out, 0, block.n_rows)
    parts = parts_of(weights)
    return lambda block, out: project_rows(*block[:3], *parts, out, 0, block.n_rows)


def parts_of(weights: sp.csr_matrix) -> tuple[np.ndarray, ...]:
    """Return what `project_rows` takes of weights: which rows have one, values, columns, edges."""
    wanted = (np.diff(weights.indptr) > 0).astype(np.uint8)
    return wanted, weights.data, weights.indices, weights.indptr.astype(np.int64)


def gene_statistics(
    rows: Rows, names: pd.Index, how: Method, reference: SignatureSet | None
) -> Genes:
    """Return what the method may know of the genes, of the data or of the reference."""
    if reference is not None:
        _check_cp10k(rows)
        var = reference.adata.var
        mean, sd = (var[key].to_numpy(np.float64) for key in ("mean_log", "sd_log"))
        known = np.isfinite(mean) & np.isfinite(sd)
        own = np.asarray(reference.genes.astype(str), dtype=object)[known]
        return Genes(
            own, mean[known], sd[known], np.isin(own, np.asarray(names.astype(str), object))
        )
    own = np.asarray(names.astype(str), dtype=object)
    present = np.ones(own.size, bool)
    if how.statistics == "none":
        return Genes(own, np.zeros(own.size), np.ones(own.size), present)
    if how.statistics == "in_order":  # float64 sums in the order of storage: scanpy's own bits
        return Genes(own, _sums_in_order(rows) / rows.shape[0], np.ones(own.size), present)
    moments = gene_moments(rows)
    return Genes(own, moments.mean[0], np.sqrt(moments.var[0]), present)


def _sums_in_order(rows: Rows) -> np.ndarray:
    """Return the sum of every column, each value added to the sum of all before it."""

    def add(before: np.ndarray | Block, block: Block) -> np.ndarray:
        if isinstance(before, Block):  # the first one
            before = add(np.zeros(rows.shape[1]), before)
        sums = before.copy()
        add_columns(block.data, block.indices, sums)
        return sums

    total = rows.reduce(lambda block, _: block, add, in_order=True)
    return total if isinstance(total, np.ndarray) else add(np.zeros(rows.shape[1]), total)


def _onto(weights: sp.csr_matrix, names: np.ndarray, genes: pd.Index) -> sp.csr_matrix:
    """Return weights by name as weights by column of the data; a gene that is not there has weight 0."""
    if names.size == len(genes) and (names == np.asarray(genes.astype(str), object)).all():
        return weights
    place = genes.astype(str).get_indexer(pd.Index(names))
    entries = weights.tocoo()
    kept = place[entries.row] >= 0
    where = (place[entries.row[kept]], entries.col[kept])
    return sp.csr_matrix((entries.data[kept], where), shape=(len(genes), weights.shape[1]))


def _check_cp10k(rows: Rows) -> None:
    """Refuse cells whose expm1 adds up to more than 10,000: the reference's controls are on that scale."""

    def most(block: Block, _: int) -> float:
        x = np.concatenate(([0.0], np.cumsum(np.expm1(block.data.astype(np.float64)))))
        return float(np.diff(x[block.indptr]).max(initial=0.0))

    if (largest := rows.reduce(most, max) or 0.0) > 10_100:
        msg = (
            f"A cell's expm1({rows.name}) adds up to {largest:.0f}; a reference holds log1p of counts per "
            "10,000. Run cellsigil.pp.normalize(adata, target_sum=1e4)."
        )
        raise ValueError(msg)

"""From a matrix, barcodes and a feature table to the AnnData that every reader answers with."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.utils import make_index_unique

from cellsigil import _keys
from cellsigil._block import LARGEST_EXACT, pieces
from cellsigil._files import hdf5_names
from cellsigil._matrix import as_rows, suggest
from cellsigil.io._errors import ReadError

GENE_EXPRESSION = "Gene Expression"
WIDEST_TABLE = 10_000  # other features (peaks) beyond this stay sparse: a DataFrame would be dense


def assemble(
    matrix: Any, barcodes: pd.Index, features: pd.DataFrame, path: Path, genome: str | None = None
) -> ad.AnnData:
    """Put together cells x features: gene expression in X and counts, other feature types in obsm.

    X and the counts are one matrix here; `read` parts them.

    Raises
    ------
    ReadError
        A value is negative or not finite, there is no gene expression, or no such genome.
    """
    names = gene_names(features)
    matrix, whole = checked(matrix, path, barcodes, names)
    kinds = features.get(_keys.FEATURE_TYPES, pd.Series(GENE_EXPRESSION, index=features.index))
    is_gene = (kinds == GENE_EXPRESSION).to_numpy()
    if len(features) and not is_gene.any():
        held = ", ".join(f"{kind} ({n})" for kind, n in kinds.value_counts().items())
        msg = (
            f"{path} holds no {GENE_EXPRESSION!r} features, only {held}. "
            f"Give the gene expression matrix of the same run."
        )
        raise ReadError(msg)
    wanted = is_gene & _of_genome(features, is_gene, path, genome)
    var = features[wanted].set_axis(
        make_index_unique(pd.Index(names[wanted].astype(str))), axis="index"
    )
    genes = matrix if wanted.all() else matrix[:, np.flatnonzero(wanted)]
    adata = ad.AnnData(genes, obs=pd.DataFrame(index=unique_cells(barcodes, path)), var=var)
    if whole:
        adata.layers[_keys.COUNTS] = adata.X
    _keep_aside(adata, matrix, kinds.to_numpy(), names)
    return adata


def gene_names(features: pd.DataFrame) -> np.ndarray:
    """Return each feature's symbol, or its id where the symbol is missing; object array of str."""
    ids = features[_keys.GENE_IDS].to_numpy(dtype=object)
    if _keys.GENE_SYMBOLS not in features:
        return ids
    symbols = features[_keys.GENE_SYMBOLS].to_numpy(dtype=object)
    return np.where([not str(symbol).strip() for symbol in symbols], ids, symbols).astype(object)


def checked(
    matrix: Any, path: Path, cells: Any, genes: Any, *, name: str | None = None
) -> tuple[sp.csr_matrix, bool]:
    """Return canonical CSR, float32 where that is exact, and whether all values are counts.

    Raises
    ------
    ReadError
        The sparse structure is broken, or a value is negative or not finite.
    """
    try:
        names = (np.asarray(cells, dtype=object), np.asarray(genes, dtype=object))
        rows = as_rows(matrix, name=name or str(path), expects="nonnegative", names=names)
    except ValueError as error:
        raise ReadError(str(error)) from error
    block = rows.whole()
    odd = next(
        (x[x != np.floor(x)][0] for x in pieces(block.data) if (x != np.floor(x)).any()), None
    )
    whole = odd is None
    if not whole:
        message = (
            f"{name or path} holds {odd:g}, so these are no raw counts: layers['counts'] is not set. "
            f"Read the raw counts, or, if these are estimated counts, round them: "
            f"adata.layers['counts'] = adata.X.copy(), then numpy.rint on its .data."
        )
        warnings.warn(message, UserWarning, stacklevel=2)
    out = block.to_scipy()
    if out.dtype == np.float64 and (not whole or out.data.max(initial=0) <= LARGEST_EXACT):
        out = out.astype(np.float32)
    return out, whole


def unique_cells(barcodes: pd.Index, path: Path) -> pd.Index:
    """Return barcodes as a str index, made unique with a warning."""
    barcodes = pd.Index([str(barcode) for barcode in barcodes])
    if barcodes.is_unique:
        return barcodes
    twice = barcodes[barcodes.duplicated()]
    message = (
        f"{path} holds {len(twice)} cell names more than once, such as {twice[0]!r}; they were made "
        f"unique with -1, -2. If several samples were joined here, read them with a sample sheet."
    )
    warnings.warn(message, UserWarning, stacklevel=2)
    return make_index_unique(barcodes)


def _of_genome(
    features: pd.DataFrame, is_gene: np.ndarray, path: Path, genome: str | None
) -> np.ndarray:
    if genome is None:
        return np.ones(len(features), dtype=bool)
    held = features.loc[is_gene, _keys.GENOME].unique() if _keys.GENOME in features else []
    if genome not in held:
        msg = f"{path} has no genome {genome!r}. {suggest(genome, held)}"
        raise ReadError(msg)
    return (features[_keys.GENOME] == genome).to_numpy()


def _keep_aside(
    adata: ad.AnnData, matrix: sp.csr_matrix, kinds: np.ndarray, names: np.ndarray
) -> None:
    """Put every other feature type into obsm: a DataFrame, or sparse with its names in uns if wide."""
    others = [str(kind) for kind in pd.unique(kinds) if kind != GENE_EXPRESSION]
    for kind, key in hdf5_names(others).items():
        columns = np.flatnonzero(kinds == kind)
        values = matrix[:, columns]
        if columns.size > WIDEST_TABLE:
            adata.obsm[key] = values
            adata.uns[f"{key}_names"] = names[columns].astype(str).tolist()
            continue
        unique = make_index_unique(pd.Index(names[columns].astype(str)))
        adata.obsm[key] = pd.DataFrame(
            values.toarray(), index=adata.obs_names, columns=list(hdf5_names(unique).values())
        )

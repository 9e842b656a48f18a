"""Counts as delimited text: which way round it lies is found out, and every odd cell is named."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.utils import make_index_unique

from cellsigil import _keys
from cellsigil.io._assemble import assemble
from cellsigil.io._errors import ReadError, reading
from cellsigil.io._text import Cut, open_text, sniff

_GENE = re.compile(
    r"ENS[A-Z]*G\d{6,}(\.\d+)?|(GRCh38|hg19|mm10)_.*|MT-.+|RP[LS]\d+[AXYL]?\d*|ACTB|GAPDH|B2M|MALAT1"
    r"|(CD|IL|CCL|KRT|COL|ZNF|SLC|TMEM|FAM|HLA-)\d*[A-Z]*\d+.*|LINC\d+|(gene|g)[._-]?\d+",
    re.I,
)
_CELL = re.compile(
    r"(.*[._:#-])?[ACGTN]{8,}([._-]\d+)?([._-].*)?|(cell|barcode|bc|c)[._-]?\d+", re.I
)
_GENE_CORNER = ("gene", "symbol", "ensembl", "feature")
_CELL_CORNER = ("cell", "barcode", "index")
_LOOKED_AT = 20_000


def read_table(path: Path) -> ad.AnnData:
    """Read a csv or tsv of counts, genes x cells or cells x genes.

    Raises
    ------
    ReadError
        A cell is empty or no number, lines differ in length, or a value is negative.
    """
    cut = sniff(path)
    _check_ragged(path, cut)
    table = _parse(path, cut)
    _check_numbers(table, path)
    if genes_in_rows(table.index, table.columns, cut.header[0], path):
        genes, cells, values = table.index, table.columns, table.to_numpy().T
    else:
        genes, cells, values = table.columns, table.index, table.to_numpy()
    features = pd.DataFrame({_keys.GENE_IDS: genes.to_numpy(dtype=object)})
    adata = assemble(sp.csr_matrix(values), pd.Index(cells), features, path)
    column = (
        _keys.GENE_IDS
        if _share(genes, re.compile(r"ENS[A-Z]*G\d+.*")) > 0.5
        else _keys.GENE_SYMBOLS
    )
    adata.var = adata.var.rename(columns={_keys.GENE_IDS: column})
    return adata


def genes_in_rows(rows: pd.Index, columns: pd.Index, corner: str, path: Path) -> bool:
    """Tell from names and the corner whether rows are genes; warn and take them so if nothing tells."""
    corner = corner.lower()
    for_genes = (
        _share(rows, _GENE) - _share(rows, _CELL) + _share(columns, _CELL) - _share(columns, _GENE)
    )
    for_genes += 2 * any(word in corner for word in _GENE_CORNER)
    for_genes -= 2 * any(word in corner for word in _CELL_CORNER)
    if abs(for_genes) > 0.05:
        return for_genes > 0
    message = (
        f"{path}: the names don't tell whether rows ({rows[0]!r}, ...) or columns ({columns[0]!r}, ...) "
        f"are genes. Rows are taken for genes, as in most published tables: "
        f"{len(columns)} cells x {len(rows)} genes. If they are cells, use adata.T, or put 'cell' into "
        f"the first field of the header line."
    )
    warnings.warn(message, UserWarning, stacklevel=2)
    return True


def _share(names: Iterable, pattern: re.Pattern) -> float:
    looked = list(islice(names, _LOOKED_AT))
    return sum(pattern.fullmatch(str(name)) is not None for name in looked) / max(1, len(looked))


def _check_ragged(path: Path, cut: Cut) -> None:
    """Compare the first lines; R leaves out the header's first field, which is fine."""
    if not cut.rows:
        msg = f"{path} holds a header line and nothing else. Write it with its counts."
        raise ReadError(msg)
    n = len(cut.rows[0])
    if len(cut.header) not in (n, n - 1):
        msg = (
            f"{path}: the header line has {len(cut.header)} fields, the next line {n}. "
            f"Every line needs as many as the header (delimiter {cut.delimiter!r})."
        )
        raise ReadError(msg)
    for number, row in enumerate(cut.rows, start=2):
        if len(row) != n:
            msg = (
                f"{path}, line {number}: {len(row)} fields, where {n} are needed (delimiter "
                f"{cut.delimiter!r}). Complete the line."
            )
            raise ReadError(msg)


def _parse(path: Path, cut: Cut) -> pd.DataFrame:
    names = cut.header if len(cut.header) == len(cut.rows[0]) else ["", *cut.header]
    way_out = "Every line needs the same number of fields."
    with reading(path, "a table of counts", way_out), open_text(path) as file:
        table = pd.read_csv(
            file, sep=cut.delimiter, header=0, names=range(len(names)), index_col=0,
            keep_default_na=False, na_values=[""], low_memory=False, dtype={0: str},
        )  # fmt: skip
    table.columns = pd.Index([str(name) for name in names[1:]])
    table.index = pd.Index(["" if pd.isna(name) else str(name) for name in table.index])
    unnamed = [
        f"{axis} {k}" for axis, held in (("row", table.index), ("column", table.columns))
        for k, name in enumerate(held, start=1) if not name
    ]  # fmt: skip
    if unnamed:
        msg = f"{path}: {unnamed[0]} has no name ({len(unnamed)} such). Name every gene and every cell."
        raise ReadError(msg)
    if not table.index.is_unique:
        name = table.index[table.index.duplicated()][0]
        message = f"{path} holds the row {name!r} more than once; rows were told apart with -1, -2."
        warnings.warn(message, UserWarning, stacklevel=2)
        table.index = make_index_unique(table.index)
    return table


def _check_numbers(table: pd.DataFrame, path: Path) -> None:
    for k, kind in enumerate(table.dtypes):
        if isinstance(kind, np.dtype) and kind.kind in "iu":
            continue
        column = table.iloc[:, k]
        if isinstance(kind, np.dtype) and kind.kind == "f":
            if column.isna().any():
                row = int(np.flatnonzero(column.isna())[0])
                msg = (
                    f"{path}: row {table.index[row]!r}, column {table.columns[k]!r} is empty (or the "
                    f"line is too short). Write 0 where there is no count."
                )
                raise ReadError(msg)
            continue
        text = column.astype(str)
        row = int(
            np.flatnonzero(pd.to_numeric(text, errors="coerce").isna() | (kind.kind == "b"))[0]
        )
        value = text.iloc[row]
        where = f"{path}: row {table.index[row]!r}, column {table.columns[k]!r} holds {value!r}"
        if re.fullmatch(r"-?\d+,\d+", value.strip()):
            msg = f"{where}, a number with a decimal comma. Save the table with decimal points."
        elif column.isna().any() and pd.isna(column.iloc[row]):
            msg = f"{where.rsplit(' holds ', 1)[0]} is empty. Write 0 where there is no count."
        else:
            msg = (
                f"{where}, which is no number. The table should hold one column (or row) of names, and "
                f"counts: drop further columns. A sample sheet needs columns named path and sample."
            )
        raise ReadError(msg)

"""Bulk tables: read from any producer's file, checked before anything is computed."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellsigil.deconv._errors import BulkError
from cellsigil.deconv._layouts import read_table

log = logging.getLogger(__name__)

ENSEMBL, TRANSCRIPTS, ENTREZ, SYMBOLS = (
    "Ensembl gene ids", "transcript ids", "Entrez ids", "gene symbols",
)  # fmt: skip
_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})\.\d+(_PAR_Y)?")
_IS_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?(_PAR_Y)?")
_IS_TRANSCRIPT = re.compile(r"(ENS[A-Z]*T\d{11}|[NX][MR]_\d+)(\.\d+)?")
_EXCEL_DATE = re.compile(r"\d{1,2}-(mar|sep|sept|dec|oct)", re.IGNORECASE)
SYMBOLS_KEY = "gene_symbols"  # attrs: symbol of a gene id, where the file gives both


def read_bulk(path: str | Path) -> pd.DataFrame:
    """Read bulk samples from a file, and check them.

    Knows tables with genes in the first column (tsv, csv, with or without R's row names, gzipped or
    not), featureCounts, Salmon, kallisto, nf-core/rnaseq, STAR, RSEM, htseq-count, GDC, GCT (GTEx) and
    .h5ad (samples x genes). Ensembl versions are taken off, rows of one gene are added up, and what
    the counters put beside the genes is dropped.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    Genes x samples, float64. ``attrs["gene_symbols"]`` maps ids to symbols where the file has both.

    Raises
    ------
    FileNotFoundError
        No such file.
    BulkError
        The file holds no expression (DESeq2 results), coverage sums (recount3), text, missing, negative
        or infinite values, transcripts without genes, or looks log-transformed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"There is no bulk file {path}."
        raise FileNotFoundError(msg)
    table, symbols = read_table(path)
    table = check_bulk(table, path.name)
    if symbols:
        bare = dict(zip(strip_versions(list(symbols)), symbols.values()))
        table.attrs[SYMBOLS_KEY] = {gene: bare[gene] for gene in table.index if gene in bare}
    log.info("read_bulk: %s, %d genes x %d samples", path.name, *table.shape)
    return table


def check_bulk(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the table as float64 with unique genes; refuse what can't be deconvolved.

    Raises
    ------
    BulkError
        In one sentence: the file, the sample or gene, and the way out.
    """
    if not table.shape[0] or not table.shape[1]:
        msg = f"{where} holds {table.shape[0]} genes x {table.shape[1]} samples. It needs genes x samples."
        raise BulkError(msg)
    names = pd.Index([str(name) for name in table.columns])
    if not names.is_unique:
        msg = f"{where} names sample {names[names.duplicated()][0]!r} twice. Rename one of the columns."
        raise BulkError(msg)
    genes = pd.Index(strip_versions(["" if pd.isna(g) else str(g) for g in table.index]))
    values = _numbers(table, genes, where)
    _check_values(values, genes, names, where)
    out = pd.DataFrame(values, index=genes, columns=names)
    _check_genes(genes, where)
    if (genes == "").any():
        warnings.warn(f"{where}: {int((genes == '').sum())} rows without a gene name were left out.",
                      stacklevel=3)  # fmt: skip
        out = out[genes != ""]
    if not out.index.is_unique:
        twice = out.index[out.index.duplicated()].unique()
        warnings.warn(
            f"{where}: {len(twice)} genes have several rows ({', '.join(map(repr, twice[:3]))}, ...), "
            f"which were added up.",
            stacklevel=3,
        )
        out = out.groupby(level=0, sort=False).sum()
    if SYMBOLS_KEY in table.attrs:
        out.attrs[SYMBOLS_KEY] = table.attrs[SYMBOLS_KEY]
    return out


def _numbers(table: pd.DataFrame, genes: pd.Index, where: str) -> np.ndarray:
    for name, column in table.items():
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
            told = pd.to_numeric(column, errors="coerce").isna() & column.notna()
            bad = int(np.argmax(told.to_numpy())) if told.any() else 0
            way = "Keep one column of gene names and one column of numbers per sample."
            if re.fullmatch(r"\s*[\d.]+(,\d+)+(\.\d+)?\s*", str(column.iloc[bad])):
                way = "Write numbers with a decimal point and without separators of thousands."
            msg = (
                f"{where}: column {str(name)!r} holds {column.iloc[bad]!r} at gene {genes[bad]!r}, which is no number. "
                f"{way}"
            )
            raise BulkError(msg)
    return np.array(table.to_numpy(dtype=np.float64, na_value=np.nan), order="C")


def _check_values(values: np.ndarray, genes: pd.Index, names: pd.Index, where: str) -> None:
    def place(bad: np.ndarray) -> str:
        g, i = np.argwhere(bad)[0]
        return f"gene {genes[g]!r} in sample {names[i]!r}"

    if (bad := np.isnan(values)).any():
        msg = f"{where} has no value for {place(bad)} ({int(bad.sum())} missing in all). Fill in or drop the genes."
        raise BulkError(msg)
    if (bad := np.isinf(values)).any():
        msg = f"{where} is infinite at {place(bad)}. Drop the gene, or find out where a division by 0 was."
        raise BulkError(msg)
    if (bad := values < 0).any():
        msg = (
            f"{where} is negative at {place(bad)} (lowest value {values.min():.4g}): it looks log-transformed or "
            f"scaled. Pass counts or TPM on the linear scale."
        )
        raise BulkError(msg)
    if not (positive := (values > 0).any(axis=0)).all():
        way = "Leave it out."
        if values.shape[1] > values.shape[0]:
            way = "The table has more columns than rows; it needs genes x samples."
        msg = f"{where}: sample {names[int(np.argmin(positive))]!r} is zero everywhere. {way}"
        raise BulkError(msg)
    sums = values.sum(axis=0)
    whole = (np.abs(sums - 1) < 0.01).all() or (np.abs(sums - 100) < 1).all()
    if values.max() < 50 and not whole and (values != np.floor(values)).any():
        msg = (
            f"{where} looks log-transformed: no value is above {values.max():.4g} and they are no whole numbers. Undo "
            f"the logarithm (2**x - 1 for log2(x + 1)); if it is linear, multiply it to sum to a million."
        )
        raise BulkError(msg)


def _check_genes(genes: pd.Index, where: str) -> None:
    kind = id_kind(genes)
    if kind == TRANSCRIPTS:
        msg = (
            f"{where} counts transcripts ({genes[0]!r}, ...), not genes. Sum them to genes first (tximport, or "
            f"Salmon's quant.genes.sf)."
        )
        raise BulkError(msg)
    dates = [gene for gene in genes if _EXCEL_DATE.fullmatch(gene)]
    if dates:
        warnings.warn(
            f"{where}: gene {dates[0]!r} is a gene name that a spreadsheet turned into a date ({len(dates)} of them).",
            stacklevel=4,
        )


def strip_versions(genes: Iterable[str]) -> list[str]:
    """Take the version off Ensembl gene ids; the copies on Y (``_PAR_Y``) stay apart."""
    return [
        m[1] + (m[2] or "") if gene.startswith("ENS") and (m := _ENSEMBL.fullmatch(gene)) else gene
        for gene in genes
    ]


def id_kind(genes: Iterable[Any]) -> str:
    """Return what kind of names most of the genes are."""
    names = [str(gene) for gene in genes][:5000]
    tests = (
        (ENSEMBL, _IS_ENSEMBL.fullmatch), (TRANSCRIPTS, _IS_TRANSCRIPT.fullmatch), (ENTREZ, str.isdigit),
    )  # fmt: skip
    for kind, test in tests:
        if sum(bool(test(name)) for name in names) > 0.5 * len(names):
            return kind
    return SYMBOLS


def guess_scale(values: np.ndarray) -> str:
    """Return what one sample's values look like."""
    total = values.sum()
    if (values == np.floor(values)).all():
        return "counts"
    if abs(total / 1e6 - 1) < 0.01:
        return "TPM or CPM"
    if abs(total - 1) < 0.01:
        return "fractions"
    return f"linear, sum {total:.3g}"

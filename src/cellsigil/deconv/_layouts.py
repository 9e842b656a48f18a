"""Which program wrote a bulk file, told from its first lines, and what of it is expression."""

from __future__ import annotations

import re
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from cellsigil._signature import UNS_KEY
from cellsigil.deconv._errors import BulkError
from cellsigil.io._delimited import Layout, find_layout, first_lines, parse, read_whole
from cellsigil.io._errors import ReadError

_SYMBOL_COLUMNS = ("gene_name", "genename", "gene_symbol", "symbol", "description", "hgnc_symbol")
_TEXT_COLUMNS = (*_SYMBOL_COLUMNS, "gene_id", "gene", "tx")
# Numbers and text that counters put between gene and samples; never expression.
_ANNOTATION = {
    "chr", "start", "end", "strand", "length", "gcfraction", "gene_type", "gene_biotype", "biotype",
    "chromosome", "transcript_id(s)", "effective_length", "eff_length", "width", "seqnames", "entrezid",
    "entrez_id", "entrez", "geneid.1",
}  # fmt: skip
# Files of one sample: the header's tell-tale columns, the id column, the value column that is nearest to
# molecules per gene.
_ONE_SAMPLE = (
    ({"Name", "EffectiveLength", "TPM", "NumReads"}, "Name", "TPM"),
    ({"target_id", "eff_length", "est_counts", "tpm"}, "target_id", "tpm"),
    ({"transcript_id", "gene_id", "expected_count", "TPM", "IsoPct"}, "gene_id", "TPM"),
    ({"gene_id", "expected_count", "TPM", "FPKM"}, "gene_id", "TPM"),
    ({"gene_id", "gene_name", "unstranded", "tpm_unstranded"}, "gene_id", "tpm_unstranded"),
)
_NOT_EXPRESSION = (
    {"basemean", "log2foldchange"},
    {"logfc", "pvalue"},
    {"logfc", "p.value"},
    {"logfc", "fdr"},
)
# Reads without a gene, as STAR, GDC and htseq-count count them.
_SUMMARY = re.compile(r"N_(unmapped|multimapping|noFeature|ambiguous)$|__\w+$")


def read_table(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return genes x samples as the file has them, and symbols by gene id where it has both.

    Raises
    ------
    BulkError
        The file can't be read, or holds something else than expression.
    """
    if path.suffix.lower() == ".h5ad":
        return _read_h5ad(path), {}
    try:
        text = read_whole(path)
        lines = first_lines(text)
        if lines and lines[0].startswith("##annotation="):
            msg = (
                f"{path.name} is recount3's gene sums: base-pair coverage, not counts. Convert it with recount3's "
                f"compute_read_counts or transform_counts first."
            )
            raise BulkError(msg)
        if lines and lines[0].strip() in ("#1.2", "#1.3"):
            return _read_gct(path, text, lines)
        return _read_columns(path, text, find_layout(path, lines))
    except ReadError as error:
        raise BulkError(str(error)) from error


def _read_h5ad(path: Path) -> pd.DataFrame:
    import anndata as ad

    try:
        adata = ad.read_h5ad(path)
    except Exception as error:  # h5py and anndata raise whatever they meet
        msg = f"{path.name} can't be read as .h5ad ({error})."
        raise BulkError(msg) from error
    if UNS_KEY in adata.uns:
        msg = f"{path.name} is a SignatureSet, no bulk. Pass it as the signature, and the samples as the bulk."
        raise BulkError(msg)
    if adata.X is None:
        msg = f"{path.name} has an empty X. Put the samples' expression there."
        raise BulkError(msg)
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return pd.DataFrame(values.T, index=adata.var_names, columns=adata.obs_names)


def _read_gct(path: Path, text: str, lines: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    sizes = [int(x) for x in lines[1].split() if x.isdigit()] if len(lines) > 1 else []
    if len(sizes) not in (2, 4):
        msg = f"{path.name} starts as GCT, but its second line is no pair (or four) of sizes. Write it anew."
        raise BulkError(msg)
    n_row_meta, n_column_meta = (1, 0) if len(sizes) == 2 else (sizes[2], sizes[3])
    table = parse(
        path,
        text,
        Layout(2, "\t", header=True, names=lines[2].split("\t")),
        text_columns=_TEXT_COLUMNS,
    )
    genes = table.iloc[:, 0].astype(str)
    symbols = dict(zip(genes, table.iloc[:, 1].astype(str))) if n_row_meta else {}
    values = table.iloc[n_column_meta:, 1 + n_row_meta :].set_axis(
        pd.Index(genes[n_column_meta:]), axis=0
    )
    return values.apply(pd.to_numeric) if n_column_meta else values, symbols


def _read_columns(path: Path, text: str, layout: Layout) -> tuple[pd.DataFrame, dict[str, str]]:
    names = layout.names
    known = {name.lower() for name in names}
    if any(tell <= known for tell in _NOT_EXPRESSION):
        msg = (
            f"{path.name} is a table of differential expression ({', '.join(names[1:4])}, ...), not of expression. "
            f"Pass the counts or TPM per sample."
        )
        raise BulkError(msg)
    table = parse(path, text, layout, text_columns=_TEXT_COLUMNS)
    sample = _sample_name(path)
    for tell, gene, value in _ONE_SAMPLE:
        if tell <= set(names):
            one = table[[value]].set_axis(_genes(table[gene]), axis=0).set_axis([sample], axis=1)
            symbols = _symbols(table, gene)
            isoforms = "IsoPct" in tell or one.index.tolist() != table[gene].tolist()
            return _without_summary(_summed(one, isoforms=isoforms)), symbols
    if not layout.header:
        table = _without_header(path, table, sample)
    return _generic(_attributes_named(table))


def _without_header(path: Path, table: pd.DataFrame, sample: str) -> pd.DataFrame:
    """Name the columns of a file that starts with its first gene."""
    counted = table.iloc[:, 0].str.match(_SUMMARY)
    if len(table.columns) == 4 and table.iloc[:4, 0].str.startswith("N_").any():
        table = table.iloc[:, :2]  # STAR: unstranded
    if len(table.columns) == 2:
        table = table.set_axis(["gene", sample], axis=1)
    if not counted.any():
        warnings.warn(
            f"{path.name} has no header: its first line was taken for gene {table.iloc[0, 0]!r}, and its samples are "
            f"called {', '.join(table.columns[1:4])}. If it is one, call its first field 'gene'.",
            stacklevel=5,
        )
    return table


def _generic(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    by_transcript = list(table.columns[:2]) == ["tx", "gene_id"]
    at = 1 if by_transcript else 0
    gene = table.columns[at]
    symbols = _symbols(table, gene)
    beside = {"tx"} if by_transcript else set()
    values = [
        place
        for place, name in enumerate(table.columns)
        if place != at
        and name not in beside
        and str(name).lower() not in _ANNOTATION
        and not _holds_symbols(table, place)
    ]
    out = table.iloc[:, values].set_axis(_genes(table.iloc[:, at]), axis=0)
    if str(gene).lower() == "geneid":
        out = out.set_axis(_short_names(out.columns.tolist()), axis=1)
    return _without_summary(_summed(out, isoforms=by_transcript)), symbols


_GENCODE = r"^ENS[A-Z]*T[\d.]+\|ENS[A-Z]*G"


def _genes(column: pd.Series) -> pd.Index:
    """Return gene names; GENCODE's ``ENST..|ENSG..|..`` gives its gene."""
    names = column.fillna("").astype(str).str.strip()
    if names.str.contains(_GENCODE).mean() > 0.5:
        names = names.str.split("|").str[1]
    return pd.Index(names, name=None)


def _summed(table: pd.DataFrame, *, isoforms: bool) -> pd.DataFrame:
    """Add up the transcripts of a gene, where rows are transcripts."""
    return table.groupby(level=0, sort=False).sum(min_count=1) if isoforms else table


def _without_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the lines that count reads without a gene (STAR, GDC, htseq-count)."""
    return table[~table.index.str.match(_SUMMARY)]


def _holds_symbols(table: pd.DataFrame, place: int) -> bool:
    """Whether a column is text under a name for symbols."""
    named = str(table.columns[place]).lower() in _SYMBOL_COLUMNS
    return named and not pd.api.types.is_numeric_dtype(table.iloc[:, place])


def _symbols(table: pd.DataFrame, gene: str) -> dict[str, str]:
    for place, name in enumerate(table.columns):
        if name != gene and _holds_symbols(table, place):
            given = pd.DataFrame({"id": table[gene], "symbol": table.iloc[:, place]}).dropna()
            return dict(zip(given["id"].astype(str), given["symbol"].astype(str)))
    return {}


def _attributes_named(table: pd.DataFrame) -> pd.DataFrame:
    """Name htseq-count's additional attributes, text without a name between genes and counts: symbols first."""
    names = list(table.columns)
    for place in range(1, len(names)):
        nameless = names[place] in ("", f"column{place + 1}")
        if not nameless or pd.api.types.is_numeric_dtype(table.iloc[:, place]):
            break
        names[place] = "gene_name" if place == 1 else "gene_type"
    return table.set_axis(names, axis=1)


def _short_names(paths: list[str]) -> list[str]:
    """Return BAM paths' file names without .bam, where that keeps them apart."""
    short = [re.sub(r"\.(bam|sam|cram)$", "", PurePosixPath(str(p)).name) for p in paths]
    return short if len(set(short)) == len(short) else [str(p) for p in paths]


def _sample_name(path: Path) -> str:
    """Return the name of a one-sample file's sample: its folder's for files that are all called the same."""
    if path.name.split(".")[0] in ("quant", "abundance") and path.resolve().parent.name:
        return path.resolve().parent.name
    name = re.sub(r"\.(gz|tsv|txt|csv|tab|sf|results|out)\b", "", path.name)
    return (
        re.sub(
            r"\.(genes|isoforms|rna_seq|augmented_star_gene_counts)\b|\.?ReadsPerGene$", "", name
        )
        or path.name
    )

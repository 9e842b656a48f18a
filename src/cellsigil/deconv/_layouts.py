"""Which program wrote a bulk file, told from its first lines, and what of it is expression."""

from __future__ import annotations

import gzip
import re
import zlib
from io import StringIO
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

_MISSING = ["", "NA", "NaN", "nan", "N/A", "NULL", "null", "#N/A"]
_SYMBOL_COLUMNS = ("gene_name", "genename", "gene_symbol", "symbol", "description", "hgnc_symbol")
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


class BulkError(ValueError):
    """A bulk table that can't be deconvolved, and the way out, in one sentence."""


def read_table(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return genes x samples as the file has them, and symbols by gene id where it has both.

    Raises
    ------
    BulkError
        The file can't be read, or holds something else than expression.
    """
    if path.suffix.lower() == ".h5ad":
        return _read_h5ad(path), {}
    text = _read_text(path)
    lines = text[:65536].splitlines()
    if lines and lines[0].startswith("##annotation="):
        msg = (
            f"{path.name} is recount3's gene sums: base-pair coverage, not counts. Convert it with recount3's "
            f"compute_read_counts or transform_counts first."
        )
        raise BulkError(msg)
    if lines and lines[0].strip() in ("#1.2", "#1.3"):
        return _read_gct(path, text, lines)
    skip = 0
    while skip < len(lines) and lines[skip].startswith("#"):
        skip += 1
    lines = [line for line in lines[skip:] if line.strip()]
    if len(lines) < 2:
        msg = f"{path.name} holds no table: fewer than two lines. It needs a header and one line per gene."
        raise BulkError(msg)
    return _read_columns(path, text, skip, lines)


def _read_h5ad(path: Path) -> pd.DataFrame:
    import anndata as ad

    try:
        adata = ad.read_h5ad(path)
    except Exception as error:  # h5py and anndata raise whatever they meet
        msg = f"{path.name} can't be read as .h5ad ({error})."
        raise BulkError(msg) from error
    if adata.X is None:
        msg = f"{path.name} has an empty X. Put the samples' expression there."
        raise BulkError(msg)
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return pd.DataFrame(values.T, index=adata.var_names, columns=adata.obs_names)


def _read_text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        if raw[:2] == b"PK":
            msg = f"{path.name} is an Excel or zip file. Save the table as tab-separated text."
            raise BulkError(msg)
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path.name} can't be unpacked ({error}): the file is damaged or cut short. Fetch it again."
        raise BulkError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path.name} is no UTF-8 text ({error.reason}). Save the table as tab-separated UTF-8 text."
        raise BulkError(msg) from error


def _read_gct(path: Path, text: str, lines: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    sizes = [int(x) for x in lines[1].split() if x.isdigit()] if len(lines) > 1 else []
    if len(sizes) not in (2, 4):
        msg = f"{path.name} starts as GCT, but its second line is no pair (or four) of sizes. Write it anew."
        raise BulkError(msg)
    n_row_meta, n_column_meta = (1, 0) if len(sizes) == 2 else (sizes[2], sizes[3])
    table = _parse(path, text, skip=2, sep="\t", header=True, columns=lines[2].split("\t"))
    genes = table.iloc[:, 0].astype(str)
    symbols = dict(zip(genes, table.iloc[:, 1].astype(str))) if n_row_meta else {}
    values = table.iloc[n_column_meta:, 1 + n_row_meta :].set_axis(
        pd.Index(genes[n_column_meta:]), axis=0
    )
    return values.apply(pd.to_numeric) if n_column_meta else values, symbols


def _read_columns(
    path: Path, text: str, skip: int, lines: list[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    sep = _separator(lines)
    first, second = _fields(lines[0], sep), _fields(lines[1], sep)
    header = len(first) < 2 or not any(_is_number(field) for field in first[1:])
    if header and len(second) == len(first) + 1:  # R's write.table leaves the corner out
        first = ["", *first]
    if len(second) < 2:
        msg = f"{path.name} has one column only. It needs genes and samples, separated by tabs or commas."
        raise BulkError(msg)
    names = first if header else ["gene", *[f"column{i}" for i in range(2, len(first) + 1)]]
    known = {name.lower() for name in first}
    if header and any(tell <= known for tell in _NOT_EXPRESSION):
        msg = (
            f"{path.name} is a table of differential expression ({', '.join(first[1:4])}, ...), not of expression. "
            f"Pass the counts or TPM per sample."
        )
        raise BulkError(msg)
    table = _parse(path, text, skip, sep, header, names)
    sample = _sample_name(path)
    for tell, gene, value in _ONE_SAMPLE:
        if tell <= set(names):
            one = table[[value]].set_axis(_genes(table[gene]), axis=0).set_axis([sample], axis=1)
            symbols = _symbols(table, gene)
            isoforms = "IsoPct" in tell or one.index.tolist() != table[gene].tolist()
            return _without_summary(_summed(one, isoforms=isoforms)), symbols
    if not header and len(names) == 4 and any(g.startswith("N_") for g in table.iloc[:4, 0]):
        table = table.iloc[:, :2].set_axis(["gene", sample], axis=1)  # STAR: unstranded
    elif not header and len(names) == 2:
        table = table.set_axis(["gene", sample], axis=1)
    return _generic(table)


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
        and not (place <= 3 and str(name).lower() in _SYMBOL_COLUMNS)
    ]
    out = table.iloc[:, values].set_axis(_genes(table.iloc[:, at]), axis=0)
    if str(gene).lower() == "geneid":
        out = out.set_axis(_short_names(out.columns.tolist()), axis=1)
    return _without_summary(_summed(out, isoforms=by_transcript)), symbols


_GENCODE = r"^ENS[A-Z]*T[\d.]+\|ENS[A-Z]*G"


def _genes(column: pd.Series) -> pd.Index:
    """Return gene names; GENCODE's ``ENST..|ENSG..|..`` gives its gene."""
    names = column.fillna("").astype(str)
    if names.str.contains(_GENCODE).mean() > 0.5:
        names = names.str.split("|").str[1]
    return pd.Index(names, name=None)


def _summed(table: pd.DataFrame, *, isoforms: bool) -> pd.DataFrame:
    """Add up the transcripts of a gene, where rows are transcripts."""
    return table.groupby(level=0, sort=False).sum(min_count=1) if isoforms else table


def _without_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the lines that count reads without a gene (STAR, GDC, htseq-count)."""
    return table[~table.index.str.match(r"N_(unmapped|multimapping|noFeature|ambiguous)$|__\w+$")]


def _symbols(table: pd.DataFrame, gene: str) -> dict[str, str]:
    for name in table.columns[:4]:
        if (
            name != gene
            and str(name).lower() in _SYMBOL_COLUMNS
            and not pd.api.types.is_numeric_dtype(table[name])
        ):
            given = table[[gene, name]].dropna()
            return dict(zip(given[gene].astype(str), given[name].astype(str)))
    return {}


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


def _separator(lines: list[str]) -> str:
    head = lines[: min(3, len(lines))]
    for sep in ("\t", ";", ","):
        if all(sep in line for line in head[1:] or head):
            return sep
    return r"\s+"


def _fields(line: str, sep: str) -> list[str]:
    if sep == r"\s+":
        return line.split()
    import csv

    return [field.strip() for field in next(csv.reader([line], delimiter=sep))]


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True


def _parse(
    path: Path, text: str, skip: int, sep: str, header: bool, columns: list[str]
) -> pd.DataFrame:
    """Parse the table under ``columns``; a gene called NA keeps its name."""
    unique, seen = [], dict[str, int]()
    for name in columns:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}\0{seen[name]}")
    text_columns = {
        unique[0],
        *[n for n in unique[:4] if n.lower() in (*_SYMBOL_COLUMNS, "gene_id", "gene", "tx")],
    }
    try:
        table = pd.read_csv(
            StringIO(text), sep=sep, skiprows=skip + header, header=None, names=unique, index_col=False,
            dtype=dict.fromkeys(text_columns, str), keep_default_na=False,
            na_values={name: _MISSING for name in unique if name not in text_columns},
            decimal="," if sep == ";" else ".", skip_blank_lines=True,
            low_memory=False,
        )  # fmt: skip
    except (pd.errors.ParserError, ValueError) as error:
        why = str(error).strip()
        msg = f"{path.name} can't be read as a table ({why}). Every line needs as many fields as the header."
        raise BulkError(msg) from error
    return table.set_axis([name.split("\0")[0] for name in unique], axis=1)

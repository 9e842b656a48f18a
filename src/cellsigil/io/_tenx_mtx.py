"""10x matrix-market folders: Cell Ranger v2 and v3, STARsolo, gzipped or plain, with or without prefixes."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import pandas as pd
import scipy.io
import scipy.sparse as sp

from cellsigil import _keys
from cellsigil.io._assemble import assemble
from cellsigil.io._errors import ReadError, reading

_PART = re.compile(
    r"(?P<prefix>.*?)(?P<part>matrix\.mtx|barcodes\.tsv|features\.tsv|genes\.tsv)(?P<gz>\.gz)?",
    re.I,
)
_COLUMNS = (_keys.GENE_IDS, _keys.GENE_SYMBOLS, _keys.FEATURE_TYPES)


class Triple(NamedTuple):
    """The three files of one matrix."""

    matrix: Path
    barcodes: Path
    features: Path


def find_triples(folder: Path) -> dict[str, Triple]:
    """Return the matrices that lie in ``folder`` itself, by the prefix of their file names.

    Raises
    ------
    ReadError
        There is a matrix without its barcodes or its features.
    """
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = _PART.fullmatch(file.name)
        if match and file.is_file() and not file.name.startswith("."):
            part = {"genes.tsv": "features.tsv"}.get(match["part"].lower(), match["part"].lower())
            found.setdefault(match["prefix"], {}).setdefault(part, file)
    triples = {}
    for prefix, files in found.items():
        if "matrix.mtx" not in files:
            continue
        for part, other in (("barcodes.tsv", ""), ("features.tsv", " (or genes.tsv)")):
            if part not in files:
                msg = (
                    f"{files['matrix.mtx']} has no {prefix}{part}{other}, plain or .gz, beside it. "
                    f"Put the three files of the matrix into one folder."
                )
                raise ReadError(msg)
        triples[prefix] = Triple(files["matrix.mtx"], files["barcodes.tsv"], files["features.tsv"])
    return triples


def prefix_of(file: Path) -> str | None:
    """Return what stands before ``matrix.mtx`` (or its companions) in a file's name, if it is one of them."""
    match = _PART.fullmatch(file.name)
    return match["prefix"] if match else None


def read_triple(files: Triple, genome: str | None = None) -> ad.AnnData:
    """Read one matrix with its barcodes and features.

    Raises
    ------
    ReadError
        A file is damaged, or the three don't fit together.
    """
    barcodes = _read_lines(files.barcodes, "a list of barcodes").iloc[:, 0]
    features = _read_lines(files.features, "a list of genes").iloc[:, :3]
    features.columns = list(_COLUMNS[: features.shape[1]])
    matrix = _read_matrix(files.matrix)
    _check_shape(matrix.shape, len(features), len(barcodes), files)
    folder = files.matrix.parent
    if "gene_bc_matrices" in folder.parent.name:  # Cell Ranger v2: one folder per genome
        features[_keys.GENOME] = folder.name
    elif genome is not None:
        features[_keys.GENOME] = _genome_of(features)
    return assemble(matrix.T.tocsr(), pd.Index(barcodes), features, files.matrix, genome)


def _genome_of(features: pd.DataFrame) -> pd.Series:
    """Return the genome that Cell Ranger puts before a gene's id when it maps to several."""
    ids = features[_keys.GENE_IDS]
    return ids.str.extract(r"^(.+?)_+(?=ENS)", expand=False).fillna("")


def _read_matrix(path: Path) -> sp.coo_matrix:
    way_out = "Write it anew with the program that made it, or download it again."
    if not path.stat().st_size:
        msg = f"{path} is empty (0 bytes). {way_out}"
        raise ReadError(msg)
    with reading(path, "a Matrix Market file", way_out):
        if "spmatrix" in inspect.signature(scipy.io.mmread).parameters:  # scipy 1.15 on
            return sp.coo_matrix(scipy.io.mmread(path, spmatrix=False))
        return sp.coo_matrix(scipy.io.mmread(path))


def _read_lines(path: Path, what: str) -> pd.DataFrame:
    """Read tab-separated text without a header; every cell a str, a missing one ''."""
    if not path.stat().st_size:
        msg = f"{path} is empty (0 bytes), where {what} is needed. Download or write it again."
        raise ReadError(msg)
    with reading(path, what, "It should be tab-separated text, one line each, without a header."):
        return pd.read_csv(
            path, sep="\t", header=None, dtype=str, keep_default_na=False, na_filter=False,
            quoting=3, encoding="utf-8-sig",
        )  # fmt: skip


def _check_shape(shape: tuple[int, int], n_features: int, n_barcodes: int, files: Triple) -> None:
    if shape == (n_features, n_barcodes):
        if n_features == n_barcodes:
            message = (
                f"{files.matrix} is square ({shape[0]} x {shape[1]}), so its shape can't tell genes "
                f"from cells; its rows are taken for genes, as 10x writes them. If they are cells, "
                f"transpose the file."
            )
            warnings.warn(message, UserWarning, stacklevel=2)
        return
    found = (
        f"{files.matrix} is {shape[0]} x {shape[1]}, but {files.features.name} has {n_features} "
        f"lines and {files.barcodes.name} has {n_barcodes}."
    )
    if shape == (n_barcodes, n_features):
        msg = (
            f"{found} The matrix is cells x genes; 10x files are genes x cells. Transpose it: "
            f"scipy.io.mmwrite(path, scipy.io.mmread(path).T)."
        )
    elif shape[0] + 1 == n_features or shape[1] + 1 == n_barcodes:
        file = files.features if shape[0] + 1 == n_features else files.barcodes
        msg = f"{found} One line too many in {file.name}: remove its header line, if it has one."
    else:
        file = files.features if shape[0] != n_features else files.barcodes
        msg = f"{found} {file.name} is not the file of this matrix, or is cut off: use that of the same run."
    raise ReadError(msg)

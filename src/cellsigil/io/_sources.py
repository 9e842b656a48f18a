"""Find out what a path holds: one matrix, or several samples in one folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import anndata as ad
import h5py

from cellsigil._matrix import suggest
from cellsigil.io._anndata import read_h5ad, read_zarr
from cellsigil.io._errors import ReadError, reading
from cellsigil.io._loom import read_loom
from cellsigil.io._table import read_table
from cellsigil.io._tenx_h5 import is_tenx, read_tenx_h5
from cellsigil.io._tenx_mtx import Triple, find_triples, prefix_of, read_triple
from cellsigil.io._text import is_text_table

Kind = Literal["mtx", "h5", "h5ad", "zarr", "table", "loom"]
KINDS = (
    "a 10x folder (matrix.mtx, barcodes.tsv, features.tsv), a 10x .h5, an .h5ad, an AnnData .zarr, "
    "a .csv or .tsv of counts, a .loom, a folder of 10x samples, or a sample sheet (.csv or .tsv with "
    "the columns path and sample)"
)
HDF5 = b"\x89HDF\r\n\x1a\n"
# What programs write beside other things; the cells that were called come before raw ones.
PREFERRED = (
    "filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix", "filtered_gene_bc_matrices_h5.h5",
    "filtered_gene_bc_matrices", "sample_filtered_feature_bc_matrix.h5",
    "sample_filtered_feature_bc_matrix", "filtered", "outs", "count", "Gene", "Solo.out",
)  # fmt: skip
_TAIL = re.compile(
    r"[._-]*((sample_)?(filtered|raw)_)?(feature|gene)_bc_matri(x|ces)(_h5)?$|[._-]+$", re.I
)
_DEEPEST = 4


class Source(NamedTuple):
    """One matrix: where it lies, how to read it, and the genome that its folder is named after."""

    kind: Kind
    path: Path
    triple: Triple | None = None


def read_source(source: Source, genome: str | None, *, x: bool = True) -> ad.AnnData:
    """Read one matrix; without ``x``, X may be left empty where there are counts."""
    if source.triple is not None:
        return read_triple(source.triple, genome)
    if source.kind == "h5":
        return read_tenx_h5(source.path, genome)
    if genome is not None:
        msg = f"genome={genome!r} was given, but {source.path} is no 10x matrix. Leave genome out."
        raise ReadError(msg)
    if source.kind in ("table", "loom"):
        return (read_table if source.kind == "table" else read_loom)(source.path)
    return (read_h5ad if source.kind == "h5ad" else read_zarr)(source.path, x=x)


def find(path: Path, genome: str | None = None) -> dict[str, Source]:
    """Return what ``path`` holds, by sample name.

    Raises
    ------
    ReadError
        Nothing there can be read, or there are several genomes and none is named.
    """
    if not path.is_dir():
        source = _of_file(path)
        return {sample_name(path): source}
    found = _in_folder(path, genome, 0)
    if found:
        return found
    held = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    shown = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "") if held else "nothing"
    msg = f"The folder {path} holds {shown}: no matrix that can be read. Name {KINDS}."
    raise ReadError(msg)


def sample_name(path: Path) -> str:
    """Return a file's or folder's name without what only says its format."""
    name = re.sub(
        r"(\.(h5ad|h5|hdf5|zarr|loom|csv|tsv|txt|tab|mtx))?(\.gz)?$", "", path.name, flags=re.I
    )
    return _TAIL.sub("", name) or path.parent.name


def _in_folder(folder: Path, genome: str | None, depth: int) -> dict[str, Source]:
    if any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")):
        return {sample_name(folder): Source("zarr", folder)}
    triples = find_triples(folder)
    if len(triples) == 1:
        return {sample_name(folder): Source("mtx", folder, *triples.values())}
    if triples:
        return {
            prefix.strip("._-") or folder.name: Source("mtx", folder, t)
            for prefix, t in triples.items()
        }
    for name in PREFERRED:
        inside = folder / name
        if inside.is_file():
            return {sample_name(folder): Source("h5", inside)}
        if inside.is_dir() and depth < _DEEPEST and (held := _in_folder(inside, genome, depth + 1)):
            return {sample_name(folder): next(iter(held.values()))} if len(held) == 1 else held
    children = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    folders = [child for child in children if child.is_dir()] if depth < _DEEPEST else []
    held_by = {child.name: _in_folder(child, genome, depth + 1) for child in folders}
    below = {name: next(iter(held.values())) for name, held in held_by.items() if len(held) == 1}
    files = _tenx_files(children)
    if "gene_bc_matrices" in folder.name and below:
        return _one_genome(below, folder, genome)
    if not files and not below:  # a folder around the folder of samples
        return next(iter(held_by.values())) if len(held_by) == 1 else {}
    return files | below


def _one_genome(below: dict[str, Source], folder: Path, genome: str | None) -> dict[str, Source]:
    if genome is None and len(below) > 1:
        names = list(below)
        msg = (
            f"{folder} holds {len(names)} genomes: {', '.join(names)}. Choose one with genome={names[0]!r} "
            f"(run: --genome {names[0]})."
        )
        raise ReadError(msg)
    if genome is not None and genome not in below:
        msg = f"{folder} has no genome {genome!r}. {suggest(genome, below)}"
        raise ReadError(msg)
    return {sample_name(folder): below[genome or next(iter(below))]}


def _tenx_files(children: list[Path]) -> dict[str, Source]:
    """Return the 10x HDF5 files of a folder; of a filtered and a raw one of a sample, the filtered."""
    found: dict[str, Source] = {}
    for file in sorted(children, key=lambda p: "raw_" in p.name):
        if (
            file.is_file()
            and file.suffix.lower() in (".h5", ".hdf5")
            and _kind_of_hdf5(file) == "h5"
        ):
            name = sample_name(file)
            if name not in found:
                found[name] = Source("h5", file)
            elif "raw_" not in file.name:
                found[file.stem] = Source("h5", file)
    return found


def _of_file(path: Path) -> Source:
    prefix = prefix_of(path)
    if prefix is not None:
        return Source("mtx", path.parent, find_triples(path.parent).get(prefix) or _lone(path))
    with reading(path, "a file", "Name a file."), open(path, "rb") as file:
        head = file.read(512)
    name = path.name.lower()
    if head.startswith(HDF5):
        return Source(_kind_of_hdf5(path), path)
    if not head:
        msg = f"{path} is empty (0 bytes). Download or write it again."
        raise ReadError(msg)
    if is_text_table(path):
        return Source("table", path)
    if name.endswith((".h5", ".hdf5", ".h5ad", ".loom")):
        msg = (
            f"{path} is no HDF5 file, whatever its name says: it starts with {head[:20]!r}. "
            f"Download it again, or name it after what it is."
        )
    elif re.search(r"\.(h5|h5ad|loom)\.gz$|\.(zip|tar|tgz|tar\.gz)$", name):
        msg = f"{path} is packed. Unpack it (gunzip, unzip, tar -xf) and name what was in it."
    elif re.search(r"\.(rds|rdata|h5seurat|qs|xlsx?)$", name):
        msg = f"{path} is a file of R or a spreadsheet. Write it as .h5ad, 10x folder or .tsv there, and name that."
    elif re.search(r"\.mtx(\.gz)?$", name):
        _lone(path)
    else:
        msg = f"{path} is of no kind that can be read here. Name {KINDS}."
    raise ReadError(msg)


def _lone(path: Path) -> Triple:
    msg = (
        f"{path} is one file of three. Put matrix.mtx, barcodes.tsv and features.tsv (plain or .gz) into "
        f"one folder and name that."
    )
    raise ReadError(msg)


def _kind_of_hdf5(path: Path) -> Kind:
    with reading(path, "an HDF5 file", "Copy or download it again."), h5py.File(path, "r") as file:
        if is_tenx(file):
            return "h5"
        if {"row_attrs", "col_attrs"} <= set(file):
            return "loom"
        if "obs" in file or "var" in file or "X" in file:
            return "h5ad"
        held = ", ".join(list(file)[:6]) or "nothing"
    msg = f"{path} is an HDF5 file, but neither a 10x matrix nor an AnnData: it holds {held}. Name {KINDS}."
    raise ReadError(msg)

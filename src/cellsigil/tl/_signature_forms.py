"""Gene signatures as files, tables and SignatureSets hold them, brought to dicts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellsigil._files import as_named
from cellsigil._matrix import suggest
from cellsigil._signature import SignatureSet

log = logging.getLogger(__name__)

N_FROM_SET = 50  # markers a type that a SignatureSet is read as
WAY_OUT = (
    "Give a dict of name -> list of genes, a GMT file, a source/target table or a SignatureSet."
)


def from_path(path: Path) -> Any:
    """Read a file, or a shipped hierarchy by its name, into one of the forms that `read_signatures` takes."""
    if not path.is_file():
        from cellsigil.tl import _hierarchy  # which reads signatures itself

        if str(path) in _hierarchy.shipped():
            return _hierarchy.read_hierarchy(str(path))
        msg = f"There is no file {path}. {WAY_OUT}"
        raise FileNotFoundError(msg)
    if path.suffix == ".h5ad":
        return SignatureSet.read(path)
    if path.suffix in (".csv", ".tsv"):
        return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", comment="#")
    return _from_gmt(path)


def _from_gmt(path: Path) -> dict[str, dict[str, list[str]]]:
    """Read name, description, genes; only tabs separate, the second field is never a gene."""
    out: dict[str, dict[str, list[str]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        genes = [gene for gene in rest[1:] if gene]
        if not name or not rest:
            msg = f"{path}, line {number} is no GMT (name, description, genes, separated by tabs): {line[:60]!r}."
            raise ValueError(msg)
        if not genes:
            log.warning("%s, line %d: set %r has no genes and is left out", path, number, name)
            continue
        base, _, suffix = name.rpartition("_")
        side = {"UP": "up", "DN": "down"}.get(suffix) if base else None
        held = out.setdefault(base if side else name, {})
        if side_or_up := held.get(side or "up"):
            log.warning("%s, line %d: set %r again, its genes are added", path, number, name)
            genes = side_or_up + genes
        held[side or "up"] = genes
    if not out:
        msg = f"{path} holds no gene set (name, description, genes, separated by tabs)."
        raise ValueError(msg)
    shown = _display_names(path)
    return {shown.get(name, name): sides for name, sides in out.items()}


def _display_names(path: Path) -> dict[str, str]:
    """Return label -> name from the table that `sig.export` puts beside a GMT file, {} without one."""
    beside = path.with_name(f"{path.stem}.types.tsv")
    if not beside.is_file():
        return {}
    table = pd.read_csv(beside, sep="\t", dtype=str, keep_default_na=False)
    if not {"label", "cell_type"} <= set(table):
        return {}
    return dict(zip(table["label"], map(as_named, table["cell_type"])))


def from_network(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return source -> target -> weight of a table with a row an edge."""
    for column in ("source", "target"):
        if column not in table:
            msg = f"The table of signatures has no column {column!r}. {suggest(column, table.columns)}"
            raise ValueError(msg)
    weights = table["weight"] if "weight" in table else np.ones(len(table))
    out: dict[str, dict[str, float]] = {}
    for source, target, weight in zip(table["source"], table["target"], weights):
        if pd.isna(source):
            msg = "The table of signatures has a row without a source. Drop it."
            raise ValueError(msg)
        out.setdefault(str(source), {}).setdefault(target, weight)
    return out


def from_set(signature: SignatureSet) -> dict[str, list[str]]:
    """Return the best markers of every type."""
    ranks = signature.layer("marker_rank")
    best = {name: ranks[name].dropna().nsmallest(N_FROM_SET).index for name in signature.types}
    return {name: [str(gene) for gene in genes] for name, genes in best.items() if len(genes)}

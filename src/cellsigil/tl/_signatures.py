"""Gene signatures: whatever a user holds them in, brought to one form and matched with the data's genes."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cellsigil._signature import SignatureSet
from cellsigil.tl._signature_forms import WAY_OUT, from_network, from_path, from_set


@dataclass(frozen=True)
class GeneSet:
    """One signature: genes that should be high (``up``) and low (``down``), each with a positive weight."""

    name: str
    up: dict[str, float] = field(default_factory=dict)
    down: dict[str, float] = field(default_factory=dict)

    @property
    def genes(self) -> list[str]:
        """Return all genes, up first."""
        return [*self.up, *self.down]


class IndexedSet(NamedTuple):
    """A `GeneSet` as positions in a list of genes; ``missing`` are those not in it."""

    name: str
    up: np.ndarray
    up_weights: np.ndarray
    down: np.ndarray
    down_weights: np.ndarray
    missing: tuple[str, ...]
    n_missing_up: int
    n_missing_down: int

    @property
    def n_found(self) -> int:
        """Return the number of genes found."""
        return self.up.size + self.down.size


def read_signatures(signatures: Any) -> dict[str, GeneSet]:
    """Read gene signatures from any of the forms in which they travel.

    Parameters
    ----------
    signatures
        One of:

        - a dict: name -> list of genes; or -> ``{"up": [...], "down": [...]}``; or -> gene -> weight
          (dict or Series; a negative weight means down);
        - the path of a GMT file; ``<name>_UP`` and ``<name>_DN`` make one signed signature, empty
          descriptions, blank lines, ``#`` comments and trailing tabs do no harm; of a GMT file of ours the
          types have their own names again, from the table beside it;
        - a DataFrame ``source, target[, weight]`` (decoupler's network), or the path of one as .csv or .tsv;
        - a SignatureSet, or the path of one (.h5ad): the best 50 markers of every type;
        - a `Hierarchy`, or the name of a shipped one (``"immune"``): the markers of its types.

    Returns
    -------
    Name -> `GeneSet`, in the order given. A gene named twice counts once.

    Raises
    ------
    TypeError
        The form is none of these, or a string stands where a list of genes is meant.
    ValueError
        No signatures, a missing value, a gene both up and down, or a weight that is not finite.
    """
    if isinstance(signatures, str | Path):
        signatures = from_path(Path(signatures))
    if hasattr(signatures, "signatures"):  # a Hierarchy
        signatures = signatures.signatures()
    if isinstance(signatures, SignatureSet):
        signatures = from_set(signatures)
    elif isinstance(signatures, pd.DataFrame):
        signatures = from_network(signatures)
    if not isinstance(signatures, Mapping):
        msg = f"signatures is a {type(signatures).__name__}. {WAY_OUT}"
        raise TypeError(msg)
    if not signatures:
        msg = f"There are no signatures. {WAY_OUT}"
        raise ValueError(msg)
    return {str(name): _gene_set(str(name), value) for name, value in signatures.items()}


def index_sets(
    signatures: dict[str, GeneSet],
    genes: pd.Index,
    *,
    var: pd.DataFrame | None = None,
    present: np.ndarray | None = None,
) -> list[IndexedSet]:
    """Match signatures with unique gene names; where none matches at all, say what the names look like.

    ``present`` masks genes that count as missing, ``var`` is searched for the kind of name that would match.
    """
    known = genes if genes.inferred_type == "string" else pd.Index(genes.astype(str), dtype=object)
    if not known.is_unique:
        twice = known[known.duplicated()][0]
        msg = f"var_names are not unique ({twice!r} occurs twice). Call adata.var_names_make_unique() first."
        raise ValueError(msg)
    wanted = list({gene: None for gene_set in signatures.values() for gene in gene_set.genes})
    # An index keeps its table of places, a dict of 30,000 genes took 4 ms a call.
    places = known.get_indexer(pd.Index(wanted, dtype=known.dtype)).tolist()
    found = (at >= 0 and (present is None or present[at]) for at in places)
    place = {gene: at for gene, at, here in zip(wanted, places, found) if here}
    indexed = [_index(gene_set, place) for gene_set in signatures.values()]
    if not any(s.n_found for s in indexed):
        raise ValueError(_nothing_found(wanted, genes, var))
    return indexed


def warn_few(indexed: Iterable[IndexedSet], least: int) -> None:
    """Warn of signatures with fewer than ``least`` genes in the data."""
    few = [s for s in indexed if s.n_found < least]
    if few:
        shown = ", ".join(f"{s.name!r} ({s.n_found})" for s in few[:10]) + ", ..." * (len(few) > 10)
        msg = f"Fewer than {least} genes found, so the score is NaN: {shown}."
        warnings.warn(msg, UserWarning, stacklevel=3)


def coverage(indexed: Iterable[IndexedSet]) -> pd.DataFrame:
    """Return a row per signature: genes asked for, found, and the names of those missing."""
    rows = [
        (s.name, s.n_found + len(s.missing), s.n_found, s.up.size, s.down.size, " ".join(s.missing))
        for s in indexed
    ]
    columns = ["signature", "n_genes", "n_found", "n_up", "n_down", "missing"]
    return pd.DataFrame(rows, columns=columns)


def _index(gene_set: GeneSet, place: dict[str, int]) -> IndexedSet:
    def side(weights: dict[str, float]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        found = [gene for gene in weights if gene in place]
        return (
            np.array([place[gene] for gene in found], np.int64),
            np.array([weights[gene] for gene in found], np.float64),
            [gene for gene in weights if gene not in place],
        )

    up, up_weights, no_up = side(gene_set.up)
    down, down_weights, no_down = side(gene_set.down)
    missing = tuple(no_up + no_down)
    return IndexedSet(
        gene_set.name, up, up_weights, down, down_weights, missing, len(no_up), len(no_down)
    )


def _gene_set(name: str, value: Any) -> GeneSet:
    if isinstance(value, GeneSet):
        return GeneSet(name, value.up, value.down)
    if isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value):
        value = value.to_dict()
    if isinstance(value, Mapping):
        sides = {str(key).lower(): genes for key, genes in value.items()}
        if set(sides) <= {"up", "down"}:
            up, down = (_weighted(name, sides.get(side, ())) for side in ("up", "down"))
        else:
            both = _weighted(name, value)
            up = {gene: w for gene, w in both.items() if w > 0}
            down = {gene: -w for gene, w in both.items() if w < 0}
    else:
        up, down = _weighted(name, value), {}
    if clash := sorted(set(up) & set(down)):
        msg = f"Signature {name!r} has {clash[0]!r} both up and down. Take it out of one of them."
        raise ValueError(msg)
    if not up and not down:
        msg = f"Signature {name!r} has no genes."
        raise ValueError(msg)
    return GeneSet(name, up, down)


def _weighted(name: str, genes: Any) -> dict[str, float]:
    """Return gene -> weight, in the order given, checked."""
    if isinstance(genes, str | bytes):
        msg = f"Signature {name!r} is the string {genes!r}; a list of genes is needed: [{genes!r}]."
        raise TypeError(msg)
    if not isinstance(genes, Iterable):
        msg = f"Signature {name!r} is a {type(genes).__name__}; a list of genes is needed."
        raise TypeError(msg)
    if isinstance(genes, set | frozenset):
        genes = sorted(genes, key=str)
    pairs = genes.items() if isinstance(genes, Mapping) else ((gene, 1.0) for gene in genes)
    out: dict[str, float] = {}
    for gene, weight in pairs:
        if not isinstance(gene, str):
            kind: str = "a missing value" if pd.isna(gene) else f"{gene!r} ({type(gene).__name__})"
            msg = f"Signature {name!r} holds {kind} where a gene name is needed. Drop it."
            raise ValueError(msg)
        if not math.isfinite(weight):
            msg = f"Signature {name!r}: the weight of {gene!r} is {weight}; it must be finite."
            raise ValueError(msg)
        if (stripped := gene.strip()) and weight != 0:
            out.setdefault(stripped, float(weight))
    return out


def _nothing_found(wanted: list[str], genes: pd.Index, var: pd.DataFrame | None) -> str:
    """Return the sentence for signatures of which no gene is in the data."""
    here = [str(gene) for gene in genes[:2000]]
    msg = (
        f"None of the {len(set(wanted))} signature genes is in var_names: the signatures hold "
        f"{_kind(wanted)} ({wanted[0]!r}), var_names {_kind(here)} ({here[0]!r})."
        if here
        else "There are no genes."
    )
    if var is not None and hasattr(var, "to_memory"):  # opened lazily
        var = var.to_memory()
    for column, values in [] if var is None else var.items():
        if not set(wanted).isdisjoint(values.astype(str)):
            return (
                f"{msg} var[{column!r}] holds them: adata.var_names = adata.var[{column!r}].astype(str); "
                f"adata.var_names_make_unique()."
            )
    if {gene.upper() for gene in wanted} & {gene.upper() for gene in genes.astype(str)}:
        return f"{msg} They differ in upper and lower case only: is one of them of another species?"
    return f"{msg} Give both the same kind of name."


def _kind(names: list[str]) -> str:
    kinds = (
        (r"ENS[A-Z]*G\d{6,}", "Ensembl ids"),
        (r"\d+", "numbers (Entrez ids?)"),
        (r"[A-Z][a-z]+[a-z0-9]*$", "symbols of mouse style"),
    )
    for pattern, kind in kinds:
        if sum(bool(re.match(pattern, name)) for name in names) > len(names) / 2:
            return kind
    return "gene symbols"

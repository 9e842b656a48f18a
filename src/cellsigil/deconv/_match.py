"""The signature's genes found in the bulk, whichever of their names it uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cellsigil._signature import SignatureSet
from cellsigil.deconv._bulk import ENSEMBL, SYMBOLS_KEY, id_kind, strip_versions
from cellsigil.deconv._errors import BulkError
from cellsigil.sig import read as read_signature


@dataclass(frozen=True)
class Reference:
    """Profiles and what is known of them; arrays are genes x types."""

    name: str
    types: list[str]
    genes: pd.Index
    names: dict[str, pd.Index]  # the genes under each kind of name
    profiles: np.ndarray
    totals: np.ndarray  # of each profile over all its genes, also those not in the bulk
    selected: np.ndarray
    n_selected: int
    all_genes: pd.Index
    variance: np.ndarray | None  # between donors
    n_donors: np.ndarray
    rna_content: np.ndarray | None
    ontology_ids: list[str]

    def at(self, places: np.ndarray) -> Reference:
        """Return the reference over some of its genes."""
        variance = None if self.variance is None else self.variance[places]
        return replace(
            self, genes=self.genes[places], profiles=self.profiles[places],
            selected=self.selected[places], variance=variance,
            names={kind: index[places] for kind, index in self.names.items()},
        )  # fmt: skip


def open_signature(signature: SignatureSet | pd.DataFrame | str | Path) -> Reference:
    """Bring any kind of signature to a Reference.

    Raises
    ------
    ValueError
        No profiles: one type, text, a missing, negative or infinite value, a name given twice.
    """
    name = "a table of profiles"
    if isinstance(signature, (str, Path)):
        name, signature = Path(signature).name, read_signature(signature)
    if isinstance(signature, SignatureSet):
        return _from_set(signature, name if name.endswith(".h5ad") else "a SignatureSet")
    if not isinstance(signature, pd.DataFrame):
        msg = f"signature is a {type(signature).__name__}; pass a SignatureSet, a DataFrame (genes x types) or a path."
        raise ValueError(msg)
    text = [c for c, kind in signature.dtypes.items() if getattr(kind, "kind", "O") not in "iuf"]
    if text:
        msg = f"Column {text[0]!r} of the signature holds text. Pass profiles, genes x types, genes as index."
        raise ValueError(msg)
    genes = pd.Index(strip_versions([str(g) for g in signature.index]))
    return _checked(
        Reference(
            name, [str(c) for c in signature.columns], genes, {"name": genes},
            signature.to_numpy(dtype=np.float64), np.zeros(0), np.ones(len(genes), bool), len(genes),
            genes, None, np.zeros(signature.shape[1]), None, [""] * signature.shape[1],
        )
    )  # fmt: skip


def _from_set(signature: SignatureSet, name: str) -> Reference:
    var, obs = signature.adata.var, signature.adata.obs
    genes = pd.Index([str(g) for g in signature.genes])
    names = {"name": pd.Index(strip_versions(list(genes)))}
    for column in ("gene_id", "symbol"):
        names[column] = pd.Index(strip_versions([str(value) for value in var[column]]))
    return _checked(
        Reference(
            name, [str(t) for t in signature.types], genes, names,
            signature.profiles.to_numpy(dtype=np.float64), np.zeros(0),
            var["selected"].to_numpy(dtype=bool), int(var["selected"].sum()), genes,
            signature.layer("var_samples").to_numpy(dtype=np.float64),
            obs["n_samples"].to_numpy(dtype=np.float64), signature.rna_content.to_numpy(),
            ["" if pd.isna(term) else str(term) for term in obs["cell_ontology_id"]],
        )
    )  # fmt: skip


def _checked(reference: Reference) -> Reference:
    values = reference.profiles
    if len(reference.types) < 2:
        msg = f"The signature holds {len(reference.types)} type; two or more are needed to tell fractions."
        raise ValueError(msg)
    if len(set(reference.types)) < len(reference.types) or not reference.genes.is_unique:
        msg = "The signature names a type or a gene twice. Keep one of each."
        raise ValueError(msg)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        g, k = np.argwhere(bad)[0]
        msg = (
            f"The signature's gene {reference.genes[g]!r} is {values[g, k]} in {reference.types[k]!r}. Profiles are "
            f"linear means, zero or above: undo a logarithm, leave out genes without a value."
        )
        raise ValueError(msg)
    totals = values.sum(axis=0)
    if not (totals > 0).all():
        empty = reference.types[int(np.argmin(totals))]
        msg = f"The signature's profile of {empty!r} is zero everywhere. Leave it out."
        raise ValueError(msg)
    return replace(reference, totals=totals)


def match_genes(
    bulk: pd.DataFrame, reference: Reference
) -> tuple[np.ndarray, Reference, list[str]]:
    """Return the bulk's values on the common genes (samples x genes), the reference on them, and notes.

    Raises
    ------
    BulkError
        No gene, or none of a sample's counts, is shared.
    """
    best, common = _most_shared(bulk, reference)
    if SYMBOLS_KEY in bulk.attrs:  # the file gave symbols beside its ids
        renamed = _by_symbol(bulk)
        kind, shared = _most_shared(renamed, reference)
        if len(shared) > len(common):
            bulk, best, common = renamed, kind, shared
    if not len(common):
        raise BulkError(_nothing_shared(bulk, reference))
    places = np.flatnonzero(reference.names[best].isin(common))
    notes = []
    if len(common) < 0.1 * len(bulk) and len(common) < 0.1 * len(reference.genes):
        notes.append(
            f"bulk and signature share {len(common)} genes only, of {len(bulk)} and {len(reference.genes)}."
        )
    names = reference.names[best][places]
    mixtures = np.ascontiguousarray(bulk.loc[names].to_numpy(dtype=np.float64).T)
    empty = ~(mixtures > 0).any(axis=1)
    if empty.any():
        msg = f"Sample {bulk.columns[int(np.argmax(empty))]!r} is zero in every gene of the signature. Leave it out."
        raise BulkError(msg)
    return mixtures, reference.at(places), notes


def _most_shared(bulk: pd.DataFrame, reference: Reference) -> tuple[str, pd.Index]:
    """Return the kind of name under which bulk and signature share most genes, and those genes."""
    best, common = "name", pd.Index([])
    for kind, names in reference.names.items():
        once = names[~names.duplicated(keep=False) & (names != "")]
        shared = once[once.isin(bulk.index)]
        if len(shared) > len(common):
            best, common = kind, shared
    return best, common


def _by_symbol(bulk: pd.DataFrame) -> pd.DataFrame:
    symbols = bulk.attrs[SYMBOLS_KEY]
    renamed = bulk.set_axis([symbols.get(gene, "") for gene in bulk.index], axis=0)
    return renamed[renamed.index != ""].groupby(level=0, sort=False).sum()


def _nothing_shared(bulk: pd.DataFrame, reference: Reference) -> str:
    ours, theirs = id_kind(reference.names["name"]), id_kind(bulk.index)
    start = "Bulk and signature share no gene"
    if pd.Index([str(c) for c in bulk.columns]).isin(reference.genes).any():
        return f"{start}, but the bulk's columns are genes: it is samples x genes. Pass bulk.T."
    if ours != theirs:
        way = " Name the bulk's genes as the signature does"
        if ENSEMBL in (ours, theirs):
            way += ", from the annotation that the bulk was counted with"
        found = f"the bulk uses {theirs} ({bulk.index[0]!r}), the signature {ours} ({reference.genes[0]!r})"
        return f"{start}: {found}.{way}."
    upper = {str(g).upper() for g in reference.genes}
    if any(str(g).upper() in upper for g in bulk.index[:2000]):
        return f"{start} but for upper and lower case ({bulk.index[0]!r}, {reference.genes[0]!r}): another species?"
    return f"{start} (bulk: {bulk.index[0]!r}, ...; signature: {reference.genes[0]!r}, ...). Check both tables' genes."

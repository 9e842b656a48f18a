"""How much RNA a cell of each type holds: from the signature, from the user, or as published."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cellsigil._matrix import suggest

NOT_ASKED = "no RNA-content correction was asked for: fractions are RNA fractions."


@dataclass(frozen=True)
class Published:
    """RNA content per cell as one source gives it; relative within the source, never mixed with another's."""

    source: str
    factors: Mapping[str, float]  # by the kinds of `KINDS`
    default: float | None = None


PUBLISHED = {
    "epic": Published(
        "EPIC 1.1.7 mRNA_cell_default; Racle et al. 2017, eLife 6:e26476 (macrophages assumed as monocytes)",
        {
            "B cell": 0.4016, "macrophage": 1.4196, "monocyte": 1.4196, "neutrophil": 0.1300,
            "NK cell": 0.4396, "T cell": 0.3952, "CD4 T cell": 0.3952, "CD8 T cell": 0.3952,
            "regulatory T cell": 0.3952,
        },
        default=0.4,
    ),
    "quantiseq": Published(
        "quanTIseq TIL10_mRNA_scaling; Finotello et al. 2019, Genome Med 11:34 (T cells as in SimBu; "
        "macrophages: mean of M1 and M2)",
        {
            "B cell": 65.6614839423872, "macrophage": 128.7347951441475,
            "monocyte": 130.654550627508, "neutrophil": 27.7363405933682,
            "NK cell": 117.715835037755, "T cell": 68.89323, "CD4 T cell": 63.8719963472728,
            "CD8 T cell": 70.256590835669, "regulatory T cell": 72.5511038575749,
            "dendritic cell": 140.760914317711,
        },
    ),
}  # fmt: skip

# kind: Cell Ontology ids of it and of its common subtypes, and what a label of it looks like when
# lower-cased, with a blank for all but letters and digits. The first kind that fits is taken.
_CELLS = r"( ?(cells?|lymphocytes?)( .*)?)?"
KINDS: dict[str, tuple[frozenset[str], str]] = {
    "regulatory T cell": (
        frozenset({"CL:0000815", "CL:0000792", "CL:0000903"}), r"(.* )?tregs?( .*)?|(.* )?regulatory t.*"),
    "CD8 T cell": (
        frozenset({"CL:0000625", "CL:0000900", "CL:0000907", "CL:0000909", "CL:0000913",
                   "CL:0000794", "CL:0001062"}),
        r"(.* )?cd8(?!\d).*|(.* )?cytotoxic t.*"),
    "CD4 T cell": (
        frozenset({"CL:0000624", "CL:0000895", "CL:0000897", "CL:0000904", "CL:0000905",
                   "CL:0000934", "CL:0000492"}),
        r"(.* )?cd4(?!\d).*|(.* )?t ?helper.*|(.* )?helper t.*|th\d*"),
    "NK cell": (
        frozenset({"CL:0000623", "CL:0000938", "CL:0000939"}),
        rf"(.* )?nks?{_CELLS}|(.* )?natural killer{_CELLS}"),
    "B cell": (
        frozenset({"CL:0000236", "CL:0000787", "CL:0000788", "CL:0000785", "CL:0000786", "CL:0000980"}),
        rf"(.* )?b{_CELLS}|b (naive|memory).*|(.* )?plasma( ?cells?|blasts?)"),
    "dendritic cell": (
        frozenset({"CL:0000451", "CL:0000990", "CL:0000784", "CL:0000782", "CL:0001056"}),
        r"(.* )?[cmp]?dcs?\d*|(.* )?dendritic.*"),
    "macrophage": (frozenset({"CL:0000235", "CL:0000583"}), r"(.* )?macrophages?.*"),
    "monocyte": (
        frozenset({"CL:0000576", "CL:0000860", "CL:0000875", "CL:0002057", "CL:0002396"}),
        r"(.* )?monos?|(.* )?monocytes?.*"),
    "neutrophil": (
        frozenset({"CL:0000775", "CL:0000094", "CL:0000096"}), r"(.* )?neutrophils?.*|(.* )?granulocytes?|pmns?"),
    "T cell": (
        frozenset({"CL:0000084", "CL:0000789", "CL:0000798", "CL:0000813", "CL:0000898"}),
        rf"(.* )?(gd|ab)?t{_CELLS}"),
}  # fmt: skip


def kind_of(name: str, ontology_id: str = "") -> str | None:
    """Return the kind of cell that a Cell Ontology id, else a label, names; None if none fits, or two."""
    for kind, (ids, _) in KINDS.items():
        if ontology_id in ids:
            return kind
    kinds = {_kind_of_words(part) for part in re.split(r"[/,&]| and ", str(name))} - {None}
    return kinds.pop() if len(kinds) == 1 else None


def _kind_of_words(label: str) -> str | None:
    words = re.sub(r"[^a-z0-9]+", " ", label.lower()).strip()
    return next((kind for kind, (_, p) in KINDS.items() if re.fullmatch(p, words)), None)


def content_of(
    size_factors: Any,
    types: Sequence[str],
    own: np.ndarray | None,
    ontology_ids: Sequence[str],
) -> tuple[np.ndarray | None, str, list[str]]:
    """Return RNA content per type (None: no correction), where it is from, and notes.

    Raises
    ------
    ValueError
        A factor that is missing, zero, negative or not finite, or an unknown name of a source.
    """
    if size_factors is None:
        return None, "none", [NOT_ASKED]
    if isinstance(size_factors, str):
        if size_factors == "signature":
            return _from_signature(types, own)
        if size_factors not in PUBLISHED:
            known = ["signature", *PUBLISHED]
            msg = f"size_factors={size_factors!r} is no source of RNA content. {suggest(size_factors, known)}"
            raise ValueError(msg)
        return _as_published(size_factors, types, ontology_ids)
    return _as_given(size_factors, types)


def _from_signature(
    types: Sequence[str], own: np.ndarray | None
) -> tuple[np.ndarray | None, str, list[str]]:
    if own is None or np.isnan(own).all():
        note = (
            "the signature holds no RNA content per cell, so cell fractions equal RNA fractions; pass "
            'size_factors= (a dict per type, "epic" or "quantiseq") to correct them.'
        )
        return None, "none: not in the signature", [note]
    return _checked(own, types, "the signature's rna_content"), "signature", []


def _as_published(
    name: str, types: Sequence[str], ontology_ids: Sequence[str]
) -> tuple[np.ndarray, str, list[str]]:
    published, notes, out = PUBLISHED[name], [], []
    for label, term in zip(types, ontology_ids):
        kind = kind_of(label, term)
        factor = published.factors.get(kind or "", published.default)
        if factor is None:
            msg = (
                f"size_factors={name!r} gives no RNA content for type {label!r} (it knows "
                f"{', '.join(published.factors)}). Pass a dict with a factor for every type."
            )
            raise ValueError(msg)
        if kind not in published.factors:
            notes.append(f"type {label!r} is not in {name!r}: its default of {factor:g} was taken.")
        out.append(factor)
    return np.array(out), f"{name}: {published.source}", notes


def _as_given(size_factors: Any, types: Sequence[str]) -> tuple[np.ndarray, str, list[str]]:
    if isinstance(size_factors, pd.DataFrame):
        if size_factors.shape[1] != 1:
            msg = (
                f"size_factors= is a table with {size_factors.shape[1]} columns; pass one column with the types as "
                f"index, a Series or a dict."
            )
            raise ValueError(msg)
        size_factors = size_factors.iloc[:, 0]
    given = {str(name): value for name, value in dict(size_factors).items()}
    missing = [name for name in types if name not in given]
    if missing:
        msg = f"size_factors= lacks type {missing[0]!r}. {suggest(missing[0], given)}"
        raise ValueError(msg)
    factors = np.array([given[name] for name in types], dtype=np.float64)
    return _checked(factors, types, "size_factors="), "given", []


def _checked(factors: np.ndarray, types: Sequence[str], where: str) -> np.ndarray:
    bad = ~(np.isfinite(factors) & (factors > 0))
    if bad.any():
        k = int(np.argmax(bad))
        msg = (
            f"{where} gives {factors[k]:g} for type {types[k]!r}; RNA content must be above 0. "
            f"Pass size_factors= with a factor for every type, or None for RNA fractions."
        )
        raise ValueError(msg)
    return factors

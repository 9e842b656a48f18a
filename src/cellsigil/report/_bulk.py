"""Sections of the signature, and of the bulk samples that it was used on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cellsigil import pl
from cellsigil.report._collect import Source
from cellsigil.report._figures import picture
from cellsigil.report._section import Section, Table, shown

MOST_ROWS = 200  # of a table that stands in the page; the file holds all
NOT_HELD = (
    "No interval holds the error of a different platform, of a cell type that the signature lacks, "
    "or of the RNA content that was assumed."
)


def signature(source: Source) -> Section:
    """Return what the signature is, and what its card says of samples held out."""
    section = Section("signature", "Signature")
    built = source.signature
    if built is None:
        section.missing = 'sig.build(adata, "cell_type")'
        return section
    card, info = built.card, built.info
    section.sentence = (
        f"Mean expression of {len(built.types)} cell types over {shown(len(built.genes))} genes, of which "
        f"{shown(len(built.selected))} were chosen for deconvolution."
    )
    section.facts = _card_facts(built, card, info)
    if card.get("not_measured"):
        section.cautions.append(f"Not measured: {card['not_measured']}")
    if card.get("scheme"):
        section.paragraphs.append(f"How the card was measured: {card['scheme']}")
    section.pictures = [
        picture(
            lambda: pl.signature(built),
            "Expression of the chosen genes in every type of the signature.",
        ),
        picture(lambda: pl.similarity(built), "How similar the profiles of each two types are."),
    ]
    section.tables.append(Table("signature_types", "The types", _types(built, card)))
    genes = _genes(built, info)
    section.tables.append(
        Table("signature_genes", "Genes chosen for each type", genes, folded=True)
    )
    return section


def _card_facts(built: Any, card: dict[str, Any], info: dict[str, Any]) -> list[tuple[str, str]]:
    measured = card.get("deconvolution") or {}
    worst = {
        k: v
        for k, v in ((card.get("transfer") or {}).get("worst_auroc") or {}).items()
        if v is not None
    }
    facts = [
        ("cells", shown(info.get("n_cells"))),
        ("samples", shown(info.get("n_samples"))),
        ("chosen genes", shown(len(built.selected))),
        ("condition number", shown(card.get("condition_number"))),
    ]
    if measured:
        facts.append(("r on held-out mixtures", shown(measured.get("r"))))
        facts.append(("RMSE on held-out mixtures", shown(measured.get("rmse"))))
    if worst:
        name = min(worst, key=lambda k: worst[k])
        facts.append((f"lowest held-out AUROC ({name})", shown(worst[name])))
    return [fact for fact in facts if fact[1] != "–"]


def _types(built: Any, card: dict[str, Any]) -> pd.DataFrame:
    obs = built.adata.obs
    frame = pd.DataFrame(
        {
            "type": built.types,
            "Cell Ontology": obs["cell_ontology_id"].astype(str).to_numpy(),
            "cells": obs["n_cells"].to_numpy(),
            "samples": obs["n_samples"].to_numpy(),
            "RNA content": built.rna_content.to_numpy(),
        }
    )
    markers = built.info.get("markers") or {}
    if markers:
        frame["genes"] = [len(markers.get(name, ())) for name in built.types]
    for column, values in (
        ("worst held-out AUROC", (card.get("transfer") or {}).get("worst_auroc")),
        ("held-out r", (card.get("deconvolution") or {}).get("r_per_type")),
        ("detection limit (RNA share)", card.get("detection_limit")),
    ):
        if values:
            frame[column] = [_float(values.get(name)) for name in built.types]
    close = _closest(built)
    if close is not None:
        frame["most similar type"], frame["r of log profiles"] = close
    return frame


def _closest(built: Any) -> tuple[list[str], np.ndarray] | None:
    """Return for every type the type with the most similar log profile over the chosen genes."""
    profiles = np.log1p(built.profiles.loc[built.selected].to_numpy(dtype=float))
    if profiles.shape[0] < 3 or profiles.shape[1] < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(profiles.T)
    np.fill_diagonal(r, -np.inf)
    r = np.where(np.isnan(r), -np.inf, r)
    nearest = r.argmax(axis=1)
    value = r.max(axis=1)
    return [built.types[i] for i in nearest], np.where(np.isfinite(value), value, np.nan)


def _genes(built: Any, info: dict[str, Any]) -> pd.DataFrame:
    markers = info.get("markers") or {}
    rows = [(name, ", ".join(map(str, markers.get(name, ())))) for name in built.types]
    if not markers:
        rows = [("all", ", ".join(map(str, built.selected)))]
    return pd.DataFrame(rows, columns=["type", "genes"])


def _float(value: Any) -> float:
    return np.nan if value is None else float(value)


def deconvolution(source: Source) -> Section:
    """Return the estimated fractions, how sure they are, how well they fit, and the truth where known."""
    section = Section("deconvolution", "Deconvolution")
    result = source.deconvolution
    if result is None:
        section.missing = "deconv.deconvolve(bulk, signature)"
        return section
    n_samples, n_types = result.fractions.shape
    section.sentence = (
        f"Estimated fractions of {n_types} cell types in {n_samples} bulk "
        f"sample{'s' if n_samples != 1 else ''}, method {result.method}. "
        "Fractions sum to 1 over the types of the signature."
    )
    section.facts = [
        ("method", result.method),
        ("RNA content from", str(result.parameters.get("rna_content", "–"))),
        ("median r of the fit", shown(float(result.fit["r"].median()))),
        ("genes used", shown(int(result.fit["n_genes"].median()))),
    ]
    section.cautions = [*_sentences(result), NOT_HELD]
    section.pictures = [
        picture(lambda: pl.fractions(result), "Estimated cell fractions of every bulk sample."),
        picture(lambda: pl.intervals(result), "Estimates with 95 % intervals, by type."),
        picture(lambda: pl.fit(result), "How well every sample is fitted."),
    ]
    section.tables = [
        _indexed("fractions", "Cell fractions", result.fractions),
        Table(
            "intervals",
            "95 % intervals"
            + (f" (the first {MOST_ROWS} rows)" if len(result.intervals) > MOST_ROWS else ""),
            result.intervals,
            result.intervals.head(MOST_ROWS),
            folded=len(result.intervals) > 12,
        ),
        _fit(result.fit),
    ]
    if source.truth is not None:
        _add_truth(section, result, source.truth)
    return section


def _sentences(result: Any) -> list[str]:
    return [note[:1].upper() + note[1:] for note in result.notes]


def _indexed(name: str, caption: str, frame: pd.DataFrame) -> Table:
    whole = frame.rename_axis(index="sample", columns=None).reset_index()
    return Table(name, caption, whole, folded=len(whole) > 12)


def _fit(fit: pd.DataFrame) -> Table:
    table = _indexed("fit", "Fit of every sample: r and RMSE are of log2(CPM + 10)", fit)
    visible = table.frame.rename(columns={"rmse": "RMSE"}).rename(
        columns=lambda c: c.replace("_", " ")
    )
    empty = [name for name in visible if visible[name].isna().all() or (visible[name] == "").all()]
    return Table(table.name, table.caption, table.frame, visible.drop(columns=empty), table.folded)


def _add_truth(section: Section, result: Any, truth: pd.DataFrame) -> None:
    known = truth.copy()
    known.index, known.columns = known.index.astype(str), known.columns.astype(str)
    found = result.fractions.copy()
    found.index, found.columns = found.index.astype(str), found.columns.astype(str)
    types = [name for name in found if name in known]
    samples = [name for name in found.index if name in known.index]
    if not types or not samples:
        section.cautions.append(
            "The known fractions share no sample or no type with the estimates."
        )
        return
    rows = []
    for name in types:
        a = known.loc[samples, name].to_numpy(dtype=float)
        b = found.loc[samples, name].to_numpy(dtype=float)
        rows.append({"type": name, **_agreement(a, b)})
    whole = _agreement(
        known.loc[samples, types].to_numpy(dtype=float).ravel(),
        found.loc[samples, types].to_numpy(dtype=float).ravel(),
    )
    rows.append({"type": "all", **whole})
    left = [name for name in known if name not in types]
    section.paragraphs.append(
        f"Against the known fractions: r {shown(whole['r'])} and RMSE {shown(whole['RMSE'])} over {len(samples)} "
        f"samples and {len(types)} types."
        + (f" Known but not estimated under that name: {', '.join(left)}." if left else "")
    )
    section.pictures.insert(
        0, picture(lambda: pl.truth(result, truth), "Estimated against known fractions, by type.")
    )
    section.tables.insert(
        0, Table("truth", "Estimated against known fractions", pd.DataFrame(rows))
    )


def _agreement(known: np.ndarray, found: np.ndarray) -> dict[str, float]:
    both = np.isfinite(known) & np.isfinite(found)
    known, found = known[both], found[both]
    varied = known.size > 2 and known.std() > 0 and found.std() > 0
    return {
        "samples": int(both.sum()),
        "r": float(np.corrcoef(known, found)[0, 1]) if varied else np.nan,
        "RMSE": float(np.sqrt(np.mean((known - found) ** 2))) if known.size else np.nan,
        "mean known": float(known.mean()) if known.size else np.nan,
        "mean estimated": float(found.mean()) if found.size else np.nan,
    }

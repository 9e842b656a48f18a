"""Sections of evidence: why a cluster has its name, its markers, its scores."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd

from cellsigil import _keys, pl, tl
from cellsigil.report._collect import Source
from cellsigil.report._figures import picture
from cellsigil.report._section import Section, Table, shown

TOP = 5
MOST = 120  # clusters in a figure: of 491, drawing and the page took 40 s and 55 MB, and nobody could read them
CIRCULAR = (
    "P-values of markers are circular here: the clusters were found in the same expression that is tested, "
    "so a p-value is small even where there are no two kinds of cells. Rank by AUC and read p as a sorting aid."
)


def annotation(source: Source) -> Section:
    """Return the name of every cluster and what spoke for it."""
    section = Section("annotation", "Cluster annotation")
    table = source.adata.uns.get(_keys.ANNOTATE)
    if not isinstance(table, pd.DataFrame) or table.empty:
        section.missing = 'tl.annotate(adata, "immune", groupby="leiden")'
        return section
    label = table["label"].astype(str)
    left = int((label.eq("unknown") | label.str.endswith(", unresolved")).sum())
    section.sentence = (
        f"{len(table) - left} of {len(table)} clusters got a name of their own. The effect is the mean AUC of the "
        "type's markers in the cluster (0.5 says nothing); the margin is its lead over the runner-up."
    )
    if left:
        section.cautions.append(
            f"{left} cluster{'s were' if left > 1 else ' was'} left open: the evidence does not carry a name. "
            "Their cells stand in no signature."
        )
    order = {
        "group": "cluster", "label": "label", "cl": "Cell Ontology", "effect": "effect", "margin": "margin",
        "runner_up": "runner-up", "p": "p (competitive)", "genes": "genes that decided, and their AUC",
    }  # fmt: skip
    visible = table[[name for name in order if name in table]].rename(columns=order)
    if "genes" in table:  # a hyphen would end the line between it and its gene
        genes = table["genes"].astype(str).str.replace(r"(^|, )-", r"\1−", regex=True)
        visible = visible.assign(**{order["genes"]: genes})
    caption = "Evidence for every cluster (− marks a gene that should be low)"
    section.tables.append(Table("annotation", caption, table, visible))
    return section


def markers(source: Source) -> Section:
    """Return each cluster's best genes."""
    section = Section("markers", "Markers")
    entry = source.adata.uns.get(_keys.RANK_GENES_GROUPS)
    names = entry.get("names") if isinstance(entry, dict) else None
    if names is None or getattr(names, "dtype", None) is None or not names.dtype.names:
        section.missing = 'tl.markers(adata, groupby="leiden")'
        return section
    key = source.marker_key
    table = _top(source, entry, key)
    against = _reference(entry)
    section.sentence = (
        f"The {TOP} best genes of every cluster against all other cells. AUC is the chance that a cell of the "
        "cluster has more of the gene than another cell: 0.5 says nothing, 1 is always."
        if not against
        else f"The {TOP} best genes of every cluster against {against}."
    )
    if not _own(entry).get("labels_independent"):
        section.cautions.append(CIRCULAR)
    n_groups = len(names.dtype.names)
    n = max(1, min(3, 60 // n_groups))
    if n_groups <= MOST:
        section.pictures.append(
            picture(
                lambda: pl.markers(source.adata, key, n=n),
                f"Dot plot of the best markers: colour is the mean, size the share of cells with the gene, by {key}.",
            )
        )
    else:
        section.sentence += _too_many(n_groups)
    section.tables.append(Table("top_markers", f"Top {TOP} markers of each cluster", table))
    return section


def _too_many(n_groups: int) -> str:
    return f" {shown(n_groups)} clusters are too many for a figure; the table has them all."


def _own(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that `tl.markers` left beside scanpy's; {} of a table that is scanpy's."""
    try:
        return dict(json.loads(str(entry["cellsigil"])))
    except (KeyError, ValueError, TypeError):
        return {}


def _reference(entry: dict[str, Any]) -> str:
    """Return the group that the others were compared with, "" for all other cells."""
    name = str(entry.get("params", {}).get("reference", "rest"))
    return "" if name == "rest" else name


def _top(source: Source, entry: dict[str, Any], key: str) -> pd.DataFrame:
    """Return the best genes of every cluster with AUC, fold change and shares."""
    names = entry["names"]
    rows = [
        (
            group,
            i + 1,
            str(gene),
            _value(entry, "logfoldchanges", group, i),
            _value(entry, "pvals_adj", group, i),
        )
        for group in names.dtype.names
        for i, gene in enumerate(names[group][:TOP])
    ]
    table = pd.DataFrame(
        rows, columns=["cluster", "rank", "gene", "log2 fold change", "adjusted p"]
    )
    adata = source.adata
    genes = pd.Index(table["gene"].unique())
    genes = genes[genes.isin(adata.var_names)]
    told = key in adata.obs and len(genes) and adata.var_names.is_unique
    if not told or _reference(entry):  # AUC and shares below are against all other cells
        return table.dropna(axis=1, how="all")
    own = _own(entry)
    sample_key = own.get("sample_key") if own.get("sample_key") in adata.obs else None
    with warnings.catch_warnings(action="ignore"):  # tl.markers has told of them
        stats = tl.group_stats(adata[:, genes], key, sample_key=sample_key, layer=own.get("layer"))
    g, j = pd.Index(stats.groups).get_indexer(table["cluster"]), genes.get_indexer(table["gene"])
    known = (g >= 0) & (j >= 0)
    cells = stats.n.sum(axis=1)
    inside, total = stats.detected[g, j], stats.detected.sum(axis=0)[j]
    for place, name, values in (
        (3, "AUC", stats.auc_blocked[g, j]),
        (5, "cells of the cluster (%)", 100 * inside / np.maximum(cells[g], 1)),
        (6, "other cells (%)", 100 * (total - inside) / np.maximum(cells.sum() - cells[g], 1)),
    ):
        table.insert(place, name, np.where(known, values, np.nan))
    return table.dropna(axis=1, how="all")


def _value(entry: dict[str, Any], field: str, group: str, i: int) -> float:
    """Return one number of scanpy's marker arrays, NaN where the field is absent."""
    return float(entry[field][group][i]) if field in entry else np.nan


def scores(source: Source) -> Section:
    """Return how high every cluster scores for every signature."""
    section = Section("scores", "Signature scores")
    table = source.adata.uns.get(_keys.SCORE_CLUSTERS)
    if not isinstance(table, pd.DataFrame) or table.empty:
        section.missing = 'tl.score_clusters(adata, "immune", groupby="leiden")'
        return section
    section.sentence = (
        f"{table['signature'].nunique()} signatures in {table['group'].nunique()} clusters: the effect is the mean "
        "AUC of a signature's genes in the cluster against the rest (0.5 says nothing)."
    )
    section.cautions.append(
        "The test is competitive: a signature is compared with random genes of the same expression. Genes of a real "
        "set rise and fall together, so p is too small; vif is the factor by which the variance is larger, p (vif) "
        "the p so corrected."
    )
    if (n_groups := table["group"].nunique()) <= MOST:
        section.pictures.append(
            picture(lambda: pl.scores(source.adata), "Effect of every signature in every cluster.")
        )
    else:
        section.sentence += _too_many(n_groups)
    order = {
        "group": "cluster", "signature": "signature", "effect": "effect", "z": "z", "padj": "adjusted p",
        "vif": "vif", "p_vif": "p (vif)", "n_genes": "genes", "n_samples_support": "samples in support",
    }  # fmt: skip
    columns = [name for name in order if name in table]
    best = (
        table.sort_values("effect", ascending=False, kind="stable")
        .groupby("group", sort=False)
        .head(3)
    )
    place = {name: i for i, name in enumerate(table["group"].unique())}
    best = best.sort_values("group", key=lambda s: s.map(place), kind="stable")
    section.tables.append(
        Table(
            "signature_scores", "The three highest signatures of each cluster (all of them are in the file)",
            table, best[columns].rename(columns=order),         )
    )  # fmt: skip
    return section

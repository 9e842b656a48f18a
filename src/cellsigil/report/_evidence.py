"""Sections of evidence: why a cluster has its name, its markers, its scores."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from cellsigil import _keys, pl, tl
from cellsigil.report._collect import Source
from cellsigil.report._figures import picture
from cellsigil.report._section import Section, Table

TOP = 5
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
        "runner_up": "runner-up", "p": "p (competitive)", "genes": "genes that decided (AUC)", "path": "path",
    }  # fmt: skip
    visible = table[[name for name in order if name in table]].rename(columns=order)
    section.tables.append(Table("annotation", "Evidence for every cluster", table, visible))
    return section


def markers(source: Source) -> Section:
    """Return each cluster's best genes."""
    section = Section("markers", "Markers")
    entry = source.adata.uns.get(_keys.RANK_GENES_GROUPS)
    names = entry.get("names") if isinstance(entry, dict) else None
    if names is None or getattr(names, "dtype", None) is None or not names.dtype.names:
        section.missing = 'tl.markers(adata, groupby="leiden")'
        return section
    key = source.cluster_key
    table = _top(source, entry, key)
    section.sentence = (
        f"The {TOP} best genes of every cluster against all other cells. AUC is the chance that a cell of the "
        "cluster has more of the gene than another cell: 0.5 is none, 1 is always."
    )
    if not _independent(entry):
        section.cautions.append(CIRCULAR)
    section.pictures.append(
        picture(
            lambda: pl.markers(source.adata, key),
            f"Dot plot of the best markers: colour is the mean, size the share of cells with the gene, by {key}.",
        )
    )
    section.tables.append(
        Table("top_markers", f"Top {TOP} markers of each cluster", table, folded=len(table) > 30)
    )
    return section


def _independent(entry: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(str(entry["cellsigil"]))["labels_independent"])
    except (KeyError, ValueError, TypeError):
        return False


def _top(source: Source, entry: dict[str, Any], key: str) -> pd.DataFrame:
    """Return the best genes of every cluster with AUC, fold change and shares."""
    names, groups = entry["names"], list(entry["names"].dtype.names)
    rows = []
    for group in groups:
        for i, gene in enumerate(names[group][:TOP]):
            row = {"cluster": group, "rank": i + 1, "gene": str(gene)}
            if "logfoldchanges" in entry:
                row["log2fc"] = float(entry["logfoldchanges"][group][i])
            if "pvals_adj" in entry:
                row["adjusted p"] = float(entry["pvals_adj"][group][i])
            rows.append(row)
    table = pd.DataFrame(rows)
    adata = source.adata
    genes = pd.Index(table["gene"].unique())
    genes = genes[genes.isin(adata.var_names)]
    if key not in adata.obs or not len(genes) or not adata.var_names.is_unique:
        return table
    layer = entry["params"].get("layer")
    stats = tl.group_stats(adata[:, genes], key, layer=layer)
    here = {name: g for name, g in zip(stats.groups, range(len(stats.groups)))}
    total, cells = stats.detected.sum(axis=0), stats.n.sum(axis=1)
    values: dict[str, list[float]] = {"auc": [], "pct in": [], "pct out": []}
    for group, gene in zip(table["cluster"], table["gene"]):
        if group not in here or gene not in genes:
            for column in values.values():
                column.append(np.nan)
            continue
        g, j = here[group], int(genes.get_loc(gene))
        rest = cells.sum() - cells[g]
        values["auc"].append(float(stats.auc[g, j]))
        values["pct in"].append(100 * stats.detected[g, j] / max(cells[g], 1))
        values["pct out"].append(100 * (total[j] - stats.detected[g, j]) / max(rest, 1))
    for place, (name, column) in enumerate(values.items()):
        table.insert(3 + place + (1 if place and "log2fc" in table else 0), name, column)
        if place == 0 and "log2fc" in table:
            table.insert(4, "log2fc", table.pop("log2fc"))
    return table


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
    section.pictures.append(
        picture(lambda: pl.scores(source.adata), "Effect of every signature in every cluster.")
    )
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
            table, best[columns].rename(columns=order), folded=len(best) > 30,
        )
    )  # fmt: skip
    return section

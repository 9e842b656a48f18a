"""Sections of how it was done: parameters, versions, and the methods in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cellsigil import _keys
from cellsigil.report._collect import Source
from cellsigil.report._section import Section, Table

# (what has to be there, the paragraph, its references)
WORDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "qc",
        "Cells were filtered by the rules listed above: by fixed limits first and, where deviations are named, as "
        "outliers among the cells of the same sample, by median absolute deviations of the log number of molecules, of "
        "the log number of genes and of the share of mitochondrial counts.",
        ("McCarthy et al. 2017, Bioinformatics 33:1179",),
    ),
    (
        "norm",
        "Counts were scaled to the same total in every cell (10,000 unless the parameters say otherwise) and log1p was "
        "taken. Variable genes were chosen by the flavour that the parameters name, and principal components taken "
        "of them.",
        (),
    ),
    (
        "cluster",
        "Cells were joined to their nearest neighbours in the space of principal components; the graph was "
        "clustered by the Leiden algorithm and laid out by UMAP.",
        ("Traag et al. 2019, Sci Rep 9:5233", "McInnes et al. 2018, arXiv:1802.03426"),
    ),
    (
        "markers",
        "Genes were compared between every cluster and all other cells by the AUC (the Mann-Whitney U divided by the "
        "number of pairs of cells, ties at their mid-rank). Where there are several samples, the AUC is taken within "
        "samples and averaged, so that a difference between samples does not pass for one between clusters. The fold "
        "change is log2 of (mean + 1) / (mean + 1) of counts per 10,000.",
        ("Lun et al. 2016, F1000Research 5:2122", "van Elteren 1960, Bull Inst Int Stat 37:351"),
    ),
    (
        "annotate",
        "Clusters were named by walking down a tree of cell types: at every node the types below are compared by the "
        "mean AUC of their markers, and the best is taken where it leads by a margin; otherwise the cluster keeps the "
        "name that is certain, or none.",
        (),
    ),
    (
        "scores",
        "A signature's effect in a cluster is the mean AUC of its genes. Its p-value compares it with random sets of "
        "genes of the same expression; correlation between genes is shown as a variance inflation.",
        ("Wu & Smyth 2012, Nucleic Acids Res 40:e133",),
    ),
    (
        "signature",
        "Profiles are mean counts per 10,000 of the cells of a type. Genes are ranked by the sum of the ranks of AUC "
        "and COSG, and as many are taken as give the lowest condition number of the selected matrix; mitochondrial, "
        "ribosomal, sex, haemoglobin and dissociation genes are left out unless asked for. Every sample was held out "
        "once, where there are several, and the choice of genes repeated without it.",
        (
            "Dai et al. 2022, Brief Bioinform 23:bbab579",
            "Newman et al. 2015, Nat Methods 12:453",
            "van den Brink et al. 2017, Nat Methods 14:935",
        ),
    ),
    (
        "deconvolution",
        "Every bulk sample was solved on its own, on the linear scale of counts per million over the genes that bulk "
        "and signature share, for non-negative shares of RNA. Shares of RNA divided by a type's RNA content, made to "
        "sum to 1, are fractions of cells. Intervals come from drawing the genes anew and, where the signature holds "
        "at least two donors of every type, from disturbing the profiles as donors differ, widened by Student's t.",
        ("Avila Cobos et al. 2020, Nat Commun 11:5650", "Racle et al. 2017, eLife 6:e26476"),
    ),
)  # fmt: skip


def methods(source: Source) -> Section:
    """Return the methods of what is in the report, in words."""
    adata = source.adata
    there = {
        "qc": _keys.QC_FILTER in adata.uns,
        "norm": _keys.SIZE_FACTOR in adata.obs and _keys.HVG in adata.var,
        "cluster": _keys.LEIDEN in adata.obs and _keys.X_UMAP in adata.obsm,
        "markers": "cellsigil" in adata.uns.get(_keys.RANK_GENES_GROUPS, ()),
        "annotate": _keys.ANNOTATE in adata.uns,
        "scores": _keys.SCORE_CLUSTERS in adata.uns,
        "signature": source.signature is not None,
        "deconvolution": source.deconvolution is not None,
    }
    section = Section("methods", "Methods")
    for key, text, references in WORDS:
        if there[key]:
            section.paragraphs.append(text)
            section.references += [r for r in references if r not in section.references]
    if section.paragraphs:
        section.sentence = "What was done, in words that may be used in a manuscript."
    else:
        section.missing = "presets.run(input, out)"
    return section


def parameters(text: str | None) -> Section:
    """Return the preset with every default written out."""
    section = Section("parameters", "Parameters")
    if text:
        section.sentence = "Every call and every argument, defaults included; as a preset file it repeats this run."
        section.code = text
    else:
        section.missing = "report.write(adata, path, parameters=preset.to_toml(resolved=True))"
    return section


def versions(given: Mapping[str, Any] | None) -> Section:
    """Return the versions of what computed this."""
    section = Section("versions", "Versions")
    if given:
        section.sentence = "The software that made these results."
        frame = pd.DataFrame(
            {"package": [str(k) for k in given], "version": [str(v) for v in given.values()]}
        )
        section.tables.append(Table("versions", "Versions", frame))
    else:
        section.missing = "report.write(adata, path, versions={...})"
    return section

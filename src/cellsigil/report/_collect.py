"""From AnnData to sections: the cells, how they were filtered, and what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cellsigil import _keys, pl
from cellsigil.report._figures import picture
from cellsigil.report._section import Section, Table, shown

MANY = 2000  # points, above which a figure is pixels
QC = {
    "n_genes_by_counts": "genes per cell",
    "total_counts": "molecules per cell",
    "pct_counts_mt": "mitochondrial counts (%)",
}
MEASURES = {**QC, "n_cells_by_counts": "cells with the gene"}


@dataclass(frozen=True)
class Source:
    """What the report is made from."""

    adata: AnnData
    signature: Any = None
    deconvolution: Any = None
    truth: pd.DataFrame | None = None

    @property
    def cluster_key(self) -> str:
        """Return the obs column of the clusters: the markers' groups, unless those are the cell types."""
        return _keys.LEIDEN if self.marker_key == _keys.CELL_TYPE else self.marker_key

    @property
    def marker_key(self) -> str:
        """Return the obs column that the markers were found for, or Leiden's."""
        try:
            key = str(self.adata.uns[_keys.RANK_GENES_GROUPS]["params"]["groupby"])
        except (KeyError, TypeError):
            return _keys.LEIDEN
        return key if key in self.adata.obs else _keys.LEIDEN

    def names(self, key: str) -> list[str]:
        """Return the values of an obs column in category order, [] where there is none."""
        if key not in self.adata.obs:
            return []
        column = self.adata.obs[key]
        if not isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype("category")
        return [str(name) for name in column.cat.remove_unused_categories().cat.categories]


def facts(source: Source) -> list[tuple[str, str]]:
    """Return the numbers that a reader wants first."""
    adata = source.adata
    out = [("cells", shown(adata.n_obs)), ("genes", shown(adata.n_vars))]
    for key, word in (
        (_keys.SAMPLE, "sample"), (source.cluster_key, "cluster"), (_keys.CELL_TYPE, "cell type"),
    ):  # fmt: skip
        if names := source.names(key):
            if key == _keys.CELL_TYPE:
                names = [
                    name
                    for name in names
                    if name != "unknown" and not name.endswith(", unresolved")
                ]
            out.append((word if len(names) == 1 else f"{word}s", shown(len(names))))
    for key, words in QC.items():
        if key in adata.obs:
            value = (
                float(np.nanmedian(adata.obs[key].to_numpy(dtype=float))) if adata.n_obs else np.nan
            )
            text = (
                f"{value:.1f}"
                if key.startswith("pct")
                else shown(value if np.isnan(value) else round(value))
            )
            out.append((f"median {words}", text))
    if source.deconvolution is not None:
        out.append(("bulk samples", shown(len(source.deconvolution.fractions))))
    return out


def qc(source: Source) -> Section:
    """Return what the filters took, and how the measures are spread after them."""
    adata = source.adata
    section = Section("qc", "Quality control")
    there = [key for key in QC if key in adata.obs]
    if not there:
        section.missing = "pp.qc(adata)"
        return section
    steps = _filter_steps(adata)
    cells = [step for step in steps if step["what"] == "cells"]
    if cells:
        before, after = cells[0]["before"], cells[-1]["after"]
        section.sentence = (
            f"{shown(after)} of {shown(before)} cells were kept ({_percent(after, before)}); "
            f"the figures and medians below are of the cells that were kept."
        )
    else:
        section.sentence = (
            "How the quality measures of the cells are spread; no filter of cellsigil was run."
        )
    by_sample = len(source.names(_keys.SAMPLE)) > 1
    section.pictures.append(
        picture(
            lambda: pl.qc(
                adata,
                sample_key=_keys.SAMPLE if by_sample else None,
                thresholds=_limits(adata, cells, there),
            ),
            f"Distribution of {', '.join(QC[key] for key in there)}"
            + (", by sample" if by_sample else "")
            + (". Dashed: limits of the filters for all cells." if cells else "."),
        )
    )
    if steps:
        section.tables += _filter_tables(steps)
    groups = adata.obs[_keys.SAMPLE].astype(str) if by_sample else pd.Series("all", adata.obs_names)
    medians = adata.obs[there].groupby(groups.to_numpy(), sort=False).median()
    medians = medians.reindex(source.names(_keys.SAMPLE) if by_sample else ["all"])
    medians.insert(0, "cells", groups.value_counts().reindex(medians.index).to_numpy())
    frame = medians.rename(columns={key: f"median {QC[key]}" for key in there})
    section.tables.append(
        Table(
            "qc_medians",
            "Cells and medians after filtering",
            frame.rename_axis("sample").reset_index(),
        )
    )
    return section


def _filter_steps(adata: AnnData) -> list[dict[str, Any]]:
    try:
        return list(json.loads(adata.uns[_keys.QC_FILTER])["steps"])
    except (KeyError, TypeError, ValueError):
        return []


def _limits(
    adata: AnnData, steps: list[dict[str, Any]], measures: list[str]
) -> dict[str, list[float | None]]:
    """Return the limits that held for all cells, where they lie close enough to the cells to be drawn."""
    out: dict[str, list[float | None]] = {name: [] for name in measures}
    for rule in (rule for step in steps for rule in step["rules"] if rule["sample"] is None):
        name, limit = _rule_limit(rule)
        if name in out:
            values = adata.obs[name].to_numpy(dtype=float)
            if np.nanmin(values) / 2 <= limit <= 1.5 * np.nanmax(values):
                out[name].append(limit)
    return out


def _rule_limit(rule: dict[str, Any]) -> tuple[str, float]:
    """Return what a rule measured and its limit, both off the log scale."""
    name, limit = str(rule["measure"]), float(rule["limit"])
    if name.startswith("log1p_"):
        return name.removeprefix("log1p_"), float(np.expm1(limit))
    return name, limit


def _filter_tables(steps: list[dict[str, Any]]) -> list[Table]:
    rows, rules = [], []
    for i, step in enumerate(steps, start=1):
        before, after = step["before"], step["after"]
        rows.append(
            {
                "step": i, "filtered": step["what"], "before": before, "after": after,
                "removed": before - after, "kept (%)": 100 * after / before if before else np.nan,
            }
        )  # fmt: skip
        for rule in step["rules"]:
            name, limit = _rule_limit(rule)
            rules.append(
                {
                    "step": i, "measure": MEASURES.get(name, name),
                    "removes": "below" if rule["side"] == "low" else "above", "limit": limit,
                    "sample": rule["sample"] or "all", "deviations": rule["n_mads"] or np.nan,
                    "removed on its own": rule["removed"],
                }
            )  # fmt: skip
    kept = Table("qc_filter", "Before and after filtering", pd.DataFrame(rows))
    if not rules:
        return [kept]
    caption = "Each rule, its limit, and what it would remove on its own"
    frame = pd.DataFrame(rules)
    return [kept, Table("qc_rules", caption, frame, folded=len(frame) > 12)]


def umap(source: Source) -> Section:
    """Return the embedding, coloured by cluster, type and sample."""
    adata = source.adata
    section = Section("umap", "UMAP")
    if _keys.X_UMAP not in adata.obsm:
        section.missing = "tl.umap(adata)"
        return section
    section.sentence = (
        "Cells with similar expression lie close together; distances between far groups "
        "and the size of a group mean little."
    )
    for key, word in (
        (source.cluster_key, "cluster"), (_keys.CELL_TYPE, "cell type"), (_keys.SAMPLE, "sample"),
    ):  # fmt: skip
        names = source.names(key)
        if not names:
            continue
        section.pictures.append(
            picture(
                lambda key=key: _small_umap(adata, key),  # type: ignore[misc]
                f"UMAP of {shown(adata.n_obs)} cells, coloured by {word}.",
                many_points=adata.n_obs > MANY,
                colors=pl.palette(names) if len(names) <= 60 else None,
            )
        )
    frame = pd.DataFrame(
        np.asarray(adata.obsm[_keys.X_UMAP])[:, :2], columns=["UMAP1", "UMAP2"],
        index=adata.obs_names.rename("cell"),
    )  # fmt: skip
    for key in (source.cluster_key, _keys.CELL_TYPE, _keys.SAMPLE):
        if key in adata.obs:
            frame[key] = adata.obs[key].astype(str).to_numpy()
    frame = frame.reset_index()
    section.tables.append(Table("umap", "Places and labels of all cells", frame, frame.iloc[:0]))
    return section


def _small_umap(adata: AnnData, key: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), layout="constrained", facecolor="white")
    labels = False if key == _keys.SAMPLE else None  # None: where there is room for them
    return pl.umap(adata, color=key, legend=False, labels=labels, title="", ax=figure.add_subplot())


def composition(source: Source) -> Section:
    """Return how many cells of each type every sample has."""
    section = Section("composition", "Composition")
    types, samples = source.names(_keys.CELL_TYPE), source.names(_keys.SAMPLE)
    if not types:
        section.missing = 'tl.annotate(adata, "immune", groupby="leiden")'
        return section
    obs = source.adata.obs
    labels = obs[_keys.CELL_TYPE].astype(str).where(obs[_keys.CELL_TYPE].notna())
    of = obs[_keys.SAMPLE].astype(str) if samples else pd.Series("all", obs.index)
    counts = pd.crosstab(labels, of).reindex(index=types, columns=samples or ["all"], fill_value=0)
    total = counts.sum(axis=1)
    top = total.idxmax()
    section.sentence = (
        f"The largest type is {top} with {_percent(total[top], total.sum())} of the labelled cells. "
        "Shares within a sample depend on each other: where one grows, others shrink."
    )
    if samples:
        section.pictures.append(
            picture(lambda: pl.composition(source.adata), "Share of each cell type in each sample.")
        )
    frame = counts.rename_axis("cell type").reset_index()
    frame.columns.name = None
    if len(samples) > 1:
        frame["all"] = total.to_numpy()
    frame["share (%)"] = (100 * total / max(total.sum(), 1)).to_numpy()
    section.tables.append(Table("composition", "Cells of each type in each sample", frame))
    return section


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"

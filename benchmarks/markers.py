"""Markers of all groups against the rest, with ties, one call: ours against illico, CREST and scanpy.

    python benchmarks/markers.py [DATA_FOLDER] [CELLS ...]

Ours gives Wilcoxon with ties, AUC, t, shares, fold changes, COSG, p-values and the finished table. illico gives
Wilcoxon's p-values and fold changes; CREST needs two calls for Wilcoxon and t; scanpy runs on one gene in
`PART` and its figures are multiplied (a gene's test does not know the others).
"""

from __future__ import annotations

import sys

import anndata as ad
import crest
import numpy as np
import pandas as pd
import polars as pl
import scanpy as sc
from _floors import ranked
from _inputs import as_crest, cases, clusters, labelled
from _measure import FLOOR, WARM_CELLS, Tool, bytes_limit, entry_bytes, race
from illico import asymptotic_wilcoxon

from cellsigil import tl
from cellsigil._core._jit import n_threads

PART = 30
MOST_IN_PAIRS = 200  # groups: 476, of 100,000 cells each near its source, are 113,000 pairs


def lean(adata):
    return ad.AnnData(adata.X, obs=adata.obs[["type", "sample"]].copy(), var=adata.var[[]].copy())


def blocked(adata):
    return tl.markers(adata, "type", sample_key="sample", reference="pairwise")


def illicos(adata):
    return asymptotic_wilcoxon(
        adata, is_log1p=True, group_keys="type", n_threads=n_threads(), use_continuity=False
    )


def frame_of(adata):
    frame = as_crest(adata)
    frame.obs = frame.obs.with_columns(pl.Series("type", adata.obs["type"].astype(str).to_numpy()))
    return frame


def crests(frame) -> None:
    crest.tl.rank_genes_groups(frame, "type", method="wilcoxon", tie_correct=True, n_genes=None)
    crest.tl.rank_genes_groups(frame, "type", method="t-test", n_genes=None)


def scanpys(adata) -> None:
    sc.tl.rank_genes_groups(adata, "type", method="wilcoxon", tie_correct=True, use_raw=False)


def part_of(adata):
    part = lean(adata)[:, ::PART].copy()
    part.uns["log1p"] = {"base": None}
    return part


def with_two(adata):
    """Return the cells of groups of two at least: scanpy refuses others."""
    size = adata.obs.groupby("type", observed=True)["type"].transform("size").to_numpy()
    return adata[size >= 2].copy()


def compare(kind: str, adata: ad.AnnData, many: str = "") -> None:
    """Race on one labelling; ``many`` is the end of the rows' names."""
    adata = with_two(adata)
    # CREST: the same entries, its transformation applied on the way
    adata.layers["counts"] = adata.X
    small = with_two(adata[:WARM_CELLS])
    tables: dict[str, pd.Series] = {}

    def keep_p(_, table) -> dict[str, float]:
        tables["ours"] = table.set_index(["group", "gene"])["log10_p"]
        return {}

    def same_p(_, table) -> dict[str, float]:
        theirs = table["p_value"]
        theirs.index = theirs.index.set_names(["group", "gene"])
        ours = tables["ours"].reindex(theirs.index)
        both = theirs.to_numpy() > 1e-250
        gap = np.abs(ours.to_numpy()[both] - np.log10(theirs.to_numpy()[both]))
        return {"largest difference of log10 p": float(np.nanmax(gap))}

    least = Tool(
        FLOOR, lambda given: ranked(*given),
        ready=lambda a: (a.X, a.obs["type"].cat.codes.to_numpy(np.uint64)),
        note="entries into columns, each sorted; ranks, values and squares added up by group",
    )  # fmt: skip
    n_groups = adata.obs["type"].nunique()
    of = f"{n_groups} groups"
    moved = bytes_limit(3 * entry_bytes(adata.X), "read rows, write columns, read columns")
    race(
        f"markers{many}", adata,
        [
            Tool("cellsigil", lambda a: tl.markers(a, "type"), ready=lean, check=keep_p, note=of),
            Tool("illico", illicos, ready=lean, check=same_p),
            Tool("crest", crests, ready=frame_of),
            Tool("scanpy", scanpys, ready=part_of, times=PART, note=f"one gene in {PART}, multiplied"),
            least,
        ],
        data=kind, bars={"illico": 3, "crest": 3, "scanpy": 100},
        limit=moved, warm=small,
    )  # fmt: skip
    if n_groups > MOST_IN_PAIRS:
        return
    race(
        f"markers, samples as blocks and pairwise summaries{many}", adata,
        [
            Tool("cellsigil", blocked, ready=lean, note=of),
            Tool("illico", illicos, ready=lean, note="its plain Wilcoxon"),
            least,
        ],
        data=kind, bars={"illico": 1.5}, limit=moved, warm=small,
    )  # fmt: skip


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        adata = labelled(kind, n, folder)
        compare(kind, adata)
        if kind == "pbmc3k":  # cells drawn from one cell lie together: 89 clusters of 20,000
            adata.obs["type"] = clusters(adata)
            compare(kind, adata, ", many groups")


if __name__ == "__main__":
    main(*sys.argv[1:])

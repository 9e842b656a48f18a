"""Normalise, log and find the variable genes: ours against scanpy's and CREST's.

    python benchmarks/normalize.py [DATA_FOLDER] [CELLS ...]

Ours keeps the counts in their layer and makes a matrix of its own, in one pass or by the two calls that scanpy has
too; scanpy's works in place on X; CREST records the transformation and applies it whenever something reads. "Counts
kept" copies them to a layer before, as ours does.
"""

from __future__ import annotations

import sys

import crest
import numpy as np
import scanpy as sc
from _floors import checked_log_squares, floors_of, log_squares
from _inputs import as_crest, cases, read
from _measure import Tool, bytes_limit, entry_bytes, race

from cellsigil import pp

TOP = 2000


def ours(adata) -> None:
    pp.normalize_hvg(adata, n_top_genes=TOP)


def ours_in_two_calls(adata) -> None:
    pp.normalize(adata)
    pp.hvg(adata, n_top_genes=TOP)


def scanpys(adata) -> None:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=TOP, flavor="seurat")


def scanpys_kept(adata) -> None:
    adata.layers["counts"] = adata.X.copy()
    scanpys(adata)


def without_layer(adata):
    out = adata.copy()
    del out.layers["counts"]
    return out


def crests(frame) -> None:
    crest.pp.normalize_total(frame, target_sum=1e4)
    crest.pp.log1p(frame)
    crest.pp.highly_variable_genes(frame, n_top_genes=TOP, flavor="seurat")


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        adata = read(kind, n, folder)
        genes: list[set] = []

        def same_genes(state, _, genes=genes) -> dict[str, float]:
            genes.append(set(state.var_names[np.asarray(state.var["highly_variable"], bool)]))
            return {"variable genes in common": len(genes[0] & genes[-1]) / TOP}

        race(
            "normalise, log1p, variable genes", adata,
            [
                Tool("cellsigil", ours, check=same_genes),
                Tool("cellsigil, two calls", ours_in_two_calls, check=same_genes),
                Tool("scanpy", scanpys, ready=without_layer, check=same_genes),
                Tool("scanpy, counts kept", scanpys_kept, ready=without_layer),
                Tool("crest", crests, ready=lambda a: as_crest(a, log=False)),
                *floors_of(
                    log_squares, checked_log_squares,
                    "log1p of every scaled count from a cell's table, x and x² of genes on the way",
                ),
            ],
            data=kind, bars={"scanpy": 2, "scanpy, counts kept": 2},
            limit=bytes_limit(3 * entry_bytes(adata.X), "read counts, write X, read X"),
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])

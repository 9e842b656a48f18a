"""QC metrics of cells and genes: ours against scanpy's and CREST's.

    python benchmarks/qc.py [DATA_FOLDER] [CELLS ...]

CREST measures totals, numbers of genes and the mitochondrial share only; ours and scanpy's also the shares of the
50, 100, 200 and 500 largest genes and of three gene sets.
"""

from __future__ import annotations

import sys

import crest
import numpy as np
import scanpy as sc
from _floors import floor_of, totals
from _inputs import as_crest, cases, read
from _measure import Tool, bytes_limit, entry_bytes, race

from cellsigil import pp

SETS = ("mt", "ribo", "hb")


def ours(adata) -> None:
    pp.qc(adata)


def as_crests(adata) -> None:
    pp.qc(adata, gene_sets={"mt": adata.var_names.str.startswith("MT-")}, percent_top=None)


def scanpys(adata) -> None:
    names = adata.var_names.str
    masks = (names.startswith("MT-"), names.match("^RP[SL]"), names.match("^HB[ABDEGMQZ]"))
    for name, mask in zip(SETS, masks):
        adata.var[name] = mask
    sc.pp.calculate_qc_metrics(
        adata, qc_vars=list(SETS), percent_top=(50, 100, 200, 500), inplace=True
    )


def same_totals(adata, _) -> dict[str, float]:
    expected = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    return {"largest error of totals": float(np.abs(adata.obs["total_counts"] - expected).max())}


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        adata = read(kind, n, folder)
        race(
            "QC metrics", adata,
            [
                Tool("cellsigil", ours, check=same_totals),
                Tool("scanpy", scanpys, check=same_totals),
                Tool("crest", crest.pp.calculate_qc_metrics, ready=lambda a: as_crest(a, log=False),
                     note="without top-n shares and two of the three gene sets"),
                floor_of(totals, "totals of cells and genes, cells of genes, in one read"),
            ],
            data=kind, bars={"scanpy": 5, "crest": 1},
            limit=bytes_limit(entry_bytes(adata.X), "one read of values and indices"),
        )  # fmt: skip
        race(
            "QC metrics, what CREST measures", adata,
            [
                Tool("cellsigil", as_crests),
                Tool("crest", crest.pp.calculate_qc_metrics, ready=lambda a: as_crest(a, log=False)),
            ],
            data=kind, bars={"crest": 1},
            limit=bytes_limit(entry_bytes(adata.X), "one read of values and indices"),
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])

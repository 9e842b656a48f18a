"""Highly variable genes, three flavours: ours against scanpy's and CREST's.

python benchmarks/hvg.py [DATA_FOLDER] [CELLS ...]
"""

from __future__ import annotations

import sys

import anndata as ad
import crest
import numpy as np
import scanpy as sc
from _floors import checked_linear_squares, checked_squares, floors_of, linear_squares, squares
from _inputs import as_crest, cases, normalised
from _measure import WARM_CELLS, Tool, bytes_limit, entry_bytes, race

from cellsigil import pp

TOP = 2000
FLOORS = {
    "seurat": floors_of(
        linear_squares,
        checked_linear_squares,
        "expm1 of x and its square added up for genes in one read",
    ),
    "cell_ranger": floors_of(squares, checked_squares, "x and x² of genes added up in one read"),
    "seurat_v3": floors_of(squares, checked_squares, "x and x² of genes added up in one read"),
}


def lean(adata, layer: str | None):
    """Return a copy that holds only the matrix that the flavour reads, where the tool looks for it."""
    matrix = adata.layers[layer] if layer else adata.X
    out = ad.AnnData(matrix.copy(), var=adata.var[[]].copy())
    if layer:
        out.layers[layer] = out.X
    out.uns["log1p"] = {"base": None}
    return out


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        adata = normalised(kind, n, folder)
        small = adata[:WARM_CELLS].copy()
        pp.filter_genes(small, min_cells=1)  # scanpy's cell_ranger refuses genes that no cell has
        for flavor in ("seurat", "cell_ranger", "seurat_v3"):
            layer = "counts" if flavor == "seurat_v3" else None
            chosen: list[set] = []

            def same_genes(state, _, chosen=chosen) -> dict[str, float]:
                chosen.append(set(np.flatnonzero(state.var["highly_variable"])))
                return {"genes in common": len(chosen[0] & chosen[-1]) / TOP}

            race(
                f"variable genes, {flavor}", adata,
                [
                    Tool("cellsigil", lambda a, f=flavor: pp.hvg(a, n_top_genes=TOP, flavor=f),
                         ready=lambda a, k=layer: lean(a, k), check=same_genes),
                    Tool("scanpy", lambda a, f=flavor, k=layer: sc.pp.highly_variable_genes(
                            a, n_top_genes=TOP, flavor=f, layer=k),
                         ready=lambda a, k=layer: lean(a, k), check=same_genes),
                    Tool("crest", lambda a, f=flavor: crest.pp.highly_variable_genes(a, n_top_genes=TOP, flavor=f),
                         ready=as_crest),
                    *FLOORS[flavor],
                ],
                data=kind, bars={"scanpy": 3},
                limit=bytes_limit(2 * entry_bytes(adata.X), "two reads: means, then squares about them"),
                warm=small,
            )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])

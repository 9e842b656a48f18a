"""What a second thread gives: wall time on one and on two threads, and whether the bits are the same.

    python benchmarks/threads.py [DATA_FOLDER] [CELLS ...]

Two more rows show what this machine gives at best: a copy of the values, and the scatter that is the floor of the
variable genes, each half of the matrix in a thread of its own.
"""

from __future__ import annotations

import hashlib
import sys

import anndata as ad
import numpy as np
import pandas as pd
from _floors import squares
from _inputs import read
from _measure import Tool, race

from cellsigil import pp, tl
from cellsigil._core._jit import in_threads, threads


def digest(adata: ad.AnnData) -> str:
    """Return a hash of everything that a step may have written."""
    found = hashlib.sha256(pd.util.hash_pandas_object(adata.obs).to_numpy().tobytes())
    found.update(pd.util.hash_pandas_object(adata.var).to_numpy().tobytes())
    for matrix in (adata.X, *adata.obsp.values()):
        if matrix is not None:
            found.update(matrix.data.tobytes() + matrix.indices.tobytes())
    for table in adata.obsm.values():
        found.update(np.ascontiguousarray(table).tobytes())
    return found.hexdigest()


def halves(matrix) -> list[slice]:
    """Return the entries of the first and of the second half of the rows."""
    middle, end = matrix.indptr[[matrix.shape[0] // 2, -1]]
    return [slice(0, middle), slice(middle, end)]


def copied(adata: ad.AnnData) -> None:
    out = np.empty_like(adata.X.data)
    for _ in in_threads(lambda part: np.copyto(out[part], adata.X.data[part]), halves(adata.X)):
        pass


def scattered(adata: ad.AnnData) -> None:
    matrix = adata.X

    def half(part: slice) -> None:
        n = part.stop - part.start
        squares(matrix.data[part], matrix.indices[part], np.array([0, n]), matrix.shape[1])

    for _ in in_threads(half, halves(matrix)):
        pass


def compare(n: int) -> None:
    adata = read("simulated", n)
    sets = {f"s{k}": list(adata.var_names[k * 30 : k * 30 + 30]) for k in range(50)}
    steps = {
        "a copy of the values": copied,
        "the scatter of x and x²": scattered,
        "qc": pp.qc,
        "normalize": pp.normalize,
        "hvg": pp.hvg,
        "pca": pp.pca,
        "neighbors": pp.neighbors,
        "cluster": tl.cluster,
        "umap": tl.umap,
        "markers": lambda a: tl.markers(a, "type"),
        "score_cells": lambda a: tl.score_cells(a, sets),
    }
    for name, step in steps.items():
        seen: dict[str, str] = {}

        def on(count: int, step=step):
            def run(state: ad.AnnData) -> None:
                with threads(count):
                    step(state)

            return run

        def same(state, _, seen=seen) -> dict[str, float]:
            seen[str(len(seen))] = digest(state)
            return {"same bits": float(len(set(seen.values())) == 1)}

        warm = adata[:1000].copy()
        race(
            f"threads: {name}", adata,
            [
                Tool("cellsigil on 2 threads", on(2), check=same),
                Tool("cellsigil on 1 thread", on(1), check=same),
            ],
            data="simulated", warm=warm,
        )  # fmt: skip
        step(adata)


def main(folder: str = "../shared/data", *sizes: str) -> None:  # noqa: ARG001
    for n in map(int, sizes or ("20000",)):
        compare(n)


if __name__ == "__main__":
    main(*sys.argv[1:])

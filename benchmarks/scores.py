"""50 signatures of 30 genes per cell, controls included, and per cluster: ours against scanpy, pyucell, decoupler.

    python benchmarks/scores.py [DATA_FOLDER] [CELLS ...]

scanpy scores one signature a call; decoupler's AUCell breaks ties by gene order, ours takes the expected value.
"""

from __future__ import annotations

import sys
import time

import anndata as ad
import decoupler as dc
import numpy as np
import pandas as pd
import scanpy as sc
from _inputs import cases, labelled
from _measure import MOST_ROUNDS, Race, Tool, bytes_limit, entry_bytes, race, save, versions_of
from pyucell import compute_ucell_scores

from cellsigil import tl

N_SETS, N_IN_SET = 50, 30


def signatures(genes: pd.Index) -> dict[str, list[str]]:
    rng = np.random.default_rng(1)
    return {f"s{k}": rng.choice(genes, N_IN_SET, replace=False).tolist() for k in range(N_SETS)}


def lean(adata):
    return ad.AnnData(adata.X, obs=adata.obs[["type"]].copy(), var=adata.var[[]].copy())


def part_of(adata):
    """Return every fifth cell: decoupler scores each cell alone."""
    return lean(adata[::5].copy())


def compare(kind: str, n: int, folder: str) -> None:
    adata = labelled(kind, n, folder)
    sets = signatures(adata.var_names)
    network = pd.DataFrame(
        [(s, g) for s, genes in sets.items() for g in genes], columns=["source", "target"]
    )
    limit = bytes_limit(entry_bytes(adata.X), "one read of values and indices")
    ours = {
        method: Tool("cellsigil", lambda a, m=method: tl.score_cells(a, sets, method=m), ready=lean)
        for method in ("scanpy", "ans", "ucell", "aucell")
    }

    def one_by_one(a, sets=sets) -> None:
        for name, genes in sets.items():
            sc.tl.score_genes(a, genes, score_name=name, use_raw=False)

    theirs = Tool("scanpy", one_by_one, ready=lean)
    race(
        "50 signatures, score_genes",
        adata,
        [ours["scanpy"], theirs],
        data=kind,
        bars={"scanpy": 20},
        limit=limit,
    )
    race(
        "50 signatures, ans",
        adata,
        [ours["ans"], theirs],
        data=kind,
        bars={"scanpy": 10},
        limit=limit,
    )
    race(
        "50 signatures, ucell", adata,
        [ours["ucell"], Tool("pyucell", lambda a, s=sets: compute_ucell_scores(a, s, n_jobs=1), ready=lean)],
        data=kind, bars={"pyucell": 20}, limit=limit,
    )  # fmt: skip
    race(
        "50 signatures, aucell", adata,
        [ours["aucell"], Tool("decoupler", lambda a, net=network: dc.mt.aucell(a, net), ready=part_of, times=5,
                              note="every fifth cell, multiplied")],
        data=kind, bars={"decoupler": 20}, limit=limit,
    )  # fmt: skip
    clusters(kind, adata, sets)


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        compare(kind, n, folder)


def clusters(kind: str, adata, sets: dict[str, list[str]]) -> None:
    """Time the scores of clusters with the statistics given; the bar is .05 s."""
    state = lean(adata)
    stats = tl.group_stats(state, "type")
    tl.score_clusters(state, sets, "type", stats=stats)
    result = Race(
        "50 signatures per cluster, statistics given",
        kind,
        len(adata),
        {},
        *bytes_limit(entry_bytes(state.X), "one read of values and indices"),
        versions_of(["cellsigil"]),
    )
    for _ in range(MOST_ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        tl.score_clusters(state, sets, "type", stats=stats)
        took = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "peak": float("nan"),
        }
        result.spent.setdefault("cellsigil", []).append(took)
    save(result)


if __name__ == "__main__":
    main(*sys.argv[1:])

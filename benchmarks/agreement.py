"""Do our clusters agree with scanpy's as well as scanpy's agree with each other under other seeds?

    python benchmarks/agreement.py [DATA_FOLDER]

Both ways from the same filtered counts: normalise, 2,000 variable genes (seurat), 50 components, 15 neighbours, Leiden
at resolution 1; ten seeds each. Adjusted Rand index between all pairs, and with the truth where it is known; scanpy's
also with 20 iterations of Leiden instead of two, and the modularity of all on our graph.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import scanpy as sc
import scipy.sparse as sp
from _measure import RESULTS
from sklearn.metrics import adjusted_rand_score

from cellsigil import io, pp, tl

SEEDS = 10
CARRIED_ON = 20  # iterations of igraph's Leiden where scanpy's usual way has two
DATA = {
    "pbmc3k": ("pbmc3k_raw.h5ad", "scanpy_louvain_label"),
    "zheng": ("zheng_sorted_scn300.h5ad", "sorted_label"),
    "cell lines, 3": ("mix_sc_celseq2.h5ad", "cell_line"),
    "cell lines, 5": ("mix_sc_celseq2_5cl.h5ad", "cell_line_demuxlet"),
}


def ours(adata) -> tuple[list[np.ndarray], sp.csr_matrix]:
    """Return the labels of each seed, and the graph."""
    adata = adata.copy()
    pp.normalize(adata)
    pp.hvg(adata, n_top_genes=2000)
    pp.pca(adata, n_comps=50)
    pp.neighbors(adata)
    labels = []
    for seed in range(SEEDS):
        tl.cluster(adata, rng=seed)
        labels.append(adata.obs["leiden"].astype(str).to_numpy())
    return labels, adata.obsp["connectivities"]


def scanpys(adata, n_iterations: int = 2) -> list[np.ndarray]:
    adata = adata.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=2000, flavor="seurat")
    labels = []
    for seed in range(SEEDS):
        sc.pp.pca(adata, n_comps=50, random_state=seed)
        sc.pp.neighbors(adata, n_neighbors=15, random_state=seed)
        sc.tl.leiden(
            adata, flavor="igraph", n_iterations=n_iterations, directed=False, random_state=seed
        )
        labels.append(adata.obs["leiden"].astype(str).to_numpy())
    return labels


def modularity(graph: sp.csr_matrix, labels: np.ndarray) -> float:
    """Return Newman's modularity of the labels: the share of weight within, less what chance gives."""
    _, label = np.unique(labels, return_inverse=True)
    member = sp.csr_matrix((np.ones(label.size), (np.arange(label.size), label)))
    degree = np.asarray(graph.sum(axis=1)).ravel()
    total = degree.sum()
    within = (member.T @ graph @ member).diagonal().sum() / total
    return float(within - ((member.T @ degree / total) ** 2).sum())


def spread(values) -> dict[str, float]:
    values = list(values)
    return {"mean": float(np.mean(values)), "least": float(min(values)), "most": float(max(values))}


def main(folder: str = "../shared/data") -> None:
    found = {}
    for name, (file, key) in DATA.items():
        adata = io.read(Path(folder) / file)
        pp.filter_cells(adata, min_genes=200)
        pp.filter_genes(adata, min_cells=3)
        if "demuxlet_cls" in adata.obs:  # two cells in one well have no one line
            adata = adata[(adata.obs["demuxlet_cls"] == "SNG").to_numpy()].copy()
        truth = adata.obs[key].astype("object").to_numpy()
        known = adata.obs[key].notna().to_numpy()
        with warnings.catch_warnings(action="ignore"):
            (mine, graph), theirs, carried_on = (
                ours(adata),
                scanpys(adata),
                scanpys(adata, CARRIED_ON),
            )
        ari = adjusted_rand_score
        found[name] = {
            "cells": adata.n_obs,
            "truth": key,
            "scanpy with itself": spread(ari(a, b) for a, b in itertools.combinations(theirs, 2)),
            "ours with itself": spread(ari(a, b) for a, b in itertools.combinations(mine, 2)),
            "ours with scanpy": spread(ari(a, b) for a in mine for b in theirs),
            "ours with scanpy carried on": spread(ari(a, b) for a in mine for b in carried_on),
            "scanpy with truth": spread(ari(truth[known], a[known]) for a in theirs),
            "ours with truth": spread(ari(truth[known], a[known]) for a in mine),
            "modularity, scanpy": spread(modularity(graph, a) for a in theirs),
            "modularity, scanpy carried on": spread(modularity(graph, a) for a in carried_on),
            "modularity, ours": spread(modularity(graph, a) for a in mine),
        }
        print(name, f"{adata.n_obs} cells, truth {key}")
        for what, value in found[name].items():
            if isinstance(value, dict):
                print(
                    f"  {what:30s} mean {value['mean']:.4f}  {value['least']:.4f} to {value['most']:.4f}"
                )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "agreement.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])

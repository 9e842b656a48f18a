"""Leiden: modularity and cost of ours, scanpy's igraph flavour and igraph itself, on the same graphs.

    python benchmarks/leiden.py DATA_FOLDER [CELLS]

Five real graphs, and pbmc3k scaled up to CELLS (20,000) by multinomial resampling. After a warm-up the tools
take turns in one process, three rounds; CPU and wall are medians. Modularity is a mean over ten seeds at
n_iterations=2; "default" is `tl.cluster`'s best of four runs, "converged" igraph with n_iterations=-1, one run.
scanpy's time includes building the igraph, igraph's own does not; every time includes one modularity.
"""

from __future__ import annotations

import importlib.metadata
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import igraph
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

from cellsigil import io, pp, tl
from cellsigil._core._leiden import leiden

REAL = {
    "pbmc3k": "pbmc3k_raw.h5ad",
    "zheng": "zheng_sorted_scn300.h5ad",
    "cell lines": "mix_sc_celseq2_5cl.h5ad",
    "kang": "kang_muscat_example.h5ad",
    "newman": "sc_newman_reference.h5ad",
}
ROUNDS, SEEDS = 3, 10
PACKAGES = ("cellsigil", "scanpy", "igraph", "numba", "numpy", "scipy")


def resampled(adata: ad.AnnData, n: int) -> ad.AnnData:
    """Return ``n`` cells, each a multinomial draw of half to all of a real cell's counts."""
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(adata.layers["counts"])
    columns, values = [], []
    for row in rng.integers(counts.shape[0], size=n):
        of_row = slice(counts.indptr[row], counts.indptr[row + 1])
        real = counts.data[of_row].astype(float)
        drawn = rng.multinomial(int(real.sum() * rng.uniform(0.5, 1)), real / real.sum())
        columns.append(counts.indices[of_row][drawn > 0])
        values.append(drawn[drawn > 0].astype(np.float32))
    indptr = np.cumsum([0, *map(len, columns)])
    made = sp.csr_matrix((np.concatenate(values), np.concatenate(columns), indptr))
    made.resize(n, counts.shape[1])
    return ad.AnnData(made, layers={"counts": made.copy()})


def with_graph(adata: ad.AnnData) -> ad.AnnData:
    """Return the cells with our neighbour graph."""
    adata = ad.AnnData(
        adata.layers["counts"].copy(),
        layers={"counts": adata.layers["counts"].copy()},
        var=pd.DataFrame(index=adata.var_names),
    )
    pp.filter_genes(adata, min_cells=3)
    pp.normalize(adata)
    pp.hvg(adata, n_top_genes=min(2000, adata.n_vars))
    pp.pca(adata)
    pp.neighbors(adata)
    return adata


def alternate(calls: dict[str, Callable[[int], float]]) -> dict[str, tuple[float, float]]:
    """Return median CPU and wall seconds of each call with seed 0."""
    spent: dict[str, list] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):  # the first warms up
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call(0)
            took = time.process_time() - cpu, time.perf_counter() - wall
            if turn:
                spent[name].append(took)
    return {name: tuple(np.median(took, axis=0)) for name, took in spent.items()}


def compare(name: str, adata: ad.AnnData) -> None:
    graph = sp.csr_matrix(adata.obsp["connectivities"])
    upper = sp.triu(graph, k=1).tocoo()
    built = igraph.Graph(n=graph.shape[0], edges=np.stack([upper.row, upper.col], axis=1))
    weights = upper.data.astype(float).tolist()

    def bare(seed: int, rounds: int = 2) -> float:
        igraph.set_random_number_generator(random.Random(seed))
        part = built.community_leiden(
            objective_function="modularity", weights=weights, resolution=1.0, n_iterations=rounds
        )
        return built.modularity(part.membership, weights=weights)

    def ours(seed: int) -> float:
        return leiden(graph, resolution=1.0, n_iterations=2, seeds=[seed])[1]

    def default(seed: int) -> float:
        tl.cluster(adata, rng=seed)
        return adata.uns["leiden"]["modularity"]

    def scanpys(seed: int) -> float:
        sc.tl.leiden(
            adata,
            flavor="igraph",
            n_iterations=2,
            directed=False,
            random_state=seed,
            key_added="sc",
        )
        return built.modularity(adata.obs["sc"].cat.codes.tolist(), weights=weights)

    runs = {
        "ours, one run": ours,
        "ours, default": default,
        "scanpy igraph": scanpys,
        "igraph bare": bare,
        "igraph converged": lambda seed: bare(seed, -1),
    }
    spent = alternate(runs)
    reached = {tool: [run(seed) for seed in range(SEEDS)] for tool, run in runs.items()}
    print(f"\n{name}: {adata.n_obs} cells, {upper.nnz} edges")
    for tool, (cpu, wall) in spent.items():
        quality = reached[tool]
        print(
            f"  {tool:17s} CPU {cpu:7.4f} s  wall {wall:7.4f} s  "
            f"modularity {np.mean(quality):.5f} (sd {np.std(quality):.5f}, least {min(quality):.5f})"
        )
    mean = {tool: float(np.mean(quality)) for tool, quality in reached.items()}
    print(
        f"  one run - scanpy {mean['ours, one run'] - mean['scanpy igraph']:+.5f}; default - converged "
        f"{mean['ours, default'] - mean['igraph converged']:+.5f}; scanpy's CPU / one run "
        f"{spent['scanpy igraph'][0] / spent['ours, one run'][0]:.1f}, / default "
        f"{spent['scanpy igraph'][0] / spent['ours, default'][0]:.1f}"
    )


def main(folder: str, cells: str = "20000") -> None:
    print(", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES))
    for name, file in REAL.items():
        compare(name, with_graph(io.read(Path(folder) / file)))
    n = int(cells)
    pbmc3k = io.read(Path(folder) / REAL["pbmc3k"])
    compare(f"pbmc3k resampled to {n:,}", with_graph(resampled(pbmc3k, n)))


if __name__ == "__main__":
    main(*sys.argv[1:])

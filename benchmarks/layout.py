"""UMAP's layout: ours against umap-learn's and CREST's, its quality on real data.

    python benchmarks/layout.py [DATA_FOLDER] [CELLS ...]

The layouts run on one graph with the epochs that all three would choose. Trustworthiness and the share of the
15 nearest neighbours in the components that are among the 15 nearest in the plane are means over up to 3,000 cells;
on real data also over ten seeds, as one seed's stray by as much as the bar allows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anndata as ad
import crest
import numpy as np
import scipy.sparse as sp
from _inputs import cases, only_graph, with_graph
from _measure import RESULTS, Tool, flops_limit, race

from cellsigil import io, pp, tl

NEAR, MOST = 15, 3000
SEEDS = 10
REAL = {
    "pbmc3k": "pbmc3k_raw.h5ad",
    "zheng": "zheng_sorted_scn300.h5ad",
    "cell lines": "mix_sc_celseq2_5cl.h5ad",
    "kang": "kang_muscat_example.h5ad",
    "newman": "sc_newman_reference.h5ad",
}


def quality(adata, plane: np.ndarray) -> dict[str, float]:
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import NearestNeighbors

    rows = np.random.default_rng(0).permutation(len(plane))[:MOST]
    points, plane = adata.obsm["X_pca"][rows], np.asarray(plane)[rows]
    near = [
        NearestNeighbors(n_neighbors=NEAR).fit(x).kneighbors(return_distance=False)
        for x in (points, plane)
    ]
    kept = np.mean([len(set(a) & set(b)) for a, b in zip(*near)]) / NEAR
    return {
        "trustworthiness": float(trustworthiness(points, plane, n_neighbors=NEAR)),
        "neighbours kept": float(kept),
    }


def epochs(adata) -> int:
    return 500 if adata.n_obs <= 10_000 else 200


def operations(adata) -> float:
    """Return how many the descent takes: an edge attracts in its weight's share of the epochs."""
    weights = adata.obsp["connectivities"].data
    return float(weights.sum() / weights.max()) * epochs(adata) * 6 * 16


def umap_learns(adata, seed: int = 0) -> np.ndarray:
    from umap.umap_ import find_ab_params, simplicial_set_embedding

    a, b = find_ab_params(1.0, 0.5)
    plane, _ = simplicial_set_embedding(
        adata.obsm["X_pca"], sp.coo_matrix(adata.obsp["connectivities"]), 2, 1.0, a, b, 1.0, 5, epochs(adata),
        "spectral", np.random.RandomState(seed), "euclidean", {}, False, {}, False,
    )  # fmt: skip
    return plane


def layout_alone(state) -> np.ndarray:
    """Run umap-learn's descent from our start, so that its spectral start is not counted."""
    from umap.umap_ import find_ab_params, simplicial_set_embedding

    adata, start = state
    a, b = find_ab_params(1.0, 0.5)
    plane, _ = simplicial_set_embedding(
        adata.obsm["X_pca"], sp.coo_matrix(adata.obsp["connectivities"]), 2, 1.0, a, b, 1.0, 5, epochs(adata),
        start, np.random.RandomState(0), "euclidean", {}, False, {}, False,
    )  # fmt: skip
    return plane


def frame_of(adata):
    frame = crest.BioFrame.from_anndata(
        ad.AnnData(sp.csr_matrix((adata.n_obs, 2), dtype=np.float32), obs=adata.obs[[]])
    )
    graph = sp.triu(adata.obsp["connectivities"], k=1).tocoo()
    frame.uns["neighbors"] = {
        "rows": graph.row.astype(np.uint32),
        "cols": graph.col.astype(np.uint32),
        "weights": graph.data.astype(np.float32),
    }
    return frame


def ours(adata, seed: int) -> np.ndarray:
    tl.umap(adata, rng=seed)
    return adata.obsm["X_umap"]


def crests(adata, seed: int) -> np.ndarray:
    return crest.tl.umap(frame_of(adata), random_state=seed).obsm["X_umap"]


def over_seeds(adata) -> dict[str, dict[str, list[float]]]:
    """Return each tool's qualities, of every seed."""
    tools = {"cellsigil": ours, "umap-learn": umap_learns, "crest": crests}
    found = {}
    for name, layout in tools.items():
        each = [quality(adata, layout(adata, seed)) for seed in range(SEEDS)]
        found[name] = {key: [one[key] for one in each] for key in each[0]}
    return found


def contest(name: str, adata, bars: dict[str, float]) -> None:
    start = adata.obsm["X_pca"][:, :2].astype(np.float32)
    race(
        "UMAP layout", adata,
        [
            Tool("cellsigil", lambda a: tl.umap(a), check=lambda a, _: quality(a, a.obsm["X_umap"])),
            Tool("umap-learn, layout alone", layout_alone, ready=lambda a: (a.copy(), start[: a.n_obs].copy())),
            Tool("umap-learn", umap_learns, check=lambda a, plane: quality(a, plane)),
            Tool("crest", crest.tl.umap, ready=frame_of,
                 check=lambda f, _: quality(adata, f.obsm["X_umap"])),
        ],
        data=name, bars=bars, warm=small_graph(adata),
        limit=flops_limit(operations(adata), "attractions and five repulsions each, 16 operations"),
    )  # fmt: skip


def small_graph(adata):
    small = ad.AnnData(obsm={"X_pca": adata.obsm["X_pca"][:200]})
    pp.neighbors(small)
    return small


def main(folder: str = "../shared/data", *sizes: str) -> None:
    found = {}
    for name, file in REAL.items():
        adata = io.read(Path(folder) / file)
        pp.filter_genes(adata, min_cells=3)
        pp.normalize(adata)
        pp.hvg(adata, n_top_genes=min(2000, adata.n_vars))
        pp.pca(adata)
        pp.neighbors(adata)
        adata = only_graph(adata)
        contest(name, adata, {})
        found[name] = {"cells": adata.n_obs, "tools": over_seeds(adata)}
    (RESULTS / "layouts.json").write_text(json.dumps(found, indent=1))
    for kind, n in cases(sizes):
        contest(kind, with_graph(kind, n, folder), {"umap-learn, layout alone": 4, "crest": 2})


if __name__ == "__main__":
    main(*sys.argv[1:])

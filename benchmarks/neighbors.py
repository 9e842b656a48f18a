"""The neighbour graph, k = 15: ours against pynndescent called directly, faiss and CREST.

    python benchmarks/neighbors.py [DATA_FOLDER] [CELLS ...]

Recall is measured on 2,000 cells against an exact search in float64. Ours and CREST's include the connectivities;
pynndescent and faiss search only. "Fresh process" times a process that only reads the points and searches them, our
kernels' cache filled; pynndescent keeps no cache. The first kernel that numba loads sets numba up (.2 CPU s): the
floor has one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import crest
import faiss
import numpy as np
from _inputs import cases, with_pca
from _measure import FLOOR, Race, Tool, flops_limit, fresh_environment, race, save, versions_of
from pynndescent import NNDescent

from cellsigil import pp

K, SAMPLE = 15, 2000


def exact(points: np.ndarray, rows: np.ndarray) -> list[set]:
    """Return the K - 1 nearest others of each of ``rows``."""
    points = points.astype(np.float64)
    norms = (points**2).sum(axis=1)
    out = []
    for i in rows:
        d = norms - 2 * points @ points[i]
        d[i] = np.inf
        out.append(set(np.argpartition(d, K - 1)[: K - 1].tolist()))
    return out


def flat(points: np.ndarray) -> np.ndarray:
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    return index.search(points, K)[1]


def inverted(points: np.ndarray) -> np.ndarray:
    """Search faiss' inverted lists: 4 sqrt(n) lists as its guidelines say, one in eight probed."""
    n_lists = int(4 * np.sqrt(len(points)))
    index = faiss.index_factory(points.shape[1], f"IVF{n_lists},Flat")
    index.train(points)
    index.add(points)
    index.nprobe = n_lists // 8
    return index.search(points, K)[1]


def frame_of(adata):
    counts = ad.AnnData(adata.layers["counts"][:, :10].tocsr(), obs=adata.obs[[]])
    frame = crest.BioFrame.from_anndata(counts)
    frame.obsm["X_pca"] = adata.obsm["X_pca"]
    return frame


FRESH = {
    "cellsigil": (
        "import sys, numpy as np, anndata as ad; from cellsigil import pp; points = np.load(sys.argv[1]); "
        "adata = ad.AnnData(obsm={'X_pca': points}); pp.neighbors(adata)"
    ),
    "pynndescent": (
        "import sys, numpy as np; from pynndescent import NNDescent; points = np.load(sys.argv[1]); "
        "NNDescent(points, n_neighbors=15, random_state=0).neighbor_graph"
    ),
    FLOOR: (
        "import pathlib, sys, numpy as np, anndata; sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent)); "
        "import one_kernel; np.load(sys.argv[1]); one_kernel.one(1.0)"
    ),
}
ONE_KERNEL = """import numba

@numba.njit(cache=True)
def one(x):
    return x
"""


def fresh(points: np.ndarray, data: str) -> None:
    """Race whole processes."""
    import resource

    result = Race(
        "neighbour graph, fresh process",
        data,
        len(points),
        {"pynndescent": 20},
        None,
        "",
        versions_of(["cellsigil", "pynndescent"]),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.npy"
        np.save(path, points)
        (Path(folder) / "one_kernel.py").write_text(ONE_KERNEL)
        for turn in range(4):  # the first fills the caches
            for tool, code in FRESH.items():
                if turn == 0 and tool == "pynndescent":
                    continue
                before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
                subprocess.run(command, env=fresh_environment(), check=True)
                after, wall = (
                    resource.getrusage(resource.RUSAGE_CHILDREN),
                    time.perf_counter() - wall,
                )
                cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                if turn:
                    result.spent.setdefault(tool, []).append(
                        {"cpu": cpu, "wall": wall, "peak": float("nan")}
                    )
    result.notes[FLOOR] = (
        "imports anndata and numba, reads the points, loads one kernel that does nothing"
    )
    save(result)


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        adata = with_pca(kind, n, folder)
        points = np.ascontiguousarray(adata.obsm["X_pca"], np.float32)
        # another seed than the search's own: of the cells that its lists were made from it finds .004 less
        rows = np.random.default_rng(7).choice(n, SAMPLE, replace=False)
        truth = exact(points, rows)

        def recall(ids: np.ndarray, rows=rows, truth=truth) -> dict[str, float]:
            hits = [len(near & set(ids[i].tolist())) for i, near in zip(rows, truth)]
            return {"recall": float(np.mean(hits)) / (K - 1)}

        def of_graph(state, _, recall=recall, n=n):
            return recall(state.obsp["distances"].indices.reshape(n, K - 1))

        race(
            "neighbour graph", adata,
            [
                Tool("cellsigil", pp.neighbors, check=of_graph,
                     ready=lambda a: ad.AnnData(obsm={"X_pca": a.obsm["X_pca"]})),
                Tool("pynndescent", lambda p: NNDescent(p, n_neighbors=K, random_state=0).neighbor_graph[0],
                     ready=lambda a: np.ascontiguousarray(a.obsm["X_pca"], np.float32),
                     check=lambda _, ids, recall=recall: recall(ids), note="search only"),
                Tool("faiss flat", flat, ready=lambda a: np.ascontiguousarray(a.obsm["X_pca"], np.float32),
                     check=lambda _, ids, recall=recall: recall(ids), note="search only"),
                Tool("faiss ivf", inverted, ready=lambda a: np.ascontiguousarray(a.obsm["X_pca"], np.float32),
                     check=lambda _, ids, recall=recall: recall(ids), note="search only"),
                Tool("crest", crest.pp.neighbors, ready=frame_of,
                     check=lambda f, _, recall=recall: recall(f.uns["neighbors"]["indices"])),
            ],
            data=kind, bars={"pynndescent": 1, "faiss flat": 1, "faiss ivf": 1, "crest": 1},
            limit=flops_limit(2.0 * points.shape[1] * n * n, "all products of pairs of cells, were it exact"),
        )  # fmt: skip
        fresh(points, kind)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The whole way from counts to markers and scores, warm: ours against scanpy and CREST, without file reading.

    python benchmarks/preset.py [DATA_FOLDER] [CELLS ...]

On pbmc3k as it is, 2,700 cells, and on what the other rows race on.
QC, filters, normalise, 2,000 variable genes, PCA, neighbours, Leiden, UMAP, Wilcoxon with ties on all genes, 20
signatures (score_genes' definition in all three). Every tool runs in a process of its own, after a run on 1,000 of the
cells; peak is the process's. scanpy's Wilcoxon runs on one gene in 30 above 5,000 cells, and is multiplied.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from _measure import PATIENCE, Race, bytes_limit, save, stored_bytes, touch_memory, versions_of

PART, PART_ABOVE = 30, 5000
PBMC3K = "2700"  # its own cells
Step = tuple[str, Callable[[], Any], float]


def signatures(names) -> dict[str, list[str]]:
    rng = np.random.default_rng(1)
    return {f"s{k}": rng.choice(names, 30, replace=False).tolist() for k in range(20)}


def cellsigil(path: str, cells: slice) -> Iterator[Step]:
    from cellsigil import io, pp, tl

    adata = io.read(path, x=False)
    if cells.stop:
        adata = adata[cells].copy()
    yield "qc", lambda: pp.qc(adata), 1
    yield (
        "filter",
        lambda: (pp.filter_cells(adata, min_genes=200), pp.filter_genes(adata, min_cells=3)),
        1,
    )
    yield "normalise", lambda: pp.normalize(adata), 1
    yield "variable genes", lambda: pp.hvg(adata, n_top_genes=2000), 1
    yield "pca", lambda: pp.pca(adata), 1
    yield "neighbours", lambda: pp.neighbors(adata), 1
    yield "leiden", lambda: tl.cluster(adata), 1
    yield "umap", lambda: tl.umap(adata), 1
    yield "markers", lambda: tl.markers(adata, "leiden"), 1
    yield "scores", lambda: tl.score_cells(adata, signatures(adata.var_names), method="scanpy"), 1


def as_matrix() -> type:
    """Return pynndescent's transformer as scanpy expects it: with scipy 1.18 its csr_array breaks scanpy 1.12.4."""
    import scipy.sparse as sp
    from pynndescent import PyNNDescentTransformer

    class AsMatrix(PyNNDescentTransformer):
        def fit_transform(self, X, y=None):
            return sp.csr_matrix(super().fit_transform(X, y))

    return AsMatrix


def scanpy(path: str, cells: slice) -> Iterator[Step]:
    import scanpy as sc

    whole = ad.read_h5ad(path)
    exact = whole.n_obs <= 4096  # scanpy's own limit; the warm-up on few cells goes the same way
    adata = whole[cells].copy()
    del whole

    def qc() -> None:
        adata.var["mt"] = adata.var_names.str.startswith("MT-")
        sc.pp.calculate_qc_metrics(
            adata, qc_vars=["mt"], percent_top=(50, 100, 200, 500), inplace=True
        )

    def normalise() -> None:
        adata.layers["counts"] = adata.X.copy()
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)

    def neighbours() -> None:
        if exact:
            sc.pp.neighbors(adata)
        else:
            sc.pp.neighbors(adata, transformer=as_matrix()(n_neighbors=15, random_state=0))

    def markers() -> None:
        part = adata if adata.n_obs <= PART_ABOVE else adata[:, ::PART].copy()
        sc.tl.rank_genes_groups(part, "leiden", method="wilcoxon", tie_correct=True, use_raw=False)

    def scores() -> None:
        for name, genes in signatures(adata.var_names).items():
            sc.tl.score_genes(adata, genes, score_name=name, use_raw=False)

    yield "qc", qc, 1
    yield (
        "filter",
        lambda: (sc.pp.filter_cells(adata, min_genes=200), sc.pp.filter_genes(adata, min_cells=3)),
        1,
    )
    yield "normalise", normalise, 1
    yield "variable genes", lambda: sc.pp.highly_variable_genes(adata, n_top_genes=2000), 1
    yield "pca", lambda: sc.pp.pca(adata, n_comps=50), 1
    yield "neighbours", neighbours, 1
    yield "leiden", lambda: sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False), 1
    yield "umap", lambda: sc.tl.umap(adata), 1
    yield "markers", markers, 1 if adata.n_obs <= PART_ABOVE else PART
    yield "scores", scores, 1


def crest(path: str, cells: slice) -> Iterator[Step]:
    import crest

    adata = ad.read_h5ad(path)[cells]
    frame = crest.BioFrame.from_anndata(ad.AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]]))
    del adata

    def filters() -> None:
        nonlocal frame
        frame = crest.pp.filter_genes(crest.pp.filter_cells(frame, min_genes=200), min_cells=3)

    def scores() -> None:
        for name, genes in signatures(frame.var_names).items():
            crest.tl.score_genes(frame, genes, score_name=name)

    yield "qc", lambda: crest.pp.calculate_qc_metrics(frame), 1
    yield "filter", filters, 1
    yield "normalise", lambda: crest.pp.log1p(crest.pp.normalize_total(frame, target_sum=1e4)), 1
    yield "variable genes", lambda: crest.pp.highly_variable_genes(frame, n_top_genes=2000), 1
    yield "pca", lambda: crest.tl.pca(frame, n_comps=50), 1
    yield "neighbours", lambda: crest.pp.neighbors(frame), 1
    yield "leiden", lambda: crest.tl.leiden(frame), 1
    yield "umap", lambda: crest.tl.umap(frame), 1
    yield (
        "markers",
        lambda: crest.tl.rank_genes_groups(
            frame, "leiden", method="wilcoxon", tie_correct=True, n_genes=None
        ),
        1,
    )
    yield "scores", scores, 1


TOOLS = {"cellsigil": cellsigil, "scanpy": scanpy, "crest": crest}


def run_here(tool: str, path: str) -> dict[str, Any]:
    """Run a tool's steps in this process, on few cells first, and return what each step took."""
    with warnings.catch_warnings(action="ignore"):
        for _, step, _ in TOOLS[tool](path, slice(0, 1000)):
            step()
        touch_memory(1)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        steps, cpu, wall = {}, 0.0, 0.0
        for name, step, times in TOOLS[tool](path, slice(None)):
            before = time.process_time(), time.perf_counter()
            step()
            took = (
                (time.process_time() - before[0]) * times,
                (time.perf_counter() - before[1]) * times,
            )
            steps[name], cpu, wall = took[0], cpu + took[0], wall + took[1]
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    return {"cpu": cpu, "wall": wall, "peak": peak, "steps": steps}


def run_apart(tool: str, path: Path, memory_gb: float = 21) -> dict[str, Any] | None:
    """Run a tool in a process of its own; None if it ran out of memory or was killed."""

    def within() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gb * 1e9),) * 2)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--one", tool, str(path)],
        stdout=subprocess.PIPE, preexec_fn=within, env={**os.environ, "LOGURU_LEVEL": "ERROR"}, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"  {tool} ended with {done.returncode}", flush=True)
        return None
    return json.loads(done.stdout.decode().splitlines()[-1])


def files(folder: str, sizes: tuple[str, ...]) -> Iterator[tuple[str, int, Path]]:
    """Yield what is raced on: kind, cells and path."""
    from _inputs import SOURCE, cases, path_of  # loads cellsigil: not for the rivals' processes

    others = [size for size in sizes if size != PBMC3K]
    if others != list(sizes) or not sizes:
        yield "pbmc3k", int(PBMC3K), Path(folder) / SOURCE
    if others or not sizes:
        yield from ((kind, n, path_of(kind, n, folder)) for kind, n in cases(others))


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n, path in files(folder, sizes):
        bars = {"scanpy": 10, "crest": 2}
        moved = bytes_limit(
            8 * stored_bytes(path),
            "values and indices eight times: QC, a filter (twice), X written, genes, PCA, markers, scores",
        )
        result = Race("whole preset", kind, n, bars, *moved, versions_of(list(TOOLS)))
        for _ in range(3):
            for tool in TOOLS:
                if sum(r["cpu"] for r in result.spent.get(tool, [])) > PATIENCE:
                    continue
                if (spent := run_apart(tool, path)) is not None:
                    steps = spent.pop("steps")
                    result.spent.setdefault(tool, []).append(spent)
                    result.quality[tool] = steps  # of the last round: the first may have compiled
        if n > PART_ABOVE:
            result.notes["scanpy"] = f"Wilcoxon on one gene in {PART}, multiplied"
        save(result)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run_here(*sys.argv[2:4])))
    else:
        main(*sys.argv[1:])

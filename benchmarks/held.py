"""What each step holds beside what it returns, as a share of the counts' bytes.

    python benchmarks/held.py [DATA_FOLDER] [CELLS ...]

Held is the rise of resident memory during the call, less what is left of it after. Each step first runs on a few
cells, so that loading a kernel is not counted, and then in a process of its own, forked, where no other step has left
memory that is free.
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

from _inputs import cases, labelled, normalised, read
from _measure import MB, RESULTS, WARM_CELLS, entry_bytes, measured, resident
from anndata import AnnData
from scores import signatures

from cellsigil import pp, tl

LEAST, MOST = 0.2, 0.8  # bars: of markers the second


def held(run: Callable[[AnnData], Any], adata: AnnData) -> tuple[float, float]:
    """Return how many MB the call holds beside what it leaves, and what it leaves."""
    forked = multiprocessing.get_context("fork")
    ours, its = forked.Pipe()
    child = forked.Process(target=lambda: its.send(held_here(run, adata)))
    child.start()
    its.close()
    found = ours.recv()
    child.join()
    return found


def held_here(run: Callable[[AnnData], Any], adata: AnnData) -> tuple[float, float]:
    """Return the same, measured in this process."""
    before = settled()
    replaced = adata.X  # by normalize: it is the caller's until it is gone
    with measured() as spent:
        answer = run(adata)
    left = (settled() - before) / MB
    del answer, replaced
    return spent["peak"] - left, left


def settled() -> float:
    """Return the resident memory once what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


def steps(kind: str, n: int, folder: str) -> list[dict[str, Any]]:
    """Measure all steps on one matrix."""
    rows: list[dict[str, Any]] = []
    raw = read(kind, n, folder)
    counts = entry_bytes(raw.X) / MB

    def measure(
        step: str, run: Callable[[AnnData], Any], adata: AnnData, bar: float = LEAST
    ) -> None:
        run(adata[: 3 * WARM_CELLS].copy())
        beside, left = held(run, adata)
        row = {"step": step, "counts": counts, "held": beside, "left": left, "bar": bar}
        rows.append({"data": kind, "cells": n, **row})

    pp.filter_genes(raw, min_cells=3)
    measure("pp.qc", pp.qc, raw)
    measure("pp.normalize_hvg", pp.normalize_hvg, raw.copy())
    measure("pp.normalize", pp.normalize, raw)
    del raw
    adata = normalised(kind, n, folder)
    for flavor in ("seurat", "cell_ranger", "seurat_v3"):
        measure(f"pp.hvg, {flavor}", lambda a, f=flavor: pp.hvg(a, flavor=f), adata)
    del adata
    adata = labelled(kind, n, folder)
    del adata.layers["counts"]
    sets = signatures(adata.var_names)
    for method in ("scanpy", "ans", "ucell", "aucell"):
        measure(
            f"tl.score_cells, {method}",
            lambda a, m=method: tl.score_cells(a, sets, method=m, key_added=m),
            adata,
        )
    budget = int(counts * MB / 10)
    measure("tl.markers", lambda a: tl.markers(a, "type"), adata, MOST)
    measure(
        "tl.markers, memory_budget a tenth",
        lambda a: tl.markers(a, "type", memory_budget=budget),
        adata,
        MOST,
    )
    measure(
        "tl.markers, four samples",
        lambda a: tl.markers(a, "type", sample_key="sample"),
        adata,
        MOST,
    )
    return rows


def main(folder: str = "../shared/data", *sizes: str) -> None:
    found = []
    for kind, n in cases(sizes):  # each in a fresh process, for the same reason
        command = [sys.executable, "-W", "ignore", __file__, "--child", kind, str(n), folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = json.loads(done.stdout.splitlines()[-1])
        for row in rows:
            share = row["held"] / row["counts"]
            print(
                f"{kind}, {n} cells, {row['step']}: {row['held']:.0f} MB, {share:.2f} of the counts",
                flush=True,
            )
        found += rows
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "held.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        with warnings.catch_warnings(action="ignore"):
            print(json.dumps(steps(sys.argv[2], int(sys.argv[3]), sys.argv[4])))
    else:
        main(*sys.argv[1:])

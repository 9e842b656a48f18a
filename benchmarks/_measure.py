"""Alternate tools on the same data in one process, and keep what each took.

CPU is the process's own, over all its threads; peak is the rise of resident memory above what was held when the
call began, sampled every 5 ms. Every tool first runs once on a small part of the data, so that all are warm.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from _data import CACHE

ROUNDS = 3
MOST_ROUNDS = 9  # where a round of all tools takes less than `QUICK`: on a shared machine one call in five strays
QUICK = 10.0  # CPU seconds
LARGE = 50_000  # cells from which memory takes longer to touch than the tools to run: no more than `ROUNDS`
FLOOR = "floor"  # the contender that does only what none can leave out
CONTRACT = "floor, our contract"  # and what DESIGN.md asks of every step besides
PATIENCE = 150.0  # CPU seconds: a rival that took more in all is not run another round
WARM_CELLS = 1000
RESULTS = CACHE / "results"
MB = 1e6


def fresh_environment(**more: str) -> dict[str, str]:
    """Return the environment of a fresh process, which keeps byte code as pip does of what it installs.

    Where PYTHONDONTWRITEBYTECODE is set, our sources, installed in place, would be compiled at every start (.26 s of
    imports), and a rival's would not.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | more


@dataclass
class Tool:
    """One contender: ``ready`` makes what ``run`` works on, untimed; ``check`` measures the answer's quality."""

    name: str
    run: Callable[[Any], Any]
    ready: Callable[[Any], Any] = lambda given: given.copy()
    check: Callable[[Any, Any], dict[str, float]] | None = (
        None  # (what was readied, what run returned)
    )
    times: float = (
        1.0  # the run does 1/times of the work (a part of the genes): its figures are multiplied
    )
    note: str = ""


@dataclass
class Race:
    """What one row of RESULTS.md is made of."""

    row: str
    data: str
    cells: int
    bars: dict[str, float]  # rival -> how many times less CPU we must need
    limit: float | None  # CPU seconds that the bytes or operations take at the least
    limit_says: str
    versions: dict[str, str]
    spent: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    memory_touched: bool = True  # before each call: see `touch_memory`


def resident() -> float:
    """Return the resident memory of this process, bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096.0


def touch_memory(gigabytes: float) -> None:
    """Use so much memory and give it back, so that the system has it at hand for whoever comes next.

    Of memory that a virtual machine's host has taken back, the first touch costs 2 CPU s a GB, twenty times a
    later one: it fell on whoever ran first. The host takes it again after seconds, so long runs still pay some.
    """
    np.empty(int(gigabytes * 1e9 / 8)).fill(0.0)


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Give CPU and wall seconds and the rise of memory (MB) of the ``with`` block."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    spent: dict[str, float] = {}
    before = highest = resident()
    stop = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not stop.wait(0.005):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    cpu, wall = time.process_time(), time.perf_counter()
    yield spent
    spent["cpu"], spent["wall"] = time.process_time() - cpu, time.perf_counter() - wall
    highest = max(highest, resident())
    stop.set()
    watcher.join()
    spent["peak"] = (highest - before) / MB


def race(
    row: str,
    given: Any,
    tools: list[Tool],
    *,
    data: str,
    bars: dict[str, float] | None = None,
    limit: tuple[float, str] | None = None,
    warm: Any = None,
    rounds: int = ROUNDS,
) -> Race:
    """Run the tools in turn and write ``RESULTS/<row>.<data>.json``; the first tool is ours.

    ``given`` goes through each tool's ``ready``; ``warm`` is a small one for the first, untimed call (the first
    cells of ``given`` if it is not told).
    """
    packages = ["cellsigil", *{tool.name.split()[0] for tool in tools} - {"cellsigil"}]
    result = Race(row, data, len(given), bars or {}, *(limit or (None, "")), versions_of(packages))
    small = given[:WARM_CELLS] if warm is None else warm
    small = small.copy() if getattr(small, "is_view", False) else small
    with warnings.catch_warnings(action="ignore"):
        for tool in tools:
            tool.run(tool.ready(small))
        for turn in range(MOST_ROUNDS if len(given) < LARGE else rounds):
            if turn >= rounds and spent_by_all(result) > turn * QUICK:
                break
            for tool in tools:
                if sum(r["cpu"] for r in result.spent.get(tool.name, [])) > PATIENCE:
                    continue
                state = tool.ready(given)
                touch_memory(1 if len(given) < LARGE else 4)
                with measured() as spent:
                    answer = tool.run(state)
                spent = {k: v * (1 if k == "peak" else tool.times) for k, v in spent.items()}
                result.spent.setdefault(tool.name, []).append(spent)
                if turn == 0 and tool.check:
                    result.quality[tool.name] = tool.check(state, answer)
                if tool.note:
                    result.notes[tool.name] = tool.note
                del state, answer
    save(result)
    return result


def spent_by_all(result: Race) -> float:
    """Return the CPU seconds of all tools and rounds."""
    return sum(spent["cpu"] for rounds in result.spent.values() for spent in rounds)


def save(result: Race) -> None:
    """Keep the race for RESULTS.md and print it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = f"{result.row}.{result.data}.{result.cells}".replace("/", "_").replace(" ", "_")
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(result), indent=1))
    print(f"\n{result.row}: {result.data}, {result.cells:,} cells", flush=True)
    ours = next(iter(result.spent))
    for tool, rounds in result.spent.items():
        cpu, wall, peak = (np.median([r[key] for r in rounds]) for key in ("cpu", "wall", "peak"))
        ratio = ratio_of(result, ours, tool, "cpu")
        bar = f" (bar {result.bars[tool]:g})" if tool in result.bars else ""
        quality = " ".join(f"{k} {v:.4f}" for k, v in result.quality.get(tool, {}).items())
        print(
            f"  {tool:28s} CPU {cpu:8.3f}  wall {wall:8.3f}  +{peak:6.0f} MB  x{ratio:6.2f}{bar} {quality}",
            flush=True,
        )
    if result.limit is not None:
        print(f"  limit {result.limit:.3f} CPU s: {result.limit_says}")


def ratio_of(result: Race, ours: str, tool: str, key: str) -> float:
    """Return the median over rounds of the tool's figure over ours."""
    pairs = zip(result.spent[tool], result.spent[ours])
    return float(np.median([b[key] / a[key] for b, a in pairs]))


def versions_of(packages: list[str]) -> dict[str, str]:
    """Return the versions of the packages, and of what they all stand on."""
    names = {"crest": "crest-sc", "faiss": "faiss-cpu", "umap": "umap-learn"}
    found = {}
    for package in [*packages, "numba", "numpy", "scipy", "anndata"]:
        try:
            found[package] = importlib.metadata.version(names.get(package, package))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def bandwidth() -> float:
    """Return the bytes that one core reads per second, from 400 MB."""
    x = np.ones(50_000_000)
    spent = []
    for _ in range(5):
        start = time.process_time()
        x.sum()
        spent.append(time.process_time() - start)
    return x.nbytes / min(spent)


def blas_rate(dtype: Any = np.float32) -> float:
    """Return the floating-point operations per CPU second of a matrix product."""
    from threadpoolctl import threadpool_limits

    x = np.ones((2000, 2000), dtype)
    spent = []
    with threadpool_limits(1):
        for _ in range(3):
            start = time.process_time()
            x @ x
            spent.append(time.process_time() - start)
    return 2 * 2000**3 / min(spent)


def bytes_limit(n_bytes: float, says: str) -> tuple[float, str]:
    """Return the CPU seconds that moving these bytes takes on this machine, and the sentence for the table."""
    rate = bandwidth()
    return n_bytes / rate, f"{says}: {n_bytes / 1e9:.2f} GB at {rate / 1e9:.1f} GB/s a core"


def flops_limit(n: float, says: str, dtype: Any = np.float32) -> tuple[float, str]:
    """Return the CPU seconds that these operations take at BLAS's rate, and the sentence for the table."""
    rate = blas_rate(dtype)
    return n / rate, f"{says}: {n / 1e9:.0f} Gflop at {rate / 1e9:.0f} Gflop/s a core"


def entry_bytes(matrix: Any) -> float:
    """Return the bytes of a sparse matrix's values and indices."""
    return float(matrix.data.nbytes + matrix.indices.nbytes)


def stored_bytes(path: Path) -> float:
    """Return the bytes of the values and indices of a sparse X in an .h5ad."""
    with h5py.File(path) as file:
        return float(
            sum(file["X"][key].size * file["X"][key].dtype.itemsize for key in ("data", "indices"))
        )


def data_folder(arguments: list[str]) -> Path:
    """Return the folder of real data that the command line names."""
    return Path(arguments[0]) if arguments else Path("../shared/data")

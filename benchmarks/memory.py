"""Peak memory of a whole run, step by step: `cellsigil run` with its report, in a fresh process.

    python benchmarks/memory.py [DATA_FOLDER] [CELLS ...]

The pbmc preset on our simulator's matrices, without the steps that need human gene names; signatures are built of the
clusters. Beside it the bytes of the counts: values and indices.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _data import simulated
from _measure import MB, RESULTS, stored_bytes

NEED_NAMES = ("tl.score_cells", "tl.score_clusters", "tl.annotate")


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / MB


def child(source: str) -> None:
    """Run the preset here; print the peak of each step, the process's own, and the CPU seconds, as JSON."""
    from cellsigil import presets
    from cellsigil.presets import Preset, Step

    steps = [step for step in presets.load("pbmc").steps if step.call not in NEED_NAMES]
    steps = [
        Step(s.call, {**s.arguments, "groupby": "leiden"}) if s.call == "sig.build" else s
        for s in steps
    ]
    step, peaks, over = "start", {}, threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peaks[step] = max(peaks.get(step, 0.0), resident())

    def tell(_: int, __: int, text: str) -> None:
        nonlocal step
        step = text.partition(" /")[0]

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            presets.run(source, folder, preset=Preset("simulated", "", tuple(steps)), progress=tell)
    finally:
        over.set()
        watcher.join()
    spent = {"cpu": time.process_time(), "wall": time.perf_counter() - started}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    print(json.dumps({**spent, "peak": peak, "steps": peaks}))


def main(folder: str = "../shared/data", *sizes: str) -> None:  # noqa: ARG001
    found = {}
    for n in sizes or ("20000", "100000"):
        path = simulated(int(n))
        counts = stored_bytes(path)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--child", str(path)],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        found[n] = {"counts": counts / MB, **json.loads(done.stdout.splitlines()[-1])}
        print(f"{n} cells, counts {counts / MB:.0f} MB: peak {found[n]['peak']:.0f} MB", flush=True)
        for step, peak in found[n]["steps"].items():
            print(f"  {step:24s} {peak:6.0f} MB", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main(*sys.argv[1:])

"""What a fresh process pays before it computes: CPU of imports and of loading kernels in ``cellsigil run``.

Run: ``python benchmarks/cold_start.py [DATA_FOLDER | input.h5ad]``. Every number is the median of three fresh
processes, with the cache of kernels filled and with an empty one. Nothing else should run beside it.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from _measure import RESULTS, fresh_environment

REPEATS = 3
ROWS = ("imports", "kernels", "rest", "total")


def timed(function: Callable, spent: dict[str, float], key: str) -> Callable:
    """Wrap ``function``: CPU of the calling thread in its outermost calls goes to ``spent[key]``."""
    inside = threading.local()

    def wrapper(*args, **kwargs):
        if getattr(inside, "on", False):
            return function(*args, **kwargs)
        inside.on, started = True, time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            inside.on = False
            spent[key] += time.thread_time() - started

    return wrapper


def child(source: str, out: str) -> None:
    """Run the command line with importlib and numba instrumented; print one line of JSON."""
    spent = {"imports": 0.0, "kernels": 0.0}
    started = time.process_time()  # of the interpreter itself
    machinery = sys.modules["_frozen_importlib"]
    machinery._find_and_load = timed(machinery._find_and_load, spent, "imports")
    from numba.core.dispatcher import Dispatcher

    # the first call with new types: reads the kernel from the cache, or compiles it
    Dispatcher._compile_for_args = timed(Dispatcher._compile_for_args, spent, "kernels")
    from cellsigil.cli import main

    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        code = main(["run", source, "--out", out])
    total = time.process_time()
    spent["imports"] += started
    answer = {**spent, "rest": total - sum(spent.values()), "total": total, "code": code}
    print(json.dumps(answer))


def measure(source: str, cache: str) -> dict:
    """Run one fresh process with the kernels in ``cache``."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--child", source, str(Path(folder) / "out")],
            env=fresh_environment(NUMBA_CACHE_DIR=cache), capture_output=True, text=True, check=True,
        )  # fmt: skip
    answer = json.loads(done.stdout)
    if answer["code"]:
        msg = f"cellsigil run ended with {answer['code']}."
        raise RuntimeError(msg)
    return answer


def main(source: str = "../shared/data") -> None:
    """Print a table, and keep it for RESULTS.md: CPU-seconds with an empty and with a filled cache."""
    path = Path(source) / "pbmc3k_raw.h5ad" if Path(source).is_dir() else Path(source)
    subprocess.run(
        [sys.executable, "-c", "import cellsigil.cli, cellsigil.presets"],
        env=fresh_environment(),
        check=True,
    )
    empty, filled = [], []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(measure(str(path), cache))
            filled.append(measure(str(path), cache))
    found = {
        row: [statistics.median(a[row] for a in answers) for answers in (empty, filled)]
        for row in ROWS
    }
    found["imports and kernels"] = [
        statistics.median(a["imports"] + a["kernels"] for a in answers)
        for answers in (empty, filled)
    ]
    print(f"cellsigil run {path.name}: CPU-s, median of {REPEATS} fresh processes")
    print(f"{'':22}{'empty cache':>14}{'filled':>10}")
    for row, (cold, warm) in found.items():
        print(f"{row:22}{cold:14.2f}{warm:10.2f}")
    print("bars: first run ever 40, imports and kernels with the cache filled 4.5")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "cold_start.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

"""What a fresh process pays before it computes: CPU of imports and of loading kernels in ``cellsigil run``.

Run: ``python benchmarks/cold_start.py [input.h5ad]``. Every number is the median of three fresh
processes, with the cache of kernels filled and with an empty one. Nothing else should run beside it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

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
            env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    answer = json.loads(done.stdout)
    if answer["code"]:
        msg = f"cellsigil run ended with {answer['code']}."
        raise RuntimeError(msg)
    return answer


def main(source: str) -> None:
    """Print a table: CPU-seconds with an empty and with a filled cache."""
    empty, filled = [], []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(measure(source, cache))
            filled.append(measure(source, cache))
    print(f"cellsigil run {Path(source).name}: CPU-s, median of {REPEATS} fresh processes")
    print(f"{'':10}{'empty cache':>14}{'filled':>10}")
    for row in ROWS:
        numbers = [statistics.median(a[row] for a in answers) for answers in (empty, filled)]
        print(f"{row:10}{numbers[0]:14.2f}{numbers[1]:10.2f}")
    both = statistics.median(a["imports"] + a["kernels"] for a in filled)
    print(f"imports and loading kernels together, cache filled: {both:.2f} (bar 4.5)")
    print(f"first run ever: {statistics.median(a['total'] for a in empty):.2f} (bar 40)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        here = Path(__file__).resolve().parents[2] / "shared" / "data" / "pbmc3k_raw.h5ad"
        main(sys.argv[1] if len(sys.argv) > 1 else str(here))

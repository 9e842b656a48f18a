"""The one place where numba is configured, and the helper that runs a kernel on every core."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numba

_threads: ContextVar[int] = ContextVar("cellsigil_threads", default=0)


def _cache_dir() -> str:
    """Folder of compiled kernels, named after a hash of ``_core``.

    numba looks at one source file per kernel, so an edit to a callee in another file would leave
    the caller stale; a new hash starts afresh instead.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    own = None if home.startswith("~") else Path(home) / "cellsigil"  # a user without a home
    for base in (os.environ.get("NUMBA_CACHE_DIR"), own, tempfile.gettempdir()):
        folder = Path(base or ".") / f"cellsigil-kernels-{digest.hexdigest()[:16]}"
        try:
            if base:
                folder.mkdir(parents=True, exist_ok=True)
                if os.access(folder, os.W_OK):
                    return str(folder)
        except OSError:
            continue
    return tempfile.mkdtemp(prefix="cellsigil-kernels-")


CACHE_DIR = _cache_dir()


def _compiled(function: Callable, **flags) -> Callable:
    """Jit ``function`` with our cache folder, and leave everybody else's setting as it was."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = CACHE_DIR
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", **flags)(function)
    finally:
        numba.config.CACHE_DIR = before


def kernel(function: Callable) -> Callable:
    """Compile a serial kernel over a range ``start, stop`` of rows or genes; it releases the GIL."""
    return _compiled(function)


def inner(function: Callable) -> Callable:
    """Compile a scalar helper that kernels call."""
    return _compiled(function, inline="never")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Run the kernels inside the ``with`` block on ``n`` threads."""
    token = _threads.set(n)
    try:
        yield
    finally:
        _threads.reset(token)


def n_threads() -> int:
    """Return how many threads kernels use: `threads`, else NUMBA_NUM_THREADS, else our cores."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _threads.get() or int(os.environ.get("NUMBA_NUM_THREADS") or 0) or allowed or 1


def over_range(kernel: Callable, n: int, *args, chunk: int = 0) -> None:
    """Call ``kernel(*args, start, stop)`` on contiguous pieces of ``range(n)``, on all threads.

    For kernels in which every output element has one owner in the range, so that the answer cannot
    depend on the number of pieces. ``chunk`` fixes the piece length; 0 makes four pieces a thread.
    """
    workers = n_threads()
    size = chunk or max(1, -(-n // (4 * workers)))
    starts = range(0, n, size)
    if workers == 1 or len(starts) <= 1:
        for start in starts:
            kernel(*args, start, min(start + size, n))
        return
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(kernel, *args, s, min(s + size, n)) for s in starts]:
            done.result()


def in_threads(function: Callable, items: Iterable) -> Iterator:
    """Yield ``function(item)`` in the order of ``items``, computed on all threads.

    At most two results a thread wait at any time, so large partial results do not pile up.
    """
    workers = n_threads()
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: list = []
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()

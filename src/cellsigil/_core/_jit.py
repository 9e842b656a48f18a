"""The one place where numba is configured, and the helper that runs a kernel on every core."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import numba

_threads: ContextVar[int] = ContextVar("cellsigil_threads", default=0)
_pools: dict[int, ThreadPoolExecutor] = {}  # by number of threads, shared by all calls
_here = threading.local()


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
    """Jit ``function`` with our cache folder, and leave everybody else's setting as it was.

    Nobody calls our kernels from C: a wrapper for that each would take a twentieth of all compilation.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = CACHE_DIR
    try:
        return numba.njit(
            nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True, **flags
        )(function)
    finally:
        numba.config.CACHE_DIR = before


def kernel(function: Callable) -> Callable:
    """Compile a serial kernel over a range ``start, stop`` of rows or genes; it releases the GIL.

    Inner loops index by unsigned numbers, ``x[np.uint32(indices[k])]``, ``range(np.uint64(first), ...)``: of signed
    ones numba asks each time whether they count from the end, a tenth to a fifth of what a scatter or a walk over
    a graph costs.
    """
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
    """Return how many threads kernels use: `threads`, else NUMBA_NUM_THREADS, else our cores.

    One inside a worker of ours: all cores are at work already, and a worker that waited for others
    of its own pool could wait forever.
    """
    if getattr(_here, "is_worker", False):
        return 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _threads.get() or int(os.environ.get("NUMBA_NUM_THREADS") or 0) or allowed or 1


def over_range(kernel: Callable, n: int, *args, chunk: int = 0) -> None:
    """Call ``kernel(*args, start, stop)`` on contiguous pieces of ``range(n)``, on all threads.

    For kernels in which every output element has one owner in the range, so that the answer cannot
    depend on the number of pieces. ``chunk`` fixes the piece length; 0 makes four pieces a
    thread, or one piece where there is one thread.
    """
    workers = n_threads()
    size = chunk or max(1, -(-n // (4 * workers)) if workers > 1 else n)
    all_in_threads(lambda start: kernel(*args, start, min(start + size, n)), range(0, n, size))


def all_in_threads(function: Callable, items: Sequence) -> list:
    """Return ``[function(item) for item in items]``, computed on all threads, this one among them.

    Who is free takes the next item: with a future for each, 150 items of a third of a millisecond cost two threads
    a tenth more. As to the function, all threads are workers in the caller's context (``np.errstate``).
    """
    workers = n_threads()
    results: list[Any] = [None] * len(items)
    places = iter(range(len(items)))  # shared

    def work() -> None:
        before = getattr(_here, "is_worker", False)
        _here.is_worker = before or workers > 1
        try:
            for place in places:
                results[place] = function(items[place])
        except BaseException:
            for _ in places:  # the others stop too
                pass
            raise
        finally:
            _here.is_worker = before

    helpers = min(workers, len(items)) - 1
    helping = [_pool(workers).submit(copy_context().run, work) for _ in range(helpers)]
    try:
        work()
    finally:
        _finish(helping)
    for done in helping:
        if not done.cancelled():
            done.result()
    return results


def in_threads(function: Callable, items: Iterable) -> Iterator:
    """Yield ``function(item)`` in the order of ``items``, computed on all threads but this one.

    For large results, of which at most two a thread wait at any time, and for items that are slow to come. The
    function sees the caller's context, as in `all_in_threads`.
    """
    workers = n_threads()
    if workers == 1:
        yield from map(function, items)
        return
    pool = _pool(workers)
    waiting: list[Future] = []
    try:
        for item in items:
            waiting.append(pool.submit(copy_context().run, function, item))
            if len(waiting) >= 2 * workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        _finish(waiting)


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the pool of so many threads; making one a call cost 1.4 ms of CPU, sharing it 0.1."""
    pool = _pools.get(workers)
    if (
        pool is None
    ):  # no thread starts before there is work, so a second one made at once is harmless
        fresh = ThreadPoolExecutor(workers, "cellsigil", initializer=_mark_worker)
        pool = _pools.setdefault(workers, fresh)
    return pool


def _mark_worker() -> None:
    _here.is_worker = True


def _finish(futures: list[Future]) -> None:
    """Drop what has not begun and wait for the rest: nothing writes to arrays after a call is over."""
    wait([future for future in futures if not future.cancel()])


def _after_fork() -> None:
    """Begin anew in a forked child: the parent's threads are not there."""
    _pools.clear()
    _here.is_worker = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

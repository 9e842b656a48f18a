"""Large arrays that several threads are going to fill, and many that are filled together."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

HUGE_PAGE = 1 << 21
LINE = 64  # bytes of a cache line, on which each of several arrays begins


def empty(n: int, dtype: object) -> np.ndarray:
    """Return n values, of which this thread has touched every huge page.

    Threads that touch fresh memory at once wait for each other in the kernel: two that write 157 MB took 0.12 to
    0.33 CPU s, after a touch 0.10 to 0.12. The last huge page is a whole one: its part would come in 4 kB, up to
    500 times 4 us.
    """
    size = np.dtype(dtype).itemsize
    whole = -(-n * size // HUGE_PAGE) * HUGE_PAGE // size if n * size > HUGE_PAGE else n
    out = np.empty(whole, dtype)
    out.view(np.uint8)[::HUGE_PAGE] = 0
    return out[:n]


def together(kinds: Iterable[tuple[tuple[int, ...], object]]) -> list[np.ndarray]:
    """Return an array for each shape and dtype, all in one piece of memory, which lasts as long as any of them.

    Each on its own begins and ends within a huge page, and comes in 4 kB there: first touches of 15 columns of 12 MB
    took .06 CPU s.
    """
    forms = [(shape, np.dtype(dtype)) for shape, dtype in kinds]
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in forms]
    ends = np.cumsum([0] + [-(-size // LINE) * LINE for size in sizes])
    pieces = np.split(np.empty(ends[-1], np.uint8), ends[1:-1])
    return [
        piece[:size].view(dtype).reshape(shape)
        for piece, size, (shape, dtype) in zip(pieces, sizes, forms)
    ]

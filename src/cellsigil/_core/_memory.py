"""Large arrays that several threads are going to fill."""

from __future__ import annotations

import numpy as np

HUGE_PAGE = 1 << 21


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

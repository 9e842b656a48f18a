"""Large arrays that several threads are going to fill."""

from __future__ import annotations

import numpy as np

HUGE_PAGE = 1 << 21


def empty(n: int, dtype: object) -> np.ndarray:
    """Return ``np.empty(n, dtype)`` of which this thread has touched every huge page.

    Threads that touch fresh memory at once wait for each other in the kernel: two that write 157 MB took 0.12 to
    0.33 CPU s, after a touch 0.10 to 0.12.
    """
    out = np.empty(n, dtype)
    out.view(np.uint8)[::HUGE_PAGE] = 0
    return out

"""From what a user passes as ``rng`` to an integer that can be stored and used again."""

from __future__ import annotations

import numbers

import numpy as np


def seed_of(rng: int | np.random.Generator) -> int:
    """Return ``rng`` itself if it is an integer from 0 up, else one drawn from the generator."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31 - 1))
    if isinstance(rng, numbers.Integral) and not isinstance(rng, bool) and 0 <= rng < 2**32:
        return int(rng)
    msg = f"rng={rng!r}: pass a whole number from 0 to 2**32 - 1, or a numpy.random.Generator."
    raise ValueError(msg)

"""Copies within kernels."""

from __future__ import annotations

from cellsigil._core._jit import inner


@inner
def copy_values(values, out):
    """Do as ``out[:] = values``, of one length.

    For that slice numba compiles the sentence of its shape error too, numbers as text and all: 3 CPU-s in
    the first kernel that has one.
    """
    for k in range(out.size):
        out[k] = values[k]

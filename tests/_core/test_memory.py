"""Arrays that lie in one piece of memory."""

from __future__ import annotations

import numpy as np

from cellsigil._core._memory import together


def test_arrays_in_one_piece_do_not_overlap():
    kinds = [((3, 5), np.float64), ((7,), np.int8), ((2, 0, 4), np.float32), ((1, 3), np.int64)]
    arrays = together(kinds)
    for number, array in enumerate(arrays):
        array[...] = number + 1
    assert [(a.shape, a.dtype) for a in arrays] == [(shape, np.dtype(d)) for shape, d in kinds]
    assert all((a == number + 1).all() for number, a in enumerate(arrays))
    assert all(a.flags.c_contiguous and a.flags.aligned for a in arrays)
    first = arrays[0].ctypes.data
    assert [a.ctypes.data - first for a in arrays if a.size] == [0, 128, 192]  # each on a new line


def test_nothing_asked_is_nothing():
    assert together([]) == []

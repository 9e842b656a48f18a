"""Logarithms of our own, and writes past the caches."""

from __future__ import annotations

import numpy as np
import pytest

from cellsigil._core._jit import kernel
from cellsigil._core._log1p import log1p_into
from cellsigil._core._stream import copy_past_caches


@kernel
def log1p(x, out, start, stop):
    log1p_into(x[start:stop], out[start:stop])


def logarithms(x: np.ndarray) -> np.ndarray:
    out = np.empty(x.size)
    log1p(x, out, 0, x.size)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log1p_is_right_to_a_unit_in_the_last_place(dtype):
    x = np.concatenate([
        np.logspace(-38, 38, 100_000), np.linspace(0.3, 0.6, 100_000), np.linspace(1.7, 2.1, 20_000),
        np.arange(1, 1000) / 7, 2.0 ** np.arange(-60, 60),
    ]).astype(dtype)  # fmt: skip
    expected = np.log1p(x.astype(np.longdouble))
    error = np.abs(logarithms(x) - expected) / np.spacing(expected.astype(np.float64))
    assert error.max() < 1
    assert (logarithms(np.zeros(3, dtype)) == 0).all()


def test_log1p_of_a_value_does_not_depend_on_its_place():
    """What is left beside full SIMD lanes takes the same operations."""
    x = np.random.default_rng(0).gamma(0.5, 30.0, 1003)
    whole = logarithms(x)
    for length in (1, 3, 7, 8, 33):
        pieces = [logarithms(x[k : k + length]) for k in range(0, x.size, length)]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_what_goes_past_the_caches_is_what_was_given_and_nothing_beside_it(dtype):
    rng = np.random.default_rng(0)
    source = rng.integers(1, 1000, 400).astype(dtype)
    for start in (0, 1, 5, 15, 16, 17):
        for n in (0, 1, 15, 16, 17, 31, 33, 64, 200):
            dest = np.zeros(400, dtype)
            copy_past_caches(source, dest, start, start + n)
            expected = np.zeros(400, dtype)
            expected[start : start + n] = source[start : start + n]
            np.testing.assert_array_equal(dest, expected)

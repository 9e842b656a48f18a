"""Additions and products in lanes, and sums of rows in integers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil._core import _vector as vector
from cellsigil._core._jit import kernel
from cellsigil._core._memory import HUGE_PAGE, empty
from cellsigil._core._vector import (
    EIGHT,
    WIDTH,
    add_four,
    add_rows,
    add_split,
    in_lanes,
    write_products,
)  # fmt: skip
from cellsigil._matrix import as_rows
from cellsigil.pp._normalize import Totals


@kernel
def scatter(sums, words, where, start, stop):
    for k in range(start, stop):
        add_four(sums[where[k]], words[k])


@pytest.mark.parametrize("offset", [0, 1, 3])  # of 8 bytes: no alignment is needed
def test_four_additions_are_those_of_numpy(offset):
    rng = np.random.default_rng(0)
    words, where = rng.normal(size=(200, 4)), rng.integers(0, 10, 200)
    sums = np.zeros(40 + offset)[offset:].reshape(10, 4)
    scatter(sums, words, where, 0, 200)
    expected = np.zeros((10, 4))
    np.add.at(expected, where, words)
    np.testing.assert_array_equal(sums, expected)


@kernel
def scatter_split(sums, values, where, coarse, coarse_square, start, stop):
    for k in range(start, stop):
        add_split(sums[where[k]], values[k], coarse, coarse_square)


def test_a_value_and_its_square_are_split_as_in_python():
    rng = np.random.default_rng(0)
    values, where = rng.gamma(0.3, 100.0, 200), rng.integers(0, 10, 200)
    coarse, coarse_square = 1.5 * 2.0**40, 1.5 * 2.0**50
    sums, expected = np.zeros((10, 4)), np.zeros((10, 4))
    scatter_split(sums, values, where, coarse, coarse_square, 0, 200)
    for k in range(200):
        vector.add_split(expected[where[k]], values[k], coarse, coarse_square)
    np.testing.assert_array_equal(sums, expected)
    total = np.zeros(10)
    np.add.at(total, where, values)
    np.testing.assert_allclose(sums[:, 0] + sums[:, 1], total, rtol=1e-14)
    assert (sums[:, 0] % 2.0**-12 == 0).all()  # 2**40 + 2**39 leave no finer unit


@kernel
def add_each(sums, rows, where, values, start, stop):
    for k in range(start, stop):
        j, v = where[k], values[k]
        places = np.uint32(j[0]), np.uint32(j[1]), np.uint32(j[2]), np.uint32(j[3])
        add_rows(sums[k], rows, places, (v[0], v[1], v[2], v[3]))


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_four_rows_are_added_each_times_its_value(offset):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=20 * WIDTH + offset)[offset:].reshape(20, WIDTH)
    where, values = rng.integers(0, 20, (30, 4)), rng.normal(size=(30, 4))
    sums = rng.normal(size=30 * WIDTH + offset)[offset:].reshape(30, WIDTH)
    expected = sums + np.einsum("kt,ktc->kc", values, rows[where])
    add_each(sums, rows, where, values, 0, 30)
    np.testing.assert_allclose(sums, expected, rtol=1e-13, atol=1e-13)


@kernel
def multiply_eights(out, rows, wide, start, stop):
    for i in range(start, stop, EIGHT):
        write_products(out, rows, wide, i)


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_eight_rows_are_multiplied_and_no_others_are_written(offset):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=24 * 5 + offset)[offset:].reshape(24, 5)
    wide = rng.normal(size=5 * WIDTH + offset)[offset:].reshape(5, WIDTH)
    out = np.full(24 * WIDTH + offset, 7.0)[offset:].reshape(24, WIDTH)
    multiply_eights(out, rows, wide, 8, 16)
    np.testing.assert_allclose(out[8:16], rows[8:16] @ wide, rtol=1e-13, atol=1e-13)
    assert (np.delete(out, np.s_[8:16], axis=0) == 7).all()


@pytest.mark.parametrize("n", [1, 16, 37])
def test_vectors_stand_side_by_side_in_lanes(n):
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    found = np.full((n, 3), np.nan)
    for some, wide in in_lanes(vectors):
        assert wide.shape == (3, WIDTH)
        found[some] = wide.T[: some.stop - some.start]
        assert not wide[:, some.stop - some.start :].any()
    np.testing.assert_array_equal(found, vectors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("largest", [1, 2**24, 2**24 + 2, 2**31, 2**40])
def test_totals_of_rows_are_exact_and_know_what_they_span(dtype, largest):
    rng = np.random.default_rng(1)
    dense = (rng.poisson(0.5, (30, 50)) * rng.integers(1, 300, (30, 50))).astype(dtype)
    dense[3, 4], dense[5] = largest, 0
    totals = Totals.of(as_rows(sp.csr_matrix(dense), expects="counts"))
    np.testing.assert_array_equal(totals.total, dense.astype(np.float64).sum(axis=1))
    stored = np.where(dense > 0, dense, np.inf)
    np.testing.assert_array_equal(totals.least, stored.min(axis=1))
    np.testing.assert_array_equal(totals.most, dense.max(axis=1))
    assert (totals.least[5], totals.most[5]) == (np.inf, 0)


@pytest.mark.parametrize("n", [0, 1, HUGE_PAGE, HUGE_PAGE + 1])
def test_memory_touched_once_is_of_the_size_asked_for(n):
    made = empty(n, np.float32)
    assert (made.size, made.dtype, made.flags.writeable) == (n, np.float32, True)

"""Rows out of order, repeated or zero entries, and dense arrays against scipy's own way."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil import _block
from cellsigil._core._jit import threads
from cellsigil._core._sort import FEW
from cellsigil._core._to_csr import stored, tidy


def rows_out_of_order(dtype, n_cols, seed=0):
    """Return rows of 0 to 3 * FEW entries in any order, some repeated, some zero, some that add up to zero."""
    rng = np.random.default_rng(seed)
    length = rng.integers(0, 3 * FEW, 30)
    length[:3] = 0, 1, FEW + 1
    indptr = np.concatenate([[0], np.cumsum(length)])
    indices = rng.integers(0, n_cols, indptr[-1]).astype(np.int32)
    data = rng.integers(-2, 3, indptr[-1]).astype(dtype)
    return data, indices, indptr


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_cols", [3, 50, 5000])
def test_rows_become_canonical_as_scipys(dtype, n_cols):
    given = rows_out_of_order(dtype, n_cols)
    kept = [array.copy() for array in given]
    want = sp.csr_matrix(given, shape=(30, n_cols), copy=True)
    want.sum_duplicates()
    want.eliminate_zeros()
    for n in (1, 2):
        with threads(n):
            got = tidy(*given)
        for mine, theirs in zip(got, (want.data, want.indices, want.indptr)):
            np.testing.assert_array_equal(mine, theirs)
        assert got[0].dtype == dtype
        assert got[1].dtype == np.int32
    for array, before in zip(given, kept):
        np.testing.assert_array_equal(array, before)


def test_repeated_entries_are_added_in_the_order_in_which_they_are_stored():
    n = 2 * FEW
    values = np.random.default_rng(0).normal(size=n).astype(np.float32)
    columns = np.arange(n, dtype=np.int32)[::-1] % 2
    data, indices, _ = tidy(values, columns, np.array([0, n]))
    np.testing.assert_array_equal(indices, [0, 1])
    for column in (0, 1):
        total = np.float32(0)
        for value in values[columns == column]:
            total += value
        assert data[column] == total


def test_rows_that_only_want_order_keep_their_places():
    indptr = np.array([0, 2, 3])
    data, indices, ends = tidy(np.array([1.0, 2.0, 3.0]), np.array([4, 0, 1], np.int32), indptr)
    np.testing.assert_array_equal(data, [2, 1, 3])
    np.testing.assert_array_equal(indices, [0, 4, 1])
    np.testing.assert_array_equal(ends, indptr)


@pytest.mark.parametrize("dtype", [*_block.KINDS, "uint8"])
@pytest.mark.parametrize(
    "kind", ["rows", "columns", "every other", "read-only", "no rows", "empty"]
)
def test_dense_values_that_are_not_zero_are_taken(monkeypatch, dtype, kind):
    monkeypatch.setattr(_block, "LARGE", 0)
    rng = np.random.default_rng(1)
    dense = (rng.poisson(0.3, (40, 23)) * rng.integers(1, 9, (40, 23))).astype(dtype)
    if dtype.startswith("float"):
        dense[3, 4], dense[5, 6], dense[7, 8] = np.nan, -0.0, np.inf
    if kind == "columns":
        dense = np.asfortranarray(dense)
    elif kind == "every other":
        dense = np.repeat(dense, 2, axis=1)[:, ::2]
    elif kind == "read-only":
        dense.flags.writeable = False
    elif kind == "no rows":
        dense = dense[:0]
    elif kind == "empty":
        dense = np.zeros_like(dense)
    want = sp.csr_matrix(dense)
    for n in (1, 2):
        with threads(n):
            got = _block.to_block(dense, "X")
        np.testing.assert_array_equal(got.data, want.data)
        np.testing.assert_array_equal(got.indices, want.indices)
        np.testing.assert_array_equal(got.indptr, want.indptr)
        assert got.data.dtype == (np.float64 if dtype == "float64" else np.float32)


def test_a_full_row_is_taken_whole():
    dense = np.arange(1.0, 13.0).reshape(3, 4)
    data, indices, indptr = stored(dense)
    np.testing.assert_array_equal(data, dense.ravel())
    np.testing.assert_array_equal(indices, np.tile(np.arange(4), 3))
    np.testing.assert_array_equal(indptr, [0, 4, 8, 12])

"""Products of a few vectors with every row of a matrix, sixteen by eight."""

from __future__ import annotations

import numpy as np
import pytest

from cellsigil._core import _dots
from cellsigil._core._dots import dots
from cellsigil._core._jit import threads


@pytest.mark.parametrize(
    ("n_left", "n_right", "n"), [(16, 40, 9), (5, 11, 33), (40, 8, 1), (9, 9, 0), (5, 7, 3)]
)
def test_every_product_is_there_where_lanes_and_eights_are_not_filled(n_left, n_right, n):
    rng = np.random.default_rng(n)
    left, right = (rng.integers(-9, 10, (m, n)).astype(float) for m in (n_left, n_right))
    assert (dots(left, right) == left @ right.T).all()  # whole numbers: exact in any order


@pytest.mark.parametrize("n_left", [1, 3])
def test_fewer_than_four_go_to_blas(n_left):
    left, right = np.arange(n_left * 5.0).reshape(n_left, 5), np.arange(30.0).reshape(6, 5)
    assert (dots(left, right) == left @ right.T).all()
    assert (dots(right, left) == right @ left.T).all()


def test_columns_of_another_array_are_copied_first():
    rng = np.random.default_rng(0)
    left, right = (
        rng.integers(-9, 10, (30, 8)).astype(float).T,
        rng.integers(-9, 10, (30, 12)).T * 1.0,
    )
    assert (dots(left, right) == left @ right.T).all()


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(_dots, "SMALL", 1)
    rng = np.random.default_rng(1)
    left, right = rng.standard_normal((18, 50)), rng.standard_normal((83, 50))
    found = []
    for n in (1, 2, 3, 7):
        with threads(n):
            found.append(dots(left, right))
    assert np.abs(found[0] - left @ right.T).max() < 1e-13
    assert all((other == found[0]).all() for other in found)

"""The order of values, places of ties, adjusted p-values and the merging of all other groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellsigil._core import _order, _others


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def order_of(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    order = np.empty(values.shape, np.int64)
    _order.order_values(values, first, order, 0, len(values))
    return order


ROWS = {
    "auc": lambda rng, n: np.round(rng.normal(0.5, 0.02, n), 3),
    "narrow": lambda rng, n: 1 + rng.integers(0, 4, n) * 2.0**-52,
    "any sign": lambda rng, n: rng.normal(size=n) ** 9,
    "one outlier": lambda rng, n: np.where(np.arange(n) == 3, 1e300, rng.random(n)),
    "zeros of both signs": lambda rng, n: rng.choice([0.0, -0.0, 1e-310, -1e-310], n),
    "infinite": lambda rng, n: rng.choice([np.inf, -np.inf, 1.0], n),
    "missing": lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.random(n)),
    "none": lambda rng, n: np.full(n, np.nan),
    "below zero": lambda rng, n: -rng.random(n) * 300,
}


@pytest.mark.parametrize("n", [1, 2, 100, 500])
@pytest.mark.parametrize("kind", ROWS)
def test_order_is_numpys_stable_one(rng, kind, n):
    values = np.array([ROWS[kind](rng, n) for _ in range(3)])
    first = rng.permutation(n)
    want = [first[np.argsort(row[first], kind="stable")] for row in values]
    np.testing.assert_array_equal(order_of(values, first), want)


@pytest.mark.parametrize("kind", ROWS)
def test_mean_places_are_those_of_pandas(rng, kind):
    values = np.array([ROWS[kind](rng, 90) for _ in range(3)])
    places = np.empty_like(values)
    _order.mean_places(values, order_of(values, np.arange(90)), places, 0, 3)
    np.testing.assert_array_equal(places, pd.DataFrame(values.T).rank().to_numpy().T)


def squares_of(x: np.ndarray) -> np.ndarray:
    return ((x - x.mean(axis=0)) ** 2).sum(axis=0) if len(x) else np.zeros(x.shape[1])


def mean_of(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=0) if len(x) else np.zeros(x.shape[1])


@pytest.mark.parametrize("sizes", [(4, 0, 7, 1), (0, 3, 0), (5, 2), (0, 0), (3,)])
def test_others_are_all_cells_of_the_other_groups(rng, sizes):
    cells = [rng.random((n, 5)) + 1e6 for n in sizes]
    mean, squares = (np.array([f(x) for x in cells]) for f in (mean_of, squares_of))
    n = np.array(sizes)
    got, got_squares = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    for start, stop in ((0, 2), (2, 5)):
        _others.merge_others(n, mean, squares, got, got_squares, start, stop)
    for g in range(n.size):
        rest = np.concatenate([*cells[:g], *cells[g + 1 :], np.empty((0, 5))])
        np.testing.assert_allclose(got[g], mean_of(rest), rtol=1e-14)
        np.testing.assert_allclose(got_squares[g], squares_of(rest), rtol=1e-6, atol=1e-9)
    alone, nothing = np.empty_like(mean), np.empty((n.size, 0))
    _others.merge_others(n, mean, nothing, alone, nothing.copy(), 0, 5)
    np.testing.assert_array_equal(alone, got)

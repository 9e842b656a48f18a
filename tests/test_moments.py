"""Moments of genes: exact sums, whatever the order of the cells and however far the values reach."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellsigil import _moments
from cellsigil._core._expm1 import linear_of
from cellsigil._core._jit import threads
from cellsigil._matrix import as_rows
from cellsigil._moments import count_sums, gene_moments, moments_of_sums, squares_below


def naive(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance (ddof 1) of each column, computed in fractions."""
    means, variances = [], []
    for column in x.T.tolist():
        values = [Fraction(v) for v in column]
        mean = sum(values) / len(values)
        means.append(float(mean))
        variances.append(float(sum((v - mean) ** 2 for v in values) / (len(values) - 1)))
    return np.array(means), np.array(variances)


def expression(n=300, n_genes=40, seed=0, *, odd=True) -> np.ndarray:
    """Return log-normalised expression; if ``odd``, of an empty, a constant and a next to constant gene too."""
    rng = np.random.default_rng(seed)
    x = np.log1p(
        rng.poisson(rng.gamma(0.3, 3.0, n_genes), (n, n_genes)) / rng.uniform(0.2, 2, (n, 1))
    )
    if odd:
        x[:, 0] = 0
        x[:, 1] = 1.7
        x[:, 2] = 4 + 1e-4 * rng.integers(0, 2, n)
    return x.astype(np.float32)


@given(
    arrays(np.float32, (7, 3), elements=st.floats(0, 40, width=32)),
    st.lists(st.sampled_from([-1, 0, 1]), min_size=7, max_size=7),
)
@settings(deadline=None)
def test_means_what_numpy_says_in_each_batch(x, label):
    label = np.array([0, 0, 1, 1, *label[4:]])
    moments = gene_moments(as_rows(sp.csr_matrix(x)), label, 2)
    for b in (0, 1):
        of_batch = x[label == b].astype(np.float64)
        np.testing.assert_allclose(moments.mean[b], of_batch.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            moments.var[b], of_batch.var(axis=0, ddof=1), rtol=1e-9, atol=1e-12
        )


def test_every_digit_is_that_of_exact_arithmetic():
    x = expression()
    moments = gene_moments(as_rows(sp.csr_matrix(x)))
    mean, var = naive(x)
    np.testing.assert_allclose(moments.mean[0], mean, rtol=3e-16)
    np.testing.assert_allclose(moments.var[0], var, rtol=1e-13)
    assert moments.var[0, 0] == 0
    assert moments.var[0, 1] == 0  # a constant gene has no variance, not one of rounding


def made(x: np.ndarray, base: float | None) -> np.ndarray:
    """Return the values of which the moments are, as our kernel makes them."""
    return (
        x.astype(np.float64)
        if base is None
        else linear_of(x.ravel(), np.log(base)).reshape(x.shape)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1.0, np.log(2), np.log(10)])
def test_expm1_is_right_to_two_units_in_the_last_place(dtype, factor):
    x = np.concatenate([[0.0], np.logspace(-30, np.log10(600 / factor), 100_000)]).astype(dtype)
    x = np.concatenate([x, -x[x < 40]])
    out = linear_of(x, factor)
    # rounding of x * factor itself moves the result by up to as many units as x * factor is
    expected = np.expm1((x.astype(np.float64) * factor).astype(np.longdouble))
    assert out[0] == 0
    error = np.abs(out - expected) / np.spacing(np.abs(expected).astype(np.float64))
    assert error.max() < 2
    assert (np.diff(out[1 : 1 + 100_000]) >= 0).all()


@pytest.mark.parametrize("base", [None, np.e, 2.0])
def test_most_data_need_one_pass_that_rounds_nothing_but_squares(base, monkeypatch):
    x = expression(odd=False)
    monkeypatch.setattr(_moments, "split_sums", None)
    moments = gene_moments(as_rows(sp.csr_matrix(x)), log_base=base)
    mean, var = naive(made(x, base))
    np.testing.assert_allclose(moments.mean[0], mean, rtol=3e-16)
    np.testing.assert_allclose(moments.var[0], var, rtol=1e-14)


@pytest.mark.parametrize(
    "spoilt", [1e-9, 3e15, -1.0], ids=["spans too much", "far above the rest", "negative"]
)
def test_values_that_one_pass_cannot_add_exactly_get_two(spoilt, monkeypatch):
    x = expression(odd=False).astype(np.float64)
    x[7, 3] = spoilt
    moments = gene_moments(as_rows(x))
    mean, var = naive(x)
    np.testing.assert_allclose(moments.mean[0], mean, rtol=1e-15)
    np.testing.assert_allclose(moments.var[0], var, rtol=1e-13)
    monkeypatch.setattr(_moments, "split_sums", None)
    with pytest.raises(TypeError):
        gene_moments(as_rows(x))


@pytest.mark.parametrize("base", [np.e, 10.0])
def test_of_linear_values(base):
    x = expression()
    moments = gene_moments(as_rows(sp.csr_matrix(x)), log_base=base)
    mean, var = naive(made(x, base))
    np.testing.assert_allclose(moments.mean[0], mean, rtol=3e-16)
    np.testing.assert_allclose(moments.var[0], var, rtol=1e-13)


def test_genes_of_very_different_size_each_keep_their_digits():
    x = expression().astype(np.float64)
    x[:, 5] = x[:, 4] * 1e-30
    x[:, 7] = x[:, 6] * 1e30
    x[:, 9] = -x[:, 8]
    moments = gene_moments(as_rows(sp.csr_matrix(x)))
    mean, var = naive(x)
    np.testing.assert_allclose(moments.mean[0], mean, rtol=1e-15)
    np.testing.assert_allclose(moments.var[0], var, rtol=1e-13)


def test_variance_of_large_values_does_not_cancel():
    moments = gene_moments(as_rows(np.array([[1e8], [1e8 + 1]])))
    assert moments.var[0, 0] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("odd", [True, False])
def test_same_bits_in_any_order_in_any_pieces_and_on_any_number_of_threads(odd, monkeypatch):
    x = expression(n=2600, odd=odd)
    label = np.arange(2600) % 4 - 1
    with threads(1):
        one = gene_moments(as_rows(sp.csr_matrix(x)), label, 3, np.e)
    order = np.random.default_rng(1).permutation(2600)
    monkeypatch.setattr(_moments, "PIECE", 17)
    monkeypatch.setattr(_moments, "STEP", 5)
    with threads(2):
        two = gene_moments(as_rows(sp.csr_matrix(x[order])), label[order], 3, np.e)
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("odd", [True, False])
def test_of_a_dask_array_the_same_bits(odd):
    da = pytest.importorskip("dask.array")
    x = sp.csr_matrix(expression(odd=odd))
    lazy = da.from_array(x.toarray(), chunks=(70, -1)).map_blocks(sp.csr_matrix)
    for a, b in zip(gene_moments(as_rows(x)), gene_moments(as_rows(lazy))):
        np.testing.assert_array_equal(a, b)


def test_counts_and_their_clipped_squares():
    rng = np.random.default_rng(3)
    x = rng.poisson(rng.gamma(0.3, 3.0, 40), (300, 40)).astype(np.float32)
    x[0, :5] = 10_000
    label = np.arange(300) % 3 - 1
    rows = as_rows(sp.csr_matrix(x))
    sums, size = count_sums(rows, label, 2), np.array([[100], [100]])
    moments = moments_of_sums(sums, size)
    limit = moments.mean + 2 * np.sqrt(moments.var) + 1
    squares = squares_below(rows, label, sums, moments, limit)
    clipped = gene_moments(rows, label, 2, limit=limit)
    for b in (0, 1):
        of_batch = x[label == b].astype(np.float64)
        mean, var = naive(of_batch)
        np.testing.assert_array_equal(moments.mean[b], mean)
        np.testing.assert_allclose(moments.var[b], var, rtol=1e-15)
        below = np.minimum(of_batch, limit[b])
        np.testing.assert_allclose(squares[b], ((below - mean) ** 2).sum(axis=0), rtol=1e-13)
        mean, var = naive(below)
        np.testing.assert_allclose(clipped.mean[b], mean, rtol=1e-15)
        np.testing.assert_allclose(clipped.var[b], var, rtol=1e-13)


def test_counts_whose_squares_float64_cannot_add_are_told():
    x = np.array([[1.0, 2.0], [3.0, 2.0**27]])
    assert count_sums(as_rows(x[:, :1]), np.zeros(2, np.int64), 1) is not None
    assert count_sums(as_rows(x), np.zeros(2, np.int64), 1) is None

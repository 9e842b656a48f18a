"""Each method against its slow meaning, on profiles with known mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.optimize import nnls as scipy_nnls

from cellsigil._core._jit import threads
from cellsigil._core._solve import HUBER, TUKEY
from cellsigil.deconv.methods import METHODS
from cellsigil.deconv.methods._record import FLOOR


def make(n_genes=120, n_types=5, n_samples=7, noise=0.3, seed=0):
    """Return mixtures, profiles and shares; markers of each type over a shared background."""
    rng = np.random.default_rng(seed)
    profiles = rng.lognormal(3, 1, (n_genes, n_types))
    for k in range(n_types):
        profiles[k::n_types, k] *= 12
    share = rng.dirichlet(np.ones(n_types), n_samples)
    mixtures = share @ profiles.T * rng.lognormal(0, noise, (n_samples, n_genes))
    return mixtures, profiles, share


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_types", [2, 5, 12])
def test_nnls_is_scipys(seed, n_types):
    mixtures, profiles, _ = make(n_types=n_types, noise=1.0, seed=seed)
    weight = np.random.default_rng(seed).integers(0, 4, len(profiles)).astype(float)
    found = METHODS["nnls"].fit(mixtures, profiles, weight, None)
    root = np.sqrt(weight)
    expected = [scipy_nnls(profiles * root[:, None], y * root)[0] for y in mixtures]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_nnls_takes_dependent_profiles():
    mixtures, profiles, _ = make()
    twice = np.column_stack([profiles, profiles[:, 0]])
    found = METHODS["nnls"].fit(mixtures, twice, np.ones(len(twice)), None)
    once = METHODS["nnls"].fit(mixtures, profiles, np.ones(len(twice)), None)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found @ twice.T, once @ profiles.T, rtol=1e-8)


def test_wnnls_is_iterated_relative_nnls():
    mixtures, profiles, _ = make()
    found = METHODS["wnnls"].fit(mixtures, profiles, np.ones(len(profiles)), None)
    for y, beta in zip(mixtures, found):
        slow = np.full(profiles.shape[1], 1 / profiles.shape[1])
        for _ in range(10):
            per = 1 / (profiles @ slow + FLOOR)
            slow = scipy_nnls(profiles * per[:, None], y * per)[0]
        np.testing.assert_allclose(beta, slow, rtol=1e-7, atol=1e-10)


def test_em_has_the_highest_likelihood():
    mixtures, profiles, _ = make(noise=0.6)
    found = METHODS["em"].fit(mixtures, profiles, np.ones(len(profiles)), None)
    mass = profiles.sum(axis=0)
    for y, beta in zip(mixtures, found):
        theta = beta * mass / (beta * mass).sum()

        def log_likelihood(logits, y=y):
            share = np.exp(logits - logits.max())
            return -(y * np.log(profiles / mass @ (share / share.sum()))).sum()

        best = minimize(log_likelihood, np.log(theta + 1e-6), method="BFGS")
        assert log_likelihood(np.log(theta + 1e-300)) <= best.fun + 1e-6 * abs(best.fun)
        np.testing.assert_allclose((beta * mass).sum(), y.sum(), rtol=1e-10)


def slow_loss(y, profiles, beta, scale, kind):
    x = (np.log(y + FLOOR) - np.log(profiles @ beta + FLOOR)) / scale
    if kind == "huber":
        return np.where(abs(x) <= HUBER, x**2 / 2, HUBER * (abs(x) - HUBER / 2)).sum()
    return (TUKEY**2 / 6 * (1 - (1 - np.minimum(1, (x / TUKEY) ** 2)) ** 3)).sum()


def test_logrob_ends_in_a_minimum_of_its_loss():
    from cellsigil._core import _solve

    mixtures, profiles, _ = make(noise=0.4)
    weight = np.ones(len(profiles))
    starts = np.stack([METHODS[m].fit(mixtures, profiles, weight, None) for m in ("em", "wnnls")])
    out, scale = np.empty(starts.shape[1:]), np.empty(len(mixtures))
    _solve.logrob(
        mixtures, profiles, weight, starts, FLOOR, 1e-12, 200, out, scale, 0, len(mixtures)
    )  # fmt: skip
    np.testing.assert_allclose(
        out, METHODS["logrob"].fit(mixtures, profiles, weight, None), rtol=1e-3, atol=1e-5
    )
    for y, beta, s in zip(mixtures, out, scale):
        here = slow_loss(y, profiles, beta, s, "tukey")
        best = minimize(
            lambda b: slow_loss(y, profiles, b, s, "tukey"), beta,  # noqa: B023
            method="L-BFGS-B", bounds=[(0, None)] * beta.size,
        )  # fmt: skip
        assert here <= best.fun + 1e-5 * best.fun


@pytest.mark.parametrize("name", list(METHODS))
def test_exact_mixtures_come_back(name):
    mixtures, profiles, share = make(noise=0.0)
    found = METHODS[name].fit(mixtures, profiles, np.ones(len(profiles)), None)
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), share, atol=2e-4)


def test_logrob_is_not_moved_by_genes_that_are_far_off():
    mixtures, profiles, share = make(n_genes=200, noise=0.2)
    mixtures[:, :20] *= 50.0
    error = {
        name: np.abs(
            (found := METHODS[name].fit(mixtures, profiles, np.ones(200), None))
            / found.sum(axis=1, keepdims=True)
            - share
        ).mean()
        for name in METHODS
    }
    assert error["logrob"] < 0.02
    assert error["logrob"] < 0.3 * min(error[name] for name in ("nnls", "em"))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_weight_is_how_often_a_gene_counts(name):
    mixtures, profiles, _ = make()
    weight = np.random.default_rng(1).integers(0, 3, len(profiles))
    times = np.repeat(np.arange(len(profiles)), weight)
    by_weight = METHODS[name].fit(mixtures, profiles, weight.astype(float), None)
    repeated = METHODS[name].fit(
        np.ascontiguousarray(mixtures[:, times]), profiles[times], np.ones(times.size), None
    )
    np.testing.assert_allclose(by_weight, repeated, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", list(METHODS))
def test_alone_or_among_others_on_any_threads_the_same_bits(name):
    mixtures, profiles, _ = make(n_samples=9)
    weight = np.ones(len(profiles))
    together = METHODS[name].fit(mixtures, profiles, weight, None)
    with threads(1):
        np.testing.assert_array_equal(METHODS[name].fit(mixtures, profiles, weight, None), together)
    for i in range(len(mixtures)):
        alone = METHODS[name].fit(mixtures[i : i + 1].copy(), profiles, weight, None)
        np.testing.assert_array_equal(alone[0], together[i])


def test_every_record_says_what_it_answers():
    for name, method in METHODS.items():
        assert method.name == name
        assert method.answers in ("rna", "cell")
        assert method.reference
        assert method.needs


def test_only_the_most_similar_types_are_named():
    from cellsigil.deconv._fit import similar_types

    rng = np.random.default_rng(0)
    base = rng.gamma(2, 10, 200)
    alike = np.column_stack([base * rng.lognormal(0, 0.01 * (1 + k), 200) for k in range(8)])
    said = similar_types(alike, [f"type{k}" for k in range(8)])
    assert said.startswith("type0 ~ type1; ")
    assert said.endswith("; and 20 more pairs")
    assert said.count("~") == 8
    assert similar_types(np.eye(3), ["a", "b", "c"]) == ""

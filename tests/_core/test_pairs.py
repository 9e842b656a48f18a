"""Groups against groups: wins, summaries and ranks, where numbers are large, tied or almost so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from cellsigil._core import _pairs
from cellsigil._core._jit import over_range
from cellsigil._genes import by_classes
from cellsigil._matrix import as_rows
from cellsigil.tl._counting import _within, columns_of, pairwise_auc


def share_above(one, two) -> float:
    """Return how often a value of one is above one of two, by searching for each; a tie counts half."""
    two = np.sort(two)
    below = np.searchsorted(two, one, "left") + np.searchsorted(two, one, "right")
    return below.sum() / (2 * one.size * two.size)


@pytest.mark.parametrize("cells", [600, 80_000])  # twice the pairs of 80,000 overflow 32 bits
@pytest.mark.parametrize("spread", ["all differ", "few values", "one value", "none"])
def test_pairs_are_counted(cells, spread):
    rng = np.random.default_rng(1)
    values = {
        "all differ": rng.permutation(cells) * (rng.random(cells) < 0.5),
        "few values": rng.poisson(1.0, cells),
        "one value": rng.random(cells) < 0.3,
        "none": np.zeros(cells),
    }[spread].astype(np.float32)
    group = np.where(rng.random(cells) < 0.9, 0, rng.integers(0, 11, cells))
    sample = rng.integers(0, 2, cells)
    sample[group == 3] = 1
    n = np.bincount(2 * group + sample, minlength=22).reshape(11, 2)
    assert (2 * n.max() ** 2 >= 1 << 31) == (cells == 80_000)
    label = (2 * group + sample).astype(np.int32)
    ((columns,),) = by_classes(
        as_rows(values[:, None]), label, 22, lambda x: list(columns_of(x)), None
    )
    (auc,), within = pairwise_auc(columns, n, fewest=1)
    alone = _within(columns, n)
    np.testing.assert_array_equal(within.above, alone.above)
    np.testing.assert_array_equal(within.ties, alone.ties)
    for g in range(11):
        for h in range(11):
            arms = [[values[(group == x) & (sample == s)] for x in (g, h)] for s in range(2)]
            arms = [(a, b) for a, b in arms if a.size and b.size]
            if g == h or not arms:
                assert np.isnan(auc[g, h])
                continue
            weight = [a.size * b.size / (a.size + b.size) for a, b in arms]
            want = np.average([share_above(a, b) for a, b in arms], weights=weight)
            assert auc[g, h] == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("n_groups", [2, 3, 4, 9])
def test_summaries_are_of_the_known(n_groups):
    rng = np.random.default_rng(n_groups)
    n_genes = 2 * _pairs.GENES_AT_ONCE + 3
    auc = np.round(rng.random((n_genes, n_groups, n_groups)), 1)
    auc[:, np.arange(n_groups), np.arange(n_groups)] = np.nan
    auc[:, 0, 1] = auc[:, 1, 0] = np.nan  # of two groups, none is known
    least, median, mean = np.empty((3, n_genes, n_groups))
    over_range(_pairs.summarise_pairs, n_genes, auc, least, median, mean, chunk=100)
    for j in range(n_genes):
        for g in range(n_groups):
            known = auc[j, g][~np.isnan(auc[j, g])].tolist()
            if not known:
                assert np.isnan([least[j, g], median[j, g], mean[j, g]]).all()
                continue
            assert (least[j, g], median[j, g]) == (min(known), np.median(known))
            assert mean[j, g] == pytest.approx(np.mean(known), rel=1e-14)


def test_ranks_tell_neighbouring_numbers_apart():
    rng = np.random.default_rng(5)
    n = 900
    some = np.array([0.0, 0.25, 0.5, 1.0])
    near = [np.nextafter(some, 0), some, np.nextafter(some, 2), some + 2.0**-40, some + 2.0**-31]
    auc = np.abs(
        np.concatenate([rng.choice(np.ravel(near), (3, n - 100)), rng.random((3, 100))], 1)
    )
    best = np.full((3, n), np.inf)
    one, two = np.triu_indices(3, 1)
    _pairs.best_ranks(auc, np.array([0, 2]), one, two, best, 0, 2)  # the second pair is left out
    forward, reverse = rankdata(-auc, "min", axis=1), rankdata(auc, "min", axis=1)
    np.testing.assert_array_equal(best[0], forward[0])
    np.testing.assert_array_equal(best[1], np.minimum(reverse[0], forward[2]))
    np.testing.assert_array_equal(best[2], reverse[2])

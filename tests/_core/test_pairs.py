"""Groups against groups: wins, summaries and ranks, where numbers are large, tied or almost so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from cellsigil._core import _pairs
from cellsigil._genes import by_classes
from cellsigil._matrix import as_rows
from cellsigil.tl._counting import _within, columns_of
from cellsigil.tl._pairwise import PairCounter


def share_above(one, two) -> float:
    """Return how often a value of one is above one of two, by searching for each; a tie counts half."""
    two = np.sort(two)
    below = np.searchsorted(two, one, "left") + np.searchsorted(two, one, "right")
    return below.sum() / (2 * one.size * two.size)


def square(pairs, n_groups) -> np.ndarray:
    """Return the AUC of each group against each other one, from that of the pairs g < h."""
    auc = np.full((n_groups, n_groups), np.nan)
    one, two = np.triu_indices(n_groups, 1)
    auc[one, two], auc[two, one] = pairs, 1 - pairs
    return auc


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
    counter = PairCounter(n, 1, within=True, fewest=1)
    within = counter(columns, n)["within"]
    auc = square(counter.pairs()[:, 0], 11)
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


@pytest.mark.parametrize(("held", "sizes"), [(0, [11] * 5), (27, [19, 19, 17]), (54, [28, 27])])
def test_ranges_of_pairs_are_the_same_pairs(held, sizes):
    rng = np.random.default_rng(2)
    values = rng.poisson(0.7, (300, 20)).astype(np.float32)  # 20 genes: two tiles
    group, sample = rng.integers(0, 11, 300), rng.integers(0, 2, 300)
    sample[group == 3], sample[group == 4] = 0, 1  # a pair that no sample has
    label = np.where(group == 7, -1, 2 * group + sample).astype(np.int32)  # a group without cells
    n = np.bincount(label[label >= 0], minlength=22).reshape(11, 2)

    def count(counter):
        def work(block):
            return [counter(columns, n) for columns in columns_of(block)]

        return [
            part for parts in by_classes(as_rows(values), label, 22, work, 2000) for part in parts
        ]

    def again(counter):
        yield from count(counter)
        seen.append(counter.pairs())

    whole, parts = PairCounter(n, 20), PairCounter(n, 20, budget_bytes=held * 2 * 16 * 8)
    for one, two in zip(count(whole), count(parts), strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    seen = [parts.pairs()]
    ranks = parts.best_ranks(again)
    assert [len(pairs) for pairs in seen] == sizes
    np.testing.assert_array_equal(np.concatenate(seen), whole.pairs())
    np.testing.assert_array_equal(ranks, whole.best_ranks(pytest.fail))
    assert np.isnan(ranks[7]).all()
    assert np.isfinite(np.delete(ranks, 7, 0)).all()


@pytest.mark.parametrize("n_groups", [2, 3, 4, 9, 33, 75])
@pytest.mark.parametrize("tied", [0.0, 0.4, 0.9])
def test_summaries_are_of_the_known(n_groups, tied):
    rng = np.random.default_rng(n_groups)
    width = -(-n_groups // 8) * 8
    away = np.zeros((n_groups, width))
    upper = np.triu(np.round(rng.random((n_groups, n_groups)), 1) - 0.5, 1)
    upper[rng.random(upper.shape) < tied] = 0.0
    away[:, :n_groups] = upper - upper.T
    known = ~np.eye(n_groups, width, dtype=bool)
    known[0, 1] = known[1, 0] = False  # of two groups, none is known
    known[:, n_groups:] = False
    sums = np.where(known, away, 0.0).sum(axis=0)
    away[~known] = -np.inf
    least, median, mean = np.empty((3, n_groups))
    rows = np.zeros((n_groups, _pairs.COLUMNS))
    _pairs.summarise(away, sums, known.sum(axis=1), rows, least, median, mean)
    for g in range(n_groups):
        auc = 0.5 + away[g][known[g]]
        if not auc.size:
            assert np.isnan([least[g], median[g], mean[g]]).all()
            continue
        assert least[g] == auc.min()
        assert median[g] == pytest.approx(np.median(auc), rel=1e-14)
        assert mean[g] == pytest.approx(np.mean(auc), rel=1e-14)


def test_ranks_tell_neighbouring_numbers_apart():
    rng = np.random.default_rng(5)
    n = 900
    some = np.array([0.0, 0.25, 0.5, 1.0])
    near = [np.nextafter(some, 0), some, np.nextafter(some, 2), some + 2.0**-40, some + 2.0**-31]
    auc = np.abs(
        np.concatenate([rng.choice(np.ravel(near), (3, n - 100)), rng.random((3, 100))], 1)
    )
    best = np.full((3, n), np.iinfo(np.int32).max, np.int32)
    one, two = np.triu_indices(3, 1)
    tiles = np.zeros((-(-n // _pairs.LANES), 3, _pairs.LANES))
    for j in range(n):
        tiles[j // _pairs.LANES, :, j % _pairs.LANES] = auc[:, j]
    # the second pair is left out
    _pairs.best_ranks(tiles, n, np.array([0, 2]), one, two, best, 0, 2)
    forward, reverse = rankdata(-auc, "min", axis=1), rankdata(auc, "min", axis=1)
    np.testing.assert_array_equal(best[0], forward[0])
    np.testing.assert_array_equal(best[1], np.minimum(reverse[0], forward[2]))
    np.testing.assert_array_equal(best[2], reverse[2])

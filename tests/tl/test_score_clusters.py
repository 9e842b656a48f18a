"""Scores of clusters, from statistics of the groups."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil._core._jit import threads
from cellsigil.tl import group_stats, score_clusters

N_GENES = 400
COLUMNS = ["group", "signature", "effect", "z", "p", "padj", "p_from", "vif", "p_vif"]
COLUMNS += ["n_genes", "n_samples_support", "seed"]


def make(n_cells=300, seed=0, shift=1.5):
    """Three groups; g0..g9 are high in "a"."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(0.7, 1.5, N_GENES) + 0.1
    level[:20] = np.linspace(0.3, 3, 20)
    label = np.array(["b", "a", "c"])[np.arange(n_cells) % 3]
    rate = np.tile(level, (n_cells, 1))
    rate[np.ix_(label == "a", np.arange(10))] *= 1 + shift
    x = np.log1p(rng.poisson(rate) * 1.3).astype(np.float32)
    obs = pd.DataFrame(
        {"group": pd.Categorical(label), "sample": np.where(np.arange(n_cells) < 150, "s1", "s2")}
    )
    obs.index = [f"c{i}" for i in range(n_cells)]
    return ad.AnnData(
        sp.csr_matrix(x), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    )


MARKERS = {"high": [f"g{i}" for i in range(8)], "flat": [f"g{i}" for i in range(30, 40)]}


def test_effect_is_the_weighted_mean_auc():
    adata = make()
    table = score_clusters(adata, {"w": {"g0": 3.0, "g1": 1.0, "g2": 1.0, "g50": -2.0}}, "group")
    from scipy.stats import mannwhitneyu

    x = adata.X.toarray()
    for group, effect in zip(table["group"], table["effect"]):
        inside = (adata.obs["group"] == group).to_numpy()
        auc = [
            mannwhitneyu(x[inside, j], x[~inside, j]).statistic / (inside.sum() * (~inside).sum())
            for j in (0, 1, 2, 50)
        ]
        assert effect == pytest.approx(
            (3 * auc[0] + auc[1] + auc[2] + 2 * (1 - auc[3])) / 7, abs=1e-9
        )


def test_table_and_key(tmp_path):
    adata = make()
    table = score_clusters(adata, MARKERS, "group", sample_key="sample")
    assert list(table.columns) == COLUMNS
    assert table["group"].tolist() == ["a", "a", "b", "b", "c", "c"]
    assert table["signature"].tolist() == ["high", "flat"] * 3
    pd.testing.assert_frame_equal(adata.uns["score_clusters"], table)
    best = table.iloc[table["effect"].argmax()]
    assert (best["group"], best["signature"], best["n_samples_support"]) == ("a", "high", 2)
    assert best["p_from"] == "tail"
    assert best["padj"] < 1e-6  # far beyond 1 / (draws + 1)
    assert table.loc[table["signature"] == "flat", "padj"].min() > 0.05
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad").uns["score_clusters"]
    np.testing.assert_array_equal(back["effect"], table["effect"])


def test_stats_at_hand_give_the_same_and_foreign_ones_are_refused():
    adata = make()
    stats = group_stats(adata, "group")
    one = score_clusters(adata, MARKERS, "group")
    pd.testing.assert_frame_equal(one, score_clusters(adata, MARKERS, "group", stats=stats))
    with pytest.raises(ValueError, match="groupby='group'"):
        score_clusters(adata, MARKERS, "sample", stats=stats)
    with pytest.raises(ValueError, match="other genes"):
        score_clusters(adata[:, :100].copy(), MARKERS, "group", stats=stats)


def test_draws_hang_on_the_seed_and_the_name_alone():
    adata = make()
    together = score_clusters(adata, MARKERS, "group", rng=3)
    alone = score_clusters(adata, {"flat": MARKERS["flat"]}, "group", rng=3)
    flat = together[together["signature"] == "flat"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns="padj"), flat.drop(columns="padj"))
    other = score_clusters(adata, {"flat": MARKERS["flat"]}, "group", rng=4)
    assert (alone["p"] != other["p"]).any()
    turned = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    again = score_clusters(turned, MARKERS, "group", rng=3)
    pd.testing.assert_frame_equal(together, again, check_exact=True)


def test_random_matched_sets_are_calibrated():
    adata = make(shift=0.0)
    rng = np.random.default_rng(5)
    names = [f"g{i}" for i in range(N_GENES)]
    sets = {f"r{i}": rng.choice(names, 12, replace=False).tolist() for i in range(150)}
    p = score_clusters(adata, sets, "group")["p"].to_numpy()
    share = (p <= 0.05).mean()  # 450 tests, three of them dependent: sd about .012
    assert 0.02 < share < 0.09
    assert 0.4 < p.mean() < 0.6


@pytest.mark.parametrize("own", [[3], [0, 1, 2, 50], [398, 399, 7, 8, 9, 200], list(range(350))])
def test_windows_are_of_the_nearest_genes_that_are_not_the_sets_own(own):
    from cellsigil.tl._score_clusters import WINDOW, Levels, matched_windows
    from cellsigil.tl._signatures import index_sets, read_signatures

    stats = group_stats(make(), "group")
    levels = Levels.of(stats, stats.auc)
    genes = np.lexsort((np.array(stats.genes, object), stats.mean_all))
    np.testing.assert_array_equal(levels.auc, stats.auc[:, genes].T - 0.5)
    (s,) = index_sets(read_signatures({"s": stats.genes[own].tolist()}), stats.genes)
    pool = np.array([gene for gene in genes if gene not in own])
    size = min(WINDOW, pool.size)
    windows = matched_windows(levels, s)
    for gene, window in zip(own, windows):
        middle = (stats.mean_all[pool] < stats.mean_all[gene]).sum()
        start = min(max(middle - size // 2, 0), pool.size - size)
        assert genes[window].tolist() == pool[start : start + size].tolist()


def test_the_same_bits_on_any_number_of_threads():
    adata, tables = make(), []
    sets = {f"s{k}": [f"g{i}" for i in range(k, k + 9)] for k in range(12)}
    stats = group_stats(adata, "group")
    for n in (1, 2, 5):
        with threads(n):
            tables.append(score_clusters(adata, sets, "group", stats=stats))
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


def test_tail_goes_on_where_the_draws_end():
    from cellsigil.tl._score_clusters import _judged, _random_sets

    rng = np.random.default_rng(0)
    auc = rng.normal(0, 0.1, (1, 500))
    windows = np.tile(np.arange(100), (10, 1)) + np.arange(10)[:, None] * 40
    shares = np.full(10, 0.1)
    levels = np.linspace(0.0, 0.12, 25)
    found = []
    for e in levels:
        drawn = _random_sets(auc.T, np.array([e]), windows, shares, np.random.default_rng(1))
        found.append(_judged(np.array([e]), *drawn))
    p = np.array([f[0][0] for f in found])
    tail = np.array([f[2][0] for f in found])
    many = windows[np.arange(10), rng.integers(100, size=(200_000, 10))]
    truth = np.array([((auc[0, many] @ shares) >= e).mean() for e in levels])
    seen = truth > 1e-4
    np.testing.assert_allclose(np.log10(p[seen]), np.log10(truth[seen]), atol=0.25)
    assert tail[-1]
    assert not tail[0]
    assert (np.diff(p[tail]) < 0).all()


def test_few_genes_are_nan_and_do_not_count_in_padj():
    adata = make()
    with pytest.warns(UserWarning, match="'few'"):
        table = score_clusters(adata, {**MARKERS, "few": ["g1", "g2", "nope"]}, "group")
    few = table["signature"] == "few"
    assert table.loc[few, ["effect", "z", "p", "padj"]].isna().all(axis=None)
    assert (table.loc[few, "p_from"] == "none").all()
    without = score_clusters(adata, MARKERS, "group")
    np.testing.assert_array_equal(table.loc[~few, "padj"], without["padj"])


def test_adjust_is_scipys():
    from scipy.stats import false_discovery_control

    from cellsigil.tl._score_clusters import adjust

    p = np.random.default_rng(0).random(50) ** 3
    np.testing.assert_allclose(adjust(p), false_discovery_control(p))
    assert np.isnan(adjust(np.array([0.1, np.nan])))[1]


def test_near_names():
    with pytest.raises(KeyError, match="Did you mean 'group'"):
        score_clusters(make(), MARKERS, "groups")


def test_coherent_sets_are_calibrated_by_their_inflation():
    """Genes that move together (a shared factor per cell), groups that mean nothing."""
    rng = np.random.default_rng(3)
    adata = make(shift=0.0)
    level = rng.gamma(0.7, 1.5, N_GENES) + 0.3
    factor = np.exp(rng.normal(0, 0.6, adata.n_obs))
    rate = np.tile(level, (adata.n_obs, 1))
    rate[:, :60] *= factor[:, None]
    adata.X = sp.csr_matrix(np.log1p(rng.poisson(rate) * 1.3).astype(np.float32))
    names = adata.var_names
    sets = {f"r{i}": rng.choice(names[:60], 15, replace=False).tolist() for i in range(3)}
    tables = []
    for turn in range(40):
        adata.obs["group"] = rng.permutation(adata.obs["group"].to_numpy())
        tables.append(score_clusters(adata, sets, "group", rng=turn))
    table = pd.concat(tables)
    assert (table["p"] <= 0.05).mean() > 0.15
    assert (table["p_vif"] <= 0.05).mean() < 0.09
    assert table["vif"].min() > 2
    loose = score_clusters(adata, {"loose": names[100:115].tolist()}, "group")
    assert loose["vif"].max() < 1.5


def test_inflation_is_one_plus_the_mean_correlation():
    from cellsigil.tl._inflation import inflations
    from cellsigil.tl._signatures import index_sets, read_signatures

    adata = make()
    genes = [f"g{i}" for i in (0, 1, 2, 3, 4, 5, 300)]
    indexed = index_sets(read_signatures({"s": genes}), adata.var_names)
    found = inflations(adata, group_stats(adata, "group"), indexed)
    x = pd.DataFrame(adata.X.toarray().astype(float), columns=adata.var_names)[genes]
    rest = x - x.groupby(adata.obs["group"].to_numpy()).transform("mean")
    correlation = rest.corr().to_numpy()
    mean = correlation[~np.eye(7, dtype=bool)].mean()
    assert found[0] == pytest.approx(max(1 + 6 * mean, 1.0), rel=1e-6)


def test_inflation_leaves_out_cells_without_a_group():
    adata = make()
    kept = adata[7:].copy()
    adata.obs.loc[adata.obs_names[:7], "group"] = np.nan
    with pytest.warns(UserWarning, match="7 cells have no label"):
        found = score_clusters(adata, MARKERS, "group")
    pd.testing.assert_frame_equal(found, score_clusters(kept, MARKERS, "group"))


def test_inflation_leaves_out_cells_without_a_sample_and_groups_of_one():
    adata = make()
    adata.obs["donor"] = pd.Categorical([f"d{i % 2}" for i in range(adata.n_obs)])
    adata.obs["group"] = adata.obs["group"].astype(str)
    adata.obs.loc[adata.obs_names[0], "group"] = "alone"
    kept = adata[9:].copy()
    adata.obs.loc[adata.obs_names[1:9], "donor"] = np.nan
    with pytest.warns(UserWarning, match="alone"):
        found = score_clusters(adata, MARKERS, "group", sample_key="donor")
    alone = found["group"] == "alone"
    assert found.loc[alone, "z"].isna().all()
    expected = score_clusters(kept, MARKERS, "group", sample_key="donor")["vif"]
    np.testing.assert_array_equal(found.loc[~alone, "vif"], expected)


def test_the_tail_is_scipys():
    from scipy.stats import pearson3

    from cellsigil.tl._score_clusters import pearson3_tail

    z, skew = (x.ravel() for x in np.meshgrid([-40.0, -1, 0, 2.5, 8, 30], [0, 1e-6, 1e-3, 0.2, 2]))
    np.testing.assert_allclose(pearson3_tail(z, skew), pearson3.sf(z, skew), rtol=1e-9)


def test_a_group_spread_thin_over_samples_is_scored_on_pooled_cells():
    adata = make()
    adata.obs["donor"] = [
        f"d{i // 3 % 50}" for i in range(adata.n_obs)
    ]  # 2 cells of each group a donor
    with pytest.warns(UserWarning, match=r"3 cells of 'a', 'b', 'c'.*pooled AUC"):
        thin = score_clusters(adata, MARKERS, "group", sample_key="donor")
    pooled = score_clusters(adata, MARKERS, "group")
    pd.testing.assert_series_equal(thin["effect"], pooled["effect"])
    assert (thin["p"] == pooled["p"]).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"key_added": "T/NK"}, "holds a '/'"), ({"rng": -1}, "rng=-1"), ({"rng": None}, "rng=None")],
)
def test_refuses_keys_and_seeds_that_can_not_be(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        score_clusters(make(), MARKERS, "group", **arguments)
    assert (score_clusters(make(), MARKERS, "group", rng=5)["seed"] == 5).all()

"""Statistics of groups: what they mean, and that nothing but the data decides their bits."""

from __future__ import annotations

import dataclasses
import runpy
import warnings
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellsigil import tl
from cellsigil._core import _moments, _ranks
from cellsigil._core._jit import threads
from cellsigil._genes import by_classes
from cellsigil._matrix import as_rows
from cellsigil.tl._counting import Columns, _within, columns_of, count_against
from cellsigil.tl._groups import read_groups
from cellsigil.tl._pairwise import PairCounter
from cellsigil.tl._stats import read_labelled, stats_for

naive = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "naive.py")))

LABELS = ["T/NK"] * 20 + ["B"] * 17 + ["Mono"] * 22 + ["B"]
ARRAYS = [f.name for f in dataclasses.fields(tl.GroupStats) if "ndarray" in str(f.type)]


def log_adata(counts, container=sp.csr_matrix, dtype="float32") -> ad.AnnData:
    """Make log2-like values that every dtype can hold: halves for floats; integer types as they are."""
    values = counts.copy()
    values.data = np.log1p(values.data)
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(LABELS, categories=["Mono", "T/NK", "B", "ghost"]),
            "donor": [f"d{i % 3}" for i in range(60)],
        },
        index=[f"c{i}" for i in range(60)],
    )
    adata = ad.AnnData(sp.csr_matrix((60, counts.shape[1])), obs=obs)
    adata.var_names = [f"g{j}" for j in range(counts.shape[1])]
    adata.X = container(values.astype(dtype))
    return adata


@pytest.fixture
def adata(counts):
    return log_adata(counts)


def same_bits(one, two) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_what_naive_says(counts, container, dtype):
    adata = log_adata(counts, container, dtype)
    stats = tl.group_stats(adata, "type", sample_key="donor")
    assert stats.groups == ["Mono", "T/NK", "B"]
    assert stats.samples == ["d0", "d1", "d2"]
    assert stats.n.sum(axis=1).tolist() == [22, 20, 18]
    dense = log_adata(counts, lambda m: m.toarray(), dtype).X.astype(float)
    types, donors = np.array(LABELS), adata.obs["donor"].to_numpy()
    for g, group in enumerate(stats.groups):
        x, rest = dense[types == group], dense[types != group]
        np.testing.assert_allclose(stats.mean[g], x.mean(0), rtol=1e-12)
        np.testing.assert_allclose(stats.var[g], x.var(0, ddof=1), rtol=1e-10)
        np.testing.assert_allclose(stats.mean_linear[g], np.expm1(x).mean(0), rtol=1e-12)
        np.testing.assert_array_equal(stats.detected[g], (x > 0).sum(0))
        for s, donor in enumerate(stats.samples):
            own = dense[(types == group) & (donors == donor)]
            np.testing.assert_allclose(stats.sample_mean[g, s], own.mean(0), rtol=1e-12)
            np.testing.assert_allclose(stats.sample_var[g, s], own.var(0, ddof=1), rtol=1e-10)
            np.testing.assert_allclose(
                stats.sample_mean_linear[g, s], np.expm1(own).mean(0), rtol=1e-12
            )
        for j in range(0, dense.shape[1], 5):
            a, b = x[:, j].tolist(), rest[:, j].tolist()
            assert stats.auc[g, j] == pytest.approx(naive.wins(a, b) / (len(a) * len(b)))
            assert stats.u_z[g, j] == pytest.approx(naive.normal_score(a, b))
            assert stats.z_raw[g, j] == pytest.approx(naive.normal_score(a, b, tie_correct=False))
    np.testing.assert_allclose(stats.mean_all, dense.mean(0), rtol=1e-12)
    np.testing.assert_allclose(stats.sd_all, dense.std(0, ddof=1), rtol=1e-10)


def test_blocked_by_sample_means_what_naive_says(counts):
    adata = log_adata(counts)
    stats = tl.group_stats(adata, "type", sample_key="donor")
    dense, types = adata.X.toarray().astype(float), np.array(LABELS)
    donors = adata.obs["donor"].to_numpy()
    for g, group in enumerate(stats.groups):
        for j in range(0, dense.shape[1], 7):
            aucs, n1, n2, away, variance = [], [], [], 0.0, 0.0
            for donor in stats.samples:
                here = donors == donor
                a = dense[here & (types == group), j].tolist()
                b = dense[here & (types != group), j].tolist()
                u, total = naive.wins(a, b), len(a) + len(b)
                aucs.append(u / (len(a) * len(b)))
                n1.append(len(a))
                n2.append(len(b))
                away += (u - len(a) * len(b) / 2) / (total + 1)
                both = a + b
                ties = sum(both.count(v) ** 3 - both.count(v) for v in set(both))
                variance += len(a) * len(b) * (1 - ties / (total**3 - total)) / 12 / (total + 1)
            np.testing.assert_allclose(stats.auc_sample[g, :, j], aucs, rtol=1e-12)
            assert stats.auc_blocked[g, j] == pytest.approx(naive.average_by_weight(aucs, n1, n2))
            want = 0.0 if away == 0 else away / variance**0.5
            assert stats.z_blocked[g, j] == pytest.approx(want)


def test_one_sample_is_no_blocking(adata):
    adata.obs["one"] = "d"
    stats = tl.group_stats(adata, "type", sample_key="one")
    plain = tl.group_stats(adata, "type")
    assert plain.samples == [""]
    same_bits(stats, plain)
    np.testing.assert_array_equal(plain.auc_blocked, plain.auc)
    np.testing.assert_allclose(plain.z_blocked, plain.u_z)


def test_a_sample_with_few_cells_of_a_group_does_not_count(adata):
    adata.obs["donor"] = ["d0"] * 58 + ["d1"] * 2  # d1: one Mono, one B
    stats = tl.group_stats(adata, "type", sample_key="donor")
    assert np.isnan(stats.auc_sample[:, 1]).all()
    np.testing.assert_allclose(stats.auc_blocked, stats.auc_sample[:, 0], rtol=1e-14)
    assert np.isnan(stats.sample_mean[1, 1]).all()  # no T/NK in d1
    assert np.isfinite(stats.mean).all()


def test_order_of_cells_does_not_matter(counts):
    adata = log_adata(counts)
    order = np.random.default_rng(0).permutation(60)
    same_bits(
        tl.group_stats(adata, "type", sample_key="donor"),
        tl.group_stats(adata[order].copy(), "type", sample_key="donor"),
    )


@pytest.fixture
def real(pbmc3k):
    from cellsigil import pp

    pp.normalize(pbmc3k)
    return pbmc3k[pbmc3k.obs["scanpy_louvain_label"].notna()].copy()


def test_order_of_cells_does_not_matter_on_pbmc3k(real):
    order = np.random.default_rng(1).permutation(real.n_obs)
    key = "scanpy_louvain_label"
    shuffled = tl.group_stats(real[order].copy(), key)
    stats = tl.group_stats(real, key)
    same_bits(stats, shuffled)
    other = tl.group_stats(real, key, memory_budget=1 << 20)
    same_bits(stats, other)
    with threads(1):
        same_bits(stats, tl.group_stats(real, key))


def test_equals_scanpy_on_pbmc3k(real):
    import scanpy as sc

    key = "scanpy_louvain_label"
    stats = tl.group_stats(real, key)
    for tie_correct, field in ((True, "u_z"), (False, "z_raw")):
        with np.errstate(invalid="ignore"):
            sc.tl.rank_genes_groups(
                real, key, method="wilcoxon", tie_correct=tie_correct, use_raw=False
            )
        found = real.uns["rank_genes_groups"]
        ours = stats.frame(field)
        for group in stats.groups:
            theirs = pd.Series(found["scores"][group], index=found["names"][group])
            # scanpy keeps scores as float32
            np.testing.assert_allclose(
                ours[group].reindex(theirs.index), theirs, rtol=1e-6, atol=1e-7
            )


def test_same_bits_on_any_budget_and_number_of_threads(counts, container):
    adata = log_adata(counts, container)
    stats = tl.group_stats(adata, "type", sample_key="donor")
    same_bits(stats, tl.group_stats(adata, "type", sample_key="donor", memory_budget=200))
    with threads(1):
        same_bits(stats, tl.group_stats(adata, "type", sample_key="donor"))
    with threads(2):
        same_bits(stats, tl.group_stats(adata, "type", sample_key="donor"))


def test_variance_does_not_cancel():
    rng = np.random.default_rng(0)
    x = (40 + rng.integers(0, 2, (60, 3)) / 2**16).astype(np.float64)
    adata = ad.AnnData(x, obs=pd.DataFrame({"type": LABELS}, index=[str(i) for i in range(60)]))
    stats = tl.group_stats(adata, "type")
    for g, group in enumerate(stats.groups):
        want = (x[np.array(LABELS) == group] - 40).var(0, ddof=1)
        np.testing.assert_allclose(stats.var[g], want, rtol=1e-9)


def column_of(values, label, n_classes) -> Columns:
    """Bring one gene's values of all cells, zeros too, into classes and into order."""
    rows = as_rows(values[:, None])
    ((columns,),) = by_classes(rows, label, n_classes, lambda x: list(columns_of(x)), None)
    return columns


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 1)), min_size=6, max_size=25
    )
)
def test_kernels_on_small_arrays(cells):
    values = np.array([v for v, _, _ in cells], np.float32)
    group, sample = (np.array([c[i] for c in cells]) for i in (1, 2))
    label = (group * 2 + sample).astype(np.int32)
    n = np.bincount(label, minlength=6)
    columns = column_of(values, label, 6)
    sums, scale = np.empty((1, 6), np.int64), np.empty(1)
    _moments.class_sums(columns.edges, columns.values, columns.most(), sums, scale, 0, 1)
    want = [values[label == c].sum() for c in range(6)]
    np.testing.assert_array_equal(sums[0] / scale[0], want)
    ranks, ties = np.empty((1, 3), np.int64), np.empty(1)
    size = np.bincount(group, minlength=3)
    group_of = np.repeat(np.arange(3), 2)
    _ranks.rank_sums(columns.edges, columns.keys, columns.classes, group_of, n, ranks, ties, 0, 1)
    counter = PairCounter(n.reshape(3, 2), 1, within=True, fewest=1)
    within = counter(columns, n.reshape(3, 2))["within"]
    pairs = dict(zip([(0, 1), (0, 2), (1, 2)], counter.pairs()[:, 0]))
    alone = _within(columns, n.reshape(3, 2))
    np.testing.assert_array_equal(within.above, alone.above)
    np.testing.assert_array_equal(within.ties, alone.ties)
    for g in range(3):
        mine, rest = values[group == g].tolist(), values[group != g].tolist()
        u = (ranks[0, g] - size[g] * (size[g] + 1)) / 2
        assert u == naive.wins(mine, rest)
        for h in range(3):
            counts = n.reshape(3, 2)
            both = [s for s in range(2) if g != h and counts[g, s] and counts[h, s]]
            if not both:
                assert g == h or np.isnan(pairs[min(g, h), max(g, h)])
                continue
            arms = [
                (values[(group == g) & (sample == s)], values[(group == h) & (sample == s)])
                for s in both
            ]
            want = naive.average_by_weight(
                [naive.wins(a, b) / (len(a) * len(b)) for a, b in arms],
                *zip(*((len(a), len(b)) for a, b in arms)),
            )
            got = pairs[g, h] if g < h else 1 - pairs[h, g]
            assert got == pytest.approx(want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 40, 3000, 70_000])
@pytest.mark.parametrize("spread", ["logs", "one", "few", "crowded"])
def test_sorted_columns_are_sorted(dtype, n, spread):
    rng = np.random.default_rng(n)
    values = {
        "logs": np.log1p(rng.integers(1, 60, n) / rng.choice([1, 3, 700], n)),
        "one": np.full(n, 1.5),
        "few": rng.choice([0.25, 1.5, 9.0], n),
        "crowded": np.where(rng.random(n) < 0.001, 1e-30, 2 + rng.random(n) * 1e-4),
    }[spread].astype(dtype)
    label = rng.integers(-1, 4, n).astype(np.int32)
    columns = column_of(values, label, 4)
    known = label >= 0
    assert columns.edges[0].tolist() == [0, *np.cumsum(np.bincount(label[known], minlength=4))]
    np.testing.assert_array_equal(
        columns.values, values[known][np.argsort(label[known], kind="stable")]
    )
    np.testing.assert_array_equal(columns.keys.view(dtype), np.sort(values[known]))
    assert columns.most() == max(values[known], default=0)
    want = np.lexsort((label[known], values[known]))
    got = np.lexsort((columns.classes, columns.keys))  # within ties, classes in any order
    np.testing.assert_array_equal(columns.classes[got], label[known][want])


@pytest.mark.parametrize("sample_key", [None, "donor"])
def test_against_one_group_means_what_naive_says(adata, sample_key):
    data = read_labelled(adata, "type", sample_key, None)
    parts = list(data.by_genes(count_against, 1 << 30, 2))  # against B
    dense, types = adata.X.toarray().astype(float), np.array(LABELS)
    donors = adata.obs["donor"].to_numpy()
    for g, group in enumerate(data.groups[:2]):
        for j in range(0, 40, 7):
            a, b = dense[types == group, j].tolist(), dense[types == "B", j].tolist()
            assert parts[0]["auc"][g, j] == pytest.approx(naive.wins(a, b) / (len(a) * len(b)))
            assert parts[0]["u_z"][g, j] == pytest.approx(naive.normal_score(a, b))
            assert parts[0]["z_raw"][g, j] == pytest.approx(naive.normal_score(a, b, False))
            for s, donor in enumerate(data.samples if sample_key else []):
                a = dense[(types == group) & (donors == donor), j]
                b = dense[(types == "B") & (donors == donor), j]
                want = naive.wins(a, b) / (len(a) * len(b))
                assert parts[0]["auc_sample"][g, s, j] == pytest.approx(want)


def test_pairs_do_not_hang_on_the_order_of_the_groups(adata):
    found = []
    for names in (("a", "b", "c"), ("c", "b", "a")):
        renamed = dict(zip(sorted(set(LABELS)), names))
        adata.obs["other"] = [renamed[label] for label in LABELS]
        data = read_labelled(adata, "other", "donor", None)
        counter = PairCounter(data.n, len(data.genes))
        summary = data.gather(counter, 300)
        order = [data.groups.index(renamed[label]) for label in sorted(set(LABELS))]
        ranks = counter.best_ranks(pytest.fail)  # all pairs are held: no other pass
        found.append([ranks[order], *(summary[name][order] for name in sorted(summary))])
    for one, two in zip(*found):
        np.testing.assert_allclose(one, two, rtol=1e-14)


def test_small_group_is_nan_and_said(adata):
    adata.obs["type"] = ["lone", *LABELS[1:]]
    with pytest.warns(UserWarning, match=r"'lone' has fewer than 2 cells.*Merge it"):
        stats = tl.group_stats(adata, "type")
    g = stats.groups.index("lone")
    for name in ("mean", "var", "mean_linear", "auc", "u_z", "z_raw"):
        assert np.isnan(getattr(stats, name)[g]).all(), name
        assert np.isfinite(np.delete(getattr(stats, name), g, 0)).all(), name
    np.testing.assert_allclose(stats.mean_all, adata.X.toarray().mean(0), rtol=1e-6)


def test_unlabelled_cells_are_left_out_and_said(adata):
    adata.obs["type"] = pd.Series(LABELS, index=adata.obs_names).where(np.arange(60) % 7 != 0)
    with pytest.warns(UserWarning, match=r"9 cells have no label in obs\['type'\]"):
        stats = tl.group_stats(adata, "type", sample_key="donor")
    kept = adata[adata.obs["type"].notna()].copy()
    same_bits(stats, tl.group_stats(kept, "type", sample_key="donor"))


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([10, 9, 2] * 20, ["2", "9", "10"]),
        ([True, False] * 30, ["False", "True"]),
        (["b", "a", "C"] * 20, ["C", "a", "b"]),
        (pd.array([3, None, 20] * 20, dtype="Int64"), ["3", "20"]),
        (pd.array(["x", "y", None] * 20, dtype="string"), ["x", "y"]),
        (pd.Categorical([1, "a", 2.5] * 20, categories=["a", 2.5, 1]), ["a", "2.5", "1"]),
        (pd.Categorical([7, 1] * 30, categories=[7, 1, 3]), ["7", "1"]),
    ],
)
def test_columns_that_hold_labels(adata, column, names):
    adata.obs["labels"] = column
    with warnings.catch_warnings(action="ignore"):
        groups = read_groups(adata, "labels")
    assert groups.names == names
    for i in range(3):
        value = adata.obs["labels"].iloc[i]
        assert groups.codes[i] == (-1 if pd.isna(value) else names.index(str(value)))
    assert groups.codes.dtype == np.int32
    assert groups.sizes.sum() == (groups.codes >= 0).sum()


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (np.linspace(0, 1, 60), r"holds fractions \(float64\).*astype\('category'\)"),
        (["one"] * 60, r"only the group 'one'.*at least 2 groups"),
        ([None] * 60, r"no labels at all"),
        (pd.Categorical([1, "1"] * 30), r"two categories that read '1'"),
    ],
)
def test_columns_that_hold_no_groups(adata, column, sentence):
    adata.obs["labels"] = column
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match=sentence):
        tl.group_stats(adata, "labels")


def test_wrong_names_and_values_are_said(adata):
    with pytest.raises(KeyError, match=r"groupby='typ' is no column.*'type'"):
        tl.group_stats(adata, "typ")
    with pytest.raises(KeyError, match=r"sample_key='doner' is no column.*'donor'"):
        tl.group_stats(adata, "type", sample_key="doner")
    with pytest.raises(KeyError, match="No layer 'logs'"):
        tl.group_stats(adata, "type", layer="logs")
    adata.layers["scaled"] = adata.X - 0.5 * (adata.X > 0).astype(float)
    adata.layers["scaled"].data[0] = -1
    with pytest.raises(ValueError, match="looks scaled"):
        tl.group_stats(adata, "type", layer="scaled")
    adata.layers["counts"] = sp.csr_matrix(np.ones((60, 40)))
    with pytest.raises(ValueError, match="looks like counts"):
        tl.group_stats(adata, "type", layer="counts")
    adata.var_names = ["g0", "g0", *adata.var_names[2:]]
    with pytest.raises(ValueError, match=r"'g0'.*var_names_make_unique"):
        tl.group_stats(adata, "type")


def test_stats_of_something_else_are_refused(adata):
    stats = tl.group_stats(adata, "type")
    assert stats_for(adata, "type", stats=stats) is stats
    with pytest.raises(ValueError, match=r"sample_key=None, not 'donor'"):
        stats_for(adata, "type", sample_key="donor", stats=stats)
    with pytest.raises(ValueError, match="other genes"):
        stats_for(adata[:, :5].copy(), "type", stats=stats)
    with pytest.raises(ValueError, match="other cells or labels"):
        stats_for(adata[:50].copy(), "type", stats=stats)


def test_leaves_the_input_alone(counts):
    adata = log_adata(counts)
    adata.X.indices[:2] = adata.X.indices[:2][::-1]  # unsorted
    adata.X.has_sorted_indices = False
    before = (adata.X.data.copy(), adata.X.indices.copy(), adata.obs.copy())
    tl.group_stats(adata, "type", sample_key="donor")
    np.testing.assert_array_equal(adata.X.data, before[0])
    np.testing.assert_array_equal(adata.X.indices, before[1])
    pd.testing.assert_frame_equal(adata.obs, before[2])
    assert not adata.uns


def test_frame_names_its_axes(adata):
    stats = tl.group_stats(adata, "type")
    frame = stats.frame("mean")
    assert frame.columns.tolist() == ["Mono", "T/NK", "B"]
    assert frame.index.equals(adata.var_names)
    with pytest.raises(ValueError, match="no value per group and gene"):
        stats.frame("mean_all")
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.mean = None

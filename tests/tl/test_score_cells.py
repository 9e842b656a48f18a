"""Scores of cells: against the slow meaning of each, scanpy and pyucell."""

from __future__ import annotations

import itertools
import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil._core._jit import threads
from cellsigil.tl import score_cells

ALL = ("ans", "ucell", "aucell", "scanpy", "zmean", "mean")
SIGNED = {
    "s": {"up": ["g1", "g2", "g3", "g30"], "down": ["g5", "g6", "g7"]},
    "t/u": ["g8", "g9", "g10"],
}


def make(n_cells=40, n_genes=260, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.poisson(rng.gamma(0.7, 1.5, n_genes), (n_cells, n_genes)).astype(np.float64)
    dense[3] = 0
    dense *= 10 / np.maximum(dense.sum(axis=1, keepdims=True), 1)
    x = sp.csr_matrix(np.log1p(dense * 30).astype(np.float32))
    names = [f"g{i}" for i in range(n_genes)]
    return ad.AnnData(
        x, var=pd.DataFrame(index=names), obs=pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    )


def naive_ans(x, names, up, down):
    """Mean over genes of (x - mean of the 100 pool genes, contiguous by mean, that are closest)."""
    mean = x.mean(axis=0)
    pool = sorted((m, n) for m, n in zip(mean, names) if n not in {*up, *down})
    place = {name: i for i, name in enumerate(names)}
    size = min(100, len(pool))
    windows = [pool[i : i + size] for i in range(len(pool) - size + 1)]

    def side(genes):
        out = []
        for gene in genes:
            level = mean[place[gene]]
            off = [round(abs(np.mean([m for m, _ in window]) - level), 12) for window in windows]
            controls = [place[name] for _, name in windows[int(np.argmin(off))]]
            out.append(x[:, place[gene]] - x[:, controls].mean(axis=1))
        return np.mean(out, axis=0) if out else 0

    return side(up) - side(down)


def naive_ucell(row, places, n_missing=0, max_rank=1500):
    stored = [v for v in row if v != 0]
    total = n_missing * max_rank
    for j in places:
        above = sum(v > row[j] for v in stored)
        ties = sum(v == row[j] for v in stored)
        rank = above + (ties + 1) / 2
        total += rank if row[j] != 0 and rank <= max_rank else max_rank
    n = len(places) + n_missing
    least = n * (n + 1) / 2
    return 1 - (total - least) / (n * max_rank - least)


def test_ans_means_what_naive_says(container):
    adata = make()
    x = adata.X.toarray().astype(float)
    expected = naive_ans(x, list(adata.var_names), **SIGNED["s"])
    adata.X = container(adata.X)
    score_cells(adata, SIGNED)
    np.testing.assert_allclose(adata.obsm["score_signatures"]["s"], expected, atol=1e-6)


def test_mean_and_zmean_mean_what_they_say(container):
    adata = make()
    x = adata.X.toarray().astype(float)
    weights = {"g1": 2.0, "g2": 1.0, "g3": 1.0, "g4": -1.0, "g5": -3.0}
    adata.X = container(adata.X)
    score_cells(adata, {"w": weights}, method="mean", key_added="m")
    up, down = (
        np.average(x[:, 1:4], axis=1, weights=[2, 1, 1]),
        np.average(x[:, 4:6], axis=1, weights=[1, 3]),
    )
    np.testing.assert_allclose(adata.obsm["m"]["w"], up - down, atol=1e-6)
    score_cells(adata, {"w": weights}, method="zmean", key_added="z")
    x = x[:, :6]
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    up, down = (
        np.average(z[:, 1:4], axis=1, weights=[2, 1, 1]),
        np.average(z[:, 4:6], axis=1, weights=[1, 3]),
    )
    np.testing.assert_allclose(adata.obsm["z"]["w"], up - down, atol=1e-5)


def test_ucell_means_what_naive_says(container):
    adata = make()
    x = adata.X.toarray()
    adata.X = container(adata.X)
    score_cells(adata, {"s": {"up": ["g1", "g2", "no"], "down": ["g5"]}}, method="ucell")
    expected = [max(0.0, naive_ucell(row, [1, 2], 1) - naive_ucell(row, [5])) for row in x]
    np.testing.assert_allclose(adata.obsm["score_signatures"]["s"], expected, atol=1e-9)


def test_aucell_is_the_mean_over_orders_of_ties(monkeypatch):
    x = np.array(
        [[3, 1, 1, 0, 0, 2.0], [0, 0, 0, 0, 0, 0], [2.5, 1.5, 2.5, 1, 1, 1], [-1, 2.5, 0, 0, -1, 0]]
    )
    n_top, own = 4, (1, 2, 4)
    monkeypatch.setattr("cellsigil.tl.scores._aucell.TOP", n_top / 6)
    adata = ad.AnnData(sp.csr_matrix(x), var=pd.DataFrame(index=[f"g{i}" for i in range(6)]))
    score_cells(adata, {"s": [f"g{j}" for j in own]}, method="aucell")
    most = sum(n_top - r for r in (1, 2, 3))
    for i, row in enumerate(x):
        values = []
        for order in itertools.permutations(range(6)):
            ranked = sorted(order, key=lambda j: -row[j])  # stable: ties in the permuted order
            rank = {j: r for r, j in enumerate(ranked, 1)}
            values.append(sum(max(0, n_top - rank[j]) for j in own) / most)
        assert adata.obsm["score_signatures"]["s"].iloc[i] == pytest.approx(np.mean(values))


@pytest.mark.parametrize("seed", [0, 7])
def test_scanpy_is_scanpys(pbmc3k, seed):
    sc = pytest.importorskip("scanpy")
    adata = pbmc3k
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    genes = {
        "T": ["CD3D", "CD3E", "CD3G", "IL7R", "nope"],
        "B": ["MS4A1", "CD79A", "CD79B", "CD74", "CD19"],
    }
    score_cells(adata, genes, method="scanpy", rng=seed)
    in_float32 = tuple(map(int, sc.__version__.split(".")[:2])) < (
        1,
        12,
    )  # how scanpy takes its means
    for name, held in genes.items():
        sc.tl.score_genes(adata, held, random_state=seed, score_name="theirs", use_raw=False)
        np.testing.assert_allclose(
            adata.obsm["score_signatures"][name], adata.obs["theirs"], rtol=1e-6,
            atol=1e-6 if in_float32 else 1e-9,
        )  # fmt: skip


def test_ucell_is_pyucells(pbmc3k):
    pyucell = pytest.importorskip("pyucell")
    adata = pbmc3k[:300].copy()
    adata.X = adata.X.log1p()
    adata.X.data /= 1.7
    genes = {
        "T": ["CD3D", "CD3E", "CD3G", "IL7R", "nope"],
        "B": {"up": ["MS4A1", "CD79A"], "down": ["LYZ"]},
    }
    score_cells(adata, genes, method="ucell")
    pyucell.compute_ucell_scores(
        adata, {"T": genes["T"], "B": ["MS4A1", "CD79A", "LYZ-"]}, n_jobs=1
    )
    for name in genes:
        np.testing.assert_allclose(
            adata.obsm["score_signatures"][name], adata.obs[f"{name}_UCell"], atol=1e-6
        )


@pytest.mark.parametrize("method", ALL)
def test_same_bits_on_any_number_of_threads_and_order_of_cells(method):
    adata = make(3000, 300)
    score_cells(adata, SIGNED, method=method)
    held = adata.obsm["score_signatures"]
    with threads(1):
        score_cells(adata, SIGNED, method=method, key_added="one")
    assert (adata.obsm["one"].to_numpy() == held.to_numpy()).all()
    if method == "scanpy":
        return  # its gene means are scanpy's, summed in the order of the cells
    order = np.random.default_rng(1).permutation(adata.n_obs)
    turned = adata[order].copy()
    score_cells(turned, SIGNED, method=method)
    assert (turned.obsm["score_signatures"].to_numpy() == held.to_numpy()[order]).all()


@pytest.mark.parametrize("method", ALL)
def test_same_bits_in_chunks_that_are_not_in_memory(method):
    da = pytest.importorskip("dask.array")
    adata = make(700, 300)
    score_cells(adata, SIGNED, method=method)
    lazy = adata.copy()
    pieces = [da.from_array(adata.X[start : start + 150]) for start in range(0, 700, 150)]
    lazy.X = da.concatenate(pieces)
    score_cells(lazy, SIGNED, method=method)
    key = "score_signatures"
    assert (lazy.obsm[key].to_numpy() == adata.obsm[key].to_numpy()).all()


def test_many_weights_give_what_few_at_a_time_give():
    """From a fifth of all weights on, the product is of dense weights."""
    adata = make(200, 400)
    sets = {f"s{i}": [f"g{j}" for j in range(i, 400, 4)] for i in range(4)}
    score_cells(adata, sets, method="mean")
    together = adata.obsm["score_signatures"].copy()
    for name, genes in sets.items():
        few = {name: genes, **{f"g{j}": [f"g{j}", "g0", "g1"] for j in range(2, 40)}}
        score_cells(adata, few, method="mean")
        assert (adata.obsm["score_signatures"][name] == together[name]).all()


@pytest.mark.parametrize("method", ["ans", "ucell"])
def test_scores_are_held_once(method):
    adata = make(n_cells=20_000, n_genes=120)
    sets = {f"s{k}": [f"g{k + t}" for t in range(5)] for k in range(100)}
    score_cells(adata[:50].copy(), sets, method=method)  # compiled before
    tracemalloc.start(1)
    try:
        score_cells(adata, sets, method=method)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    scores = 8 * 20_000 * 100
    assert scores < left < 1.1 * scores
    assert peak < 1.5 * scores


@pytest.mark.parametrize("method", ["ans", "ucell", "aucell", "zmean", "mean"])
def test_order_of_genes_moves_nothing(method):
    adata = make()
    score_cells(adata, SIGNED, method=method)
    turned = adata[:, np.random.default_rng(1).permutation(adata.n_vars)].copy()
    score_cells(turned, SIGNED, method=method)
    np.testing.assert_allclose(
        turned.obsm["score_signatures"], adata.obsm["score_signatures"], atol=1e-9
    )


def test_sets_what_it_says_and_nothing_else(tmp_path):
    adata = make()
    before = adata.copy()
    score_cells(adata, SIGNED)
    assert list(adata.obsm["score_signatures"].columns) == ["s", "t_u"]
    table = adata.uns["score_signatures"]
    assert table["signature"].tolist() == ["s", "t/u"]
    assert table["n_found"].tolist() == [7, 3]
    assert (adata.X != before.X).nnz == 0
    assert list(adata.obs.columns) == list(before.obs.columns)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.uns["score_signatures"]["signature"].tolist() == ["s", "t/u"]
    assert back.obsm["score_signatures"].shape == (40, 2)


def test_missing_genes_are_counted_and_few_are_nan():
    adata = make()
    genes = {"ok": ["g1", "g1", "g2", "g3", "no"], "few": ["g1", "g2", "x", "y"], "none": ["x"]}
    with pytest.warns(UserWarning, match=r"Fewer than 3 genes found.*'few' \(2\), 'none' \(0\)"):
        score_cells(adata, genes)
    scores, table = adata.obsm["score_signatures"], adata.uns["score_signatures"]
    assert scores["ok"].notna().all()
    assert scores[["few", "none"]].isna().all(axis=None)
    assert table["n_genes"].tolist() == [4, 4, 1]
    assert table["missing"].tolist() == ["no", "x y", "x"]


def test_says_what_is_wrong():
    adata = make()
    adata.var["symbol"] = [f"CD{i}" for i in range(adata.n_vars)]
    with pytest.raises(
        ValueError, match=r"None of the 2 signature genes .* var\['symbol'\] holds them"
    ):
        score_cells(adata, {"s": ["CD3", "CD4"]})
    with pytest.raises(ValueError, match="upper and lower case"):
        score_cells(adata, {"s": ["G1", "G2"]})
    with pytest.raises(ValueError, match="Ensembl ids"):
        score_cells(adata, {"s": ["ENSG00000010610", "ENSG00000153563"]})
    with pytest.raises(ValueError, match="Did you mean 'ans'"):
        score_cells(adata, SIGNED, method="anss")
    with pytest.raises(ValueError, match="holds all genes"):
        score_cells(adata, {"s": list(adata.var_names)})
    with pytest.raises(ValueError, match="holds a '/'"):
        score_cells(adata, SIGNED, key_added="a/b")
    counts = adata.copy()
    counts.X = sp.csr_matrix(np.ceil(counts.X.toarray()))
    with pytest.raises(ValueError, match="looks like counts"):
        score_cells(counts, SIGNED)
    adata.X[0, 0] = np.nan
    with pytest.raises(ValueError, match="X"):
        score_cells(adata, SIGNED)
    twice = make()
    twice.var_names = ["g1", *twice.var_names[1:]]
    with pytest.raises(ValueError, match=r"'g1'.*var_names_make_unique"):
        score_cells(twice, SIGNED)


def make_reference(adata, n_drop=0):
    from cellsigil._signature import LAYERS, OBS, SignatureSet

    x = adata.X.toarray().astype(float)
    var = pd.DataFrame(
        {
            "gene_id": "",
            "symbol": adata.var_names,
            "selected": False,
            "mean_log": x.mean(axis=0),
            "sd_log": x.std(axis=0, ddof=1),
        },
        index=adata.var_names,
    )
    values = np.ones((2, adata.n_vars))
    held = ad.AnnData(
        values,
        obs=pd.DataFrame(dict.fromkeys(OBS, 1.0), index=["a", "b"]),
        var=var,
        layers={k: values.copy() for k in LAYERS},
    )
    return SignatureSet(held[:, n_drop:].copy())


@pytest.mark.parametrize("method", ["ans", "zmean"])
def test_a_reference_makes_scores_independent_of_the_other_cells(method):
    adata = make(200)
    score_cells(adata, SIGNED, method=method)
    part = adata[:20].copy()
    score_cells(part, SIGNED, method=method, key_added="alone")
    score_cells(
        part, SIGNED, method=method, reference=make_reference(adata), key_added="by_reference"
    )
    whole = adata.obsm["score_signatures"].iloc[:20]
    np.testing.assert_allclose(part.obsm["by_reference"], whole, atol=1e-6)
    assert np.abs(part.obsm["alone"] - whole).to_numpy().max() > 1e-3
    # Controls missing in the data: the others stand for them, and the score hardly moves.
    own = [gene for genes in (*SIGNED["s"].values(), SIGNED["t/u"]) for gene in genes]
    fewer = part[:, [g in own or i % 4 > 0 for i, g in enumerate(part.var_names)]].copy()
    score_cells(fewer, SIGNED, method=method, reference=make_reference(adata))
    off = np.abs(fewer.obsm["score_signatures"] - whole).to_numpy().max()
    assert off < 1e-6 if method == "zmean" else 1e-6 < off < 0.2


def test_a_reference_is_refused_where_it_means_nothing():
    adata = make()
    with pytest.raises(ValueError, match="takes no reference"):
        score_cells(adata, SIGNED, method="ucell", reference=make_reference(adata))
    scaled = adata.copy()
    scaled.X = scaled.X * 3
    with pytest.raises(ValueError, match="per 10,000"):
        score_cells(scaled, SIGNED, reference=make_reference(adata))


def test_refuses_what_is_no_reference():
    with pytest.raises(TypeError, match=r"reference is a str.*sig\.read"):
        score_cells(make(), {"one": ["g0", "g1", "g2"]}, reference="set.h5ad")
    with pytest.raises(ValueError, match="rng=-1"):
        score_cells(make(), {"one": ["g0", "g1", "g2"]}, rng=-1)

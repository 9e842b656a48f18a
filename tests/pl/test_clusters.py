"""Markers and scores as drawn are the table's, or the cells'."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from cellsigil import pl, tl


def _names(ax, axis):
    return [t.get_text() for t in getattr(ax, f"get_{axis}ticklabels")()]


@pytest.fixture
def table(cells):
    return tl.markers(cells.copy(), "cell_type")


def test_dots_are_the_share_and_the_scaled_mean_of_the_cells(cells, table):
    ax = pl.markers(cells, "cell_type", table=table, n=2)
    genes = _names(ax, "x")
    x = pd.DataFrame(cells.X.toarray(), columns=cells.var_names)[genes]
    by = x.groupby(cells.obs["cell_type"].astype(str).to_numpy())
    order = list(cells.obs["cell_type"].cat.categories[:4])
    mean, share = by.mean().loc[order], (by.agg(lambda v: (v > 0).mean())).loc[order]
    level = (mean - mean.min()) / (mean.max() - mean.min())
    dots = ax.collections[0]
    np.testing.assert_allclose(dots.get_array(), level.to_numpy().ravel(), atol=1e-5)
    np.testing.assert_allclose(dots.get_sizes(), 2 + 108 * share.to_numpy().ravel(), rtol=1e-5)
    assert genes == table[table["rank"] <= 2]["gene"].tolist()
    assert _names(ax, "y") == ["T/NK", "<b>B</b>", r"\$x\$ & y", " _hidden"]


def test_heatmap_is_the_z_score_of_the_means(cells, table):
    ax = pl.heatmap(cells, "cell_type", table=table, n=3)
    x = pd.DataFrame(cells.X.toarray(), columns=cells.var_names)[_names(ax, "x")]
    mean = x.groupby(cells.obs["cell_type"].cat.codes.to_numpy()).mean()
    want = (mean - mean.mean()) / mean.std(ddof=0)
    got = np.asarray(ax.collections[0].get_array()).reshape(want.shape)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("how", ["table", "head", "uns", "made"])
def test_every_way_to_the_genes_draws_the_same(cells, table, how):
    whole = pl.markers(cells, "cell_type", table=table)
    if how == "uns":
        tl.markers(cells, "cell_type")
    part = table[table["rank"] <= 3] if how == "head" else table if how == "table" else None
    ax = pl.markers(cells, "cell_type", table=part)
    assert _names(ax, "x") == _names(whole, "x")
    for read in ("get_array", "get_sizes"):
        a, b = (getattr(which.collections[0], read)() for which in (ax, whole))
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_another_column_s_markers_in_uns_are_not_taken(cells):
    cells.obs["other"] = np.where(np.arange(120) % 4 < 2, "a", "b")
    tl.markers(cells, "other")
    assert _names(pl.markers(cells, "cell_type"), "y")[0] == "T/NK"


def test_foreign_tables_are_refused_in_a_sentence(cells, table):
    with pytest.raises(KeyError, match=r"no column 'gene'.*cellsigil\.tl\.markers"):
        pl.markers(cells, "cell_type", table=table.drop(columns="gene"))
    with pytest.raises(ValueError, match="'T/NX' is not in obs.*Did you mean 'T/NK'"):
        pl.markers(cells, "cell_type", table=table.replace({"group": {"T/NK": "T/NX"}}))
    with pytest.raises(ValueError, match="at least one gene"):
        pl.heatmap(cells, "cell_type", n=0)


def test_scores_draw_each_effect_around_one_half_and_ring_the_best(cells):
    cells.uns["score_clusters"].loc[3, "effect"] = np.nan
    ax = pl.scores(cells)
    mesh = ax.collections[0]
    values = np.ma.filled(np.asarray(mesh.get_array(), dtype=float), np.nan).reshape(4, 4)
    np.testing.assert_allclose(np.diag(values), 0.9)
    assert sum(mesh.get_clim()) == pytest.approx(1.0)
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [
        (i + 0.5, i + 0.5) for i in range(4)
    ]


def test_a_signature_without_a_score_comes_last(cells):
    table = cells.uns["score_clusters"]
    table.loc[table["signature"] == "T/NK", "effect"] = np.nan
    assert _names(pl.scores(cells), "y")[-1] == "T/NK"


@pytest.mark.parametrize("n", [2, 40])
def test_two_and_forty_groups_are_drawn_whole(n):
    import anndata as ad

    rng = np.random.default_rng(0)
    x = np.log1p(rng.poisson(1, (n * 8, 90))).astype(np.float32)
    names = pd.Categorical([f"a long type name {i % n}" for i in range(n * 8)])
    adata = ad.AnnData(x, obs=pd.DataFrame({"g": names}, index=[f"c{i}" for i in range(n * 8)]))
    adata.var_names = [f"G{i}" for i in range(90)]
    for draw in (pl.markers, pl.heatmap):
        ax = draw(adata, "g")
        figure = ax.figure
        figure.draw_without_rendering()
        seen = figure.get_tightbbox()
        wide, high = figure.get_size_inches()
        assert min(seen.x0, seen.y0) > -0.05
        assert max(seen.x1 - wide, seen.y1 - high) < 0.05


def test_the_caller_s_object_and_rcparams_are_left_alone(cells):
    before, params = cells.copy(), dict(mpl.rcParams)
    pl.markers(cells, "cell_type")
    pl.heatmap(cells, "cell_type")
    pl.umap(cells, color="cell_type")
    pl.scores(cells)
    pl.composition(cells)
    pl.qc(cells)
    assert dict(mpl.rcParams) == params
    assert set(cells.uns) == set(before.uns)
    assert set(cells.obsm) == set(before.obsm)
    assert (cells.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(cells.obs, before.obs)

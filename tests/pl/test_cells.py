"""What the figures of cells draw is what the data hold."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cellsigil import pl


def test_qc_has_a_panel_per_measure_and_counts_every_cell(cells):
    figure = pl.qc(cells, thresholds={"pct_counts_mt": [None, 5.0]})
    assert [ax.get_title("left") for ax in figure.axes] == [
        "Molecules per cell",
        "Mitochondrial counts (%)",
    ]
    for ax in figure.axes:
        [steps] = ax.patches
        assert steps.get_data().values.sum() == 120
    assert figure.axes[1].lines[-1].get_xdata()[0] == 5.0


def test_qc_by_sample_names_the_samples(cells):
    figure = pl.qc(cells, sample_key="sample")
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["s0", "s1", "s2"]


def test_umap_draws_every_cell_in_the_colour_of_its_type(cells):
    ax = pl.umap(cells, color="cell_type")
    dots = ax.collections[0]
    wheel = pl.palette(["T/NK", "<b>B</b>", "$x$ & y", "_hidden"])
    drawn = {
        tuple(p): tuple(c) for p, c in zip(np.asarray(dots.get_offsets()), dots.get_facecolors())
    }
    for place, name in zip(cells.obsm["X_umap"], cells.obs["cell_type"]):
        assert drawn[tuple(place)] == to_rgba(wheel[name])


def test_umap_of_a_gene_draws_its_values_highest_on_top(cells):
    dots = pl.umap(cells, color="G0").collections[0]
    values = np.asarray(dots.get_array())
    assert (np.diff(values) >= 0).all()
    np.testing.assert_array_equal(values, np.sort(cells.X[:, 0].toarray().ravel()))


def test_composition_stacks_to_one_hundred_in_the_cells_shares(cells):
    ax = pl.composition(cells)
    wide = np.array([[bar.get_width() for bar in group] for group in ax.containers])
    table = cells.obs.groupby(["cell_type", "sample"], observed=True).size().unstack()
    np.testing.assert_allclose(wide, 100 * table / table.sum(), rtol=1e-12)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    ("draw", "error"),
    [
        (lambda a: pl.qc(a, metrics=["no"]), r"Run cellsigil\.pp\.qc"),
        (lambda a: pl.umap(a, basis="X_tsne"), r"Run cellsigil\.tl\.umap"),
        (lambda a: pl.umap(a, color="cell_typ"), "Did you mean 'cell_type'"),
        (lambda a: pl.composition(a, sample_key="sampl"), "Did you mean 'sample'"),
        (lambda a: pl.scores(a, key="other"), r"Run cellsigil\.tl\.score_clusters"),
        (lambda a: pl.markers(a, "cell_typ"), "Did you mean 'cell_type'"),
    ],
)
def test_what_is_missing_is_named_with_the_way_out(cells, draw, error):
    with pytest.raises(KeyError, match=error):
        draw(cells)


def test_a_given_ax_is_drawn_in(cells):
    for draw in (pl.umap, pl.composition, pl.scores):
        ax = Figure().add_subplot()
        assert draw(cells, ax=ax) is ax
    for draw in (pl.markers, pl.heatmap):
        ax = Figure().add_subplot()
        assert draw(cells, "cell_type", ax=ax) is ax


def test_colours_hang_on_the_names_alone():
    a = pl.palette(["c10", "c2", "unknown", "x, unresolved"])
    assert a["c2"] == pl.palette(["c2", "c10"])["c2"]
    assert a["c10"] == pl.palette(["c2", "c10"])["c10"]
    assert len(set(pl.palette([f"t{i}" for i in range(40)]).values())) == 40
    assert pl.palette(["a", "b"], colors={"b": "#000000"})["b"] == "#000000"


def test_names_on_the_map_do_not_overlap_and_few_cells_stay_in_sight():
    rng = np.random.default_rng(0)
    names = [f"type {k} of a long name" for k in range(8)]
    centres = rng.uniform(0, 1, (8, 2))
    places = np.repeat(centres, 50, axis=0) + rng.normal(scale=0.2, size=(400, 2))
    few = np.array([[9.0, 9.0], [9.02, 9.0]])
    adata = ad.AnnData(obs=pd.DataFrame({"type": np.repeat(names, 50).tolist() + ["few"] * 2}))
    adata.obsm["X_umap"] = np.concatenate([places, few])
    ax = pl.umap(adata, color="type")
    ax.figure.draw_without_rendering()
    texts = {text.get_text(): text for text in ax.texts}
    assert texts.keys() == {*names, "few"}
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert texts["few"].get_window_extent().y0 > ax.transData.transform(few)[:, 1].max()

"""Figures of signatures and of bulk draw the numbers that they were given."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cellsigil import pl


def _names(ax, axis):
    return [
        t.get_text().replace(r"\$", "$").strip() for t in getattr(ax, f"get_{axis}ticklabels")()
    ]


def _grid(ax, shape):
    return np.asarray(ax.collections[0].get_array(), dtype=float).reshape(shape)


def test_signature_draws_log10_of_the_selected_profiles(profiles):
    ax = pl.signature(profiles)
    genes = _names(ax, "x")
    assert sorted(genes) == sorted(profiles.selected)
    want = np.log10(np.maximum(profiles.profiles.loc[genes].to_numpy().T, 0.01))
    np.testing.assert_allclose(_grid(ax, (4, 16)), want)
    assert (np.diff(want.argmax(axis=0)) >= 0).all()
    assert _names(ax, "y") == profiles.types


def test_signature_draws_at_most_n_genes_of_each_type(profiles):
    shown = profiles.profiles.loc[_names(pl.signature(profiles, n=2), "x")]
    assert shown.to_numpy().argmax(axis=1).tolist() == sorted(shown.to_numpy().argmax(axis=1))
    assert np.bincount(shown.to_numpy().argmax(axis=1)).max() <= 2


def test_similarity_draws_the_correlations(profiles):
    ax = pl.similarity(profiles)
    names = _names(ax, "y")
    want = np.log1p(profiles.profiles.loc[profiles.selected])[names].corr()
    np.testing.assert_allclose(_grid(ax, (4, 4)), want, atol=1e-12)


def test_a_signature_without_selected_genes_says_so(profiles):
    profiles.adata.var["selected"] = False
    with pytest.raises(ValueError, match=r"no selected genes.*cellsigil\.sig\.build"):
        pl.signature(profiles)


@pytest.mark.parametrize("cluster", [False, True])
def test_fractions_draw_every_share_in_its_type_s_colour(result, cluster):
    ax = pl.fractions(result, cluster=cluster)
    samples = _names(ax, "y")
    assert (samples == result.fractions.index.tolist()) or cluster
    wide = np.array([[bar.get_width() for bar in bars] for bars in ax.containers]).T
    np.testing.assert_allclose(wide, 100 * result.fractions.loc[samples])
    wheel = pl.palette(result.fractions.columns)
    for name, bars in zip(result.fractions, ax.containers):
        assert bars[0].get_facecolor() == to_rgba(wheel[name])


def test_two_hundred_samples_keep_their_names(result):
    shares = pd.concat([result.fractions] * 40).set_axis([f"s{i}" for i in range(200)])
    ax = pl.fractions(type(result)(shares, shares, result.intervals, result.fit, "m"))
    assert _names(ax, "y") == shares.index.tolist()


def test_intervals_draw_estimate_low_and_high(result):
    figure = pl.intervals(result)
    assert len(figure.axes) == 4
    for ax, name in zip(figure.axes, result.fractions):
        rows = result.intervals[result.intervals["type"] == name]
        ends = np.array([path.vertices[:, 0] for path in ax.collections[0].get_paths()])
        np.testing.assert_allclose(ends, 100 * rows[["low", "high"]].to_numpy())
        np.testing.assert_allclose(ax.lines[0].get_xdata(), 100 * rows["estimate"])
    assert len(pl.intervals(result, types=["T/NK"]).axes) == 1
    with pytest.raises(KeyError, match="No type 'T/NX'.*Did you mean 'T/NK'"):
        pl.intervals(result, types=["T/NX"])


def test_truth_draws_what_both_have_and_says_how_well_it_fits(result):
    known = result.fractions.iloc[:4, :3] * 0.9 + 0.02
    ax = pl.truth(result, known.assign(other=0.1))
    assert len(ax.collections) == 3
    for dots, name in zip(ax.collections, known):
        want = 100 * np.column_stack([known[name], result.fractions.loc[known.index, name]])
        np.testing.assert_allclose(np.asarray(dots.get_offsets()), want)
    x, y = (
        known.to_numpy().ravel(),
        result.fractions.loc[known.index, known.columns].to_numpy().ravel(),
    )
    text = ax.texts[0].get_text()
    assert f"r {np.corrcoef(x, y)[0, 1]:.2f}" in text
    assert f"RMSE {100 * np.sqrt(np.mean((x - y) ** 2)):.1f}" in text
    assert all("r 1.00" in entry.get_text() for entry in ax.get_legend().get_texts())


def test_truth_without_anything_in_common_is_a_sentence(result):
    with pytest.raises(ValueError, match="No sample is in both"):
        pl.truth(result, result.fractions.set_axis(list("vwxyz")))
    with pytest.raises(ValueError, match="No type is in both"):
        pl.truth(result, result.fractions.set_axis(list("vwxy"), axis=1))


def test_fit_draws_residuals_and_r(result):
    ax = pl.fit(result)
    np.testing.assert_allclose(
        [bar.get_width() for bar in ax.patches], result.fit["residual_share"]
    )
    np.testing.assert_allclose(ax.lines[0].get_xdata(), result.fit["r"])
    assert _names(ax, "y") == result.fit.index.tolist()


def test_a_given_ax_is_drawn_in(result, profiles):
    for draw, thing in (
        (pl.fractions, result),
        (pl.fit, result),
        (pl.signature, profiles),
        (pl.similarity, profiles),
    ):
        ax = Figure().add_subplot()
        assert draw(thing, ax=ax) is ax
    ax = Figure().add_subplot()
    assert pl.truth(result, result.fractions, ax=ax) is ax


def test_awkward_names_render(result, profiles, tmp_path):
    for i, ax in enumerate(
        (pl.fractions(result), pl.truth(result, result.fractions), pl.similarity(profiles))
    ):
        ax.figure.savefig(tmp_path / f"{i}.svg")
    assert "T/NK" in [t.get_text() for t in pl.fractions(result).get_legend().get_texts()]
    assert len(pl.fractions(result).get_legend().get_texts()) == 4


def test_pyplot_stays_out(tmp_path):
    code = (
        "import sys, pandas as pd, cellsigil.pl as pl, cellsigil.deconv as d;"
        "f = pd.DataFrame({'a': [.5, .4], 'b': [.5, .6]}, index=['x', 'y']);"
        "pl.fractions(d.Deconvolution(f, f, f, f, 'm')).figure.savefig(sys.argv[1]);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "False"

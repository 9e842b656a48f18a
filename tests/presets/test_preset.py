"""A preset is data: it reads, writes, resolves, and names what is wrong with it."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from cellsigil.presets import Preset, Step, load, names

SMALL = """
name = "small"
[[steps]]
call = "pp.normalize"
target_sum = 1e4
[[steps]]
call = "pp.hvg"
"""


def test_shipped_presets_load_and_come_back_from_their_own_toml():
    assert "pbmc" in names()
    for name in names():
        preset = load(name)
        assert preset.description
        assert Preset.from_toml(preset.to_toml()) == preset


def test_resolved_toml_holds_every_default():
    text = Preset.from_toml(SMALL).to_toml(resolved=True)
    steps = {step["call"]: step for step in tomllib.loads(text)["steps"]}
    assert steps["pp.hvg"]["n_top_genes"] == 2000
    assert steps["pp.hvg"]["flavor"] == "seurat"
    assert steps["pp.normalize"]["key_added"] == "size_factor"


def test_a_step_reads_as_a_line_of_a_notebook():
    assert str(Step("pp.hvg", {"n_top_genes": 500})) == "cellsigil.pp.hvg(adata, n_top_genes=500)"
    deconvolve = Step("deconv.deconvolve", {"method": "em"})
    assert str(deconvolve) == "cellsigil.deconv.deconvolve(bulk, signature, method='em')"


def test_changes_go_to_every_step_of_that_name():
    changed = Preset.from_toml(SMALL).with_arguments({"pp.hvg.n_top_genes": 77})
    assert changed.steps[1].arguments == {"n_top_genes": 77}
    assert changed.steps[0].arguments == {"target_sum": 1e4}


def test_the_shipped_presets_clusters_can_be_of_a_single_run():
    preset = load("pbmc")
    for changed, n_runs in (
        (preset, 2),
        (preset.with_arguments({"tl.cluster.n_runs": 1}), 1),
    ):
        steps = tomllib.loads(changed.to_toml(resolved=True))["steps"]
        assert [s["n_runs"] for s in steps if s["call"] == "tl.cluster"] == [n_runs]
    line = "cellsigil.tl.cluster(adata, resolution=1.0, n_runs=1)"
    assert line in [str(step) for step in changed.steps]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "no valid TOML"),
        ('name = "x"', r"needs a name and at least one \[\[steps\]\]"),
        ('name = "x"\n[[steps]]\ntarget_sum = 1', "step 1 has no call"),
        (
            'name = "x"\n[[steps]]\ncall = "pp.normalise"',
            "No function 'pp.normalise'.*Did you mean 'pp.normalize'",
        ),
        ('name = "x"\n[[steps]]\ncall = "os.remove"', "No function 'os.remove'"),
        (
            'name = "x"\n[[steps]]\ncall = "pp.hvg"\nn_top = 5',
            "pp.hvg has no parameter 'n_top'. Did you mean",
        ),
        (
            'name = "x"\n[[steps]]\ncall = "pp.hvg"\nnone = ["layr"]',
            "pp.hvg has no parameter 'layr'. Did you mean 'layer'",
        ),
        (
            'name = "x"\n[[steps]]\ncall = "pp.hvg"\nlayer = "a"\nnone = ["layer"]',
            "step 1 sets 'layer', and names it in none as well",
        ),
    ],
)
def test_a_wrong_preset_is_named(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        Preset.from_toml(text)


def test_a_change_of_a_step_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="has no step 'pp.pca' to set pp.pca.n_comps"):
        Preset.from_toml(SMALL).with_arguments({"pp.pca.n_comps": 5})


def test_an_unknown_preset_names_the_near_one(tmp_path):
    with pytest.raises(ValueError, match="No preset 'pbm'. Did you mean 'pbmc'"):
        load("pbm")
    with pytest.raises(ValueError, match="No preset file .*none.toml"):
        load(tmp_path / "none.toml")


def test_a_preset_of_the_users_own_loads(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    assert load(path).name == "small"


@pytest.mark.parametrize("resolved", [False, True])
def test_none_comes_back_where_the_default_is_another(resolved):
    """target_sum=None is the median total, batch_key=None is one batch where there are several samples."""
    preset = Preset.from_toml(SMALL).with_arguments(
        {"pp.normalize.target_sum": None, "pp.hvg.batch_key": None}
    )
    text = preset.to_toml(resolved=resolved)
    back = Preset.from_toml(text)
    assert tomllib.loads(text)["steps"][0]["none"] == ["target_sum"]
    assert [step.resolved() for step in back.steps] == [step.resolved() for step in preset.steps]
    assert back.steps[1].arguments["batch_key"] is None
    assert resolved or back == preset


def test_defaults_that_are_none_are_left_out():
    """Else a preset made from what was written would no longer take the samples of other data."""
    text = load("pbmc").to_toml(resolved=True)
    assert "none = " not in text
    assert "batch_key" not in text


def test_arrays_and_numbers_of_numpy_come_back():
    sets = {"mt": np.array(["MT-ND1", "MT-CO1"])}
    preset = Preset("x", "", (Step("pp.qc", {"gene_sets": sets, "percent_top": [np.int64(50)]}),))
    back = Preset.from_toml(preset.to_toml()).steps[0].arguments
    assert back == {"gene_sets": {"mt": ["MT-ND1", "MT-CO1"]}, "percent_top": [50]}

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import deconv
from cellsigil._core._jit import threads


@pytest.fixture
def cells() -> ad.AnnData:
    """Three types in three donors; cell i's counts say its type (gene) and its donor (gene)."""
    rng = np.random.default_rng(0)
    type_code, donor_code = np.tile([0, 1, 2], 30), np.repeat([0, 1, 2], 30)
    kept = ~((type_code == 2) & (donor_code == 2))  # the third donor has no third type
    type_code, donor_code = type_code[kept], donor_code[kept]
    counts = rng.poisson(1.0, (type_code.size, 30))
    counts[:, :6] = 0
    rows = np.arange(type_code.size)
    counts[rows, type_code] = 1 + type_code  # a marker with as many counts as the type's rank
    counts[rows, 3 + donor_code] = 1
    obs = pd.DataFrame(
        {
            "cell_type": np.array(["B", "T/NK", "Mono"])[type_code],
            "donor": np.array(["d0", "d1", "d2"])[donor_code],
        },
        index=[f"c{i}" for i in rows],
    )
    var = pd.DataFrame(index=[f"g{j}" for j in range(30)])
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


def test_sums_are_of_the_cells_drawn(cells, container, dtype):
    cells.X = container(cells.X.astype(dtype))
    got = deconv.simulate(
        cells, "cell_type", sample_key="donor", n_samples=7, n_cells=40, depth=None
    )
    bulk, cells_of = got.bulk, got.fractions * 40
    assert bulk.shape == (30, 7)
    assert got.fractions.columns.tolist() == ["B", "Mono", "T/NK"]
    np.testing.assert_allclose(got.fractions.sum(axis=1), 1)
    np.testing.assert_allclose(bulk.loc["g0"], cells_of["B"])
    np.testing.assert_allclose(bulk.loc["g1"], 2 * cells_of["T/NK"])
    np.testing.assert_allclose(bulk.loc["g2"], 3 * cells_of["Mono"])
    for j, donor in enumerate(("d0", "d1", "d2")):
        np.testing.assert_allclose(bulk.loc[f"g{3 + j}"], 40.0 * (got.donors == donor))


def test_rna_fractions_are_shares_of_counts(cells):
    marked = cells.copy()
    marked.X = sp.csr_matrix(
        np.eye(3)[cells.obs["cell_type"].map({"B": 0, "T/NK": 1, "Mono": 2})] * [1.0, 3.0, 5.0]
    )[:, [0, 1, 2] + [0] * 27]
    got = deconv.simulate(marked, "cell_type", n_samples=5, n_cells=100, depth=None)
    content = got.fractions * pd.Series({"B": 28.0, "Mono": 5.0, "T/NK": 3.0})
    np.testing.assert_allclose(got.rna_fractions, content.div(content.sum(axis=1), axis=0))


def test_only_the_donors_asked_for_are_drawn_in_turn(cells):
    got = deconv.simulate(
        cells, "cell_type", sample_key="donor", samples=["d2", "d1"], n_samples=5, depth=None
    )
    assert got.donors.tolist() == ["d2", "d1", "d2", "d1", "d2"]
    assert (got.bulk.loc["g3"] == 0).all(), "d0 gave no cell"
    assert (got.fractions.loc[got.donors == "d2", "Mono"] == 0).all(), "d2 has no such cell"
    assert got.parameters["samples"] == ["d2", "d1"]


def test_depth_and_platform_effect(cells):
    quiet = deconv.simulate(cells, "cell_type", n_samples=4, n_cells=300, depth=20_000)
    assert (quiet.bulk.sum() == 20_000).all()
    assert (quiet.bulk == quiet.bulk.round()).all().all()
    clean = deconv.simulate(cells, "cell_type", n_samples=4, n_cells=300, depth=None)
    loud = deconv.simulate(
        cells, "cell_type", n_samples=4, n_cells=300, depth=None, gene_noise_sd=0.5
    )
    ratio = (loud.bulk / clean.bulk).loc["g6":]
    np.testing.assert_allclose(
        ratio.std(axis=1), 0, atol=1e-12, err_msg="one effect for all samples"
    )
    assert 0.3 < np.log(ratio.iloc[:, 0]).std() < 0.8
    pd.testing.assert_frame_equal(clean.fractions, loud.fractions)


def test_concentration_names_types(cells):
    got = deconv.simulate(cells, "cell_type", n_samples=20, concentration={"B": 50, "T/NK": 50})
    assert (got.fractions["Mono"] == 0).all()
    assert got.fractions["B"].between(0.3, 0.7).all()
    even = deconv.simulate(cells, "cell_type", n_samples=20, concentration=1000.0)
    assert even.fractions.sub(1 / 3).abs().max().max() < 0.15


def test_the_seed_is_the_whole_of_chance_and_nothing_is_changed(cells):
    before = cells.copy()
    with threads(1):
        a = deconv.simulate(cells, "cell_type", n_samples=3, rng=5)
    with threads(2):
        b = deconv.simulate(cells, "cell_type", n_samples=3, rng=5)
    c = deconv.simulate(cells, "cell_type", n_samples=3, rng=6)
    pd.testing.assert_frame_equal(a.bulk, b.bulk)
    assert not a.bulk.equals(c.bulk)
    np.testing.assert_array_equal(cells.X.data, before.X.data)
    pd.testing.assert_frame_equal(cells.obs, before.obs)


def test_donors_split_in_halves(cells):
    build, held_out = deconv.split_donors(cells, "donor")
    assert len(build) == 2
    assert len(held_out) == 1
    assert set(build) | set(held_out) == {"d0", "d1", "d2"}
    with pytest.raises(ValueError, match="at least 2"):
        deconv.split_donors(cells[cells.obs["donor"] == "d0"].copy(), "donor")


def test_refusals(cells):
    with pytest.raises(KeyError, match="No donor 'd9' in obs"):
        deconv.simulate(cells, "cell_type", sample_key="donor", samples=["d9"])
    with pytest.raises(ValueError, match="sample_key= does not say"):
        deconv.simulate(cells, "cell_type", samples=["d1"])
    with pytest.raises(KeyError, match="no such type: 'TNK'"):
        deconv.simulate(cells, "cell_type", concentration={"TNK": 1})
    for bad in (
        {"n_samples": 0},
        {"n_cells": 0},
        {"gene_noise_sd": -1},
        {"depth": 0},
        {"depth": np.inf},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(bad))}=.*out of range"):
            deconv.simulate(cells, "cell_type", **bad)
    with pytest.raises(ValueError, match="positive numbers"):
        deconv.simulate(cells, "cell_type", concentration=0)
    cells.X = cells.X * 0.5
    with pytest.raises(ValueError, match="raw counts are missing"):
        deconv.simulate(cells, "cell_type")

"""The demo's files are what the simulator made, and load the same installed or not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cellsigil import datasets


def test_cells_carry_samples_counts_and_true_types():
    adata = datasets.demo()
    assert adata.n_obs == 8 * 380
    assert adata.obs["sample"].nunique() == 8
    assert adata.obs["true_type"].notna().all()
    counts = adata.layers["counts"]
    assert (counts.data == np.round(counts.data)).all()
    assert "MS4A1" in adata.var_names


def test_bulk_and_truth_match():
    bulk, truth = datasets.demo_bulk(), datasets.demo_truth()
    assert bulk.shape[1] == 12
    assert bulk.columns.tolist() == truth.index.tolist()
    np.testing.assert_allclose(truth.sum(1), 1, atol=1e-5)


def test_no_donor_is_in_both_cells_and_bulk():
    donors = set(datasets.demo().obs["sample"])
    patients = {name[:-1] for name in datasets.demo_bulk().columns}
    assert len(patients) == 4
    assert not donors & patients


def test_stays_small():
    files = datasets.demo_files()
    assert sum(f.stat().st_size for f in files.cells.parent.iterdir()) < 8_000_000


def test_the_script_makes_the_shipped_values(shared, tmp_path):
    files = datasets.demo_files()
    script = files.cells.parents[1] / "make_demo.py"
    if not script.exists():
        pytest.skip("the script lives in the source tree only")
    subprocess.run([sys.executable, script, shared("pbmc3k_raw.h5ad"), tmp_path], check=True)
    made = pd.read_csv(tmp_path / "bulk.tsv.gz", sep="\t", index_col=0)
    pd.testing.assert_frame_equal(made, datasets.demo_bulk())
    made = pd.read_csv(tmp_path / "cells.tsv.gz", sep="\t")
    pd.testing.assert_frame_equal(made, pd.read_csv(files.true_types, sep="\t"))

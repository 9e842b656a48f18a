"""A SignatureSet comes back from its file as it was, odd names and all."""

from __future__ import annotations

import os
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellsigil._signature import LAYERS, SCHEMA, UNS_KEY, SignatureSet

TYPES = ["T/NK", "B cell; (naïve)", "Monocyte", "=1+1"]
OLD_PYTHON = os.environ.get("CELLSIGIL_ANNDATA010_PYTHON")


@pytest.fixture
def signature():
    rng = np.random.default_rng(1)
    genes = [f"GENE{i}" for i in range(11)] + ["HLA-DRB5/1"]
    obs = pd.DataFrame(
        {
            "n_cells": [10, 20, 30, 5],
            "n_samples": [2, 2, 2, 1],
            "rna_content": [0.5, 1.0, 1.5, 1.0],
            "cell_ontology_id": ["CL:0000814", "CL:0000788", "CL:0000576", ""],
        },
        index=TYPES,
    )
    var = pd.DataFrame(
        {
            "gene_id": [f"ENSG{i}" for i in range(12)],
            "symbol": genes,
            "selected": [True, False] * 6,
            "mean_log": rng.random(12),
            "sd_log": rng.random(12),
        },
        index=genes,
    )
    layers = {name: rng.random((4, 12)) for name in LAYERS}
    layers["var_samples"][3] = np.nan
    adata = ad.AnnData(rng.random((4, 12)) * 1e4, obs=obs, var=var, layers=layers)
    return SignatureSet(
        adata, {"units": "CP10K", "card": {"r": 0.9, "types": TYPES}, "genome": None}
    )


@pytest.mark.parametrize("compat", [False, True])
def test_round_trip(signature, tmp_path, compat):
    before = signature.adata.copy()
    signature.write(tmp_path / "s.h5ad", compat=compat)
    assert UNS_KEY not in signature.adata.uns
    assert signature.adata.obs.dtypes.tolist() == before.obs.dtypes.tolist()
    assert os.listdir(tmp_path) == ["s.h5ad"]
    back = SignatureSet.read(tmp_path / "s.h5ad")
    assert back.types == TYPES
    assert back.genes.tolist() == signature.genes.tolist()
    assert back.info == signature.info
    assert back.card == {"r": 0.9, "types": TYPES}
    pd.testing.assert_frame_equal(back.profiles, signature.profiles, check_names=False)
    for name in LAYERS:
        np.testing.assert_array_equal(back.adata.layers[name], signature.adata.layers[name])
    assert back.selected.tolist() == signature.selected.tolist()
    assert back.rna_content.tolist() == [0.5, 1.0, 1.5, 1.0]
    assert (
        back.adata.obs["cell_ontology_id"].tolist()
        == signature.adata.obs["cell_ontology_id"].tolist()
    )
    assert back.adata.var["gene_id"].tolist() == signature.adata.var["gene_id"].tolist()


def test_twice_gives_the_same(signature, tmp_path):
    signature.write(tmp_path / "a.h5ad")
    SignatureSet.read(tmp_path / "a.h5ad").write(tmp_path / "b.h5ad")
    a, b = SignatureSet.read(tmp_path / "a.h5ad"), SignatureSet.read(tmp_path / "b.h5ad")
    assert a.info == b.info
    np.testing.assert_array_equal(a.adata.X, b.adata.X)


def test_profiles_are_genes_by_types(signature):
    assert signature.profiles.shape == (12, 4)
    assert signature.profiles.loc["GENE3", "T/NK"] == signature.adata.X[0, 3]
    assert signature.layer("auc").loc["GENE3", "T/NK"] == signature.adata.layers["auc"][0, 3]


def test_any_anndata_user_can_open_it(signature, tmp_path):
    signature.write(tmp_path / "s.h5ad")
    plain = ad.read_h5ad(tmp_path / "s.h5ad")
    assert plain.obs_names.tolist() == TYPES
    assert SCHEMA in plain.uns[UNS_KEY]


@pytest.mark.skipif(
    not OLD_PYTHON, reason="CELLSIGIL_ANNDATA010_PYTHON names no python with anndata 0.10"
)
def test_anndata_0_10_opens_it(signature, tmp_path):
    signature.write(tmp_path / "s.h5ad")
    program = "import sys, anndata as ad; print(ad.read_h5ad(sys.argv[1]).obs_names[0])"
    done = subprocess.run(
        [OLD_PYTHON, "-c", program, str(tmp_path / "s.h5ad")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "T/NK", done.stderr


def test_what_is_missing_is_named(signature):
    bare = signature.adata.copy()
    del bare.layers["auc"], bare.obs["n_cells"]
    with pytest.raises(
        ValueError, match=r"layers\['auc'\], obs\['n_cells'\] missing. Make one with"
    ):
        SignatureSet(bare)


def test_doubled_types_are_refused(signature):
    double = signature.adata.copy()
    double.obs_names = ["B", "B", "C", "D"]
    with pytest.raises(ValueError, match="unique type names"):
        SignatureSet(double)


def test_other_files_are_refused(signature, tmp_path):
    (tmp_path / "t.h5ad").write_text("no")
    with pytest.raises(ValueError, match=r"t.h5ad can't be read as .h5ad"):
        SignatureSet.read(tmp_path / "t.h5ad")
    signature.adata.write_h5ad(tmp_path / "p.h5ad")
    with pytest.raises(ValueError, match=r"p.h5ad is an .h5ad but no SignatureSet"):
        SignatureSet.read(tmp_path / "p.h5ad")
    with pytest.raises(FileNotFoundError):
        SignatureSet.read(tmp_path / "none.h5ad")


def test_a_newer_schema_is_refused(signature, tmp_path):
    newer = signature.adata.copy()
    newer.uns[UNS_KEY] = '{"schema": "cellsigil.signature_set/99"}'
    newer.write_h5ad(tmp_path / "n.h5ad")
    with pytest.raises(
        ValueError, match=r"has schema 'cellsigil.signature_set/99'.*Update cellsigil"
    ):
        SignatureSet.read(tmp_path / "n.h5ad")


def test_a_failed_write_leaves_the_old_file(signature, tmp_path):
    path = tmp_path / "s.h5ad"
    signature.write(path)
    signature.adata.uns["bad"] = object()
    with pytest.raises(Exception, match=r"."):
        signature.write(path)
    assert SignatureSet.read(path).types == TYPES
    assert os.listdir(tmp_path) == ["s.h5ad"]

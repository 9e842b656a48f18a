"""h5ad and zarr: everything as in the file; damage is named before anything walks on it."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import io


@pytest.fixture
def stored(adata, tmp_path):
    path = tmp_path / "cells.h5ad"
    adata.copy().write_h5ad(path)
    return path


def test_everything_is_as_in_the_file(adata, tmp_path, small):
    adata.var_names = ["SAME", "SAME", *adata.var_names[2:]]
    adata.X = sp.csr_matrix(np.log1p(small).astype(np.float64))
    adata.layers["other"] = sp.csc_matrix(small)
    adata.copy().write_h5ad(tmp_path / "a.h5ad")
    back = io.read(tmp_path / "a.h5ad")
    assert back.obs_names.tolist() == adata.obs_names.tolist()
    assert back.var_names.tolist() == adata.var_names.tolist()
    assert back.X.dtype == np.float64
    np.testing.assert_array_equal(back.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(back.layers["counts"].toarray(), small)
    assert back.layers["other"].format == "csc"
    assert back.obs["cell_type"].tolist() == adata.obs["cell_type"].tolist()


@pytest.mark.parametrize("nullable", [True, False])
def test_strings_are_as_anndata_reads_them(adata, tmp_path, nullable):
    few = adata[:4].copy()
    few.obs["note"] = pd.Series(["", "β-cell", None, "a\nb"], few.obs_names, dtype="str")
    few.obs["missing"] = pd.array(["x", pd.NA, "", "y"], dtype="string")
    few.obs["kind"] = pd.Categorical(["ω", "", "ω", None])
    few.uns["none"] = pd.DataFrame({"text": pd.Series([], dtype="str")})
    with ad.settings.override(allow_write_nullable_strings=nullable):
        if not nullable:
            del few.obs["missing"]
            few.obs["note"] = few.obs["note"].fillna("-").astype(object)
        few.write_h5ad(tmp_path / "a.h5ad")
    ours, theirs = io.read(tmp_path / "a.h5ad"), ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    pd.testing.assert_frame_equal(ours.var, theirs.var)
    pd.testing.assert_frame_equal(ours.uns["none"], theirs.uns["none"])
    assert ours.obs["note"].tolist()[:2] == ["", "β-cell"]


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_counts_of_x_are_added(make, small, tmp_path):
    ad.AnnData(make(small.astype(np.float32))).write_h5ad(tmp_path / "a.h5ad")
    back = io.read(tmp_path / "a.h5ad")
    counts = back.layers["counts"]
    assert counts.format == "csr"
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts.toarray(), small)
    counts.data[:] = -1
    x = back.X.toarray() if sp.issparse(back.X) else back.X
    np.testing.assert_array_equal(x, small)


def test_no_counts_no_layer(small, tmp_path):
    adata = ad.AnnData(sp.csr_matrix(np.log1p(small)))
    adata.raw = ad.AnnData(sp.csr_matrix(small))
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert "counts" not in io.read(tmp_path / "a.h5ad").layers


def test_zarr(adata, tmp_path, small):
    pytest.importorskip("zarr")
    adata.write_zarr(tmp_path / "cells.zarr")
    back = io.read(tmp_path / "cells.zarr")
    np.testing.assert_array_equal(back.layers["counts"].toarray(), small)
    assert back.obs["cell_type"].cat.categories.tolist() == ["B", "T/NK"]


def test_zarr_that_is_damaged(adata, tmp_path):
    pytest.importorskip("zarr")
    adata.write_zarr(tmp_path / "cells.zarr")
    chunk = next(p for p in (tmp_path / "cells.zarr/X/data").rglob("*") if p.name in ("0", "c0"))
    whole = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(io.ReadError, match=r"cells.zarr: X is incomplete: 0 of 1 pieces"):
        io.read(tmp_path / "cells.zarr")
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(io.ReadError, match=r"cells.zarr can't be read as an AnnData zarr store"):
        io.read(tmp_path / "cells.zarr")


def old_h5ad(path, small):
    """Write what anndata 0.6 wrote: obs and var as compound datasets, h5sparse attributes."""
    rows = sp.csr_matrix(small.astype(np.float32))
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs["h5sparse_format"], x.attrs["h5sparse_shape"] = "csr", np.array(rows.shape)
        x["data"], x["indices"], x["indptr"] = rows.data, rows.indices, rows.indptr
        for axis, n, name in (("obs", 20, "cell"), ("var", 30, "GENE")):
            table = np.zeros(n, dtype=[("index", "S10"), ("score", "f4")])
            table["index"] = [f"{name}{i}".encode() for i in range(n)]
            file[axis] = table


def test_an_old_file(tmp_path, small):
    old_h5ad(tmp_path / "old.h5ad", small)
    back = io.read(tmp_path / "old.h5ad")
    np.testing.assert_array_equal(back.layers["counts"].toarray(), small)
    assert back.obs_names[3] == "cell3"
    assert back.var_names[3] == "GENE3"


@pytest.mark.parametrize("place", ["X", "layers/counts"])
@pytest.mark.parametrize("wrong", [10**6, -1])
def test_index_out_of_range(stored, place, wrong):
    with h5py.File(stored, "a") as file:
        file[place]["indices"][5] = wrong
    with pytest.raises(
        io.ReadError, match=rf"cells.h5ad: .*broken sparse matrix: it holds index {wrong}"
    ):
        io.read(stored)


def test_a_broken_graph(adata, tmp_path):
    adata.obsp["connectivities"] = sp.random(20, 20, 0.3, format="csr", random_state=0)
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file["obsp/connectivities/indices"][2] = 99
    with pytest.raises(
        io.ReadError, match=r"obsp\['connectivities'\] is a broken sparse matrix.*index 99"
    ):
        io.read(tmp_path / "a.h5ad")


def test_row_starts_that_fall(stored):
    with h5py.File(stored, "a") as file:
        file["X/indptr"][4] = 10**6
    with pytest.raises(
        io.ReadError, match=r"cells.h5ad: X is a broken sparse matrix: indptr decreases at 4"
    ):
        io.read(stored)


@pytest.mark.parametrize("name", ["data", "indices"])
def test_lengths_that_do_not_fit(stored, name):
    with h5py.File(stored, "a") as file:
        values = file["X"][name][:]
        del file["X"][name]
        file["X"][name] = np.concatenate([values, values[:2]])
    with pytest.raises(io.ReadError, match=r"X is a broken sparse matrix: indptr runs from 0 to"):
        io.read(stored)


def test_shape_that_lies(stored):
    with h5py.File(stored, "a") as file:
        file["X"].attrs["shape"] = np.array([20, 10])
    with pytest.raises(
        io.ReadError, match=r"X is 20 x 10, but there are 20 cells in obs and 30 genes"
    ):
        io.read(stored)


def test_truncated(stored):
    stored.write_bytes(stored.read_bytes()[:-3000])
    with pytest.raises(io.ReadError, match=r"cells.h5ad can't be read as an HDF5 file.*truncated"):
        io.read(stored)


def test_text_in_disguise(tmp_path, text):
    path = text(tmp_path / "cells.h5ad", "gene,cell1\nA,1\n")
    with pytest.raises(io.ReadError, match=r"cells.h5ad is no HDF5 file.*starts with b'gene,cell1"):
        io.read(path)


def test_packed(tmp_path, text):
    with pytest.raises(io.ReadError, match=r"is packed. Unpack it"):
        io.read(text(tmp_path / "cells.h5ad.gz", "x"))


@pytest.mark.parametrize(("name", "said"), [("a.rds", "file of R"), ("a.bam", "of no kind")])
def test_other_kinds(tmp_path, text, name, said):
    with pytest.raises(io.ReadError, match=said):
        io.read(text(tmp_path / name, "x"))


def test_a_flipped_bit(stored):
    with h5py.File(stored, "a") as file:
        file["X/data"][3] = -1.7e38
        del file["layers/counts"]
    with pytest.warns(
        UserWarning, match=r"X holds whole numbers but for 1 values like -1.7e\+38 at cell"
    ):
        assert "counts" not in io.read(stored).layers


def test_not_finite(stored):
    with h5py.File(stored, "a") as file:
        file["layers/counts/data"][3] = np.nan
    with pytest.warns(
        UserWarning, match=r"layers\['counts'\] holds .* 1 values like nan at cell 'cell0'"
    ):
        io.read(stored)


def test_no_matrix_at_all(tmp_path):
    ad.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=["g"])).write_h5ad(
        tmp_path / "a.h5ad"
    )
    assert io.read(tmp_path / "a.h5ad").shape == (2, 1)


def test_genome_is_for_10x_only(stored):
    with pytest.raises(io.ReadError, match=r"genome='hg19' was given, but .*cells.h5ad is no 10x"):
        io.read(stored, genome="hg19")

"""Sparse matrices in an h5ad: as anndata writes and reads them, whatever the chunks."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil import io
from cellsigil.io._sparse import CHUNK_BYTES, are_below

MATRICES = {
    "csr": sp.csr_matrix, "csc": sp.csc_matrix, "csr_array": sp.csr_array, "csc_array": sp.csc_array,
    "int64": lambda m: sp.csr_matrix(m, dtype=np.int64), "bool": lambda m: sp.csr_matrix(m > 0),
    "nothing": lambda m: sp.csr_matrix(m.shape, dtype=np.float32),
}  # fmt: skip


def datasets(path) -> dict[str, h5py.Dataset]:
    found = {}
    with h5py.File(path, "r") as file:

        def note(name, stored):
            facts = {key: np.asarray(value).tolist() for key, value in stored.attrs.items()}
            if isinstance(stored, h5py.Dataset) and stored.shape and stored.dtype != object:
                facts |= {"shape": stored.shape, "max": stored.maxshape, "dtype": stored.dtype}
                facts["values"] = stored[()].tolist()
            found[name] = facts

        file.visititems(note)
        found["/"] = dict(file.attrs)
    return found


@pytest.mark.parametrize("name", MATRICES)
def test_the_file_is_anndatas_own_but_for_the_chunks(adata, tmp_path, small, name, monkeypatch):
    monkeypatch.setattr("cellsigil.io._sparse.LARGE", 0)
    adata.X = MATRICES[name](small)
    adata.layers["more"] = MATRICES[name](small)
    adata.raw = adata.copy()
    io.write(adata, tmp_path / "ours.h5ad")
    with ad.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(tmp_path / "theirs.h5ad")
    assert datasets(tmp_path / "ours.h5ad") == datasets(tmp_path / "theirs.h5ad")
    assert adata.X.format == name[:3] if name[:3] in ("csr", "csc") else "csr"
    assert "more" in adata.layers


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_on_disk_gives_the_same_file(tmp_path, small, name, monkeypatch):
    monkeypatch.setattr("cellsigil.io._sparse.LARGE", 0)
    monkeypatch.setattr("cellsigil.io._sparse.CHUNK_BYTES", 8)  # several pieces
    io.write(ad.AnnData(MATRICES[name](small)), tmp_path / "memory.h5ad")
    backed = ad.read_h5ad(tmp_path / "memory.h5ad", backed="r")
    io.write(backed, tmp_path / "disk.h5ad")
    backed.file.close()
    assert datasets(tmp_path / "memory.h5ad") == datasets(tmp_path / "disk.h5ad")


@pytest.mark.parametrize("n", [3_000, 1 << 20, 1_234_567])
def test_no_larger_than_anndatas_file(tmp_path, n):
    indptr = np.linspace(0, n, 1001).astype(np.int32)
    indices = np.arange(n, dtype=np.int32) - np.repeat(indptr[:-1], np.diff(indptr))
    adata = ad.AnnData(sp.csr_matrix((np.ones(n, np.float32), indices, indptr), (1000, 2000)))
    io.write(adata, tmp_path / "ours.h5ad")
    adata.write_h5ad(tmp_path / "theirs.h5ad")
    ours, theirs = ((tmp_path / f"{who}.h5ad").stat().st_size for who in ("ours", "theirs"))
    assert ours <= theirs
    with h5py.File(tmp_path / "ours.h5ad", "r") as file:
        for stored in file["X"].values():
            assert stored.chunks[0] * stored.dtype.itemsize < 1.6 * CHUNK_BYTES
        if n > 4000:
            assert len(file["X/data"]) / file["X/data"].chunks[0] < n * 4 / CHUNK_BYTES + 1


def test_what_is_written_can_be_opened_backed_and_appended_to(tmp_path, monkeypatch):
    monkeypatch.setattr("cellsigil.io._sparse.LARGE", 0)
    matrix = sp.random(500, 400, 0.9, format="csr", random_state=0, dtype=np.float32)
    io.write(ad.AnnData(matrix), tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(backed.X[100:103].toarray(), matrix[100:103].toarray())
    backed.file.close()
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        stored = ad.io.sparse_dataset(file["X"])
        stored.append(matrix[:5])
        assert stored.shape == (505, 400)
        np.testing.assert_array_equal(stored[500:505].toarray(), matrix[:5].toarray())


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "stored",
    [{"compression": "gzip"}, {"compression": "lzf"}, {"chunks": (7,)}, {"chunks": (9000,)}],
)
def test_read_whatever_the_chunks(tmp_path, dtype, stored, x, monkeypatch):
    monkeypatch.setattr("cellsigil.io._lean.PIECE", 1000)
    counts = sp.random(300, 100, 0.3, format="csr", random_state=1)
    counts.data = np.ceil(counts.data * 9).astype(dtype)
    adata = ad.AnnData(counts)
    adata.obs["kind"] = ["a", "b", "c"] * 100
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        for name in ("data", "indices"):
            values = file["X"][name][:]
            del file["X"][name]
            other = {"chunks": (333,)} if name == "indices" else {}  # not those of the values
            file["X"].create_dataset(name, data=values, **(stored | other))
    back = io.read(tmp_path / "a.h5ad", x=x)
    np.testing.assert_array_equal(back.layers["counts"].toarray(), counts.toarray())
    assert (back.X is None) is not x
    assert not x or back.X.dtype == dtype
    assert back.obs["kind"].tolist() == adata.obs["kind"].tolist()


def test_what_anndata_has_no_place_for_is_said(adata, tmp_path, small):
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["spatial_graph"] = np.zeros(3)
    with pytest.warns(UserWarning, match=r"a.h5ad holds spatial_graph: an AnnData has no place"):
        back = io.read(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(back.layers["counts"].toarray(), small)


@pytest.mark.parametrize("dtype", ["<i4", ">i4", "<i8", "u1", "u8"])
def test_indices_are_below(dtype):
    indices = np.array([0, 5, 99], dtype)
    assert are_below(indices, 100)
    assert not are_below(indices, 99)
    assert are_below(indices[:0], 0)
    assert not are_below(indices[:1], 0)
    if np.dtype(dtype).kind == "i":
        assert not are_below(-indices, 100)

"""10x HDF5: genomes, feature types, and arrays that lie."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from cellsigil import io


def test_reads_counts_ids_and_symbols(tenx_h5, small):
    adata = io.read(tenx_h5())
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), small)
    assert adata.layers["counts"].dtype == adata.X.dtype == np.float32
    assert not np.shares_memory(adata.X.indices, adata.layers["counts"].indices)
    assert adata.var_names[0] == "GENE0"
    assert adata.var["gene_ids"].iloc[0] == "ENSG00000000000"
    assert set(adata.var["genome"]) == {"GRCh38"}


def test_antibodies_are_kept_aside(tenx_h5, small):
    adata = io.read(tenx_h5(kinds=["Gene Expression"] * 25 + ["Antibody Capture"] * 5))
    assert adata.shape == (20, 25)
    np.testing.assert_array_equal(adata.obsm["Antibody Capture"].to_numpy(), small[:, 25:])


def test_two_genomes_in_one_matrix(tenx_h5, small):
    path = tenx_h5(genomes=["GRCh38"] * 20 + ["mm10"] * 10)
    assert io.read(path).n_vars == 30
    adata = io.read(path, genome="mm10")
    np.testing.assert_array_equal(adata.X.toarray(), small[:, 20:])
    with pytest.raises(io.ReadError, match=r"no genome 'hg19'. There are: 'GRCh38', 'mm10'"):
        io.read(path, genome="hg19")


def test_large_counts_stay_exact(tenx_h5, small):
    counts = small.copy()
    counts[0, 0] = 2**24 + 1
    assert io.read(tenx_h5(counts=counts)).layers["counts"][0, 0] == 2**24 + 1


def test_truncated(tenx_h5):
    path = tenx_h5()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(io.ReadError, match=r"run.h5 can't be read.*truncated.*again"):
        io.read(path)


def test_index_out_of_range(tenx_h5):
    def spoil(group):
        group["indices"][5] = 1000

    with pytest.raises(io.ReadError, match=r"run.h5 is a broken sparse matrix: index 1000 in row"):
        io.read(tenx_h5(spoil=spoil))


def test_negative_index(tenx_h5):
    def spoil(group):
        group["indices"][5] = -1

    with pytest.raises(io.ReadError, match=r"run.h5 is a broken sparse matrix: index -1 in row"):
        io.read(tenx_h5(spoil=spoil))


def test_row_starts_that_end_early(tenx_h5):
    def spoil(group):
        group["indptr"][-1] = group["indptr"][-2]

    with pytest.raises(
        io.ReadError, match=r"run.h5 is a broken sparse matrix: 21 row starts up to"
    ):
        io.read(tenx_h5(spoil=spoil))


def test_row_starts_that_fall(tenx_h5):
    def spoil(group):
        group["indptr"][3] = 0

    with pytest.raises(
        io.ReadError, match=r"run.h5 is a broken sparse matrix: indptr decreases at row 2"
    ):
        io.read(tenx_h5(spoil=spoil))


def test_lengths_that_do_not_fit(tenx_h5):
    def spoil(group):
        data = group["data"][:-3]
        del group["data"]
        group["data"] = data

    with pytest.raises(io.ReadError, match=r"run.h5 is a broken sparse matrix: 21 row starts"):
        io.read(tenx_h5(spoil=spoil))


def test_shape_that_lies(tenx_h5):
    def spoil(group):
        group["shape"][0] = 10

    with pytest.raises(io.ReadError, match=r"run.h5 says 10 features x 20 cells, but lists 30"):
        io.read(tenx_h5(spoil=spoil))


def test_a_missing_part(tenx_h5):
    def spoil(group):
        del group["data"]

    with pytest.raises(io.ReadError, match=r"run.h5 can't be read as a 10x HDF5 file.*data"):
        io.read(tenx_h5(spoil=spoil))


def test_another_kind_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "molecule_info.h5", "w") as file:
        file["barcode_idx"] = [1]
    with pytest.raises(
        io.ReadError, match=r"neither a 10x matrix nor an AnnData: it holds barcode_idx"
    ):
        io.read(tmp_path / "molecule_info.h5")

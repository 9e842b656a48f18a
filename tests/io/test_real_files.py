"""Every real file on this machine."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.io

from cellsigil import io

TENX = "formats/scanpy_10x"
H5ADS = [
    "kang_muscat_example", "mix_RNAmix_celseq2", "mix_sc_celseq2", "mix_sc_celseq2_5cl",
    "pbmc3k_raw", "sc_newman_reference", "zheng_sorted_scn300",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"{TENX}/1.2.0/filtered_gene_bc_matrices", (12, 343)),
        (f"{TENX}/1.2.0/filtered_gene_bc_matrices/hg19_chr21", (12, 343)),
        (f"{TENX}/1.2.0/filtered_gene_bc_matrices_h5.h5", (12, 343)),
        (f"{TENX}/1.2.0", (12, 343)),
        (f"{TENX}/3.0.0/filtered_feature_bc_matrix", (1107, 507)),
        (f"{TENX}/3.0.0/filtered_feature_bc_matrix.h5", (1107, 507)),
        (f"{TENX}/int-ids", (5, 6)),
        ("formats/perik_visium_filtered_feature_bc_matrix.h5", (2898, 19465)),
    ],
)
def test_tenx(shared, name, shape):
    adata = io.read(shared(name))
    assert adata.shape == shape
    assert adata.layers["counts"].dtype == np.float32
    assert adata.layers["counts"].has_canonical_format
    assert (adata.layers["counts"] != adata.X).nnz == 0
    assert {"gene_ids", "gene_symbols"} <= set(adata.var)


def test_folder_and_h5_agree(shared):
    folder = shared(f"{TENX}/3.0.0/filtered_feature_bc_matrix")
    a, b = io.read(folder), io.read(shared(f"{TENX}/3.0.0/filtered_feature_bc_matrix.h5"))
    assert a.obs_names.tolist() != []
    b = b[a.obs_names, a.var_names]
    assert (a.X != b.X).nnz == 0
    assert a.var["gene_ids"].tolist() == b.var["gene_ids"].tolist()
    raw = scipy.io.mmread(folder / "matrix.mtx.gz")
    assert a.layers["counts"].sum() == raw.sum()


def test_two_genomes(shared):
    path = shared(f"{TENX}/1.2.0/multiple_genomes.h5")
    with pytest.raises(io.ReadError, match="2 genomes: another_genome, hg19_chr21"):
        io.read(path)
    assert io.read(path, genome="another_genome").var_names[0] == "gene_0"
    assert io.read(path, genome="hg19_chr21").var_names[0] == "DSCAM"


@pytest.mark.parametrize("name", H5ADS)
def test_h5ad(shared, name):
    path = shared(f"{name}.h5ad")
    ours, plain = io.read(path), ad.read_h5ad(path)
    assert ours.obs_names.equals(plain.obs_names)
    assert ours.var_names.equals(plain.var_names)
    assert (ours.X != plain.X).nnz == 0
    assert (ours.layers["counts"] != plain.X).nnz == 0
    assert not np.shares_memory(ours.layers["counts"].indices, ours.X.indices)


def test_bulk_table_is_no_counts(shared):
    with pytest.warns(UserWarning, match="no raw counts"):
        adata = io.read(shared("bulk_newman2019_wholeblood.tpm.tsv.gz"))
    assert adata.shape == (12, 11585)
    assert "counts" not in adata.layers

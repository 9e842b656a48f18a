"""10x folders: every spelling comes out the same, every fault is named."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil import io


def assert_counts(adata, expected):
    for matrix in (adata.X, adata.layers["counts"]):
        assert sp.issparse(matrix)
        assert matrix.format == "csr"
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix.toarray(), expected)
    for name in ("data", "indices", "indptr"):
        ours, other = getattr(adata.X, name), getattr(adata.layers["counts"], name)
        assert not np.shares_memory(ours, other)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("v3", [False, True])
def test_every_spelling_reads_the_same(tenx_folder, small, gz, v3):
    adata = io.read(tenx_folder(gz=gz, v3=v3))
    assert_counts(adata, small)
    assert adata.obs_names[0] == "ACGTACGT0000-1"
    assert adata.var_names[1] == "GENE1"
    assert adata.var["gene_ids"].iloc[1] == "ENSG00000000001"
    assert adata.var["gene_symbols"].iloc[1] == "GENE1"
    assert list(adata.obs.columns) == []


def test_the_matrix_file_itself_can_be_named(tenx_folder, small):
    assert_counts(io.read(tenx_folder(gz=True) / "matrix.mtx.gz"), small)


def test_a_name_given_is_kept_and_barcodes_stay(tenx_folder):
    adata = io.read(tenx_folder(), sample="donor 1")
    assert set(adata.obs["sample"]) == {"donor 1"}
    assert adata.obs_names[0] == "ACGTACGT0000-1"


def test_path_with_space_and_umlaut(tenx_folder, small):
    assert_counts(io.read(tenx_folder("Läufe vom März")), small)


def test_ids_that_are_numbers_stay_text(tenx_folder):
    adata = io.read(tenx_folder(ids=[str(i) for i in range(30)]))
    assert adata.var["gene_ids"].tolist()[:2] == ["0", "1"]


def test_doubled_and_missing_symbols(tenx_folder):
    symbols = [f"GENE{i}" for i in range(30)]
    symbols[3], symbols[5], symbols[6] = "GENE2", "", "NA"
    adata = io.read(tenx_folder(symbols=symbols))
    names = adata.var_names.tolist()
    assert names[2:7] == ["GENE2", "GENE2-1", "GENE4", "ENSG00000000005", "NA"]
    assert adata.var_names.is_unique
    assert adata.var["gene_symbols"].iloc[5] == ""


def test_other_feature_types_are_kept_aside(tenx_folder, small):
    kinds = ["Gene Expression"] * 25 + ["Antibody Capture"] * 5
    symbols = [f"GENE{i}" for i in range(25)] + ["CD3", "CD3", "HLA/DR", "CD4", "CD8"]
    adata = io.read(tenx_folder(kinds=kinds, symbols=symbols))
    assert_counts(adata, small[:, :25])
    table = adata.obsm["Antibody Capture"]
    assert list(table.columns) == ["CD3", "CD3-1", "HLA_DR", "CD4", "CD8"]
    np.testing.assert_array_equal(table.to_numpy(), small[:, 25:])


def test_no_gene_expression_at_all(tenx_folder):
    with pytest.raises(io.ReadError, match=r"no 'Gene Expression' features, only Peaks \(30\)"):
        io.read(tenx_folder(kinds=["Peaks"] * 30))


def test_duplicate_entries_are_added_up(tenx_folder, small):
    folder = tenx_folder()
    matrix = folder / "matrix.mtx"
    head, size, *entries = [
        x for x in matrix.read_text().splitlines() if x.strip() not in ("", "%")
    ]
    rows, columns, n = size.split()
    matrix.write_text("\n".join([head, f"{rows} {columns} {int(n) + 1}", *entries, "1 1 5"]) + "\n")
    expected = small.copy()
    expected[0, 0] += 5
    assert_counts(io.read(folder), expected)


def test_outer_folder_of_one_genome_and_of_two(tenx_folder, small):
    tenx_folder("filtered_gene_bc_matrices/hg19", v3=False)
    adata = io.read(tenx_folder("filtered_gene_bc_matrices/hg19", v3=False).parent)
    assert_counts(adata, small)
    assert set(adata.var["genome"]) == {"hg19"}
    outer = tenx_folder("filtered_gene_bc_matrices/mm10", small * 2, v3=False).parent
    with pytest.raises(io.ReadError, match=r"2 genomes: hg19, mm10. Choose one with genome='hg19'"):
        io.read(outer)
    assert_counts(io.read(outer, genome="mm10"), small * 2)
    with pytest.raises(io.ReadError, match=r"no genome 'mm11'. Did you mean 'mm10'"):
        io.read(outer, genome="mm11")


def test_genomes_told_by_the_prefix_of_ids(tenx_folder, small):
    ids = [f"GRCh38_ENSG{i:011d}" for i in range(20)] + [
        f"mm10___ENSMUSG{i:011d}" for i in range(10)
    ]
    folder = tenx_folder(ids=ids)
    assert io.read(folder).n_vars == 30
    assert_counts(io.read(folder, genome="mm10"), small[:, 20:])
    with pytest.raises(io.ReadError, match="no genome 'rn7'"):
        io.read(folder, genome="rn7")


def test_cells_that_were_called_come_before_raw_ones(tenx_folder, small):
    tenx_folder("s1/outs/raw_feature_bc_matrix", small * 3)
    tenx_folder("s1/outs/filtered_feature_bc_matrix", small)
    assert_counts(io.read(tenx_folder("x").parent / "s1"), small)
    tenx_folder("Solo.out/Gene/raw", small * 3)
    tenx_folder("Solo.out/Gene/filtered", small)
    tenx_folder("Solo.out/GeneFull/filtered", small * 5)
    assert_counts(io.read(tenx_folder("x").parent / "Solo.out"), small)


def test_truncated_gz(tenx_folder):
    folder = tenx_folder(gz=True)
    file = folder / "matrix.mtx.gz"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(io.ReadError, match=r"matrix.mtx.gz.*(ends in the middle|cut off).*again"):
        io.read(folder)


def test_corrupt_gz(tenx_folder):
    folder = tenx_folder(gz=True)
    file = folder / "matrix.mtx.gz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = b"\xff" * 20
    file.write_bytes(data)
    with pytest.raises(io.ReadError, match=r"matrix.mtx.gz.*again"):
        io.read(folder)


def test_gz_by_name_only(tenx_folder):
    folder = tenx_folder()
    (folder / "matrix.mtx").rename(folder / "matrix.mtx.gz")
    with pytest.raises(io.ReadError, match=r"matrix.mtx.gz.*no gzip"):
        io.read(folder)


def test_fewer_lines_than_the_header_says(tenx_folder):
    matrix = tenx_folder() / "matrix.mtx"
    matrix.write_text("\n".join(matrix.read_text().splitlines()[:-50]) + "\n")
    with pytest.raises(io.ReadError, match=r"matrix.mtx can't be read.*50"):
        io.read(matrix.parent)


def test_index_out_of_range(tenx_folder):
    matrix = tenx_folder() / "matrix.mtx"
    lines = matrix.read_text().splitlines()
    matrix.write_text("\n".join([*lines[:-1], "31 1 5"]) + "\n")
    with pytest.raises(io.ReadError, match=r"matrix.mtx can't be read.*out of bounds"):
        io.read(matrix.parent)


@pytest.mark.parametrize("bad", [-3.0, np.nan, np.inf])
def test_values_that_are_no_counts(tenx_folder, small, bad):
    counts = small.astype(float)
    counts[4, 6] = bad
    with pytest.raises(
        io.ReadError, match=r"matrix.mtx holds .* at cell 'ACGTACGT0004-1', gene 'GENE6'"
    ):
        io.read(tenx_folder(counts=counts))


def test_fractions_are_read_but_not_called_counts(tenx_folder, small):
    counts = small.astype(float)
    counts[4, 6] = 0.5
    with pytest.warns(UserWarning, match=r"matrix.mtx holds 0.5, so these are no raw counts"):
        adata = io.read(tenx_folder(counts=counts))
    assert "counts" not in adata.layers
    assert adata.X[4, 6] == 0.5


def test_too_few_barcodes(tenx_folder):
    folder = tenx_folder(barcodes=[f"AC{i}" for i in range(17)])
    with pytest.raises(io.ReadError, match=r"30 x 20.*barcodes.tsv has 17. barcodes.tsv is not"):
        io.read(folder)


def test_a_header_line_too_many(tenx_folder):
    folder = tenx_folder(barcodes=["barcode", *[f"AC{i}" for i in range(20)]])
    with pytest.raises(io.ReadError, match=r"One line too many in barcodes.tsv: remove its header"):
        io.read(folder)


def test_transposed(tenx_folder):
    with pytest.raises(io.ReadError, match=r"matrix.mtx is 20 x 30.*cells x genes.*Transpose it"):
        io.read(tenx_folder(genes_by_cells=False))


def test_square_may_be_transposed(tenx_folder, small):
    with pytest.warns(UserWarning, match=r"matrix.mtx is square \(20 x 20\)"):
        io.read(tenx_folder(counts=small[:, :20]))


@pytest.mark.parametrize("name", ["matrix.mtx", "barcodes.tsv", "features.tsv"])
def test_empty_file(tenx_folder, name):
    folder = tenx_folder()
    (folder / name).write_text("")
    with pytest.raises(io.ReadError, match=rf"{name} is empty \(0 bytes\)"):
        io.read(folder)


@pytest.mark.parametrize("name", ["barcodes.tsv", "features.tsv"])
def test_missing_companion(tenx_folder, name):
    folder = tenx_folder()
    (folder / name).unlink()
    with pytest.raises(io.ReadError, match=rf"matrix.mtx has no {name}.*beside it"):
        io.read(folder)


def test_barcodes_that_are_no_text(tenx_folder):
    folder = tenx_folder()
    (folder / "barcodes.tsv").write_bytes(b"\xff\xfe\x00\x81" * 20)
    with pytest.raises(io.ReadError, match=r"barcodes.tsv .*no"):
        io.read(folder)


def test_the_same_barcode_twice(tenx_folder):
    with pytest.warns(UserWarning, match=r"1 cell names more than once, such as 'A1'"):
        adata = io.read(tenx_folder(barcodes=["A1", *[f"A{i}" for i in range(1, 20)]]))
    assert adata.obs_names.is_unique


def test_missing_folder_and_folder_of_nothing(tmp_path, tenx_folder):
    tenx_folder("filtered")
    with pytest.raises(io.ReadError, match=r"no file or folder .*filtred. Did you mean 'filtered'"):
        io.read(tmp_path / "filtred")
    (tmp_path / "empty").mkdir()
    with pytest.raises(io.ReadError, match=r"empty holds nothing: no matrix that can be read"):
        io.read(tmp_path / "empty")


def test_a_lone_matrix(tmp_path, text):
    path = text(tmp_path / "counts.mtx.gz", "%%MatrixMarket matrix coordinate integer general\n")
    with pytest.raises(io.ReadError, match=r"one file of three"):
        io.read(path)

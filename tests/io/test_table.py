"""Text tables: the way round is found out, every odd cell is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellsigil import io


@pytest.fixture
def table(small):
    cells = [
        f"donor1_ACGTACGTAC{'ACGT'[i % 4]}{'ACGT'[i // 4 % 4]}{'ACGT'[i // 16]}-1"
        for i in range(20)
    ]
    genes = ["MT-CO1", "RPL3", "ACTB", *[f"CD{i}" for i in range(1, 28)]]
    return pd.DataFrame(small.T, index=genes, columns=cells)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.csv.gz", "a.tsv.gz"])
@pytest.mark.parametrize("cells_in_rows", [False, True])
def test_either_way_round(table, tmp_path, small, name, cells_in_rows):
    out = table.T if cells_in_rows else table
    out.to_csv(tmp_path / name, sep="," if ".csv" in name else "\t")
    adata = io.read(tmp_path / name)
    assert adata.var_names.tolist() == table.index.tolist()
    assert adata.obs_names.tolist() == table.columns.tolist()
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), small)
    np.testing.assert_array_equal(adata.X.toarray(), small)
    assert adata.var["gene_symbols"].iloc[1] == "RPL3"


def test_ids_are_kept_as_ids(table, tmp_path):
    table.index = [f"ENSG{i:011d}" for i in range(30)]
    table.to_csv(tmp_path / "a.tsv", sep="\t")
    adata = io.read(tmp_path / "a.tsv")
    assert list(adata.var.columns) == ["gene_ids"]


def test_the_corner_tells(tmp_path, text):
    body = "x1,1,0\nx2,0,4\n"
    adata = io.read(text(tmp_path / "a.csv", "gene,y1,y2\n" + body))
    assert adata.var_names.tolist() == ["x1", "x2"]
    adata = io.read(text(tmp_path / "b.csv", "cell_id,y1,y2\n" + body))
    assert adata.obs_names.tolist() == ["x1", "x2"]


def test_nothing_tells(tmp_path, text):
    path = text(tmp_path / "a.csv", ",y1,y2\nx1,1,0\nx2,0,4\n")
    with pytest.warns(
        UserWarning, match=r"a.csv: the names don't tell.*Rows are taken for genes.*adata.T"
    ):
        adata = io.read(path)
    assert adata.var_names.tolist() == ["x1", "x2"]


def test_square_with_plain_names(tmp_path):
    counts = pd.DataFrame(
        np.eye(60, dtype=int),
        index=[f"G{i}" for i in range(60)],
        columns=[f"c{i}" for i in range(60)],
    )
    counts.to_csv(tmp_path / "a.csv")
    assert io.read(tmp_path / "a.csv").var_names[0] == "G0"


def test_header_of_r(table, tmp_path, text, small):
    table.to_csv(tmp_path / "a.tsv", sep="\t")
    path = tmp_path / "a.tsv"
    path.write_text(path.read_text().removeprefix("\t"))
    np.testing.assert_array_equal(io.read(path).X.toarray(), small)


def test_semicolons_byte_order_mark_and_windows(table, tmp_path, small):
    table.to_csv(tmp_path / "a.csv", sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    adata = io.read(tmp_path / "a.csv")
    assert adata.var_names[0] == "MT-CO1"
    np.testing.assert_array_equal(adata.X.toarray(), small)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("gene;c1;c2\nA;1,5;2,0\nB;0,0;1,0\n", "holds '1,5', a number with a decimal comma"),
        ("gene,c1,c2\nA,1,2\nB,1\n", "line 3: 2 fields, where 3 are needed"),
        ("gene,c1,c2\nA,1,2,3\nB,1,2,3\n", None),
        ("gene,c1,c2,c3\nA,1,2\nB,1,2\n", "the header line has 4 fields, the next line 3"),
        ("gene,c1,c2\nA,1,2\nB,,3\n", "row 'B', column 'c1' is empty"),
        ("gene,c1,c2\nA,1,2\nB,NA,3\n", "row 'B', column 'c1' holds 'NA', which is no number"),
        ("gene,c1,c2\nA,True,2\nB,False,3\n", "column 'c1' holds 'True', which is no number"),
        ("gene,name,c1\nA,ACTB,2\nB,B2M,3\n", "column 'name' holds 'ACTB', which is no number"),
        ("gene,c1,c2\nA,1,2\n,1,3\n", "row 2 has no name"),
        ("gene,c1,c2\nA,-1,2\nB,1,3\n", "holds -1 at cell 'c1', gene 'A'"),
        ("gene,c1,c2\nA,inf,2\nB,1,3\n", "holds inf at cell 'c1', gene 'A'"),
        ("gene,c1,c2\n", "a header line and nothing else"),
        ("just words\n", "no tab, comma or semicolon"),
        ("\n\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, body, said):
    path = text(tmp_path / "a.csv", body)
    if said is None:  # R leaves the header's first field out
        assert io.read(path).shape == (3, 2)
        return
    with pytest.raises(io.ReadError, match=said) as caught:
        io.read(path)
    assert "a.csv" in str(caught.value)


def test_short_line_far_below(tmp_path, text):
    lines = "".join(f"G{i},1,2\n" for i in range(100))
    path = text(tmp_path / "a.csv", f"gene,c1,c2\n{lines}G100,1\n")
    with pytest.raises(
        io.ReadError, match=r"row 'G100', column 'c2' is empty \(or the line is too short"
    ):
        io.read(path)
    path = text(tmp_path / "b.csv", f"gene,c1,c2\n{lines}G100,1,2,3\n")
    with pytest.raises(io.ReadError, match=r"b.csv can't be read as a table of counts.*line 102"):
        io.read(path)


def test_doubled_genes_are_told_apart(tmp_path, text):
    path = text(tmp_path / "a.csv", "gene,c1,c2\nA,1,2\nA,1,3\n")
    with pytest.warns(UserWarning, match="the row 'A' more than once"):
        assert io.read(path).var_names.tolist() == ["A", "A-1"]


def test_damaged_gz_and_no_text(table, tmp_path):
    table.to_csv(tmp_path / "a.csv.gz")
    data = (tmp_path / "a.csv.gz").read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(
        io.ReadError, match=r"b.csv.gz: the compressed file ends in the middle.*again"
    ):
        io.read(tmp_path / "b.csv.gz")
    (tmp_path / "c.csv").write_bytes(b"\xfd\xfe\x81\x00" * 100)
    with pytest.raises(io.ReadError, match=r"c.csv is no UTF-8 text"):
        io.read(tmp_path / "c.csv")


def test_loom(table, tmp_path, small):
    loompy = pytest.importorskip("loompy")
    path = str(tmp_path / "a.loom")
    ids = np.array([f"ENSG{i:011d}" for i in range(30)])
    loompy.create(
        path,
        small.T.astype(float),
        {"Gene": table.index.to_numpy(dtype=str), "Accession": ids},
        {"CellID": table.columns.to_numpy(dtype=str), "age": np.arange(20)},
    )
    adata = io.read(path)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), small)
    assert adata.var["gene_ids"].iloc[2] == ids[2]
    assert adata.var_names[0] == "MT-CO1"
    assert adata.obs["age"].tolist() == list(range(20))

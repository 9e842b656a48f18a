from __future__ import annotations

import gzip
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from cellsigil import sig, tl
from cellsigil.sig._export import safe_labels


@pytest.fixture
def signature(cells):
    ontology = {"B": "CL:0000236", "T/NK": "CL:0000084"}
    return sig.build(cells, "cell_type", sample_key="donor", ontology=ontology, n_markers=30)


@pytest.fixture
def plain(cells):
    """A signature without gene names that a reader would trip over."""
    names = ["X5" if g == "5'-X" else g.replace("#", "") for g in cells.var_names]
    cells.var_names = names
    return sig.build(cells, "cell_type", sample_key="donor", n_markers=30)


@pytest.mark.parametrize("which", ["selected", "all"])
def test_a_table_comes_back_under_its_names(plain, tmp_path, which):
    path = tmp_path / "a folder" / "signature.tsv"
    path.parent.mkdir()
    sig.export(plain, path, which=which)
    back = sig.read(path)
    assert back.types == plain.types == ["B", "T/NK", "Mono (CD14+)"]
    genes = plain.selected if which == "selected" else plain.genes
    assert back.genes.tolist() == genes.tolist() == back.selected.tolist()
    np.testing.assert_allclose(back.profiles, plain.profiles.loc[genes], rtol=1e-5)
    np.testing.assert_allclose(back.rna_content, plain.rna_content, rtol=1e-5)
    assert back.adata.obs["n_cells"].tolist() == plain.adata.obs["n_cells"].tolist()
    assert not list(path.parent.glob("*.part")), "nothing half written is left"
    back.write(tmp_path / "again.h5ad")
    assert sig.read(tmp_path / "again.h5ad").types == plain.types


def test_the_table_keeps_every_rule_of_the_readers(plain, tmp_path):
    sig.export(plain, tmp_path / "s.tsv")
    raw = (tmp_path / "s.tsv").read_bytes()
    assert raw.endswith(b"\n")
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert not set(b"\r\"'#") & set(raw)
    lines = raw.decode().splitlines()
    assert lines[0].split("\t") == ["GeneSymbol", "B", "T_NK", "Mono_CD14pos"]
    assert {line.count("\t") for line in lines} == {3}
    table = pd.read_csv(tmp_path / "s.tsv", sep="\t", index_col=0)
    assert table.index.is_unique
    assert np.isfinite(table).all().all()
    assert (table >= 0).all().all()


def test_the_side_table_says_what_a_label_stands_for(signature, tmp_path):
    with pytest.warns(UserWarning, match=r"2 genes are left out.*'C#2'"):
        sig.export(signature, tmp_path / "s.tsv", which="all")
    types = pd.read_csv(tmp_path / "s.types.tsv", sep="\t", keep_default_na=False)
    assert types["label"].tolist() == ["B", "T_NK", "Mono_CD14pos"]
    assert types["cell_type"].tolist() == signature.types
    assert types["cell_ontology_id"].tolist() == ["CL:0000236", "CL:0000084", ""]
    assert (
        sig.read(tmp_path / "s.tsv").adata.obs["cell_ontology_id"].tolist()
        == types["cell_ontology_id"].tolist()
    )


def test_gmt_has_one_clean_line_per_type(signature, tmp_path):
    with pytest.warns(UserWarning, match="are left out"):
        sig.export(signature, tmp_path / "s.gmt", format="gmt")
    text = (tmp_path / "s.gmt").read_text()
    lines = [line.split("\t") for line in text.splitlines()]
    assert [line[0] for line in lines] == ["B", "T_NK", "Mono_CD14pos"]
    assert [line[1] for line in lines] == [
        "http://purl.obolibrary.org/obo/CL_0000236", "http://purl.obolibrary.org/obo/CL_0000084", "na",
    ]  # fmt: skip
    assert not any(" " in field or not field for line in lines for field in line)
    for line, name in zip(lines, signature.types):
        assert line[2:] == [g for g in signature.info["markers"][name] if g not in ("5'-X", "C#2")]
        assert len(set(line)) == len(line)
    # decoupler splits on any white space: same fields
    assert [line.split() for line in text.splitlines()] == lines
    sets = tl.read_signatures(tmp_path / "s.gmt")
    assert len(sets) == 3


def test_gmt_without_the_lists_in_info_ranks_the_selected_genes(plain, tmp_path):
    bare = sig.SignatureSet(plain.adata, {})
    sig.export(bare, tmp_path / "s.gmt", format="gmt")
    first = (tmp_path / "s.gmt").read_text().splitlines()[0].split("\t")
    rank = plain.layer("marker_rank")["B"].loc[first[2:]]
    assert rank.is_monotonic_increasing
    assert rank.iloc[0] == 1


def test_h5ad_is_the_whole_set(signature, tmp_path):
    sig.export(signature, tmp_path / "s.h5ad", format="h5ad")
    back = sig.read(tmp_path / "s.h5ad")
    assert back.info == signature.info
    assert back.types == ["B", "T/NK", "Mono (CD14+)"]
    for name in signature.adata.layers:
        np.testing.assert_array_equal(back.adata.layers[name], signature.adata.layers[name])


def test_labels_are_safe_unique_and_not_reserved():
    types = [
        "Other",
        "other",
        "CD4+ T",
        "CD4 T",
        "T/NK",
        "T_NK",
        "7AAD",
        "Tregs",
        "B_UP",
        "unknown",
        "Other_cells",
    ]
    labels = safe_labels(types)
    assert list(labels) == types
    assert len({label.lower() for label in labels.values()}) == len(types)
    assert all(label[0].isalpha() and label.replace("_", "").isalnum() for label in labels.values())
    assert not {"other", "tregs", "unknown"} & {label.lower() for label in labels.values()}
    assert not labels["B_UP"].endswith("_UP")
    assert labels["T_NK"] == "T_NK"
    assert labels["Other_cells"] == "Other_cells"


def test_a_foreign_table_is_read_as_it_is(tmp_path):
    path = tmp_path / "LM3.txt"
    path.write_text("Gene symbol\tB cells naive\tT cells CD8\nCD19\t812.4\t0.31\nNA\t1.92\t655\n")
    got = sig.read(path)
    assert got.types == ["B cells naive", "T cells CD8"]
    assert got.genes.tolist() == ["CD19", "NA"], "a gene may be called NA"
    assert got.rna_content.isna().all()
    path.write_text("B\tT\nCD19\t1\t2\nCD3E\t0\t3\n")  # as R's write.table leaves the corner out
    assert sig.read(path).profiles.to_dict() == {
        "B": {"CD19": 1, "CD3E": 0},
        "T": {"CD19": 2, "CD3E": 3},
    }
    path.write_text("gene,B,T\nCD19,1,2\nCD3E,0,3\n")
    np.testing.assert_array_equal(sig.read(path).profiles, [[1, 2], [0, 3]])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\t\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_may_come_from_any_machine(tmp_path, encoding, end, packed):
    text = "# LM\nGene symbol\tB, naive\tCD4+ T/NK\n3820\t812.4\t0\n007\t2\t655\n".replace(
        "\n", end
    )
    raw = text.encode(encoding)
    (tmp_path / "s.txt").write_bytes(gzip.compress(raw) if packed else raw)
    got = sig.read(tmp_path / "s.txt").profiles
    assert got.columns.tolist() == ["B, naive", "CD4+ T/NK"]
    assert got.index.tolist() == ["3820", "007"]
    np.testing.assert_array_equal(got, [[812.4, 0], [2, 655]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("g\tA\tB\nX\t1\t-2\n", r"gene 'X' is -2.0 in 'B'"),
        ("g\tA\tB\nX\t1\t\n", r"gene 'X' is nan in 'B'"),
        ("g\tA\tB\nX\t1\tinf\n", r"gene 'X' is inf"),
        ("g\tA\tB\nX\t1\thigh\n", r"column 'B' holds text"),
        ("g\tA\tB\nX\t1\t2\nX\t1\t2\n", r"names the gene 'X' twice"),
        ("g\tA\tA\nX\t1\t2\n", r"names the type 'A' twice"),
        ("g\tA\tB\nX\t1,5\t2\n", r"column 'A' holds text"),
        ("X\t1\t2\nY\t1\t2\n", r"no header line"),
        ("", "no table: fewer than two lines"),
        ("just words\n", "no table"),
        ("just\nwords\n", "one column only"),
    ],
)
def test_bad_tables_are_refused_by_place(tmp_path, text, says):
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        sig.read(path)


def test_other_refusals(plain, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        sig.read(tmp_path / "none.tsv")
    with pytest.raises(ValueError, match="Did you mean 'tsv'"):
        sig.export(plain, tmp_path / "s", format="tsvv")
    with pytest.raises(ValueError, match="which="):
        sig.export(plain, tmp_path / "s", which="some")
    with pytest.raises(FileNotFoundError, match="Create it first"):
        sig.export(plain, tmp_path / "none" / "s.gmt", format="gmt")
    sig.export(plain, tmp_path / "s.tsv")
    side = tmp_path / "s.types.tsv"
    side.write_text(side.read_text().replace("T_NK", "T"))
    with pytest.raises(ValueError, match="names other types than the table"):
        sig.read(tmp_path / "s.tsv")
    side.write_text(side.read_text().replace("cell_ontology_id", "CL id"))
    with pytest.raises(ValueError, match="lacks column 'cell_ontology_id'"):
        sig.read(tmp_path / "s.tsv")


def test_a_failed_export_leaves_the_old_file(plain, tmp_path, monkeypatch):
    path = tmp_path / "s.tsv"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        sig.export(plain, path)
    assert path.read_text() == "old"


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not on this machine")
def test_r_reads_what_we_wrote(plain, tmp_path):
    sig.export(plain, tmp_path / "s.tsv")
    code = (
        f'x <- read.table("{tmp_path / "s.tsv"}", header=TRUE, sep="\\t", row.names=1);'
        'cat(nrow(x), paste(colnames(x), collapse=","), sum(x))'
    )
    got = subprocess.run(
        ["Rscript", "-e", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert got[0] == str(len(plain.selected))
    assert got[1] == "B,T_NK,Mono_CD14pos"
    assert float(got[2]) == pytest.approx(
        plain.profiles.loc[plain.selected].to_numpy().sum(), rel=1e-4
    )

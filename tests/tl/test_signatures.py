"""Signatures in every form in which they travel, and trees of cell types."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellsigil.tl import GeneSet, read_hierarchy, read_signatures

GMT = (
    "# a comment\n"
    "B cell_UP\t\tCD19\tMS4A1\tCD19\t\t\n"
    "\n"
    "B cell_DN\tsome text here\tCD3E\n"
    "T_cell\tna\tCD3D\tCD3E\r\n"
    "empty\tna\n"
)


def test_gmt_signed_with_all_its_oddities(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("\ufeff" + GMT, encoding="utf-8", newline="")
    sets = read_signatures(path)
    assert sets == {
        "B cell": GeneSet("B cell", {"CD19": 1.0, "MS4A1": 1.0}, {"CD3E": 1.0}),
        "T_cell": GeneSet("T_cell", {"CD3D": 1.0, "CD3E": 1.0}),
    }
    assert read_signatures(str(path)) == sets
    assert sets["B cell"].genes == ["CD19", "MS4A1", "CD3E"]


def test_forms_that_mean_the_same(tmp_path):
    signed = GeneSet("s", {"A": 1.0, "B": 1.0}, {"C": 1.0})
    network = pd.DataFrame(
        {"source": "s", "target": ["A", "B", "C"], "weight": [1, 1, -1], "pmid": 1}
    )
    network.to_csv(tmp_path / "net.csv", index=False)
    network.to_csv(tmp_path / "net.tsv", index=False, sep="\t")
    forms = [
        {"s": {"up": ["A", "B", "A"], "down": ("C",)}},
        {"s": {"A": 1.0, "B": 1, "C": -1.0, "D": 0.0}},
        {"s": pd.Series({"A": 1.0, "B": 1.0, "C": -1.0})},
        {"s": signed},
        network,
        tmp_path / "net.csv",
        tmp_path / "net.tsv",
    ]
    for form in forms:
        assert read_signatures(form) == {"s": signed}
    plain = {"s": GeneSet("s", {"A": 1.0, "B": 1.0})}
    for genes in (
        ["A", "B"],
        {"B", "A"},
        np.array(["A", "B"]),
        pd.Index(["A", "B"]),
        ("A", "B", "A"),
    ):
        assert read_signatures({"s": genes}) == plain
    assert read_signatures(network.drop(columns="weight"))["s"].up == {"A": 1, "B": 1, "C": 1}


@pytest.mark.parametrize(
    ("bad", "error", "sentence"),
    [
        ({"s": "CD3E"}, TypeError, "is the string 'CD3E'; a list of genes is needed"),
        ({"s": 3}, TypeError, "a list of genes is needed"),
        (["CD3E"], TypeError, "signatures is a list. Give a dict"),
        ({}, ValueError, "There are no signatures"),
        ({"s": []}, ValueError, "has no genes"),
        ({"s": ["A", float("nan")]}, ValueError, "holds a missing value"),
        ({"s": ["A", 7]}, ValueError, "holds 7 .int."),
        ({"s": {"A": np.inf}}, ValueError, "must be finite"),
        ({"s": {"up": ["A"], "down": ["A"]}}, ValueError, "both up and down"),
        (pd.DataFrame({"source": ["s"], "targets": ["A"]}), ValueError, "Did you mean 'targets'"),
        ("no/such.gmt", FileNotFoundError, "There is no file"),
    ],
)
def test_says_what_is_wrong(bad, error, sentence):
    with pytest.raises(error, match=sentence):
        read_signatures(bad)


def test_no_gmt_is_said_with_its_line(tmp_path):
    path = tmp_path / "x.gmt"
    path.write_text("a\tna\tA\nno tabs here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2 is no GMT"):
        read_signatures(path)


def test_reads_what_a_user_of_besca_has(shared):
    sets = read_signatures(shared("genesets/besca_CellNames_scseqCMs6_sigs.gmt"))
    assert sets["Bcell"].genes[:2] == ["CD19", "MS4A1"]
    assert not any(gene == "" or " " in gene for one in sets.values() for gene in one.genes)
    tree = read_hierarchy(
        shared("genesets/besca_CellNames_scseqCMs6_config.tsv"),
        signatures=shared("genesets/besca_CellNames_scseqCMs6_sigs.gmt"),
    )
    assert tree.path("NaiBcell")[-2:] == ["Bcell", "NaiBcell"]
    assert set(tree.nodes) <= set(sets)
    immune = read_signatures(shared("genesets/besca_Immune.gmt"))  # empty descriptions
    assert all(one.genes for one in immune.values())


def test_our_tree_names_a_source_for_every_marker():
    tree = read_hierarchy("immune")
    used = set()
    for node in tree.nodes.values():
        assert node.up
        assert node.cl.startswith("CL:")
        assert len(node.cl) == 10
        assert not set(node.up) & set(node.down)
        used |= set(node.up.values()) | set(node.down.values())
    assert used == set(tree.sources)
    assert tree.path("regulatory T cell") == ["T cell", "CD4 T cell", "regulatory T cell"]
    assert len({node.cl for node in tree.nodes.values()}) == len(tree.nodes)


TOML = '[[node]]\nname = "a"\nup = ["A"]\nparent = "{}"\n[[node]]\nname = "b"\nup = ["B"]\nparent = "a"\n'


def test_a_tree_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML.format(""), encoding="utf-8")
    tree = read_hierarchy(path)
    assert (tree.children(), tree.children("a"), tree.path("b")) == (["a"], ["b"], ["a", "b"])
    assert read_hierarchy(tree) is tree


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TOML.format("aa"), "unknown parent 'aa'. Did you mean 'a'"),
        (TOML.format("b"), "its own ancestor"),
        ("not toml", "is no TOML"),
        ("name = 'x'", "has no ..node.."),
        ('[[node]]\nname = "a"\n', "needs name and up"),
        (TOML.format("") + '[[node]]\nname = "a"\nup = ["C"]\n', "names 'a' twice"),
    ],
)
def test_a_broken_tree_is_refused(tmp_path, text, sentence):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_hierarchy(path)


def test_an_unknown_tree_is_refused():
    with pytest.raises(FileNotFoundError, match="Did you mean 'immune'"):
        read_hierarchy("imune")


def test_a_shipped_tree_is_a_set_of_signatures():
    tree = read_hierarchy("immune")
    assert read_signatures("immune") == read_signatures(tree) == tree.signatures()

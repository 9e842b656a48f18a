"""Names of clusters, down a tree of cell types."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil.tl import Hierarchy, annotate, group_stats, read_hierarchy
from cellsigil.tl._hierarchy import Node

TREE = Hierarchy(
    "toy",
    {
        "T/NK": Node("T/NK", "", "CL:0000084", {"g0": "", "g1": "", "g2": ""}),
        "CD4": Node("CD4", "T/NK", "CL:0000624", {"g3": "", "g4": ""}, {"g5": ""}),
        "CD8": Node("CD8", "T/NK", "CL:0000625", {"g5": "", "g6": ""}, {"g3": ""}),
        "Treg": Node("Treg", "CD4", "", {"g10": "", "g11": ""}),
        "B": Node("B", "", "CL:0000236", {"g7": "", "g8": "", "g9": ""}),
    },
)
HIGH = {
    "cd4": (0, 1, 2, 3, 4),
    "cd8": (0, 1, 2, 5, 6),
    "t": (0, 1, 2),
    "b": (7, 8, 9),
    "none": (),
}
GENES = [f"g{i}" for i in range(150)]


def make(n_each=40, seed=0, groups=HIGH):
    rng = np.random.default_rng(seed)
    label = np.repeat(list(groups), n_each)
    rate = np.full((label.size, 150), 0.7)
    for group, genes in groups.items():
        rate[np.ix_(label == group, list(genes))] = 4
    x = np.log1p(rng.poisson(rate) * 1.3).astype(np.float32)
    obs = pd.DataFrame(
        {"leiden": pd.Categorical(label)}, index=[f"c{i}" for i in range(label.size)]
    )
    return ad.AnnData(sp.csr_matrix(x), obs=obs, var=pd.DataFrame(index=GENES))


def test_walks_as_far_as_the_evidence_goes(tmp_path):
    adata = make()
    x = adata.X.copy()
    table = annotate(adata, TREE, "leiden").set_index("group")
    assert table["label"].to_dict() == {
        "b": "B", "cd4": "CD4", "cd8": "CD8", "none": "unknown", "t": "T/NK, unresolved",
    }  # fmt: skip
    assert table["cl"].to_dict() == {
        "b": "CL:0000236", "cd4": "CL:0000624", "cd8": "CL:0000625", "none": "unknown", "t": "CL:0000084",
    }  # fmt: skip
    assert table["level"].to_dict() == {"b": 1, "cd4": 2, "cd8": 2, "none": 0, "t": 1}
    assert table.loc["cd4", "path"] == "T/NK > CD4"
    assert (table.loc["cd4", "runner_up"], table.loc["t", "below"]) == ("CD8", "CD4") or table.loc[
        "t", "below"
    ] == "CD8"
    assert table.loc["t", "margin_below"] < 0.03 <= table.loc["t", "margin"]
    assert set(table.loc["b", "genes"].replace(",", "").split()[::2]) == {"g7", "g8", "g9"}
    assert "-g5" in table.loc["cd4", "genes"]
    assert table.loc["b", "p"] < 0.05
    assert abs(adata.X - x).sum() == 0

    assert adata.obs["cell_type"].dtype == "category"
    assert (adata.obs["cell_type"][adata.obs["leiden"] == "t"] == "T/NK, unresolved").all()
    assert (
        adata.obs["cell_type_ontology_term_id"][adata.obs["leiden"] == "b"] == "CL:0000236"
    ).all()
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.uns["annotate"]["label"].tolist() == table["label"].tolist()
    assert back.obs["cell_type"].astype(str).tolist() == adata.obs["cell_type"].astype(str).tolist()


def test_markers_that_all_cells_share_do_not_end_the_walk():
    def node(name, parent, *genes):
        return Node(name, parent, "", dict.fromkeys(genes, ""))

    nodes = [
        node("blood", "", "g20", "g21"),  # the same in all cells
        node("T", "blood", "g0", "g1"),
        node("B", "blood", "g7", "g8"),
        node("bone", "", "g30", "g31", "g32"),
    ]
    tree = Hierarchy("deep", {one.name: one for one in nodes})
    table = annotate(make(), tree, "leiden").set_index("group")
    assert table.loc["b", "path"] == "blood > B"
    assert table.loc["cd4", "path"] == "blood > T"
    assert table.loc["none", "label"] == "unknown"


def test_margin_decides():
    adata = make()
    labels = [
        annotate(adata, TREE, "leiden", margin=m)["level"].sum() for m in (0.0, 0.03, 0.2, 0.5)
    ]
    assert labels == sorted(labels, reverse=True)
    assert labels[-1] == 0


def test_key_added_and_stats_and_unlabelled_cells():
    adata = make()
    stats = group_stats(adata, "leiden")
    one = annotate(adata, TREE, "leiden", stats=stats, key_added="mine")
    pd.testing.assert_frame_equal(one, annotate(adata, TREE, "leiden"))
    assert "mine_ontology_term_id" in adata.obs
    assert (adata.obs["mine"] == adata.obs["cell_type"]).all()
    adata.obs["leiden"] = adata.obs["leiden"].where(adata.obs["leiden"] != "none")
    with pytest.warns(UserWarning, match="40 cells have no label"):
        annotate(adata, TREE, "leiden")
    assert adata.obs["cell_type"].isna().sum() == 40


def test_integer_clusters_and_genes_that_are_missing():
    adata = make()
    adata.obs["k"] = adata.obs["leiden"].cat.codes.astype(int)
    table = annotate(adata, TREE, "k")
    assert table["group"].tolist() == ["0", "1", "2", "3", "4"]
    few = adata[:, 7:].copy()  # T/NK and CD4 have lost all high genes: nothing names them
    table = annotate(few, TREE, "leiden").set_index("group")
    assert table.loc["b", "label"] == "B"
    assert not table["label"].str.startswith(("T/NK", "CD4")).any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"margin": -1}, "margin=-1 is out of range"),
        ({"margin": float("nan")}, "out of range"),
        ({"key_added": "a/b"}, "holds a '/'"),
        ({"key_added": "leiden"}, "the column of the clusters too"),
        ({"key_added": "x", "groupby": "x_ontology_term_id"}, "the column of the clusters too"),
    ],
)
def test_says_what_is_wrong(arguments, sentence):
    adata = make()
    adata.obs["x_ontology_term_id"] = adata.obs["leiden"]
    with pytest.raises(ValueError, match=sentence):
        annotate(adata, TREE, **{"groupby": "leiden"} | arguments)
    low = Hierarchy("low", {"A": Node("A", "", "", {"none": ""}, {"g0": ""})})
    with pytest.raises(ValueError, match="only some that are low"):
        annotate(adata, low, "leiden")
    adata.var_names = [f"ENSG{i:011d}" for i in range(150)]
    with pytest.raises(ValueError, match="Ensembl ids"):
        annotate(adata, "immune", "leiden")


def test_a_lone_cluster_of_a_mixed_type_keeps_its_name():
    def node(name, parent, *genes, mixed=False):
        return Node(name, parent, "", dict.fromkeys(genes, ""), mixed=mixed)

    nodes = [node("T", "", "g0", "g1", "g2", mixed=True), node("B", "", "g7", "g8", mixed=True)]
    nodes += [node("CD4", "T", "g3", "g4"), node("CD8", "T", "g5", "g6")]
    nodes += [node("naive", "B", "g9"), node("memory", "B", "g20")]
    tree = Hierarchy("mixed", {one.name: one for one in nodes})
    table = annotate(make(), tree, "leiden").set_index("group")
    assert table.loc["b", "label"] == "B"
    assert table.loc["b", "below"] == "naive"
    assert table.loc["b", "margin_below"] > 0.03
    assert table.loc[["cd4", "cd8"], "label"].tolist() == ["CD4", "CD8"]
    plain = {one.name: one for one in nodes} | {"B": node("B", "", "g7", "g8")}
    table = annotate(make(), Hierarchy("plain", plain), "leiden").set_index("group")
    assert table.loc["b", "label"] == "naive"


def test_a_cluster_spread_thin_over_samples_is_named():
    adata = make()
    adata.obs["donor"] = [f"d{i % 20}" for i in range(adata.n_obs)]  # 2 cells of each group a donor
    adata.obs["donor"] = adata.obs["donor"].where(adata.obs["leiden"] == "b", "d0")
    with pytest.warns(UserWarning, match="3 cells of 'b'"):
        table = annotate(adata, TREE, "leiden", sample_key="donor").set_index("group")
    assert table.loc["b", "label"] == "B"


def test_names_sorted_and_published_cells(shared):
    from cellsigil.pp import normalize

    tree = read_hierarchy("immune")
    expected = {
        "zheng_sorted_scn300.h5ad": ("sorted_label", {
            "B cell": "B cell", "NK cell": "NK cell", "T cell": "T cell", "monocyte": "monocyte",
            "hematopoietic stem cell": "hematopoietic stem or progenitor cell",
        }),
        "kang_muscat_example.h5ad": ("cluster_id", {
            "B cells": "B cell", "CD14+ Monocytes": "classical monocyte", "CD4 T cells": "CD4 T cell",
            "CD8 T cells": "CD8 T cell", "FCGR3A+ Monocytes": "non-classical monocyte",
        }),
        "sc_newman_reference.h5ad": ("cell_type", {
            "B": "B cell", "CD4T": "CD4 T cell", "CD8T": "CD8 T cell", "Monocyte": "classical monocyte",
            "NK": "NK cell", "Neutrophil": "neutrophil",
        }),
    }  # fmt: skip
    for file, (key, types) in expected.items():
        adata = ad.read_h5ad(shared(file))
        normalize(adata)
        table = annotate(adata, tree, key, key_added="found").set_index("group")
        for group, name in types.items():
            assert name in table.loc[group, "path"].split(" > "), (file, group, table.loc[group])
        assert "B cell" in set(table["label"])  # one cluster of naive and memory cells


def test_pbmc3k_on_the_whole_path(pbmc3k):
    """Bar: besca's 63.4 % of cells and macro-F1 0.67; measured here 93.8 % and 0.91."""
    from cellsigil import pp, tl

    adata = pbmc3k
    adata.layers["counts"] = adata.X.copy()
    pp.filter_cells(adata, min_genes=200)
    pp.filter_genes(adata, min_cells=3)
    pp.normalize(adata)
    pp.hvg(adata)
    pp.pca(adata)
    pp.neighbors(adata)
    tl.cluster(adata)
    table = annotate(adata, "immune", "leiden")
    known = {
        "CD4 T cell": "CD4 T cells", "CD8 T cell": "CD8 T cells", "NK cell": "NK cells", "B cell": "B cells",
        "classical monocyte": "CD14+ Monocytes", "non-classical monocyte": "FCGR3A+ Monocytes",
        "conventional dendritic cell": "Dendritic cells", "platelet": "Megakaryocytes",
    }  # fmt: skip
    name = {
        row.label: next((known[step] for step in row.path.split(" > ") if step in known), "other")
        for row in table.itertuples()
    }
    labelled = adata[adata.obs["scanpy_louvain_label"].notna()].obs
    truth = labelled["scanpy_louvain_label"].astype(str).to_numpy()
    found = labelled["cell_type"].astype(str).map(name).to_numpy()
    f1 = [
        2 * ((truth == t) & (found == t)).sum() / ((truth == t).sum() + (found == t).sum())
        for t in np.unique(truth)
    ]
    assert (truth == found).mean() > 0.9
    assert np.mean(f1) > 0.85

"""Agreement of cell types with what the cells are known to be.

    python benchmarks/annotation.py DATA_FOLDER

Runs the preset on pbmc3k, goes up our tree to the level of the published labels, and prints the share of labelled
cells that agree and the macro-F1. Cells that the preset filtered out count as wrong in the second line. Of zheng and
kang, on which the margin was not chosen, it prints what our path with defaults names right, leaves open (the walk
ended above the truth) and names wrong.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _inputs import normalise

from cellsigil import _keys, io, pp, tl
from cellsigil.presets import run

PBMC3K = {
    "CD4 T cells": "CD4 T cell",
    "CD8 T cells": "CD8 T cell",
    "B cells": "B cell",
    "NK cells": "NK cell",
    "CD14+ Monocytes": "classical monocyte",
    "FCGR3A+ Monocytes": "non-classical monocyte",
    "Dendritic cells": "conventional dendritic cell",
    "Megakaryocytes": "platelet",
}
ZHENG = {"hematopoietic stem cell": "hematopoietic stem or progenitor cell"}
KNOWN = {  # file -> its column, and what our tree calls the labels that it names otherwise
    "zheng_sorted_scn300.h5ad": ("sorted_label", ZHENG),
    "kang_muscat_example.h5ad": ("cluster_id", PBMC3K),
}


def macro_f1(truth: np.ndarray, label: np.ndarray) -> float:
    scores = []
    for name in np.unique(truth):
        hit = ((truth == name) & (label == name)).sum()
        scores.append(2 * hit / ((truth == name).sum() + (label == name).sum()))
    return float(np.mean(scores))


def at_level(adata: ad.AnnData, types: set[str]) -> pd.Series:
    """Return the cells' types, those below one of ``types`` as that one."""
    paths = adata.uns["annotate"].drop_duplicates("label").set_index("label")["path"]
    level = {
        label: next((name for name in path.split(" > ") if name in types), label)
        for label, path in paths.items()
    }
    return adata.obs["cell_type"].astype(str).map(level)


def of_preset(path: Path) -> None:
    """Print how the preset names pbmc3k's cells."""
    truth = ad.read_h5ad(path).obs["scanpy_louvain_label"].dropna().astype(str).map(PBMC3K)
    with tempfile.TemporaryDirectory() as folder:
        run(path, Path(folder) / "out", preset="pbmc")
        adata = ad.read_h5ad(Path(folder) / "out" / "adata.h5ad")
    label = at_level(adata, set(PBMC3K.values()))
    kept = truth.index.intersection(label.index)
    everywhere = label.reindex(truth.index).fillna("filtered out")
    for cells, of_them in ((f"{len(kept)} labelled cells kept", kept), (f"all {len(truth)}", truth.index)):  # fmt: skip
        true, named = truth[of_them].to_numpy(), everywhere[of_them].to_numpy()
        print(
            f"pbmc3k, of {cells}: agreement {(true == named).mean():.1%}, macro-F1 {macro_f1(true, named):.3f}"
        )
    print(pd.crosstab(everywhere, truth).to_string())


def of_defaults(path: Path, column: str, names: dict[str, str]) -> None:
    """Print how our path with defaults names cells whose types are known."""
    adata = normalise(io.read(path))
    pp.pca(adata)
    pp.neighbors(adata)
    tl.cluster(adata)
    tl.annotate(adata, "immune", "leiden")
    truth = adata.obs[column].astype(str).replace(names)
    tree = tl.read_hierarchy("immune")
    above = {name: set(tree.path(name)[:-1]) | {_keys.UNKNOWN} for name in truth.unique()}
    label = at_level(adata, set(above))
    right = label == truth
    is_open = np.array(
        [name.removesuffix(_keys.UNRESOLVED) in above[true] for name, true in zip(label, truth)]
    )
    print(f"{path.stem}, of {len(truth)}: right {right.mean():.1%}, left open {is_open.mean():.1%}, "
          f"wrong {(~right & ~is_open).mean():.1%}")  # fmt: skip
    print(pd.crosstab(label, truth).to_string())


def main(folder: str = "../shared/data") -> None:
    of_preset(Path(folder) / "pbmc3k_raw.h5ad")
    for file, (column, names) in KNOWN.items():
        of_defaults(Path(folder) / file, column, names)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Agreement of the preset's cell types with the published labels of pbmc3k.

    python benchmarks/annotation.py PBMC3K_RAW.h5ad

Runs the preset, goes up our tree to the level of the published labels, and prints the share of labelled cells that
agree and the macro-F1. Cells that the preset filtered out count as wrong in the second line.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from cellsigil.presets import run

PUBLISHED = {
    "CD4 T cells": "CD4 T cell",
    "CD8 T cells": "CD8 T cell",
    "B cells": "B cell",
    "NK cells": "NK cell",
    "CD14+ Monocytes": "classical monocyte",
    "FCGR3A+ Monocytes": "non-classical monocyte",
    "Dendritic cells": "conventional dendritic cell",
    "Megakaryocytes": "platelet",
}


def macro_f1(truth: np.ndarray, label: np.ndarray) -> float:
    scores = []
    for name in np.unique(truth):
        hit = ((truth == name) & (label == name)).sum()
        scores.append(2 * hit / ((truth == name).sum() + (label == name).sum()))
    return float(np.mean(scores))


def main(path: str) -> None:
    truth = ad.read_h5ad(path).obs["scanpy_louvain_label"].dropna().astype(str).map(PUBLISHED)
    with tempfile.TemporaryDirectory() as folder:
        run(path, Path(folder) / "out", preset="pbmc")
        adata = ad.read_h5ad(Path(folder) / "out" / "adata.h5ad")
    evidence = (
        adata.uns["annotate"].drop_duplicates("label").set_index("label")["path"].str.split(" > ")
    )
    level = {
        label: next((t for t in path if t in PUBLISHED.values()), label)
        for label, path in evidence.items()
    }
    label = adata.obs["cell_type"].astype(str).map(level)
    kept = truth.index.intersection(label.index)
    agree = truth[kept].to_numpy() == label[kept].to_numpy()
    print(f"of {len(kept)} labelled cells kept: agreement {agree.mean():.1%}, macro-F1 "
          f"{macro_f1(truth[kept].to_numpy(), label[kept].to_numpy()):.3f}")  # fmt: skip
    everywhere = label.reindex(truth.index).fillna("filtered out")
    agree = truth.to_numpy() == everywhere.to_numpy()
    print(f"of all {len(truth)} labelled cells: agreement {agree.mean():.1%}, macro-F1 "
          f"{macro_f1(truth.to_numpy(), everywhere.to_numpy()):.3f}")  # fmt: skip
    print(pd.crosstab(everywhere, truth).to_string())


if __name__ == "__main__":
    main(sys.argv[1])

"""Make the README's picture from the results of `make demo`: python docs/make_images.py demo-results"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import pandas as pd
from matplotlib.figure import Figure

from cellsigil import datasets, pl

NAMES = {"conventional dendritic cell": "conventional dendritic cell 2"}


def main(results: Path) -> None:
    """Draw the cells by type beside estimated against known fractions."""
    figure = Figure(figsize=(11.5, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    pl.umap(ad.read_h5ad(results / "adata.h5ad"), color="cell_type", legend=False, ax=left)
    left.set_title(
        "2,900 simulated cells of eight donors", loc="left", fontsize=11, color="#222B38"
    )
    fractions = pd.read_csv(results / "fractions.tsv", sep="\t", index_col=0)
    truth = datasets.demo_truth().rename(columns={k: v for k, v in NAMES.items() if v in fractions})
    pl.truth(SimpleNamespace(fractions=fractions), truth, ax=right)
    right.set_title(
        "12 bulk samples of four other donors", loc="left", fontsize=11, color="#222B38"
    )
    figure.savefig(Path(__file__).parent / "images" / "demo.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

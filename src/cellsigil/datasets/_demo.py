"""The demo: eight simulated donors' cells, and twelve simulated bulk samples of four other donors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData


class DemoFiles(NamedTuple):
    """Paths of the demo's files."""

    cells: Path  # sample sheet of eight 10x files
    true_types: Path  # the type that each cell was drawn from
    bulk: Path  # genes x 12 samples, read counts
    fractions: Path  # 12 samples x types, known fractions of cells
    rna_fractions: Path  # the same as fractions of RNA


def demo_files() -> DemoFiles:
    """Return the paths of the demo's files, in an installed package or in the source tree."""
    here = Path(__file__).parent
    for folder in (here / "demo", here.parents[2] / "data" / "demo"):
        if (folder / "samples.csv").is_file():
            return DemoFiles(
                folder / "samples.csv",
                folder / "cells.tsv.gz",
                folder / "bulk.tsv.gz",
                folder / "bulk_fractions.tsv",
                folder / "bulk_rna_fractions.tsv",
            )
    msg = f"The demo's files are not in {here / 'demo'}: the installation is incomplete. Install cellsigil again."
    raise FileNotFoundError(msg)


def demo() -> AnnData:
    """Load the demo's cells: 3,040 simulated PBMC of eight donors, raw counts.

    Returns
    -------
    AnnData
        Counts in X and ``layers["counts"]``; ``obs["sample"]``, ``obs["batch"]`` and
        ``obs["true_type"]``, the type that each cell was drawn from ("damaged": leaked cells).
    """
    from cellsigil import io

    files = demo_files()
    adata = io.read(files.cells)
    truth = pd.read_csv(files.true_types, sep="\t")
    truth.index = pd.Index(truth["sample"] + "_" + truth["barcode"])
    adata.obs["true_type"] = truth["true_type"].reindex(adata.obs_names).astype("category")
    return adata


def demo_bulk() -> pd.DataFrame:
    """Load the demo's bulk samples: read counts, genes x 12 samples."""
    return pd.read_csv(demo_files().bulk, sep="\t", index_col=0)


def demo_truth() -> pd.DataFrame:
    """Load the known cell fractions of the demo's bulk samples: 12 samples x 8 types, rows sum to 1."""
    return pd.read_csv(demo_files().fractions, sep="\t", index_col=0)

"""Make the demo data: eight donors' cells as 10x files, twelve bulk samples of four other donors.

    python data/make_demo.py PBMC3K_RAW.h5ad [OUT_FOLDER]

PBMC3K_RAW.h5ad is 10x Genomics' "3k PBMCs from a Healthy Donor" (CC BY 4.0) with the column
``scanpy_louvain_label``. Only profiles per type are estimated from it; no cell of it is kept.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from simulate_cells import (
    Variation,
    draw_bulk,
    draw_cells,
    draw_donor,
    draw_platform,
    draw_programmes,
    estimate_profiles,
)

SEED = 20261121
# The label of the source -> (our name, share of cells in a healthy donor's PBMC).
TYPES = {
    "CD4 T cells": ("CD4 T cell", 0.40),
    "CD8 T cells": ("CD8 T cell", 0.16),
    "NK cells": ("NK cell", 0.09),
    "B cells": ("B cell", 0.12),
    "CD14+ Monocytes": ("classical monocyte", 0.14),
    "FCGR3A+ Monocytes": ("non-classical monocyte", 0.05),
    "Dendritic cells": ("conventional dendritic cell", 0.025),
    "Megakaryocytes": ("platelet", 0.015),
}
N_DONORS, N_CELLS, MIN_CELLS_OF_GENE = 8, 380, 5


def write_10x_h5(path: Path, counts, genes: list[str], barcodes: list[str]) -> None:
    """Write cells x genes counts in the layout of Cell Ranger 3's HDF5 file."""
    text = lambda names: np.array([name.encode() for name in names])  # noqa: E731
    zipped = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix.create_dataset("barcodes", data=text(barcodes), **zipped)
        matrix.create_dataset("data", data=counts.data.astype(np.int32), **zipped)
        matrix.create_dataset("indices", data=counts.indices.astype(np.int64), **zipped)
        matrix.create_dataset("indptr", data=counts.indptr.astype(np.int64), **zipped)
        matrix.create_dataset("shape", data=np.array([len(genes), len(barcodes)], np.int32))
        features = matrix.create_group("features")
        columns = {
            "id": genes,  # the source has symbols only
            "name": genes,
            "feature_type": ["Gene Expression"] * len(genes),
            "genome": ["GRCh38"] * len(genes),
        }
        for name, values in columns.items():
            features.create_dataset(name, data=text(values), **zipped)
        features.create_dataset("_all_tag_keys", data=text(["genome"]))


def read_source(path: str):
    """Return the profiles of the source's labelled cells, types in the order of `TYPES`."""
    source = ad.read_h5ad(path)
    source = source[source.obs["scanpy_louvain_label"].isin(TYPES)]
    source = source[:, np.asarray((source.X > 0).sum(0)).ravel() >= MIN_CELLS_OF_GENE]
    labels = source.obs["scanpy_louvain_label"].astype(str).map(lambda label: TYPES[label][0])
    return estimate_profiles(source.X.tocsr(), labels.to_numpy(), source.var_names.tolist())


def barcode(rng) -> str:
    return "".join(rng.choice(list("ACGT"), 16)) + "-1"


def main(source: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    vary = Variation()
    profiles = read_source(source)
    share = dict(TYPES.values())
    mean_fractions = np.array([share[name] for name in profiles.types])
    mean_fractions /= mean_fractions.sum()

    loadings = draw_programmes(profiles, vary, rng)
    sheet, cells = [], []
    for i in range(1, N_DONORS + 1):
        donor = draw_donor(f"donor{i}", profiles, mean_fractions, vary, rng)
        counts, kind = draw_cells(donor, profiles, loadings, N_CELLS, vary, rng)
        barcodes = [barcode(rng) for _ in range(N_CELLS)]
        write_10x_h5(out / f"{donor.name}.h5", counts, profiles.genes, barcodes)
        sheet.append({"path": f"{donor.name}.h5", "sample": donor.name, "batch": f"run{1 + i % 2}"})
        names = np.array([*profiles.types, "damaged"])[kind]
        cells.append(pd.DataFrame({"sample": donor.name, "barcode": barcodes, "true_type": names}))
    pd.DataFrame(sheet).to_csv(out / "samples.csv", index=False, lineterminator="\n")
    truth_of_cells = pd.concat(cells).to_csv(sep="\t", index=False, lineterminator="\n")
    (out / "cells.tsv.gz").write_bytes(gzip.compress(truth_of_cells.encode(), 9, mtime=0))

    platform = draw_platform(profiles, vary, rng)
    bulk, fractions, rna = {}, {}, {}
    for i in range(1, 5):
        donor = draw_donor(f"patient{i}", profiles, mean_fractions, vary, rng)
        for visit in "abc":
            name = f"{donor.name}{visit}"
            fractions[name] = rng.dirichlet(12 * donor.fractions + 0.1)
            bulk[name], rna[name] = draw_bulk(donor, fractions[name], platform, 2e7, rng)
    table = pd.DataFrame(bulk, index=pd.Index(profiles.genes, name="gene_symbol"))
    (out / "bulk.tsv.gz").write_bytes(
        gzip.compress(table.to_csv(sep="\t", lineterminator="\n").encode(), 9, mtime=0)
    )
    for file, values in (("bulk_fractions.tsv", fractions), ("bulk_rna_fractions.tsv", rna)):
        frame = pd.DataFrame(values, index=profiles.types).T.rename_axis("sample")
        frame.to_csv(out / file, sep="\t", float_format="%.6f", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "demo")

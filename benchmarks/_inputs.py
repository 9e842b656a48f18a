"""The AnnData objects that the scripts race on, at the stage that each step starts from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _data import scaled, simulated

from cellsigil import io, pp, tl

SOURCE = "pbmc3k_raw.h5ad"
SIZES = ("20000", "100000")


def cases(sizes: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield what the rows race on: cells of our simulator and of pbmc3k scaled up, in each number."""
    yield from itertools.product(("simulated", "pbmc3k"), map(int, sizes or SIZES))


def read(kind: str, n_cells: int, folder: str = "") -> ad.AnnData:
    """Return raw counts in X and ``layers["counts"]``: kind "simulated", or "pbmc3k" scaled up."""
    return io.read(path_of(kind, n_cells, folder))


def path_of(kind: str, n_cells: int, folder: str = "") -> Path:
    """Return the file of raw counts."""
    return simulated(n_cells) if kind == "simulated" else scaled(f"{folder}/{SOURCE}", n_cells)


def normalised(kind: str, n_cells: int, folder: str = "") -> ad.AnnData:
    """Return log-normalised X with variable genes."""
    return normalise(read(kind, n_cells, folder))


def normalise(adata: ad.AnnData) -> ad.AnnData:
    """Return the cells, from now on log-normalised, with variable genes."""
    pp.filter_genes(adata, min_cells=3)
    pp.normalize(adata)
    pp.hvg(adata)
    return adata


def labelled(kind: str, n_cells: int, folder: str = "") -> ad.AnnData:
    """Return log-normalised X and ``obs["type"]``, ``obs["sample"]``: of pbmc3k four parts, and its own clusters.

    A cell drawn from one of pbmc3k's has the cluster of that one.
    """
    adata = normalised(kind, n_cells, folder)
    if kind == "pbmc3k":
        of_real = clusters(normalise(io.read(f"{folder}/{SOURCE}"))).astype(str)
        adata.obs["type"] = pd.Categorical(of_real.to_numpy()[adata.obs["source"]])
        part = np.random.default_rng(0).integers(4, size=n_cells)
        adata.obs["sample"] = pd.Categorical.from_codes(part, list("abcd"))
    return adata


def clusters(adata: ad.AnnData) -> pd.Series:
    """Return Leiden's clusters of log-normalised cells."""
    pp.pca(adata)
    pp.neighbors(adata)
    tl.cluster(adata)
    return adata.obs["leiden"]


def with_pca(kind: str, n_cells: int, folder: str = "") -> ad.AnnData:
    """Return log-normalised X with components."""
    adata = normalised(kind, n_cells, folder)
    pp.pca(adata)
    return adata


def with_graph(kind: str, n_cells: int, folder: str = "") -> ad.AnnData:
    """Return components and the neighbour graph, without the matrices: what layout and Leiden read."""
    adata = with_pca(kind, n_cells, folder)
    pp.neighbors(adata)
    return only_graph(adata)


def only_graph(adata: ad.AnnData) -> ad.AnnData:
    """Return the cells with components and graph only, so that copies cost nothing."""
    return ad.AnnData(
        obs=adata.obs, obsm={"X_pca": adata.obsm["X_pca"]}, obsp=dict(adata.obsp), uns=dict(adata.uns)
    )  # fmt: skip


def as_crest(adata: ad.AnnData, *, log: bool = True):
    """Return CREST's object on the raw counts, its lazy normalisation recorded."""
    import crest

    counts = ad.AnnData(adata.layers["counts"], obs=adata.obs[[]], var=adata.var[[]])
    frame = crest.BioFrame.from_anndata(counts)
    if log:
        crest.pp.normalize_total(frame, target_sum=1e4)
        crest.pp.log1p(frame)
    return frame


def crest_with(adata: ad.AnnData, **obsm: np.ndarray):
    """Return CREST's object with our components and labels, so that it starts from the same place."""
    frame = as_crest(adata)
    frame.obsm.update(obsm)
    return frame

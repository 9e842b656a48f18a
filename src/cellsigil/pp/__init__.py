"""QC, filters, normalisation, variable genes, principal components, neighbours."""

from __future__ import annotations

from cellsigil.pp._filter import filter_cells, filter_genes
from cellsigil.pp._hvg import hvg
from cellsigil.pp._neighbors import neighbors
from cellsigil.pp._normalize import normalize
from cellsigil.pp._normalize_hvg import normalize_hvg
from cellsigil.pp._pca import pca
from cellsigil.pp._qc import qc

__all__ = [
    "filter_cells",
    "filter_genes",
    "hvg",
    "neighbors",
    "normalize",
    "normalize_hvg",
    "pca",
    "qc",
]

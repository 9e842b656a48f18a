"""QC, filters, normalisation, variable genes, principal components, neighbours."""

from __future__ import annotations

from cellsigil.pp._neighbors import neighbors

__all__ = [
    "neighbors",
]

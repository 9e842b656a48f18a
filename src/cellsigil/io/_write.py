"""Write an AnnData whole or not at all."""

from __future__ import annotations

from pathlib import Path

import anndata as ad

from cellsigil._files import replacing


def write(adata: ad.AnnData, path: str | Path, *, compat: bool = False) -> None:
    """Write an AnnData atomically."""
    with replacing(path) as part, ad.settings.override(allow_write_nullable_strings=not compat):
        adata.copy().write_h5ad(part)

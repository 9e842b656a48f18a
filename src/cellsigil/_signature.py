"""SignatureSet: cell types x genes, with everything that says how far to trust it, in one .h5ad."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from cellsigil._files import replacing

SCHEMA = "cellsigil.signature_set/1"
UNS_KEY = "signature_set"
LAYERS = ("var_cells", "var_samples", "detection", "auc", "log2fc", "specificity", "marker_rank")
OBS = ("n_cells", "n_samples", "rna_content", "cell_ontology_id")
VAR = ("gene_id", "symbol", "selected", "mean_log", "sd_log")


@dataclass(frozen=True)
class SignatureSet:
    """Mean expression of cell types, and the statistics behind it.

    Attributes
    ----------
    adata
        Types x genes, every gene of the data. ``X``: mean CP10K, linear scale, float64 (n_types, n_genes).
        Layers ``var_cells`` and ``var_samples`` (variance of CP10K between cells and between sample
        means; NaN with one sample), ``detection`` (share of cells with the gene), ``auc``, ``log2fc``,
        ``specificity`` (COSG), ``marker_rank`` (1 = best; NaN where not ranked).
        ``obs``: n_cells, n_samples, rna_content (relative, mean 1 over types), cell_ontology_id.
        ``var``: gene_id, symbol, selected (bool, chosen for deconvolution), mean_log and sd_log
        (log1p CP10K over all cells).
    info
        Schema, units, genome, parameters, versions, input hash and the ``card`` (dict: what was
        measured on held-out samples); plain JSON values.
    """

    adata: ad.AnnData
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [f"layers[{k!r}]" for k in LAYERS if k not in self.adata.layers]
        missing += [f"obs[{k!r}]" for k in OBS if k not in self.adata.obs]
        missing += [f"var[{k!r}]" for k in VAR if k not in self.adata.var]
        if missing:
            msg = f"This is no SignatureSet: {', '.join(missing)} missing. Make one with cellsigil.sig.build."
            raise ValueError(msg)
        if not (self.adata.obs_names.is_unique and self.adata.var_names.is_unique):
            msg = "A SignatureSet needs unique type names and unique gene names."
            raise ValueError(msg)

    @property
    def types(self) -> list[str]:
        """Return the cell types' own names."""
        return self.adata.obs_names.tolist()

    @property
    def genes(self) -> pd.Index:
        """Return all gene names."""
        return self.adata.var_names

    @property
    def selected(self) -> pd.Index:
        """Return the genes chosen for deconvolution."""
        return self.adata.var_names[self.adata.var["selected"].to_numpy(dtype=bool)]

    @property
    def profiles(self) -> pd.DataFrame:
        """Return mean CP10K as a DataFrame, genes x types."""
        return self.layer(None)

    @property
    def rna_content(self) -> pd.Series:
        """Return the relative RNA content of a cell per type."""
        return self.adata.obs["rna_content"].astype(float)

    @property
    def card(self) -> dict[str, Any]:
        """Return what this set was measured to do."""
        return self.info.get("card", {})

    def layer(self, name: str | None) -> pd.DataFrame:
        """Return X (None) or a layer as a DataFrame, genes x types."""
        values = self.adata.X if name is None else self.adata.layers[name]
        return pd.DataFrame(np.asarray(values).T, index=self.genes, columns=self.adata.obs_names)

    def write(self, path: str | Path, *, compat: bool = True) -> None:
        """Write one .h5ad, atomically.

        Parameters
        ----------
        path
            File to write.
        compat
            Store strings so that anndata 0.10 can read them.
        """
        out = self.adata.copy()
        out.uns[UNS_KEY] = json.dumps({"schema": SCHEMA, **self.info}, ensure_ascii=False)
        with replacing(path) as part, ad.settings.override(allow_write_nullable_strings=not compat):
            out.write_h5ad(part)

    @classmethod
    def read(cls, path: str | Path) -> SignatureSet:
        """Read what `write` wrote.

        Raises
        ------
        ValueError
            The file is no SignatureSet, or one of a newer schema.
        """
        try:
            adata = ad.read_h5ad(path)
        except FileNotFoundError:
            raise
        except Exception as error:
            msg = f"{path} can't be read as .h5ad ({error}). A SignatureSet is one .h5ad from sig.build."
            raise ValueError(msg) from error
        if UNS_KEY not in adata.uns:
            msg = f"{path} is an .h5ad but no SignatureSet: uns[{UNS_KEY!r}] is missing. Make one with sig.build."
            raise ValueError(msg)
        info = json.loads(str(adata.uns.pop(UNS_KEY)))
        if (found := info.pop("schema", None)) != SCHEMA:
            msg = f"{path} has schema {found!r}; this version of cellsigil reads {SCHEMA!r}. Update cellsigil."
            raise ValueError(msg)
        return cls(adata, info)

"""Signatures from cells, taken to real bulk with known fractions: r and RMSE of every pair.

    python benchmarks/real_bulk.py DATA_FOLDER

Nothing here is fitted to the truth: the settings are `deconvolve`'s defaults, and the other methods and
RNA contents are shown beside them.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellsigil import deconv, sig

METHODS = ("logrob", "em", "wnnls", "nnls")


def signature(path: Path, groupby: str, keep: dict[str, str] | None = None, without: tuple = ()):
    """Build a signature from the raw counts in X."""
    adata = ad.read_h5ad(path)
    for column, value in (keep or {}).items():
        adata = adata[adata.obs[column] == value].copy()
    adata = adata[~adata.obs[groupby].isin(without)].copy()
    adata.layers["counts"] = adata.X.copy()
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.X = (sp.diags(1e4 / total) @ adata.X).tocsr().log1p()
    return sig.build(adata, groupby)


def compare(estimated: pd.DataFrame, true: pd.DataFrame) -> dict[str, float]:
    """Return pooled r, RMSE and r per type."""
    found = estimated.loc[true.index, true.columns]
    out = {
        "pooled_r": np.corrcoef(found.to_numpy().ravel(), true.to_numpy().ravel())[0, 1],
        "rmse": np.sqrt(((found - true) ** 2).to_numpy().mean()),
    }
    r = {
        name: np.corrcoef(found[name], true[name])[0, 1] if found[name].std() > 0 else np.nan
        for name in true
    }
    return {
        **out,
        "mean_r": np.mean(list(r.values())),
        **{f"r {name}": value for name, value in r.items()},
    }


def rows(
    name: str, bulk: Path, reference: sig.SignatureSet, true: pd.DataFrame, merge: dict
) -> list[dict]:
    """Deconvolve with every method, and the default one with every RNA content."""
    out = []
    settings = [(method, "signature") for method in METHODS]
    settings += [(method, None) for method in METHODS]
    if "H2228" not in reference.types:
        settings += [("logrob", "epic"), ("logrob", "quantiseq")]
    for method, factors in settings:
        with warnings.catch_warnings(action="ignore"):
            result = deconv.deconvolve(bulk, reference, method=method, size_factors=factors)
        found = result.fractions.rename(columns=merge).T.groupby(level=0).sum().T
        found = found[true.columns]
        found = found.div(found.sum(axis=1), axis=0)  # over the types that the truth counts
        wide = result.intervals.assign(type=lambda t: t["type"].replace(merge))
        one = wide.groupby(["sample", "type"]).filter(lambda t: len(t) == 1)
        known = true.rename_axis("sample").stack().rename("true").rename_axis(["sample", "type"])
        inside = one.merge(known.reset_index(), on=["sample", "type"])
        covered = ((inside["low"] <= inside["true"]) & (inside["true"] <= inside["high"])).mean()
        out.append(
            {
                "pair": name,
                "method": method,
                "rna_content": str(factors),
                **compare(found, true),
                "covered": covered,
            }
        )
    return out


def main(data: Path) -> None:
    """Print the table."""
    table = []
    newman = signature(data / "sc_newman_reference.h5ad", "cell_type")
    true = pd.read_csv(data / "bulk_newman2019_wholeblood.fractions.tsv", sep="\t", index_col=0)
    true = true.rename(columns={"Neutrophils": "Neutrophil", "Monocytes": "Monocyte"})
    table += rows("newman", data / "bulk_newman2019_wholeblood.tpm.tsv.gz", newman, true, {})

    # PBMC: the truth counts T, Mono, B, DC and NK; the reference has no DC, so both sides sum to 1 without
    true = pd.read_csv(data / "bulk_hoek2015_pbmc_omnideconv.fractions.tsv", sep="\t", index_col=0)
    true = true[["T", "Mono", "B", "NK"]].div(true[["T", "Mono", "B", "NK"]].sum(axis=1), axis=0)
    merge = {"CD4T": "T", "CD8T": "T", "Monocyte": "Mono"}
    bulk = data / "bulk_hoek2015_pbmc_omnideconv.expr.tsv.gz"
    table += rows("hoek, with neutrophils", bulk, newman, true, merge)
    without = signature(data / "sc_newman_reference.h5ad", "cell_type", without=("Neutrophil",))
    table += rows("hoek, without neutrophils", bulk, without, true, merge)

    lines = signature(data / "mix_sc_celseq2.h5ad", "cell_line", {"demuxlet_cls": "SNG"})
    mixed = ad.read_h5ad(data / "mix_RNAmix_celseq2.h5ad")
    true = mixed.obs[[c for c in mixed.obs if c.startswith("true_")]].astype(float)
    true = true.rename(columns=lambda c: c.removeprefix("true_"))
    true = true.div(true.sum(axis=1), axis=0)
    table += rows("RNAmix", data / "mix_RNAmix_celseq2.h5ad", lines, true, {})

    with pd.option_context("display.width", 250, "display.max_columns", 30):
        for _, part in pd.DataFrame(table).groupby("pair", sort=False):
            print(part.dropna(axis=1, how="all").round(3).to_string(index=False), end="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

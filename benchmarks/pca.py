"""PCA of 2,000 genes, 50 components: ours against scanpy's solvers and CREST's.

    python benchmarks/pca.py [DATA_FOLDER] [CELLS ...]

The subspace cosine is the smallest cosine of the principal angles between a tool's first 30 axes and those of a
float64 eigendecomposition.
"""

from __future__ import annotations

import sys

import anndata as ad
import crest
import numpy as np
import scanpy as sc
from _inputs import as_crest, cases, normalised
from _measure import Tool, flops_limit, race

from cellsigil import pp

AXES = 30


def exact_axes(adata) -> np.ndarray:
    """Return the first axes (genes x AXES) of the covariance in float64, made by row blocks."""
    x = adata[:, adata.var["highly_variable"].to_numpy()].X.astype(np.float64)
    products, n = np.zeros((x.shape[1],) * 2), x.shape[0]
    for start in range(0, n, 5000):
        rows = x[start : start + 5000].toarray()
        products += rows.T @ rows
    mean = np.asarray(x.mean(axis=0)).ravel()
    _, vectors = np.linalg.eigh(products / n - np.outer(mean, mean))
    return vectors[:, ::-1][:, :AXES]


def lean(adata):
    return ad.AnnData(adata.X, var=adata.var[["highly_variable"]].copy())


def frame_of(adata):
    frame = as_crest(adata)
    frame.var = frame.var.with_columns(
        frame.var["gene_name"].is_in(adata.var_names[adata.var["highly_variable"]].tolist()).alias("highly_variable")
    )  # fmt: skip
    return frame


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        adata = normalised(kind, n, folder)
        mask, truth = adata.var["highly_variable"].to_numpy(), exact_axes(adata)

        def cosine(state, _, mask=mask, truth=truth) -> dict[str, float]:
            axes, _ = np.linalg.qr(np.asarray(state.varm["PCs"], np.float64)[mask][:, :AXES])
            return {"subspace cosine": float(np.linalg.svd(axes.T @ truth)[1].min())}

        chosen = adata.X[:, mask]
        per_row = np.diff(chosen.indptr).astype(float)
        race(
            "PCA", adata,
            [
                Tool("cellsigil", lambda a: pp.pca(a, n_comps=50), ready=lean, check=cosine),
                Tool("scanpy arpack", lambda a: sc.pp.pca(a, n_comps=50, svd_solver="arpack"),
                     ready=lean, check=cosine),
                Tool("scanpy covariance_eigh", lambda a: sc.pp.pca(a, n_comps=50, svd_solver="covariance_eigh"),
                     ready=lean, check=cosine),
                Tool("crest", lambda f: crest.tl.pca(f, n_comps=50), ready=frame_of, check=cosine),
            ],
            data=kind,
            bars={"scanpy arpack": 1.5, "scanpy covariance_eigh": 1.5, "crest": 2},
            limit=flops_limit(
                (per_row**2).sum() + 4 / 3 * 2000**3 + 2 * per_row.sum() * 50,
                "half the products of each row, tridiagonal form, projection",
            ),
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])

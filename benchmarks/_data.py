"""Matrices for the benchmarks: our simulator's, and a real one scaled up. Made once, kept in `CACHE`.

The simulated types overlap as real ones do: 20 types in 5 families, siblings differ in few genes, every
cell borrows part of its profile from a sibling, and programmes run through all types.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from simulate_cells import Profiles, Variation, draw_cells, draw_donor, draw_programmes

CACHE = Path(os.environ.get("CELLSIGIL_BENCH_CACHE") or tempfile.gettempdir()) / "cellsigil-bench"
N_GENES, N_FAMILIES, N_SIBLINGS = 30_000, 5, 4
CONTENT = 3_500  # mean counts a cell: some 1,950 genes, as in PEERS.md
AT_ONCE = 500  # cells drawn at a time: 120 MB of dense profiles


def profiles(rng: np.random.Generator) -> Profiles:
    """Return 20 types in 5 families: log-normal abundances, family genes, fewer genes of each type."""
    n_types = N_FAMILIES * N_SIBLINGS
    family = np.repeat(np.arange(N_FAMILIES), N_SIBLINGS)
    log_share = np.tile(rng.normal(0, 2.2, N_GENES), (n_types, 1))
    of_family = rng.normal(0, 1.5, (N_FAMILIES, N_GENES)) * (
        rng.random((N_FAMILIES, N_GENES)) < 0.05
    )
    of_type = rng.normal(0, 1.2, (n_types, N_GENES)) * (rng.random((n_types, N_GENES)) < 0.025)
    share = np.exp(log_share + of_family[family] + of_type)
    share /= share.sum(axis=1, keepdims=True)
    genes = [f"MT-{j}" if j < 13 else f"RPL{j}" if j < 100 else f"G{j}" for j in range(N_GENES)]
    content = CONTENT * np.exp(rng.normal(0, 0.25, n_types))
    sibling = family * N_SIBLINGS + (np.arange(n_types) + 1) % N_SIBLINGS
    types = [f"type {k:02d}" for k in range(n_types)]
    return Profiles(genes, types, share, content, np.full(n_types, 0.4), sibling)


def simulated(n_cells: int) -> Path:
    """Return the path of an h5ad of ``n_cells`` simulated cells: float32 counts in X, obs type and sample."""
    path = CACHE / f"simulated_{n_cells}.h5ad"
    if not path.exists():
        rng = np.random.default_rng(20261121)
        kinds, vary = profiles(rng), Variation(towards_related=0.15)
        loadings = draw_programmes(kinds, vary, rng)
        mean_fractions = rng.dirichlet(np.full(len(kinds.types), 3.0))
        donors = [draw_donor(f"d{k}", kinds, mean_fractions, vary, rng) for k in range(4)]
        parts, labels, samples = [], [], []
        for start in range(0, n_cells, AT_ONCE):
            donor = donors[start // AT_ONCE % len(donors)]
            n = min(AT_ONCE, n_cells - start)
            counts, label = draw_cells(donor, kinds, loadings, n, vary, rng)
            parts.append(counts.astype(np.float32))
            labels.append(label)
            samples += [donor.name] * n
        names = np.array([*kinds.types, "damaged"])
        obs = pd.DataFrame(
            {"type": pd.Categorical(names[np.concatenate(labels)]), "sample": pd.Categorical(samples)},
            index=[f"cell{i}" for i in range(n_cells)],
        )  # fmt: skip
        keep(ad.AnnData(sp.vstack(parts, "csr"), obs, pd.DataFrame(index=kinds.genes)), path)
    return path


def scaled(source: str | Path, n_cells: int) -> Path:
    """Return the path of ``n_cells`` cells, each a multinomial draw of half to all of a real cell's counts."""
    path = CACHE / f"{Path(source).stem}_{n_cells}.h5ad"
    if not path.exists():
        from cellsigil import io

        real = io.read(source)
        made = resampled(real, n_cells)
        keep(made, path)
    return path


def resampled(adata: ad.AnnData, n: int) -> ad.AnnData:
    """Return ``n`` cells, each a multinomial draw of half to all of a real cell's counts."""
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(adata.layers["counts"])
    columns, values = [], []
    rows = rng.integers(counts.shape[0], size=n)
    for row in rows:
        of_row = slice(counts.indptr[row], counts.indptr[row + 1])
        real = counts.data[of_row].astype(float)
        drawn = rng.multinomial(int(real.sum() * rng.uniform(0.5, 1)), real / real.sum())
        columns.append(counts.indices[of_row][drawn > 0])
        values.append(drawn[drawn > 0].astype(np.float32))
    indptr = np.cumsum([0, *map(len, columns)])
    made = sp.csr_matrix((np.concatenate(values), np.concatenate(columns), indptr))
    made.resize(n, counts.shape[1])
    obs = pd.DataFrame({"source": rows}, index=[f"cell{i}" for i in range(n)])
    return ad.AnnData(made, obs, pd.DataFrame(index=adata.var_names))


def keep(adata: ad.AnnData, path: Path) -> None:
    """Write under a name that is whole or not there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    adata.write_h5ad(part)
    part.rename(path)

"""The card: what a set was measured to do on samples that it had not seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellsigil._rows import Rows
from cellsigil.sig._choose import choose, rank_genes
from cellsigil.sig._inputs import Cells
from cellsigil.sig._mixtures import MIN_CELLS, Mixtures, number
from cellsigil.sig._moments import Moments, measure
from cellsigil.tl._stats import GroupStats

MAX_FOLDS = 8  # samples held out, each once; more are drawn
MAX_CELLS = 200  # of a type in a held-out sample, for the AUROC


def measure_transfer(
    counts: Rows,
    scale: np.ndarray,
    cells: Cells,
    moments: Moments,
    stats: GroupStats,
    allowed: np.ndarray,
    n_markers: int,
    selected: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Hold every sample out once, choose genes without it, and try them on it.

    ``selected`` (the genes chosen on all cells) serves only where there is one sample.
    """
    n_samples = len(cells.samples)
    if n_samples < 2:
        return _without_samples(counts, scale, cells, stats, selected, rng)
    held_out = np.sort(rng.permutation(n_samples)[:MAX_FOLDS])
    folds = []
    for s in held_out:
        ranking = rank_genes(moments, stats, allowed, np.delete(np.arange(n_samples), s))
        folds.append((s, ranking.profiles, choose(ranking, n_markers)))
    auroc = _transfer(counts, scale, cells, folds, rng)
    mixed = Mixtures(len(cells.groups))
    for s, profiles, choice in folds:
        mixed.add_fold(moments, s, profiles, choice.selected, rng)
    names = [cells.samples[s] for s in held_out]
    return {
        "held_out": names,
        "transfer": _summarise(auroc, cells.groups, names),
        **mixed.summary(cells.groups),
        "scheme": "Every sample held out in turn, genes chosen without it. AUROC: mean log1p CP10K of a type's "
        "genes, its cells against the rest of the held-out sample. Deconvolution: known mixtures of "
        "the held-out sample's mean profiles, relative non-negative least squares, RNA fractions. "
        "Same platform throughout: a bulk from another one will do worse.",
    }


def _without_samples(
    counts: Rows,
    scale: np.ndarray,
    cells: Cells,
    stats: GroupStats,
    selected: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Say what can't be known, and measure a lower bound of the detection limit on halves of the cells."""
    half = np.zeros(cells.group.size, np.int64)
    for k in range(len(cells.groups)):
        mine = rng.permutation(np.flatnonzero(cells.group == k))
        half[mine[::2]] = 1
    moments = measure(counts, scale, replace(cells, sample=half, samples=["0", "1"]))
    mixed = Mixtures(len(cells.groups))
    for h in (0, 1):
        profiles = moments.only(np.array([1 - h])).profiles()
        mixed.add_fold(moments, h, profiles, selected, rng)
    why = "one sample: nothing was held out" if stats.sample_key else "no sample_key was given"
    return {
        "held_out": [],
        "transfer": None,
        "deconvolution": None,
        "detection_limit": mixed.summary(cells.groups)["detection_limit"],
        "not_measured": f"{why}, so transfer to other samples and the error on them are unknown, and "
        "so is the variance between samples.",
        "scheme": "Detection limit: a lower bound, from random halves of the same cells (one half's profiles on "
        "known mixtures of the other's, RNA fractions); it holds no difference between samples.",
    }


def _transfer(
    counts: Rows, scale: np.ndarray, cells: Cells, folds: list, rng: np.random.Generator
) -> np.ndarray:
    """Return the AUROC (G, folds) of each type's genes in the held-out sample's cells, NaN where too few."""
    from scipy.stats import rankdata

    n_groups = len(cells.groups)
    drawn = []
    for s, _, _ in folds:
        of_type = [
            np.flatnonzero((cells.sample == s) & (cells.group == k)) for k in range(n_groups)
        ]
        drawn.append(np.sort(np.concatenate([rng.permutation(c)[:MAX_CELLS] for c in of_type])))
    rows = np.unique(np.concatenate(drawn))
    genes = np.unique(np.concatenate([mine for _, _, c in folds for mine in c.lists]))
    held = _submatrix(counts, rows, genes)
    out = np.full((n_groups, len(folds)), np.nan)
    for f, (_, _, choice) in enumerate(folds):
        mine = np.unique(np.concatenate(choice.lists))
        x = held[np.searchsorted(rows, drawn[f])][:, np.searchsorted(genes, mine)].toarray()
        x = np.log1p(x * scale[drawn[f], None])
        group = cells.group[drawn[f]]
        for k in range(n_groups):
            own = group == k
            if min(own.sum(), (~own).sum()) < MIN_CELLS or not choice.lists[k].size:
                continue
            score = x[:, np.searchsorted(mine, choice.lists[k])].mean(axis=1)
            n1 = own.sum()
            out[k, f] = (rankdata(score)[own].sum() - n1 * (n1 + 1) / 2) / (n1 * (own.size - n1))
    return out


def _submatrix(counts: Rows, rows: np.ndarray, genes: np.ndarray) -> sp.csr_matrix:
    """Return chosen rows and columns, ``rows`` ascending; dense they took 0.3 GB for 20 types in 4 samples."""

    def select(block: Any, first: int) -> sp.csr_matrix:
        mine = rows[(rows >= first) & (rows < first + block.n_rows)] - first
        return block.to_scipy()[mine][:, genes]

    return sp.vstack(list(counts.map(select)), format="csr")


def _summarise(auroc: np.ndarray, groups: list[str], samples: list[str]) -> dict[str, Any]:
    by_type = {
        name: {sample: number(value) for sample, value in zip(samples, row)}
        for name, row in zip(groups, auroc)
    }
    worst = {name: number(pd.Series(row).min()) for name, row in zip(groups, auroc)}
    return {"auroc": by_type, "worst_auroc": worst}

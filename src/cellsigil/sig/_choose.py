"""Which genes: the balanced ranking, then the condition number of the matrix they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cellsigil.sig._moments import Moments
from cellsigil.tl._stats import GroupStats

# Held-out mixtures with a gene-wise platform effect of log-sd .5: RMSE .074/.059/.059/.066 with 10/20/50/100 genes
# a type on kang_muscat_example, .043/.035/.028/.024 on five cell lines. Few genes are worse than a condition
# number of up to about twice the lowest.
MIN_GENES = 20
TOLERANCE = 1.5  # of the lowest condition number; within it, the most genes


@dataclass(frozen=True)
class Choice:
    """Genes chosen for G types."""

    lists: list[np.ndarray]  # per type, gene positions, best first
    selected: np.ndarray  # (genes,) bool: their union
    n_genes: int  # genes asked of every type
    condition: float  # of the selected matrix
    tried: dict[int, float]  # genes a type -> condition number


@dataclass(frozen=True)
class Ranking:
    """How good every gene is for every type, over some of the samples."""

    auc: np.ndarray  # (G, genes) blocked
    cosg: np.ndarray  # (G, genes) blocked
    log2fc: np.ndarray  # (G, genes) on CP10K
    ranks: np.ndarray  # (G, genes) balanced
    profiles: np.ndarray  # (G, genes) mean CP10K


def rank_genes(
    moments: Moments, stats: GroupStats, allowed: np.ndarray, samples: np.ndarray | None = None
) -> Ranking:
    """Rank the genes from ``samples`` (positions; all of them) alone."""
    kept = np.arange(moments.n.shape[1]) if samples is None else samples
    part = moments.only(kept)
    auc = blocked((stats.auc_sample[:, s] for s in kept), part.n)
    if samples is None:  # a sample of one type only says nothing within itself
        auc = np.where(np.isfinite(auc), auc, stats.auc)
    cosg = blocked((part.cosg(s) for s in range(kept.size)), part.n)
    cosg = np.where(np.isfinite(cosg), cosg, part.pooled().cosg(0))
    profiles = part.profiles()
    log2fc = np.log2((profiles + 1) / (part.rest() + 1))
    return Ranking(auc, cosg, log2fc, balanced_ranks(auc, cosg, allowed, stats.genes), profiles)


def choose(ranking: Ranking, n_markers: int) -> Choice:
    """Choose the genes of a ranking."""
    positive = (ranking.auc > 0.5) & (ranking.log2fc > 0)
    return choose_genes(ranking.ranks, positive, ranking.profiles, n_markers)


def blocked(by_sample: Iterable[np.ndarray], n: np.ndarray) -> np.ndarray:
    """Return the mean over the samples' (G, genes), weighted n1·n2/(n1+n2) with n (G, S); NaN is left out."""
    weight = n * (n.sum(axis=0) - n) / np.maximum(n.sum(axis=0), 1)
    total = weighted = np.zeros(())
    for s, values in enumerate(by_sample):
        known = np.isfinite(values)
        total = total + weight[:, s, None] * known
        weighted = weighted + weight[:, s, None] * np.where(known, values, 0.0)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1.0), np.nan)


def balanced_ranks(
    auc: np.ndarray, cosg: np.ndarray, allowed: np.ndarray, genes: pd.Index
) -> np.ndarray:
    """Return the rank (G, genes) by the sum of the ranks of AUC and COSG; 1 = best, NaN where not ranked.

    Rounded first, so that the last bits of a sum can't decide; ties go by gene name.
    """
    out = np.full(auc.shape, np.nan)
    by_name = np.argsort(np.argsort(genes.astype(str).to_numpy(dtype=object), kind="stable"))
    for k in range(auc.shape[0]):
        ranked = np.flatnonzero(allowed & np.isfinite(auc[k]) & np.isfinite(cosg[k]))
        if ranked.size:
            of_auc, of_cosg = (
                pd.Series(-np.round(values[k, ranked], 10)).rank().to_numpy()
                for values in (auc, cosg)
            )
            total = of_auc + of_cosg
            order = np.lexsort((by_name[ranked], total))
            out[k, ranked[order]] = np.arange(1, ranked.size + 1)
    return out


def choose_genes(
    ranks: np.ndarray, positive: np.ndarray, profiles: np.ndarray, n_markers: int
) -> Choice:
    """Choose per type the same number of best genes, at most ``n_markers``, for a low condition number.

    Only genes ``positive`` for a type count (AUC above a half and a mean above the rest's). The
    condition number is that of the genes x types matrix, every gene divided by its largest mean:
    the fit that follows weighs relative errors, so a gene's level must not count.
    """
    lists = []
    for k in range(ranks.shape[0]):
        mine = np.flatnonzero(np.isfinite(ranks[k]) & positive[k])
        lists.append(mine[np.argsort(ranks[k, mine], kind="stable")][:n_markers])
    known = np.isfinite(profiles).all(axis=1)
    sizes = sorted({*range(min(MIN_GENES, n_markers), n_markers + 1, 5), n_markers})
    tried = {
        size: _condition(_union(lists, size, ranks.shape[1]), profiles[known]) for size in sizes
    }
    lowest = min(tried.values())
    n_genes = max(size for size, value in tried.items() if value <= lowest * TOLERANCE)
    selected = _union(lists, n_genes, ranks.shape[1])
    return Choice([mine[:n_genes] for mine in lists], selected, n_genes, tried[n_genes], tried)


def _union(lists: list[np.ndarray], size: int, n_genes: int) -> np.ndarray:
    out = np.zeros(n_genes, bool)
    for mine in lists:
        out[mine[:size]] = True
    return out


def _condition(selected: np.ndarray, profiles: np.ndarray) -> float:
    """Return the 2-norm condition number of the selected genes x types, genes scaled to a maximum of 1."""
    if selected.sum() < profiles.shape[0]:
        return np.inf
    matrix = profiles[:, selected].T
    return float(np.linalg.cond(matrix / np.maximum(matrix.max(axis=1, keepdims=True), 1e-300)))

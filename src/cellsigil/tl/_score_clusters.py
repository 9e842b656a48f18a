"""Score clusters for gene signatures, from statistics of the groups alone."""

from __future__ import annotations

import logging
import zlib
from typing import Any

import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil.tl._effects import blocked_or_pooled, warn_pooled
from cellsigil.tl._groups import read_genes
from cellsigil.tl._inflation import inflations, shares_of
from cellsigil.tl._pvalues import log10_benjamini_hochberg
from cellsigil.tl._signatures import IndexedSet, index_sets, read_signatures, warn_few
from cellsigil.tl._stats import GroupStats, stats_for

log = logging.getLogger(__name__)

WINDOW = 100
N_DRAWS = 999
ENOUGH = 10  # draws beyond the observed, below which the tail is fitted
LEAST = 3


def score_clusters(
    adata: Any,
    signatures: Any,
    groupby: str,
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    stats: GroupStats | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str = _keys.SCORE_CLUSTERS,
) -> pd.DataFrame:
    """Score every cluster for every signature.

    Parameters
    ----------
    adata
        Cells x genes, log-normalised.
    signatures
        Anything that `read_signatures` takes.
    groupby
        Column of obs with the clusters.
    sample_key
        Column of obs with the samples: AUCs are then blocked by sample, but for a group that no sample has 3
        cells of (a warning says which).
    layer
        Layer with the values; X otherwise.
    stats
        What `group_stats` answered for the same data and groups, if at hand.
    rng
        Seed of the random sets.
    key_added
        Key of the result in uns.

    Returns
    -------
    A row per group and signature, in category order: ``group, signature``;
    ``effect``, the weighted mean of the signature genes' AUC in the cluster against the rest (1 - AUC for down
    genes): 0.5 says nothing, rank by this; ``z`` and ``p`` against random sets matched in expression, ``padj``
    (Benjamini-Hochberg over all rows), ``p_from`` ("draws", or "tail" where too few draws went beyond);
    ``n_genes`` found, ``n_samples_support``, the samples in which the effect is above 0.5; ``seed``.

    The test is competitive: a set of genes is compared with random sets of the same expression. Genes of a real set
    go up and down together, so that its effect varies more than that of random ones and p is too small: ``vif`` is
    the factor by which the variance is larger, from the correlation of the genes between cells of a cluster
    (1 + (n - 1) times their mean correlation, as in CAMERA; at least 1), and ``p_vif`` the normal p of z so corrected.
    Rank by effect.

    Sets
    ----
    uns[key_added]
        The table.

    References
    ----------
    Wu & Smyth 2012, Nucleic Acids Res 40:e133 (CAMERA: variance inflation of competitive tests).

    Raises
    ------
    ValueError
        Nothing found, ``stats`` of other groups or genes, values of the wrong scale, or ``rng`` is no seed.
    """
    from scipy.special import ndtr

    check_key(key_added)
    seed = seed_of(rng)
    indexed = index_sets(read_signatures(signatures), read_genes(adata), var=adata.var)
    stats = stats_for(adata, groupby, sample_key=sample_key, layer=layer, stats=stats)
    warn_few(indexed, LEAST)
    table = score_table(stats, indexed, seed=seed, least=LEAST)
    inflation = dict(zip((s.name for s in indexed), inflations(adata, stats, indexed)))
    table.insert(7, "vif", table["signature"].map(inflation))
    table.insert(8, "p_vif", ndtr(-table["z"] / np.sqrt(table["vif"])))
    table["seed"] = seed
    adata.uns[key_added] = table.copy()
    log.info("scored %d groups for %d signatures", len(stats.groups), len(indexed))
    return table


def score_table(
    stats: GroupStats, indexed: list[IndexedSet], *, seed: int, least: int
) -> pd.DataFrame:
    """Return the table of `score_clusters`; signatures with fewer than ``least`` genes found are NaN."""
    auc, alone = blocked_or_pooled(stats.auc_blocked, stats.auc)
    warn_pooled(stats, alone, stacklevel=3)
    table = pd.concat([_score_one(stats, auc, s, seed, least) for s in indexed], ignore_index=True)
    order = {name: place for place, name in enumerate(stats.groups)}
    table = table.iloc[table["group"].map(order).argsort(kind="stable")].reset_index(drop=True)
    table.insert(5, "padj", adjust(table["p"].to_numpy()))
    return table


def effects(s: IndexedSet, auc: np.ndarray) -> np.ndarray:
    """Return the weighted mean AUC of a set's genes, 1 - AUC for down genes; genes are auc's last axis."""
    where = np.concatenate((s.up, s.down))
    if not where.size:
        return np.full(auc.shape[:-1], np.nan)
    return 0.5 + (auc[..., where] - 0.5) @ shares_of(s)


def adjust(p: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg adjusted p-values; NaN stay NaN and do not count."""
    return 10.0 ** log10_benjamini_hochberg(np.log10(p)[None])[0]


def _score_one(
    stats: GroupStats, auc: np.ndarray, s: IndexedSet, seed: int, least: int
) -> pd.DataFrame:
    n_groups = len(stats.groups)
    table = pd.DataFrame({"group": stats.groups, "signature": s.name})
    table[["effect", "z", "p"]] = np.nan
    table["p_from"] = "none"
    table["n_genes"] = s.n_found
    support = np.zeros(n_groups, np.int64)
    if s.n_found >= least:
        table["effect"] = effect = effects(s, auc)
        support = (effects(s, stats.auc_sample) > 0.5).sum(axis=1)
        # The draws of a signature hang on its name alone: the same for all groups, whatever else is scored.
        draw = np.random.default_rng([seed, zlib.crc32(s.name.encode())])
        windows = matched_windows(stats, s)
        p, z, from_tail = _against_random(auc - 0.5, effect - 0.5, windows, shares_of(s), draw)
        table["p"], table["z"] = p, z
        table["p_from"] = np.where(np.isnan(p), "none", np.where(from_tail, "tail", "draws"))
    table["n_samples_support"] = support
    return table


def matched_windows(stats: GroupStats, s: IndexedSet) -> np.ndarray:
    """Return, for each gene of a set, the genes next to it in mean expression, without the set's own."""
    by_mean = np.lexsort((np.asarray(stats.genes.astype(str), object), stats.mean_all))
    where = np.concatenate((s.up, s.down))
    pool = by_mean[~np.isin(by_mean, where)]
    if not pool.size:
        msg = f"Signature {s.name!r} holds all genes, so none is left to compare with."
        raise ValueError(msg)
    size = min(WINDOW, pool.size)
    middle = np.searchsorted(stats.mean_all[pool], stats.mean_all[where])
    start = np.clip(middle - size // 2, 0, pool.size - size)
    return pool[start[:, None] + np.arange(size)]


def _against_random(
    auc: np.ndarray, effect: np.ndarray, windows: np.ndarray, shares: np.ndarray,
    draw: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return p, z and whether p is of the fitted tail, by group.

    A random set is a sum of independent draws from known windows, so its cumulants are known too: where fewer
    than ``ENOUGH`` draws reach the effect, p is of the Pearson III law with the same first three.
    """
    from scipy import stats as laws

    n_genes, size = windows.shape
    drawn = windows[np.arange(n_genes), draw.integers(size, size=(N_DRAWS, n_genes))]
    p, z = (np.full(effect.size, np.nan) for _ in range(2))
    from_tail = np.zeros(effect.size, bool)
    for group in np.flatnonzero(np.isfinite(effect)):
        beyond = int((auc[group, drawn] @ shares >= effect[group] - 1e-12).sum())
        p[group] = (beyond + 1) / (N_DRAWS + 1)
        around = auc[group, windows] * shares[:, None]
        centered = around - around.mean(axis=1, keepdims=True)
        variance = (centered**2).mean(axis=1).sum()
        if variance > 0:
            z[group] = (effect[group] - around.mean(axis=1).sum()) / np.sqrt(variance)
            if beyond < ENOUGH:
                skew = max((centered**3).mean(axis=1).sum() / variance**1.5, 0.0)
                p[group] = max(laws.pearson3.sf(z[group], skew), np.finfo(float).tiny)
                from_tail[group] = True
    return p, z, from_tail

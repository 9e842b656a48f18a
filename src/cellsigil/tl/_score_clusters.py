"""Score clusters for gene signatures, from statistics of the groups alone."""

from __future__ import annotations

import logging
import zlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil._core._jit import all_in_threads, over_range
from cellsigil._core._scores import (
    bring_to_rows,
    count_reaching,
    match_windows,
    window_cumulants,
)
from cellsigil._core._seed import seed_of
from cellsigil._files import check_key
from cellsigil.tl._effects import blocked_or_pooled, warn_pooled
from cellsigil.tl._groups import read_genes
from cellsigil.tl._inflation import inflations, shares_of
from cellsigil.tl._pvalues import log10_benjamini_hochberg
from cellsigil.tl._signatures import IndexedSet, index_sets, read_signatures, warn_few
from cellsigil.tl._stats import GroupStats, stats_for
from cellsigil.tl.scores._record import sorted_by_name

log = logging.getLogger(__name__)

WINDOW = 100
N_DRAWS = 999
ENOUGH = 10  # draws beyond the observed, below which the tail is fitted
LEAST = 3
TINY = np.finfo(float).tiny
NORMAL = 1.6e-5  # skew up to which the law is normal, in scipy too


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
    vif = np.tile(inflations(adata, stats, indexed), len(stats.groups))
    table.insert(7, "vif", vif)
    table.insert(8, "p_vif", ndtr(-table["z"].to_numpy() / np.sqrt(vif)))
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
    levels = Levels.of(stats, auc)
    effect, support = effects(indexed, auc), (effects(indexed, stats.auc_sample) > 0.5).sum(axis=1)
    too_few = [place for place, s in enumerate(indexed) if s.n_found < least]
    effect[:, too_few], support[:, too_few] = np.nan, 0
    beyond, cumulants = np.zeros(effect.shape, np.int64), np.zeros((3, *effect.shape))

    def draw(place: int) -> None:
        """Do in a thread, which owns this column of the table."""
        s = indexed[place]
        # The draws of a signature hang on its name alone: the same for all groups, whatever else is scored.
        rng = np.random.default_rng([seed, zlib.crc32(s.name.encode())])
        windows = matched_windows(levels, s)
        beyond[:, place], cumulants[:, :, place] = _random_sets(
            levels.auc, effect[:, place] - 0.5, windows, shares_of(s), rng
        )

    all_in_threads(draw, [k for k, s in enumerate(indexed) if s.n_found >= least])
    p, z, from_tail = _judged(effect - 0.5, beyond, cumulants)
    columns = {"effect": effect, "z": z, "p": p}
    p_from = np.where(np.isnan(p), "none", np.where(from_tail, "tail", "draws"))
    names, n_found = [s.name for s in indexed], [s.n_found for s in indexed]
    data: dict[str, Any] = {
        "group": pd.Index(stats.groups).repeat(len(indexed)).array,
        "signature": names * len(stats.groups),
    }
    data |= {name: values.ravel() for name, values in columns.items()}
    return pd.DataFrame(
        data
        | {
            "padj": adjust(data["p"]),
            "p_from": p_from.ravel().tolist(),
            "n_genes": n_found * len(stats.groups),
            "n_samples_support": support.ravel(),
        }
    )


class Levels(NamedTuple):
    """The genes in the order of their mean, ties by name, and their AUC - 0.5."""

    place: np.ndarray  # of each gene in that order
    first_alike: np.ndarray  # of each place, the first of an equal mean
    auc: np.ndarray  # genes x groups, in that order, a gene's values side by side

    @classmethod
    def of(cls, stats: GroupStats, auc: np.ndarray) -> Levels:
        """Sort the genes of the statistics."""
        by_mean = sorted_by_name(stats.mean_all, stats.genes)
        place = np.empty(by_mean.size, np.int64)
        place[by_mean] = np.arange(by_mean.size)
        mean = stats.mean_all[by_mean]
        is_first = np.append(True, mean[1:] != mean[:-1])
        first_alike = np.maximum.accumulate(np.where(is_first, np.arange(mean.size), 0))
        in_order = np.empty((auc.shape[1], auc.shape[0]))
        over_range(bring_to_rows, place.size, auc, place, in_order)
        return cls(place, first_alike, in_order)


def effects(indexed: list[IndexedSet], auc: np.ndarray) -> np.ndarray:
    """Return the weighted mean AUC of each set's genes, 1 - AUC for down genes; genes, then sets are the last axis."""
    out = np.full((*auc.shape[:-1], len(indexed)), np.nan)
    sizes = np.array([s.n_found for s in indexed])
    filled = np.flatnonzero(sizes)
    if filled.size:
        where = np.concatenate([of_side for s in indexed for of_side in (s.up, s.down)])
        shares = np.concatenate([shares_of(indexed[place]) for place in filled])
        first = (np.cumsum(sizes) - sizes)[filled]
        out[..., filled] = 0.5 + np.add.reduceat((auc[..., where] - 0.5) * shares, first, axis=-1)
    return out


def adjust(p: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg adjusted p-values; NaN stay NaN and do not count."""
    return 10.0 ** log10_benjamini_hochberg(np.log10(p)[None])[0]


def matched_windows(levels: Levels, s: IndexedSet) -> np.ndarray:
    """Return, for each gene of a set, the places of the genes next to it in mean, without the set's own."""
    own = levels.place[np.concatenate((s.up, s.down))]
    n_others = levels.place.size - own.size
    if not n_others:
        msg = f"Signature {s.name!r} holds all genes, so none is left to compare with."
        raise ValueError(msg)
    windows = np.empty((own.size, min(WINDOW, n_others)), np.int64)
    match_windows(levels.first_alike, own, np.sort(own), n_others, windows, 0, own.size)
    return windows


def _random_sets(
    auc: np.ndarray, effect: np.ndarray, windows: np.ndarray, shares: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return how many of ``N_DRAWS`` random sets reach the effect, by group (the columns of auc), and their cumulants.

    A random set is a sum of independent draws from known windows, so its first three cumulants are known too.
    """
    n_genes, size = windows.shape
    drawn = rng.integers(size, size=(N_DRAWS, n_genes))
    beyond = np.zeros(effect.size, np.int64)
    cumulants = np.zeros((3, effect.size))
    window_cumulants(
        auc, windows, shares, cumulants, 0, effect.size
    )  # brings the rows near, in order
    count_reaching(auc, windows, drawn, shares, effect - 1e-12, beyond, 0, N_DRAWS)
    return beyond, cumulants


def _judged(
    effect: np.ndarray, beyond: np.ndarray, cumulants: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p, z and whether p is of the fitted tail.

    Where fewer than ``ENOUGH`` draws reach the effect, p is of the Pearson III law with the same three cumulants.
    """
    mean, variance, third = cumulants
    known = np.isfinite(effect)
    varies = known & (variance > 0)
    z, skew = np.full(effect.shape, np.nan), np.zeros(effect.shape)
    z[varies] = (effect[varies] - mean[varies]) / np.sqrt(variance[varies])
    skew[varies] = np.maximum(third[varies] / variance[varies] ** 1.5, 0.0)
    p = np.where(known, (beyond + 1) / (N_DRAWS + 1), np.nan)
    from_tail = varies & (beyond < ENOUGH)
    p[from_tail] = np.maximum(pearson3_tail(z[from_tail], skew[from_tail]), TINY)
    return p, z, from_tail


def pearson3_tail(z: np.ndarray, skew: np.ndarray) -> np.ndarray:
    """Return the share of Pearson's third law (mean 0, sd 1, skew >= 0) beyond z: a gamma law, shifted.

    Equal to ``scipy.stats.pearson3.sf``, whose module takes 0.5 s to import.
    """
    from scipy.special import gammaincc, ndtr

    skewed = skew > NORMAL
    rate = 2.0 / np.where(skewed, skew, 1.0)
    shape = rate**2
    return np.where(skewed, gammaincc(shape, np.maximum(rate * (z + shape / rate), 0.0)), ndtr(-z))

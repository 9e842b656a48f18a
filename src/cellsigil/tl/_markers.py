"""Marker genes of groups of cells: one tidy table, and scanpy's form of it."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from cellsigil._core import _order
from cellsigil._files import check_key
from cellsigil._keys import RANK_GENES_GROUPS
from cellsigil._matrix import suggest
from cellsigil.tl import _effects
from cellsigil.tl._counting import count_against
from cellsigil.tl._marker_columns import Comparison
from cellsigil.tl._marker_table import for_scanpy, tidy
from cellsigil.tl._pairwise import PairCounter
from cellsigil.tl._stats import GroupStats, Labelled, count_all, read_labelled, stats_for

log = logging.getLogger(__name__)

RankBy = Literal["auto", "auc", "auc_blocked", "balanced", "specific", "z", "log2fc", "cosg"]
CIRCULAR = (
    "P-values are circular if the groups were found in this same expression (clusters, also imported ones): "
    "they then rank genes and test nothing. Labels from elsewhere can be declared with labels_independent=True."
)


def markers(
    adata: Any,
    groupby: str,
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    reference: str = "rest",
    groups: Sequence[str] | None = None,
    rank_by: RankBy = "auto",
    stats: GroupStats | None = None,
    labels_independent: bool = False,
    memory_budget: int | None = None,
    key_added: str = RANK_GENES_GROUPS,
) -> pd.DataFrame:
    """Rank every gene as a marker of every group.

    Parameters
    ----------
    adata
        Log-normalised expression, cells x genes. ``.raw`` is never read.
    groupby
        Column of ``obs`` with the groups.
    sample_key
        Column of ``obs`` with the samples (donors): adds the columns that are computed within samples
        and averaged over them, which is what holds up in other donors.
    layer
        Layer to read instead of X.
    reference
        What a group is compared with: ``"rest"`` (all other cells), the name of one group, or
        ``"pairwise"`` (the rest, and each other group in turn).
    groups
        Only these groups, in this order's category order; all are still compared with all cells.
    rank_by
        ``"auto"``: AUC, blocked by sample where there are samples. ``"balanced"``: sum of the ranks by AUC
        and by COSG, both blocked. ``"specific"``: COSG, with ``reference="pairwise"`` its rank plus the
        rank by ``auc_min``. ``"z"``: the order without correction for ties. Ties go by gene name.
    stats
        What `group_stats` gave for the same call, to save a pass.
    labels_independent
        Declare that the labels were not found in this expression, so that p-values test something.
    memory_budget
        Bytes that the reordered values of the matrix may take at a time. None: a 32nd of a matrix in memory,
        at least 32 MiB; 1 GiB of a lazily opened one, which is read anew for each. "pairwise" holds 8 bytes for
        each gene and pair of groups besides: of as many pairs as take that many bytes again (None: 1 GiB, all
        of 130 groups and 16,000 genes), but at least one for each group. Where that is not all of them, the
        genes are counted anew for the next ones.
    key_added
        Key of ``uns`` for scanpy's form of the result.

    Returns
    -------
    A row per group and gene, groups in category order, best gene first: ``group, gene, rank`` (1 = best);
    ``auc``; ``z`` (corrected for ties) and ``z_raw``; ``t`` (Welch); ``log10_p`` and ``log10_padj`` (of z,
    Benjamini-Hochberg per group); ``log2fc`` = log2((mean CP10K in + 1) / (mean CP10K out + 1)); ``pct_in,
    pct_out, mean_in, mean_out`` (share of cells with the gene, mean log expression); ``cohen_d``; ``cosg``;
    ``tau``. With samples: ``auc_blocked, cohen_d_blocked, cosg_blocked``, ``n_samples_pos`` (samples with
    AUC above .5); with three or more also ``z_blocked, log10_p_blocked`` (van Elteren's blocked Wilcoxon,
    against the rest) and ``log10_p_samples`` (t-test of the samples' log2 fold changes, paired by sample).
    With ``"pairwise"``: ``auc_min, auc_median, auc_mean, auc_rank`` over the other groups.
    A group of fewer than two cells has NaN and no rank.
    p is a normal approximation: in a small group it is far too small for genes that few cells have (labels of
    pbmc3k shuffled: fine from 150 cells on; 12 cells: padj down to 1e-16). The ranking does not use it.

    Raises
    ------
    KeyError
        No such column, layer, group or reference.
    ValueError
        The values are no log-normalised expression, gene names are not unique, there is one group only,
        ``stats`` are of something else, or ``key_added`` holds a "/".

    Sets
    ----
    ``uns[key_added]``: names, scores (z), pvals, pvals_adj, logfoldchanges and params as scanpy's Wilcoxon
    test leaves them, in our order; our own parameters as JSON under ``cellsigil``.

    References
    ----------
    Lun ATL, McCarthy DJ, Marioni JC (2016), F1000Research 5:2122 (scran: pairwise summaries); van Elteren P
    (1960), Bull Inst Int Stat 37:351 (blocked test); Dai M et al. (2022), Brief Bioinform 23:bbab579 (COSG);
    Yanai I et al. (2005), Bioinformatics 21:650 (tau).
    """
    _check_rank_by(rank_by, sample_key)
    check_key(key_added)
    found: dict[str, np.ndarray] | None = None
    counter: Callable[..., dict[str, Any]] | None = None

    def count_also(data: Labelled) -> Callable[..., dict[str, Any]] | None:
        nonlocal counter
        versus = _reference_index(data.groups, groupby, reference)
        counter = _counter(data, versus, reference, memory_budget, within=True)
        return counter

    @functools.cache
    def labelled() -> Labelled:
        with warnings.catch_warnings(action="ignore"):  # said by group_stats
            return read_labelled(adata, groupby, sample_key, layer)

    if stats is None:  # what another reference needs is counted in the same pass
        stats, found = count_all(adata, groupby, sample_key, layer, memory_budget, also=count_also)
    stats = stats_for(adata, groupby, sample_key=sample_key, layer=layer, stats=stats)
    versus = _reference_index(stats.groups, groupby, reference)
    rows = _chosen(stats, groups, versus)
    if reference != "rest" and found is None:
        data = labelled()
        if counter := _counter(data, versus, reference, memory_budget, within=False):
            found = data.gather(counter, memory_budget)
    if isinstance(counter, PairCounter):
        ranks = counter.best_ranks(lambda pairs: labelled().by_genes(pairs, memory_budget))
        found = {"auc_rank": ranks} | (found or {})
    counter = None  # the pairs: 0.5 GB of 90 groups and 16,000 genes
    params = {
        "groupby": groupby, "sample_key": sample_key, "layer": layer, "reference": reference,
        "rank_by": rank_by, "labels_independent": labels_independent,
        "note": "" if labels_independent else CIRCULAR,
    }  # fmt: skip
    names, genes = [stats.groups[g] for g in rows], stats.genes
    alone = np.zeros(len(stats.groups), bool)
    columns = Comparison.of(stats, versus, found)
    table, order = tidy(columns.group, _order_of(stats, rank_by, alone), names, genes, rows)
    _effects.warn_pooled(stats, alone, stacklevel=2)
    del columns, stats, found  # before scanpy's form, which is a third of the table
    table.attrs = dict(params)
    by_gene = genes.astype(str).to_numpy(dtype=object)
    adata.uns[key_added] = for_scanpy(table, params, names, by_gene[order])
    log.info("markers: %d groups x %d genes by %s", len(names), len(genes), rank_by)
    return table


def _check_rank_by(rank_by: str, sample_key: str | None) -> None:
    if rank_by not in get_args(RankBy):
        msg = f"rank_by={rank_by!r} is no ranking. {suggest(rank_by, get_args(RankBy))}"
        raise ValueError(msg)
    if rank_by == "auc_blocked" and sample_key is None:
        msg = "rank_by='auc_blocked' needs samples. Name their column with sample_key=, or use rank_by='auc'."
        raise ValueError(msg)


def _reference_index(groups: list[str], groupby: str, reference: str) -> int | None:
    """Return which group is the reference, None for the rest."""
    if reference in ("rest", "pairwise"):
        return None
    if str(reference) not in groups:
        known = ["rest", "pairwise", *groups]
        msg = (
            f"reference={reference!r} is no group of obs[{groupby!r}]. {suggest(reference, known)}"
        )
        raise KeyError(msg)
    return groups.index(str(reference))


def _counter(
    data: Labelled, versus: int | None, reference: str, memory_budget: int | None, *, within: bool
) -> Callable[..., dict[str, Any]] | None:
    """Return what counts for a reference that is not the rest."""
    if versus is not None:
        return functools.partial(count_against, reference=versus)
    if reference == "pairwise":
        return PairCounter(data.n, len(data.genes), within=within, budget_bytes=memory_budget)
    return None


def _chosen(stats: GroupStats, groups: Sequence[str] | None, versus: int | None) -> list[int]:
    """Return the groups to report, in category order, without the reference."""
    if isinstance(groups, str):
        groups = [groups]
    for group in groups or []:
        if str(group) not in stats.groups:
            msg = f"No group {group!r} in obs[{stats.groupby!r}]. {suggest(group, stats.groups)}"
            raise KeyError(msg)
    wanted = set(stats.groups if groups is None else map(str, groups))
    rows = [g for g, name in enumerate(stats.groups) if name in wanted and g != versus]
    if not rows:
        msg = f"groups={list(groups or [])!r} leaves no group to compare. Name one besides the reference."
        raise ValueError(msg)
    return rows


def _order_of(
    stats: GroupStats, rank_by: str, alone: np.ndarray
) -> Callable[[int, dict[str, np.ndarray]], tuple[np.ndarray, int]]:
    """Return what puts a group's genes in order, best first, ties by name, those without a score last.

    It notes in ``alone`` which groups are ranked by a pooled AUC.
    """
    names = stats.genes.astype(str).to_numpy(dtype=object).tolist()
    by_name = np.array(sorted(range(len(names)), key=names.__getitem__))  # 4 ms, by numpy 10

    def order(g: int, columns: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
        score, alone[g] = _score(columns, rank_by)
        return _ordered(-score, by_name), score.size - int(np.isnan(score).sum())

    return order


def _score(columns: dict[str, np.ndarray], rank_by: str) -> tuple[np.ndarray, bool]:
    """Return by what a group's genes (genes,) are ranked, and whether its pooled AUC had to do."""
    arms = columns.get("auc_blocked", columns["auc"]), columns["auc"]
    (auc,), (alone,) = _effects.blocked_or_pooled(*(values[None] for values in arms))
    cosg = columns["cosg"] if alone else columns.get("cosg_blocked", columns["cosg"])
    if rank_by == "balanced":
        score = -_places(auc) - _places(cosg)
    elif rank_by == "specific" and "auc_min" in columns:
        score = -_places(cosg) - _places(columns["auc_min"])
    elif rank_by in ("specific", "cosg"):
        score = cosg if rank_by == "specific" else columns["cosg"]
    elif rank_by in ("auto", "auc_blocked"):
        score = auc
    else:
        score = columns["z_raw" if rank_by == "z" else rank_by]
    return score, bool(alone)


def _places(score: np.ndarray) -> np.ndarray:
    """Return the place of each gene, 1 = highest score, ties sharing their mean place."""
    order, places = _ordered(-score, np.arange(score.size)), np.empty(score.size)
    _order.mean_places(score[None], order[None], places[None], 0, 1)
    return places


def _ordered(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the places of values in ascending order, NaN last, equal ones in the order of ``first``."""
    order = np.empty(values.size, np.int64)
    _order.order_values(values[None], first, order[None], 0, 1)
    return order

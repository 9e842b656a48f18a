"""Statistics of groups of cells, made once and handed on as ``stats=``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cellsigil._core._memory import together
from cellsigil._genes import ClassBlock, by_classes
from cellsigil._matrix import read_log
from cellsigil._rows import Rows
from cellsigil.tl._counting import Columns, columns_of, count_genes, of_one_sample
from cellsigil.tl._groups import Groups, read_genes, read_labels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupStats:
    """What was counted for each group of cells (G) and gene, and each sample (S).

    Attributes
    ----------
    groups, genes, samples
        Names; ``samples`` is ``[""]`` without a sample key.
    n
        Cells, int64 (G, S).
    mean, var, detected, mean_linear
        (G, genes): mean and variance (ddof 1) of log expression x, cells with x > 0, mean of expm1(x).
    sample_mean, sample_var, sample_mean_linear
        (G, S, genes): the same per sample; NaN where there are no cells (var: fewer than 2).
    auc, u_z, z_raw
        (G, genes), against all other cells: U / (n1 n2) with mid-ranks, the normal score with and
        without correction for ties.
    auc_sample, auc_blocked
        (G, S, genes): AUC within a sample, NaN where either arm has fewer than 3 cells;
        (G, genes): their mean with weights n1 n2 / (n1 + n2). Equal to ``auc`` with one sample.
    z_blocked
        (G, genes): normal score of van Elteren's Wilcoxon test blocked by sample.
    mean_all, sd_all
        (genes,): mean and standard deviation (ddof 1) of x over all labelled cells.
    groupby, sample_key, layer
        Where the labels and values came from.
    """

    groups: list[str]
    genes: pd.Index
    samples: list[str]
    n: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    detected: np.ndarray
    mean_linear: np.ndarray
    sample_mean: np.ndarray
    sample_mean_linear: np.ndarray
    auc: np.ndarray
    u_z: np.ndarray
    z_raw: np.ndarray
    auc_blocked: np.ndarray
    auc_sample: np.ndarray
    mean_all: np.ndarray
    sd_all: np.ndarray
    groupby: str
    sample_key: str | None
    layer: str | None
    sample_var: np.ndarray = field(repr=False)
    z_blocked: np.ndarray = field(repr=False)

    def frame(self, name: str) -> pd.DataFrame:
        """Return a (G, genes) field as a DataFrame, genes x groups.

        Parameters
        ----------
        name
            Name of the field, such as ``"mean"``.
        """
        values = getattr(self, name)
        if np.shape(values) != (len(self.groups), len(self.genes)):
            msg = f"GroupStats.{name} has no value per group and gene. Try 'mean', 'var', 'detected' or 'auc'."
            raise ValueError(msg)
        return pd.DataFrame(values.T, index=self.genes, columns=pd.Index(self.groups))


def group_stats(
    adata: Any,
    groupby: str,
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    memory_budget: int | None = None,
) -> GroupStats:
    """Count, for every gene and group of cells, all that markers, scores and signatures are made of.

    One pass over the genes. The answer has the same bits for any order of the cells, any number of
    threads and any memory budget.

    Parameters
    ----------
    adata
        Log-normalised expression, cells x genes.
    groupby
        Column of ``obs`` with the groups.
    sample_key
        Column of ``obs`` with the samples (donors): statistics per sample and blocked by sample.
    layer
        Layer to read instead of X.
    memory_budget
        Bytes that the reordered values of the matrix may take at a time. None: a 32nd of a matrix in memory,
        at least 32 MiB; 1 GiB of a lazily opened one, which is read anew for each.

    Returns
    -------
    A frozen `GroupStats`.

    Raises
    ------
    KeyError
        No such column or layer.
    ValueError
        The values are no log-normalised expression, or there are fewer than two groups.
    """
    return count_all(adata, groupby, sample_key, layer, memory_budget)[0]


def count_all(
    adata: Any,
    groupby: str,
    sample_key: str | None,
    layer: str | None,
    memory_budget: int | None,
    also: Callable[[Labelled], Callable[..., dict[str, Any]] | None] | None = None,
    left_out: np.ndarray | None = None,
) -> tuple[GroupStats, dict[str, np.ndarray]]:
    """Return the statistics of groups and, from the same pass, the arrays of another counting function.

    ``also(data)`` gives that function, of `Columns` and cells (G, S), or None; its ``within`` is
    for `count_genes`. Cells of the mask ``left_out`` do not count.
    """
    data = read_labelled(adata, groupby, sample_key, layer, left_out)
    other = also(data) if also else None
    small = [repr(name) for name, n in zip(data.groups, data.n.sum(axis=1)) if n < 2]
    if small:
        msg = (
            f"obs[{groupby!r}]: {', '.join(small[:12])} has fewer than 2 cells, so its statistics are NaN. "
            f"Merge it into another group, or leave its cells out."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)

    def count(columns: Columns, n: np.ndarray) -> dict[str, np.ndarray]:
        more = other(columns, n) if other else {}
        fields = count_genes(columns, n, more.pop("within", None))
        return fields | {f"also {name}": x for name, x in more.items()}

    fields = data.gather(count, memory_budget)
    found = {
        name.removeprefix("also "): fields.pop(name)
        for name in list(fields)
        if name.startswith("also ")
    }
    if data.n.shape[1] == 1:
        fields = of_one_sample(fields, data.n)
    log.info(
        "group_stats: %d cells of %d in %d groups, %d samples, %d genes",
        data.n.sum(), *data.rows.shape[:1], *data.n.shape, len(data.genes),
    )  # fmt: skip
    stats = GroupStats(
        groups=data.groups, genes=data.genes, samples=data.samples, n=data.n,
        groupby=groupby, sample_key=sample_key, layer=layer,
        **fields,
    )  # fmt: skip
    return stats, found


def stats_for(
    adata: Any,
    groupby: str,
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    stats: GroupStats | None = None,
    memory_budget: int | None = None,
) -> GroupStats:
    """Return ``stats`` if they are of this call's groups, samples, layer, genes and cells, else make them.

    Raises
    ------
    ValueError
        ``stats`` were made from something else.
    """
    if stats is None:
        return group_stats(
            adata, groupby, sample_key=sample_key, layer=layer, memory_budget=memory_budget
        )
    way_out = "Make them anew with cellsigil.tl.group_stats, or leave stats= out."
    for name, asked in (("groupby", groupby), ("sample_key", sample_key), ("layer", layer)):
        if getattr(stats, name) != asked:
            msg = f"stats= was made with {name}={getattr(stats, name)!r}, not {asked!r}. {way_out}"
            raise ValueError(msg)
    if not stats.genes.equals(read_genes(adata)):
        msg = f"stats= was made from other genes ({len(stats.genes)}; adata has {adata.n_vars}). {way_out}"
        raise ValueError(msg)
    with warnings.catch_warnings(action="ignore"):  # said when the stats were made
        groups, samples = read_labels(adata, groupby, sample_key)
    _, n = _classes(groups, samples)
    if groups.names != stats.groups or samples.names != stats.samples or (n != stats.n).any():
        msg = (
            f"stats= was made from other cells or labels than obs[{groupby!r}] holds now. {way_out}"
        )
        raise ValueError(msg)
    return stats


class Labelled(NamedTuple):
    """Expression with the group and sample of each cell."""

    rows: Rows
    genes: pd.Index
    groups: list[str]
    samples: list[str]
    label: np.ndarray  # int32, per cell: group * S + sample, -1 = left out
    n: np.ndarray  # int64 (G, S): cells

    def by_genes(
        self, function: Callable[..., Any], memory_budget: int | None, *args: Any
    ) -> Iterator[Any]:
        """Yield ``function(columns, n, *args)`` for some genes at a time, in their order."""

        def work(block: ClassBlock) -> list[Any]:
            return [function(columns, self.n, *args) for columns in columns_of(block)]

        for found in by_classes(self.rows, self.label, self.n.size, work, memory_budget):
            yield from found

    def gather(
        self, function: Callable[..., dict[str, np.ndarray]], memory_budget: int | None, *args: Any
    ) -> dict[str, np.ndarray]:
        """Return the arrays of ``function(columns, n, *args)`` for all genes, which are their last axis."""
        out: dict[str, np.ndarray] = {}
        start = 0
        for part in self.by_genes(function, memory_budget, *args):
            if not out:
                wide = (((*x.shape[:-1], len(self.genes)), x.dtype) for x in part.values())
                out = dict(zip(part, together(wide)))
            for name, values in part.items():
                out[name][..., start : start + values.shape[-1]] = values
            start += values.shape[-1]
        return out


def read_labelled(
    adata: Any,
    groupby: str,
    sample_key: str | None,
    layer: str | None,
    left_out: np.ndarray | None = None,
) -> Labelled:
    """Read log expression and the labels of its cells."""
    genes = read_genes(adata)
    groups, samples = read_labels(adata, groupby, sample_key, left_out)
    label, n = _classes(groups, samples)
    return Labelled(read_log(adata, layer), genes, groups.names, samples.names, label, n)


def _classes(groups: Groups, samples: Groups) -> tuple[np.ndarray, np.ndarray]:
    """Return the class g * S + s of each cell (-1: left out), and the cells (G, S)."""
    n_groups, n_samples = len(groups.names), len(samples.names)
    label = groups.codes * n_samples + samples.codes
    label = np.where((groups.codes < 0) | (samples.codes < 0), -1, label).astype(np.int32)
    n = np.bincount(label[label >= 0], minlength=n_groups * n_samples).astype(np.int64)
    return label, n.reshape(n_groups, n_samples)

"""Statistics of groups of cells, made once and handed on as ``stats=``."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cellsigil._core import _moments, _ranks
from cellsigil._core._jit import in_threads
from cellsigil._matrix import GeneBlock, read_log
from cellsigil.tl._groups import Groups, read_groups

log = logging.getLogger(__name__)

MIN_CELLS = 3  # of each arm, for a sample to count in a blocked statistic
ENTRIES_AT_ONCE = 1 << 20  # of a column chunk: what one thread works on


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
        (G, S, genes): AUC within a sample, NaN where either arm has fewer than ``MIN_CELLS`` cells;
        (G, genes): their mean with weights n1 n2 / (n1 + n2). Equal to ``auc`` with one sample.
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
    sample_var: np.ndarray

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
    memory_budget: int = 1 << 30,
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
        Bytes that the reordered entries of the matrix may take at a time.

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
    rows = read_log(adata, layer)
    groups = read_groups(adata, groupby)
    samples = _read_samples(adata, sample_key)
    label, n = _classes(groups, samples)
    if rows.shape[1] == 0:
        msg = f"{rows.name} has no genes. Was everything filtered out?"
        raise ValueError(msg)
    warn_small(groups.names, n.sum(axis=1), groupby)
    parts: list[dict[str, np.ndarray]] = []
    for block in rows.gene_blocks(budget_bytes=memory_budget):
        parts += in_threads(lambda piece: _count(piece, label, n), chunks_of_genes(block))
    fields = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
    log.info(
        "group_stats: %d cells of %d in %d groups, %d samples, %d genes",
        n.sum(), rows.shape[0], len(groups.names), len(samples.names), rows.shape[1],
    )  # fmt: skip
    return GroupStats(
        groups=groups.names, genes=adata.var_names, samples=samples.names, n=n,
        groupby=groupby, sample_key=sample_key, layer=layer, **fields,
    )  # fmt: skip


def chunks_of_genes(block: GeneBlock) -> list[GeneBlock]:
    """Cut a block into pieces of about ``ENTRIES_AT_ONCE`` entries; one thread works on one."""
    edges, held = [0], 0
    for j, size in enumerate(np.diff(block.indptr).tolist()):
        if held and held + size > ENTRIES_AT_ONCE:
            edges.append(j)
            held = 0
        held += size
    edges.append(block.stop - block.start)
    pieces = []
    for a, b in zip(edges[:-1], edges[1:]):
        first, last = block.indptr[a], block.indptr[b]
        pieces.append(
            GeneBlock(
                block.start + a,
                block.start + b,
                block.indptr[a : b + 1] - first,
                block.cells[first:last],
                block.values[first:last],
            )
        )
    return pieces


def warn_small(names: list[str], sizes: np.ndarray, groupby: str) -> None:
    """Warn of groups too small for a variance or a rank test."""
    small = [repr(name) for name, size in zip(names, sizes) if size < 2]
    if small:
        msg = (
            f"obs[{groupby!r}]: {', '.join(small[:12])} has fewer than 2 cells, so its statistics are NaN. "
            f"Merge it into another group, or leave its cells out."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def _read_samples(adata: Any, sample_key: str | None) -> Groups:
    if sample_key is None:
        return Groups(np.zeros(adata.n_obs, np.int32), [""])
    return read_groups(adata, sample_key, argument="sample_key", at_least=1)


def _classes(groups: Groups, samples: Groups) -> tuple[np.ndarray, np.ndarray]:
    """Return the class g * S + s of each cell (-1: left out), and the cells per group and sample."""
    n_groups, n_samples = len(groups.names), len(samples.names)
    label = groups.codes * n_samples + samples.codes
    label = np.where((groups.codes < 0) | (samples.codes < 0), -1, label).astype(np.int32)
    n = np.bincount(label[label >= 0], minlength=n_groups * n_samples).astype(np.int64)
    return label, n.reshape(n_groups, n_samples)


def _count(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields of `GroupStats` for the genes of one piece."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return _moments_of(piece, label, n) | _ranks_of(piece, label, n)


def _moments_of(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    (n_groups, n_samples), n_genes = n.shape, piece.stop - piece.start
    columns = (piece.indptr, piece.cells)
    sums = np.zeros((2, n_genes, n.size), np.int64)
    nonzero = np.zeros((2, n_genes, n.size), np.int64)
    scale = np.empty((2, n_genes))
    linear = np.expm1(piece.values, dtype=np.float64)
    for i, values in enumerate((piece.values, linear)):
        _moments.class_sums(*columns, values, label, sums[i], scale[i], nonzero[i], 0, n_genes)
    by_class = sums.reshape(2, n_genes, n_groups, n_samples)
    size = n.sum(axis=1)
    scale = scale[:, :, None]
    class_mean = sums / scale / np.maximum(n.ravel(), 1)
    squares = np.empty((n_genes, n.size))
    _moments.class_squares(
        *columns, piece.values, label, n.ravel(), class_mean[0], nonzero[0], squares, 0, n_genes
    )
    class_mean = class_mean.reshape(by_class.shape)
    mean = by_class.sum(axis=3) / scale / np.maximum(size, 1)
    mean_all = by_class[0].sum(axis=(1, 2)) / scale[0, :, 0] / n.sum()
    squares = squares.reshape(by_class.shape[1:])
    # Chan's rule: squares about the mean of all = squares about each part's own + n (part - all)^2
    within = (squares + n * (class_mean[0] - mean[0][..., None]) ** 2).sum(axis=2)
    among = (within + size * (mean[0] - mean_all[:, None]) ** 2).sum(axis=1)
    few = np.where(size < 2, np.nan, 1.0)[:, None]
    none = np.where(n < 1, np.nan, 1.0)[..., None]
    detected = nonzero[0].reshape(by_class.shape[1:]).sum(axis=2)
    return {
        "mean": few * mean[0].T,
        "var": few * within.T / (size - 1.0)[:, None],
        "detected": np.ascontiguousarray(detected.T),
        "mean_linear": few * mean[1].T,
        "sample_mean": none * class_mean[0].transpose(1, 2, 0),
        "sample_mean_linear": none * class_mean[1].transpose(1, 2, 0),
        "sample_var": squares.transpose(1, 2, 0) / np.where(n < 2, np.nan, n - 1.0)[..., None],
        "mean_all": mean_all,
        "sd_all": np.sqrt(among / (n.sum() - 1.0)),
    }


def _ranks_of(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    (n_groups, n_samples), n_genes = n.shape, piece.stop - piece.start
    columns = (piece.indptr, piece.cells, piece.values)
    group = np.where(label < 0, -1, label // n_samples).astype(np.int32)
    size, total = n.sum(axis=1), int(n.sum())
    ranks = np.empty((n_genes, n_groups), np.int64)
    ties = np.empty(n_genes)
    _ranks.rank_sums(*columns, group, size, ranks, ties, 0, n_genes)
    u = ranks / 2 - size * (size + 1) / 2
    pairs = np.where(size < 2, np.nan, size * (total - size))
    auc = (u / pairs).T
    centred = u - pairs / 2
    sd = np.sqrt(pairs * (total + 1) / 12)
    tie_correction = 1 - ties / (float(total) ** 3 - total)
    u_z = centred / (sd * np.sqrt(tie_correction)[:, None])
    u_z = np.where((centred == 0) & (pairs > 0), 0.0, u_z)  # all values tied: no evidence
    fields = {"auc": auc, "u_z": u_z.T, "z_raw": (centred / sd).T}
    if n_samples == 1:
        return fields | {"auc_blocked": auc.copy(), "auc_sample": auc[:, None].copy()}
    within = np.empty((n_genes, n.size), np.int64)
    block_of = np.tile(np.arange(n_samples), n_groups)
    _ranks.rank_sums_within(*columns, label, block_of, n.ravel(), n.sum(axis=0), within, 0, n_genes)
    rest = n.sum(axis=0) - n
    u = within.reshape(n_genes, n_groups, n_samples) / 2 - n * (n + 1) / 2
    enough = (n >= MIN_CELLS) & (rest >= MIN_CELLS)
    auc_sample = (u / np.where(enough, n * rest, np.nan)).transpose(1, 2, 0)
    return fields | {"auc_sample": auc_sample, "auc_blocked": blocked(auc_sample, n)}


def blocked(by_sample: np.ndarray, n: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    """Average (G, S, genes) over samples with weights n1 n2 / (n1 + n2); NaN is left out.

    ``n`` counts the cells of a group, ``other`` those of the arm it is compared with (default: the rest).
    """
    other = n.sum(axis=0) - n if other is None else other
    weight = (n * other / np.maximum(n + other, 1))[..., None] * np.isfinite(by_sample)
    total = weight.sum(axis=1)
    known = np.where(np.isfinite(by_sample), by_sample, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight * known).sum(axis=1) / total

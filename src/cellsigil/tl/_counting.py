"""What some genes add to the statistics of groups: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cellsigil._core import _moments, _ranks, _sort
from cellsigil._core._expm1 import linear_of
from cellsigil._genes import ClassBlock

MIN_CELLS = 3  # of each arm, for a sample to count in a blocked statistic
ENTRIES_AT_ONCE = 1 << 18  # values and classes: 6 MB with what is made of them


class Columns(NamedTuple):
    """The values of some genes, class by class, and the same in ascending order with the class of each."""

    edges: np.ndarray  # int64 (genes, classes + 1)
    values: np.ndarray
    keys: np.ndarray  # the values' bits as integers, sorted
    classes: np.ndarray  # int32
    start: int = 0  # the place of the first gene among all

    @property
    def n_genes(self) -> int:
        """Return the number of genes."""
        return self.edges.shape[0]

    def most(self) -> np.ndarray:
        """Return the greatest value of each gene, 0 where it has none."""
        first, last = self.edges[:, 0], self.edges[:, -1]
        out = np.zeros(self.n_genes, self.values.dtype)
        found = last > first
        out[found] = self.keys.view(self.values.dtype)[last[found] - 1]
        return out


class Within(NamedTuple):
    """Each class against all others of its sample."""

    above: np.ndarray  # int64 (genes, G * S): twice U
    ties: np.ndarray  # (genes, S): Σ(t³ - t)


def columns_of(block: ClassBlock) -> Iterator[Columns]:
    """Yield a block's genes, so few at a time that what is made of their values stays in the cache."""
    for part in block.parts(ENTRIES_AT_ONCE):
        keys = part.values.view(f"i{part.values.itemsize}")
        out, classes = np.empty_like(keys), np.empty(keys.size, np.int32)
        _sort.sort_columns(part.edges, keys, out, classes, 0, part.stop - part.start)
        yield Columns(part.edges, part.values, out, classes, part.start)


def count_genes(
    columns: Columns, n: np.ndarray, within: Within | None = None
) -> dict[str, np.ndarray]:
    """Return the fields of `GroupStats` for some genes; ``n`` is the cells (G, S) of class g * S + s.

    With one sample `of_one_sample` adds the rest.
    ``within`` is what `PairCounter` found on its way, and spares a look at the values.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return _moments_of(columns, n) | _ranks_of(columns, n, within)


def blocked(by_sample: np.ndarray, n: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Average (G, S, genes) over samples with weights n1 n2 / (n1 + n2); NaN is left out.

    ``n`` and ``other`` (G, S) count the cells of the two arms.
    """
    weight = n * other / np.maximum(n + other, 1)
    total, held = np.zeros((2, by_sample.shape[0], by_sample.shape[2]))
    for s in range(n.shape[1]):
        known = np.isfinite(by_sample[:, s])
        total += np.where(known, by_sample[:, s] * weight[:, s, None], 0.0)
        held += np.where(known, weight[:, s, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / held


def over_samples(values: np.ndarray) -> np.ndarray:
    """Add up over the last axis, which is short: numpy's own sum takes 9 ns for every four values, not 2."""
    total = values[..., 0].copy()
    for s in range(1, values.shape[-1]):
        total += values[..., s]
    return total


def enough(n: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which samples count for which group: `MIN_CELLS` in both arms, 2 and 1 where all is one sample."""
    if n.shape[1] == 1:
        return (n >= 2) & (other >= 1)
    return (n >= MIN_CELLS) & (other >= MIN_CELLS)


def _moments_of(columns: Columns, n: np.ndarray) -> dict[str, np.ndarray]:
    (n_groups, n_samples), n_genes = n.shape, columns.n_genes
    sums = np.empty((2, n_genes, n.size), np.int64)
    scale = np.empty((2, n_genes))
    most = columns.most().astype(np.float64)
    linear = linear_of(columns.values), linear_of(most)
    for i, (values, top) in enumerate(((columns.values, most), linear)):
        _moments.class_sums(columns.edges, values, top, sums[i], scale[i], 0, n_genes)
    scale = scale[:, :, None]
    nonzero = np.diff(columns.edges, axis=1)
    class_mean = sums / scale / np.maximum(n.ravel(), 1)
    squares = np.empty((n_genes, n.size))
    _moments.class_squares(
        columns.edges, columns.values, n.ravel(), class_mean[0], squares, 0, n_genes
    )
    shape = (n_genes, n_groups, n_samples)
    size = n.sum(axis=1)
    by_class, class_mean = sums.reshape(2, *shape), class_mean.reshape(2, *shape)
    mean = over_samples(by_class) / scale / np.maximum(size, 1)
    mean_all = sums[0].sum(axis=1) / scale[0, :, 0] / n.sum()
    squares = squares.reshape(shape)
    # Chan's rule: squares about the mean of all = squares about each part's own + n (part - all)^2
    within = over_samples(squares + n * (class_mean[0] - mean[0][..., None]) ** 2)
    among = (within + size * (mean[0] - mean_all[:, None]) ** 2).sum(axis=1)
    few = np.where(size < 2, np.nan, 1.0)[:, None]
    none = np.where(n < 1, np.nan, 1.0)[..., None]
    fields = {
        "detected": np.ascontiguousarray(over_samples(nonzero.reshape(shape)).T),
        "sample_mean": none * class_mean[0].transpose(1, 2, 0),
        "sample_mean_linear": none * class_mean[1].transpose(1, 2, 0),
        "sample_var": squares.transpose(1, 2, 0) / np.where(n < 2, np.nan, n - 1.0)[..., None],
        "mean_all": mean_all,
        "sd_all": np.sqrt(among / (n.sum() - 1.0)),
    }
    if n_samples == 1:
        return fields
    return fields | {
        "mean": few * mean[0].T,
        "var": few * within.T / (size - 1.0)[:, None],
        "mean_linear": few * mean[1].T,
    }


def of_one_sample(fields: dict[str, np.ndarray], n: np.ndarray) -> dict[str, np.ndarray]:
    """Return what `count_genes` leaves out where all cells are of one sample: the same numbers, in the same memory."""
    few = (n < 2)[:, 0]

    def of_groups(values: np.ndarray) -> np.ndarray:
        known = values[:, 0]
        return np.where(few[:, None], np.nan, known) if few.any() else known

    return fields | {
        "mean": of_groups(fields["sample_mean"]),
        "var": of_groups(fields["sample_var"]),
        "mean_linear": of_groups(fields["sample_mean_linear"]),
        "auc_sample": fields["auc"][:, None],
        "auc_blocked": fields["auc"],
        "z_blocked": fields["u_z"],
    }


def normal_scores(
    u: np.ndarray, n1: np.ndarray, n2: np.ndarray, ties: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return AUC, z corrected for ties, z not corrected, from U statistics; ``ties`` is Σ(t³ - t).

    No continuity correction, as in scanpy. Where all values are tied, z is 0: no evidence.
    """
    pairs = np.where((n1 < 2) | (n2 < 1), np.nan, np.float64(n1) * n2)
    total = np.float64(n1 + n2)
    centred = u - pairs / 2
    sd = np.sqrt(pairs * (total + 1) / 12)
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected = centred / (sd * np.sqrt(1 - ties / (total**3 - total)))
    nothing = (centred == 0) & (pairs > 0)
    return u / pairs, np.where(nothing, 0.0, corrected), centred / sd


def _ranks_of(columns: Columns, n: np.ndarray, within: Within | None) -> dict[str, np.ndarray]:
    (n_groups, n_samples), n_genes = n.shape, columns.n_genes
    size, (group_of, _) = n.sum(axis=1), places(n)
    ranks = np.empty((n_genes, n_groups), np.int64)
    ties = np.empty(n_genes)
    _ranks.rank_sums(
        columns.edges, columns.keys, columns.classes, group_of, n.ravel(), ranks, ties, 0, n_genes
    )
    u = (ranks - size * (size + 1)) / 2
    auc, u_z, z_raw = (x.T for x in normal_scores(u, size, n.sum() - size, ties[:, None]))
    fields = {"auc": auc, "u_z": u_z, "z_raw": z_raw}
    if n_samples == 1:
        return fields
    above, block_ties = within or _within(columns, n)
    u = above.reshape(n_genes, n_groups, n_samples) / 2
    other = n.sum(axis=0) - n
    auc_sample = np.where(enough(n, other), u / (n * other), np.nan).transpose(1, 2, 0)
    return fields | {
        "auc_sample": auc_sample,
        "auc_blocked": blocked(auc_sample, n, other),
        "z_blocked": _van_elteren(u, n, other, block_ties),
    }


def _within(columns: Columns, n: np.ndarray) -> Within:
    _, block_of = places(n)
    ranks = np.empty((columns.n_genes, n.size), np.int64)
    ties = np.empty((columns.n_genes, n.shape[1]))
    _ranks.rank_sums_within(
        columns.edges, columns.keys, columns.classes, block_of, n.ravel(), n.sum(axis=0),
        ranks, ties, 0, columns.n_genes,
    )  # fmt: skip
    return Within(ranks - (n * (n + 1)).ravel(), ties)


def _van_elteren(u: np.ndarray, n: np.ndarray, other: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return the z of van Elteren's blocked Wilcoxon test: Σ W_b / (N_b + 1) over the samples b."""
    total = (n + other).astype(np.float64)  # (G, S), the same in all groups of a sample
    usable = (n >= 1) & (other >= 1)
    share = np.where(usable, 1 / (total + 1), 0.0)
    variance = n * other * share / 12  # over total + 1 once more, as the share of W is
    away, spread = np.zeros((2, *u.shape[:2]))
    for s in np.flatnonzero(usable.any(axis=0)):
        away += (u[:, :, s] - n[:, s] * other[:, s] / 2) * share[:, s]
        spread += variance[:, s] * (1 - ties[:, s] / (total[0, s] ** 3 - total[0, s]))[:, None]
    z = np.where(away == 0, 0.0, away / np.sqrt(spread))
    tested = usable.any(axis=1) & (n.sum(axis=1) >= 2)
    return np.where(tested, z, np.nan).T


def places(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the group and the sample of each class."""
    n_groups, n_samples = n.shape
    return np.repeat(np.arange(n_groups), n_samples), np.tile(np.arange(n_samples), n_groups)


def count_against(columns: Columns, n: np.ndarray, reference: int) -> dict[str, np.ndarray]:
    """Return AUC and normal scores of each group against group ``reference`` instead of the rest."""
    (n_groups, n_samples), n_genes = n.shape, columns.n_genes
    size, other = n.sum(axis=1), np.broadcast_to(n[reference], n.shape)
    wins = np.zeros((n_genes, n_groups), np.int64)
    ties = np.zeros((n_genes, n_groups))
    within = np.zeros((n_genes, n.size), np.int64)
    _ranks.wins_against(
        columns.edges, columns.keys, columns.classes, *places(n), n.ravel(), reference,
        wins, ties, within, 0, n_genes,
    )  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = normal_scores(wins / 2, size, size[reference], ties)
        auc, u_z, z_raw = (x.T for x in scores)
        u = within.reshape(n_genes, n_groups, n_samples) / 2
        auc_sample = np.where(enough(n, other), u / (n * other), np.nan).transpose(1, 2, 0)
        averaged = blocked(auc_sample, n, other)
    return {
        "auc": auc,
        "u_z": u_z,
        "z_raw": z_raw,
        "auc_sample": auc_sample,
        "auc_blocked": averaged,
    }

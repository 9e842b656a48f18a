"""Effect sizes of each gene in each group, from the groups' statistics alone."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from cellsigil._core import _others
from cellsigil._core._jit import over_range
from cellsigil.tl._counting import enough
from cellsigil.tl._stats import GroupStats


class Arm(NamedTuple):
    """One side of a comparison, for each group: cells (G,), mean and squares about it (G, genes).

    ``squares`` are (G, 0) where they are not known.
    """

    n: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @property
    def var(self) -> np.ndarray:
        """Return the variance (ddof 1)."""
        return self.squares / np.where(self.n < 2, np.nan, self.n - 1.0)[:, None]

    def only(self, g: int) -> Arm:
        """Return group ``g`` alone."""
        return Arm(*(x[g : g + 1] for x in self))

    def among(self, reference: int | None) -> Arm:
        """Return what each group is compared with: group ``reference``, or all others (None)."""
        if reference is not None:
            return Arm(*(np.broadcast_to(x[reference], x.shape) for x in self))
        own = Arm(*map(np.ascontiguousarray, self))
        mean, squares = np.empty_like(own.mean), np.empty_like(own.squares)
        over_range(
            _others.merge_others, mean.shape[1], *own, mean, squares, chunk=_others.GENES_AT_ONCE
        )
        return Arm(own.n.sum() - own.n, mean, squares)


def _merge(a: Arm, b: Arm) -> Arm:
    """Chan's rule: M2 = M2_a + M2_b + (mean_b - mean_a)^2 n_a n_b / n."""
    n = a.n + b.n
    if n == 0:
        return a
    mean = (a.mean * a.n + b.mean * b.n) / n
    return Arm(n, mean, a.squares + b.squares + (b.mean - a.mean) ** 2 * (a.n * b.n / n))


def arm_of_sample(stats: GroupStats, s: int) -> Arm:
    """Return the groups' log expression within sample ``s``; zeros where a group has no cell there."""
    n = stats.n[:, s]
    squares = stats.sample_var[:, s] * (n[:, None] - 1.0)
    return Arm(n, _or_zero(stats.sample_mean[:, s], n > 0), _or_zero(squares, n > 1))


def _or_zero(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the values of the known groups, zeros for the others; no copy where all are known."""
    return values if known.all() else np.where(known[:, None], values, 0.0)


def arm_of_all(stats: GroupStats) -> Arm:
    """Return the groups' log expression over all samples; groups of one cell too, unlike ``stats.mean``."""
    arm = arm_of_sample(stats, 0)
    for s in range(1, len(stats.samples)):
        other = arm_of_sample(stats, s)
        rows = [_merge(Arm(*a), Arm(*b)) for a, b in zip(zip(*arm), zip(*other))]
        arm = Arm(*(np.array(parts) for parts in zip(*rows)))
    return arm


def arm_of_linear(stats: GroupStats) -> Arm:
    """Return the groups' mean of expm1(x)."""
    n, mean = stats.n.sum(axis=1), np.empty(stats.mean.shape)
    for g, own in enumerate(stats.n[..., None]):  # a group at a time lies in the cache
        known = np.where(own > 0, stats.sample_mean_linear[g], 0.0)
        np.divide((known * own).sum(axis=0), max(n[g], 1), out=mean[g])
    return Arm(n, mean, mean[:, :0])


def arm_of_detected(stats: GroupStats) -> Arm:
    """Return the groups' share of cells with the gene."""
    n = stats.n.sum(axis=1)
    mean = stats.detected / np.maximum(n, 1)[:, None]
    return Arm(n, mean, mean[:, :0])


class Contrast(NamedTuple):
    """One arm against another: difference and variances, and where the means are equal and both variances known."""

    apart: np.ndarray
    var: tuple[np.ndarray, np.ndarray]
    n: tuple[np.ndarray, np.ndarray]
    equal: np.ndarray

    @classmethod
    def of(cls, one: Arm, two: Arm) -> Contrast:
        """Compare the groups of two arms, each with its own."""
        with np.errstate(divide="ignore", invalid="ignore"):
            var = one.var, two.var
        equal = (one.mean == two.mean) & np.isfinite(var[0]) & np.isfinite(var[1])
        return cls(one.mean - two.mean, var, (one.n[:, None], two.n[:, None]), equal)

    def welch_t(self) -> np.ndarray:
        """Return Welch's t; 0 where both variances are 0 and the means are equal, as in scanpy."""
        (v1, v2), (n1, n2) = self.var, self.n
        return self._apart_by(v1 / n1 + v2 / n2)

    def cohen_d(self) -> np.ndarray:
        """Return (m1 - m2) / sqrt((v1 + v2) / 2), 0 where the means are equal."""
        return self._apart_by((self.var[0] + self.var[1]) / 2)

    def _apart_by(self, square: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            out = self.apart / np.sqrt(square)
        out[self.equal] = 0.0
        return out


def blocked_or_pooled(blocked: np.ndarray, pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the blocked values, the pooled ones for groups that no sample has enough cells of, and which those are."""
    alone = np.isnan(blocked).all(axis=1)
    if not alone.any():
        return blocked, alone
    alone &= ~np.isnan(pooled).all(axis=1)
    return np.where(alone[:, None], pooled, blocked), alone


def warn_pooled(stats: GroupStats, alone: np.ndarray, stacklevel: int) -> None:
    """Warn of groups whose pooled AUC had to do."""
    if alone.any():
        names = ", ".join(repr(stats.groups[g]) for g in np.flatnonzero(alone))
        msg = (
            f"No sample of obs[{stats.sample_key!r}] has 3 cells of {names} and 3 to compare them with: "
            f"their pooled AUC is used instead, which mixes samples."
        )
        warnings.warn(msg, UserWarning, stacklevel=stacklevel + 1)


class CosineScale(NamedTuple):
    """What a gene's COSG is divided by, the same in all groups: (genes,), 1 for a gene that is zero."""

    length: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, arm: Arm) -> CosineScale:
        """Add up over the groups, one at a time."""
        length, total = np.zeros(arm.mean.shape[1]), np.zeros(arm.mean.shape[1])
        for n, mean, squares in zip(*arm):
            length += squares + n * mean**2
        length = np.sqrt(length)
        length = np.where(length > 0, length, 1.0)
        for n, mean in zip(arm.n, arm.mean):
            total += (np.sqrt(n) * mean / length) ** 2
        return cls(length, np.where(total > 0, total, 1.0))


def cosg(arm: Arm, scale: CosineScale) -> np.ndarray:
    """Return COSG with µ = 1: cos(x, group)^3 / Σ over groups of cos^2; 0 for a gene that is zero.

    The cosine of a gene with a group's 0/1 vector is its sum over the group / (sqrt(n) |x|).

    References
    ----------
    Dai M, Pei X, Wang XJ (2022). Accurate and fast cell marker gene identification with COSG.
    Brief Bioinform 23(2):bbab579.
    """
    cosine = np.sqrt(arm.n)[:, None] * arm.mean / scale.length
    return cosine * cosine * cosine / scale.total  # numpy's power of 3: 14 ns, not 1


def tau(stats: GroupStats) -> np.ndarray:
    """Return tau of each gene on mean log expression: Σ(1 - x / x_max) / (K - 1), NaN for a zero gene."""
    rows = np.flatnonzero(stats.n.sum(axis=1) >= 2)
    if rows.size < 2:
        return np.full(stats.mean.shape[1], np.nan)
    most = stats.mean[rows[0]].copy()
    for g in rows[1:]:
        np.maximum(most, stats.mean[g], out=most)
    most[most <= 0] = np.nan
    total = np.zeros(most.size)
    for g in rows:
        total += 1 - stats.mean[g] / most
    return total / (rows.size - 1)


def blocked_effects(stats: GroupStats, reference: int | None) -> dict[str, np.ndarray]:
    """Return Cohen's d and COSG per sample, averaged over samples as the blocked AUC is."""
    rest = stats.n.sum(axis=0) - stats.n
    other = rest if reference is None else np.broadcast_to(stats.n[reference], rest.shape)
    d, cosine = (_WeightedMean(stats.n, arm, len(stats.genes)) for arm in (other, rest))
    for s in range(len(stats.samples)):
        arm = arm_of_sample(stats, s)
        against, scale = arm.among(reference), CosineScale.of(arm)
        for g in range(len(stats.groups)):  # one at a time lies in the cache
            own = arm.only(g)
            if d.weight[g, s] > 0:
                d.add(g, s, Contrast.of(own, against.only(g)).cohen_d()[0])
            if cosine.weight[g, s] > 0:
                cosine.add(g, s, cosg(own, scale)[0])
    return {"cohen_d_blocked": d.mean(), "cosg_blocked": cosine.mean()}


class _WeightedMean:
    """A mean over samples, weighted as `blocked` does, one group and sample at a time."""

    def __init__(self, n: np.ndarray, other: np.ndarray, n_genes: int) -> None:
        self.weight = np.where(enough(n, other), n * other / np.maximum(n + other, 1), 0.0)
        self.total, self.held = np.zeros((2, len(n), n_genes))

    def add(self, g: int, s: int, values: np.ndarray) -> None:
        known = np.isfinite(values)
        self.total[g] += np.where(known, self.weight[g, s] * values, 0.0)
        self.held[g] += np.where(known, self.weight[g, s], 0.0)

    def mean(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(self.total, self.held, out=self.total)


def paired_log2fc(stats: GroupStats, reference: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return log2 fold changes of mean CP10K within each sample (G, S, genes), and usable samples (G, S)."""
    out = np.empty((*stats.n.shape, len(stats.genes)))
    other = np.empty_like(stats.n)
    for s in range(len(stats.samples)):
        n = stats.n[:, s]
        mean = np.where((n > 0)[:, None], stats.sample_mean_linear[:, s], 0.0)
        arm = Arm(n, mean, mean[:, :0])
        rest = arm.among(reference)
        other[:, s] = rest.n
        out[:, s] = np.log2((arm.mean + 1) / (rest.mean + 1))
    return out, enough(stats.n, other)

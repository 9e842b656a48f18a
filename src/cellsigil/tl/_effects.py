"""Effect sizes of each gene in each group, from the groups' statistics alone."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from cellsigil.tl._counting import enough
from cellsigil.tl._stats import GroupStats


class Arm(NamedTuple):
    """One side of a comparison, for each group: cells (G,), mean and squares about it (G, genes)."""

    n: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @property
    def var(self) -> np.ndarray:
        """Return the variance (ddof 1)."""
        return self.squares / np.where(self.n < 2, np.nan, self.n - 1.0)[:, None]

    def among(self, reference: int | None) -> Arm:
        """Return what each group is compared with: group ``reference``, or all others (None)."""
        if reference is not None:
            return Arm(*(np.broadcast_to(x[reference], x.shape) for x in self))
        return self._others()

    def _others(self) -> Arm:
        """Return all but each group, merged by Chan's rule from both ends: nothing is subtracted."""
        each = [Arm(*parts) for parts in zip(*self)]
        before, after = [_nothing(self)], [_nothing(self)]
        for arm in each[:-1]:
            before.append(_merge(before[-1], arm))
        for arm in each[:0:-1]:
            after.append(_merge(after[-1], arm))
        merged = [_merge(a, b) for a, b in zip(before, after[::-1])]
        return Arm(*(np.array(parts) for parts in zip(*merged)))


def _nothing(arm: Arm) -> Arm:
    zeros = np.zeros(arm.mean.shape[1])
    return Arm(arm.n[0] * 0, zeros, zeros)


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
    squares = np.where((n > 1)[:, None], stats.sample_var[:, s] * (n[:, None] - 1.0), 0.0)
    return Arm(n, np.where((n > 0)[:, None], stats.sample_mean[:, s], 0.0), squares)


def arm_of_all(stats: GroupStats) -> Arm:
    """Return the groups' log expression over all samples; groups of one cell too, unlike ``stats.mean``."""
    arm = arm_of_sample(stats, 0)
    for s in range(1, len(stats.samples)):
        other = arm_of_sample(stats, s)
        rows = [_merge(Arm(*a), Arm(*b)) for a, b in zip(zip(*arm), zip(*other))]
        arm = Arm(*(np.array(parts) for parts in zip(*rows)))
    return arm


def arm_of_linear(stats: GroupStats) -> Arm:
    """Return the groups' mean of expm1(x); its squares are not known and are 0."""
    known = np.where((stats.n > 0)[..., None], stats.sample_mean_linear, 0.0)
    n = stats.n.sum(axis=1)
    mean = (known * stats.n[..., None]).sum(axis=1) / np.maximum(n, 1)[:, None]
    return Arm(n, mean, np.zeros_like(mean))


def welch_t(one: Arm, two: Arm) -> np.ndarray:
    """Return Welch's t; 0 where both variances are 0 and the means are equal, as in scanpy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (one.mean - two.mean) / np.sqrt(one.var / one.n[:, None] + two.var / two.n[:, None])
        equal = (one.mean == two.mean) & np.isfinite(one.var) & np.isfinite(two.var)
    return np.where(equal, 0.0, t)


def cohen_d(one: Arm, two: Arm) -> np.ndarray:
    """Return (m1 - m2) / sqrt((v1 + v2) / 2), 0 where the means are equal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        d = (one.mean - two.mean) / np.sqrt((one.var + two.var) / 2)
        equal = (one.mean == two.mean) & np.isfinite(one.var) & np.isfinite(two.var)
    return np.where(equal, 0.0, d)


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


def cosg(arm: Arm) -> np.ndarray:
    """Return COSG with µ = 1: cos(x, group)^3 / Σ over groups of cos^2; 0 for a gene that is zero.

    The cosine of a gene with a group's 0/1 vector is its sum over the group / (sqrt(n) |x|).

    References
    ----------
    Dai M, Pei X, Wang XJ (2022). Accurate and fast cell marker gene identification with COSG.
    Brief Bioinform 23(2):bbab579.
    """
    length = np.sqrt((arm.squares + arm.n[:, None] * arm.mean**2).sum(axis=0))
    cosine = np.sqrt(arm.n)[:, None] * arm.mean / np.where(length > 0, length, 1.0)
    total = (cosine**2).sum(axis=0)
    return cosine**3 / np.where(total > 0, total, 1.0)


def tau(stats: GroupStats) -> np.ndarray:
    """Return tau of each gene on mean log expression: Σ(1 - x / x_max) / (K - 1), NaN for a zero gene."""
    mean = stats.mean[stats.n.sum(axis=1) >= 2]
    if mean.shape[0] < 2:
        return np.full(stats.mean.shape[1], np.nan)
    most = mean.max(axis=0)
    share = mean / np.where(most > 0, most, np.nan)
    return (1 - share).sum(axis=0) / (mean.shape[0] - 1)


def blocked_effects(stats: GroupStats, reference: int | None) -> dict[str, np.ndarray]:
    """Return Cohen's d and COSG per sample, averaged over samples as the blocked AUC is."""
    rest = stats.n.sum(axis=0) - stats.n
    other = rest if reference is None else np.broadcast_to(stats.n[reference], rest.shape)
    d, cosine = (_WeightedMean(stats.n, arm) for arm in (other, rest))
    for s in range(len(stats.samples)):
        arm = arm_of_sample(stats, s)
        d.add(s, cohen_d(arm, arm.among(reference)))
        cosine.add(s, cosg(arm))
    return {"cohen_d_blocked": d.mean(), "cosg_blocked": cosine.mean()}


class _WeightedMean:
    """A mean over samples, weighted as `blocked` does, one sample at a time."""

    def __init__(self, n: np.ndarray, other: np.ndarray) -> None:
        self.weight = np.where(enough(n, other), n * other / np.maximum(n + other, 1), 0.0)
        self.total: np.ndarray | float = 0.0
        self.held: np.ndarray | float = 0.0

    def add(self, s: int, values: np.ndarray) -> None:
        known = np.isfinite(values) & (self.weight[:, s, None] > 0)
        self.total = self.total + np.where(known, self.weight[:, s, None] * values, 0.0)
        self.held = self.held + np.where(known, self.weight[:, s, None], 0.0)

    def mean(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(self.total, self.held)


def paired_log2fc(stats: GroupStats, reference: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return log2 fold changes of mean CP10K within each sample (G, S, genes), and usable samples (G, S)."""
    out = np.empty((*stats.n.shape, len(stats.genes)))
    other = np.empty_like(stats.n)
    for s in range(len(stats.samples)):
        n = stats.n[:, s]
        mean = np.where((n > 0)[:, None], stats.sample_mean_linear[:, s], 0.0)
        arm = Arm(n, mean, np.zeros_like(mean))
        rest = arm.among(reference)
        other[:, s] = rest.n
        out[:, s] = np.log2((arm.mean + 1) / (rest.mean + 1))
    return out, enough(stats.n, other)

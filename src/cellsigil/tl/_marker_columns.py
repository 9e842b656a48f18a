"""The columns of the marker table, made one group at a time: all that is made on the way lies in the cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellsigil.tl import _effects
from cellsigil.tl._effects import Arm
from cellsigil.tl._pvalues import log10_benjamini_hochberg, log10_two_sided, log10_two_sided_t
from cellsigil.tl._stats import GroupStats


class Comparison(NamedTuple):
    """Each group and what it is compared with, from which every column follows."""

    known: dict[str, np.ndarray]  # (G, genes): columns as they are
    log: tuple[Arm, Arm]  # expression, in the group and out of it
    linear: tuple[Arm, Arm]
    detected: tuple[Arm, Arm]
    cosines: _effects.CosineScale
    tau: np.ndarray

    @classmethod
    def of(
        cls, stats: GroupStats, versus: int | None, found: dict[str, np.ndarray] | None
    ) -> Comparison:
        """Compare with group ``versus``, or all others (None); ``found`` is what was counted of other arms."""
        arms = (
            _effects.arm_of_all(stats),
            _effects.arm_of_linear(stats),
            _effects.arm_of_detected(stats),
        )
        log, linear, detected = ((arm, arm.among(versus)) for arm in arms)
        known = _known(stats, versus) | (_other_arms(found, stats, versus) if found else {})
        scale = _effects.CosineScale.of(log[0])
        return cls(known, log, linear, detected, scale, _effects.tau(stats))

    def group(self, g: int) -> dict[str, np.ndarray]:
        """Return every column of group ``g``, (genes,); what is made here is NaN of fewer than two cells."""
        arm, rest = (each.only(g) for each in self.log)
        contrast = _effects.Contrast.of(arm, rest)
        linear, linear_rest = (each.mean[g] for each in self.linear)
        out = {
            "t": contrast.welch_t()[0],
            "log2fc": np.log2((linear + 1) / (linear_rest + 1)),
            "pct_in": self.detected[0].mean[g],
            "pct_out": self.detected[1].mean[g],
            "mean_in": arm.mean[0],
            "mean_out": rest.mean[0],
            "cohen_d": contrast.cohen_d()[0],
            "cosg": _effects.cosg(arm, self.cosines)[0],
            "tau": self.tau,
        }
        if arm.n[0] < 2:
            out = dict.fromkeys(out, np.full(self.tau.size, np.nan))
        log10_p = log10_two_sided(self.known["z"][g])
        out |= {"log10_p": log10_p, "log10_padj": log10_benjamini_hochberg(log10_p[None])[0]}
        return {name: values[g] for name, values in self.known.items()} | out


def _known(stats: GroupStats, versus: int | None) -> dict[str, np.ndarray]:
    """Return the columns that were counted, and those made within samples."""
    out = {"auc": stats.auc, "z": stats.u_z, "z_raw": stats.z_raw}
    if stats.sample_key is not None:
        out |= {"auc_blocked": stats.auc_blocked, "n_samples_pos": (stats.auc_sample > 0.5).sum(1)}
        out |= _effects.blocked_effects(stats, versus)
    if len(stats.samples) >= 3 and versus is None:
        out |= {"z_blocked": stats.z_blocked, "log10_p_blocked": log10_two_sided(stats.z_blocked)}
    if len(stats.samples) >= 3:
        out["log10_p_samples"] = _paired_test(stats, versus)
    return out


def _paired_test(stats: GroupStats, versus: int | None) -> np.ndarray:
    """Return log10 p of a one-sample t-test of the log2 fold changes of each group's samples."""
    change, usable = _effects.paired_log2fc(stats, versus)
    out = np.full(stats.mean.shape, np.nan)
    for g, keep in enumerate(usable):
        n = int(keep.sum())
        if n >= 3:
            own = change[g, keep]
            with np.errstate(divide="ignore", invalid="ignore"):
                t = own.mean(axis=0) / (own.std(axis=0, ddof=1) / np.sqrt(n))
            out[g] = np.where((own == 0).all(axis=0), 0.0, log10_two_sided_t(t, n - 1))
    return out


def _other_arms(
    found: dict[str, np.ndarray], stats: GroupStats, versus: int | None
) -> dict[str, np.ndarray]:
    """Return the columns made of what was counted beside: against one group, or pairwise."""
    if versus is None:
        return found
    out = {"auc": found["auc"], "z": found["u_z"], "z_raw": found["z_raw"]}
    if stats.sample_key is not None:
        positive = (found["auc_sample"] > 0.5).sum(axis=1)
        out |= {"auc_blocked": found["auc_blocked"], "n_samples_pos": positive}
    return out

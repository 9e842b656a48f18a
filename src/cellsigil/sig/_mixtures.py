"""Known mixtures of held-out profiles, and how well they are taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from cellsigil.sig._moments import Moments

MIN_CELLS = 10  # of a type in a held-out sample, to count there
N_MIXTURES = 32  # for the r, and for every type's blanks
LOW = 0.02  # the RNA fraction at which the spread near the limit is taken


class Mixtures:
    """Estimates on known mixtures of held-out profiles, gathered over the folds."""

    def __init__(self, n_groups: int) -> None:
        self.true: list[np.ndarray] = []
        self.found: list[np.ndarray] = []
        self.blank: list[list[np.ndarray]] = [[] for _ in range(n_groups)]
        self.low: list[list[np.ndarray]] = [[] for _ in range(n_groups)]

    def add_fold(
        self,
        moments: Moments,
        s: int,
        profiles: np.ndarray,
        selected: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        known = np.isfinite(profiles).all(axis=1)
        present = np.flatnonzero(known & (moments.n[:, s] >= MIN_CELLS))
        if present.size < 2 or selected.sum() < known.sum():
            return
        held = moments.linear[present, s][:, selected] / moments.n[present, s, None]
        solve = _RelativeNNLS(profiles[known][:, selected])
        n_groups = profiles.shape[0]

        def estimate(fractions: np.ndarray) -> np.ndarray:
            out = np.full((len(fractions), n_groups), np.nan)
            out[:, known] = solve(fractions[:, present] @ held)
            return out

        def mixtures(types: np.ndarray) -> np.ndarray:
            out = np.zeros((N_MIXTURES, n_groups))
            out[:, types] = rng.dirichlet(np.ones(types.size), N_MIXTURES)
            return out

        fractions = mixtures(present)
        self.true.append(np.where(known, fractions, np.nan))
        self.found.append(estimate(fractions))
        for k in np.flatnonzero(known):
            without = mixtures(present[present != k])
            self.blank[k].append(estimate(without)[:, k])
            if k in present:
                self.low[k].append(estimate(without * (1 - LOW) + LOW * np.eye(n_groups)[k])[:, k])

    def summary(self, groups: list[str]) -> dict[str, Any]:
        if not self.true:
            return {"deconvolution": None, "detection_limit": None}
        true, found = np.concatenate(self.true), np.concatenate(self.found)
        limits: dict[str, float | None] = {}
        for name, blank, low in zip(groups, self.blank, self.low):
            if not blank or not low:
                limits[name] = None
                continue
            # EP17: the blanks' 95th percentile, and 1.645 sd of estimates at a low level above it
            limits[name] = number(
                np.quantile(np.concatenate(blank), 0.95) + 1.645 * np.concatenate(low).std(ddof=1)
            )
        both = np.isfinite(true) & np.isfinite(found)
        return {
            "deconvolution": {
                "r": _correlation(true[both], found[both]),
                "rmse": number(np.sqrt(np.mean((true[both] - found[both]) ** 2))),
                "r_per_type": {
                    name: _correlation(true[both[:, k], k], found[both[:, k], k])
                    for k, name in enumerate(groups)
                },
                "n_mixtures": len(true),
            },
            "detection_limit": limits,
        }


class _RelativeNNLS:
    """Non-negative least squares with every gene divided by its mean over the types.

    |S b - y| and |R b - Q'y|, S = QR, differ by what no b changes: R has a row for each type, S one for each
    gene, and there are thousands of mixtures to solve.
    """

    def __init__(self, profiles: np.ndarray) -> None:
        self.weight = 1 / (profiles.mean(axis=0) + 0.1)
        self.basis, self.design = np.linalg.qr((profiles * self.weight).T)

    def __call__(self, mixtures: np.ndarray) -> np.ndarray:
        share = np.array([self._solve(y) for y in (mixtures * self.weight) @ self.basis])
        return share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300)

    def _solve(self, y: np.ndarray) -> np.ndarray:
        from scipy.optimize import nnls

        try:
            return nnls(self.design, y)[0]
        except RuntimeError:  # no convergence: types that can't be told apart
            return np.full(self.design.shape[1], np.nan)


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if a.size < 3 or a.std() == 0 or b.std() == 0:
        return None
    return number(np.corrcoef(a, b)[0, 1])


def number(value: float) -> float | None:
    """Return a JSON number of 6 significant digits, None for NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None

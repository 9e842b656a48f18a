"""Each group against each other one: summaries of a gene's AUC, and its best rank in any pair."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from cellsigil._core import _pairs
from cellsigil._core._jit import all_in_threads, n_threads
from cellsigil.tl._counting import MIN_CELLS, Columns, Within, places

LANES = 8  # groups that are added at once
MOST = 1 << 30  # bytes of the pairs held by default: all of 130 groups and 16,000 genes


class PairCounter:
    """Count the AUC of each group against each other one, blocked by sample, gene after gene.

    A sample counts for a pair with at least ``fewest`` cells of both; None: `MIN_CELLS`, 2 where all is one.
    With ``within`` a call also returns what is known on the way, for `count_genes`. The pairs of groups that
    are held at a time take at most ``budget_bytes`` (None: `MOST`), or are one for each group, which is no more
    than a column of the result takes. All genes are counted once for each such range of pairs.
    """

    def __init__(
        self,
        n: np.ndarray,
        n_genes: int,
        *,
        within: bool = False,
        fewest: int | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        (n_groups, n_samples), (self._group_of, self._block_of) = n.shape, places(n)
        fewest = fewest or (2 if n_samples == 1 else MIN_CELLS)
        self._n, self._within, self._n_genes = n, within, n_genes
        one, two = n[:, :, None], n.T[None]  # (G, S, 1) and (1, S, G)
        counts = (one >= fewest) & (two >= fewest) & ~np.eye(n_groups, dtype=bool)[:, None]
        weight = np.where(counts, one * two / np.maximum(one + two, 1), 0.0).sum(axis=1)
        filled = -(-n_groups // LANES) * LANES
        narrow = 2 * n.max() ** 2 < 1 << 31
        self._expected = np.zeros((n.size, filled), np.int32 if narrow else np.int64)
        self._expected[:, :n_groups] = (one * two).reshape(n.size, n_groups)
        share = counts / (2 * np.maximum(one + two, 1) * np.where(weight > 0, weight, 1.0)[:, None])
        self._share = np.zeros((n.size, filled))
        self._share[:, :n_groups] = share.reshape(n.size, n_groups)
        self._highest = np.full((n_groups, filled), -np.inf)
        self._highest[:, :n_groups][weight > 0] = 0.5
        self._rivals = (weight > 0).sum(axis=0)
        self._known = (weight > 0)[np.triu_indices(n_groups, 1)]
        n_pairs, n_tiles = self._known.size, -(-n_genes // _pairs.LANES)
        budget = MOST if budget_bytes is None else budget_bytes
        most = max(int(budget // (8 * _pairs.LANES * max(n_tiles, 1))), n_groups)
        held = -(-n_pairs // -(-n_pairs // most))  # in ranges as long as each other
        # (genes / LANES, pairs g < h, LANES): what is written and read together lies together
        self._pairs, self._first = np.empty((n_tiles, held, _pairs.LANES)), 0

    def __call__(self, columns: Columns, n: np.ndarray) -> dict[str, Any]:
        """Return minimum, median and mean over the other groups (G, genes), and keep the range of pairs.

        Nothing is returned, only kept, for a later range than the first.
        """
        n_genes = columns.n_genes
        least, median, mean = np.empty((3, n_genes, n.shape[0]))
        within = Within(np.empty((n_genes, n.size), np.int64), np.empty((n_genes, n.shape[1])))
        _pairs.compare_pairs(
            columns.edges, columns.keys, columns.classes, self._group_of, self._block_of, n.ravel(),
            self._expected, self._share, self._highest, self._rivals,
            least, median, mean, *within, columns.start, self._pairs, self._first, 0, n_genes,
        )  # fmt: skip
        if self._first:
            return {}
        found: dict[str, Any] = {"auc_min": least.T, "auc_median": median.T, "auc_mean": mean.T}
        return found | {"within": within} if self._within else found

    def pairs(self) -> np.ndarray:
        """Return the AUC of group g against h of the held pairs g < h (pairs, genes), NaN where none is known."""
        known = self._known[self._held]
        auc = self._pairs.transpose(1, 0, 2).reshape(self._pairs.shape[1], -1)
        return np.where(known[:, None], auc[: known.size, : self._n_genes], np.nan)

    @property
    def _held(self) -> slice:
        return slice(self._first, self._first + self._pairs.shape[1])

    def best_ranks(self, again: Callable[[PairCounter], Iterable[object]]) -> np.ndarray:
        """Return a gene's best rank (G, genes) in any pair with another group, ties sharing the best.

        ``again(self)`` calls this once more for all genes, as it is iterated: for each range of pairs but the first.
        """
        none = np.iinfo(np.int32).max
        best = self._lowered(np.full((self._n.shape[0], self._n_genes), none, np.int32))
        while self._held.stop < self._known.size:
            self._first = self._held.stop
            for _ in again(self):
                pass
            best = self._lowered(best)
        return np.where(best < none, best, np.nan)

    def _lowered(self, best: np.ndarray) -> np.ndarray:
        """Return the best ranks, lowered to those in the pairs that are held."""
        one, two = (groups[self._held] for groups in np.triu_indices(self._n.shape[0], 1))
        known = np.flatnonzero(self._known[self._held])

        def lower(part: np.ndarray) -> np.ndarray:
            own = best.copy()
            _pairs.best_ranks(self._pairs, self._n_genes, part, one, two, own, 0, part.size)
            return own

        parts = all_in_threads(lower, np.array_split(known, n_threads()))
        return functools.reduce(np.minimum, parts)  # in any parts: the least is the least

"""Mean expression of every gene by type and sample, on the CP10K scale, from counts and size factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cellsigil._block import Block
from cellsigil._core import _profiles
from cellsigil._core._jit import over_range
from cellsigil._rows import Rows
from cellsigil.sig._inputs import Cells


@dataclass(frozen=True)
class Moments:
    """What the counts say of G types in S samples; all float64."""

    n: np.ndarray  # (G, S) cells
    linear: np.ndarray  # (G, S, genes) sum of CP10K
    log: np.ndarray  # (G, S, genes) sum of log1p(CP10K)
    squares: np.ndarray  # (S, genes) sum of log1p(CP10K)²
    detection: np.ndarray  # (G, genes) share of cells with the gene
    var_cells: np.ndarray  # (G, genes) variance of CP10K between the cells of a type
    mean_log: np.ndarray  # (genes,) over all labelled cells
    sd_log: np.ndarray  # (genes,)

    def profiles(self) -> np.ndarray:
        """Return mean CP10K (G, genes) over a type's cells; NaN without cells."""
        return _divide(self.linear.sum(axis=1), self.n.sum(axis=1)[:, None])

    def only(self, samples: np.ndarray) -> Moments:
        """Return the moments of some samples; what is over all cells stays as it is."""
        return replace(
            self,
            n=self.n[:, samples], linear=self.linear[:, samples],
            log=self.log[:, samples], squares=self.squares[samples],
        )  # fmt: skip

    def pooled(self) -> Moments:
        """Return the moments with all samples as one."""
        return replace(
            self,
            n=self.n.sum(axis=1, keepdims=True), linear=self.linear.sum(axis=1, keepdims=True),
            log=self.log.sum(axis=1, keepdims=True), squares=self.squares.sum(axis=0, keepdims=True),
        )  # fmt: skip

    def sample_profiles(self) -> np.ndarray:
        """Return mean CP10K (G, S, genes) per type and sample; NaN without cells."""
        return _divide(self.linear, self.n[:, :, None])

    def rest(self) -> np.ndarray:
        """Return mean CP10K (G, genes) over the cells of all other types."""
        total, n = self.linear.sum(axis=1), self.n.sum(axis=1)
        return _divide(total.sum(axis=0) - total, (n.sum() - n)[:, None])

    def cosg(self, s: int) -> np.ndarray:
        """Return COSG's score (G, genes), µ = 1, among the types present in sample ``s``.

        With e the cosine between a gene and a type's indicator over the sample's cells:
        e_k³ / Σ_j e_j² (Dai 2022, Brief Bioinform 23:bbab579); 0 for a gene that is zero there.
        """
        n = self.n[:, s]
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = self.log[:, s] / np.sqrt(n[:, None] * self.squares[s])
            cosine = np.nan_to_num(cosine, nan=0.0, posinf=0.0)
            score = cosine**3 / (cosine**2).sum(axis=0)
        score = np.nan_to_num(score, nan=0.0)
        score[n == 0] = np.nan
        return score


def var_samples(profiles: np.ndarray) -> np.ndarray:
    """Return the variance (G, genes) between the sample means (G, S, genes); NaN below two samples."""
    present = np.isfinite(profiles)
    n = present.sum(axis=1)
    mean = _divide(np.where(present, profiles, 0).sum(axis=1), n)
    squared = np.where(present, (profiles - mean[:, None]) ** 2, 0).sum(axis=1)
    return np.where(n > 1, squared / np.maximum(n - 1, 1), np.nan)


def measure(counts: Rows, scale: np.ndarray, cells: Cells) -> Moments:
    """Go over the cells twice: every moment of counts * scale by type and sample.

    Each thread has genes of its own and adds the cells up in their order, so nothing is held but
    the sums: columns gathered first took 1.3 times the counts' memory and twice the time.
    """
    n, n_genes = cells.n, counts.shape[1]
    n_groups, n_samples = n.shape
    linear = np.zeros((n_groups, n_samples, n_genes))
    log, squares = np.zeros_like(linear), np.zeros((n_samples, n_genes))
    found, squared = np.zeros((n_groups, n_genes), np.int64), np.zeros((n_groups, n_genes))
    squared_log = np.zeros(n_genes)
    size, everything = n.sum(axis=1).astype(float), float(n.sum())

    for block, rows in _in_order(counts):
        over_range(
            _profiles.sum_scaled, n_genes,
            *block[:3], scale[rows], cells.group[rows], cells.sample[rows], linear, log, squares, found,
        )  # fmt: skip
    mean = _divide(linear.sum(axis=1), size[:, None])
    mean_log = log.sum(axis=(0, 1)) / everything
    for block, rows in _in_order(counts):
        over_range(
            _profiles.sum_deviations, n_genes,
            *block[:3], scale[rows], cells.group[rows], mean, mean_log, squared, squared_log,
        )  # fmt: skip
    squared += np.nan_to_num((size[:, None] - found) * mean**2)
    squared_log += (everything - found.sum(axis=0)) * mean_log**2
    with np.errstate(invalid="ignore", divide="ignore"):
        several = (size > 1)[:, None]
        var_cells = np.where(several, squared / np.maximum(size - 1, 1)[:, None], np.nan)
    return Moments(
        n=n,
        linear=linear,
        log=log,
        squares=squares,
        detection=_divide(found.astype(float), size[:, None]),
        var_cells=var_cells,
        mean_log=mean_log,
        sd_log=np.sqrt(squared_log / max(everything - 1, 1)),
    )


def _in_order(counts: Rows) -> Iterator[tuple[Block, slice]]:
    """Yield the rows' blocks in order, each with its place."""
    for block, first in counts.map(lambda block, first: (block, first)):
        yield block, slice(first, first + block.n_rows)


def rna_content(content: np.ndarray, cells: Cells) -> tuple[np.ndarray, bool]:
    """Return the relative total count of a cell per type (mean 1), and whether samples link the types.

    log(mean total of type k in sample s) = a_s + b_k, by least squares: in a complete design exp(b_k)
    is the geometric mean over samples of the ratio to the sample's own level. Where no chain of samples
    links all types (each sorted apart), a_s can't be told from b_k: exp(b_k) is then the geometric mean
    over samples, their depth in it.
    """
    used = (cells.group >= 0) & (content > 0)
    shape = cells.n.shape
    total, n = np.zeros(shape), np.zeros(shape)
    where = (cells.group[used], cells.sample[used])
    np.add.at(total, where, content[used])
    np.add.at(n, where, 1.0)
    enough = n >= np.minimum(
        5, n.max(axis=1, keepdims=True)
    )  # a mean of four cells decides nothing
    k, s = np.nonzero(enough & (n > 0))
    design = np.zeros((k.size, sum(shape)))
    design[np.arange(k.size), k] = 1
    design[np.arange(k.size), shape[0] + s] = 1
    log_mean = np.log(total[k, s] / n[k, s])
    level, _, rank, _ = np.linalg.lstsq(design, log_mean, rcond=None)
    linked = rank == np.unique(k).size + np.unique(s).size - 1
    if not linked:
        level = np.linalg.lstsq(design[:, : shape[0]], log_mean, rcond=None)[0]
    out = np.exp(level[: shape[0]] - level[: shape[0]].mean())
    out[~np.isin(np.arange(shape[0]), k)] = np.nan
    return out / np.nanmean(out), bool(linked)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, NaN where b is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b > 0, a / np.where(b > 0, b, 1), np.nan)

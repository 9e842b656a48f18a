"""What one chunk of genes adds to the statistics of groups: arrays in, arrays out."""

from __future__ import annotations

import itertools

import numpy as np

from cellsigil._core import _moments, _ranks
from cellsigil._matrix import GeneBlock

MIN_CELLS = 3  # of each arm, for a sample to count in a blocked statistic
ENTRIES_AT_ONCE = 1 << 20  # of a chunk of genes: what one thread works on


def chunks_of_genes(block: GeneBlock, n_classes: int) -> list[GeneBlock]:
    """Cut a block into pieces of about ``ENTRIES_AT_ONCE`` entries and sums; one thread works on one."""
    edges, held = [0], 0
    for j, size in enumerate((np.diff(block.indptr) + n_classes).tolist()):
        if held and held + size > ENTRIES_AT_ONCE:
            edges.append(j)
            held = 0
        held += size
    edges.append(block.stop - block.start)
    pieces = []
    for a, b in itertools.pairwise(edges):
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


def count_genes(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields of `GroupStats` for the genes of one piece.

    ``label`` is the class g * S + s of each cell (-1: left out), ``n`` the cells (G, S).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return _moments_of(piece, label, n) | _ranks_of(piece, label, n)


def blocked(by_sample: np.ndarray, n: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Average (G, S, genes) over samples with weights n1 n2 / (n1 + n2); NaN is left out.

    ``n`` and ``other`` (G, S) count the cells of the two arms.
    """
    weight = (n * other / np.maximum(n + other, 1))[..., None] * np.isfinite(by_sample)
    known = np.where(np.isfinite(by_sample), by_sample, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight * known).sum(axis=1) / weight.sum(axis=1)


def enough(n: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which samples count for which group: `MIN_CELLS` in both arms, 2 and 1 where all is one sample."""
    if n.shape[1] == 1:
        return (n >= 2) & (other >= 1)
    return (n >= MIN_CELLS) & (other >= MIN_CELLS)


def _moments_of(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    (n_groups, n_samples), n_genes = n.shape, piece.stop - piece.start
    sums = np.zeros((2, n_genes, n.size), np.int64)
    nonzero = np.zeros((2, n_genes, n.size), np.int64)
    scale = np.empty((2, n_genes))
    linear = np.expm1(piece.values, dtype=np.float64)
    for i, values in enumerate((piece.values, linear)):
        _moments.class_sums(
            piece.indptr, piece.cells, values, label, sums[i], scale[i], nonzero[i], 0, n_genes
        )
    scale = scale[:, :, None]
    class_mean = sums / scale / np.maximum(n.ravel(), 1)
    squares = np.empty((n_genes, n.size))
    _moments.class_squares(
        *piece[2:], label, n.ravel(), class_mean[0], nonzero[0], squares, 0, n_genes
    )
    shape = (n_genes, n_groups, n_samples)
    size = n.sum(axis=1)
    by_class, class_mean = sums.reshape(2, *shape), class_mean.reshape(2, *shape)
    mean = by_class.sum(axis=3) / scale / np.maximum(size, 1)
    mean_all = by_class[0].sum(axis=(1, 2)) / scale[0, :, 0] / n.sum()
    squares = squares.reshape(shape)
    # Chan's rule: squares about the mean of all = squares about each part's own + n (part - all)^2
    within = (squares + n * (class_mean[0] - mean[0][..., None]) ** 2).sum(axis=2)
    among = (within + size * (mean[0] - mean_all[:, None]) ** 2).sum(axis=1)
    few = np.where(size < 2, np.nan, 1.0)[:, None]
    none = np.where(n < 1, np.nan, 1.0)[..., None]
    return {
        "mean": few * mean[0].T,
        "var": few * within.T / (size - 1.0)[:, None],
        "detected": np.ascontiguousarray(nonzero[0].reshape(shape).sum(axis=2).T),
        "mean_linear": few * mean[1].T,
        "sample_mean": none * class_mean[0].transpose(1, 2, 0),
        "sample_mean_linear": none * class_mean[1].transpose(1, 2, 0),
        "sample_var": squares.transpose(1, 2, 0) / np.where(n < 2, np.nan, n - 1.0)[..., None],
        "mean_all": mean_all,
        "sd_all": np.sqrt(among / (n.sum() - 1.0)),
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


def _sortable(piece: GeneBlock) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns with the positive values as integers of the same order."""
    return piece.indptr, piece.cells, piece.values.view(f"i{piece.values.itemsize}")


def _ranks_of(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    (n_groups, n_samples), n_genes = n.shape, piece.stop - piece.start
    group = np.where(label < 0, -1, label // n_samples).astype(np.int32)
    size, columns = n.sum(axis=1), _sortable(piece)
    ranks = np.empty((n_genes, n_groups), np.int64)
    ties = np.empty(n_genes)
    _ranks.rank_sums(*columns, group, size, ranks, ties, 0, n_genes)
    u = (ranks - size * (size + 1)) / 2
    auc, u_z, z_raw = (x.T for x in normal_scores(u, size, n.sum() - size, ties[:, None]))
    fields = {"auc": auc, "u_z": u_z, "z_raw": z_raw}
    if n_samples == 1:
        return fields | {"auc_blocked": auc, "auc_sample": auc[:, None], "z_blocked": u_z}
    within = np.empty((n_genes, n.size), np.int64)
    block_ties = np.empty((n_genes, n_samples))
    block_size = n.sum(axis=0)
    block_of = np.tile(np.arange(n_samples), n_groups)
    _ranks.rank_sums_within(
        *columns, label, block_of, n.ravel(), block_size, within, block_ties, 0, n_genes
    )
    u = (within.reshape(n_genes, n_groups, n_samples) - n * (n + 1)) / 2
    other = block_size - n
    auc_sample = np.where(enough(n, other), u / (n * other), np.nan).transpose(1, 2, 0)
    return fields | {
        "auc_sample": auc_sample,
        "auc_blocked": blocked(auc_sample, n, other),
        "z_blocked": _van_elteren(u, n, other, block_ties),
    }


def _van_elteren(u: np.ndarray, n: np.ndarray, other: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return the z of van Elteren's blocked Wilcoxon test: Σ W_b / (N_b + 1) over the samples b."""
    total = np.float64(n + other)
    usable = (n >= 1) & (other >= 1)
    away = np.where(usable, (u - n * other / 2) / (total + 1), 0.0).sum(axis=2)
    variance = n * other * (total + 1) / 12 * (1 - ties[:, None, :] / (total**3 - total))
    spread = np.where(usable, variance / (total + 1) ** 2, 0.0).sum(axis=2)
    z = np.where(away == 0, 0.0, away / np.sqrt(spread))
    tested = usable.any(axis=1) & (n.sum(axis=1) >= 2)
    return np.where(tested, z, np.nan).T


def count_against(
    piece: GeneBlock, label: np.ndarray, n: np.ndarray, reference: int
) -> dict[str, np.ndarray]:
    """Return AUC and normal scores of each group against group ``reference`` instead of the rest."""
    (n_groups, n_samples), n_genes = n.shape, piece.stop - piece.start
    columns = _sortable(piece)
    size, other = n.sum(axis=1), np.broadcast_to(n[reference], n.shape)
    group_of = np.repeat(np.arange(n_groups), n_samples)
    block_of = np.tile(np.arange(n_samples), n_groups)
    wins = np.zeros((n_genes, n_groups), np.int64)
    ties = np.zeros((n_genes, n_groups))
    within = np.zeros((n_genes, n.size), np.int64)
    _ranks.wins_against(
        *columns, label, group_of, block_of, n.ravel(), reference, wins, ties, within, 0, n_genes
    )
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


def count_pairs(piece: GeneBlock, label: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the AUC of each group against each other one, blocked by sample: (genes, G, G)."""
    (n_groups, n_samples), n_genes = n.shape, piece.stop - piece.start
    group_of = np.repeat(np.arange(n_groups), n_samples)
    block_of = np.tile(np.arange(n_samples), n_groups)
    auc = np.empty((n_genes, n_groups, n_groups))
    columns = _sortable(piece)
    fewest = 2 if n_samples == 1 else MIN_CELLS
    _ranks.pairwise_auc(*columns, label, group_of, block_of, n.ravel(), fewest, auc, 0, n_genes)
    return auc

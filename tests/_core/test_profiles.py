"""Sums of scaled counts against a dense numpy meaning."""

from __future__ import annotations

import numpy as np
import pytest

from cellsigil._core import _profiles
from cellsigil._core._jit import over_range, threads


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    "factor", [1.0, 100.0, 0.5]
)  # small counts, counts beyond the table, no counts
def test_sums_and_deviations_mean_what_numpy_says(counts, n_threads, factor):
    rng = np.random.default_rng(0)
    n_cells, n_genes = counts.shape
    group, sample = rng.integers(-1, 3, n_cells), rng.integers(0, 2, n_cells)
    scale = rng.random(n_cells) + 0.5
    counts = (counts * factor).tocsr()
    counts.sort_indices()
    stored = (counts.data, counts.indices, counts.indptr.astype(np.int64), scale, group)
    linear, log = np.zeros((3, 2, n_genes)), np.zeros((3, 2, n_genes))
    squares, found = np.zeros((2, n_genes)), np.zeros((3, n_genes), np.int64)
    mean, mean_log = rng.random((3, n_genes)), rng.random(n_genes)
    squared, squared_log = np.zeros((3, n_genes)), np.zeros(n_genes)
    with threads(n_threads):
        over_range(_profiles.sum_scaled, n_genes, *stored, sample, linear, log, squares, found)
        over_range(_profiles.sum_deviations, n_genes, *stored, mean, mean_log, squared, squared_log)
    x = counts.toarray() * scale[:, None]
    y = np.log1p(x)
    for s in range(2):
        here = sample == s
        np.testing.assert_allclose(squares[s], (y[here & (group >= 0)] ** 2).sum(axis=0))
        for g in range(3):
            mine = here & (group == g)
            np.testing.assert_allclose(linear[g, s], x[mine].sum(axis=0))
            np.testing.assert_allclose(log[g, s], y[mine].sum(axis=0))
    for g in range(3):
        mine = x[group == g]
        np.testing.assert_array_equal(found[g], (mine > 0).sum(axis=0))
        np.testing.assert_allclose(squared[g], (((mine - mean[g]) ** 2) * (mine > 0)).sum(axis=0))
    used = group >= 0
    expected = (((y[used] - mean_log) ** 2) * (x[used] > 0)).sum(axis=0)
    np.testing.assert_allclose(squared_log, expected)


def test_a_row_is_entered_at_the_first_gene_of_a_range():
    indices = np.array([9, 2, 5, 5, 8, 0], np.int32)
    for gene, place in ((0, 1), (2, 1), (3, 2), (5, 2), (6, 4), (9, 5)):
        assert _profiles.seek(indices, 1, 5, gene) == place

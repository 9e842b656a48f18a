"""Kernels of scores: ranks within rows, products with sparse and dense weights, sums in order."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import rankdata

from cellsigil._block import to_block
from cellsigil._core._scores import (
    add_columns,
    count_reaching,
    project_dense,
    project_rows,
    window_cumulants,
)
from cellsigil.tl._score_cells import parts_of
from cellsigil.tl.scores._ranked import rank_entries


def some_rows(kind: str, dtype: type) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    x = rng.poisson(0.8, (30, 400)).astype(dtype)
    if kind == "distinct":
        x[x > 0] *= rng.uniform(0.1, 2, (x > 0).sum()).astype(dtype)
    elif kind == "negative":
        x[x > 0] -= 1.5
    elif kind == "tiny and huge":
        x[x > 0] = np.array([-1e30, -1e-30, 1e-30, 1e30], dtype)[
            rng.integers(4, size=(x > 0).sum())
        ]
    x[3] = 0
    x[4, 1:] = 0
    x[5] = 2.5
    return sp.csr_matrix(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["counts", "distinct", "negative", "tiny and huge"])
def test_ranks_are_scipys(kind, dtype):
    x = some_rows(kind, dtype)
    wanted = np.random.default_rng(1).random(x.shape[1]) < 0.4
    found = rank_entries(to_block(x, "X"), wanted)
    for i in range(x.shape[0]):
        row = x[[i]]
        span = slice(found.starts[i], found.starts[i + 1])
        kept = wanted[row.indices]
        assert (found.columns[span] == row.indices[kept]).all()
        assert (found.low[span] == rankdata(-row.data, "min")[kept]).all()
        assert (found.high[span] == rankdata(-row.data, "max")[kept]).all()
        assert found.positive[i] == (row.data > 0).sum()


def test_ranks_of_no_rows_and_no_genes():
    x = to_block(sp.csr_matrix((2, 3), dtype=np.float32), "X")
    found = rank_entries(x, np.ones(3, bool))
    assert found.low.size == 0
    assert found.starts.tolist() == [0, 0, 0]
    found = rank_entries(to_block(some_rows("counts", np.float32), "X"), np.zeros(400, bool))
    assert found.columns.size == 0


def test_dense_weights_give_the_bits_of_sparse_ones():
    x = to_block(some_rows("distinct", np.float32), "X")
    weights = sp.random(400, 7, 0.4, format="csr", random_state=0)
    sparse, dense = np.full((2, 30, 7), 0.1)
    project_rows(*x[:3], *parts_of(weights), sparse, 0, 30)
    project_dense(*x[:3], weights.toarray(), dense, 0, 30)
    assert (sparse == dense).all()
    np.testing.assert_allclose(sparse, 0.1 + (x.to_scipy() @ weights).toarray())


def test_columns_are_added_in_the_order_of_storage():
    x = to_block(some_rows("distinct", np.float32), "X")
    sums = np.zeros(400)
    for start in (0, 10, 25):
        part = x.rows(start, {0: 10, 10: 25, 25: 30}[start])
        add_columns(part.data, part.indices, sums)
    assert (sums == np.bincount(x.indices, weights=x.data, minlength=400)).all()


def test_sums_of_draws_and_their_cumulants():
    rng = np.random.default_rng(0)
    values = rng.gamma(1.0, 1.0, (50, 3))
    windows = np.array([rng.choice(50, 20, replace=False) for _ in range(4)])
    shares = np.array([0.4, 0.3, -0.2, 0.1])
    drawn = rng.integers(20, size=(9, 4))
    sums = np.einsum("dgc,g->dc", values[windows[np.arange(4), drawn]], shares)
    least, count = np.array([np.median(sums[:, 0]) - 1e-9, -np.inf, np.nan]), np.zeros(3, np.int64)
    count_reaching(values, windows, drawn, shares, least, count, 0, 9)
    assert count.tolist() == [5, 9, 0]
    cumulants = np.zeros((3, 3))
    window_cumulants(values, windows, shares, cumulants, 0, 3)
    scaled = values[windows] * shares[:, None, None]
    away = scaled - scaled.mean(axis=1, keepdims=True)
    expected = [scaled.mean(axis=1).sum(0), (away**2).mean(1).sum(0), (away**3).mean(1).sum(0)]
    np.testing.assert_allclose(cumulants, expected)

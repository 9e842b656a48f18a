"""Digests of sparse rows: what changes them, and what does not."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from cellsigil._core._digest import digest_rows


def digests(matrix: sp.csr_matrix) -> np.ndarray:
    out = np.empty(matrix.shape[0], np.uint64)
    with np.errstate(over="ignore"):
        digest_rows(
            matrix.data, matrix.indices, matrix.indptr.astype(np.int64), out, 0, matrix.shape[0]
        )
    return out


def by_python(matrix: sp.csr_matrix) -> list[int]:
    """MurmurHash3's finaliser in whole numbers of any length."""

    def mixed(word: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            word = (word ^ word >> 33) * factor % 2**64
        return word ^ word >> 33

    found = []
    for row in matrix:
        pairs = zip(row.data.astype(object), row.indices.tolist())
        words = [(int(x) * 0x9E3779B97F4A7C15 + j) % 2**64 for x, j in pairs]
        found.append(sum(map(mixed, words)) % 2**64)
    return found


def some_counts(rng: np.random.Generator, most: int = 60) -> sp.csr_matrix:
    return sp.csr_matrix(rng.poisson(0.4, (40, 30)) * rng.integers(1, most, (40, 30))).astype(
        np.float32
    )


def test_a_digest_is_the_sum_of_mixed_entries():
    counts = some_counts(np.random.default_rng(0), most=1 << 20)
    assert digests(counts).tolist() == by_python(counts)


def test_it_is_the_same_for_every_dtype_and_for_no_other_row():
    counts = some_counts(np.random.default_rng(1))
    found = digests(counts)
    for dtype in (np.float64, np.int32, np.int64):
        np.testing.assert_array_equal(digests(counts.astype(dtype)), found)
    assert np.unique(found).size == 40


def test_every_change_of_one_entry_is_seen():
    counts = some_counts(np.random.default_rng(2))
    found = digests(counts)
    row_of = np.repeat(np.arange(40), np.diff(counts.indptr))
    for k, i in enumerate(row_of):
        more, moved = counts.copy(), counts.copy()
        more.data[k] += 1
        moved.indices[k] = (moved.indices[k] + 1) % 30  # swaps or doubles a column
        assert np.flatnonzero(digests(more) != found).tolist() == [i]
        assert np.flatnonzero(digests(moved) != found).tolist() == [i]

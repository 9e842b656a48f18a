"""Products with the covariance matrix of sparse columns against those of a dense one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cellsigil._core._centred import Centred
from cellsigil._core._gram import Entries
from cellsigil._core._jit import threads


def pieces_of(x, n_rows):
    """Return the entries of n_rows rows at a time."""
    out = []
    for start in range(0, x.shape[0], n_rows):
        some = sp.csr_matrix(x[start : start + n_rows])
        first = some.indptr.astype(np.int64)
        out.append(Entries(some.indices, some.data, first, first[1:]))
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_vectors", [1, 16, 50])
@pytest.mark.parametrize("n_rows", [7, 64])
def test_products_are_those_of_the_dense_covariance(dtype, n_vectors, n_rows):
    rng = np.random.default_rng(0)
    x = (rng.gamma(1.0, 2.0, (61, 23)) * (rng.random((61, 23)) < 0.3)).astype(dtype)
    x[5], x[:, 9] = 0, 0
    centred = Centred.of(pieces_of(x, n_rows), 23)
    covariance = np.cov(x.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(centred.mean, x.mean(axis=0, dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(centred.variance, np.diagonal(covariance), rtol=1e-12, atol=1e-15)
    vectors = rng.normal(size=(n_vectors, 23))
    found = []
    for n in (1, 2):
        with threads(n):
            found.append(centred.times(vectors))
    assert found[0].tobytes() == found[1].tobytes()
    np.testing.assert_allclose(found[0], vectors @ covariance, rtol=1e-11, atol=1e-12)

"""The fuzzy simplicial set of a neighbour graph (McInnes 2018, section 3.1)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from cellsigil._core._jit import inner, kernel, over_range

SEARCH_STEPS = 64
TOLERANCE = 1e-5  # of the sum of memberships
LEAST_SCALE = 1e-3  # bandwidth, at least this share of the mean distance


@inner
def bandwidth(distances, nearest, target):
    """Return sigma with sum_j exp(-max(0, d_j - nearest) / sigma) = target, by bisection."""
    low, high, sigma = 0.0, np.inf, 1.0
    for _ in range(SEARCH_STEPS):
        total = 0.0
        for t in range(distances.size):
            total += np.exp(-max(0.0, distances[t] - nearest) / sigma)
        if abs(total - target) < TOLERANCE:
            break
        if total > target:
            high = sigma
            sigma = (low + high) / 2
        else:
            low = sigma
            sigma = sigma * 2 if high == np.inf else (low + high) / 2
    return sigma


@kernel
def membership(distances, mean_distance, weights, start, stop):
    """Write how strongly each row belongs with its neighbours; the nearest at non-zero distance gets 1."""
    k = distances.shape[1]
    target = np.log2(k + 1.0)  # the row itself counts as a neighbour
    for i in range(start, stop):
        nearest, total = 0.0, 0.0
        for t in range(k):
            total += distances[i, t]
            if nearest == 0:
                nearest = distances[i, t]
        sigma = bandwidth(distances[i], nearest, target)
        mean = total / (k + 1) if nearest > 0 else mean_distance
        sigma = max(sigma, LEAST_SCALE * mean)
        for t in range(k):
            beyond = distances[i, t] - nearest
            weights[i, t] = np.exp(-beyond / sigma) if beyond > 0 and sigma > 0 else 1.0


def fuzzy_union(ids: np.ndarray, distances: np.ndarray) -> sp.csr_matrix:
    """Return the symmetric float32 graph A + A' - A o A' of (n, k) sorted neighbours and distances."""
    n, k = ids.shape
    weights = np.empty((n, k))
    mean = float(distances.sum() / (n * (k + 1)))
    over_range(membership, n, distances, mean, weights)
    indptr = np.arange(n + 1, dtype=np.int64) * k
    one_way = sp.csr_matrix((weights.ravel(), ids.ravel(), indptr), shape=(n, n))
    other_way = one_way.T.tocsr()
    graph = (one_way + other_way - one_way.multiply(other_way)).tocsr().astype(np.float32)
    graph.eliminate_zeros()
    graph.sort_indices()
    graph.indices, graph.indptr = graph.indices.astype(np.int32), graph.indptr.astype(np.int32)
    return graph

"""Weights of a neighbour graph: UMAP's (McInnes 2018, section 3.1) and a Gaussian of adaptive width."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from cellsigil._core._jit import inner, kernel, over_range

SEARCH_STEPS = 64
TOLERANCE = 1e-5  # of the sum of memberships
SMALLEST = 1e-300  # sum of distances that has an inverse
LEAST_SCALE = 1e-3  # bandwidth, at least this share of the mean distance


# Odd and of no pattern (splitmix64's): an edge's 64 bits are multiplied by them.
MIX_ENDS, MIX_WEIGHT, MIX_BOTH = (
    np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@kernel
def plain(indptr, indices, data):
    """Return whether CSR is symmetric, of finite weights above 0, columns ascending and no self-loops.

    Symmetric: as 64 mixed bits each, the entries above the diagonal have the sum of those below it. Two different
    sets have it by chance once in 2**64. One walk along the rows: 2.1 ns an entry, the transposed matrix takes 12.
    """
    n, differ, odd = indptr.size - 1, np.uint64(0), False
    for i in range(n):
        columns, weights = indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]]
        left, right = columns[:-1], columns[1:]
        for k in range(right.size):
            odd |= right[k] <= left[k]
        if columns.size:
            odd |= (columns[0] < 0) | (columns[-1] >= n)
        for k in range(columns.size):
            odd |= (columns[k] == i) | (not ((weights[k] > 0) & (weights[k] < np.inf)))
        for k in range(columns.size):
            j, weight = np.int64(columns[k]), np.float64(weights[k])
            ends = (np.uint64(min(i, j)) << np.uint64(32)) | np.uint64(max(i, j))
            mixed = ends * MIX_ENDS + np.uint64(weight.view(np.int64)) * MIX_WEIGHT
            mixed = (mixed ^ (mixed >> np.uint64(31))) * MIX_BOTH
            mixed ^= mixed >> np.uint64(29)
            below = np.uint64(0) - np.uint64(j < i)  # all bits or none: to take the opposite
            differ += (mixed ^ below) - below
    return (not odd) and differ == 0


def is_plain(graph: sp.csr_matrix) -> bool:
    """Return what `plain` says of a CSR whose indptr is sound."""
    wide = graph.data.astype(
        np.float64 if graph.data.dtype != np.float32 else np.float32, copy=False
    )
    with np.errstate(over="ignore"):  # where nothing is compiled, numpy would warn
        return plain(graph.indptr.astype(np.int64, copy=False), graph.indices, wide)


@inner
def bandwidth(distances, nearest, target):
    """Return sigma with sum_j exp(-max(0, d_j - nearest) / sigma) = target, or 0 where the sum is always larger.

    By Newton's steps of the sum's logarithm in 1 / sigma: it is convex, so that from 0 they never go too far,
    whatever the scale, and a few do what took 20 bisections (20,000 cells: .031 -> .009 CPU-s).
    """
    spread = 0.0
    for t in range(distances.size):
        spread += max(0.0, distances[t] - nearest)
    if spread < SMALLEST:
        return 0.0
    steepness = np.log(distances.size / target) * distances.size / spread  # the first step, from 0
    for _ in range(SEARCH_STEPS):
        total, slope = 0.0, 0.0
        for t in range(distances.size):
            beyond = max(0.0, distances[t] - nearest)
            share = np.exp(-beyond * steepness)
            total += share
            slope += beyond * share
        if total - target < TOLERANCE:
            break
        if slope == 0:
            return 0.0
        steepness += np.log(total / target) * total / slope
    return 1 / steepness


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


@kernel
def gaussian(ids, distances, width, weights, start, stop):
    """Write sqrt(2 s_i s_j / (s_i^2 + s_j^2)) exp(-d_ij^2 / (s_i^2 + s_j^2)) with s^2 = ``width``.

    Between identical cells of width 0 it is 1, the limit for equal widths.
    """
    for i in range(start, stop):
        for t in range(ids.shape[1]):
            both = width[i] + width[ids[i, t]]
            if both > 0:
                scale = 2 * np.sqrt(width[i]) * np.sqrt(width[ids[i, t]]) / both
                weights[i, t] = np.sqrt(scale) * np.exp(-(distances[i, t] ** 2) / both)
            else:
                weights[i, t] = 1.0


@kernel
def sort_rows(ids, weights, start, stop):
    """Sort the neighbours of each row by their index, and the weights with them."""
    for i in range(start, stop):
        for t in range(1, ids.shape[1]):
            j, weight, slot = ids[i, t], weights[i, t], t
            while slot > 0 and ids[i, slot - 1] > j:
                ids[i, slot], weights[i, slot] = ids[i, slot - 1], weights[i, slot - 1]
                slot -= 1
            ids[i, slot], weights[i, slot] = j, weight


@kernel
def name_reverse(ids, first, named_by):
    """Write into ``named_by[first[b] : first[b + 1]]`` the slots of ``ids`` that name b, ascending."""
    free = first[:-1].copy()
    for a in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            b = ids[a, t]
            named_by[free[b]] = a * ids.shape[1] + t
            free[b] += 1


@kernel
def merge_ways(ids, weights, first, named_by, fuzzy, indptr, indices, data, start, stop):
    """Merge row i of A and of A' from ``indptr[i]`` on: a + b - a b if ``fuzzy``, else whichever there is.

    ``indices`` of length 0: only count, into ``indptr[i + 1]``. Weights that are 0 in float32 are left out.
    """
    k = ids.shape[1]
    for i in range(start, stop):
        at = indptr[i] if indices.size else 0
        t, r = 0, first[i]
        while t < k or r < first[i + 1]:
            ours = np.int64(ids[i, t]) if t < k else ids.shape[0]
            theirs = named_by[r] // k if r < first[i + 1] else ids.shape[0]
            a = weights[i, t] if ours <= theirs else 0.0
            b = weights[theirs, named_by[r] % k] if theirs <= ours else 0.0
            t += ours <= theirs
            r += theirs <= ours
            weight = np.float32(a + b - a * b if fuzzy else max(a, b))
            if weight != 0:
                if indices.size:
                    indices[at], data[at] = min(ours, theirs), weight
                at += 1
        if not indices.size:
            indptr[i + 1] = at


def reverse_of(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each row's slots begin among ``named_by``, and the slots of ``ids`` that name it."""
    named = np.bincount(ids.ravel(), minlength=len(ids))
    first = np.concatenate(([0], np.cumsum(named)))
    named_by = np.empty(ids.size, np.int64)
    name_reverse(ids, first, named_by)
    return first, named_by


def fuzzy_union(ids: np.ndarray, distances: np.ndarray) -> sp.csr_matrix:
    """Return the symmetric float32 graph A + A' - A o A' of (n, k) sorted neighbours and distances."""
    n, k = ids.shape
    weights = np.empty((n, k))
    mean = float(distances.sum() / (n * (k + 1)))
    over_range(membership, n, distances, mean, weights)
    return _both_ways(ids, weights, fuzzy=True)


def gaussian_union(ids: np.ndarray, distances: np.ndarray) -> sp.csr_matrix:
    """Return the symmetric float32 graph of Gaussian weights; the width is the median squared distance."""
    n, k = ids.shape
    width = np.median(distances**2, axis=1) if k else np.zeros(n)
    weights = np.empty((n, k))
    over_range(gaussian, n, ids, distances, width, weights)
    return _both_ways(ids, weights, fuzzy=False)


def _both_ways(ids: np.ndarray, weights: np.ndarray, *, fuzzy: bool) -> sp.csr_matrix:
    n = len(ids)
    ids = np.array(ids, np.int32, order="C")
    over_range(sort_rows, n, ids, weights)
    first, named_by = reverse_of(ids)
    indptr = np.zeros(n + 1, np.int64)
    indices, data = np.empty(0, np.int32), np.empty(0, np.float32)
    over_range(merge_ways, n, ids, weights, first, named_by, fuzzy, indptr, indices, data)
    np.cumsum(indptr, out=indptr)
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    if indices.size:
        over_range(merge_ways, n, ids, weights, first, named_by, fuzzy, indptr, indices, data)
    graph = sp.csr_matrix((n, n), dtype=np.float32)
    graph.data, graph.indices, graph.indptr = data, indices, indptr.astype(np.int32)
    graph.has_sorted_indices = graph.has_canonical_format = True
    return graph

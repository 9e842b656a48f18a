"""Leiden's refinement and aggregation: well-connected parts of communities become the next level's nodes."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel
from cellsigil._core._layout import scramble
from cellsigil._core._leiden_move import ascending, shuffled


@kernel
def renumber(labels):
    """Renumber ``labels`` (n,), below n, from 0 in the order of appearance; return how many there are."""
    number, found = np.full(labels.size, -1, np.int32), 0
    for v in range(labels.size):
        if number[labels[v]] < 0:
            number[labels[v]] = found
            found += 1
        labels[v] = number[labels[v]]
    return found


@inner
def draw(gains, n_open, heat, dice):
    """Return the place of one of the gains, or -1 (gain 0), with odds exp(gain / heat); gains are 0 or more."""
    most = 0.0
    for t in range(n_open):
        most = max(most, gains[t])
    stay = np.exp(-most / heat)
    odds = stay
    for t in range(n_open):
        gains[t] = np.exp((gains[t] - most) / heat)
        odds += gains[t]
    left = odds * (scramble(dice) / 4294967296.0) - stay
    chosen = -1
    for t in range(n_open):
        if left < 0:
            break
        chosen = t
        left -= gains[t]
    return chosen


@inner
def weights_within(indptr, indices, data, community):
    """Return each node's weight to its own community."""
    within = np.empty(community.size)
    for v in range(community.size):
        own, weight = community[v], 0.0
        for k in range(np.uint64(indptr[v]), np.uint64(indptr[v + 1])):
            weight += data[k] * (community[np.uint32(indices[k])] == own)
        within[v] = weight
    return within


@kernel
def refine(indptr, indices, data, strength, resolution, heat, community, dice):
    """Return each node's part (n,) int32 of its community, and the number of parts.

    Every node starts as its own part. In random order, one that is still alone joins a part of its
    community that it gains in, drawn by `draw` with ``heat * k_v``; node and part must be well connected
    to the community S: w(C, S - C) >= resolution * K_C * (K_S - K_C). Parts are connected.
    """
    n = strength.size
    within, total = weights_within(indptr, indices, data, community), strength.copy()
    whole = np.zeros(n)
    for v in range(n):
        whole[community[v]] += strength[v]
    part, alone = ascending(n), np.ones(n, np.bool_)
    weight, touched = np.zeros(n), np.empty(n + 1, np.int32)
    gains, joined = np.empty(n), np.empty(n)
    order = shuffled(n, dice)
    for t in range(n):
        v = order[t]
        home, pull = whole[community[v]], resolution * strength[v]
        if not alone[v] or within[v] < pull * (home - strength[v]):
            continue
        n_touched, own = np.uint32(0), community[v]
        first, last = np.uint64(indptr[v]), np.uint64(indptr[v + 1])
        for k in range(first, last):  # without branches that can't be foretold
            j = np.uint32(indices[k])
            c = np.uint32(part[j])
            inside = data[k] * (community[j] == own)
            touched[n_touched] = c
            n_touched += np.uint32((weight[c] == 0) & (inside > 0))
            weight[c] += inside
        n_open = np.int64(0)  # a literal 0 would have `draw` compiled for it too
        for u in range(n_touched):
            c = np.uint32(touched[u])
            to_c, weight[c] = weight[c], 0
            gain = to_c - pull * total[c]
            if gain >= 0 and within[c] >= resolution * total[c] * (home - total[c]):
                touched[n_open], gains[n_open], joined[n_open] = c, gain, to_c
                n_open += 1
        chosen = draw(gains, n_open, heat * strength[v], dice + t) if n_open else -1
        if chosen >= 0:
            new = np.uint32(touched[chosen])
            alone[v] = alone[new] = False
            part[v] = new
            total[new] += strength[v]
            within[new] += within[v] - 2 * joined[chosen]
    return part, renumber(part)


@kernel
def aggregate(indptr, indices, data, strength, part, n_parts):
    """Return the graph of the parts: CSR without self-loops, and strengths, which keep what lies within."""
    n = part.size
    first, total = np.zeros(n_parts + 1, np.int64), np.zeros(n_parts)
    for v in range(n):
        first[part[v] + 1] += 1
        total[part[v]] += strength[v]
    for c in range(n_parts):
        first[c + 1] += first[c]
    nodes, place = np.empty(n, np.int32), first.copy()
    for v in range(n):
        nodes[place[part[v]]] = v
        place[part[v]] += 1
    starts, columns = np.zeros(n_parts + 1, np.int64), np.empty(indices.size + 1, np.int32)
    weights, filled = np.empty(indices.size, data.dtype), np.uint64(0)
    weight = np.zeros(n_parts)
    for c in range(n_parts):
        for t in range(first[c], first[c + 1]):
            v = nodes[t]
            for k in range(np.uint64(indptr[v]), np.uint64(indptr[v + 1])):
                other = np.uint32(part[np.uint32(indices[k])])
                columns[filled] = other
                filled += np.uint64((weight[other] == 0) & (other != c))
                weight[other] += data[k]
        weight[c] = 0
        for k in range(np.uint64(starts[c]), filled):
            other = np.uint32(columns[k])
            weights[k], weight[other] = weight[other], 0
        starts[c + 1] = filled
    return starts, columns[:filled], weights[:filled], total

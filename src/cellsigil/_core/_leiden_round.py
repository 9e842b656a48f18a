"""One round of Leiden. Its climb is compiled whole: on 300 cells the calls from level to level cost as much."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import kernel
from cellsigil._core._layout import scramble
from cellsigil._core._leiden_move import move_nodes
from cellsigil._core._leiden_refine import aggregate, refine, renumber

# theta of the refinement, as a share of a node's strength. Of .003, .01 and .02, .01 had the best mean modularity
# over six graphs; .05 and more cost .0005.
HEAT = 0.01
ROUNDING = 1e-12  # of a node's strength: gains below are no gains

# Visits a node, on average, after which moving stops on the graphs of parts: what is left, the next level or round
# does on smaller graphs.
VISITS = 8

Graph = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # CSR and the nodes' strengths


@kernel
def modularity(indptr, indices, data, strength, within, resolution, labels):
    """Return the modularity of ``labels`` below n; ``within`` is the self-loops' weight, strengths sum to 1."""
    total = np.zeros(labels.size)
    inside = within
    for v in range(labels.size):
        own = labels[v]
        total[own] += strength[v]
        for k in range(np.uint64(indptr[v]), np.uint64(indptr[v + 1])):
            inside += data[k] * (labels[np.uint32(indices[k])] == own)
    for c in range(labels.size):
        inside -= resolution * total[c] * total[c]
    return inside


@kernel
def coarsen(indptr, indices, data, strength, resolution, community, dice):
    """Return each node's part, each part's community, and the graph of parts; ``community`` is renumbered."""
    n_communities = renumber(community)  # names below the number of parts, which kernels index by
    part, n_parts = refine(indptr, indices, data, strength, resolution, HEAT, community, dice)
    if n_parts == community.size:  # no two nodes are well connected: whole communities go on
        part, n_parts = community.copy(), n_communities
    lifted = np.empty(n_parts, np.int32)
    for v in range(community.size):
        lifted[part[v]] = community[v]
    return part, lifted, aggregate(indptr, indices, data, strength, part, n_parts)


@kernel
def climb(indptr, indices, data, strength, resolution, community, dice):
    """Move, refine and aggregate, level after level until every community is one node; return its labels."""
    node, slack = np.arange(community.size), ROUNDING * (1 + resolution)
    while True:
        dice, most = scramble(dice + 1), VISITS * community.size
        n_communities = move_nodes(
            indptr, indices, data, strength, resolution, slack, community, dice, most
        )[1]
        if n_communities == community.size:
            return community[node]
        part, community, graph = coarsen(
            indptr, indices, data, strength, resolution, community, scramble(dice + 2)
        )
        indptr, indices, data, strength = graph
        for v in range(node.size):
            node[v] = part[node[v]]


def one_round(
    graph: Graph, resolution: float, community: np.ndarray, dice: int, *, first: bool
) -> np.ndarray:
    """Move vertices, refine and aggregate; climb from the communities so found, and return the labels.

    The first round visits each vertex once and climbs with every part alone: large communities that met too
    early can't part again node by node. On ten graphs two runs of this kind, combined, have the modularity of
    two that move on and climb both ways, for .7 to .85 of the cost: within .0001 on seven, .0002 less on pbmc3k
    resampled to 20,000 and 50,000 cells, .0008 less on one of 909. ``community`` is changed.
    """
    slack, most = ROUNDING * (1 + resolution), community.size if first else -1
    move_nodes(*graph, resolution, slack, community, scramble(dice + 1), most)
    part, lifted, coarse = coarsen(*graph, resolution, community, scramble(dice + 2))
    start = np.arange(lifted.size, dtype=np.int32) if first else lifted
    return climb(*coarse, resolution, start, scramble(dice + 3))[part]

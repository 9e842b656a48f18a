"""Embedding, clusters, markers, scores, labels."""

from __future__ import annotations

from cellsigil.tl._annotate import annotate
from cellsigil.tl._cluster import cluster
from cellsigil.tl._hierarchy import Hierarchy, read_hierarchy
from cellsigil.tl._markers import markers
from cellsigil.tl._score_cells import score_cells
from cellsigil.tl._score_clusters import score_clusters
from cellsigil.tl._signatures import GeneSet, read_signatures
from cellsigil.tl._stats import GroupStats, group_stats
from cellsigil.tl._umap import umap

__all__ = [
    "GeneSet",
    "GroupStats",
    "Hierarchy",
    "annotate",
    "cluster",
    "group_stats",
    "markers",
    "read_hierarchy",
    "read_signatures",
    "score_cells",
    "score_clusters",
    "umap",
]

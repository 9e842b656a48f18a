"""Embedding, clusters, markers, scores, labels."""

from __future__ import annotations

from cellsigil.tl._cluster import cluster
from cellsigil.tl._stats import GroupStats, group_stats
from cellsigil.tl._umap import umap

__all__ = [
    "GroupStats",
    "cluster",
    "group_stats",
    "umap",
]

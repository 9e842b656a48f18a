"""Embedding, clusters, markers, scores, labels."""

from __future__ import annotations

from cellsigil.tl._stats import GroupStats, group_stats

__all__ = [
    "GroupStats",
    "group_stats",
]

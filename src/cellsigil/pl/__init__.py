"""Figures: keys and tables are read, nothing is computed that the analysis does not hold already.

Every function answers with Axes, or with a Figure where there are several panels; pyplot and rcParams
are left alone. In a notebook the figure is ``ax.figure``.
"""

from __future__ import annotations

from cellsigil.pl._bulk import fit, fractions, intervals, truth
from cellsigil.pl._cells import composition, qc, umap
from cellsigil.pl._clusters import heatmap, markers, scores
from cellsigil.pl._profiles import signature, similarity
from cellsigil.pl._style import palette

__all__ = [
    "composition",
    "fit",
    "fractions",
    "heatmap",
    "intervals",
    "markers",
    "palette",
    "qc",
    "scores",
    "signature",
    "similarity",
    "truth",
    "umap",
]

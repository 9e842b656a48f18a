"""Figures: keys and tables are read, nothing is computed that the analysis does not hold already.

Every function answers with Axes, or with a Figure where there are several panels. rcParams are left alone,
and pyplot too, but in a notebook, which then shows the figure below the cell.
"""

from __future__ import annotations

from cellsigil.pl._bulk import fit, fractions, intervals, truth
from cellsigil.pl._clusters import heatmap, markers, scores
from cellsigil.pl._profiles import signature, similarity
from cellsigil.pl._qc import qc
from cellsigil.pl._shares import composition
from cellsigil.pl._style import palette
from cellsigil.pl._umap import umap

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

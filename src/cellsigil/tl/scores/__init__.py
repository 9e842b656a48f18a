"""Methods of scoring cells, one a file."""

from cellsigil.tl.scores._ans import ANS
from cellsigil.tl.scores._aucell import AUCELL
from cellsigil.tl.scores._mean import MEAN
from cellsigil.tl.scores._record import Genes, Method, Plan
from cellsigil.tl.scores._scanpy import SCANPY
from cellsigil.tl.scores._ucell import UCELL
from cellsigil.tl.scores._zmean import ZMEAN

__all__ = ["METHODS", "Genes", "Method", "Plan"]

METHODS = {method.name: method for method in (ANS, UCELL, SCANPY, MEAN, ZMEAN, AUCELL)}

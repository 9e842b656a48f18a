"""Bulk in, fractions out."""

from __future__ import annotations

from cellsigil.deconv._bulk import read_bulk
from cellsigil.deconv._deconvolve import deconvolve
from cellsigil.deconv._errors import BulkError
from cellsigil.deconv._result import Deconvolution
from cellsigil.deconv._simulate import Pseudobulk, simulate, split_donors

__all__ = [
    "BulkError",
    "Deconvolution",
    "Pseudobulk",
    "deconvolve",
    "read_bulk",
    "simulate",
    "split_donors",
]

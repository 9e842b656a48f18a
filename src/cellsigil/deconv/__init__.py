"""Bulk in, cell fractions out; and pseudobulk with known fractions."""

from __future__ import annotations

from cellsigil.deconv._simulate import Pseudobulk, simulate, split_donors

__all__ = [
    "Pseudobulk",
    "simulate",
    "split_donors",
]

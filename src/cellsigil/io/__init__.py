"""Read every kind of count file, write AnnData whole or not at all."""

from __future__ import annotations

from cellsigil.io._errors import ReadError
from cellsigil.io._read import read
from cellsigil.io._write import write

__all__ = ["ReadError", "read", "write"]

"""Build, export and read signatures."""

from __future__ import annotations

from cellsigil._signature import SignatureSet
from cellsigil.sig._build import build
from cellsigil.sig._export import export
from cellsigil.sig._read import read

__all__ = [
    "SignatureSet",
    "build",
    "export",
    "read",
]

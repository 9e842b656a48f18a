"""cellsigil: from a single-cell count matrix to cell-type signatures that hold up in bulk tissue."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

__all__ = ["__version__", "datasets", "deconv", "io", "pl", "pp", "presets", "report", "sig", "tl"]


def __getattr__(name: str):
    """Import a room when it is first entered, so that ``import cellsigil`` stays quick."""
    if name in __all__:
        return importlib.import_module(f"cellsigil.{name}")
    msg = f"module 'cellsigil' has no attribute {name!r}. It has {', '.join(__all__[1:])}."
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__

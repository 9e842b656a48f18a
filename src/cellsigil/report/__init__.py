"""One self-contained HTML report, and its numbers as tables beside it."""

from cellsigil.report._write import write

__all__ = ["write"]

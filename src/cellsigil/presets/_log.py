"""The log of a run, in its folder."""

from __future__ import annotations

import logging
from logging.handlers import MemoryHandler
from pathlib import Path


def log_to(path: Path, *, kept: bool) -> logging.Handler:
    """Log to ``path``; where an earlier run's log is ``kept``, only from the first flush on."""
    file = logging.FileHandler(path, mode="w", encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler = _LogFile(file, kept=kept)
    logger = logging.getLogger("cellsigil")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return handler


class _LogFile(MemoryHandler):
    """A log file that a run with bad input leaves as an earlier run wrote it."""

    def __init__(self, file: logging.FileHandler, *, kept: bool) -> None:
        super().__init__(capacity=0, target=file, flushOnClose=not kept)
        self._file, self._waits = file, kept

    def shouldFlush(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Write every record at once, unless an earlier log still stands."""
        return not self._waits

    def flush(self) -> None:
        """Write what was held back; from here on nothing is."""
        self._waits = False
        super().flush()

    def close(self) -> None:
        super().close()
        self._file.close()

"""Execute every tutorial notebook; `--write` keeps the outputs in the notebook.

A notebook passes if no cell fails and every promised picture is drawn.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def pictures(notebook: nbformat.NotebookNode) -> int:
    """Return how many pictures the notebook's outputs hold."""
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def execute(path: Path, write: bool) -> None:
    """Execute one notebook in an empty folder, and compare its pictures with those it is stored with."""
    notebook = nbformat.read(path, as_version=4)
    promised = max(1, pictures(notebook))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    drawn = pictures(notebook)
    print(f"{path.name}: {drawn} pictures, {time.perf_counter() - started:.0f} s")
    if drawn < promised:
        msg = f"{path.name} drew {drawn} pictures, but is stored with {promised}."
        raise SystemExit(msg)
    if write:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    for found in sorted(HERE.glob("*.ipynb")):
        execute(found, write="--write" in sys.argv[1:])

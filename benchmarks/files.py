"""h5ad: ours against anndata's own reader and writer, time and size.

    python benchmarks/files.py [DATA_FOLDER] [CELLS ...]

`io.read` also checks every count and returns them twice (X and ``layers["counts"]``); with ``x=False``, once.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anndata as ad
from _inputs import cases, path_of
from _measure import Tool, bytes_limit, entry_bytes, race

from cellsigil import io


def compare(kind: str, n: int, folder: str) -> None:
    path = path_of(kind, n, folder)
    adata = ad.read_h5ad(path)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "out.h5ad"

        def size(_, __, target=target) -> dict[str, float]:
            return {"size, MB": target.stat().st_size / 1e6}

        race(
            "h5ad write", adata,
            [
                Tool("cellsigil", lambda a, t=target: io.write(a, t), ready=lambda a: a, check=size),
                Tool("anndata", lambda a, t=target: a.write_h5ad(t), ready=lambda a: a, check=size),
            ],
            data=kind, bars={"anndata": 1},
            limit=bytes_limit(entry_bytes(adata.X), "one read of values and indices"),
        )  # fmt: skip
        small = Path(scratch) / "small.h5ad"
        adata[:500].copy().write_h5ad(small)
        limit = bytes_limit(entry_bytes(adata.X), "one write of values and indices")
        cells = len(adata)
        del adata

        class Given:
            """A path with as many cells as the table says."""

            def __len__(self, cells=cells) -> int:
                return cells

        def ready(given, path=path):
            return small if given is small else path

        theirs = Tool("anndata", lambda p: ad.read_h5ad(p), ready=ready)
        for row, ours in (
            ("h5ad read, one copy of the counts", lambda p: io.read(p, x=False)),
            ("h5ad read, in X and the layer", lambda p: io.read(p)),
        ):
            race(
                row, Given(), [Tool("cellsigil", ours, ready=ready), theirs],
                data=kind, bars={"anndata": 1}, limit=limit, warm=small,
            )  # fmt: skip


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        compare(kind, n, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""h5ad: ours against anndata's own reader and writer, time and size.

    python benchmarks/files.py [DATA_FOLDER] [CELLS ...]

`io.read` also checks every count and returns them twice (X and ``layers["counts"]``); with ``x=False``, once.
"Counts kept" copies what anndata read to that layer, as every notebook does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anndata as ad
from _floors import read_arrays
from _inputs import cases, path_of
from _measure import CONTRACT, FLOOR, Tool, bytes_limit, entry_bytes, race

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
        kept = Tool("anndata, counts kept", read_and_keep, ready=ready)
        for row, ours, rivals, copies in (
            ("h5ad read, one copy of the counts", lambda p: io.read(p, x=False), [theirs], 1),
            ("h5ad read, in X and the layer", lambda p: io.read(p), [theirs, kept], 2),
        ):
            says = "h5py reads the three arrays" + ", copied once" * (copies - 1)
            floors = [
                Tool(FLOOR, lambda p, n=copies: read_arrays(p, n), ready=ready, note=says),
                Tool(CONTRACT, lambda p, n=copies: read_arrays(p, n, contract=True), ready=ready,
                     note=f"{says}, and checked"),
            ]  # fmt: skip
            race(
                row, Given(), [Tool("cellsigil", ours, ready=ready), *rivals, *floors],
                data=kind, bars={rival.name: 1 for rival in rivals}, limit=limit, warm=small,
            )  # fmt: skip


def read_and_keep(path: Path) -> ad.AnnData:
    adata = ad.read_h5ad(path)
    adata.layers["counts"] = adata.X.copy()
    return adata


def main(folder: str = "../shared/data", *sizes: str) -> None:
    for kind, n in cases(sizes):
        compare(kind, n, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Probes of reading that no other file of this folder holds; tests/test_probes.py lists where each is."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from cellsigil import io


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr", "a.csv", "run", "run.h5"])
def test_r22_path_space_unicode(adata, tenx_folder, tenx_h5, tmp_path, small, name):
    odd = "Fälle – 2 µl/naïve $HOME"
    path = tmp_path / odd / name
    path.parent.mkdir(parents=True)
    if name in ("a.h5ad", "a.zarr"):
        io.write(adata, path)
    elif name == "a.csv":
        table = pd.DataFrame(small.T, [f"GENE{i}" for i in range(30)], adata.obs_names)
        table.rename_axis("gene").to_csv(path)
    else:
        path = (tenx_h5 if name == "run.h5" else tenx_folder)(f"{odd}/{name}")
    found = io.read(path)
    np.testing.assert_array_equal(found.layers["counts"].toarray(), small)


def test_r24_gz_corrupt_crc(tenx_folder):
    folder = tenx_folder(gz=True)
    path = folder / "matrix.mtx.gz"
    packed = bytearray(path.read_bytes())
    packed[-6] ^= 0xFF  # the checksum at the end, everything else as it was
    path.write_bytes(bytes(packed))
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(bytes(packed))
    with pytest.raises(io.ReadError, match=r"matrix.mtx.gz"):
        io.read(folder)

"""loom files, where loompy is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil.io._assemble import assemble
from cellsigil.io._errors import ReadError, reading

_IDS = ("Accession", "gene_ids", "GeneID", "ensembl_ids", "var_names")
_SYMBOLS = ("Gene", "gene_symbols", "GeneName", "var_names")
_CELLS = ("CellID", "cell_names", "obs_names", "barcode", "barcodes")


def read_loom(path: Path) -> ad.AnnData:
    """Read the main matrix of a loom file, with every cell attribute of one value a cell.

    Raises
    ------
    ReadError
        loompy is not installed, or the file is damaged.
    """
    try:
        import loompy
    except ImportError as error:
        msg = f"{path} is a loom file, and loompy is not installed: pip install 'cellsigil[loom]'."
        raise ReadError(msg) from error
    with (
        reading(path, "a loom file", "Copy it again, or write it anew."),
        loompy.connect(str(path), mode="r", validate=False) as file,
    ):
        matrix = file.layers[""].sparse().T.tocsr()
        rows, columns = dict(file.ra.items()), dict(file.ca.items())
    n_cells = matrix.shape[0]
    ids, symbols = _first(rows, _IDS), _first(rows, _SYMBOLS)
    if ids is None and symbols is None:
        msg = f"{path} names no genes: no row attribute {' or '.join(_SYMBOLS[:1] + _IDS[:1])}. Add one with loompy."
        raise ReadError(msg)
    features = pd.DataFrame({_keys.GENE_IDS: _text(symbols if ids is None else ids)})
    if symbols is not None:
        features[_keys.GENE_SYMBOLS] = _text(symbols)
    cells = _first(columns, _CELLS)
    barcodes = _text(cells) if cells is not None else [f"cell{i}" for i in range(n_cells)]
    adata = assemble(matrix, pd.Index(barcodes), features, path)
    for name, values in columns.items():
        values = np.asarray(values)
        if values.shape == (n_cells,) and name not in _CELLS:
            adata.obs[name.replace("/", "_")] = values
    if ids is None:
        del adata.var[_keys.GENE_IDS]
    return adata


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


def _text(values: Any) -> list[str]:
    return [x.decode() if isinstance(x, bytes) else str(x) for x in np.asarray(values).tolist()]

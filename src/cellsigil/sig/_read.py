"""Signatures back from files: ours whole, and tables of profiles with what they can say."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from cellsigil._files import as_named
from cellsigil._signature import LAYERS, SignatureSet
from cellsigil.io._delimited import find_layout, first_lines, parse, read_whole
from cellsigil.sig._export import types_path


def read(path: str | Path) -> SignatureSet:
    """Read a SignatureSet (.h5ad), or a table of profiles, genes x types (tab or comma separated).

    A table that `export` wrote comes back under the types' display names, from its side table. What a
    table can't hold (variances, ranks, a card) is NaN; all its genes count as selected.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    A SignatureSet.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is neither, or its values are no profiles: text, missing, negative or infinite.
    """
    path = Path(path)
    if path.suffix.lower() == ".gmt":
        msg = f"{path} holds gene sets, no profiles. Read it with tl.read_signatures, or pass the signature's .h5ad."
        raise ValueError(msg)
    if not path.is_file():
        msg = f"There is no file {path}."
        raise FileNotFoundError(msg)
    if path.suffix.lower() in (".h5ad", ".h5"):
        return SignatureSet.read(path)
    table = _read_profiles(path)
    side = types_path(path)
    types = _read_types(side, table) if side.is_file() else _bare_types(table)
    nothing = {name: np.full(table.shape[::-1], np.nan) for name in LAYERS}
    var = pd.DataFrame(
        {
            "gene_id": "",
            "symbol": table.index,
            "selected": True,
            "mean_log": np.nan,
            "sd_log": np.nan,
        },
        index=table.index,
    )
    adata = ad.AnnData(
        np.ascontiguousarray(table.to_numpy(dtype=np.float64).T), obs=types, var=var, layers=nothing
    )
    info = {
        "units": "as in the file, taken as linear", "genome": None, "source": path.name,
        "card": {"not_measured": "read from a table, which holds no card."},
    }  # fmt: skip
    return SignatureSet(adata, info)


def _read_profiles(path: Path) -> pd.DataFrame:
    text = read_whole(path)
    layout = find_layout(path, first_lines(text))
    if not layout.header:
        msg = f"{path} has no header line with the names of the types. Add one, its first field 'gene'."
        raise ValueError(msg)
    table = parse(path, text, layout, text_columns=())
    genes, types = table.iloc[:, 0], table.columns[1:]
    if not types.is_unique:
        msg = f"{path} names the type {types[types.duplicated()][0]!r} twice. Rename or merge one of the columns."
        raise ValueError(msg)
    table = table.iloc[:, 1:].set_axis(pd.Index(genes.str.strip().tolist(), dtype=str), axis=0)
    held = [name for name, kind in table.dtypes.items() if kind.kind not in "iuf"]
    if held or not len(table):
        what = f"column {held[0]!r} holds text" if held else "it has no line of numbers"
        msg = f"{path} is no table of profiles: {what}. It needs genes x types, numbers, tab separated."
        raise ValueError(msg)
    if not table.index.is_unique:
        msg = f"{path} names the gene {table.index[table.index.duplicated()][0]!r} twice. Keep one row of each gene."
        raise ValueError(msg)
    values = table.to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        i, k = np.argwhere(bad)[0]
        msg = (
            f"{path}: gene {table.index[i]!r} is {values[i, k]} in {table.columns[k]!r}. Profiles are linear means, "
            f"zero or above; undo a logarithm, and leave genes without a value out."
        )
        raise ValueError(msg)
    return table


def _read_types(side: Path, table: pd.DataFrame) -> pd.DataFrame:
    types = pd.read_csv(side, sep="\t", dtype={"label": str, "cell_type": str, "cell_ontology_id": str},
                        keep_default_na=False, na_values={"rna_content": ["NA", ""]})  # fmt: skip
    if absent := {"label", "cell_type", "cell_ontology_id", "rna_content"} - set(types):
        msg = f"{side} lacks column {min(absent)!r}. Export the signature anew, or move {side.name} away."
        raise ValueError(msg)
    if list(types["label"]) != list(table.columns):
        msg = (
            f"{side} names other types than the table beside it ({', '.join(table.columns[:5])}, ...). "
            f"Export both anew, or move {side.name} away to read the table alone."
        )
        raise ValueError(msg)
    names = [as_named(name) for name in types["cell_type"]]
    types.index = pd.Index(names)
    return types[["n_cells", "n_samples", "rna_content", "cell_ontology_id"]]


def _bare_types(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"n_cells": 0, "n_samples": 0, "rna_content": np.nan, "cell_ontology_id": ""},
        index=pd.Index(table.columns),
    )

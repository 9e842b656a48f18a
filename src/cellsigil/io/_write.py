"""Write an AnnData whole or not at all."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import pandas as pd
from pandas.api.types import infer_dtype

from cellsigil._files import replacing
from cellsigil._matrix import read_tables
from cellsigil.io._sparse import NO_CACHE, is_large, write_sparse
from cellsigil.io._writable import complaints

log = logging.getLogger(__name__)
MOST_SHOWN = 5


def write(adata: ad.AnnData, path: str | Path, *, compat: bool = False) -> None:
    """Write an AnnData to one .h5ad file or .zarr store, atomically.

    What can't be stored is refused before anything is written. Then the file is written beside
    ``path`` and renamed: a failure or a kill leaves an old file whole. ``adata`` is not changed; a
    backed one stays with its file. Columns of repeated text are stored as categories.

    Parameters
    ----------
    adata
        Cells x genes, in memory, lazy or backed.
    path
        File to write; the suffix, .h5ad or .zarr, says which kind.
    compat
        Write an .h5ad that anndata 0.10 reads: plain strings, and no None in ``uns``.

    Raises
    ------
    ValueError
        The suffix is another, or something in ``adata`` can't be stored; its key and a way out are named.
    FileNotFoundError
        The folder that ``path`` should lie in does not exist.
    """
    path = Path(path).expanduser()
    _check_target(path, compat)
    read_tables(adata)
    problems = list(itertools.islice(complaints(adata), MOST_SHOWN + 1))
    if problems:
        more = " There may be more." if len(problems) > MOST_SHOWN else ""
        msg = f"{path} was not written. {' '.join(problems[:MOST_SHOWN])}{more}"
        raise ValueError(msg)
    shell = _shell(adata, compat=compat)
    with replacing(path) as part, ad.settings.override(allow_write_nullable_strings=not compat):
        try:
            if path.suffix == ".zarr":
                ad.io.write_zarr(part, shell)
            else:
                _write_h5ad(part, shell)
        except (TypeError, NotImplementedError, ValueError) as error:
            said = " ".join([str(error), *getattr(error, "__notes__", [])])
            msg = f"{path} was not written; anndata said: {said}. Remove or convert what it names."
            raise ValueError(msg) from error
    if adata.isbacked and Path(adata.filename).resolve() == path.resolve():
        adata.file.close()  # it still held the file that was replaced
        adata.file.open()
    log.info("wrote %d cells x %d genes to %s", *adata.shape, path)


def _write_h5ad(path: Path, shell: ad.AnnData) -> None:
    """Let anndata write all but large sparse matrices of X and the layers, and put these into its file."""
    held = {f"layers/{key}": shell.layers[key] for key in shell.layers if key is not None}
    large = {place: matrix for place, matrix in {**held, "X": shell.X}.items() if is_large(matrix)}
    for place in large:
        if place == "X":
            shell.X = None
        else:
            del shell.layers[place.removeprefix("layers/")]
    ad.io.write_h5ad(path, shell)
    if not large:
        return
    with h5py.File(path, "r+", **NO_CACHE) as file:
        for place, matrix in large.items():
            write_sparse(file, place, matrix)


def _check_target(path: Path, compat: bool) -> None:
    if path.suffix not in (".h5ad", ".zarr"):
        msg = f"{path} should end in .h5ad or .zarr: the suffix says what to write."
        raise ValueError(msg)
    if compat and path.suffix == ".zarr":
        msg = f"compat=True is for .h5ad files, and {path} is a .zarr store. Write an .h5ad."
        raise ValueError(msg)
    if path.suffix == ".h5ad" and path.is_dir():
        msg = f"{path} is a folder, so no file of that name can be written. Choose another name."
        raise ValueError(msg)


def _shell(adata: ad.AnnData, *, compat: bool) -> ad.AnnData:
    """Return an object of our own around the same matrices: the writer turns text into categories."""
    tables = _plain_strings if compat else (lambda value: value)
    parts: dict[str, Any] = {
        place: {
            key: tables(value) for key, value in getattr(adata, place).items() if key is not None
        }
        for place in ("layers", "obsm", "varm", "obsp", "varp")
    }
    if adata.raw is not None:
        raw = adata.raw
        parts["raw"] = {"X": raw.X, "var": tables(raw.var.copy()), "varm": dict(raw.varm)}
    return ad.AnnData(
        adata.X,
        obs=tables(adata.obs.copy()),
        var=tables(adata.var.copy()),
        uns=_plain_uns(adata.uns) if compat else dict(adata.uns),
        **parts,
    )


def _plain_strings(value: Any) -> Any:
    """Return a table whose text columns with gaps are categories, which every anndata reads."""
    if not isinstance(value, pd.DataFrame):
        return value
    value = value.copy()
    for key in value.columns:
        if infer_dtype(value[key], skipna=True) == "string" and value[key].isna().any():
            value[key] = value[key].astype("category")
    return value


def _plain_uns(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Drop every None, as anndata 0.10 does itself; its reader knows no null."""
    return {
        key: _plain_uns(value) if isinstance(value, Mapping) else _plain_strings(value)
        for key, value in mapping.items()
        if value is not None
    }

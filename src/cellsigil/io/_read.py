"""One door for every kind of file: find out what it is, and read it."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import pandas as pd

from cellsigil import _keys
from cellsigil._matrix import suggest
from cellsigil.io._errors import ReadError
from cellsigil.io._join import join
from cellsigil.io._sheet import PATH, is_sheet, read_sheet
from cellsigil.io._sources import Source, find, read_source

log = logging.getLogger(__name__)


def read(
    path: str | Path, *, sample: str | None = None, genome: str | None = None, x: bool = True
) -> ad.AnnData:
    """Read counts, whatever kind of file holds them.

    A 10x folder (Cell Ranger v2 and v3, STARsolo, gzipped or plain), a 10x HDF5 file, an .h5ad of any
    age, an AnnData zarr store, a csv or tsv of counts (which way round it lies is found out), a loom
    file; or several samples: a folder of 10x samples, or a sample sheet.

    A sample sheet is a csv or tsv with the columns ``path`` (relative to the sheet) and ``sample``,
    and any others (``condition``, ``batch``, ...), which become columns of ``obs``. Genes of several
    samples are matched by their ids; one that a sample lacks counts 0 there, with a warning. The
    sheet's columns win over ``obs`` columns of the same name in the samples' own files.

    Parameters
    ----------
    path
        File or folder.
    sample
        Of one sample: its name, kept in ``obs["sample"]``. Of several samples: the one to read.
    genome
        Which genome to read where a 10x matrix holds several.
    x
        False leaves X empty where there are counts, for `cellsigil.pp.normalize` to fill: half the
        memory until then. The counts of an h5ad are then float32 whatever the file holds.

    Returns
    -------
    AnnData
        Cells x genes. ``layers["counts"]`` holds the raw counts as float32 CSR, and X a copy of its own.
        Of an h5ad or zarr everything stays as it is in the file, X too; counts are added if X holds them.
        ``var["gene_ids"]`` and ``var["gene_symbols"]`` where the file has both; names are the symbols,
        made unique. Other 10x feature types lie in ``obsm`` under their own name. Several samples:
        ``obs["sample"]`` and cells named "sample_barcode".

    Raises
    ------
    ReadError
        The file is missing, damaged or of no known kind; the message says what to do.
    """
    path = Path(path).expanduser()
    _check_there(path)
    if is_sheet(path):
        sheet = read_sheet(path)
        sources = {str(name): _one_source(place, genome) for name, place in sheet[PATH].items()}
        facts = sheet.drop(columns=PATH)
    else:
        sources, facts = find(path, genome), None
    several = len(sources) > 1 or facts is not None
    if several and sample is not None:
        sources = _only(sources, sample, path)
    alone = len(sources) == 1
    parts = {name: read_source(source, genome, x=x and alone) for name, source in sources.items()}
    adata = _together(parts, path, sample, several=several)
    _fill(adata, x=x)
    if facts is not None:
        _add_facts(adata, facts)
    log.info("read %d cells x %d genes, %d sample(s), from %s", *adata.shape, len(parts), path)
    return adata


def _check_there(path: Path) -> None:
    if path.exists():
        return
    near = ""
    if path.parent.is_dir():
        near = suggest(
            path.name, sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
        )
    msg = f"There is no file or folder {path}. {near or f'The folder {path.parent} does not exist either.'}"
    raise ReadError(msg)


def _one_source(path: Path, genome: str | None) -> Source:
    sources = find(path, genome)
    if len(sources) > 1:
        msg = f"{path} holds {len(sources)} samples: {', '.join(sources)}. Give each its own line in the sheet."
        raise ReadError(msg)
    return next(iter(sources.values()))


def _only(sources: dict[str, Source], sample: str, path: Path) -> dict[str, Source]:
    if sample not in sources:
        msg = f"{path} has no sample {sample!r}. {suggest(sample, sources)}"
        raise ReadError(msg)
    return {sample: sources[sample]}


def _together(
    parts: dict[str, ad.AnnData], path: Path, sample: str | None, *, several: bool
) -> ad.AnnData:
    """Join several samples; a single one keeps its barcodes as they are."""
    if len(parts) > 1:
        return join(parts, path)
    (name, adata), = parts.items()  # fmt: skip
    if several or sample is not None:
        adata.obs[_keys.SAMPLE] = pd.Categorical([sample or name] * adata.n_obs)
    return adata


def _fill(adata: ad.AnnData, *, x: bool) -> None:
    """Give X a copy of its own where a reader put the counts into both places, or leave it empty."""
    counts = adata.layers.get(_keys.COUNTS)
    if counts is None:
        return
    if not x:
        adata.X = None
    elif adata.X is counts:
        adata.X = counts.copy()


def _add_facts(adata: ad.AnnData, facts: pd.DataFrame) -> None:
    """Give every cell its sample's line of the sheet; text becomes categories in the sheet's order."""
    of_cell = adata.obs[_keys.SAMPLE].astype(str)
    for name, column in facts.items():
        values = column.reindex(of_cell).set_axis(adata.obs_names)
        if column.dtype.kind not in "if":
            values = pd.Categorical(
                values, pd.unique(column[column.isin(set(values)) & column.notna()])
            )
        adata.obs[name] = values

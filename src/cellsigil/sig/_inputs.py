"""What building reads beside the matrix: labels, size factors, and a hash of it all."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np

from cellsigil import _keys
from cellsigil._block import Block
from cellsigil._core._digest import digest_rows
from cellsigil._matrix import read_counts
from cellsigil._rows import Rows
from cellsigil.pp._normalize import row_sums
from cellsigil.tl._groups import read_labels

CP10K = 1e4
# Labels of no cell type, lower-cased, with a blank for all but letters and digits.
_NO_TYPE = re.compile(
    rf"({_keys.UNKNOWN}|unassigned|unclassified|unlabell?ed|undetermined|unidentified|ambiguous|ambient|empty|debris"
    r"|damaged|dead|dying|low quality)( cells?| droplets?)?( \d+)?|(doublets?|multiplets?)( .*)?"
)


@dataclass(frozen=True)
class Factors:
    """What brings a cell's counts to CP10K."""

    scale: np.ndarray  # counts * scale = CP10K; 0 for an empty cell
    content: np.ndarray  # proportional to the cell's total count
    source: str  # said on the card


@dataclass(frozen=True)
class Cells:
    """Which type and sample every cell is of."""

    group: np.ndarray  # int64; -1 = left out
    sample: np.ndarray  # int64
    groups: list[str]
    samples: list[str]  # [""] without a sample key

    @property
    def n(self) -> np.ndarray:
        """Return the number of cells (G, S)."""
        out = np.zeros((len(self.groups), len(self.samples)), np.int64)
        np.add.at(out, (self.group[self.group >= 0], self.sample[self.group >= 0]), 1)
        return out


def read_cells(
    adata: ad.AnnData, groupby: str, sample_key: str | None, left_out: np.ndarray | None = None
) -> Cells:
    """Read the labels as `tl.group_stats` does; a cell that lacks either, or is ``left_out``, has none."""
    groups, samples = read_labels(adata, groupby, sample_key, left_out)
    out = (groups.codes < 0) | (samples.codes < 0)
    group = np.where(out, -1, groups.codes).astype(np.int64)
    sample = np.where(out, 0, samples.codes).astype(np.int64)
    return Cells(group, sample, groups.names, samples.names)


def of_no_type(adata: ad.AnnData, groupby: str) -> np.ndarray:
    """Return which cells' label names no cell type: left open by `tl.annotate`, or bad cells kept apart."""
    if groupby not in adata.obs:
        return np.zeros(adata.n_obs, bool)  # read_cells says what is missing
    labels = adata.obs[groupby].astype(str)
    words = labels.str.lower().str.replace(r"[^a-z0-9]+", " ", regex=True).str.strip()
    is_open = labels.str.endswith(_keys.UNRESOLVED, na=False)
    return (is_open | words.str.fullmatch(_NO_TYPE.pattern, na=False)).to_numpy(dtype=bool)


def cell_factors(adata: ad.AnnData, counts: Rows, wanted: np.ndarray) -> Factors:
    """Return the factors to CP10K: from obs["size_factor"] where it has one of every cell, else the totals.

    Cells that are not ``wanted`` have the factor 0.
    """
    totals = row_sums(counts)
    used = (totals > 0) & wanted
    if not used.any():
        msg = f"{counts.name} is zero everywhere: there is nothing to build a signature from."
        raise ValueError(msg)
    source, content, target = f"totals of {counts.name}", totals, 1.0
    if _keys.SIZE_FACTOR in adata.obs:
        factor = np.asarray(adata.obs[_keys.SIZE_FACTOR], dtype=np.float64)
        if np.isfinite(factor[used]).all() and (factor[used] > 0).all():
            target = _target(totals[used] / factor[used])
            source, content = (
                f"obs[{_keys.SIZE_FACTOR!r}], made for a target of {target:.6g}",
                factor,
            )
        else:
            source += f" (obs[{_keys.SIZE_FACTOR!r}] has zero, negative or missing values)"
    scale = np.zeros_like(totals)
    np.divide(CP10K / target, content, out=scale, where=used)
    return Factors(scale, np.where(used, content, 0.0), source)


def _target(ratio: np.ndarray) -> float:
    """Return the total that size factors were made for, from the cells' totals / factors.

    All alike: that is it. Else genes were filtered out since, and the largest ratio is the nearest;
    just below 10,000 it was 10,000.
    """
    largest = float(ratio.max())
    filtered = ratio.min() < 0.99999 * largest  # beyond the rounding of float32
    return CP10K if filtered and 0.8 * CP10K <= largest <= 1.001 * CP10K else largest


def input_hash(counts: Rows, *labels: Any) -> str:
    """Return a digest of the matrix's values and the labels; the container and dtype don't matter."""

    def digests(block: Block, _: int) -> np.ndarray:
        out = np.empty(block.n_rows, "<u8")
        with np.errstate(over="ignore"):  # as plain Python
            digest_rows(*block[:3], out, 0, block.n_rows)
        return out

    digest = hashlib.blake2b(digest_size=16)
    for of_rows in counts.collect(digests):
        digest.update(of_rows)
    for values in map(np.asarray, labels):
        is_code = values.dtype.kind in "iu"
        text = values.astype("<i8").tobytes() if is_code else repr(values.tolist()).encode()
        digest.update(b"%d:" % len(text) + text)
    return f"blake2b-rows:{digest.hexdigest()}"


def open_counts(adata: ad.AnnData) -> Rows:
    """Return the raw counts of non-empty data, genes named once.

    Raises
    ------
    ValueError
        No cells, no genes, or gene names that repeat.
    """
    if 0 in adata.shape:
        msg = f"The data hold {adata.n_obs} cells x {adata.n_vars} genes: nothing to build from."
        raise ValueError(msg)
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][:3].tolist()
        msg = f"Gene names repeat ({', '.join(map(str, twice))}, ...). Call adata.var_names_make_unique()."
        raise ValueError(msg)
    return read_counts(adata)

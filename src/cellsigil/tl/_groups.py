"""A column of obs as codes and names."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cellsigil._matrix import check_adata, suggest


class Groups(NamedTuple):
    """Which group each cell is in."""

    codes: np.ndarray  # int32, one per cell; -1 = no label, left out
    names: list[str]  # in category order

    @property
    def sizes(self) -> np.ndarray:
        """Return the number of cells of each group."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names)).astype(np.int64)


def read_groups(
    adata: Any,
    key: str,
    *,
    argument: str = "groupby",
    at_least: int = 2,
    left_out: np.ndarray | None = None,
) -> Groups:
    """Read ``obs[key]``: categories in their order, strings sorted, integers sorted as numbers.

    Cells without a label are left out with a warning, categories without a cell and the cells of the mask
    ``left_out`` silently.

    Raises
    ------
    KeyError
        There is no such column; the near names are in the message.
    ValueError
        A column of fractions, or fewer than ``at_least`` groups.
    """
    if not isinstance(key, Hashable) or key not in adata.obs.columns:
        msg = f"{argument}={key!r} is no column of adata.obs. {suggest(key, adata.obs.columns)}"
        raise KeyError(msg)
    column = adata.obs[key]
    if isinstance(column, pd.DataFrame):
        msg = f"adata.obs has {column.shape[1]} columns named {key!r}. Rename all but one of them."
        raise ValueError(msg)
    if not isinstance(column, pd.Series):  # a lazily opened obs
        column = pd.Series(adata.obs[[key]].to_memory()[key])
    if pd.api.types.is_float_dtype(column.dtype):
        msg = (
            f"obs[{key!r}] holds fractions ({column.dtype}), and {argument}= needs labels. If they are "
            f"labels, make them so: adata.obs[{key!r}] = adata.obs[{key!r}].astype('Int64').astype('category')."
        )
        raise ValueError(msg)
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("category")
    if left_out is not None:
        column = column.where(~left_out)
    counted = np.bincount(column.cat.codes + 1, minlength=len(column.cat.categories) + 1)
    if not counted[1:].all():  # looking costs a tenth of taking none away
        column = column.cat.remove_unused_categories()
    names = [str(name) for name in column.cat.categories]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"obs[{key!r}] has two categories that read {twice!r} as text. Rename one of them."
        raise ValueError(msg)
    codes = column.cat.codes.to_numpy().astype(np.int32)
    if missing := int(((codes < 0) if left_out is None else (codes < 0) & ~left_out).sum()):
        msg = f"{missing} cells have no label in obs[{key!r}] (NaN): they are left out."
        warnings.warn(msg, UserWarning, stacklevel=3)
    if len(names) < at_least:
        found = f"only the group {names[0]!r}" if names else "no labels at all"
        msg = (
            f"obs[{key!r}] holds {found}; {argument}= needs at least {at_least} groups to compare. "
            f"Cluster with cellsigil.tl.cluster(adata), or name another column."
        )
        raise ValueError(msg)
    return Groups(codes, names)


def read_labels(
    adata: Any, groupby: str, sample_key: str | None, left_out: np.ndarray | None = None
) -> tuple[Groups, Groups]:
    """Read groups and samples; without a sample key all cells are of one sample, ""."""
    groups = read_groups(adata, groupby, left_out=left_out)
    if sample_key is None:
        return groups, Groups(np.zeros(adata.n_obs, np.int32), [""])
    samples = read_groups(adata, sample_key, argument="sample_key", at_least=1, left_out=left_out)
    return groups, samples


def read_genes(adata: Any) -> pd.Index:
    """Return the gene names.

    Raises
    ------
    ValueError
        There are none, one is missing, or one is there twice.
    """
    check_adata(adata)
    genes = adata.var_names
    if not len(genes):
        msg = "adata has no genes. Was everything filtered out?"
        raise ValueError(msg)
    if (missing := np.flatnonzero(genes.isna())).size:
        msg = (
            f"{missing.size} gene names are missing (None), first at position {missing[0]}. Name them, or leave "
            f"them out: adata = adata[:, adata.var_names.notna()].copy()."
        )
        raise ValueError(msg)
    if not genes.is_unique:
        twice = genes[genes.duplicated()]
        msg = (
            f"{twice.nunique()} gene names occur more than once, such as {str(twice[0])!r}, so a result "
            f"could not be named. Make them unique: adata.var_names_make_unique()."
        )
        raise ValueError(msg)
    return genes

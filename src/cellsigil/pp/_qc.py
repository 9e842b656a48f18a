"""Quality measures of cells and genes."""

from __future__ import annotations

import logging
import numbers
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from cellsigil import _keys
from cellsigil._block import Block
from cellsigil._core._rows import measure_rows
from cellsigil._files import hdf5_names
from cellsigil._matrix import read_counts, read_tables, suggest
from cellsigil._tables import with_columns

log = logging.getLogger(__name__)

# Human and mouse symbols in any case, also behind a genome ("GRCh38_MT-CO1") and as R writes them
# ("MT.CO1"). Not RPS6KA1 and its kin (kinases), nor HBEGF, HBS1L and HBP1 (no globins).
_GENOME = r"^(?:(?:grch|grcm|hg|mm)\d+_+)?"
GENE_SETS = {
    "mt": re.compile(_GENOME + r"mt[-.]", re.IGNORECASE),
    "ribo": re.compile(_GENOME + r"rp(?:[sl]\d+[ax]?(?:y\d)?l?\d?|lp[0-3]|sa2?)$", re.IGNORECASE),
    "hb": re.compile(
        _GENOME + r"hb(?:a1|a2|b|d|e1|g1|g2|m|q1|z|a-(?:a[12]|x)|b-(?:b[hst]?\d?|y)|q1[ab])$",
        re.IGNORECASE,
    ),
}
ANY_SET = _GENOME + "(?:mt[-.]|rp[sl]|hb)"  # how a name of any begins


def qc(
    adata: AnnData,
    *,
    gene_sets: Mapping[str, Sequence[str] | np.ndarray] | None = None,
    percent_top: Sequence[int] | None = (50, 100, 200, 500),
    layer: str | None = None,
) -> None:
    """Measure totals, numbers of genes and shares of gene sets per cell, and totals per gene.

    Parameters
    ----------
    adata
        Cells x genes with raw counts.
    gene_sets
        Name -> gene names, or a boolean array over the genes. None means the mitochondrial ("mt"),
        ribosomal protein ("ribo") and haemoglobin ("hb") genes, found by their human and mouse
        symbols in ``var_names`` or ``var["gene_symbols"]``.
    percent_top
        Measure the share of counts in each cell's n largest genes; an n above the number of genes is
        left out.
    layer
        Where the counts are; None means ``layers["counts"]``, else ``X``.

    Warns
    -----
    UserWarning
        No gene of a set is in the data (of the default sets, "mt" only): nothing is written for it.

    Raises
    ------
    ValueError
        The values are no counts, or a gene set or ``percent_top`` is malformed.

    Sets
    ----
    ``obs``
        ``n_genes_by_counts``, ``total_counts``, ``pct_counts_in_top_{n}_genes``; per set
        ``total_counts_{set}``, ``pct_counts_{set}``; ``log1p_`` of the totals and numbers. Shares of
        a cell without counts are NaN.
    ``var``
        ``n_cells_by_counts``, ``mean_counts``, ``pct_dropout_by_counts``, ``total_counts``, ``log1p_``
        of the mean and total; per set a boolean column under its name.
    """
    read_tables(adata)
    tops = _check_tops(percent_top, adata.n_vars)
    members = _members(adata, gene_sets)
    counts = read_counts(adata, layer)
    chosen = {name: mask for name, mask in members.items() if mask.any()}
    flags = np.column_stack([np.zeros((adata.n_vars, 0), bool), *chosen.values()])

    marked, ns = flags.any(axis=1), np.array(tops, np.int64)
    sets = np.nonzero(flags)[1].astype(np.uint32)
    first = np.zeros(adata.n_vars + 1, np.uint32)  # gene j is in sets[first[j] : first[j + 1]]
    np.cumsum(flags.sum(axis=1), out=first[1:])

    n_shares = ns.size + flags.shape[1]

    def measure(block: Block, first_row: int, room: tuple[list, np.ndarray]) -> None:
        of_cells, genes = room
        own = np.empty((1 + n_shares, block.n_rows))
        largest, of_sets = own[1:][: ns.size], own[1:][ns.size :]
        measure_rows(
            *block[:3], marked, first, sets, ns, own[0], largest, of_sets, genes, 0, block.n_rows
        )
        of_cells.append((first_row, np.diff(block.indptr), own))

    of_cells, genes = counts.accumulate(
        lambda: (
            [(0, np.empty(0, np.int64), np.empty((1 + n_shares, 0)))],
            np.zeros((adata.n_vars, 2)),
        ),
        measure,
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
    )
    of_cells.sort(key=operator.itemgetter(0))
    n_genes = np.concatenate([sizes for _, sizes, _ in of_cells])
    total, *shares = np.concatenate([own for _, _, own in of_cells], axis=1)
    largest, of_sets = shares[: ns.size], shares[ns.size :]
    n_cells, of_genes = np.ascontiguousarray(genes.T)

    with np.errstate(invalid="ignore", divide="ignore"):  # the shares of an empty cell are NaN
        obs = {
            "n_genes_by_counts": n_genes,
            "log1p_n_genes_by_counts": np.log1p(n_genes),
            "total_counts": total,
            "log1p_total_counts": np.log1p(total),
        }
        for t, n in enumerate(tops):
            obs[f"pct_counts_in_top_{n}_genes"] = largest[t] / total * 100
        for s, name in enumerate(chosen):
            obs[f"total_counts_{name}"] = of_sets[s]
            obs[f"log1p_total_counts_{name}"] = np.log1p(of_sets[s])
            obs[f"pct_counts_{name}"] = of_sets[s] / total * 100
        mean = of_genes / adata.n_obs
        var = {
            **chosen,
            "n_cells_by_counts": n_cells.astype(np.int64),
            "mean_counts": mean,
            "log1p_mean_counts": np.log1p(mean),
            "pct_dropout_by_counts": (1 - n_cells / adata.n_obs) * 100,
            "total_counts": of_genes,
            "log1p_total_counts": np.log1p(of_genes),
        }
    absent = members.keys() - chosen.keys()
    stale = {f"{p}_{name}" for name in absent for p in _SET_COLUMNS}
    adata.obs = with_columns(adata.obs, obs, stale)
    adata.var = with_columns(adata.var, var, absent)
    log.info(
        "qc of %d cells x %d genes: median total %g, median genes %g; genes per set: %s",
        *adata.shape, np.median(total) if total.size else 0, np.median(n_genes) if total.size else 0,
        ", ".join(f"{name} {int(mask.sum())}" for name, mask in members.items()) or "none",
    )  # fmt: skip


_SET_COLUMNS = ("total_counts", "log1p_total_counts", "pct_counts")


def _check_tops(percent_top: Sequence[int] | None, n_genes: int) -> list[int]:
    tops = sorted(set(percent_top or ()))
    for n in tops:
        if not isinstance(n, numbers.Integral) or n < 1:
            msg = f"percent_top holds {n!r}: whole numbers of genes from 1 up are needed."
            raise ValueError(msg)
    if tops and tops[-1] > n_genes:
        left_out = ", ".join(str(n) for n in tops if n > n_genes)
        log.info("percent_top: left out %s, as there are only %d genes", left_out, n_genes)
    return [int(n) for n in tops if n <= n_genes]


def _members(adata: AnnData, gene_sets: Mapping | None) -> dict[str, np.ndarray]:
    """Return a boolean array over the genes for each set, under a name that HDF5 takes."""
    names = [adata.var_names.to_series()]
    if _keys.GENE_SYMBOLS in adata.var:
        names.append(adata.var[_keys.GENE_SYMBOLS])
    if gene_sets is None:
        alike = [s.astype("str").str.match(ANY_SET, case=False, na=False) for s in names]
        likely = np.flatnonzero(np.logical_or.reduce(alike))  # few: each set looks at these alone
        names = [series.iloc[likely] for series in names]
        members = {}
        for key, pattern in GENE_SETS.items():
            members[key] = np.zeros(adata.n_vars, bool)
            members[key][likely] = _any(names, pattern.match)
        if adata.n_vars and not members["mt"].any():
            first = ", ".join(repr(str(name)) for name in adata.var_names[:3])
            msg = (
                f"No mitochondrial gene (MT-..., mt-...) among the {adata.n_vars} var_names ({first}, "
                f"...): pct_counts_mt is not written. If var_names are gene ids, put the symbols in "
                f"var['gene_symbols']{_elsewhere(adata.var)}, or pass gene_sets={{'mt': [...]}}."
            )
            warnings.warn(msg, UserWarning, stacklevel=3)
        return members
    safe = hdf5_names(gene_sets)
    return {safe[key]: _one_set(key, genes, names) for key, genes in gene_sets.items()}


def _elsewhere(var: pd.DataFrame) -> str:
    """Return how to take the symbols from a column of ``var`` that holds mitochondrial ones."""
    for key, column in var.items():
        if any(isinstance(value, str) and GENE_SETS["mt"].match(value) for value in column):
            return f" (adata.var['gene_symbols'] = adata.var[{key!r}])"
    return ""


def _one_set(key: str, genes: Sequence[str] | np.ndarray, names: list[pd.Series]) -> np.ndarray:
    if isinstance(genes, str):
        msg = f"gene_sets[{key!r}] is the string {genes!r}: a list of gene names is needed, [{genes!r}]."
        raise ValueError(msg)
    if str(getattr(genes, "dtype", None)) in ("bool", "boolean"):
        if len(genes) != len(names[0]):
            msg = f"gene_sets[{key!r}] has {len(genes)} entries for {len(names[0])} genes."
            raise ValueError(msg)
        return np.array(genes, bool)  # a copy: it becomes a column of var
    wanted = set(genes)
    mask = _any(names, wanted.__contains__)
    if not mask.any():
        first = next(iter(wanted), "")
        msg = f"No gene of gene_sets[{key!r}] is in the data. {suggest(first, names[0].dropna())}"
        warnings.warn(msg, UserWarning, stacklevel=4)
    return mask


def _any(names: list[pd.Series], test: Callable[[str], object]) -> np.ndarray:
    masks = [[isinstance(s, str) and bool(test(s)) for s in series.tolist()] for series in names]
    return np.logical_or.reduce(np.array(masks, bool).reshape(len(names), -1))

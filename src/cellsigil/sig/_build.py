"""From labelled cells to a SignatureSet."""

from __future__ import annotations

import logging
import numbers
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import cellsigil
from cellsigil._matrix import read_tables, suggest
from cellsigil._signature import SignatureSet
from cellsigil.sig._card import measure_transfer
from cellsigil.sig._choose import Choice, Ranking, choose, rank_genes
from cellsigil.sig._excluded import GENE_SETS, excluded_genes, gene_names
from cellsigil.sig._inputs import (
    Cells,
    cell_factors,
    input_hash,
    of_no_type,
    open_counts,
    read_cells,
)
from cellsigil.sig._mixtures import number
from cellsigil.sig._moments import Moments, measure, rna_content, var_samples
from cellsigil.tl._stats import GroupStats, count_all

log = logging.getLogger(__name__)
RNA_CONTENT = {True: "ratios within samples", False: "means over samples, the samples' depth in it"}
UNITS = "mean counts per 10,000 (CP10K) per cell, linear scale"


def build(
    adata: ad.AnnData,
    groupby: str,
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    n_markers: int = 50,
    stats: GroupStats | None = None,
    ontology: Mapping[str, str] | None = None,
    genome: str | None = None,
    exclude: Sequence[str] = GENE_SETS,
    keep_unresolved: bool = False,
    memory_budget: int | None = None,
    rng: int | np.random.Generator = 0,
) -> SignatureSet:
    """Make a SignatureSet: the types' mean expression, the genes to deconvolve with, and a card.

    Profiles are means over cells of counts / size factor on the CP10K scale, over every gene. Genes
    are ranked per type by the sum of the ranks of blocked AUC and blocked COSG; then the number of
    genes a type, at most ``n_markers``, is chosen for the condition number of the selected matrix.

    Parameters
    ----------
    adata
        Log-normalised expression in X (or ``layer``) and raw counts in ``layers["counts"]``. The size
        factor is ``obs["size_factor"]``, else the counts' totals, and the card says which.
    groupby
        Column of ``obs`` with the cell types.
    sample_key
        Column of ``obs`` with the samples (donors). With two or more, ranks are blocked by sample and
        the card holds what the set did on samples held out.
    layer
        Layer with the log-normalised expression.
    n_markers
        Most genes per type.
    stats
        What `tl.group_stats` made of the same data, labels and samples; made here if not given.
    ontology
        Cell Ontology id ("CL:0000236") of each type. If not given, ``obs["<groupby>_ontology_term_id"]``
        where there is one.
    genome
        Name of the genome that the genes are of; if not given, ``var["genome"]`` where it names one.
    exclude
        Gene sets that are never selected: "mitochondrial", "ribosomal", "sex", "dissociation" (van den
        Brink 2017), "haemoglobin". Their profiles are kept.
    keep_unresolved
        Keep the labels that name no type ("unknown", "T cell, unresolved" as `tl.annotate` leaves them,
        "doublet", "damaged", "low quality", "unassigned" ...) as types of their own. By default their
        cells are left out, with a warning.
    memory_budget
        As of `tl.group_stats`, for the statistics made here.
    rng
        Seed or generator for what the card draws.

    Returns
    -------
    A SignatureSet; ``adata`` is left as it is.

    Raises
    ------
    KeyError
        No such column, layer or gene set.
    ValueError
        No counts, no log-normalised expression, one type only, or ``stats`` of other data.

    References
    ----------
    Dai et al. 2022, Brief Bioinform 23:bbab579 (COSG). Newman et al. 2015, Nat Methods 12:453 (genes by
    condition number). van den Brink et al. 2017, Nat Methods 14:935 (dissociation).
    """
    if not isinstance(n_markers, numbers.Integral) or n_markers < 1:
        msg = f"n_markers={n_markers!r}: a whole number of genes from 1 up is needed; 10 or more are wise."
        raise ValueError(msg)
    read_tables(adata)
    is_open = np.zeros(adata.n_obs, bool) if keep_unresolved else of_no_type(adata, groupby)
    if is_open.any():
        names = ", ".join(repr(str(label)) for label in adata.obs[groupby][is_open].unique())
        msg = (
            f"obs[{groupby!r}]: {is_open.sum()} cells labelled {names} are left out of the signature. "
            f"Pass keep_unresolved=True to keep them as types."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
        stats = None  # those given hold these cells
    counts = open_counts(adata)
    if stats is None:
        with _said_by_build():  # left out by their labels: a subset would copy X and counts
            stats, _ = count_all(adata, groupby, sample_key, layer, memory_budget, left_out=is_open)
    with warnings.catch_warnings(action="ignore"):  # count_all has told of cells without a label
        cells = read_cells(adata, groupby, sample_key, is_open)
    _check_stats(stats, adata, cells, groupby, sample_key)
    factors = cell_factors(adata, counts, ~is_open)
    ids, symbols = gene_names(adata)
    excluded, named = excluded_genes(adata.var_names, ids, symbols, exclude)
    moments = measure(counts, factors.scale, cells)
    ranking = rank_genes(moments, stats, ~excluded)
    choice = choose(ranking, n_markers)
    if choice.selected.sum() < len(cells.groups):
        msg = (
            f"Only {int(choice.selected.sum())} genes tell the {len(cells.groups)} types of {groupby!r} apart: "
            f"this set can't deconvolve. Use data with more genes, or exclude fewer of them."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    generator = np.random.default_rng(rng)
    card = measure_transfer(
        counts, factors.scale, cells, moments, stats, ~excluded, n_markers, choice.selected, generator
    )  # fmt: skip
    out = _assemble(adata, cells, moments, ranking, choice, ids, symbols)
    out.obs["rna_content"], linked = rna_content(factors.content, cells)
    if not linked:
        msg = (
            f"No chain of samples of obs[{sample_key!r}] links all types of {groupby!r}, so rna_content holds the "
            f"samples' depth too. Pass size_factors= to deconvolve if they were sequenced differently."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    out.obs["cell_ontology_id"] = _ontology_ids(adata, groupby, cells, ontology)
    info: dict[str, Any] = {
        "units": UNITS,
        "genome": genome or _genome(adata),
        "parameters": {
            "groupby": groupby, "sample_key": sample_key, "layer": layer, "n_markers": n_markers,
            "exclude": list(exclude), "keep_unresolved": keep_unresolved,
            "rng": rng if isinstance(rng, int) else "a generator",
        },
        "versions": _versions(),
        "input_hash": input_hash(
            counts, cells.group, cells.groups, cells.sample, cells.samples, adata.var_names
        ),
        "n_cells": int(cells.n.sum()),
        "n_samples": len(cells.samples) if sample_key else None,
        "size_factor": factors.source,
        "excluded": named,
        "markers": {
            name: adata.var_names[mine].astype(str).tolist()
            for name, mine in zip(cells.groups, choice.lists)
        },
        "card": {
            "size_factor": factors.source,
            "rna_content": RNA_CONTENT[linked],
            "genes_per_type": choice.n_genes,
            "n_selected": int(choice.selected.sum()),
            "condition_number": number(choice.condition),
            "condition_number_tried": {str(n): number(value) for n, value in choice.tried.items()},
            **card,
        },
    }  # fmt: skip
    log.info(
        "build: %d cells, %d types, %d samples, %d genes; %d selected, condition number %.3g",
        cells.n.sum(), len(cells.groups), len(cells.samples), adata.n_vars,
        choice.selected.sum(), choice.condition,
    )  # fmt: skip
    return SignatureSet(out, info)


@contextmanager
def _said_by_build() -> Iterator[None]:
    """Pass on the warnings from inside as of the line that called `build`."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        yield
    for warning in caught:
        warnings.warn(str(warning.message), warning.category, stacklevel=4)


def _assemble(
    adata: ad.AnnData, cells: Cells, moments: Moments, ranking: Ranking, choice: Choice,
    ids: np.ndarray, symbols: np.ndarray,
) -> ad.AnnData:  # fmt: skip
    """Return types x genes with every layer."""
    obs = pd.DataFrame(
        {"n_cells": cells.n.sum(axis=1), "n_samples": (cells.n > 0).sum(axis=1)},
        index=pd.Index(cells.groups),
    )
    var = pd.DataFrame(
        {
            "gene_id": ids.astype(str), "symbol": symbols.astype(str), "selected": choice.selected,
            "mean_log": moments.mean_log, "sd_log": moments.sd_log,
        },
        index=pd.Index(adata.var_names.astype(str)),
    )  # fmt: skip
    layers = {
        "var_cells": moments.var_cells,
        "var_samples": var_samples(moments.sample_profiles()),
        "detection": moments.detection,
        "auc": ranking.auc,
        "log2fc": ranking.log2fc,
        "specificity": ranking.cosg,
        "marker_rank": ranking.ranks,
    }
    return ad.AnnData(ranking.profiles, obs=obs, var=var, layers=layers)


def _check_stats(
    stats: GroupStats, adata: ad.AnnData, cells: Cells, groupby: str, sample_key: str | None
) -> None:
    """Refuse statistics of other labels, samples or genes."""
    for what, theirs, ours in (
        ("groupby", stats.groupby, groupby),
        ("sample_key", stats.sample_key, sample_key),
        ("groups", list(stats.groups), cells.groups),
        ("samples", list(stats.samples), cells.samples),
        ("genes", list(stats.genes), list(adata.var_names)),
        ("cells", np.asarray(stats.n).tolist(), cells.n.tolist()),
    ):
        if theirs != ours:
            msg = f"stats= was made from other {what} than this call's. Make it anew with tl.group_stats."
            raise ValueError(msg)


def _ontology_ids(
    adata: ad.AnnData, groupby: str, cells: Cells, ontology: Mapping[str, str] | None
) -> list[str]:
    """Return the Cell Ontology id of every type, "" where not known."""
    if ontology is None:
        key = f"{groupby}_ontology_term_id"
        if key not in adata.obs:
            return [""] * len(cells.groups)
        column = adata.obs[key].astype(object).to_numpy()
        found = [
            {x for x in column[cells.group == k] if isinstance(x, str)}
            for k in range(len(cells.groups))
        ]
        return [ids.pop() if len(ids) == 1 else "" for ids in found]
    unknown = [name for name in ontology if str(name) not in cells.groups]
    if unknown:
        msg = f"ontology= names {unknown[0]!r}, which is no type in {groupby!r}. {suggest(unknown[0], cells.groups)}"
        raise KeyError(msg)
    for name, term in ontology.items():
        if not re.fullmatch(r"CL:\d{7}", str(term)):
            msg = f"ontology={{{name!r}: {term!r}}} is no Cell Ontology id: it reads CL: and seven digits, CL:0000236."
            raise ValueError(msg)
    by_name = {str(name): str(term) for name, term in ontology.items()}
    return [by_name.get(name, "") for name in cells.groups]


def _genome(adata: ad.AnnData) -> str | None:
    if "genome" in adata.var:
        found = adata.var["genome"].dropna().astype(str).unique()
        if len(found) == 1 and found[0]:
            return found[0]
    return None


def _versions() -> dict[str, str]:
    out = {"cellsigil": cellsigil.__version__}
    for name in ("anndata", "numpy", "scipy", "pandas", "numba"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:  # installed without metadata
            out[name] = "unknown"
    return out

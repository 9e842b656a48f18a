"""Pseudobulk with known fractions, from cells of chosen donors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellsigil._matrix import suggest
from cellsigil.pp._normalize import row_sums
from cellsigil.sig._inputs import Cells, open_counts, read_cells

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pseudobulk:
    """Simulated bulk samples and the truth about them.

    Attributes
    ----------
    bulk
        Counts, genes x samples.
    fractions
        Samples x types: share of the cells drawn; rows sum to 1.
    rna_fractions
        Samples x types: share of the counts of the cells drawn; rows sum to 1.
    donors
        The donor that each sample was drawn from ("" without a sample key).
    parameters
        What `simulate` was called with.
    """

    bulk: pd.DataFrame
    fractions: pd.DataFrame
    rna_fractions: pd.DataFrame
    donors: pd.Series
    parameters: dict[str, Any]


def simulate(
    adata: ad.AnnData,
    groupby: str,
    *,
    n_samples: int = 50,
    sample_key: str | None = None,
    samples: Sequence[str] | None = None,
    n_cells: int = 500,
    concentration: float | Mapping[str, float] = 1.0,
    gene_noise_sd: float = 0.0,
    depth: float | None = 1e6,
    rng: int | np.random.Generator = 0,
) -> Pseudobulk:
    """Draw cells with replacement, add up their counts, and disturb them as a bulk platform would.

    Every bulk sample is of one donor, donors in turn. Type proportions are Dirichlet, cell numbers
    multinomial; a gene's platform effect is log-normal with mean 1, the same in all samples; the
    sequenced counts are multinomial with ``depth`` reads. Pseudobulk of the donors that made the
    signature is too easy to rank methods: hold donors out with ``samples`` (see `split_donors`),
    and disturb genes with ``gene_noise_sd`` (.5 is mild).

    Parameters
    ----------
    adata
        Cells x genes with raw counts.
    groupby
        Column of ``obs`` with the cell types.
    n_samples
        Bulk samples to make.
    sample_key
        Column of ``obs`` with the donors.
    samples
        Donors to draw from; all if not given.
    n_cells
        Cells in a bulk sample.
    concentration
        Dirichlet parameter: one for all types, or one per type (types not named stay out).
    gene_noise_sd
        Standard deviation of the log of a gene's platform effect.
    depth
        Reads of a bulk sample; None leaves the (disturbed) sums as they are.
    rng
        Seed or generator.

    Returns
    -------
    A `Pseudobulk`; its types are in category order, a type that a donor lacks has fraction 0 there.

    Raises
    ------
    KeyError
        No such column, donor or type.
    ValueError
        No counts, or a number out of range.

    References
    ----------
    Avila Cobos et al. 2020, Nat Commun 11:5650 (pseudobulk of cells with known types).
    """
    _check_numbers(n_samples, n_cells, gene_noise_sd, depth)
    generator = np.random.default_rng(rng)
    counts = open_counts(adata)
    cells = read_cells(adata, groupby, sample_key)
    donors = _donors(cells, samples, sample_key)
    alpha = _concentration(cells, concentration)
    of_sample = np.array([donors[i % len(donors)] for i in range(n_samples)])
    drawn, numbers = _draw(cells, of_sample, alpha, n_cells, generator)
    sums = _add_up(counts, drawn)
    bulk = _disturb(sums, gene_noise_sd, depth, generator)

    rna = np.zeros(numbers.shape)
    totals = row_sums(counts)
    for k in range(len(cells.groups)):
        rna[:, k] = drawn @ np.where(cells.group == k, totals, 0.0)
    names = pd.Index([f"bulk{i + 1:0{len(str(n_samples))}d}" for i in range(n_samples)])
    types = pd.Index(cells.groups)
    log.info(
        "simulate: %d bulk samples of %d cells from %d donors", n_samples, n_cells, len(donors)
    )
    return Pseudobulk(
        bulk=pd.DataFrame(bulk.T, index=adata.var_names, columns=names),
        fractions=pd.DataFrame(numbers / n_cells, index=names, columns=types),
        rna_fractions=pd.DataFrame(_shares(rna), index=names, columns=types),
        donors=pd.Series([cells.samples[d] for d in of_sample], index=names, name=sample_key),
        parameters={
            "groupby": groupby, "n_samples": n_samples, "sample_key": sample_key,
            "samples": [cells.samples[d] for d in donors] if sample_key else None,
            "n_cells": n_cells,
            "concentration": {t: float(a) for t, a in zip(types, alpha)},
            "gene_noise_sd": gene_noise_sd, "depth": depth,
            "rng": rng if isinstance(rng, int) else "a generator",
        },
    )  # fmt: skip


def split_donors(
    adata: ad.AnnData, sample_key: str, *, rng: int | np.random.Generator = 0
) -> tuple[list[str], list[str]]:
    """Split the donors at random into halves: one to build a signature, one to simulate bulk from.

    Parameters
    ----------
    adata
        Cells with their donors.
    sample_key
        Column of ``obs`` with the donors.
    rng
        Seed or generator.

    Returns
    -------
    The names of the donors to build with (the larger half), and of those held out.

    Raises
    ------
    ValueError
        There are fewer than two donors.
    """
    names = read_cells(adata, sample_key, None).groups
    order = np.random.default_rng(rng).permutation(len(names))
    held_out = {names[i] for i in order[: len(names) // 2]}
    return [n for n in names if n not in held_out], [n for n in names if n in held_out]


def _check_numbers(n_samples: int, n_cells: int, gene_noise_sd: float, depth: float | None) -> None:
    for name, value, lowest in (
        ("n_samples", n_samples, 1), ("n_cells", n_cells, 1), ("gene_noise_sd", gene_noise_sd, 0),
        ("depth", 1 if depth is None else depth, 1),
    ):  # fmt: skip
        if not lowest <= value < np.inf:
            msg = f"{name}={value!r} is out of range: {lowest} or more is needed."
            raise ValueError(msg)


def _donors(cells: Cells, samples: Sequence[str] | None, sample_key: str | None) -> list[int]:
    if samples is None:
        wanted = list(cells.samples)
    elif sample_key is None:
        msg = "samples= names donors, but sample_key= does not say which column of obs holds them."
        raise ValueError(msg)
    else:
        wanted = [samples] if isinstance(samples, str) else [str(name) for name in samples]
    for name in wanted:
        if name not in cells.samples:
            msg = f"No donor {name!r} in obs[{sample_key!r}]. {suggest(name, cells.samples)}"
            raise KeyError(msg)
    here = [cells.samples.index(name) for name in wanted]
    here = [s for s in here if cells.n[:, s].sum() > 0]
    if not here:
        msg = "samples= leaves no donor with labelled cells. Name at least one."
        raise ValueError(msg)
    return here


def _concentration(cells: Cells, concentration: float | Mapping[str, float]) -> np.ndarray:
    if isinstance(concentration, Mapping | pd.Series):
        given = {str(name): float(value) for name, value in concentration.items()}
        for name in given:
            if name not in cells.groups:
                msg = f"concentration= names no such type: {name!r}. {suggest(name, cells.groups)}"
                raise KeyError(msg)
        alpha = np.array([given.get(name, 0.0) for name in cells.groups])
    else:
        alpha = np.full(len(cells.groups), float(concentration))
    if not np.isfinite(alpha).all() or (alpha < 0).any() or not alpha.any():
        msg = f"concentration={concentration!r}: positive numbers are needed."
        raise ValueError(msg)
    return alpha


def _draw(
    cells: Cells, of_sample: np.ndarray, alpha: np.ndarray, n_cells: int, rng: np.random.Generator
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return how often each cell is in each bulk sample (samples x cells), and cells per type."""
    numbers = np.zeros((of_sample.size, alpha.size), np.int64)
    rows, columns = [], []
    for i, donor in enumerate(of_sample):
        types = np.flatnonzero((alpha > 0) & (cells.n[:, donor] > 0))
        if not types.size:
            msg = f"Donor {cells.samples[donor]!r} has no cell of the types to draw. Leave it out of samples=."
            raise ValueError(msg)
        numbers[i, types] = rng.multinomial(n_cells, rng.dirichlet(alpha[types]))
        for k in types:
            mine = np.flatnonzero((cells.group == k) & (cells.sample == donor))
            columns.append(rng.choice(mine, numbers[i, k]))
            rows.append(np.full(numbers[i, k], i))
    where = (np.concatenate(rows), np.concatenate(columns))
    shape = (of_sample.size, cells.group.size)
    return sp.csr_matrix((np.ones(where[0].size), where), shape=shape), numbers


def _add_up(counts: Any, drawn: sp.csr_matrix) -> np.ndarray:
    """Return the summed counts, samples x genes."""
    by_cell = drawn.tocsc()
    total = counts.reduce(
        lambda block, first: (
            by_cell[:, first : first + block.n_rows] @ block.to_scipy().astype(float)
        ),
        lambda a, b: a + b,
    )
    return np.asarray(total.toarray())


def _disturb(
    sums: np.ndarray, gene_noise_sd: float, depth: float | None, rng: np.random.Generator
) -> np.ndarray:
    if gene_noise_sd > 0:
        effect = rng.normal(-(gene_noise_sd**2) / 2, gene_noise_sd, sums.shape[1])
        sums = sums * np.exp(effect)
    if depth is None:
        return sums
    shares = _shares(sums)
    return np.array([rng.multinomial(int(depth), row) for row in shares]).astype(float)


def _shares(values: np.ndarray) -> np.ndarray:
    total = values.sum(axis=1, keepdims=True)
    return values / np.where(total > 0, total, 1.0)

"""From bulk and signature to fractions: the one runner of all methods."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cellsigil._core._seed import seed_of
from cellsigil._matrix import suggest
from cellsigil._signature import SignatureSet
from cellsigil.deconv._bulk import check_bulk, guess_scale, read_bulk
from cellsigil.deconv._errors import BulkError
from cellsigil.deconv._fit import condition_number, fit_table, similar_types
from cellsigil.deconv._intervals import (
    GENES_ONLY,
    WITH_DONORS,
    donor_error,
    draw_coefficients,
    quantiles,
    widen,
)
from cellsigil.deconv._match import Reference, match_genes, open_signature
from cellsigil.deconv._result import Deconvolution
from cellsigil.deconv._rna_content import NOT_ASKED, content_of
from cellsigil.deconv.methods import METHODS, Method

log = logging.getLogger(__name__)
CPM = 1e6


def deconvolve(
    bulk: pd.DataFrame | str | Path,
    signature: SignatureSet | pd.DataFrame | str | Path,
    *,
    method: str = "logrob",
    size_factors: str | pd.Series | pd.DataFrame | Mapping[str, float] | None = "signature",
    genes: Sequence[str] | None = None,
    n_boot: int = 200,
    rng: int | np.random.Generator = 0,
) -> Deconvolution:
    """Estimate the fractions of cell types in bulk samples.

    Every sample is solved on its own: an estimate does not depend on its neighbours. Bulk and profiles
    are compared on the linear CPM scale, over all genes of each; profiles are not made to sum to the
    same over the genes used. Fractions of cells are fractions of RNA divided by RNA content.

    Parameters
    ----------
    bulk
        Genes x samples on a linear scale (counts, TPM, CPM), or a file that `read_bulk` reads.
    signature
        A SignatureSet, mean profiles (genes x types, linear scale), or a file with either.
    method
        "logrob" (robust residuals on the log scale), "nnls", "wnnls" (relative residuals), "em".
    size_factors
        RNA content of a cell per type: "signature" (what the SignatureSet measured), "epic" or
        "quantiseq" (published), a Series or dict by type, or None for no correction.
    genes
        Genes to fit on, as the signature names them; by default those that the SignatureSet selected,
        or all genes of a table.
    n_boot
        Draws for the 95 % intervals; 0 for none.
    rng
        Seed or generator for the draws.

    Returns
    -------
    A Deconvolution.

    Raises
    ------
    BulkError
        A bulk that is on a log scale, negative, missing, empty or of other genes than the signature.
    KeyError
        No such method or gene.
    ValueError
        A signature that holds no profiles; an RNA content that is missing or not above 0.

    References
    ----------
    Avila Cobos et al. 2020, Nat Commun 11:5650 (linear scale). Racle et al. 2017, eLife 6:e26476 (RNA
    content). Each method's own in `deconv.methods`.
    """
    if method not in METHODS:
        msg = f"No method {method!r}. {suggest(method, METHODS)}"
        raise KeyError(msg)
    if n_boot < 0 or n_boot == 1:
        msg = f"n_boot={n_boot}: pass 0 for no intervals, or 100 and more."
        raise ValueError(msg)
    chosen, seed = METHODS[method], seed_of(rng)
    table = (
        check_bulk(bulk, "the bulk table") if isinstance(bulk, pd.DataFrame) else read_bulk(bulk)
    )
    reference = open_signature(signature)
    mixtures, reference, notes = match_genes(table, reference)
    used = _genes_used(reference, genes, notes)
    mixtures, profiles = _to_cpm(table, mixtures, reference)
    content, source, told = content_of(
        size_factors, reference.types, reference.rna_content, reference.ontology_ids
    )
    notes += told
    y, s = np.ascontiguousarray(mixtures[:, used]), np.ascontiguousarray(profiles[used])
    share = chosen.fit(y, s, np.ones(len(used)), None)
    rna, cells = _fractions(share, content, chosen)
    notes += _odd_fractions(cells, table.columns, reference.types)
    low, high, kinds = _intervals(
        chosen, y, s, share, cells, content, reference, used, n_boot, seed
    )
    alone = [repr(t) for t, n in zip(reference.types, reference.n_donors) if n == 1]
    if WITH_DONORS in kinds and alone:
        notes.append(f"{', '.join(alone)}: of one donor, so their intervals hold {GENES_ONLY}.")
    similar = similar_types(s, reference.types)
    if similar:
        notes.append(f"this signature hardly tells apart {similar}.")
    fit = fit_table(y, s, share, _explained(mixtures, profiles, share), chosen, table.columns)
    fit["condition_number"] = condition_number(s)
    fit["scale"] = [guess_scale(table[name].to_numpy()) for name in table.columns]
    fit["similar_types"] = similar
    for note in notes:
        if note == NOT_ASKED:
            continue  # the caller's own choice: kept in the result, no reason to warn
        warnings.warn(f"deconvolve: {note}", stacklevel=2)
    log.info(
        "deconvolve: %d samples, %d types, %s on %d of %d common genes, RNA content: %s",
        len(y), s.shape[1], method, len(used), mixtures.shape[1], source,
    )  # fmt: skip
    frame = {"index": table.columns, "columns": reference.types}
    return Deconvolution(
        fractions=pd.DataFrame(cells, **frame),
        rna_fractions=pd.DataFrame(rna, **frame),
        intervals=_interval_table(cells, low, high, kinds, table.columns, reference.types),
        fit=fit,
        method=method,
        parameters={
            "method": method, "rna_content": source, "n_genes": len(used), "n_boot": n_boot, "rng": seed,
            "rna_content_per_type": None if content is None else dict(zip(reference.types, content.tolist())),
            "signature": reference.name,
        },
        notes=tuple(notes),
    )  # fmt: skip


def _to_cpm(
    bulk: pd.DataFrame, mixtures: np.ndarray, reference: Reference
) -> tuple[np.ndarray, np.ndarray]:
    """Return bulk (samples x genes) and profiles in CPM.

    Of a bulk sample, a million is the sum over all its genes, so that the methods' floor means the same
    whichever genes the signature holds. All profiles are divided by one number, their mean total over all
    their genes, so that a coefficient is a share of all RNA.
    """
    totals = np.array([column.sum() for column in np.ascontiguousarray(bulk.to_numpy().T)])
    return mixtures / totals[:, None] * CPM, reference.profiles / reference.totals.mean() * CPM


def _explained(mixtures: np.ndarray, profiles: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the fit's part of each sample's RNA on the common genes."""
    total = np.array([row.sum() for row in mixtures])  # row by row: the bits of one sample alone
    return np.array([(own * profiles.sum(axis=0)).sum() for own in share]) / total


def _genes_used(reference: Reference, genes: Sequence[str] | None, notes: list[str]) -> np.ndarray:
    """Return the places of the genes to fit on among the common genes."""
    if genes is None:
        used, wanted = np.flatnonzero(reference.selected), reference.n_selected
    else:
        asked = pd.Index([str(gene) for gene in genes]).unique()
        unknown = [gene for gene in asked if gene not in reference.all_genes]
        if unknown:
            near = suggest(unknown[0], reference.all_genes)
            msg = f"genes= names {unknown[0]!r}, which is no gene of the signature. {near}"
            raise KeyError(msg)
        used, wanted = np.flatnonzero(reference.genes.isin(asked)), len(asked)
    kept = (reference.profiles[used] > 0).any(axis=1)
    used = used[kept]
    n_types = len(reference.types)
    if len(used) < n_types:
        msg = (
            f"Only {len(used)} of the signature's {wanted} genes are in the bulk, fewer than its {n_types} types. "
            f"Use a bulk table with all genes, or build the signature on genes that the bulk has."
        )
        raise BulkError(msg)
    if len(used) < 0.5 * wanted:
        notes.append(f"only {len(used)} of the signature's {wanted} genes are in the bulk.")
    return used


def _fractions(
    share: np.ndarray, content: np.ndarray | None, method: Method
) -> tuple[np.ndarray, np.ndarray]:
    """Return fractions of RNA and of cells, rows summing to 1 (NaN where every coefficient is 0)."""
    other = share
    if content is not None:
        other = share / content if method.answers == "rna" else share * content
    rna, cells = (share, other) if method.answers == "rna" else (other, share)
    return _sum_to_one(rna), _sum_to_one(cells)


def _sum_to_one(share: np.ndarray) -> np.ndarray:
    total = share.sum(axis=-1, keepdims=True)
    return np.divide(share, total, out=np.full_like(share, np.nan), where=total > 0)


def _odd_fractions(cells: np.ndarray, samples: pd.Index, types: list[str]) -> list[str]:
    notes = []
    empty = np.isnan(cells).all(axis=1)
    if empty.any():
        notes.append(
            f"sample {samples[int(np.argmax(empty))]!r} has nothing of any type: its fractions are NaN."
        )
    zeroed = [name for k, name in enumerate(types) if np.nanmax(cells[:, k], initial=0) == 0]
    if zeroed:
        notes.append(
            f"{', '.join(map(repr, zeroed))} came out as 0 in every sample: absent, or explained by a similar type."
        )
    if len(samples) == 1:
        notes.append("there is one sample only; its estimates are what they would be among others.")
    return notes


def _intervals(
    method: Method, y: np.ndarray, s: np.ndarray, share: np.ndarray, cells: np.ndarray,
    content: np.ndarray | None, reference: Reference, used: np.ndarray, n_boot: int, seed: int,
) -> tuple[np.ndarray, np.ndarray, list[str]]:  # fmt: skip
    """Return low and high of the cell fractions, and what they hold per type."""
    if not n_boot:
        nothing = np.full_like(cells, np.nan)
        return nothing, nothing, ["none asked for"] * cells.shape[1]
    variance = None if reference.variance is None else reference.variance[used]
    error = donor_error(reference.profiles[used], variance, reference.n_donors)

    def drawn(disturbance: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        draws = draw_coefficients(method, y, s, share, disturbance, n_boot, rng)
        return quantiles(_fractions(draws, content, method)[1], cells)

    genes = drawn(None)
    if error is None:
        return *genes, [GENES_ONLY] * cells.shape[1]
    kinds = [WITH_DONORS if n > 1 else GENES_ONLY for n in reference.n_donors]
    return *widen(genes, drawn(error), cells, reference.n_donors), kinds


def _interval_table(
    cells: np.ndarray, low: np.ndarray, high: np.ndarray, kinds: list[str],
    samples: pd.Index, types: list[str],
) -> pd.DataFrame:  # fmt: skip
    return pd.DataFrame(
        {
            "sample": np.repeat(samples.to_numpy(), len(types)),
            "type": types * len(samples),
            "estimate": cells.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "kind": kinds * len(samples),
        }
    )

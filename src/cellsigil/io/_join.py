"""Several samples into one AnnData: genes matched by id, cells named after their sample."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.utils import make_index_unique

from cellsigil import _keys
from cellsigil.io._assemble import gene_names
from cellsigil.io._errors import ReadError

_KNOWN = (_keys.GENE_IDS, _keys.GENE_SYMBOLS, _keys.FEATURE_TYPES, _keys.GENOME)
LEAST_SHARED = 0.5  # of the smaller gene list; below that the ids are of different kinds


def join(parts: dict[str, ad.AnnData], path: Path) -> ad.AnnData:
    """Stack samples; genes that some samples lack get 0 there, with a warning.

    Raises
    ------
    ReadError
        A sample holds no raw counts, or the samples' gene ids disagree.
    """
    for name, part in parts.items():
        if _keys.COUNTS not in part.layers:
            msg = (
                f"{path}: sample {name!r} holds no raw counts. Samples are joined by their counts: "
                f"give its raw matrix."
            )
            raise ReadError(msg)
    keys = _gene_keys(parts, path)
    union = pd.Index(
        pd.unique(np.concatenate([np.asarray(k, dtype=object) for k in keys.values()]))
    )
    counts = [_spread(parts[name].layers[_keys.COUNTS], keys[name], union) for name in parts]
    matrix = sp.csr_matrix(sp.vstack(counts, format="csr"))
    adata = ad.AnnData(matrix, obs=_join_obs(parts), var=_join_var(parts, keys, union))
    adata.layers[_keys.COUNTS] = adata.X  # `read` parts them
    _warn_of_gaps(adata, keys, union, path)
    _join_others(adata, parts, path)
    return adata


def _gene_keys(parts: dict[str, ad.AnnData], path: Path) -> dict[str, pd.Index]:
    """Return what each sample's genes are matched by: ids where all samples have them, else names."""

    def has_ids(part: ad.AnnData) -> bool:
        ids = part.var.get(_keys.GENE_IDS)
        return ids is not None and ids.is_unique and bool((ids.notna() & (ids != "")).all())

    by_id = all(has_ids(part) for part in parts.values())
    keys = {
        name: pd.Index(part.var[_keys.GENE_IDS] if by_id else part.var_names, dtype=object)
        for name, part in parts.items()
    }
    first, reference = next(iter(keys.items()))
    for name, genes in keys.items():
        if not genes.is_unique:
            msg = (
                f"{path}: sample {name!r} holds the gene {genes[genes.duplicated()][0]!r} twice. "
                f"Call var_names_make_unique() on it first."
            )
            raise ReadError(msg)
        n_shared = len(reference.intersection(genes)) if not genes.equals(reference) else len(genes)
        if n_shared < LEAST_SHARED * min(len(reference), len(genes)):
            msg = (
                f"{path}: samples {first!r} ({len(reference)} genes, such as {reference[0]!r}) and {name!r} "
                f"({len(genes)}, such as {genes[0]!r}) share only {n_shared} gene names. "
                f"{_why_apart(reference, genes)}"
            )
            raise ReadError(msg)
    return keys


def _why_apart(a: pd.Index, b: pd.Index) -> str:
    bare = [pd.Index([str(gene).split(".")[0] for gene in genes]) for genes in (a, b)]
    if len(bare[0].intersection(bare[1])) >= LEAST_SHARED * min(len(a), len(b)):
        return "They agree without the version after the dot: cut it off in the one that has it."
    return (
        "Bring them to the same reference and the same kind of id (Ensembl ids or symbols) first."
    )


def _spread(counts: sp.csr_matrix, genes: pd.Index, union: pd.Index) -> sp.csr_matrix:
    """Return the same rows with each column at its place in ``union``."""
    counts = sp.csr_matrix(counts)
    if genes.equals(union):
        return counts
    place = union.get_indexer(genes)
    out = sp.csr_matrix(
        (counts.data, place[counts.indices], counts.indptr), shape=(counts.shape[0], len(union))
    )
    out.sort_indices()
    return out


def _join_obs(parts: dict[str, ad.AnnData]) -> pd.DataFrame:
    tables = []
    for name, part in parts.items():
        obs = part.obs.drop(columns=_keys.SAMPLE, errors="ignore")
        tables.append(obs.set_axis([f"{name}_{cell}" for cell in obs.index], axis="index"))
    obs = pd.concat(tables)
    sizes = [part.n_obs for part in parts.values()]
    obs.insert(0, _keys.SAMPLE, pd.Categorical(np.repeat(list(parts), sizes), list(parts)))
    return obs


def _join_var(
    parts: dict[str, ad.AnnData], keys: dict[str, pd.Index], union: pd.Index
) -> pd.DataFrame:
    """Return the union's genes, each as the first sample that has it describes it."""
    tables = []
    for name, part in parts.items():
        known = part.var[[column for column in _KNOWN if column in part.var]].astype(object)
        tables.append(known.assign(_name=part.var_names.astype(object)).set_axis(keys[name]))
    var = pd.concat(tables)
    var = var[~var.index.duplicated()].reindex(union)
    names = var.pop("_name")
    first = next(iter(parts.values()))
    if not next(iter(keys.values())).equals(union):
        if _keys.GENE_SYMBOLS in var and _keys.GENE_IDS in var:
            names = pd.Series(gene_names(var.fillna("")))
        return var.set_axis(make_index_unique(pd.Index(names.astype(str))), axis="index")
    return var.set_axis(first.var_names, axis="index")


def _warn_of_gaps(
    adata: ad.AnnData, keys: dict[str, pd.Index], union: pd.Index, path: Path
) -> None:
    held = sum(union.isin(genes).astype(int) for genes in keys.values())
    if (held == len(keys)).all():
        return
    adata.var["in_all_samples"] = held == len(keys)
    message = (
        f"{path}: {int((held < len(keys)).sum())} of {len(union)} genes are not in every sample; where a "
        f"sample lacks one, its count is taken as 0. To go on with the shared genes only: "
        f"adata = adata[:, adata.var['in_all_samples']].copy()."
    )
    warnings.warn(message, UserWarning, stacklevel=2)


def _join_others(adata: ad.AnnData, parts: dict[str, ad.AnnData], path: Path) -> None:
    """Join the tables in obsm (antibodies, ...); a feature that a sample lacks is NaN there."""
    dropped = set()
    for key in dict.fromkeys(key for part in parts.values() for key in part.obsm):
        tables = []
        for name, part in parts.items():
            if isinstance(value := part.obsm.get(key), pd.DataFrame):
                tables.append(
                    value.set_axis([f"{name}_{cell}" for cell in value.index], axis="index")
                )
            elif value is not None:
                dropped.add(key)
        if tables and key not in dropped:
            adata.obsm[key] = pd.concat(tables).reindex(adata.obs_names)
    if dropped:
        message = (
            f"{path}: obsm {', '.join(sorted(dropped))} of the single samples can't be joined and was "
            f"left out. Read a sample by itself to have it."
        )
        warnings.warn(message, UserWarning, stacklevel=2)

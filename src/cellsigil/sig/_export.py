"""Files that other programs read: rules of the tools' own readers, kept all at once."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cellsigil._files import label_names, replacing, write_table, write_text
from cellsigil._matrix import suggest
from cellsigil._signature import SignatureSet

log = logging.getLogger(__name__)
Format = Literal["tsv", "gmt", "h5ad"]
Which = Literal["selected", "all"]
# What some reader takes for something else than a cell type, lower case.
RESERVED = frozenset(
    {"othercells", "default", "other", "tregs", "mixture", "correlation", "rmse", "ds", "batch", "unknown",
     "genesymbol", "celltype", "na", "nan"}
)  # fmt: skip


def export(
    signature: SignatureSet,
    path: str | Path,
    *,
    format: Format = "tsv",
    which: Which = "selected",
) -> None:
    """Write a signature for other programs, atomically.

    "tsv": genes x types, mean CP10K on the linear scale, header ``GeneSymbol`` and labels that every reader
    leaves as they are. "gmt": the types' marker genes, best first. Beside either, ``<name>.types.tsv``
    keeps each label's display name, Cell Ontology id, RNA content and cells. "h5ad": all of it.

    Parameters
    ----------
    signature
        What `build` made.
    path
        File to write.
    format
        "tsv", "gmt" or "h5ad".
    which
        For "tsv": the genes "selected" for deconvolution, or "all".

    Raises
    ------
    ValueError
        No such format or choice, or no gene to write.
    """
    path = Path(path)
    if format not in ("tsv", "gmt", "h5ad"):
        msg = f"format={format!r}. {suggest(format, ['tsv', 'gmt', 'h5ad'])}"
        raise ValueError(msg)
    if which not in ("selected", "all"):
        msg = f"which={which!r}. {suggest(which, ['selected', 'all'])}"
        raise ValueError(msg)
    if format == "h5ad":
        signature.write(path)
        return
    labels = safe_labels(signature.types)
    if format == "tsv":
        _write_profiles(signature, path, labels, which)
    else:
        _write_markers(signature, path, labels)
    write_table(types_path(path), _types_table(signature, labels))
    log.info("export: %s written to %s", format, path)


def types_path(path: Path) -> Path:
    """Return the path of the side table: signature.tsv -> signature.types.tsv."""
    return path.with_name(f"{path.stem}.types.tsv")


def safe_labels(types: list[str]) -> dict[str, str]:
    """Map display names to labels: letters, digits, "_"; unique ignoring case; nothing that is reserved."""
    labels = label_names(types)
    taken = {label.lower() for label in labels.values()}
    for name, label in labels.items():
        if _is_special(label):
            candidate, n = f"{label}_cells", 1
            while candidate.lower() in taken:
                n += 1
                candidate = f"{label}_cells_{n}"
            taken.add(candidate.lower())
            labels[name] = candidate
    return labels


def _is_special(label: str) -> bool:
    """Whether a reader takes the label for its own, or its end for the sign of a gene set."""
    return label.lower() in RESERVED or bool(re.search(r"_(UP|DN)$", label, re.IGNORECASE))


def _is_safe_gene(gene: str) -> bool:
    """R's read.table ends a row at "#", and joins rows between quotes; a spreadsheet runs "=..." ."""
    return bool(gene) and not re.search(r"[\s'\"#]|^[=+@-]", gene)


def _safe_genes(genes: pd.Index) -> np.ndarray:
    safe = np.array([_is_safe_gene(gene) for gene in genes], bool)
    if not safe.all():
        names = ", ".join(repr(gene) for gene in genes[~safe][:5])
        msg = (
            f"{int((~safe).sum())} genes are left out, because R's readers lose rows at quotes, blanks and '#' in a "
            f"name: {names}. Rename them in the data to keep them."
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    return safe


def _write_profiles(
    signature: SignatureSet, path: Path, labels: dict[str, str], which: Which
) -> None:
    table = signature.profiles
    if which == "selected":
        table = table.loc[signature.selected]
    table = table.loc[_safe_genes(table.index)]
    if table.empty:
        msg = f"No gene to write (which={which!r}). Export which='all', or build with fewer gene sets excluded."
        raise ValueError(msg)
    table = table.rename(columns=labels)
    table.index.name = "GeneSymbol"
    with replacing(path) as part:
        table.to_csv(part, sep="\t", float_format="%.6g", lineterminator="\n", encoding="utf-8")


def _write_markers(signature: SignatureSet, path: Path, labels: dict[str, str]) -> None:
    """Write one line per type; name and description hold no blank, and no line ends in a tab."""
    lists = marker_lists(signature)
    used = pd.Index(sorted({gene for genes in lists.values() for gene in genes}))
    safe = dict(zip(used, _safe_genes(used)))
    lines = []
    for name, genes in lists.items():
        genes = [gene for gene in genes if safe[gene]]
        term = str(signature.adata.obs["cell_ontology_id"].loc[name])
        about = f"http://purl.obolibrary.org/obo/{term.replace(':', '_')}" if term else "na"
        if genes:
            lines.append("\t".join([labels[name], about, *genes]))
    if not lines:
        msg = "No type has a marker gene to write. Build with fewer gene sets excluded, or other groups."
        raise ValueError(msg)
    write_text(path, "\n".join(lines) + "\n")


def marker_lists(signature: SignatureSet) -> dict[str, list[str]]:
    """Return every type's marker genes, best first."""
    if "markers" in signature.info:
        return {name: list(signature.info["markers"].get(name, [])) for name in signature.types}
    rank = signature.layer("marker_rank").loc[signature.selected]
    return {name: rank[name].dropna().sort_values().index.tolist() for name in signature.types}


def _types_table(signature: SignatureSet, labels: dict[str, str]) -> pd.DataFrame:
    obs = signature.adata.obs
    return pd.DataFrame(
        {
            "label": [labels[name] for name in signature.types],
            "cell_type": signature.types,
            "cell_ontology_id": obs["cell_ontology_id"].astype(str).to_numpy(),
            "rna_content": obs["rna_content"].to_numpy(dtype=float),
            "n_cells": obs["n_cells"].to_numpy(),
            "n_samples": obs["n_samples"].to_numpy(),
        }
    )

"""The folder of results: what stands in it, and how it is written."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from cellsigil import __version__, io, report, sig
from cellsigil._files import sha256, write_json, write_table, write_text
from cellsigil.io._sheet import files_of
from cellsigil.presets._errors import InputError
from cellsigil.presets._preset import Preset

log = logging.getLogger(__name__)

OUTPUTS = (
    "report.html", "tables", "adata.h5ad", "markers.tsv", "signatures", "fractions.tsv", "rna_fractions.tsv",
    "intervals.tsv", "fit.tsv", "params.toml", "versions.json", "summary.json", "run.log",
    "failed.log",
)  # fmt: skip
NEW, OLD = ".new.", ".old."  # how the folders of `_stage.staged` begin
SIGNATURES = (
    "signature.h5ad",
    "signature.tsv",
    "signature.types.tsv",
    "markers.gmt",
    "markers.types.tsv",
)
PACKAGES = (
    "anndata",
    "numpy",
    "scipy",
    "pandas",
    "numba",
    "scanpy",
    "igraph",
    "matplotlib",
    "h5py",
)


@dataclass
class Results:
    """What the steps answered, beside the AnnData that they filled."""

    adata: Any
    stats: dict[str, Any] = field(default_factory=dict)  # group statistics by groupby: made once
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    signature: Any = None
    deconvolution: Any = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # warnings, for the log and the report


def prepare(out: Path, overwrite: bool, inputs: Iterable[str | Path] = ()) -> list[Path]:
    """Make the folder to write, and return what an earlier run left there; remove nothing yet.

    Raises
    ------
    InputError
        ``out`` holds what no run wrote, an earlier run's results without ``overwrite``, or an input.
    """
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file; name a folder for the results."
        raise InputError(msg)
    held = sorted(out.iterdir()) if out.exists() else []
    foreign = [path for path in held if not path.name.startswith(".") and not _is_ours(path)]
    if not foreign and not (out / "run.log").exists():  # which every run writes first
        foreign = [path for path in held if not path.name.startswith(".")]
    if foreign:
        msg = f"{out} holds {foreign[0].name!r}, which no run wrote. Name a new or empty folder."
        raise InputError(msg)
    held = [path for path in held if path.name in OUTPUTS or _is_leftover(path)]
    if held and not overwrite:
        msg = f"{out} holds the results of an earlier run. Name another folder, or replace it with --overwrite."
        raise InputError(msg)
    for given in inputs if held else ():
        if Path(given).expanduser().resolve().is_relative_to(out.resolve()):
            msg = f"{given} lies in {out}, which --overwrite would empty. Name another folder for the results."
            raise InputError(msg)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"The folder {out} cannot be made: {error.strerror}."
        raise InputError(msg) from error
    if not os.access(out, os.W_OK | os.X_OK):
        msg = (
            f"Nothing can be written into the folder {out}: permission denied. Name another folder."
        )
        raise InputError(msg)
    return held


def guard(held: list[Path], input: str | Path) -> None:
    """Refuse an input that names a file among an earlier run's results.

    Raises
    ------
    InputError
        A file that the sample sheet names is among them.
    """
    for given in files_of(input):
        if any(given.resolve().is_relative_to(path.resolve()) for path in held):
            msg = f"{given} would be removed by --overwrite. Name another folder for the results."
            raise InputError(msg)


def _is_ours(path: Path) -> bool:
    """Whether a run wrote ``path``; somebody may keep files of theirs in a folder named tables."""
    if path.name not in OUTPUTS:
        return False
    inside = [p.name for p in path.iterdir()] if path.is_dir() else []
    return all(name in SIGNATURES or name.endswith((".tsv", ".part")) for name in inside)


def _is_leftover(path: Path) -> bool:
    """Whether a killed run left ``path`` half-written: see `_files.replacing` and `_stage.staged`."""
    starts = (NEW, OLD, *(f".{name}." for name in OUTPUTS))
    return path.suffix == ".part" and path.name.startswith(starts)


def describe(path: str | Path, adata: Any) -> dict[str, Any]:
    """Return what the input was: its checksum covers a sample sheet and every file that it names."""
    checksums = [sha256(file) for file in files_of(path)]
    return {
        "name": Path(path).name,
        "sha256": checksums[0] if len(checksums) == 1 else _of_text("\n".join(checksums)),
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
    }


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(
    out: Path,
    results: Results,
    plan: Preset,
    facts: dict,
    truth: pd.DataFrame | None,
    simulated: bool,
) -> None:
    """Write every file of the results folder but the summary, which comes last."""
    versions = _versions()
    write_text(out / "params.toml", plan.to_toml(resolved=True))
    write_json(out / "versions.json", versions)
    if "markers" in results.tables:
        write_table(out / "markers.tsv", results.tables["markers"])
    if results.signature is not None:
        folder = out / "signatures"
        folder.mkdir(exist_ok=True)
        sig.export(results.signature, folder / "signature.h5ad", format="h5ad")
        sig.export(results.signature, folder / "signature.tsv", format="tsv")
        sig.export(results.signature, folder / "markers.gmt", format="gmt")
    if results.deconvolution is not None:
        results.deconvolution.write(out)
    report.write(
        results.adata,
        out / "report.html",
        signature=results.signature,
        deconvolution=results.deconvolution,
        truth=_match_names(truth, results),
        title=f"{facts['input']['name']}: preset {plan.name}",
        parameters=plan.to_toml(resolved=True),
        versions=versions,
        simulated=simulated,
        notes=results.notes,
    )
    results.adata.uns["cellsigil"] = json.dumps({"preset": plan.name, "versions": versions})
    io.write(results.adata, out / "adata.h5ad", compat=True)


def _match_names(truth: pd.DataFrame | None, results: Results) -> pd.DataFrame | None:
    """Rename a known type to the one label below it in the tree of types ("B cell" to "naive B cell")."""
    if truth is None or results.deconvolution is None or "annotate" not in results.tables:
        return truth
    evidence = results.tables["annotate"].drop_duplicates("label")
    paths = {label: path.split(" > ") for label, path in zip(evidence["label"], evidence["path"])}
    labels = [str(name) for name in results.deconvolution.fractions]
    names = {}
    for known in truth.columns.difference(labels):
        below = [label for label in labels if known in paths.get(label, [])]
        if len(below) == 1 and below[0] not in truth:
            names[known] = below[0]
            log.info("known fractions of %r are shown beside the estimates of %r", known, below[0])
        else:
            log.info(
                "known fractions of %r have no one estimated type beside them: %s",
                known,
                below or "none",
            )
    return truth.rename(columns=names)


def _versions() -> dict[str, str]:
    versions = {"cellsigil": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        versions[name] = metadata.version(name)
    return versions


def summary(results: Results) -> dict[str, Any]:
    """Return the run's main numbers as plain JSON values."""
    obs = results.adata.obs
    facts: dict[str, Any] = {"n_cells": results.adata.n_obs, "n_genes": results.adata.n_vars}
    for key in ("sample", "leiden", "cell_type"):
        if key in obs:
            facts[key] = {str(k): int(v) for k, v in obs[key].value_counts(sort=False).items()}
    if results.signature is not None:
        facts["signature"] = {
            "types": list(results.signature.types),
            "n_genes_selected": len(results.signature.selected),
        }
    if results.deconvolution is not None:
        facts["n_bulk_samples"] = len(results.deconvolution.fractions)
    return facts

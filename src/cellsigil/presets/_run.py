"""Run a preset: input in, one folder of results out."""

from __future__ import annotations

import json
import logging
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from cellsigil import __version__, deconv, io, report, sig, tl
from cellsigil._files import sha256, write_json, write_table, write_text
from cellsigil.presets._preset import Preset, Step, load

log = logging.getLogger(__name__)

OUTPUTS = (
    "report.html", "tables", "adata.h5ad", "markers.tsv", "signatures", "fractions.tsv", "rna_fractions.tsv",
    "intervals.tsv", "fit.tsv", "params.toml", "versions.json", "summary.json", "run.log",
)  # fmt: skip
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


class InputError(ValueError):
    """What the user gave cannot be used: a path, a table, a preset."""


class StepError(RuntimeError):
    """A step of the preset failed; the message says which and why."""


@dataclass
class _Results:
    """What the steps answered, beside the AnnData that they filled."""

    adata: Any
    stats: dict[str, Any] = field(default_factory=dict)  # group statistics by groupby: made once
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    signature: Any = None
    deconvolution: Any = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # warnings, for the log and the report


def run(
    input: str | Path,
    out: str | Path,
    *,
    preset: str | Path | Preset = "pbmc",
    bulk: str | Path | None = None,
    truth: str | Path | None = None,
    overwrite: bool = False,
    simulated: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Run every step of a preset on ``input`` and write one folder of results.

    Parameters
    ----------
    input
        Anything that `cellsigil.io.read` reads: a 10x folder or file, an .h5ad, a sample sheet, a
        folder of samples.
    out
        Folder to write. It may exist if it is empty, or with ``overwrite`` if it holds an earlier run.
    preset
        Name of a shipped preset, path of a TOML file, or a `Preset`.
    bulk
        Table of bulk samples to deconvolve with the signature that the run builds.
    truth
        Known cell fractions of the bulk samples (samples x types), shown against the estimates.
    overwrite
        Replace the results of an earlier run in ``out``.
    simulated
        Say in the report that the data are simulated.
    progress
        Called as ``progress(i, n, text)`` before every step.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        The input, the bulk table, the truth or the preset cannot be used.
    StepError
        A step failed.
    """
    started = time.perf_counter()
    tell = progress or _tell_nobody
    plan = _load_preset(preset)
    out = _prepare(Path(out), overwrite)
    handler = _log_to(out / "run.log")
    try:
        steps = [
            step for step in plan.steps if bulk is not None or not step.call.startswith("deconv.")
        ]
        n = len(steps) + 2
        tell(0, n, f"reading {input}")
        log.info("adata = cellsigil.io.read(%r)", str(input))
        notes: list[str] = []
        with _heard(notes):
            adata = _user_input(io.read, input)
            bulk_table = None if bulk is None else _user_input(deconv.read_bulk, bulk)
            truth_table = None if truth is None else _user_input(_read_truth, truth)
        log.info("read %d cells x %d genes", *adata.shape)
        facts = {"input": _describe(input, adata), "n_cells_read": adata.n_obs}
        results = _Results(adata, notes=notes)
        done = []
        for i, step in enumerate(steps, start=1):
            step = _with_samples(step, results.adata)
            tell(i, n, step.call)
            with _heard(results.notes):
                _run_step(step, results, bulk_table)
            done.append(step)
        tell(n - 1, n, "report and files")
        plan = Preset(plan.name, plan.description, tuple(done))
        _write(out, results, plan, facts, truth_table, simulated)
        facts["seconds"] = {k: round(v, 3) for k, v in results.seconds.items()}
        facts["seconds_total"] = round(time.perf_counter() - started, 3)
        write_json(out / "summary.json", {**_summary(results), **facts})
        log.info("done in %.1f s: %s", facts["seconds_total"], out / "report.html")
        tell(n, n, "done")
    except (InputError, StepError) as error:
        log.info("stopped: %s", error)
        raise
    finally:
        logging.getLogger("cellsigil").removeHandler(handler)
        handler.close()
    return out / "report.html"


@contextmanager
def _heard(notes: list[str]) -> Iterator[None]:
    """Put warnings for users into the log and into ``notes``, once each; others are for developers."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        yield
    for warning in caught:
        text = str(warning.message)
        if issubclass(warning.category, UserWarning) and text not in notes:
            notes.append(text)
            log.warning("%s", text)


def _tell_nobody(i: int, n: int, text: str) -> None:
    """Stand in for a progress display that nobody asked for."""


def _load_preset(preset: str | Path | Preset) -> Preset:
    return preset if isinstance(preset, Preset) else _user_input(load, preset)


def _user_input(function: Callable, argument: Any) -> Any:
    """Call ``function(argument)``; what a user can cause becomes an InputError with the same sentence."""
    try:
        return function(argument)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(sentence(error)) from error


def sentence(error: BaseException) -> str:
    """Return an error's message; str(KeyError) alone would put it in quotes."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return str(error) or type(error).__name__


def _prepare(out: Path, overwrite: bool) -> Path:
    """Return the folder to write, empty of earlier results; never touch files that aren't ours."""
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file; name a folder for the results."
        raise InputError(msg)
    held = sorted(path.name for path in out.iterdir()) if out.exists() else []
    foreign = [name for name in held if name not in OUTPUTS]
    if foreign:
        msg = f"{out} holds {foreign[0]!r}, which no run wrote. Name a new or empty folder."
        raise InputError(msg)
    if held and not overwrite:
        msg = f"{out} holds the results of an earlier run. Name another folder, or replace it with --overwrite."
        raise InputError(msg)
    _user_input(lambda folder: folder.mkdir(parents=True, exist_ok=True), out)
    for name in held:
        _remove(out / name)
    return out


def _remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink()


def _log_to(path: Path) -> logging.Handler:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("cellsigil")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return handler


def _read_truth(path: str | Path) -> pd.DataFrame:
    """Read known fractions, samples x types, from tab- or comma-separated text."""
    table = pd.read_csv(path, sep=None, engine="python", index_col=0)
    bad = [str(name) for name, kind in table.dtypes.items() if kind.kind not in "iuf"]
    if bad:
        msg = f"{path}: column {bad[0]!r} of the known fractions holds text. Needed: samples x types, numbers."
        raise ValueError(msg)
    return table


def _with_samples(step: Step, adata: Any) -> Step:
    """Name the samples to every step that can use them, when the data has several."""
    if "sample" not in adata.obs or adata.obs["sample"].nunique() < 2:
        return step
    key = "batch_key" if step.call == "pp.hvg" else "sample_key"
    if key not in step.parameters or key in step.arguments:
        return step
    return Step(step.call, {**step.arguments, key: "sample"})


def _run_step(step: Step, results: _Results, bulk: pd.DataFrame | None) -> None:
    """Run one step, and keep what it answers."""
    started = time.perf_counter()
    log.info("%s", step)
    try:
        extra = {}
        if "stats" in step.parameters:
            extra["stats"] = _stats_for(step, results)
        if step.call == "deconv.deconvolve":
            results.deconvolution = step.function(bulk, results.signature, **step.arguments)
        elif (answer := step.function(results.adata, **step.arguments, **extra)) is not None:
            if step.call == "sig.build":
                results.signature = answer
            else:
                results.tables[step.call.partition(".")[2]] = answer
    except (ValueError, KeyError, TypeError, OSError) as error:
        msg = f"{step.call} failed: {sentence(error)}"
        log.info("traceback", exc_info=error)
        raise StepError(msg) from error
    except Exception as error:
        msg = f"{step.call} failed: {type(error).__name__}: {error}. The log holds the traceback."
        log.info("traceback", exc_info=error)
        raise StepError(msg) from error
    results.seconds[step.call] = results.seconds.get(step.call, 0) + time.perf_counter() - started


def _stats_for(step: Step, results: _Results) -> Any:
    """Return the group statistics of the step's grouping, made once per grouping."""
    groupby = step.arguments["groupby"]
    if groupby not in results.stats:
        sample_key = step.arguments.get("sample_key")
        results.stats[groupby] = tl.group_stats(results.adata, groupby, sample_key=sample_key)
    return results.stats[groupby]


def _describe(path: str | Path, adata: Any) -> dict[str, Any]:
    path = Path(path)
    return {
        "name": path.name,
        "sha256": sha256(path),
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
    }


def _write(
    out: Path,
    results: _Results,
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


def _match_names(truth: pd.DataFrame | None, results: _Results) -> pd.DataFrame | None:
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


def _summary(results: _Results) -> dict[str, Any]:
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

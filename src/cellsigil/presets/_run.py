"""Run a preset: input in, one folder of results out."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from cellsigil import _keys, deconv, io, tl
from cellsigil._files import write_json
from cellsigil.pp._subset import in_place
from cellsigil.presets._errors import InputError, StepError, sentence
from cellsigil.presets._folder import Results, describe, guard, prepare, summary, write
from cellsigil.presets._memory import forget, give_back
from cellsigil.presets._parked import Parking
from cellsigil.presets._preset import Preset, Step, load
from cellsigil.presets._stage import staged

log = logging.getLogger(__name__)

MAKES_X = ("pp.normalize", "pp.normalize_hvg")


def run(
    input: str | Path,
    out: str | Path,
    *,
    preset: str | Path | Preset = "pbmc",
    bulk: str | Path | None = None,
    truth: str | Path | None = None,
    genome: str | None = None,
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
    genome
        Which genome to read where a 10x matrix holds several.
    overwrite
        Replace the results of an earlier run in ``out``, once those of this one are complete: a run
        that fails or is stopped leaves them as they were, and its log as ``failed.log``.
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
    _check_use(plan, bulk, truth)
    out = Path(out)
    given = [path for path in (input, bulk, truth) if path is not None]
    held = prepare(out, overwrite, given)
    with staged(out, held) as folder, closing(Parking(folder)) as parking:
        steps = [
            step for step in plan.steps if bulk is not None or not step.call.startswith("deconv.")
        ]
        n = len(steps) + 2
        tell(0, n, f"reading {input}")
        options = _read_options(plan, genome)
        shown = "".join(f", {name}={value!r}" for name, value in options.items())
        log.info("adata = cellsigil.io.read(%r%s)", str(input), shown)
        notes: list[str] = []
        with _heard(notes):
            adata = _user_input(io.read, input, **options)
            bulk_table = None if bulk is None else _user_input(deconv.read_bulk, bulk)
            truth_table = None if truth is None else _user_input(_read_truth, truth)
        if bulk_table is not None:
            _check_genes(adata, bulk_table)
        guard(held, input)
        log.info("read %d cells x %d genes", *adata.shape)
        facts = {"input": describe(input, adata), "n_cells_read": adata.n_obs}
        results = Results(adata, notes=notes)
        done = []
        for i, step in enumerate(steps, start=1):
            step = _with_samples(step, results.adata)
            tell(i, n, step.call)
            if step.call in MAKES_X:
                with _step("leaving the counts on disk"):
                    parking.park(results.adata, steps[i:])
            with _heard(results.notes), in_place():
                _run_step(step, results, bulk_table)
            forget(results.stats, steps[i:])
            give_back()
            done.append(step)
        tell(n - 1, n, "report and files")
        plan = Preset(plan.name, plan.description, tuple(done))
        with _step("report and files"):
            write(folder, results, plan, facts, truth_table, simulated)
        facts["seconds"] = {k: round(v, 3) for k, v in results.seconds.items()}
        facts["seconds_total"] = round(time.perf_counter() - started, 3)
        write_json(folder / "summary.json", {**summary(results), **facts})
        log.info("done in %.1f s: %s", facts["seconds_total"], out / "report.html")
        tell(n, n, "done")
    return out / "report.html"


def _read_options(plan: Preset, genome: str | None) -> dict[str, Any]:
    """Return what to read the input with; X is left to the step that makes it, where there is one."""
    options: dict[str, Any] = {} if genome is None else {"genome": genome}
    if any(step.call in MAKES_X for step in plan.steps):
        options["x"] = False
    return options


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


def _check_use(plan: Preset, bulk: object, truth: object) -> None:
    """Refuse a table that nothing in the run would use."""
    if truth is not None and bulk is None:
        msg = "Known fractions were given (truth) without the bulk samples that they are of. Give bulk too."
        raise InputError(msg)
    if bulk is not None and not any(step.call == "deconv.deconvolve" for step in plan.steps):
        msg = f"A bulk table was given, but preset {plan.name!r} has no step deconv.deconvolve. Add one, or drop bulk."
        raise InputError(msg)


def _check_genes(adata: Any, bulk: pd.DataFrame) -> None:
    """Refuse a bulk table without a gene of the cells now, not when all but the last step is done."""
    known = set(adata.var_names)
    for key in (_keys.GENE_IDS, _keys.GENE_SYMBOLS):
        if key in adata.var:
            names = adata.var[key].astype(str)
            known |= {*names, *names.str.replace(r"\.\d+$", "", regex=True)}
    symbols = bulk.attrs.get(_keys.GENE_SYMBOLS, {}).values()
    if not known.isdisjoint(bulk.index) or not known.isdisjoint(symbols):
        return
    way_out = "Name the genes of both alike, by symbols or by Ensembl ids."
    if not known.isdisjoint(bulk.columns):
        way_out = "Its columns are genes: turn the table round, to genes x samples."
    msg = (
        f"The bulk table and the cells share no gene: one has {str(bulk.index[0])!r}, the other "
        f"{str(adata.var_names[0])!r}. {way_out}"
    )
    raise InputError(msg)


def _user_input(function: Callable, argument: Any, **more: Any) -> Any:
    """Call ``function(argument)``; what a user can cause becomes an InputError with the same sentence."""
    try:
        return function(argument, **more)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(sentence(error)) from error


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
    key = "batch_key" if step.call in ("pp.hvg", "pp.normalize_hvg") else "sample_key"
    if key not in step.parameters or key in step.arguments:
        return step
    return Step(step.call, {**step.arguments, key: "sample"})


def _run_step(step: Step, results: Results, bulk: pd.DataFrame | None) -> None:
    """Run one step, and keep what it answers."""
    started = time.perf_counter()
    log.info("%s", step)
    with _step(step.call):
        extra = {}
        if step.call == "sig.build":  # makes them for the cells that have a type, which are fewer
            extra["stats"] = results.stats.get(step.arguments["groupby"])
        elif "stats" in step.parameters:
            extra["stats"] = _stats_for(step, results)
        if step.call == "deconv.deconvolve":
            results.deconvolution = step.function(bulk, results.signature, **step.arguments)
        elif (answer := step.function(results.adata, **step.arguments, **extra)) is not None:
            if step.call == "sig.build":
                results.signature = answer
            else:
                results.tables[step.call.partition(".")[2]] = answer
    results.seconds[step.call] = results.seconds.get(step.call, 0) + time.perf_counter() - started


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Turn what goes wrong inside into a StepError of one sentence; the traceback goes to the log."""
    try:
        yield
    except Exception as error:
        log.info("traceback", exc_info=error)
        said = isinstance(error, (ValueError, KeyError, TypeError, OSError))
        why = (
            sentence(error)
            if said
            else f"{type(error).__name__}: {error}. The log holds the traceback."
        )
        msg = f"{name} failed: {why}"
        raise StepError(msg) from error


def _stats_for(step: Step, results: Results) -> Any:
    """Return the group statistics of the step's grouping, made once per grouping."""
    groupby = step.arguments["groupby"]
    if groupby not in results.stats:
        known = {k: step.arguments.get(k) for k in ("sample_key", "memory_budget")}
        results.stats[groupby] = tl.group_stats(results.adata, groupby, **known)
    return results.stats[groupby]

"""The command line: parse, call, set the exit code."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellsigil import __version__

DONE, USAGE, BAD_INPUT, STEP_FAILED = 0, 2, 3, 4

_TABLES = ("fractions.tsv", "rna_fractions.tsv", "intervals.tsv", "fit.tsv")

_EPILOG = """exit codes:
  0  done
  2  wrong usage of the command line
  3  bad input: a file, a table or a preset cannot be used
  4  a step failed
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)  # the run's log file holds the rest
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger("cellsigil").addHandler(terminal)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        return arguments.action(arguments)
    except KeyboardInterrupt:
        print("Stopped. The files that were finished are whole.", file=sys.stderr)
        return 130
    except Exception as error:
        from cellsigil.presets import InputError, StepError

        if isinstance(error, StepError):
            return _fail(error, STEP_FAILED)
        if isinstance(error, (InputError, ValueError, KeyError, OSError)):
            return _fail(error, BAD_INPUT)
        raise


def _show_warning(message: Warning | str, category: type[Warning], *_where: object) -> None:
    """Print a warning that is meant for users as one line; those for developers are not shown."""
    if issubclass(category, UserWarning):
        print(f"WARNING: {message}", file=sys.stderr)


def _fail(error: BaseException, code: int) -> int:
    from cellsigil.presets import sentence

    print(f"cellsigil: {sentence(error)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cellsigil",
        description="From a single-cell count matrix to cell-type signatures that hold up in bulk tissue.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cellsigil {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a preset: counts to report, in one folder")
    run.add_argument(
        "input",
        metavar="INPUT",
        help="10x folder or .h5, .h5ad, .zarr, sample sheet, or a folder of them",
    )
    run.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the results")
    run.add_argument(
        "--preset",
        default="pbmc",
        metavar="NAME",
        help="shipped preset or a .toml file (default: pbmc)",
    )
    run.add_argument(
        "--bulk",
        metavar="BULK",
        help="bulk table to deconvolve with the signature that the run builds",
    )
    run.add_argument(
        "--truth",
        metavar="FRACTIONS",
        help="known fractions of the bulk samples (samples x types), shown in the report",
    )
    run.add_argument(
        "--genome", metavar="GENOME", help="which genome to read where a 10x matrix holds several"
    )
    run.add_argument(
        "--set", action="append", default=[], metavar="STEP.PARAMETER=VALUE", dest="changes",
        help="change a parameter of the preset, such as pp.hvg.n_top_genes=3000; None is None; may be repeated",
    )  # fmt: skip
    run.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier run in OUT"
    )
    run.set_defaults(action=_run)

    deconvolve = commands.add_parser(
        "deconvolve", help="cell fractions of bulk samples from a signature"
    )
    deconvolve.add_argument(
        "bulk", metavar="BULK", help="bulk table: genes x samples, linear scale"
    )
    deconvolve.add_argument(
        "--signature", required=True, metavar="SIGNATURE", help="SignatureSet .h5ad, or a table"
    )
    deconvolve.add_argument(
        "-o", "--out", default=".", metavar="OUT", help="folder for the tables (default: here)"
    )
    deconvolve.add_argument(
        "--method", default="logrob", metavar="METHOD", help="logrob (default), nnls, wnnls or em"
    )
    deconvolve.add_argument(
        "--size-factors", default="signature", metavar="WHICH",
        help="RNA content per type: signature (default), none, epic or quantiseq",
    )  # fmt: skip
    deconvolve.add_argument(
        "--overwrite", action="store_true", help="replace tables of these names in OUT"
    )
    deconvolve.set_defaults(action=_deconvolve)

    export = commands.add_parser("export", help="write a SignatureSet for other tools")
    export.add_argument("signature", metavar="SIGNATURE", help="SignatureSet .h5ad")
    export.add_argument("-o", "--out", required=True, metavar="FILE", help="file to write")
    export.add_argument(
        "--format", default="tsv", choices=("tsv", "gmt", "h5ad"), help="layout (default: tsv)"
    )
    export.set_defaults(action=_export)

    demo = commands.add_parser("demo", help="run the whole main job on the simulated demo data")
    demo.add_argument(
        "-o",
        "--out",
        default="cellsigil-demo",
        metavar="OUT",
        help="folder (default: cellsigil-demo)",
    )
    demo.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier run in OUT"
    )
    demo.set_defaults(action=_demo)

    warm = commands.add_parser(
        "warm", help="compile every kernel of the default preset once, and keep them"
    )
    warm.set_defaults(action=_warm)

    presets = commands.add_parser("presets", help="list the shipped presets, or print one")
    presets.add_argument("name", nargs="?", metavar="NAME", help="preset to print as TOML")
    presets.set_defaults(action=_presets)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from cellsigil import presets

    preset = presets.load(arguments.preset)
    preset = preset.with_arguments(dict(_change(text) for text in arguments.changes))
    with _Progress() as progress:
        report = presets.run(
            arguments.input,
            arguments.out,
            preset=preset,
            bulk=arguments.bulk,
            truth=arguments.truth,
            genome=arguments.genome,
            overwrite=arguments.overwrite,
            progress=progress.show,
        )
    print(f"Report: {report}")
    return DONE


def _change(text: str) -> tuple[str, Any]:
    """Read ``step.parameter=value``; the value as TOML writes it or None, else as text."""
    path, equals, value = text.partition("=")
    if not equals or path.count(".") != 2:
        msg = f"--set {text!r} is not of the form step.parameter=value, such as pp.hvg.n_top_genes=3000."
        raise ValueError(msg)
    if value == "None":
        return path, None
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value


def _deconvolve(arguments: argparse.Namespace) -> int:
    from cellsigil import deconv

    out = Path(arguments.out)
    held = [name for name in _TABLES if (out / name).exists()]
    if held and not arguments.overwrite:
        msg = f"{out / held[0]} is there already. Name another folder with -o, or replace it with --overwrite."
        raise ValueError(msg)
    factors = None if arguments.size_factors == "none" else arguments.size_factors
    result = deconv.deconvolve(
        arguments.bulk, arguments.signature, method=arguments.method, size_factors=factors
    )
    out.mkdir(parents=True, exist_ok=True)
    result.write(out)
    print(f"Fractions of {len(result.fractions)} samples: {out / 'fractions.tsv'}")
    return DONE


def _export(arguments: argparse.Namespace) -> int:
    from cellsigil import sig

    sig.export(sig.read(arguments.signature), arguments.out, format=arguments.format)
    print(f"Wrote {arguments.out}")
    return DONE


def _demo(arguments: argparse.Namespace) -> int:
    from cellsigil import datasets, presets

    files = datasets.demo_files()
    with _Progress() as progress:
        report = presets.run(
            files.cells,
            arguments.out,
            preset="pbmc",
            bulk=files.bulk,
            truth=files.fractions,
            overwrite=arguments.overwrite,
            simulated=True,
            progress=progress.show,
        )
    print(f"Report: {report.resolve()}")
    return DONE


def _warm(_arguments: argparse.Namespace) -> int:
    from cellsigil import datasets, io, pp, presets
    from cellsigil._core._jit import CACHE_DIR

    files = datasets.demo_files()
    with tempfile.TemporaryDirectory() as folder, _Progress() as progress:
        several, one = Path(folder) / "several", Path(folder) / "one"
        presets.run(files.cells, several, bulk=files.bulk, simulated=True, progress=progress.show)
        presets.run(files.cells.parent / "donor1.h5", one, simulated=True, progress=progress.show)
        cells = io.read(one / "adata.h5ad")
    pp.neighbors(cells, method="approximate")  # what more than 10,000 cells need
    print(f"Compiled kernels are kept in {CACHE_DIR}")
    return DONE


def _presets(arguments: argparse.Namespace) -> int:
    from cellsigil import presets

    if arguments.name:
        print(presets.load(arguments.name).to_toml(resolved=True), end="")
        return DONE
    for name in presets.names():
        print(f"{name}\t{presets.load(name).description}")
    return DONE


class _Progress:
    """A bar on a terminal, one line a step elsewhere."""

    def __enter__(self) -> _Progress:
        self._bar: Any = None
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, i: int, n: int, text: str) -> None:
        if not sys.stderr.isatty():
            print(f"[{i}/{n}] {text}", file=sys.stderr, flush=True)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=n, bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {elapsed}", leave=False
            )
        self._bar.n = i
        self._bar.set_description(text)


if __name__ == "__main__":
    sys.exit(main())

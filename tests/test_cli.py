"""The command line as a user meets it: real processes, exit codes, one sentence for what they can cause."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellsigil import __version__, datasets
from cellsigil.cli import _change
from cellsigil.presets import names


def cellsigil(*arguments, cwd=None):
    command = [sys.executable, "-m", "cellsigil", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_and_version():
    assert "exit codes:" in cellsigil("--help").stdout
    assert cellsigil("--version").stdout.strip() == f"cellsigil {__version__}"


@pytest.mark.parametrize(
    "arguments", [[], ["runn"], ["run", "x"], ["export", "x", "-o", "y", "--format", "docx"]]
)
def test_wrong_usage_is_2(arguments):
    answer = cellsigil(*arguments)
    assert answer.returncode == 2
    assert "usage:" in answer.stderr


def test_presets_are_listed_and_printed():
    listed = cellsigil("presets")
    assert listed.returncode == 0
    assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == names()
    assert 'call = "pp.normalize"' in cellsigil("presets", "pbmc").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "nowhere", "-o", "out"], "nowhere"),
        (
            ["run", "nowhere", "-o", "out", "--preset", "pbcm"],
            "No preset 'pbcm'. Did you mean 'pbmc'?",
        ),
        (
            ["run", "nowhere", "-o", "out", "--set", "n_top_genes=5"],
            "not of the form step.parameter=value",
        ),
        (
            ["run", "nowhere", "-o", "out", "--set", "pp.hvg.n_top=5"],
            "pp.hvg has no parameter 'n_top'",
        ),
        (["presets", "nope"], "No preset 'nope'"),
        (["export", "nowhere.h5ad", "-o", "x.tsv"], "nowhere.h5ad"),
        (["deconvolve", "nowhere.tsv", "--signature", "nowhere.h5ad"], "nowhere"),
    ],
)
def test_bad_input_is_3_and_one_sentence(arguments, sentence, tmp_path):
    answer = cellsigil(*arguments, cwd=tmp_path)
    assert answer.returncode == 3, answer.stderr
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) <= 2  # a progress line, and the sentence


def test_a_failing_step_is_4_and_one_sentence(tmp_path):
    files = datasets.demo_files()
    donor = files.cells.parent / "donor1.h5"
    answer = cellsigil(
        "run", donor, "-o", tmp_path / "out", "--set", "pp.filter_cells.min_genes=1000000"
    )
    assert answer.returncode == 4
    assert "pp.filter_cells failed" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_run_export_and_deconvolve_follow_each_other(tmp_path):
    files = datasets.demo_files()
    donor = files.cells.parent / "donor1.h5"
    answer = cellsigil("run", donor, "-o", tmp_path / "out")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "out" / "report.html").exists()
    signature = tmp_path / "out" / "signatures" / "signature.h5ad"
    answer = cellsigil("export", signature, "-o", tmp_path / "sig.gmt", "--format", "gmt")
    assert answer.returncode == 0, answer.stderr
    assert len((tmp_path / "sig.gmt").read_text().splitlines()) >= 4
    answer = cellsigil(
        "deconvolve", files.bulk, "--signature", signature, "-o", tmp_path / "fractions"
    )
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "fractions" / "fractions.tsv").exists()


def test_warm_fills_the_cache_and_a_second_run_compiles_nothing(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "cellsigil", "warm"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    cache = Path(answer.stdout.strip().removeprefix("Compiled kernels are kept in "))
    assert cache.is_relative_to(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbi")}
    assert len(kept) > 20
    donor = datasets.demo_files().cells.parent / "donor2.h5"
    command = [sys.executable, "-m", "cellsigil", "run", str(donor), "-o", str(tmp_path / "out")]
    subprocess.run(command, capture_output=True, env=environment, check=True)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbi")} == kept
    # A data set beyond exact search finds its kernels compiled too.
    code = (
        "import sys, cellsigil; adata = cellsigil.io.read(sys.argv[1]); "
        "cellsigil.pp.neighbors(adata, method='approximate')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out" / "adata.h5ad")]
    subprocess.run(command, capture_output=True, env=environment, check=True)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbi")} == kept


def test_no_kernel_makes_numba_compile_the_text_of_an_error(tmp_path):
    """Such as of ``out[:] = values`` of arrays: 3 CPU-s in the first kernel that has one."""
    code = """
import numpy as np
from numba.core import event
class Listener(event.Listener):
    def on_start(self, event): pass
    def on_end(self, event): assert "unicode" not in str(event.data["args"]), event.data
from cellsigil import pp, tl
import anndata
event.register("numba:compile", Listener())
rng = np.random.default_rng(0)
adata = anndata.AnnData(np.log1p(rng.poisson(0.5, (60, 40))).astype("f4"))
adata.obs["group"] = np.array(["a", "b"])[np.arange(60) % 2]
tl.group_stats(adata, "group")
adata.obsm["X_pca"] = rng.normal(size=(60, 5)).astype("f4")
pp.neighbors(adata, method="approximate")
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert answer.returncode == 0, answer.stderr


def test_a_run_leaves_the_heavy_packages_alone(tmp_path):
    """Each of them costs seconds to import, and most compile kernels of their own for minutes."""
    heavy = "scanpy", "sklearn", "umap", "igraph", "leidenalg", "pynndescent", "matplotlib.pyplot"
    files = datasets.demo_files()
    donor = files.cells.parent / "donor2.h5"
    given = ["run", str(donor), "-o", str(tmp_path / "out"), "--bulk", str(files.bulk)]
    code = (
        f"import sys; from cellsigil.cli import main; code = main({given!r}); "
        f"print('imported:', *(name for name in {heavy!r} if name in sys.modules)); sys.exit(code)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1].strip() == "imported:"


def test_deconvolve_replaces_tables_only_when_asked(tmp_path):
    (tmp_path / "fractions.tsv").write_text("measured by flow cytometry")
    answer = cellsigil("deconvolve", "bulk.tsv", "--signature", "x.h5ad", cwd=tmp_path)
    assert answer.returncode == 3
    assert "fractions.tsv is there already" in answer.stderr
    assert (tmp_path / "fractions.tsv").read_text() == "measured by flow cytometry"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3000", 3000),
        ("1e4", 1e4),
        ("true", True),
        ("None", None),
        ("none", "none"),
        ("a b", "a b"),
    ],
)
def test_set_reads_toml_none_or_text(text, value):
    path, read = _change(f"pp.hvg.layer={text}")
    assert path == "pp.hvg.layer"
    assert read == value
    assert type(read) is type(value)

"""The main job, on the demo: one run, every file, true facts."""

from __future__ import annotations

import json
import tomllib

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellsigil import datasets, io, sig
from cellsigil.presets import InputError, Preset, Step, StepError, load, run
from cellsigil.presets._folder import describe, guard
from cellsigil.presets._memory import forget

QUICK = Preset("quick", "one step", (Step("pp.qc"),))


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run with space") / "out"
    files = datasets.demo_files()
    seen = []
    report = run(
        files.cells,
        out,
        bulk=files.bulk,
        truth=files.fractions,
        simulated=True,
        progress=lambda *s: seen.append(s),
    )
    return out, report, seen


def test_every_file_is_there(demo_run):
    out, report, _ = demo_run
    assert report == out / "report.html"
    for name in (
        "report.html", "adata.h5ad", "markers.tsv", "fractions.tsv", "fit.tsv", "params.toml", "versions.json",
        "summary.json", "run.log", "signatures/signature.h5ad", "signatures/signature.tsv", "signatures/markers.gmt",
    ):  # fmt: skip
        assert (out / name).stat().st_size > 0, name
    assert not list(out.glob(".*"))


def test_progress_counts_up_to_the_end(demo_run):
    _, _, seen = demo_run
    assert [i for i, _, _ in seen] == list(range(len(seen)))
    assert seen[-1][0] == seen[-1][1]


def evidence_paths(adata) -> dict[str, list[str]]:
    """Return each label's way down the tree."""
    evidence = adata.uns["annotate"]
    return {label: path.split(" > ") for label, path in zip(evidence["label"], evidence["path"])}


def test_the_cells_are_the_inputs_cells_with_labels(demo_run):
    out, *_ = demo_run
    adata = ad.read_h5ad(out / "adata.h5ad")
    truth = datasets.demo().obs["true_type"]
    assert set(adata.obs_names) <= set(truth.index)
    assert adata.n_obs > 0.85 * len(truth)
    kept = truth[adata.obs_names]
    path = evidence_paths(adata)  # "B cell > naive B cell": the true type may stand above the label
    right = np.array([true in path[label] for true, label in zip(kept, adata.obs["cell_type"])])
    assert right[(kept != "damaged").to_numpy()].mean() > 0.9
    assert (kept == "damaged").mean() < 0.5 * (truth == "damaged").mean()


def test_fractions_are_near_the_known_ones(demo_run):
    out, *_ = demo_run
    estimated = pd.read_csv(out / "fractions.tsv", sep="\t", index_col=0)
    truth = datasets.demo_truth()
    assert estimated.index.tolist() == truth.index.tolist()
    assert estimated.sum(axis=1).between(0.999, 1.001).all()
    path = evidence_paths(ad.read_h5ad(out / "adata.h5ad"))
    above = {label: next((t for t in truth if t in path[label]), None) for label in estimated}
    rolled = estimated.T.groupby(above).sum().T
    assert set(rolled) == set(truth)
    error = (rolled[truth.columns] - truth).to_numpy()
    assert (error**2).mean() ** 0.5 < 0.08


def test_parameters_versions_and_summary_are_true(demo_run):
    out, *_ = demo_run
    parameters = tomllib.loads((out / "params.toml").read_text())
    calls = [step["call"] for step in parameters["steps"]]
    assert calls == [step.call for step in load("pbmc").steps]
    markers = next(s for s in parameters["steps"] if s["call"] == "tl.markers")
    assert markers["sample_key"] == "sample"
    assert json.loads((out / "versions.json").read_text())["anndata"] == ad.__version__
    summary = json.loads((out / "summary.json").read_text())
    assert summary["n_cells_read"] == 3040
    assert summary["n_cells"] == ad.read_h5ad(out / "adata.h5ad", backed="r").n_obs
    assert sum(summary["cell_type"].values()) == summary["n_cells"]


def test_the_log_reads_as_a_script(demo_run):
    out, *_ = demo_run
    log = (out / "run.log").read_text()
    assert "adata = cellsigil.io.read(" in log
    assert "cellsigil.pp.normalize(adata)" in log
    assert "cellsigil.tl.markers(adata, groupby='leiden', sample_key='sample')" in log


def test_the_signature_reads_back_with_the_same_types(demo_run):
    out, *_ = demo_run
    signature = sig.read(out / "signatures" / "signature.h5ad")
    labels = pd.read_csv(out / "fractions.tsv", sep="\t", index_col=0).columns
    assert signature.types == labels.tolist()


def test_the_report_says_that_the_data_are_simulated(demo_run):
    _, report, _ = demo_run
    assert "simulated" in report.read_text().lower()


def test_results_are_not_overwritten_unasked(demo_run):
    out, *_ = demo_run
    with pytest.raises(InputError, match="earlier run.*--overwrite"):
        run(datasets.demo_files().cells, out)


def test_a_folder_with_other_files_is_never_touched(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(InputError, match=r"holds 'thesis.docx', which no run wrote"):
        run(datasets.demo_files().cells, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.docx").read_text() == "years of work"


def test_bad_input_is_an_input_error_and_stands_in_the_log(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        run(tmp_path / "nowhere.h5ad", tmp_path / "out")
    assert "nowhere" in (tmp_path / "out" / "run.log").read_text()


def test_a_failing_step_is_named(tmp_path):
    preset = load("pbmc").with_arguments({"pp.filter_cells.min_genes": 10**6})
    with pytest.raises(StepError, match="pp.filter_cells failed: "):
        run(datasets.demo_files().cells, tmp_path / "out", preset=preset)
    assert not (tmp_path / "out" / "summary.json").exists()


def test_one_sample_runs_without_sample_keys(tmp_path):
    files = datasets.demo_files()
    adata = io.read(files.cells.parent / "donor1.h5")
    io.write(adata, tmp_path / "one.h5ad")
    run(tmp_path / "one.h5ad", tmp_path / "out")
    parameters = tomllib.loads((tmp_path / "out" / "params.toml").read_text())
    assert not any("sample_key" in step for step in parameters["steps"])
    assert not (tmp_path / "out" / "fractions.tsv").exists()


def test_a_memory_budget_changes_nothing_but_the_memory(tmp_path):
    """And it is among the parameters that the run writes down, as every argument is."""
    donor = datasets.demo_files().cells.parent / "donor1.h5"
    until = [step for step in load("pbmc").steps if not step.call.startswith("deconv.")]
    keep = ("pp.", "tl.cluster", "tl.markers", "sig.")
    quick = Preset("quick", "", tuple(s for s in until if s.call.startswith(keep)))
    quick = quick.with_arguments({"sig.build.groupby": "leiden"})
    budgets = {"tl.markers.memory_budget": 100_000, "sig.build.memory_budget": 100_000}
    for name, plan in (("whole", quick), ("pieces", quick.with_arguments(budgets))):
        run(donor, tmp_path / name, preset=plan)
    for file in ("markers.tsv", "signatures/signature.tsv"):
        assert (tmp_path / "pieces" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    written = tomllib.loads((tmp_path / "pieces" / "params.toml").read_text())
    assert [s.get("memory_budget") for s in written["steps"]].count(100_000) == 2


def test_statistics_are_let_go_when_no_later_step_takes_them():
    steps = [Step("tl.markers", {"groupby": "a"}), Step("sig.build", {"groupby": "b"})]
    stats = {"a": 1, "b": 2, "c": 3}
    forget(stats, steps)
    assert stats == {"a": 1, "b": 2}
    forget(stats, steps[1:])
    assert stats == {"b": 2}
    forget(stats, [Step("pp.qc")])
    assert not stats


def test_counts_are_read_once_where_a_step_fills_x(demo_run, tmp_path):
    out, *_ = demo_run
    assert ", x=False)" in (out / "run.log").read_text()
    run(datasets.demo_files().cells.parent / "donor1.h5", tmp_path / "quick", preset=QUICK)
    assert ", x=False)" not in (tmp_path / "quick" / "run.log").read_text()
    assert ad.read_h5ad(tmp_path / "quick" / "adata.h5ad").X is not None


@pytest.fixture
def earlier(tmp_path):
    """Return a folder that looks as a run leaves it."""
    out = tmp_path / "out"
    for name in ("run.log", "report.html", "signatures/markers.gmt", "tables/umap.tsv"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"earlier {name}")
    (out / ".adata.h5ad.x1y2.part").mkdir()  # of a killed run
    return out


def held(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("given", ["cells", "bulk", "truth"])
def test_a_run_with_bad_input_leaves_the_earlier_results_whole(earlier, tmp_path, given):
    files, before = datasets.demo_files(), held(earlier)
    inputs = {"cells": files.cells.parent / "donor1.h5", "bulk": files.bulk, given: tmp_path / "no"}
    with pytest.raises(InputError, match="no"):
        run(inputs.pop("cells"), earlier, **inputs, overwrite=True)
    assert held(earlier) == before


@pytest.mark.parametrize("given", ["input", "bulk"])
def test_an_input_inside_out_is_not_removed(earlier, given):
    inside = earlier / "report.html"
    inputs = {"input": datasets.demo_files().cells, given: inside}
    with pytest.raises(
        InputError, match=r"report.html lies in .*out, which --overwrite would empty"
    ):
        run(out=earlier, **inputs, overwrite=True)
    assert inside.exists()


def test_overwrite_removes_what_runs_wrote_and_nothing_else(earlier):
    (earlier / ".DS_Store").write_text("a file browser's")
    run(datasets.demo_files().cells.parent / "donor1.h5", earlier, preset=QUICK, overwrite=True)
    assert not (earlier / ".adata.h5ad.x1y2.part").exists()
    assert not (earlier / "signatures").exists()
    assert (earlier / ".DS_Store").read_text() == "a file browser's"
    assert "earlier" not in (earlier / "run.log").read_text()
    assert "cellsigil.io.read(" in (earlier / "run.log").read_text()


@pytest.mark.parametrize("theirs", ["tables/thesis.docx", "signatures/mine.gmt"])
def test_files_in_a_results_folder_that_no_run_wrote_are_kept(earlier, theirs):
    (earlier / theirs).write_text("years of work")
    with pytest.raises(InputError, match="which no run wrote"):
        run(datasets.demo_files().cells, earlier, overwrite=True)
    assert (earlier / theirs).read_text() == "years of work"


def test_a_folder_named_tables_alone_is_no_earlier_run(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "counts.tsv").write_text("years of work")
    with pytest.raises(InputError, match="holds 'tables', which no run wrote"):
        run(datasets.demo_files().cells, tmp_path, overwrite=True)


def test_one_of_several_genomes_is_named(shared, tmp_path):
    several = shared("formats/scanpy_10x/1.2.0/multiple_genomes.h5")
    with pytest.raises(InputError, match="--genome another_genome"):
        run(several, tmp_path / "out", preset=QUICK)
    run(several, tmp_path / "one", preset=QUICK, genome="hg19_chr21")
    assert "multiple_genomes.h5', genome='hg19_chr21')" in (tmp_path / "one/run.log").read_text()


def test_a_table_that_nothing_would_use_is_refused(tmp_path):
    files = datasets.demo_files()
    with pytest.raises(InputError, match="without the bulk samples"):
        run(files.cells, tmp_path / "out", truth=files.fractions)
    with pytest.raises(InputError, match=r"preset 'quick' has no step deconv\.deconvolve"):
        run(files.cells, tmp_path / "out", preset=QUICK, bulk=files.bulk)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("turned", [False, True])
def test_a_bulk_without_a_gene_of_the_cells_is_refused_before_any_step(tmp_path, turned):
    table = datasets.demo_bulk().iloc[:300]
    table = table.T if turned else table.set_axis([f"ENSG{i:011d}" for i in range(300)])
    table.to_csv(tmp_path / "bulk.tsv", sep="\t")
    donor = datasets.demo_files().cells.parent / "donor1.h5"
    way_out = "turn the table round" if turned else "by symbols or by Ensembl ids"
    with pytest.raises(InputError, match=f"share no gene: .*{way_out}"):
        run(donor, tmp_path / "out", bulk=tmp_path / "bulk.tsv")
    assert "cellsigil.pp.qc" not in (tmp_path / "out" / "run.log").read_text()


def _sheet(folder, content: bytes = b"counts"):
    (folder / "a.h5ad").write_bytes(content)
    (folder / "sheet.csv").write_text("path,sample\na.h5ad,a\n")
    return folder / "sheet.csv"


def test_the_checksum_of_a_sheet_covers_its_files(tmp_path):
    adata = ad.AnnData(np.ones((1, 1), np.float32))
    before = describe(_sheet(tmp_path), adata)["sha256"]
    assert describe(_sheet(tmp_path), adata)["sha256"] == before
    assert describe(_sheet(tmp_path, b"other counts"), adata)["sha256"] != before


def test_a_file_named_by_the_sheet_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    result = tmp_path / "out" / "adata.h5ad"
    result.write_bytes(b"counts")
    (tmp_path / "sheet.csv").write_text("path,sample\nout/adata.h5ad,a\n")
    with pytest.raises(InputError, match="adata.h5ad would be removed by --overwrite"):
        guard([result], tmp_path / "sheet.csv")
    assert result.read_bytes() == b"counts"


def test_a_run_from_its_params_is_the_same_run(tmp_path):
    """Where an argument was None too: the median total, one batch of eight samples."""
    steps = (
        Step("pp.qc"),
        Step("pp.normalize", {"target_sum": None}),
        Step("pp.hvg", {"batch_key": None, "n_top_genes": 300}),
    )
    cells = datasets.demo_files().cells
    run(cells, tmp_path / "one", preset=Preset("medians", "", steps))
    run(cells, tmp_path / "two", preset=tmp_path / "one" / "params.toml")
    for name in ("params.toml", "adata.h5ad"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    log = (tmp_path / "two" / "run.log").read_text()
    assert "target_sum=None" in log
    assert "batch_key=None" in log

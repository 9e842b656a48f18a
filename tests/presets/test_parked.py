"""Counts that wait on disk during a run: the same results, and nothing left behind."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from cellsigil import datasets, io
from cellsigil.presets import Preset, Step, StepError, _parked, run
from cellsigil.presets._parked import NAME, Parking

START = (Step("pp.qc"), Step("pp.filter_genes", {"min_cells": 3}), Step("pp.normalize"))


@pytest.fixture
def parked(monkeypatch):
    """Park counts of any size, and return what was found parked after each call of `Parking.park`."""
    found = []
    park = Parking.park

    def spy(self, adata, later):
        park(self, adata, later)
        found.append(type(adata.layers["counts"]).__name__)

    monkeypatch.setattr(_parked, "LARGE", 0)
    monkeypatch.setattr(Parking, "park", spy)
    return found


def demo(folder, preset="pbmc"):
    """Run all samples with the bulk, or another preset on one sample."""
    files = datasets.demo_files()
    if preset == "pbmc":
        run(files.cells, folder, bulk=files.bulk)
    else:
        run(files.cells.parent / "donor1.h5", folder, preset=preset)
    return folder


def test_results_are_the_same_with_counts_on_disk(tmp_path, parked, monkeypatch):
    """Every file, byte by byte, but for the two that tell how long it took."""
    there = demo(tmp_path / "there")
    assert parked == ["_CSRDataset"]
    monkeypatch.setattr(_parked, "LARGE", 2**62)
    here = demo(tmp_path / "here")
    assert parked[1:] == ["csr_matrix"]
    names = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert NAME not in names
    same = names - {"run.log", "summary.json"}
    assert {"adata.h5ad", "report.html", "markers.tsv", "signatures/signature.h5ad"} <= same
    for name in same:
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    counts = ad.read_h5ad(there / "adata.h5ad").layers["counts"]
    assert counts.dtype == np.float32
    assert counts.nnz > 0


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_nothing_is_left_after_a_failure(tmp_path, parked, monkeypatch, error):
    seen = []

    def fail(adata, **arguments):
        seen.append((tmp_path / "out" / NAME).is_file())
        raise error

    monkeypatch.setattr("cellsigil.pp.hvg", fail)
    preset = Preset("short", "", (*START, Step("pp.hvg")))
    with pytest.raises((StepError, KeyboardInterrupt)):
        demo(tmp_path / "out", preset)
    assert seen == [True]
    assert not (tmp_path / "out" / NAME).exists()


def test_a_half_written_file_is_removed(tmp_path, parked, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_parked, "write_sparse", full)
    with pytest.raises(StepError, match="leaving the counts on disk failed: .*No space left"):
        demo(tmp_path / "out", Preset("short", "", START))
    assert not (tmp_path / "out" / NAME).exists()


def test_what_a_killed_run_left_is_replaced(tmp_path, parked):
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.log").write_text("killed")
    (out / NAME).write_text("half of the counts")
    preset = Preset("short", "", (*START, Step("pp.hvg", {"flavor": "seurat_v3"})))
    run(datasets.demo_files().cells, out, preset=preset, overwrite=True)
    assert parked == ["_CSRDataset"]
    assert not (out / NAME).exists()
    assert io.read(out / "adata.h5ad").layers["counts"].nnz > 0


def test_counts_stay_where_a_later_step_filters(tmp_path, parked):
    preset = Preset(
        "late", "", (*START, Step("pp.hvg"), Step("pp.filter_cells", {"min_genes": 50}))
    )
    demo(tmp_path / "out", preset)
    assert parked == ["csr_matrix"]


def test_counts_stay_where_the_disk_has_no_room(tmp_path, parked, monkeypatch):
    monkeypatch.setattr(_parked, "ROOM", 10**12)
    demo(tmp_path / "out", Preset("short", "", START))
    assert parked == ["csr_matrix"]


def test_normalising_again_reads_what_is_on_disk(tmp_path, parked):
    again = Step("pp.normalize", {"target_sum": 1e6})
    demo(tmp_path / "twice", Preset("twice", "", (*START, again)))
    demo(tmp_path / "once", Preset("once", "", (*START[:2], again)))
    assert parked == ["_CSRDataset"] * 3
    twice, once = (ad.read_h5ad(tmp_path / name / "adata.h5ad") for name in ("twice", "once"))
    assert (twice.X != once.X).nnz == 0
    assert (twice.layers["counts"] != once.layers["counts"]).nnz == 0


def test_one_pass_in_place_of_two_calls_gives_the_same_results(tmp_path, parked):
    apart, together = (*START, Step("pp.hvg")), (*START[:2], Step("pp.normalize_hvg"))
    demo(tmp_path / "two", Preset("two", "", apart))
    demo(tmp_path / "one", Preset("one", "", together))
    assert set(parked) == {"_CSRDataset"}
    two, one = (ad.read_h5ad(tmp_path / name / "adata.h5ad") for name in ("two", "one"))
    assert (two.X != one.X).nnz == 0
    assert one.var.equals(two.var)


def test_small_counts_stay_in_memory(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(_parked, "write_sparse", lambda *_: made.append(1))
    assert _parked.LARGE == 256 * 2**20
    demo(tmp_path / "out", Preset("short", "", START))
    assert not made

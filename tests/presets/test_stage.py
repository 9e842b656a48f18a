"""An earlier run's results stand until those of the new one are whole."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cellsigil import datasets
from cellsigil.presets import Preset, Step, StepError, run
from cellsigil.presets._stage import staged

QUICK = Preset("quick", "one step", (Step("pp.qc"),))
DONOR = datasets.demo_files().cells.parent / "donor1.h5"


@pytest.fixture
def earlier(tmp_path):
    out = tmp_path / "out"
    run(DONOR, out, preset=QUICK)
    return out


def held(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("error", [ValueError("a bad step"), KeyboardInterrupt()])
def test_a_run_that_fails_or_is_stopped_leaves_them(earlier, monkeypatch, caplog, error):
    before = held(earlier)

    def fail(adata, **arguments):
        raise error

    monkeypatch.setattr("cellsigil.pp.qc", fail)
    with pytest.raises((StepError, KeyboardInterrupt)):
        run(DONOR, earlier, preset=QUICK, overwrite=True)
    after = held(earlier)
    log = after.pop("failed.log").decode()
    assert after == before
    assert not list(earlier.glob(".*"))
    assert "failed.log is of this run" in caplog.text
    assert ("KeyboardInterrupt" if isinstance(error, KeyboardInterrupt) else "Traceback") in log
    monkeypatch.undo()
    run(DONOR, earlier, preset=QUICK, overwrite=True)  # and then it is gone
    assert held(earlier).keys() == before.keys()


def test_a_run_that_fails_while_it_writes_leaves_them(earlier, monkeypatch):
    before = held(earlier)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cellsigil.io.write", full)
    with pytest.raises(StepError, match="No space left"):
        run(DONOR, earlier, preset=QUICK, overwrite=True)
    assert {k: v for k, v in held(earlier).items() if k != "failed.log"} == before


def test_a_killed_run_leaves_them(earlier):
    before = held(earlier)
    program = textwrap.dedent("""
        import os, sys
        from cellsigil import io
        from cellsigil.presets import Preset, Step, run
        io.write = lambda *_, **__: os.kill(os.getpid(), 9)
        run(sys.argv[1], sys.argv[2], preset=Preset("quick", "", (Step("pp.qc"),)), overwrite=True)
    """)
    child = subprocess.run([sys.executable, "-c", program, str(DONOR), str(earlier)], timeout=300)
    assert child.returncode == -9
    (left,) = earlier.glob(".*")
    assert {k: v for k, v in held(earlier).items() if not k.startswith(left.name)} == before
    run(DONOR, earlier, preset=QUICK, overwrite=True)
    assert not left.exists()
    assert held(earlier).keys() == before.keys()


def test_what_is_new_takes_the_place_of_all_that_is_old(tmp_path):
    out = tmp_path / "out"
    for name in ("tables/old.tsv", "fractions.tsv", "summary.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("old")
    with staged(out, list(out.iterdir())) as folder:
        assert folder.parent == out
        (folder / "tables").mkdir()
        (folder / "tables" / "new.tsv").write_text("new")
        (folder / "summary.json").write_text("new")
        assert (out / "summary.json").read_text() == "old"
    found = held(out)
    assert found.pop("run.log") == b""
    assert found == {"tables/new.tsv": b"new", "summary.json": b"new"}
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("k", range(1, 6))
def test_a_swap_that_fails_is_undone(tmp_path, monkeypatch, k):
    (tmp_path / "tables").mkdir()
    for name in ("tables/old.tsv", "fractions.tsv", "summary.json"):
        (tmp_path / name).write_text("old")
    before, rename, calls = held(tmp_path), Path.rename, []

    def fails_once(self, target):
        calls.append(target)
        if len(calls) == k:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    def replace():
        with staged(tmp_path, list(tmp_path.iterdir())) as folder:
            for name in ("fractions.tsv", "summary.json"):
                (folder / name).write_text("new")
            monkeypatch.setattr(Path, "rename", fails_once)

    with pytest.raises(PermissionError):
        replace()
    assert held(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_a_link_among_the_old_results_is_removed_and_not_what_it_names(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.tsv").write_text("years of work")
    out = tmp_path / "out"
    out.mkdir()
    (out / "tables").symlink_to(tmp_path / "theirs")
    with staged(out, [out / "tables"]):
        pass
    assert not (out / "tables").exists()
    assert (tmp_path / "theirs" / "a.tsv").read_text() == "years of work"

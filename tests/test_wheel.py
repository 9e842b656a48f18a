"""The wheel holds what an installed package needs: the demo, the presets, the hierarchy, the template."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
    ]
    subprocess.run([*command, str(folder)], check=True, capture_output=True)
    (wheel,) = folder.glob("cellsigil-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=site.parent,
    )
    return answer.stdout.strip()


def test_the_installed_demo_lies_in_the_package(unpacked):
    code = "from cellsigil import datasets; print(datasets.demo_files().cells); print(datasets.demo().n_obs)"
    path, n_cells = run(unpacked, code).splitlines()
    assert Path(path).parent == unpacked / "cellsigil" / "datasets" / "demo"
    assert n_cells == "3040"


def test_presets_hierarchy_and_template_are_there(unpacked):
    code = """
from pathlib import Path
from cellsigil import presets, report, tl
template = Path(report.__file__).parent / "template.html"
print(presets.names(), len(tl.read_hierarchy("immune").nodes), template.exists())
"""
    assert run(unpacked, code).startswith("['pbmc'")
    assert run(unpacked, code).endswith("True")


def test_an_editable_install_finds_the_demo_in_the_source_tree():
    from cellsigil import datasets

    assert datasets.demo_files().cells == ROOT / "data" / "demo" / "samples.csv"

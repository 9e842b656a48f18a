"""How kernels are run: same answers on any number of threads, errors passed on, a cache of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from cellsigil._core import _jit


@_jit.kernel
def _double(values, out, start, stop):
    for i in range(start, stop):
        out[i] = 2 * values[i]


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_over_range_covers_every_index_once(n, workers):
    values, out = np.arange(n, dtype=float), np.full(n, -1.0)
    with _jit.threads(workers):
        _jit.over_range(_double, n, values, out)
    np.testing.assert_array_equal(out, 2 * values)


@pytest.mark.parametrize("workers", [1, 3])
def test_in_threads_keeps_the_order(workers):
    with _jit.threads(workers):
        assert list(_jit.in_threads(lambda i: i * i, range(50))) == [i * i for i in range(50)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_thread_is_raised_here(workers):
    def fail(i):
        msg = f"no {i}"
        raise ValueError(msg)

    with _jit.threads(workers), pytest.raises(ValueError, match="no 3"):
        list(_jit.in_threads(fail, [3]))


def test_threads_are_given_back():
    before = _jit.n_threads()
    with _jit.threads(before + 3):
        assert _jit.n_threads() == before + 3
    assert _jit.n_threads() == before


def test_the_cache_folder_lies_where_the_user_says(tmp_path):
    code = "from cellsigil._core import _jit; print(_jit.CACHE_DIR)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith(str(tmp_path))
    assert "cellsigil-kernels-" in answer.stdout


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path):
    code = "from cellsigil._core import _jit; import os; print(os.access(_jit.CACHE_DIR, os.W_OK))"
    nowhere = tmp_path / "file"
    nowhere.write_text("in the way")
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(nowhere)
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "True"


def test_a_user_without_a_home_has_a_cache_too(monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_jit.os.path, "expanduser", lambda path: path)  # what it answers then
    folder = _jit._cache_dir()
    assert folder.startswith(_jit.tempfile.gettempdir())
    assert os.access(folder, os.W_OK)

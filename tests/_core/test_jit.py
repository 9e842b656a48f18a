"""How kernels are run: same answers on any number of threads, errors passed on, a cache of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

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


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_all_in_threads_keeps_the_order(workers, n):
    with _jit.threads(workers):
        assert _jit.all_in_threads(lambda i: i * i, range(n)) == [i * i for i in range(n)]


def test_this_thread_takes_its_share_and_is_no_worker_afterwards():
    def piece(i):
        time.sleep(0.005)
        return threading.get_ident(), _jit.n_threads()

    with _jit.threads(2):
        done = _jit.all_in_threads(piece, range(20))
        assert {n for _, n in done} == {1}
        assert threading.get_ident() in {who for who, _ in done}
        assert len({who for who, _ in done}) == 2
        assert _jit.n_threads() == 2
        with pytest.raises(ZeroDivisionError):
            _jit.all_in_threads(lambda i: 1 / i, range(3))
        assert _jit.n_threads() == 2


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


def test_the_threads_are_made_once():
    with _jit.threads(3):
        for _ in range(20):
            list(_jit.in_threads(lambda i: time.sleep(0.001), range(6)))
            _jit.over_range(_double, 100, np.arange(100.0), np.empty(100))
    ours = [t for t in threading.enumerate() if t.name.startswith("cellsigil")]
    assert _jit._pool(3) is _jit._pool(3)
    assert len([t for t in ours if t in _jit._pool(3)._threads]) <= 3


@pytest.mark.parametrize("in_threads", [_jit.in_threads, _jit.all_in_threads])
def test_work_inside_a_worker_runs_there(in_threads):
    """No wait for the own pool, and no more threads than were asked for."""
    values = np.arange(1000, dtype=float)

    def nested(i):
        with _jit.threads(4):
            names = list(in_threads(lambda _: threading.get_ident(), range(5)))
            out = np.empty(1000)
            _jit.over_range(_double, 1000, values, out)
            return _jit.n_threads(), {*names, threading.get_ident()}, out

    with _jit.threads(2):
        answers = list(in_threads(nested, range(8)))
    for n, threads_used, out in answers:
        assert n == 1
        assert len(threads_used) == 1
        np.testing.assert_array_equal(out, 2 * values)
    assert len(set.union(*(used for _, used, _ in answers))) <= 2


@pytest.mark.parametrize("in_threads", [_jit.in_threads, _jit.all_in_threads])
def test_a_worker_sees_the_callers_context(in_threads):
    with _jit.threads(2), np.errstate(divide="raise"):
        for _ in range(3):
            with pytest.raises(FloatingPointError):
                list(in_threads(lambda _: np.ones(1) / np.zeros(1), range(4)))


@pytest.mark.parametrize("where", ["here", "in a helper"])
def test_nothing_runs_on_after_an_error(where):
    """A piece that fails ends the call only when the others have stopped writing."""
    here, running = threading.get_ident(), []

    def piece(start, stop):
        running.append(start)
        time.sleep(0.01)
        running.remove(start)
        if (threading.get_ident() == here) == (where == "here"):
            msg = "no"
            raise ValueError(msg)

    with _jit.threads(3), pytest.raises(ValueError, match="no"):
        _jit.over_range(piece, 30, chunk=1)
    assert not running


def test_an_error_spares_the_others_what_is_left():
    begun = []

    def piece(i):
        begun.append(i)
        time.sleep(0.005)
        return 1 / (i - 3)

    with _jit.threads(2), pytest.raises(ZeroDivisionError):
        _jit.all_in_threads(piece, range(1000))
    assert len(begun) < 10


def test_leaving_early_stops_the_work():
    begun = []

    def slow(i):
        begun.append(i)
        time.sleep(0.01)
        return i

    with _jit.threads(2):
        answers = _jit.in_threads(slow, range(1000))
        assert next(answers) == 0
        answers.close()
        n = len(begun)
        time.sleep(0.05)
    assert len(begun) == n < 10


def test_lazy_items_may_use_threads_too():
    def items():
        for i in range(5):
            yield sum(_jit.in_threads(lambda x: x, range(i)))

    with _jit.threads(2):
        assert list(_jit.in_threads(lambda x: x + 1, items())) == [1, 1, 2, 4, 7]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("from_worker", [False, True])
def test_a_forked_child_makes_its_own_threads(from_worker):
    def in_child(_):
        child = os.fork()
        if not child:  # an alarm ends it if it waits for threads that are not there
            import signal

            signal.alarm(20)
            out = np.empty(1000)
            _jit.over_range(_double, 1000, np.arange(1000.0), out)
            fine = _jit.n_threads() == 2 and list(_jit.in_threads(abs, [-1, 2, -3])) == [1, 2, 3]
            os._exit(0 if fine and out[-1] == 1998 else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with _jit.threads(2):
        _jit.over_range(_double, 1000, np.arange(1000.0), np.empty(1000))
        codes = list(_jit.in_threads(in_child, [0])) if from_worker else [in_child(0)]
    assert codes == [0]


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

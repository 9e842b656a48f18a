"""The package's promises: quick imports, lazy rooms, one shape of public functions."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import cellsigil

ROOMS = ("io", "pp", "tl", "sig", "deconv", "pl", "report", "presets", "datasets")
HEAVY = ("scanpy", "numba", "matplotlib", "anndata", "pandas", "sklearn")


def _functions() -> list:
    found = []
    for room in ROOMS:
        module = getattr(cellsigil, room)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                found.append(pytest.param(thing, id=f"{room}.{name}"))
    return found


def _modules_after(code: str) -> set[str]:
    code = f"import sys; {code}; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_package_imports_nothing_heavy():
    assert _modules_after("import cellsigil") == set()


def test_help_imports_nothing_heavy():
    code = "from cellsigil.cli import _parser; _parser().format_help()"
    assert _modules_after(code) == set()


@pytest.mark.parametrize("room", ["pp", "tl", "sig", "deconv", "io"])
def test_rooms_leave_scanpy_and_scikit_learn_alone(room):
    assert not {"scanpy", "sklearn", "matplotlib"} & _modules_after(f"import cellsigil.{room}")


def test_plots_leave_scanpy_alone():
    assert "scanpy" not in _modules_after(
        "import cellsigil.pl, cellsigil.report, cellsigil.presets"
    )


def test_an_unknown_room_is_named():
    with pytest.raises(AttributeError, match="has no attribute 'plot'. It has datasets"):
        _ = cellsigil.plot


def test_dir_lists_the_rooms():
    assert set(ROOMS) <= set(dir(cellsigil))


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_sorted_and_true(room):
    module = getattr(cellsigil, room)
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("function", _functions())
def test_a_public_function_has_a_docstring_types_and_keywords(function):
    assert function.__doc__
    assert function.__doc__.strip().splitlines()[0].endswith(".")
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for name, parameter in signature.parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, name
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, name
        assert name not in {"copy", "inplace", "use_raw", "verbose"}, name
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, (
                f"{name} has a default but is positional"
            )
        elif len(signature.parameters) > 1:
            assert name in function.__doc__, f"{name} is not documented"


@pytest.mark.parametrize("function", _functions())
def test_every_parameter_is_documented(function):
    parameters = inspect.signature(function).parameters
    missing = [name for name in parameters if name not in function.__doc__ and name != "adata"]
    assert not missing

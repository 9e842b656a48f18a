"""A preset as data: steps, each the name of a public function and its arguments."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

import cellsigil
from cellsigil._matrix import suggest

_SHIPPED = Path(__file__).parent
_ROOMS = ("pp", "tl", "sig", "deconv")


@dataclass(frozen=True)
class Step:
    """One call: ``room.function`` and its keyword arguments.

    Among them, where the function takes it, ``memory_budget``: the bytes that a step may hold beside
    the matrices, for the same result in more passes (``--set tl.markers.memory_budget=67108864``).
    """

    call: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> Callable:
        """Return the public function that this step calls."""
        room, _, name = self.call.partition(".")
        if room not in _ROOMS or name not in getattr(cellsigil, room).__all__:
            known = [f"{r}.{f}" for r in _ROOMS for f in getattr(cellsigil, r).__all__]
            msg = f"No function {self.call!r} in cellsigil. {suggest(self.call, known)}"
            raise ValueError(msg)
        return getattr(getattr(cellsigil, room), name)

    @property
    def parameters(self) -> list[str]:
        """Return the names of the function's parameters after the first (the data)."""
        return list(inspect.signature(self.function).parameters)[1:]

    def resolved(self) -> dict[str, Any]:
        """Return every argument of the call, the defaults filled in."""
        known = inspect.signature(self.function).parameters
        defaults = {
            name: known[name].default
            for name in self.parameters
            if known[name].default is not inspect.Parameter.empty
        }
        return {**defaults, **self.arguments}

    def __str__(self) -> str:
        """Return the call as it would stand in a notebook."""
        known = inspect.signature(self.function).parameters.values()
        data = [p.name for p in known if p.default is p.empty and p.name not in self.arguments]
        arguments = [f"{name}={value!r}" for name, value in self.arguments.items()]
        return f"cellsigil.{self.call}({', '.join([*data, *arguments])})"


@dataclass(frozen=True)
class Preset:
    """A named list of steps."""

    name: str
    description: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            known = step.parameters  # also where nothing is given: the function must be there
            for name in step.arguments:
                if name not in known:
                    msg = (
                        f"Preset {self.name!r}: {step.call} has no parameter {name!r}. "
                        f"{suggest(name, known)}"
                    )
                    raise ValueError(msg)

    @classmethod
    def from_toml(cls, text: str, source: str = "the preset") -> Preset:
        """Read a preset from TOML: name, description and ``[[steps]]`` with ``call`` and arguments.

        TOML has no None: ``none = ["target_sum"]`` in a step names the arguments that are.
        """
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            msg = f"{source} is no valid TOML: {error}."
            raise ValueError(msg) from None
        if not raw.get("name") or not raw.get("steps"):
            msg = f"{source} needs a name and at least one [[steps]] table with a call."
            raise ValueError(msg)
        steps = []
        for i, table in enumerate(raw["steps"], start=1):
            if "call" not in table:
                msg = f'{source}: step {i} has no call, such as call = "pp.normalize".'
                raise ValueError(msg)
            call, none = table.pop("call"), table.pop("none", [])
            if twice := [name for name in none if name in table]:
                msg = (
                    f"{source}: step {i} sets {twice[0]!r}, and names it in none as well. Drop one."
                )
                raise ValueError(msg)
            steps.append(Step(call, {**table, **dict.fromkeys(none)}))
        return cls(raw["name"], raw.get("description", ""), tuple(steps))

    def to_toml(self, *, resolved: bool = False) -> str:
        """Return the preset as TOML, which `from_toml` reads back.

        ``resolved`` writes every default out, but for those that are None.
        """
        steps = []
        for step in self.steps:
            arguments = step.resolved() if resolved else step.arguments
            none = [name for name, value in step.arguments.items() if value is None]
            steps.append(
                {"call": step.call, **_plain(arguments), **({"none": none} if none else {})}
            )
        table = {"name": self.name, "description": self.description, "steps": steps}
        return tomli_w.dumps(table, multiline_strings=False)

    def with_arguments(self, changes: dict[str, Any]) -> Preset:
        """Return the preset with ``{"pp.hvg.n_top_genes": 3000}``-like changes made in every such step."""
        steps = list(self.steps)
        for path, value in changes.items():
            call, _, name = path.rpartition(".")
            places = [i for i, step in enumerate(steps) if step.call == call]
            if not places:
                calls = [step.call for step in steps]
                msg = f"Preset {self.name!r} has no step {call!r} to set {path}. {suggest(call, calls)}"
                raise ValueError(msg)
            for i in places:
                steps[i] = replace(steps[i], arguments={**steps[i].arguments, name: value})
        return replace(self, steps=tuple(steps))


def names() -> list[str]:
    """Return the names of the shipped presets."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def load(name: str | Path) -> Preset:
    """Load a shipped preset by name, or one of yours by the path of its TOML file.

    Raises
    ------
    ValueError
        No such preset, or one that names an unknown function or parameter.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            msg = f"No preset file {path}. Shipped presets: {', '.join(names())}."
            raise ValueError(msg)
    elif str(name) in names():
        path = _SHIPPED / f"{name}.toml"
    else:
        msg = f"No preset {str(name)!r}. {suggest(name, names())} Or give the path of a .toml file."
        raise ValueError(msg)
    return Preset.from_toml(path.read_text(encoding="utf-8"), str(path.name))


def _plain(value: Any) -> Any:
    """Return ``value`` with tuples as lists and None left out, as TOML holds it."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value if v is not None]
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value if isinstance(value, (str, bool, int, float)) else str(value)

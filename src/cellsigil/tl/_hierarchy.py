"""Trees of cell types with their markers: ours, a user's TOML, or besca's table."""

from __future__ import annotations

import logging
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from cellsigil._matrix import suggest
from cellsigil.tl._signatures import GeneSet, read_signatures

log = logging.getLogger(__name__)

SHIPPED = resources.files("cellsigil.tl") / "hierarchies"


@dataclass(frozen=True)
class Node:
    """A cell type: its markers (gene -> source key), its parent ("" at the top) and Cell Ontology id.

    ``mixed``: its children live side by side in most samples, so that a lone cluster of it holds all of them.
    """

    name: str
    parent: str = ""
    cl: str = ""
    up: dict[str, str] = field(default_factory=dict)
    down: dict[str, str] = field(default_factory=dict)
    mixed: bool = False


@dataclass(frozen=True)
class Hierarchy:
    """Cell types by name, parents and children, and what the source keys of the markers stand for."""

    name: str
    nodes: dict[str, Node]
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes.values():
            if node.parent and node.parent not in self.nodes:
                msg = (
                    f"Hierarchy {self.name!r}: {node.name!r} has an unknown parent {node.parent!r}. "
                    f"{suggest(node.parent, self.nodes)}"
                )
                raise ValueError(msg)
            self.path(node.name)

    def children(self, name: str = "") -> list[str]:
        """Return the types right below ``name``; those at the top for ""."""
        return [node.name for node in self.nodes.values() if node.parent == name]

    def path(self, name: str) -> list[str]:
        """Return the types from the top down to ``name``."""
        path = [name]
        while parent := self.nodes[path[0]].parent:
            if parent in path:
                msg = f"Hierarchy {self.name!r}: {name!r} is its own ancestor. Mend its parents."
                raise ValueError(msg)
            path.insert(0, parent)
        return path

    def signatures(self) -> dict[str, GeneSet]:
        """Return the markers as signatures with weights of 1."""
        return {
            node.name: GeneSet(
                node.name, dict.fromkeys(node.up, 1.0), dict.fromkeys(node.down, 1.0)
            )
            for node in self.nodes.values()
        }


def shipped() -> dict[str, Any]:
    """Return the shipped hierarchies: name -> file."""
    files = (path for path in SHIPPED.iterdir() if path.name.endswith(".toml"))
    return {path.name.removesuffix(".toml"): path for path in files}


def read_hierarchy(source: str | Path | Hierarchy, *, signatures: Any = None) -> Hierarchy:
    """Read a tree of cell types and their markers.

    Parameters
    ----------
    source
        The name of a shipped one (``"immune"``), the path of a .toml of the same form, or the path of
        besca's table: columns Term, Parent, Cutoff, Order, separated by tabs. Its cutoffs are of besca's
        own test and are not used; Order is the order of siblings.
    signatures
        For besca's table: the markers, as anything that `read_signatures` takes. A term without any is left
        out, and its children go to its parent.

    Returns
    -------
    The `Hierarchy`.

    Raises
    ------
    FileNotFoundError
        Neither a shipped name nor a file.
    ValueError
        The file is of neither form, a parent is unknown, or a type is its own ancestor.
    """
    if isinstance(source, Hierarchy):
        return source
    if (found := shipped().get(str(source))) is not None:
        return _from_toml(found.read_text(encoding="utf-8"), str(source))
    path = Path(source)
    if not path.is_file():
        msg = f"There is no hierarchy {str(source)!r}, shipped or as a file. {suggest(source, shipped())}"
        raise FileNotFoundError(msg)
    if path.suffix == ".toml":
        return _from_toml(path.read_text(encoding="utf-8"), str(path))
    if signatures is None:
        msg = f"{path} holds no markers. Give them with signatures=, such as the path of the .gmt."
        raise ValueError(msg)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return _from_table(table, path, read_signatures(signatures))


def _from_toml(text: str, name: str) -> Hierarchy:
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} is no TOML ({error})."
        raise ValueError(msg) from error
    nodes: dict[str, Node] = {}
    for entry in held.get("node", []):
        unknown = set(entry) - {"name", "cl", "parent", "up", "down", "mixed"}
        if unknown or "name" not in entry or not entry.get("up"):
            msg = (
                f"{name}: every [[node]] needs name and up, and may have cl, parent, down and mixed; "
                f"found {sorted(entry)}."
            )
            raise ValueError(msg)
        if entry["name"] in nodes:
            msg = f"{name} names {entry['name']!r} twice."
            raise ValueError(msg)
        sides = {side: _marker_sources(entry.get(side, {})) for side in ("up", "down")}
        nodes[entry["name"]] = Node(
            entry["name"],
            entry.get("parent", ""),
            entry.get("cl", ""),
            **sides,
            mixed=entry.get("mixed", False),
        )
    if not nodes:
        msg = f"{name} has no [[node]]."
        raise ValueError(msg)
    return Hierarchy(held.get("name", name), nodes, held.get("sources", {}))


def _marker_sources(markers: dict[str, str] | list[str]) -> dict[str, str]:
    return dict(markers) if isinstance(markers, dict) else dict.fromkeys(markers, "")


def _from_table(table: pd.DataFrame, path: Path, sets: dict[str, GeneSet]) -> Hierarchy:
    missing = [c for c in ("Term", "Parent") if c not in table]
    if missing:
        msg = f"{path} has no column {missing[0]!r}: a table Term, Parent, Cutoff, Order separated by tabs is needed."
        raise ValueError(msg)
    if "Order" in table:
        table = table.iloc[pd.to_numeric(table["Order"], errors="coerce").argsort(kind="stable")]
    parent = {
        term: "" if above in ("None", "", "NA") else above
        for term, above in zip(table["Term"], table["Parent"])
    }
    seen: set[str] = set()
    for term in parent:
        above, seen = parent[term], {term}
        while above and above not in sets and above not in seen:
            seen.add(above)
            above = parent.get(above, "")
        parent[term] = above
    nodes = {
        term: Node(
            term, above, "",
            dict.fromkeys(sets[term].up, path.name), dict.fromkeys(sets[term].down, path.name),
        )
        for term, above in parent.items() if term in sets
    }  # fmt: skip
    if left_out := [term for term in parent if term not in sets]:
        log.warning("%s: no markers for %s; left out", path, ", ".join(left_out))
    return Hierarchy(path.stem, nodes)

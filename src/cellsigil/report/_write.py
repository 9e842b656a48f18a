"""Write the report: one HTML file, and its numbers as tables beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from anndata import AnnData

from cellsigil._files import write_table, write_text
from cellsigil._matrix import read_tables
from cellsigil.report import _bulk, _collect, _evidence, _methods
from cellsigil.report._collect import Source
from cellsigil.report._section import Section

if TYPE_CHECKING:
    from cellsigil._signature import SignatureSet
    from cellsigil.deconv import Deconvolution

log = logging.getLogger(__name__)


def write(
    adata: AnnData,
    path: str | Path,
    *,
    signature: SignatureSet | None = None,
    deconvolution: Deconvolution | None = None,
    truth: pd.DataFrame | None = None,
    title: str = "cellsigil report",
    parameters: str | None = None,
    versions: Mapping[str, Any] | None = None,
    simulated: bool = False,
    notes: Sequence[str] = (),
    tables: bool = True,
) -> Path:
    """Write one HTML file that holds everything it shows, and the same numbers as text tables.

    Nothing is computed but summaries for display, and ``adata`` is left as it is. What was not run is
    named by the call that would fill its section.

    Parameters
    ----------
    adata
        Cells x genes, after as many steps as were run.
    path
        The HTML file; its folder must exist.
    signature
        What `sig.build` answered.
    deconvolution
        What `deconv.deconvolve` answered.
    truth
        Known cell fractions, bulk samples x types, shown against the estimates.
    title
        Title of the page.
    parameters
        The preset as TOML text, every default written out.
    versions
        Package to version.
    simulated
        Whether the data are simulated; a banner says so.
    notes
        Warnings of the run, one sentence each.
    tables
        Whether to write ``tables/*.tsv`` beside the page.

    Returns
    -------
    The path of the page.

    Raises
    ------
    FileNotFoundError
        The folder of ``path`` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        msg = f"Cannot write {path}: the folder {path.parent} does not exist. Create it first."
        raise FileNotFoundError(msg)
    read_tables(adata)
    source = Source(adata, signature, deconvolution, truth)
    sections = [
        _collect.qc(source), _collect.umap(source), _collect.composition(source),
        _evidence.annotation(source), _evidence.markers(source), _evidence.scores(source),
        _bulk.signature(source), _bulk.deconvolution(source),
        _methods.parameters(parameters), _methods.versions(versions), _methods.methods(source),
    ]  # fmt: skip
    if tables:
        _write_tables(path.parent / "tables", sections)
    page = _render(
        title=title, facts=_collect.facts(source), sections=sections, simulated=simulated,
        notes=list(dict.fromkeys(map(str, notes))), tables=tables,
        version=(versions or {}).get("cellsigil", ""),
    )  # fmt: skip
    write_text(path, page)
    log.info("report: %d sections, %.1f MB, %s", len(sections), len(page) / 1e6, path)
    return path


def _write_tables(folder: Path, sections: list[Section]) -> None:
    folder.mkdir(exist_ok=True)
    for section in sections:
        for table in section.tables:
            write_table(folder / f"{table.name}.tsv", table.frame)


def _render(**values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("template.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(**values) + "\n"

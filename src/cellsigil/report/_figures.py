"""Figures as data addresses: vector where they are small, pixels where they hold many points."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cellsigil.pl._style import off_screen
from cellsigil.report._section import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_SVG = 200_000  # bytes; above, pixels are smaller and quicker to draw
DPI = 170


def picture(
    draw: Callable[[], Any],
    text: str,
    *,
    many_points: bool = False,
    colors: Mapping[str, str] | None = None,
) -> Picture:
    """Draw a figure and return it with ``text``, its content in words.

    ``many_points`` asks for pixels at once; ``colors`` (name to colour) becomes a legend in the page.
    """
    with off_screen():  # a notebook that runs a preset shows none of the report's figures
        drawn = draw()
    figure = drawn if hasattr(drawn, "savefig") else drawn.figure
    _lay_out_once(figure)
    source = "" if many_points else _svg(figure)
    if not source:
        source = _png(figure)
    width = round(figure.get_size_inches()[0] * 96)
    return Picture(source, text, width, tuple((colors or {}).items()))


def _lay_out_once(figure: Figure) -> None:
    """Give all axes their places now; each ``savefig`` would do it anew, a quarter of a figure's time."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


class _TooLarge(Exception):
    """More than `LARGEST_SVG` was written."""


class _Limited(io.BytesIO):
    """A file that stops its writer at `LARGEST_SVG`."""

    def write(self, data: Any) -> int:
        if self.tell() > LARGEST_SVG:
            raise _TooLarge
        return super().write(data)


def _svg(figure: Figure) -> str:
    """Return the figure as SVG, its letters as outlines; "" where that is too large."""
    import matplotlib as mpl

    out = _Limited()
    try:
        with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "cellsigil"}):
            figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
    except _TooLarge:
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def _png(figure: Figure) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None}, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()

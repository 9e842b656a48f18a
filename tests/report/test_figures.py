"""Figures in the page: vector where small, pixels where not."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cellsigil.report import _figures


def scatter(n: int) -> Figure:
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.add_subplot().plot(*np.random.default_rng(0).random((2, n)), "o")
    return figure


def test_a_small_figure_is_vectors_and_a_large_one_pixels(monkeypatch):
    small = _figures.picture(lambda: scatter(5), "five points")
    assert small.source.startswith("data:image/svg+xml;base64,")
    monkeypatch.setattr(_figures, "LARGEST_SVG", 4000)
    large = _figures.picture(lambda: scatter(5), "five points")
    head, _, data = large.source.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == pytest.approx((3 * _figures.DPI, 2 * _figures.DPI), abs=30)


def test_stopping_at_the_limit_leaves_the_figure_as_it_was(monkeypatch):
    pixels = []
    for limit in (0, 10**9):
        monkeypatch.setattr(_figures, "LARGEST_SVG", limit)
        figure = scatter(20)
        assert (_figures._svg(figure) == "") == (limit == 0)
        pixels.append(_figures._png(figure))
    assert pixels[0] == pixels[1]

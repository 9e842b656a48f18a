from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellsigil.report._section import Table, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (np.nan, "–"), (pd.NA, "–"), (True, "yes"), (12345, "12,345"), (-3, "−3"), (0.0, "0"),
        (0.5, "0.500"), (12.34, "12.3"), (4321.5, "4,322"), (1e-20, "1.0e−20"), (np.inf, "∞"), ("a", "a"),
    ],
)  # fmt: skip
def test_values_have_the_digits_that_a_reader_needs(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("name", "values", "texts"),
    [
        ("fraction", [0.5, 0.0001, 0.0, np.nan], ["0.500", "<\u202f0.001", "0", "–"]),
        ("deviations", [5.0, np.nan], ["5", "–"]),
        ("adjusted p", [0.0, 1e-20, 0.04], ["<\u202f1e−300", "1.0e−20", "0.040"]),
        ("limit", [200.0, 5.278, 0.0], ["200.0", "5.28", "0"]),
        ("log2 fold change", [-2.5, 1.25], ["−2.50", "1.25"]),
    ],
)
def test_a_column_has_the_same_digits(name, values, texts):
    table = Table("t", "T", pd.DataFrame({name: values}))
    assert [row[0] for row in table.rows] == texts
    assert table.columns == [(name, True)]


def test_a_table_without_rows_has_none():
    assert Table("t", "T", pd.DataFrame({"a": []})).rows == []

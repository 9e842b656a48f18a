"""Columns of obs and var: their places, and what goes."""

import numpy as np
import pandas as pd

from cellsigil._tables import with_columns


def test_new_columns_come_last_and_known_ones_keep_their_places():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "old": [0, 0]}, index=["c0", "c1"])
    table.attrs = {"from": "a study"}
    out = with_columns(table, {"new": np.array([5.0, 6.0]), "a": np.array([3, 4])}, stale={"old"})
    expected = pd.DataFrame({"a": [3, 4], "b": ["x", "y"], "new": [5.0, 6.0]}, index=["c0", "c1"])
    pd.testing.assert_frame_equal(out, expected)
    assert list(table) == ["a", "b", "old"]
    assert out.attrs == table.attrs == {"from": "a study"}
    assert table["a"].tolist() == [1, 2]


def test_a_stale_column_that_is_written_anew_stays():
    table = pd.DataFrame({"means": [1.0], "rank": [1.0]}, index=["g"])
    out = with_columns(table, {"means": np.array([2.0])}, stale=("means", "rank"))
    assert out.to_dict() == {"means": {"g": 2.0}}


def test_names_that_are_not_unique_and_tables_without_rows_or_columns_are_taken():
    twice = pd.DataFrame({"a": [1, 2]}, index=["c", "c"])
    assert with_columns(twice, {"b": np.array([3, 4])})["b"].tolist() == [3, 4]
    assert with_columns(pd.DataFrame(index=["c"]), {"b": np.array([1])}).shape == (1, 1)
    assert with_columns(pd.DataFrame({"a": []}), {"b": np.zeros(0)}).shape == (0, 2)
    pd.testing.assert_frame_equal(with_columns(twice, {}), twice)

"""Files are written whole or not at all; names come out safe and told apart."""

from __future__ import annotations

import importlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellsigil import _files


def test_success_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a file.txt"
    for content in ("one", "two"):
        with _files.replacing(path) as part:
            assert part.parent.parent == tmp_path  # beside the target: the rename stays on one disk
            part.write_text(content)
        assert path.read_text() == content
    assert os.listdir(tmp_path) == ["a file.txt"]


def test_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with _files.replacing(path) as part:
            part.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_writing_nothing_is_a_failure_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), _files.replacing(path):
        pass
    assert path.read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "store"
    for n in (1, 2):
        with _files.replacing(path) as part:
            part.mkdir()
            (part / f"piece{n}").write_text("x")
    assert os.listdir(path) == ["piece2"]
    assert os.listdir(tmp_path) == ["store"]


def test_a_folder_comes_back_when_the_rename_fails(tmp_path, monkeypatch):
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").write_text("x")

    def refuse(*_):
        raise OSError("no rename today")

    monkeypatch.setattr(_files.os, "replace", refuse)

    def write():
        with _files.replacing(path) as part:
            part.mkdir()

    with pytest.raises(OSError, match="no rename"):
        write()
    assert os.listdir(path) == ["old"]


def test_a_kill_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = textwrap.dedent("""
        import sys, time
        from cellsigil._files import as_named, replacing
        with replacing(sys.argv[1]) as part:
            part.write_text("half")
            print("midway", flush=True)
            time.sleep(60)
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().strip() == "midway"
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    assert path.read_text() == "old"
    assert all(name.startswith(".") for name in os.listdir(tmp_path) if name != "a.txt")


def test_readable_by_others_as_any_new_file(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_text("x")
    _files.write_text(ours, "x")
    assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Cannot write .*no/a.txt: the folder .*no does not exist"
    ):
        _files.write_text(tmp_path / "no" / "a.txt", "x")


def test_long_names(tmp_path):
    path = tmp_path / ("n" * 250 + ".txt")
    _files.write_text(path, "x")
    assert path.read_text() == "x"


def test_text_and_json_are_utf8_with_plain_line_ends(tmp_path):
    _files.write_text(tmp_path / "t", "naïve\nµ\n")
    assert (tmp_path / "t").read_bytes() == "naïve\nµ\n".encode()
    _files.write_json(tmp_path / "j", {"T/NK": [1, None, "é"]})
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8")) == {"T/NK": [1, None, "é"]}
    with pytest.raises(ValueError):
        _files.write_json(tmp_path / "j", {"x": float("nan")})
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8"))["T/NK"][0] == 1


def test_table_defuses_formulas_and_keeps_numbers(tmp_path):
    table = pd.DataFrame(
        {
            "group": ["=HYPERLINK(1)", "+1", "-x", "@y", "T/NK"],
            "p": [-1.5, 1e-300, np.nan, 2.0, 1 / 3],
        },
        index=["=a", "b", "c", "d", "e"],
    )
    before = table.copy()
    _files.write_table(tmp_path / "t.tsv", table, index=True)
    pd.testing.assert_frame_equal(table, before)
    back = pd.read_csv(tmp_path / "t.tsv", sep="\t", index_col=0)
    assert back["group"].tolist() == ["'=HYPERLINK(1)", "'+1", "'-x", "'@y", "T/NK"]
    assert back.index[0] == "'=a"
    np.testing.assert_allclose(back["p"], table["p"], rtol=1e-5)
    assert b"\r" not in (tmp_path / "t.tsv").read_bytes()


@pytest.mark.parametrize("index", [True, False])
def test_table_is_what_pandas_writes(index, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    n = 57
    x = rng.normal(size=n) * np.exp(rng.normal(0, 20, n))
    x[[3, 8, 11]] = np.nan, np.inf, -0.0
    table = pd.DataFrame(
        {
            "wide": x,
            "narrow": x.astype(np.float32),
            "whole": rng.integers(-5, 5, n),
            "flag": rng.random(n) < 0.5,
            "type": pd.Categorical.from_codes(rng.integers(-1, 2, n), ["B cell", 'a\t"b"']),
            "text": pd.Series(rng.choice(["é", "", "two\nlines", None], n), dtype="str"),
            "mixed": pd.Series([1, 2.5, "x", None] * 14 + [True], dtype=object),
            "maybe": pd.array([1, None, 3] * 19, dtype="Int64"),
            "share": pd.array([0.25, None, 1 / 3] * 19, dtype="Float64"),
            "when": pd.date_range("2026-01-01", periods=n),
        },
        index=pd.Index([f"g{k}" for k in range(n)], name="gene"),
    )
    monkeypatch.setattr(_files, "ROWS_AT_ONCE", 10)
    _files.write_table(tmp_path / "ours.tsv", table, index=index)
    table["when"] = table["when"].astype(object)
    table.to_csv(
        tmp_path / "theirs.tsv", sep="\t", index=index, float_format="%.6g", na_rep="NA", lineterminator="\n"
    )  # fmt: skip
    assert (tmp_path / "ours.tsv").read_bytes() == (tmp_path / "theirs.tsv").read_bytes()


def test_table_of_one_column_keeps_its_empty_cells(tmp_path):
    table = pd.DataFrame({"note": ["a", "", "b"]})
    _files.write_table(tmp_path / "t.tsv", table)
    back = pd.read_csv(tmp_path / "t.tsv", sep="\t", keep_default_na=False)
    pd.testing.assert_frame_equal(back, table)


def test_sha256_of_file_and_folder(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert _files.sha256(tmp_path / "d" / "a") == known
    first = _files.sha256(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert _files.sha256(tmp_path / "d") != first


names = st.lists(st.text(alphabet="aA/_-+ 1", max_size=6), max_size=12)


@given(names)
def test_hdf5_names_are_safe_unique_and_steady(given_names):
    safe = _files.hdf5_names(given_names)
    assert list(safe) == list(dict.fromkeys(given_names))
    assert len(set(safe.values())) == len(safe)
    for name, key in safe.items():
        assert "/" not in key
        assert key
        if name and "/" not in name:
            assert key == name


@given(names)
def test_label_names_are_plain_and_unique_ignoring_case(given_names):
    safe = _files.label_names(given_names)
    folded = [label.lower() for label in safe.values()]
    assert len(set(folded)) == len(folded)
    for label in safe.values():
        assert label.isidentifier()


def test_names_by_example():
    assert _files.hdf5_names(["T/NK", "T_NK"]) == {"T/NK": "T_NK-2", "T_NK": "T_NK"}
    assert _files.label_names(["CD8+ T", "B", "1a"]) == {
        "CD8+ T": "CD8pos_T",
        "B": "B",
        "1a": "type_1a",
    }


@pytest.mark.parametrize("call", ["pp.normalize", "pp.pca", "tl.cluster", "tl.umap"])
def test_a_key_that_the_users_own_write_would_trip_over_is_refused(call):
    room, name = call.split(".")
    function = getattr(importlib.import_module(f"cellsigil.{room}"), name)
    adata = ad.AnnData(np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"key_added='T/NK' holds a '/'.*Use another name"):
        function(adata, key_added="T/NK")


def test_a_folder_that_cannot_be_written_is_named_not_the_temporary_one(tmp_path, monkeypatch):
    def refuse(**_where):
        raise PermissionError(13, "Permission denied", "/somewhere/.x.part")

    monkeypatch.setattr("cellsigil._files.tempfile.mkdtemp", refuse)
    with pytest.raises(PermissionError, match="Permission denied") as caught:
        _files.write_text(tmp_path / "table.tsv", "x")
    assert caught.value.filename == str(tmp_path / "table.tsv")


@pytest.mark.parametrize("name", ["=NK+cell", "-x", "@a", "plain", "'quoted'", "'"])
def test_a_name_comes_back_from_a_table(tmp_path, name):
    _files.write_table(tmp_path / "t.tsv", pd.DataFrame({"name": [name], "n": [1]}))
    written = pd.read_csv(tmp_path / "t.tsv", sep="\t", dtype=str)["name"][0]
    assert _files.as_named(written) == name
    assert not written.startswith(("=", "-", "@"))

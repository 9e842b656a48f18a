"""Writing: whole or not at all, the caller's object as it was, and a sentence for what can't be stored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellsigil import io

OLD_PYTHON = os.environ.get("CELLSIGIL_ANNDATA010_PYTHON")


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_round_trip(adata, tmp_path, name):
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    before = adata.copy()
    kinds = adata.obs.dtypes.tolist()
    for _ in range(2):  # onto nothing, and over what is there
        io.write(adata, tmp_path / name)
    assert adata.obs.dtypes.tolist() == kinds
    assert adata.uns == before.uns
    assert os.listdir(tmp_path) == [name]
    back = io.read(tmp_path / name)
    assert back.obs_names.tolist() == adata.obs_names.tolist()
    assert back.obs["cell_type"].cat.categories.tolist() == ["B", "T/NK"]
    assert back.obs["donor"].tolist() == adata.obs["donor"].tolist()
    assert back.obs["note"].isna().tolist() == [False, True] * 10
    np.testing.assert_array_equal(back.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(back.layers["counts"].toarray(), adata.layers["counts"].toarray())
    pd.testing.assert_frame_equal(back.obsm["scores"], adata.obsm["scores"])
    assert back.uns["parameters"] == adata.uns["parameters"]


def test_a_view_and_raw(adata, tmp_path):
    adata.raw = adata.copy()
    io.write(adata[:5, :7], tmp_path / "a.h5ad")
    back = io.read(tmp_path / "a.h5ad")
    assert back.shape == (5, 7)
    assert back.raw.shape == (5, 30)


def test_a_lazy_matrix(adata, tmp_path, small):
    da = pytest.importorskip("dask.array")
    adata.X = da.from_array(adata.X.toarray(), chunks=(7, 30)).map_blocks(sp.csr_matrix)
    io.write(adata, tmp_path / "a.h5ad")
    np.testing.assert_array_equal(io.read(tmp_path / "a.h5ad").X.toarray(), small)


def column(name, values):
    return lambda a: a.obs.__setitem__(name, pd.Series(values, index=a.obs_names, dtype=object))


def uns(value, key="k"):
    return lambda a: a.uns.__setitem__(key, value)


BAD = {
    "mixed column": (
        column("m", [1, "a"] * 10),
        r"obs\['m'\] holds values of type int, str.*astype\(str\)",
    ),
    "column of None": (
        column("m", [None] * 20),
        r"obs\['m'\] holds nothing but None. Drop it: del",
    ),
    "bool objects": (column("m", [True, False] * 10), r"obs\['m'\] holds bool as.*astype\(bool\)"),
    "number objects": (column("m", [1, 2.5] * 10), r"obs\['m'\] holds numbers as.*to_numeric"),
    "column of lists": (column("m", [[1]] * 20), r"obs\['m'\] holds values of type list"),
    "dates": (
        lambda a: a.obs.__setitem__("m", pd.Timestamp("2020-01-01")),
        r"obs\['m'\] holds values of type Timestamp.*astype\(str\)",
    ),
    "mixed categories": (
        lambda a: a.obs.__setitem__("m", pd.Categorical([1, "a"] * 10)),
        r"obs\['m'\] holds values of type int, str.*rename_categories\(str\)",
    ),
    "slash in a column": (column("T/NK", ["x"] * 20), r"adata.obs has the key 'T/NK'.*'T_NK'"),
    "number as a column": (
        lambda a: a.obs.__setitem__(3, 1),
        r"adata.obs has the key 3, which is int",
    ),
    "slash in uns": (uns({"a/b": 1}), r"adata.uns\['k'\] has the key 'a/b'.*'a_b'"),
    "slash in a layer": (
        lambda a: a.layers.__setitem__("a/b", a.X),
        r"adata.layers has the key 'a/b'",
    ),
    "slash in obsm": (
        lambda a: a.obsm.__setitem__("s", pd.DataFrame({"a/b": range(20)}, index=a.obs_names)),
        r"adata.obsm\['s'\] has the key 'a/b'",
    ),
    "tuple": (uns({"t": (1, 2)}), r"uns\['k'\]\['t'\] is a tuple.*list\(adata.uns\['k'\]\['t'\]\)"),
    "set": (uns({"x"}), r"uns\['k'\] is a set"),
    "list of dicts": (uns([{"a": 1}]), r"uns\['k'\] is a list.*json.dumps"),
    "number as a key": (uns({1: 2}), r"adata.uns\['k'\] has the key 1, which is int"),
    "a date in uns": (uns(pd.Timestamp("2020-01-01")), r"uns\['k'\] is a Timestamp.*str\("),
    "an object": (uns(object()), r"uns\['k'\] is an object.*del adata.uns\['k'\]"),
    "index and column": (
        lambda a: (a.obs.__setitem__("z", 1), setattr(a.obs.index, "name", "z")),
        r"index of adata.obs is named 'z'.*index.name = None",
    ),
    "gene without a name": (
        lambda a: setattr(a, "var_names", ["g", None, *a.var_names[2:]]),
        r"adata.var_names holds (None|nan) at place 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("old", [False, True])
def test_what_can_not_be_stored_is_named_before_writing(adata, tmp_path, name, old):
    path = tmp_path / "a.h5ad"
    if old:
        path.write_bytes(b"old")
    spoil, said = BAD[name]
    spoil(adata)
    with pytest.raises(ValueError, match=said) as caught:
        io.write(adata, path)
    assert str(caught.value).startswith(f"{path} was not written.")
    assert os.listdir(tmp_path) == (["a.h5ad"] if old else [])
    assert not old or path.read_bytes() == b"old"


def test_several_faults_are_named_together(adata, tmp_path):
    uns((1, 2))(adata)
    column("m", [1, "a"] * 10)(adata)
    with pytest.raises(ValueError, match=r"obs\['m'\].*uns\['k'\]"):
        io.write(adata, tmp_path / "a.h5ad")


@pytest.mark.parametrize(
    ("name", "compat", "said"),
    [
        ("a.csv", False, "should end in .h5ad or .zarr"),
        ("a.zarr", True, "compat=True is for .h5ad files"),
        ("folder.h5ad", False, "is a folder"),
        ("no/a.h5ad", False, "the folder .*no does not exist"),
    ],
)
def test_where_nothing_can_be_written(adata, tmp_path, name, compat, said):
    (tmp_path / "folder.h5ad").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        io.write(adata, tmp_path / name, compat=compat)


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_a_failure_midway_leaves_the_old_file(adata, tmp_path, monkeypatch, name):
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    path = tmp_path / name
    io.write(adata, path)
    before = io.read(path)

    real = ad.io.write_h5ad if name == "a.h5ad" else ad.io.write_zarr

    def fail(part, shell, **_):
        real(part, shell[:3].copy())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ad.io, "write_h5ad", fail)
    monkeypatch.setattr(ad.io, "write_zarr", fail)
    with pytest.raises(OSError, match="No space left"):
        io.write(adata, path)
    assert os.listdir(tmp_path) == [name]
    assert io.read(path).n_obs == before.n_obs == 20


def test_a_kill_midway_leaves_the_old_file(adata, tmp_path):
    path = tmp_path / "a.h5ad"
    io.write(adata, path)
    before = path.read_bytes()
    program = textwrap.dedent("""
        import sys, time
        import anndata as ad
        from cellsigil import io
        adata = ad.read_h5ad(sys.argv[1])
        import anndata._io.h5ad as writer
        inner = writer.write_elem
        def slow(group, key, *args, **kwargs):
            inner(group, key, *args, **kwargs)
            if key == "obs":
                group.file.flush()
                print("midway", flush=True)
                time.sleep(60)
        writer.write_elem = slow
        io.write(adata, sys.argv[1])
    """)
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline().strip() == "midway"
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    assert path.read_bytes() == before
    debris = [name for name in os.listdir(tmp_path) if name != "a.h5ad"]
    assert debris
    assert all(name.startswith(".") and name.endswith(".part") for name in debris)
    assert io.read(path).shape == adata.shape
    io.write(adata, path)
    assert time.time() - path.stat().st_mtime < 60


def test_backed_stays_with_its_file(adata, tmp_path):
    own, other = tmp_path / "own.h5ad", tmp_path / "other.h5ad"
    io.write(adata, own)
    backed = ad.read_h5ad(own, backed="r")
    io.write(backed, other)
    assert backed.isbacked
    assert str(backed.filename) == str(own)
    np.testing.assert_array_equal(io.read(other).X.toarray(), adata.X.toarray())
    backed.obs["more"] = 1.0
    io.write(backed, own)  # over the file that it reads from
    assert "more" in io.read(own).obs
    np.testing.assert_array_equal(backed.X[:3].toarray(), adata.X[:3].toarray())
    io.write(backed[:4], other)
    assert io.read(other).n_obs == 4
    backed.file.close()


def test_over_a_file_that_another_object_holds_open(adata, tmp_path):
    path = tmp_path / "a.h5ad"
    io.write(adata, path)
    holder = ad.read_h5ad(path, backed="r")
    io.write(adata[:5].copy(), path)
    assert io.read(path).n_obs == 5
    assert holder.X[:].shape == (20, 30)
    holder.file.close()


@pytest.mark.skipif(
    not OLD_PYTHON, reason="CELLSIGIL_ANNDATA010_PYTHON names no python with anndata 0.10"
)
def test_anndata_0_10_reads_it(adata, tmp_path):
    adata.raw = adata.copy()
    adata.obs["unique"] = [f"u{i}" for i in range(19)] + [None]
    adata.obs["whole"] = pd.array([1, None] * 10, dtype="Int64")
    adata.obs["flag"] = pd.array([True, None] * 10, dtype="boolean")
    adata.var["gene_symbols"] = adata.var_names
    adata.obsm["words"] = pd.DataFrame({"w": ["x", None] * 10}, index=adata.obs_names)
    adata.uns["table"] = pd.DataFrame({"group": ["T/NK", None], "p": [0.1, 0.2]})
    adata.uns["list"] = ["a", "b"]
    adata.obsp["graph"] = sp.csr_array(sp.random(20, 20, 0.1, format="csr", random_state=0))
    io.write(adata, tmp_path / "a.h5ad", compat=True)
    program = textwrap.dedent("""
        import sys, anndata as ad
        assert ad.__version__.startswith("0.10."), ad.__version__
        a = ad.read_h5ad(sys.argv[1])
        assert a.shape == (20, 30) and a.raw.shape == (20, 30)
        assert a.obs["cell_type"].cat.categories.tolist() == ["B", "T/NK"]
        assert a.obs["unique"].tolist()[:2] == ["u0", "u1"] and a.obs["unique"].isna().sum() == 1
        assert a.obs["note"].isna().sum() == 10 and a.obs["whole"].isna().sum() == 10
        assert a.obs_names[0] == "cell0" and a.var["gene_symbols"].iloc[2] == "GENE2"
        assert a.uns["table"]["group"].tolist()[0] == "T/NK" and list(a.uns["list"]) == ["a", "b"]
        assert a.uns["log1p"] == {} and a.obsm["words"]["w"].isna().sum() == 10
        print(int(a.layers["counts"].sum()))
    """)
    done = subprocess.run(
        [OLD_PYTHON, "-c", program, str(tmp_path / "a.h5ad")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == int(adata.layers["counts"].sum())

"""The door: every container and dtype comes out with the same fixed types and the same values."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tracemalloc

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellsigil import _block, _matrix
from cellsigil._core import _csr
from cellsigil._core._jit import threads


def _dense(rows: _matrix.Rows) -> np.ndarray:
    return rows.whole().to_scipy().toarray()


def _copy(matrix):
    return matrix.copy() if hasattr(matrix, "copy") else matrix


def _same_bits(a, b) -> bool:
    if sp.issparse(a):
        return all(
            np.array_equal(getattr(a, f), getattr(b, f)) for f in ("data", "indices", "indptr")
        )
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_every_container_and_dtype_gives_the_same_types_and_values(container, dtype, counts):
    given_matrix = container(counts.astype(dtype))
    before = _copy(given_matrix)
    rows = _matrix.as_rows(given_matrix, expects="counts")
    block = rows.whole()
    assert block.data.dtype in (np.float32, np.float64)
    assert block.indices.dtype == np.int32
    assert block.indptr.dtype == np.int64
    assert all(array.flags.writeable and array.dtype.isnative for array in block[:3])
    np.testing.assert_array_equal(block.to_scipy().toarray(), counts.toarray())
    if not rows.is_dask:
        assert _same_bits(before, given_matrix)


def test_integers_that_float32_cannot_hold_come_as_float64():
    rows = _matrix.as_rows(sp.csr_matrix(np.array([[2**24 + 1, 1]], dtype=np.int64)))
    assert rows.dtype == np.float64
    assert _dense(rows)[0, 0] == 2**24 + 1


@pytest.mark.parametrize(
    "make", [lambda m: m.tocoo(), lambda m: m.tolil(), lambda m: m.toarray().astype(">f4")]
)
def test_other_containers_come_in(make, counts):
    np.testing.assert_array_equal(_dense(_matrix.as_rows(make(counts))), counts.toarray())


def test_big_endian_sparse_comes_in(counts):
    swapped = sp.csr_matrix(counts)
    swapped.data = swapped.data.astype(">f4")
    np.testing.assert_array_equal(_dense(_matrix.as_rows(swapped)), counts.toarray())


def test_mixed_and_wide_index_dtypes_come_in(counts):
    wide = counts.copy()
    wide.indptr = wide.indptr.astype(np.int64)
    np.testing.assert_array_equal(_dense(_matrix.as_rows(wide)), counts.toarray())
    wide.indices = wide.indices.astype(np.int64)
    np.testing.assert_array_equal(_dense(_matrix.as_rows(wide)), counts.toarray())


def test_read_only_arrays_come_in(counts):
    locked = counts.copy()
    for array in (locked.data, locked.indices, locked.indptr):
        array.flags.writeable = False
    block = _matrix.as_rows(locked).whole()
    assert block.data.flags.writeable
    np.testing.assert_array_equal(block.to_scipy().toarray(), counts.toarray())


@pytest.mark.parametrize("large", [0, _block.LARGE])  # by kernels, by scipy
def test_unsorted_duplicated_and_zero_entries_are_made_canonical_in_a_copy(monkeypatch, large):
    monkeypatch.setattr(_block, "LARGE", large)
    data = np.array([1, 2, 3, 0, 5, -5], dtype=np.float32)
    indices = np.array([3, 1, 3, 0, 2, 2], dtype=np.int32)
    indptr = np.array([0, 4, 6], dtype=np.int32)
    odd = sp.csr_matrix((data, indices, indptr), shape=(2, 4))
    kept = (data.copy(), indices.copy(), indptr.copy())
    block = _matrix.as_rows(odd).whole()
    np.testing.assert_array_equal(block.indices, [1, 3])
    np.testing.assert_array_equal(block.data, [2, 4])
    np.testing.assert_array_equal(block.indptr, [0, 2, 2])
    assert all(np.array_equal(a, b) for a, b in zip(kept, (odd.data, odd.indices, odd.indptr)))


def test_the_slots_behind_indptr_are_not_read():
    matrix = sp.csr_matrix(
        (np.ones(2, np.float32), np.array([0, 1], np.int32), np.array([0, 1, 2])), shape=(2, 2)
    )
    matrix.data = np.array([1, 1, np.nan], np.float32)
    matrix.indices = np.array([0, 1, 99], np.int32)
    np.testing.assert_array_equal(_dense(_matrix.as_rows(matrix)), np.eye(2))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(0, 7), st.integers(1, 6)), elements=st.integers(0, 9)
    )
)
def test_any_small_matrix_survives(dense):
    for form in (sp.csr_matrix, sp.csc_matrix, np.asarray):
        np.testing.assert_array_equal(_dense(_matrix.as_rows(form(dense))), dense)


@pytest.mark.parametrize(
    ("value", "expects", "sentence"),
    [
        (-1.0, "counts", "holds -1 at cell 'c2', gene 'g1' .* whole numbers from 0 up"),
        (0.5, "counts", "holds 0.5 at cell 'c2', gene 'g1'"),
        (np.nan, "finite", "holds nan at cell 'c2', gene 'g1' .* Only finite numbers"),
        (np.inf, "counts", "holds inf at cell 'c2', gene 'g1'"),
        (-2.0, "nonnegative", "holds -2 at cell 'c2', gene 'g1' .* scaled or batch-corrected"),
    ],
)
def test_a_bad_value_is_named_by_cell_and_gene(value, expects, sentence, container):
    dense = np.ones((4, 3), np.float64)
    dense[2, 1] = value
    adata = ad.AnnData(container(sp.csr_matrix(dense)))
    adata.obs_names = [f"c{i}" for i in range(4)]
    adata.var_names = [f"g{j}" for j in range(3)]
    with pytest.raises(ValueError, match=sentence):
        _matrix.read_matrix(adata, expects=expects).whole()


def _broken(**arrays):
    matrix = sp.csr_matrix(np.eye(3, dtype=np.float32))
    for name, values in arrays.items():
        setattr(matrix, name, np.array(values, dtype=getattr(matrix, name).dtype))
    return matrix


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"indices": [0, 3, 2]}, "index 3 in row 1 is out of range; only 0 to 2 exist"),
        ({"indices": [0, -1, 2]}, "index -1 in row 1 is out of range"),
        ({"indptr": [0, 2, 1, 3]}, "indptr decreases at row 1"),
        ({"indptr": [0, 1, 2, 9]}, "indptr ends at 9, but 3 indices"),
        ({"indptr": [1, 1, 2, 3]}, "indptr starts at 1 instead of 0"),
    ],
)
def test_a_broken_structure_is_refused_before_a_kernel_walks_on_it(arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        _matrix.as_rows(_broken(**arrays))


def test_a_broken_csc_is_refused_too():
    matrix = sp.csc_matrix(np.eye(3, dtype=np.float32))
    matrix.indices = np.array([0, 7, 2], np.int32)
    with pytest.raises(ValueError, match="index 7 in column 1 is out of range"):
        _matrix.as_rows(matrix)


@pytest.mark.parametrize("bad", [np.array([["a", "b"]]), np.ones(3), np.ones((2, 2), complex)])
def test_what_is_no_matrix_of_numbers_is_refused(bad):
    with pytest.raises(ValueError, match="a 2-d array of numbers is needed"):
        _matrix.as_rows(bad)


def test_a_missing_layer_names_the_near_one(counts):
    adata = ad.AnnData(counts, layers={"counts": counts})
    with pytest.raises(KeyError, match=re.escape("No layer 'count'. Did you mean 'counts'?")):
        _matrix.read_matrix(adata, "count")


def test_counts_are_found_in_the_layer_then_in_x(counts):
    adata = ad.AnnData(counts)
    assert _matrix.read_counts(adata).name == "X"
    adata.layers["counts"] = counts.copy()
    assert _matrix.read_counts(adata).name == "layers['counts']"
    adata = ad.AnnData(counts.multiply(0.3).tocsr())
    with pytest.raises(ValueError, match=r"put them in adata.layers\['counts'\]"):
        _matrix.read_counts(adata)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m, "whole numbers only .* looks like counts"),
        (lambda m: m.multiply(-0.3).tocsr(), "negative values .* looks scaled"),
        (lambda m: m.multiply(33.3).tocsr(), "not on a log scale"),
    ],
)
def test_what_is_not_log_normalised_is_refused(change, sentence, counts):
    with pytest.raises(ValueError, match=sentence):
        _matrix.read_log(ad.AnnData(change(counts)))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_map_log_is_read_log_and_a_walk(n_threads, container, counts, monkeypatch):
    monkeypatch.setattr(_matrix, "ENTRIES_AT_ONCE", 50)
    x = container(sp.csr_matrix(counts.astype(np.float32).log1p()))
    adata = ad.AnnData(shape=counts.shape)
    adata.layers["log"] = x

    def sums(block, first):
        rows = np.arange(first, first + block.n_rows)
        return np.column_stack((rows, block.to_scipy().toarray()))

    with threads(n_threads):
        found = np.concatenate(_matrix.map_log(adata, sums, "log"))
    expected = np.concatenate(list(_matrix.read_log(adata, "log").map(sums)))
    assert (found == expected).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x.data.__setitem__(slice(None), 3.0), "X holds whole numbers only"),
        (lambda x: x.data.__setitem__(-1, 60.5), "not on a log scale"),
        (lambda x: x.data.__setitem__(-1, -1.5), "negative values"),
        (lambda x: x.data.__setitem__(-1, np.nan), "holds nan at cell 'c5'"),
        (lambda x: x.indices.__setitem__(-1, 9), "index 9 in row 5 is out of range"),
        (lambda x: x.indices.__setitem__(-1, -1), "index -1 in row 5 is out of range"),
    ],
)
def test_map_log_refuses_in_the_words_of_read_log(change, sentence, monkeypatch):
    monkeypatch.setattr(_matrix, "ENTRIES_AT_ONCE", 4)
    x = sp.csr_matrix(np.log1p(np.arange(24, dtype=np.float32).reshape(6, 4)))
    adata = ad.AnnData(x)
    adata.obs_names = [f"c{i}" for i in range(6)]
    change(adata.X)
    for read in (_matrix.read_log, lambda a: _matrix.map_log(a, lambda block, _: block)):
        with pytest.raises(ValueError, match=sentence):
            read(adata)


def test_map_log_hands_on_rows_in_canonical_form(monkeypatch):
    monkeypatch.setattr(_matrix, "ENTRIES_AT_ONCE", 2)
    data = np.array([1.5, 0.5, 0.25, 0.0], np.float32)
    x = sp.csr_matrix((data, np.array([2, 0, 0, 1]), np.array([0, 2, 4])), shape=(2, 3))
    adata = ad.AnnData(x.copy())
    blocks = _matrix.map_log(adata, lambda block, _: block)
    assert np.concatenate([block.indices for block in blocks]).tolist() == [0, 2, 0]
    assert np.concatenate([block.data for block in blocks]).tolist() == [0.5, 1.5, 0.25]
    empty = ad.AnnData(sp.csr_matrix((3, 2), dtype=np.float32))
    assert sum(block.n_rows for block in _matrix.map_log(empty, lambda block, _: block)) == 3


def test_gene_blocks_are_the_columns_for_any_budget(container, counts):
    rows = _matrix.as_rows(container(counts))
    expected = counts.tocsc()
    expected.sort_indices()
    for budget in (1, 500, 1 << 30):
        blocks = list(rows.gene_blocks(budget_bytes=budget))
        assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]]
        np.testing.assert_array_equal(np.concatenate([b.cells for b in blocks]), expected.indices)
        np.testing.assert_array_equal(np.concatenate([b.values for b in blocks]), expected.data)
        assert blocks[-1].stop == counts.shape[1]
    assert len(list(rows.gene_blocks(budget_bytes=1))) >= counts.shape[1] - 1


def test_map_to_matrix_owns_its_arrays_and_stays_lazy(container, counts):
    source = container(counts)
    rows = _matrix.as_rows(source)
    out = rows.map_to_matrix(lambda block, _, out: np.multiply(block.data, 2, out=out))
    if rows.is_dask:
        assert type(out).__module__.startswith("dask")
        out = out.compute()
    elif sp.issparse(source):
        assert not np.shares_memory(out.indices, source.indices)
        assert not np.shares_memory(out.data, source.data)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out.toarray(), 2 * counts.toarray())


def test_a_backed_matrix_comes_by_row_chunks(tmp_path, counts):
    ad.AnnData(counts).write_h5ad(tmp_path / "backed.h5ad")
    backed = ad.read_h5ad(tmp_path / "backed.h5ad", backed="r")
    rows = _matrix.read_counts(backed)
    assert not rows.in_memory
    np.testing.assert_array_equal(_dense(rows), counts.toarray())
    np.testing.assert_array_equal(rows.column_counts(), (counts.toarray() > 0).sum(0))


def test_what_is_made_of_a_matrix_on_disk_is_held_once(tmp_path):
    """A zero that is stored is left out; what is made holds the rest, and beside it a few blocks."""
    stored = sp.random(33_000, 60, 0.3, "csr", dtype=np.float32, random_state=0)
    stored.data = np.rint(stored.data * 3)
    ad.AnnData(stored).write_h5ad(tmp_path / "backed.h5ad")
    rows = _matrix.read_counts(ad.read_h5ad(tmp_path / "backed.h5ad", backed="r"))
    with threads(1):
        rows.map_to_matrix(
            lambda block, _, out: np.copyto(out, block.data)
        )  # compiled before it is measured
        tracemalloc.start()
        made = rows.map_to_matrix(lambda block, _, out: np.log1p(block.data, out=out))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert made.nnz == np.count_nonzero(stored.data) < stored.nnz
    np.testing.assert_array_equal(made.toarray(), np.log1p(stored.toarray()))
    assert peak < 1.4 * 8 * stored.nnz


def test_a_backed_csc_is_refused_with_the_way_out(tmp_path, counts):
    ad.AnnData(counts.tocsc()).write_h5ad(tmp_path / "backed.h5ad")
    backed = ad.read_h5ad(tmp_path / "backed.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"by columns \(CSC\) .* write it once as CSR"):
        _matrix.read_counts(backed)


@pytest.mark.parametrize(
    ("part", "place", "value", "said"),
    [
        ("indptr", 1500, 3, "indptr decreases at row 1499"),
        ("indptr", 0, 4, "indptr starts at 4 instead of 0"),
        ("indptr", -1, 10**6, "indptr ends at"),
        ("indices", 7000, 99, "index 99 in row {row} is out of range; only 0 to 29"),
        ("indices", 7000, -1, "index -1 in row {row} is out of range; only 0 to 29"),
    ],
)
def test_a_broken_matrix_on_disk_is_refused_by_its_place(tmp_path, part, place, value, said):
    whole = sp.random(2500, 30, 0.2, format="csr", random_state=0, dtype=np.float32)
    whole.data[:] = 1
    ad.AnnData(whole).write_h5ad(tmp_path / "broken.h5ad")
    with h5py.File(tmp_path / "broken.h5ad", "r+") as file:
        file["X"][part][place] = value
    row = int(np.searchsorted(whole.indptr, 7000, side="right")) - 1
    rows = _matrix.read_counts(ad.read_h5ad(tmp_path / "broken.h5ad", backed="r"))
    with pytest.raises(ValueError, match=said.format(row=row)):
        list(rows.map(lambda block, _: block.n_rows))


def test_a_lazily_opened_anndata_comes_in(tmp_path, counts):
    pytest.importorskip("xarray")
    ad.AnnData(counts).write_zarr(tmp_path / "lazy.zarr")
    lazy = ad.experimental.read_lazy(tmp_path / "lazy.zarr")
    rows = _matrix.as_rows(lazy.X, expects="counts")
    np.testing.assert_array_equal(_dense(rows), counts.toarray())


def test_the_grid_does_not_depend_on_threads(counts):
    big = sp.vstack([counts] * 50).tocsr()
    grids = []
    for n in (1, 2):
        with threads(n):
            grids.append(_matrix.as_rows(big).grid())
    assert grids[0] == grids[1]
    assert len(grids[0]) > 1


def test_reduce_combines_in_row_order(container, counts):
    rows = _matrix.as_rows(container(counts))
    firsts = rows.reduce(lambda block, first: [(first, block.n_rows)], lambda a, b: a + b)
    assert [f for f, _ in firsts] == sorted(f for f, _ in firsts)
    assert sum(n for _, n in firsts) == counts.shape[0]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_reduce_of_a_dask_array_is_a_tree_that_the_chunks_shape(counts, n):
    da = pytest.importorskip("dask.array")
    lazy = da.from_array(counts[:n], chunks=(1, 40), asarray=False)
    rows = _matrix.as_rows(lazy, expects="counts")
    tree = rows.reduce(lambda _, first: first, lambda a, b: (a, b))
    wanted: list = list(range(n))
    while len(wanted) > 1:
        pairs = [tuple(wanted[i : i + 2]) for i in range(0, len(wanted), 2)]
        wanted = [pair if len(pair) == 2 else pair[0] for pair in pairs]
    assert tree == wanted[0]
    chain = rows.reduce(lambda _, first: str(first), lambda a, b: f"({a}{b})", in_order=True)
    assert chain == "(" * (n - 1) + "0" + "".join(f"{i})" for i in range(1, n))


def test_a_view_is_read_as_it_is_seen(counts):
    adata = ad.AnnData(counts)
    view = adata[5:20, ::2]
    np.testing.assert_array_equal(_dense(_matrix.read_counts(view)), counts[5:20, ::2].toarray())
    assert view.is_view


ON_A_CLUSTER = """
import sys
import dask.array as da
import numpy as np
import scipy.sparse as sp
from distributed import Client, LocalCluster
from cellsigil import _matrix

counts = sp.load_npz(sys.argv[1])
chunks = [da.from_array(counts[i : i + 20], chunks=(20, 40), asarray=False) for i in (0, 20, 40)]
rows = _matrix.as_rows(da.concatenate(chunks), expects="counts")
here = rows.column_counts()
with (
    LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    Client(cluster),
):
    np.testing.assert_array_equal(rows.column_counts(), here)
    np.testing.assert_array_equal(rows.whole().to_scipy().toarray(), counts.toarray())
    print("the same", flush=True)
"""


def test_a_cluster_of_processes_gives_the_same_answers(counts, tmp_path):
    """In a process of its own: on a machine under load a cluster once waited for its workers without end."""
    pytest.importorskip("distributed")
    sp.save_npz(tmp_path / "counts.npz", counts)
    limit, said = 180, tmp_path / "said.txt"  # 5 s on a quiet machine
    with open(said, "w") as file:
        child = subprocess.Popen(
            [sys.executable, "-c", ON_A_CLUSTER, str(tmp_path / "counts.npz")],
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # its workers too
            child.wait()
            pytest.fail(f"No answer of two worker processes in {limit} s: {said.read_text()}")
    assert code == 0, said.read_text()
    assert "the same" in said.read_text()


@settings(deadline=None)  # the first example waits for the compiler
@given(
    hnp.arrays(
        np.float32,
        (6, 5),
        elements=st.sampled_from([1.0, 2.0, 0.5, 0.0, -1.0, -0.5, np.nan, np.inf, -np.inf]),
    ),
    hnp.arrays(np.int32, (6, 5), elements=st.integers(-1, 5)),
    hnp.arrays(np.bool_, (6,)),
)
def test_the_quick_look_at_a_row_finds_all_that_the_slow_one_finds(data, indices, clean):
    indices[clean] = np.arange(5)
    data, indices = data.ravel(), indices.ravel()
    indptr = np.arange(7, dtype=np.int64) * 5
    found = np.zeros(6, np.uint8)
    _csr.inspect(data, indices, indptr, 5, found, 0, 6)
    for i in range(6):
        assert found[i] == _csr.row_flags(data, indices, indptr[i], indptr[i + 1], 5)
    for beyond in (1.5, 50.0):
        fine = not (found & ~np.uint8(_csr.FRACTION)).any() and data.max() < beyond
        fraction = fine and bool((found & _csr.FRACTION).any())
        assert _csr.vouch(data, indices, indptr, 5, beyond) == (fine, fraction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extent_is_what_stored_values_span(dtype):
    def extent(*values):
        matrix = sp.csr_matrix(np.array([values], dtype))
        return tuple(_matrix.as_rows(matrix).extent)

    assert extent(2, 0, 7, 3) == (2, 7, False)
    assert extent(0.5, 2) == (0.5, 2, True)
    assert extent(-3, -0.25) == (-3, -0.25, True)
    assert extent(-3, 5, 1) == (-3, 5, False)
    assert extent(0, 0) == (np.inf, -np.inf, False)

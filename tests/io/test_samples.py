"""Several samples: folders of them, sample sheets, and genes that don't agree."""

from __future__ import annotations

import numpy as np
import pytest

from cellsigil import io

IDS = [f"ENSG{i:011d}" for i in range(30)]


@pytest.fixture
def two(tenx_h5, small):
    return [tenx_h5("data/a.h5"), tenx_h5("data/b.h5", small * 2)]


def sheet(path, text, body, name="samples.csv"):
    return text(path / name, body)


def test_sheet(two, tmp_path, text, small):
    body = "path,sample,condition,batch,age,code\ndata/b.h5,s2,stim,1,40,007\ndata/a.h5,s1,ctrl,2,31.5,008\n"
    adata = io.read(sheet(tmp_path, text, body))
    assert adata.shape == (40, 30)
    assert adata.obs_names[0] == "s2_ACGTACGT0000-1"
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), np.vstack([small * 2, small]))
    np.testing.assert_array_equal(adata.X.toarray(), adata.layers["counts"].toarray())
    assert not np.shares_memory(adata.X.data, adata.layers["counts"].data)
    assert adata.layers["counts"].dtype == np.float32
    first = adata.obs.iloc[0]
    assert first.to_dict() == {
        "sample": "s2", "condition": "stim", "batch": "1", "age": 40.0, "code": "007"
    }  # fmt: skip
    assert adata.obs["sample"].cat.categories.tolist() == ["s2", "s1"]
    assert adata.obs["condition"].cat.categories.tolist() == ["stim", "ctrl"]
    assert "in_all_samples" not in adata.var


def test_empty_fields_of_a_sheet_are_missing(two, tmp_path, text):
    body = "path,sample,condition,age\ndata/a.h5,s1,ctrl,40\ndata/b.h5,s2,,\n"
    obs = io.read(sheet(tmp_path, text, body)).obs
    assert obs["condition"].cat.categories.tolist() == ["ctrl"]
    assert obs["condition"].isna().sum() == obs["age"].isna().sum() == 20
    assert obs["age"].iloc[0] == 40


def test_sheet_of_one_sample_leaves_barcodes_alone(two, tmp_path, text):
    adata = io.read(sheet(tmp_path, text, "sample\tpath\ns1\tdata/a.h5\n", "s.tsv"))
    assert adata.obs_names[0] == "ACGTACGT0000-1"
    assert set(adata.obs["sample"]) == {"s1"}


def test_one_sample_of_a_sheet(two, tmp_path, text, small):
    body = "path;sample;condition\ndata/a.h5;s1;ctrl\ndata/b.h5;s2;stim\n"
    path = sheet(tmp_path, text, body)
    adata = io.read(path, sample="s2")
    np.testing.assert_array_equal(adata.X.toarray(), small * 2)
    assert adata.obs["condition"].cat.categories.tolist() == ["stim"]
    with pytest.raises(io.ReadError, match=r"no sample 's11'. Did you mean 's1'"):
        io.read(path, sample="s11")


def test_sheet_joins_files_of_every_kind(two, tenx_folder, adata, tmp_path, text, small):
    adata.var["gene_ids"] = IDS
    io.write(adata, tmp_path / "c.h5ad")
    tenx_folder("mtx")
    body = "path,sample\ndata/a.h5,a\nmtx,m\nc.h5ad,h\n"
    joined = io.read(sheet(tmp_path, text, body))
    assert joined.n_obs == 60
    np.testing.assert_array_equal(joined.X.toarray(), np.vstack([small] * 3))
    assert joined.obs["cell_type"].isna().sum() == 40


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("path,smple\ndata/a.h5,s1\n", "none named 'sample'. Did you mean 'smple'"),
        ("path,sample\n", "sample sheet without samples"),
        ("path,sample\ndata/a.h5,\n", "line 2: the sample is empty"),
        ("path,sample\n,s1\n", "line 2: the path is empty"),
        (
            "path,sample\ndata/aa.h5,s1\n",
            r"line 2, sample 's1': there is no .*aa.h5. Did you mean 'a.h5'",
        ),
        ("path,sample\ndata/a.h5,s1\ndata/b.h5,s1\n", "names the sample 's1' twice"),
        ("path,sample\ndata/a.h5,s1\ndata/a.h5,s2\n", "names the path '.*a.h5' twice"),
        ("path,sample\ndata,s1\n", r"data holds 2 samples: a, b. Give each its own line"),
        ("path,sample\ndata/a.h5,s1,x\n", "line 2: 3 fields, where the header has 2"),
        ("path,sample,sample\ndata/a.h5,s1,x\n", "two columns of one name"),
    ],
)
def test_what_is_wrong_with_a_sheet(two, tmp_path, text, body, said):
    with pytest.raises(io.ReadError, match=said) as caught:
        io.read(sheet(tmp_path, text, body))
    assert str(tmp_path) in str(caught.value)


def test_folder_of_h5_files(two, tmp_path, small):
    adata = io.read(tmp_path / "data")
    assert adata.obs["sample"].cat.categories.tolist() == ["a", "b"]
    assert adata.obs_names[20] == "b_ACGTACGT0000-1"
    np.testing.assert_array_equal(adata.X.toarray(), np.vstack([small, small * 2]))


def test_folder_with_raw_and_filtered_of_each_sample(tenx_h5, tmp_path, small):
    for name in ("GSM1_x", "GSM2_y"):
        tenx_h5(f"geo/{name}_filtered_feature_bc_matrix.h5")
        tenx_h5(f"geo/{name}_raw_feature_bc_matrix.h5", small * 9)
    adata = io.read(tmp_path / "geo")
    assert adata.obs["sample"].cat.categories.tolist() == ["GSM1_x", "GSM2_y"]
    assert adata.X.max() == small.max()


def test_folder_of_cell_ranger_runs(tenx_folder, tmp_path):
    for name in ("donor1", "donor2"):
        tenx_folder(f"runs/{name}/outs/filtered_feature_bc_matrix", gz=True)
        tenx_folder(f"runs/{name}/outs/raw_feature_bc_matrix", gz=True)
    adata = io.read(tmp_path / "runs")
    assert adata.obs["sample"].cat.categories.tolist() == ["donor1", "donor2"]
    assert io.read(tmp_path / "runs", sample="donor2").n_obs == 20


def test_geo_prefixes_in_one_folder(tenx_folder, tmp_path, small):
    tenx_folder("geo", prefix="GSM100_liver_", gz=True)
    tenx_folder("geo", small * 2, prefix="GSM101_lung.", gz=True)
    adata = io.read(tmp_path / "geo")
    assert adata.obs["sample"].cat.categories.tolist() == ["GSM100_liver", "GSM101_lung"]
    np.testing.assert_array_equal(adata.X.toarray(), np.vstack([small, small * 2]))
    alone = io.read(tmp_path / "geo" / "GSM101_lung.matrix.mtx.gz")
    np.testing.assert_array_equal(alone.X.toarray(), small * 2)


def test_genes_in_another_order_are_matched_by_id(tenx_h5, tmp_path, small):
    tenx_h5("d/a.h5")
    order = np.random.default_rng(0).permutation(30)
    tenx_h5("d/b.h5", small[:, order], ids=[IDS[i] for i in order])
    adata = io.read(tmp_path / "d")
    np.testing.assert_array_equal(adata.X.toarray(), np.vstack([small, small]))
    assert adata.X.has_sorted_indices
    assert adata.var["gene_ids"].tolist() == IDS


def test_genes_that_some_samples_lack(tenx_h5, tmp_path, small):
    tenx_h5("d/a.h5", small[:, :25], ids=IDS[:25])
    tenx_h5("d/b.h5", small[:, 5:], ids=IDS[5:])
    with pytest.warns(UserWarning, match=r"10 of 30 genes are not in every sample.*in_all_samples"):
        adata = io.read(tmp_path / "d")
    assert adata.var["gene_ids"].tolist() == IDS
    assert adata.var["in_all_samples"].sum() == 20
    assert adata.var_names.is_unique
    np.testing.assert_array_equal(adata.X.toarray()[20:, 5:], small[:, 5:])
    assert adata.X[20:, :5].sum() == 0


def test_ids_that_disagree(tenx_h5, tmp_path):
    tenx_h5("d/a.h5")
    tenx_h5("d/b.h5", ids=[f"ENSMUSG{i:011d}" for i in range(30)])
    with pytest.raises(
        io.ReadError, match=r"samples 'a' .* and 'b' .* share only 0 gene names. Bring them"
    ):
        io.read(tmp_path / "d")


def test_ids_with_and_without_a_version(tenx_h5, tmp_path):
    tenx_h5("d/a.h5")
    tenx_h5("d/b.h5", ids=[f"{name}.4" for name in IDS])
    with pytest.raises(io.ReadError, match=r"They agree without the version after the dot"):
        io.read(tmp_path / "d")


def test_antibodies_of_several_samples(tenx_h5, tmp_path):
    kinds = ["Gene Expression"] * 25 + ["Antibody Capture"] * 5
    tenx_h5("d/a.h5", kinds=kinds)
    tenx_h5("d/b.h5", kinds=kinds)
    tenx_h5("d/c.h5", kinds=["Gene Expression"] * 30)
    with pytest.warns(UserWarning, match="not in every sample"):
        adata = io.read(tmp_path / "d")
    table = adata.obsm["Antibody Capture"]
    assert table.index.tolist() == adata.obs_names.tolist()
    assert table.iloc[:40].notna().all().all()
    assert table.iloc[40:].isna().all().all()


def test_a_sample_without_counts(two, tmp_path, text, adata):
    adata.var["gene_ids"] = IDS
    del adata.layers["counts"]
    adata.X = adata.X * 0.5
    io.write(adata, tmp_path / "n.h5ad")
    body = "path,sample\ndata/a.h5,a\nn.h5ad,n\n"
    with pytest.raises(io.ReadError, match=r"sample 'n' holds no raw counts"):
        io.read(sheet(tmp_path, text, body))

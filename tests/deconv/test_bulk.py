"""Bulk files as every producer writes them, and what is refused."""

from __future__ import annotations

import gzip
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellsigil import deconv
from cellsigil.deconv._bulk import ENSEMBL, ENTREZ, SYMBOLS, TRANSCRIPTS, id_kind, strip_versions

A, B = "ENSG00000010610", "ENSG00000153563"
FILES = {  # name of the file: (text, genes, samples, first row)
    "plain.tsv": ("gene\ts1\ts2\nCD4\t100\t3.5\nNA\t0\t60\n", ["CD4", "NA"], ["s1", "s2"], [100, 3.5]),
    "plain.csv": ("Gene,s1,s2\nCD4,100,3\nCD8A,0,60\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "quoted.csv": ('"","s1","s,2"\n"CD4",100,3\n"CD8A",0,60\n', ["CD4", "CD8A"], ["s1", "s,2"], [100, 3]),
    "german.csv": ("gene;s1;s2\nCD4;100,5;3\nCD8A;0;60\n", ["CD4", "CD8A"], ["s1", "s2"], [100.5, 3]),
    "english.csv": ("gene;s1;s2\nCD4;100.5;3\nCD8A;0;60\n", ["CD4", "CD8A"], ["s1", "s2"], [100.5, 3]),
    "r_corner.txt": ("s1\ts2\nCD4\t100\t3\nCD8A\t0\t60\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "spaces.txt": ("gene s1 s2\nCD4 100 3\nCD8A 0 60\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "crlf.tsv": ("gene\ts1\ts2\r\nCD4\t100\t3\r\nCD8A\t0\t60\r\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "numbers_as_names.tsv": ("gene\t101\t102\nCD4\t100\t3\nCD8A\t0\t60\n", ["CD4", "CD8A"], ["101", "102"], [100, 3]),
    "one_number.csv": ("Hugo_Symbol,7\nCD4,100\nCD8A,60\n", ["CD4", "CD8A"], ["7"], [100]),
    "r_numbers.txt": ("101\t102\nCD4\t100\t3\nCD8A\t0\t60\n", ["CD4", "CD8A"], ["101", "102"], [100, 3]),
    "old_mac.tsv": ("gene\ts1\ts2\rCD4\t100\t3\rCD8A\t0\t60\r", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "marked.tsv": ("\ufeffgene\ts1\ts2\nCD4\t100\t3\nCD8A\t0\t60\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "tabs_at_ends.tsv": ("gene\ts1\ts2\t\nCD4\t100\t3\t\nCD8A\t0\t60\t\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "tabs_in_rows.tsv": ("gene\ts1\ts2\nCD4\t100\t3\t\nCD8A\t0\t60\t\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "blanks.tsv": ("\n# by me\ngene \ts1\t s2\nCD4 \t100 \t3\nCD8A\t0\t60\n", ["CD4", "CD8A"], ["s1", "s2"], [100, 3]),
    "entrez.tsv": ("id\ts1\ts2\n920\t100\t3\n925\t0\t60\n", ["920", "925"], ["s1", "s2"], [100, 3]),
    "fc.txt": (
        "# Program:featureCounts v2.0.6; Command:\"featureCounts\"\n"
        "Geneid\tChr\tStart\tEnd\tStrand\tLength\t/data/run 1/s1.bam\tout/s2.sorted.bam\n"
        f"{A}.4\t1;1\t1;5\t3;9\t+;+\t8\t100\t3\n{B}.2\t2\t1\t9\t-\t9\t0\t60\n",
        [A, B], ["s1", "s2.sorted"], [100, 3],
    ),
    "quantmerge.tsv": (f"Name\ts1\ts2\n{A}.4\t100\t3\n{B}.2\t0\t60\n", [A, B], ["s1", "s2"], [100, 3]),
    "quant.genes.sf": (
        f"Name\tLength\tEffectiveLength\tTPM\tNumReads\n{A}\t900\t700.5\t100.5\t10\n{B}\t90\t9\t60\t1\n",
        [A, B], None, [100.5],
    ),
    "abundance.tsv": (
        "target_id\tlength\teff_length\test_counts\ttpm\n"
        f"ENST00000011653.9|{A}.4|-|-|CD4-201|CD4|900|\t900\t700\t8\t60\n"
        f"ENST00000437695.1|{A}.4|-|-|CD4-202|CD4|900|\t900\t700\t8\t40\n"
        f"ENST00000283635.8|{B}.2|-|-|CD8A-201|CD8A|900|\t900\t700\t8\t9.5\n",
        [A, B], None, [100],
    ),
    "salmon.merged.gene_counts.tsv": (
        f"gene_id\tgene_name\ts1\ts2\n{A}\tCD4\t100.5\t3\n{B}\tCD8A\t0\t60\n", [A, B], ["s1", "s2"], [100.5, 3],
    ),
    "salmon.merged.transcript_tpm.tsv": (
        f"tx\tgene_id\ts1\ts2\nENST1\t{A}\t60\t1\nENST2\t{A}\t40\t2\nENST3\t{B}\t0\t60\n",
        [A, B], ["s1", "s2"], [100, 3],
    ),
    "rsem.merged.gene_counts.tsv": (
        f"gene_id\ttranscript_id(s)\ts1\ts2\n{A}\tENST1,ENST2\t100\t3\n{B}\tENST3\t0\t60\n",
        [A, B], ["s1", "s2"], [100, 3],
    ),
    "s1.ReadsPerGene.out.tab": (
        "N_unmapped\t9\t9\t9\nN_multimapping\t9\t9\t9\nN_noFeature\t9\t99\t9\nN_ambiguous\t9\t9\t9\n"
        f"{A}\t100\t1\t99\n{B}\t60\t2\t58\n",
        [A, B], ["s1"], [100],
    ),
    "s1.genes.results": (
        "gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM\n"
        f"{A}\tENST1\t900\t800\t7\t100\t50\n{B}\tENST3\t900\t800\t7\t60\t50\n",
        [A, B], ["s1"], [100],
    ),
    "s1.isoforms.results": (
        "transcript_id\tgene_id\tlength\teffective_length\texpected_count\tTPM\tFPKM\tIsoPct\n"
        f"ENST1\t{A}\t900\t800\t7\t60\t50\t60\nENST2\t{A}\t900\t800\t7\t40\t50\t40\nENST3\t{B}\t9\t8\t7\t60\t5\t1\n",
        [A, B], ["s1"], [100],
    ),
    "htseq.txt": (
        f"{A}.4\t100\n{B}\t60\n__no_feature\t5\n__ambiguous\t5\n__too_low_aQual\t5\n__not_aligned\t5\n"
        "__alignment_not_unique\t5\n",
        [A, B], ["htseq"], [100],
    ),
    "htseq_symbols.txt": (
        f"{A}.4\tCD4\t100\t3\n{B}\tCD8A\t0\t60\n__no_feature\t\t5\t5\n",
        [A, B], ["column3", "column4"], [100, 3],
    ),
    "htseq_symbols_header.txt": (
        f"\t\t\ts1\n{A}.4\tCD4\tprotein_coding\t100\n{B}\tCD8A\tprotein_coding\t60\n__no_feature\t\t\t5\n",
        [A, B], ["s1"], [100],
    ),
    "fc_attributes.txt": (
        "# Program:featureCounts v2.0.6\n"
        "Geneid\tChr\tStart\tEnd\tStrand\tLength\tgene_name\tgene_biotype\ts1.bam\n"
        f"{A}.4\t1\t1\t3\t+\t8\tCD4\tprotein_coding\t100\n{B}.2\t2\t1\t9\t-\t9\tCD8A\tprotein_coding\t60\n",
        [A, B], ["s1"], [100],
    ),
    "x.rna_seq.augmented_star_gene_counts.tsv": (
        "# gene-model: GENCODE v36\n"
        "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\ttpm_unstranded\t"
        "fpkm_unstranded\tfpkm_uq_unstranded\n"
        "N_unmapped\t\t\t9\t9\t9\t\t\t\nN_noFeature\t\t\t9\t9\t9\t\t\t\n"
        f"{A}.16\tCD4\tprotein_coding\t9\t4\t5\t100.5\t1\t2\n{B}.12\tCD8A\tprotein_coding\t9\t4\t5\t60\t1\t2\n",
        [A, B], ["x"], [100.5],
    ),
    "gtex.gct.gz": (
        f"#1.2\n2\t2\nName\tDescription\ts1\ts2\n{A}.16\tCD4\t100.5\t3\n{B}.12\tCD8A\t0\t60\n",
        [A, B], ["s1", "s2"], [100.5, 3],
    ),
}  # fmt: skip


def put(folder, name, text):
    path = folder / name
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


@pytest.mark.parametrize("name", list(FILES))
def test_reads_what_every_producer_writes(tmp_path, name):
    text, genes, samples, first = FILES[name]
    with warnings.catch_warnings(action="error"):
        table = deconv.read_bulk(put(tmp_path, name, text))
    assert table.index.tolist() == genes
    assert table.columns.tolist() == (samples or [tmp_path.name])
    np.testing.assert_allclose(table.iloc[0], first)
    assert (table.dtypes == np.float64).all()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_bytes_say_how_a_file_is_encoded_not_its_name(tmp_path, encoding, packed):
    raw = "gene\ts1\nCD4\t100\nCD8A\t60\n".encode(encoding)
    (tmp_path / "b.txt").write_bytes(gzip.compress(raw) if packed else raw)
    assert deconv.read_bulk(tmp_path / "b.txt")["s1"].to_dict() == {"CD4": 100, "CD8A": 60}


def test_a_header_may_be_long(tmp_path):
    names = [f"{i:0100d}.bam" for i in range(2000)]
    rows = [f"{gene}\t" + "\t".join(["100"] * len(names)) for gene in ("CD4", "CD8A")]
    table = deconv.read_bulk(
        put(tmp_path, "b.tsv", "\n".join(["gene\t" + "\t".join(names), *rows]))
    )
    assert table.shape == (2, 2000)


def test_a_file_without_a_header_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"no header.*gene 'CD4'.*column2, column3"):
        table = deconv.read_bulk(put(tmp_path, "b.tsv", "CD4\t100\t3\nCD8A\t0\t60\n"))
    assert table.loc["CD4"].tolist() == [100, 3]


@pytest.mark.parametrize(
    "name",
    ["gtex.gct.gz", "salmon.merged.gene_counts.tsv", "x.rna_seq.augmented_star_gene_counts.tsv",
     "htseq_symbols.txt", "htseq_symbols_header.txt", "fc_attributes.txt"],
)  # fmt: skip
def test_keeps_the_symbols_beside_the_ids(tmp_path, name):
    table = deconv.read_bulk(put(tmp_path, name, FILES[name][0]))
    assert table.attrs["gene_symbols"] == {A: "CD4", B: "CD8A"}


def test_reads_h5ad_as_samples_by_genes(tmp_path):
    adata = ad.AnnData(np.array([[100.0, 0], [3, 60]], np.float32))
    adata.obs_names, adata.var_names = ["s1", "s2"], ["CD4", "CD8A"]
    adata.write_h5ad(tmp_path / "b.h5ad")
    table = deconv.read_bulk(tmp_path / "b.h5ad")
    assert table.loc["CD4"].tolist() == [100, 3]


REFUSED = {
    "deseq.csv": ('"","baseMean","log2FoldChange","lfcSE","stat","pvalue","padj"\n"A",1,2,3,4,5,6\n', "differential"),
    "recount3.gz": ("##annotation=G026\n##date.generated=x\ngene_id\ts1\nENSG1\t5\n", "compute_read_counts"),
    "log.tsv": ("gene\ts1\nA\t3.2\nB\t11.7\n", "looks log-transformed.*11.7.*2\\*\\*x"),
    "negative.tsv": ("gene\ts1\ts2\nA\t100\t3\nB\t1\t-2.5\n", "negative at gene 'B' in sample 's2'.*-2.5"),
    "missing.tsv": ("gene\ts1\ts2\nA\t100\t3\nB\t\tNA\n", "no value for gene 'B' in sample 's1' \\(2 missing"),
    "infinite.tsv": ("gene\ts1\ts2\nA\t100\t3\nB\t1\tinf\n", "infinite at gene 'B' in sample 's2'"),
    "text.tsv": ("gene\ts1\ts2\nA\t100\t3\nB\t1\tn.d.\n", "column 's2' holds 'n.d.' at gene 'B'"),
    "zero.tsv": ("gene\ts1\ts2\nA\t100\t0\nB\t1\t0\n", "sample 's2' is zero everywhere"),
    "twice.tsv": ("gene\ts1\ts1\nA\t100\t0\nB\t1\t0\n", "sample 's1' twice"),
    "wide.tsv": ("id\tA\tB\tC\ns1\t100\t0\t3\n", "'B' is zero everywhere.*genes x samples"),
    "title.tsv": ("My data\ngene\ts1\ts2\nA\t1\t2\n", "first line has 1 fields, the next one 3"),
    "comma.tsv": ("gene\ts1\nA\t1,5\nB\t3\n", "'1,5' at gene 'A'.*decimal point"),
    "thousands.tsv": ("gene\ts1\nA\t1,500.5\nB\t3\n", "'1,500.5' at gene 'A'.*decimal point"),
    "empty.tsv": ("", "no table"),
    "header.tsv": ("gene\ts1\n", "no table"),
    "one.tsv": ("gene\nA\nB\n", "one column"),
    "ragged.tsv": ("gene\ts1\ts2\nA\t100\t3\nB\t1\t2\t3\t4\n", "ragged.tsv"),
    "quant.sf": (
        "Name\tLength\tEffectiveLength\tTPM\tNumReads\nENST00000011653.9\t9\t7\t100\t1\nENST00000437695.1\t9\t7\t1\t1\n",
        "counts transcripts.*tximport",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_refuses_in_one_sentence(tmp_path, name):
    text, says = REFUSED[name]
    with pytest.raises(deconv.BulkError, match=says):
        deconv.read_bulk(put(tmp_path, name, text))


def test_names_a_file_that_is_damaged(tmp_path):
    whole = gzip.compress(b"gene\ts1\nA\t100\n" * 100)
    (tmp_path / "cut.tsv.gz").write_bytes(whole[:-12])
    with pytest.raises(deconv.BulkError, match="ends in the middle"):
        deconv.read_bulk(tmp_path / "cut.tsv.gz")
    (tmp_path / "b.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(deconv.BulkError, match="Excel"):
        deconv.read_bulk(tmp_path / "b.xlsx")
    with pytest.raises(FileNotFoundError, match=r"nothing\.tsv"):
        deconv.read_bulk(tmp_path / "nothing.tsv")


def test_adds_up_rows_of_one_gene_and_says_so(tmp_path):
    path = put(tmp_path, "b.tsv", "gene\ts1\ts2\nA\t100\t3\nB\t1\t2\nA\t5\t6\n")
    with pytest.warns(UserWarning, match="1 genes have several rows"):
        table = deconv.read_bulk(path)
    assert table.loc["A"].tolist() == [105, 9]
    assert table.index.tolist() == ["A", "B"]


def test_fractions_are_no_logarithms(tmp_path):
    table = deconv.read_bulk(put(tmp_path, "b.tsv", "gene\ts1\ts2\nA\t0.75\t0.5\nB\t0.25\t0.5\n"))
    assert table.loc["A"].tolist() == [0.75, 0.5]


def test_says_when_a_spreadsheet_made_a_date_of_a_gene(tmp_path):
    with pytest.warns(UserWarning, match="'2-Sep'"):
        deconv.read_bulk(put(tmp_path, "b.csv", "gene,s1\n2-Sep,100\nA,3\n"))


def test_versions_go_and_copies_on_y_stay():
    given = [
        "ENSG00000010610.9",
        "ENSMUSG00000023274.14",
        "ENSG00000182378.14_PAR_Y",
        "RP11-34P13.7",
    ]
    assert strip_versions(given) == [
        "ENSG00000010610", "ENSMUSG00000023274", "ENSG00000182378_PAR_Y", "RP11-34P13.7",
    ]  # fmt: skip


def test_tells_kinds_of_names():
    assert id_kind([A, B]) == ENSEMBL
    assert id_kind(["ENST00000011653.9", "NM_000616.5"]) == TRANSCRIPTS
    assert id_kind(["920", "925"]) == ENTREZ
    assert id_kind(["CD4", "CD8A"]) == SYMBOLS


def test_a_table_given_is_left_alone():
    from cellsigil.deconv._bulk import check_bulk

    given = pd.DataFrame({"s1": [1, 2], 5: [3, 4]}, index=[f"{A}.1", B])
    before = given.copy()
    out = check_bulk(given, "it")
    pd.testing.assert_frame_equal(given, before)
    assert out.columns.tolist() == ["s1", "5"]


def test_reads_the_real_files(shared):
    table = deconv.read_bulk(shared("bulk_newman2019_wholeblood.tpm.tsv.gz"))
    assert table.shape == (11585, 12)
    wells = deconv.read_bulk(shared("mix_RNAmix_celseq2.h5ad"))
    assert wells.shape == (14804, 340)

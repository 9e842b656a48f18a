"""Genes that tell how cells were handled, or whose they are, rather than what they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import anndata as ad
import numpy as np
import pandas as pd

from cellsigil import _keys
from cellsigil._matrix import suggest

# Cytosolic ribosomal proteins and their pseudogenes; RPS6KA1 and other kinases stay.
_RIBOSOMAL = r"RP[SL]\d+[AXYL]?\d*L?\d?(P\d+)?|RPLP\d(P\d+)?|RPSA\d?(P\d+)?|FAU|UBA52"

# Immediate-early and heat-shock genes that dissociation switches on: the core of the list of van den
# Brink 2017, Nat Methods 14:935. Its genes that also tell types apart (IRF8, DCN, DES, ID3, KLF2, LMNA,
# MT1, MT2 ...) stay in.
_DISSOCIATION = """
ATF3 BAG3 BTG1 BTG2 CCNL1 CEBPB CEBPD CSRNP1 DNAJA1 DNAJB1 DNAJB4 DUSP1 DUSP8 EGR1 EGR2 ERRFI1 FOS FOSB FOSL2
GADD45A GEM HSP90AA1 HSP90AB1 HSPA1A HSPA1B HSPA5 HSPA8 HSPB1 HSPD1 HSPE1 HSPH1 IER2 IER3 JUN JUNB JUND KLF4 KLF6
MAFF MCL1 MYC NFKBIA NFKBIZ NR4A1 PER1 PPP1R15A RHOB SOCS3 SRF TIPARP TRIB1 UBC ZFP36 ZFP36L1
"""
_SEX = """
XIST TSIX RPS4Y1 RPS4Y2 DDX3Y EIF1AY KDM5D UTY USP9Y ZFY NLGN4Y TXLNGY TMSB4Y PRKY TBL1Y SRY TTTY14 TTTY15
LINC00278 EIF2S3Y
"""
_HAEMOGLOBIN = r"HB[ABDEGMQZ]\d?|HB[AB]-[A-Z0-9]+"

PATTERNS: dict[str, re.Pattern[str]] = {
    "mitochondrial": re.compile(r"MT-.+"),
    "ribosomal": re.compile(_RIBOSOMAL),
    "haemoglobin": re.compile(_HAEMOGLOBIN),
}
NAMES: dict[str, frozenset[str]] = {
    "sex": frozenset(_SEX.split()),
    "dissociation": frozenset(_DISSOCIATION.split()),
}
GENE_SETS = ("mitochondrial", "ribosomal", "sex", "dissociation", "haemoglobin")

# Human Ensembl ids, for data without symbols: the mitochondrial genome's protein and rRNA genes, and sex.
_MITOCHONDRIAL_IDS = """
ENSG00000198888 ENSG00000198763 ENSG00000198804 ENSG00000198712 ENSG00000228253 ENSG00000198899 ENSG00000198938
ENSG00000198840 ENSG00000212907 ENSG00000198886 ENSG00000198786 ENSG00000198695 ENSG00000198727 ENSG00000211459
ENSG00000210082
"""
_SEX_IDS = """
ENSG00000229807 ENSG00000270641 ENSG00000129824 ENSG00000067048 ENSG00000198692 ENSG00000012817 ENSG00000183878
ENSG00000114374 ENSG00000067646 ENSG00000165246 ENSG00000131002 ENSG00000154620 ENSG00000099725
"""
ENSEMBL_IDS: dict[str, frozenset[str]] = {
    "mitochondrial": frozenset(_MITOCHONDRIAL_IDS.split()),
    "sex": frozenset(_SEX_IDS.split()),
}


def gene_names(adata: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return (gene id, symbol) of every gene, "" where not known."""
    names = adata.var_names.astype(str).to_numpy(dtype=object)
    # "ENSG00000105369", "ENSG00000105369.12", "CD79A", "CD79A_ENSG00000105369"
    parts = [re.fullmatch(r"(?:(.+)_)?(ENS[A-Z]*G\d+(?:\.\d+)?)", name) for name in names]
    ids = np.array([m[2] if m else "" for m in parts], dtype=object)
    symbols = np.array([(m[1] or "") if m else name for m, name in zip(parts, names)], dtype=object)
    return _column(adata, _keys.GENE_IDS, ids), _column(adata, _keys.GENE_SYMBOLS, symbols)


def _column(adata: ad.AnnData, key: str, otherwise: np.ndarray) -> np.ndarray:
    if key not in adata.var:
        return otherwise
    column = adata.var[key]
    return np.where(column.isna(), "", column.astype(str)).astype(object)


def excluded_genes(
    genes: pd.Index, ids: Iterable[str], symbols: Iterable[str], sets: Iterable[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return a mask of the genes in ``sets`` and, per set, their names.

    Raises
    ------
    KeyError
        There is no such set.
    """
    symbols = [symbol.upper() for symbol in symbols]
    ids = [str(gene_id).partition(".")[0] for gene_id in ids]
    out = np.zeros(len(genes), bool)
    named = {}
    for name in sets:
        if name in NAMES:
            hit = _which(NAMES[name].__contains__, symbols)
        elif name in PATTERNS:
            hit = _which(PATTERNS[name].fullmatch, symbols)
        else:
            msg = f"No gene set {name!r} to exclude. {suggest(name, GENE_SETS)}"
            raise KeyError(msg)
        if name in ENSEMBL_IDS:
            hit |= _which(ENSEMBL_IDS[name].__contains__, ids)
        named[name] = genes[hit].tolist()
        out |= hit
    return out, named


def _which(told: Callable[[str], object], names: Iterable[str]) -> np.ndarray:
    return np.array([bool(found) for found in map(told, names)], bool)

"""Every key that cellsigil writes into an AnnData; scanpy's names wherever scanpy reads them."""

from __future__ import annotations

COUNTS = "counts"  # layers: raw counts, never overwritten
SIZE_FACTOR = "size_factor"  # obs: total / target_sum, frozen when normalising
SAMPLE = "sample"  # obs: sample of a cell, from a sample sheet
GENE_IDS = "gene_ids"  # var: stable gene id
GENE_SYMBOLS = "gene_symbols"  # var: gene symbol
FEATURE_TYPES = "feature_types"  # var: 10x feature type
GENOME = "genome"  # var: 10x genome

QC_FILTER = "qc_filter"  # uns: JSON of what the filters removed
LOG1P = "log1p"  # uns
HVG = "highly_variable"  # var
HVG_UNS = "hvg"  # uns
X_PCA, PCS, PCA = "X_pca", "PCs", "pca"  # obsm, varm, uns
NEIGHBORS, DISTANCES, CONNECTIVITIES = "neighbors", "distances", "connectivities"  # uns, obsp, obsp
X_UMAP, UMAP = "X_umap", "umap"  # obsm, uns
LEIDEN = "leiden"  # obs and uns
RANK_GENES_GROUPS = "rank_genes_groups"  # uns

SCORE_SIGNATURES = "score_signatures"  # obsm and uns
SCORE_CLUSTERS = "score_clusters"  # uns
CELL_TYPE = "cell_type"  # obs
ANNOTATE = "annotate"  # uns

UNKNOWN = "unknown"  # value of a cell type label: nothing of the tree fits
UNRESOLVED = ", unresolved"  # end of a label: between several types below the one named

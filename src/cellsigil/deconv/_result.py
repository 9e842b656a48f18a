"""What a deconvolution answers with, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cellsigil._files import write_table


@dataclass(frozen=True)
class Deconvolution:
    """Fractions of cell types in bulk samples, how sure they are, and how well they fit.

    Attributes
    ----------
    fractions
        Cell fractions, samples x types, rows sum to 1 over the signature's types.
    rna_fractions
        Shares of RNA, samples x types, rows sum to 1.
    intervals
        One row per sample and type: sample, type, estimate (a cell fraction), low, high (95 %), kind
        (what the interval holds: the donors' differences only for types of two donors or more). No
        interval holds platform, missing-type or RNA-content error.
    fit
        One row per sample. ``r`` and ``rmse`` of log2(CPM + 10) over the genes used. ``unexplained``:
        1 - the RNA shares before they are made to sum to 1, bulk and profiles on the CPM scale of their
        common genes; negative where the fit exceeds the bulk; NaN for methods that sum to 1.
        ``residual_share``: Σ|y - ŷ| / Σy over the genes used. ``n_genes``. ``condition_number`` of the
        profiles used, each gene divided by its mean. ``scale``: what the bulk's values look like.
        ``similar_types``: types that this signature hardly tells apart.

        ``unexplained`` is no share of unknown cells. It counts all RNA that the types' profiles do not
        hold: of types that the signature lacks, of few genes that swamp a bulk, and a platform's scale,
        which lifts or lowers the genes used against all others. In twelve whole-blood samples (newman)
        it is .60 on average: haemoglobin, from red cells that the reference lacks, is .46 of the bulk's
        RNA, and without its seven genes .29 is unexplained; without ribosomal and mitochondrial genes,
        of which single-cell profiles hold more, .50. It says nothing of the fractions among the known
        types, which the genes used decide. Compare samples of one batch by it; from a table of chosen
        genes it counts these genes' RNA only.
    method
        Name of the method.
    parameters
        What the call was given, and where RNA content came from.
    notes
        What a reader has to know, one sentence each.
    """

    fractions: pd.DataFrame
    rna_fractions: pd.DataFrame
    intervals: pd.DataFrame
    fit: pd.DataFrame
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, folder: str | Path) -> None:
        """Write fractions.tsv, rna_fractions.tsv, intervals.tsv and fit.tsv, each atomically.

        Parameters
        ----------
        folder
            An existing folder.
        """
        folder = Path(folder)
        for name in ("fractions", "rna_fractions", "fit"):
            table = getattr(self, name).rename_axis(index="sample")
            write_table(folder / f"{name}.tsv", table, index=True)
        write_table(folder / "intervals.tsv", self.intervals)

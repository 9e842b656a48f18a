"""What every deconvolution method says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

# CPM: below this, a gene of a single-cell profile or of a bulk is mostly noise (10 CPM is one count in 30
# cells of 3,000 counts). Simulated from held-out cells of three data sets with gene noise of sd .5 and 1,
# floors from 1 to 30 and Huber's or Tukey's loss gave RMSE .0543-.0588; nothing there to tune.
FLOOR = 10.0

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Method:
    """One way to take a mixture apart.

    Attributes
    ----------
    name
        What `deconvolve` calls it.
    fit
        ``fit(mixtures, profiles, weight, start)``: samples x genes in CPM, genes x types in CPM, one
        weight per gene, and coefficients to start from (samples x types) or None; answers with
        coefficients, samples x types, not made to sum to 1.
    reference
        Where the method is from.
    needs
        What it needs beside bulk and profiles.
    answers
        "rna": the coefficients are shares of RNA; "cell": of cells.
    sums_to_one
        The coefficients sum to 1 by construction, so nothing can be left unexplained.
    """

    name: str
    fit: Fit
    reference: str
    needs: str
    answers: Literal["rna", "cell"]
    sums_to_one: bool = False

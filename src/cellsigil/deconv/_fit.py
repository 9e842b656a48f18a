"""How well a mixture is explained, and what the profiles can tell apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cellsigil.deconv.methods import Method
from cellsigil.deconv.methods._record import FLOOR

ALIKE = 0.95  # cosine of two profiles, each gene divided by its mean
MOST_PAIRS = 8  # pairs of similar types that are named


def fit_table(
    y: np.ndarray, s: np.ndarray, share: np.ndarray, explained: np.ndarray, method: Method, samples: pd.Index,
) -> pd.DataFrame:  # fmt: skip
    """Return one row per sample: r, rmse, unexplained, residual_share, n_genes."""
    rows = []
    for i in range(len(y)):
        fitted = (s * share[i]).sum(axis=1)
        seen, told = np.log2(y[i] + FLOOR), np.log2(fitted + FLOOR)
        varied = seen.std() > 0 and told.std() > 0
        rows.append(
            {
                "r": np.corrcoef(seen, told)[0, 1] if varied else np.nan,
                "rmse": np.sqrt(np.mean((seen - told) ** 2)),
                "unexplained": np.nan if method.sums_to_one else 1 - explained[i],
                "residual_share": np.abs(y[i] - fitted).sum() / max(y[i].sum(), 1e-300),
                "n_genes": y.shape[1],
            }
        )
    return pd.DataFrame(rows, index=samples)


def _relative(s: np.ndarray) -> np.ndarray:
    return s / (s.mean(axis=1, keepdims=True) + FLOOR)


def condition_number(s: np.ndarray) -> float:
    """Return the condition number of profiles whose genes are each divided by their mean."""
    singular = np.linalg.svd(_relative(s), compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


def similar_types(s: np.ndarray, types: list[str]) -> str:
    """Return the pairs of types whose profiles are alike on these genes, the most alike first, "" if none are."""
    relative = _relative(s)
    length = np.sqrt((relative**2).sum(axis=0))
    cosine = (relative.T @ relative) / np.maximum(np.outer(length, length), 1e-300)
    first, second = np.nonzero(np.triu(cosine > ALIKE, 1))
    order = np.argsort(-cosine[first, second], kind="stable")
    pairs = [f"{types[first[i]]} ~ {types[second[i]]}" for i in order]
    more = [f"and {len(pairs) - MOST_PAIRS} more pairs"] if len(pairs) > MOST_PAIRS else []
    return "; ".join(pairs[:MOST_PAIRS] + more)

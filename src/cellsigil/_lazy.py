"""What is not in memory: the rows of a sparse matrix on disk, and work on the chunks of a dask array."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from cellsigil._block import checked, to_block
from cellsigil._core._jit import threads


def stored_rows(group: Any, start: int, stop: int, n_cols: int) -> sp.csr_matrix:
    """Return rows of a CSR matrix on disk, unchecked; anndata's slice of them makes two copies."""
    indptr = np.asarray(group["indptr"][start : stop + 1])
    first = indptr[0] if start else 0  # for the check to see that the very first is 0
    held = slice(int(first), int(indptr[-1]))
    out = sp.csr_matrix((stop - start, n_cols), dtype=group["data"].dtype)
    out.data, out.indices, out.indptr = (
        group["data"][held], group["indices"][held], indptr - first,
    )  # fmt: skip
    return out


def work_on_chunk(chunk: Any, first: int, about: tuple) -> Any:
    """Check one dask chunk and apply the function to it, on a worker."""
    function, name, dtype, expects, names = about
    with threads(1):  # the scheduler's workers are the parallelism
        piece = to_block(chunk, name, dtype=dtype, first_row=first)
        block = checked(piece, name, expects, names, first_row=first)
        return function(block, first)


def is_dask(matrix: Any) -> bool:
    """Return whether a matrix is a dask array."""
    # the part of a dask array that a view shows is of a class of anndata's own
    return any(base.__module__.startswith("dask.array") for base in type(matrix).__mro__)

"""Deconvolution methods: one file each, a function on arrays and a record."""

from __future__ import annotations

from cellsigil.deconv.methods import _em, _logrob, _nnls, _wnnls
from cellsigil.deconv.methods._record import Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD for module in (_logrob, _nnls, _wnnls, _em)
}

__all__ = ["METHODS", "Method"]

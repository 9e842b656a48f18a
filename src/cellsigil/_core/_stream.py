"""Writes that go past the caches, to memory that nobody reads soon.

An ordinary write fetches its line first, and drives out of the cache what the loop adds up there: to make X of 39 M
counts and copy its indices took two threads 0.15 to 0.18 CPU s, so 0.13 to 0.15. For float32 and int32; where
nothing is compiled it is a plain copy.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from cellsigil._core._jit import kernel

ARRAYS = tuple(types.Array(t, 1, "C") for t in (types.float32, types.int32))
LINE = 64  # bytes of a cache line, which is written as a whole
WORDS = np.uint64(LINE // 4)
LINE_VECTOR = ir.VectorType(ir.IntType(32), LINE // 4)


def stream(source, dest):
    """Do as ``dest[:] = source``, of one length, past the caches."""
    dest[:] = source


@kernel
def copy_past_caches(source, dest, start, stop):
    """Do as ``dest[start:stop] = source[start:stop]``."""
    stream(source[start:stop], dest[start:stop])


def _address(context, builder, array_type, array, place):
    """Return where entry ``place`` of an array is."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [place])


@intrinsic
def _words_to_line(typingctx, dest):  # noqa: ARG001
    """Return how many entries of ``dest`` lie before its first cache line."""

    def generate(context, builder, signature, given):
        first = _address(
            context, builder, signature.args[0], given[0], ir.Constant(ir.IntType(64), 0)
        )
        bytes_left = builder.and_(
            builder.neg(builder.ptrtoint(first, ir.IntType(64))),
            ir.Constant(ir.IntType(64), LINE - 1),
        )
        return builder.lshr(bytes_left, ir.Constant(ir.IntType(64), 2))

    return types.uint64(dest), generate


@intrinsic
def _write_line(typingctx, source, dest, place):  # noqa: ARG001
    """Write entries place, place + 1, ... of one cache line."""

    def generate(context, builder, signature, given):
        source, dest = (
            builder.bitcast(
                _address(context, builder, t, array, given[2]), LINE_VECTOR.as_pointer()
            )
            for t, array in zip(signature.args, given[:2])
        )
        written = builder.store(builder.load(source, align=4), dest, align=LINE)
        once = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        written.set_metadata("nontemporal", once)
        return context.get_dummy_value()

    return types.void(source, dest, place), generate


@intrinsic
def _wait_for_writes(typingctx):  # noqa: ARG001
    """Let no other thread read before the lines are in memory."""

    def generate(context, builder, signature, given):  # noqa: ARG001
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@overload(stream)
def _compile_stream(source, dest):
    if source != dest or source not in ARRAYS:
        return None

    def write(source, dest):
        n, place = np.uint64(source.size), np.uint64(0)
        until = min(n, _words_to_line(dest))
        while place < until:
            dest[place] = source[place]
            place += np.uint64(1)
        while place + WORDS <= n:
            _write_line(source, dest, place)
            place += WORDS
        while place < n:
            dest[place] = source[place]
            place += np.uint64(1)
        _wait_for_writes()

    return write

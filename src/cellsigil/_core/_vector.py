"""Additions and products in SIMD lanes, where numba makes one at a time.

numba leaves LLVM's own search for such groups off, and to switch it on would be for every other library's code too.
Where nothing is compiled, the functions run as Python, with the same bits (but for those of rows, which round less).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

FOUR = ir.VectorType(ir.DoubleType(), 4)
ARRAY = types.Array(types.float64, 1, "C")
LANE = ir.IntType(32)
WIDTH = 16  # of the rows that are added at once: two registers of AVX-512, four of AVX2
EIGHT = 8  # rows that `write_products` multiplies at a time: their sums fill half of AVX-512's registers
ROW = ir.VectorType(ir.DoubleType(), WIDTH)
ROWS = types.Array(types.float64, 2, "C")
NUMBER = ir.IntType(64)
PLACES, VALUES = types.UniTuple(types.uint32, 4), types.UniTuple(types.float64, 4)
ANY_ORDER = ("contract", "nsz", "reassoc")


def add_four(sums, words):
    """Add the four float64 ``words`` to ``sums``, both contiguous: a scatter of 39 M takes 0.073, not 0.115 s."""
    sums += words


def add_split(sums, x, coarse, coarse_square):
    """Add x and x**2 to the four ``sums``, each split in two: (x, rest of x, x**2, rest of x**2).

    ``coarse`` added and taken away rounds x, ``coarse_square`` x**2. 39 M take 0.056 to 0.066, not 0.076 s.
    """
    part = (x + coarse) - coarse
    sums[0] += part
    sums[1] += x - part
    square = x * x
    part = (square + coarse_square) - coarse_square
    sums[2] += part
    sums[3] += square - part


def add_rows(sums, rows, places, values):
    """Add four rows of `WIDTH` float64, each times its value, to the `WIDTH` contiguous ``sums``; in any order.

    2.1 to 2.9 ns a row, where numba's loop over its columns takes 4.4 to 7.2 (PCA of 2,700 to 5,000 cells).
    """
    (j0, j1, j2, j3), (v0, v1, v2, v3) = places, values
    sums += (v0 * rows[j0] + v1 * rows[j1]) + (v2 * rows[j2] + v3 * rows[j3])


def write_products(out, rows, wide, first):
    """Write ``rows[i] @ wide`` (n x `WIDTH`) to ``out[i]`` for the `EIGHT` rows from ``first`` on, summed in order.

    Of 2,000 rows of as many 1.4 ms; four vectors by four rows, each sum across a register, 2.7 (with AVX2 3.1, 4.2).
    """
    out[first : first + EIGHT] = rows[first : first + EIGHT] @ wide


def in_lanes(vectors: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield `WIDTH` rows of ``vectors`` at a time as columns, filled up with zeros, and which they are."""
    for start in range(0, len(vectors), WIDTH):
        few = vectors[start : start + WIDTH]
        wide = np.zeros((vectors.shape[1], WIDTH))
        wide[:, : len(few)] = few.T
        yield slice(start, start + len(few)), wide


def _place(context, builder, array):
    """Return the address of four contiguous float64."""
    data = context.make_array(ARRAY)(context, builder, array).data
    return builder.bitcast(data, FOUR.as_pointer())


def _add(builder, place, words):
    """Generate the one addition."""
    builder.store(builder.fadd(builder.load(place, align=8), words), place, align=8)


def _pairs(builder, one, other):
    """Return (one, one, other, other)."""
    four = ir.Constant(FOUR, ir.Undefined)
    for lane, value in enumerate((one, one, other, other)):
        four = builder.insert_element(four, value, LANE(lane))
    return four


@intrinsic
def _add_four(typingctx, sums, words):  # noqa: ARG001
    def generate(context, builder, signature, given):  # noqa: ARG001
        place, other = (_place(context, builder, array) for array in given)
        _add(builder, place, builder.load(other, align=8))
        return context.get_dummy_value()

    return types.void(ARRAY, ARRAY), generate


@intrinsic
def _add_split(typingctx, sums, x, coarse, coarse_square):  # noqa: ARG001
    def generate(context, builder, signature, given):  # noqa: ARG001
        sums, x, coarse, coarse_square = given
        values = _pairs(builder, x, builder.fmul(x, x))
        rounding = _pairs(builder, coarse, coarse_square)
        parts = builder.fsub(builder.fadd(values, rounding), rounding)
        rests = builder.fsub(values, parts)
        in_turn = ir.Constant(ir.VectorType(LANE, 4), [0, 5, 2, 7])  # a part, its rest, a part, ...
        words = builder.shuffle_vector(parts, rests, in_turn)
        _add(builder, _place(context, builder, sums), words)
        return context.get_dummy_value()

    return types.void(ARRAY, types.float64, types.float64, types.float64), generate


def _everywhere(builder, value):
    """Return `WIDTH` times the value."""
    undefined = ir.Constant(ROW, ir.Undefined)
    first = builder.insert_element(undefined, value, LANE(0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(LANE, WIDTH), [0] * WIDTH)
    )


def _row_at(builder, data, i):
    """Return the address of row ``i``, of `WIDTH` float64."""
    return builder.bitcast(builder.gep(data, [builder.mul(i, NUMBER(WIDTH))]), ROW.as_pointer())


@intrinsic
def _add_rows(typingctx, sums, rows, places, values):  # noqa: ARG001
    def generate(context, builder, signature, given):  # noqa: ARG001
        to = context.make_array(ARRAY)(context, builder, given[0]).data
        to = builder.bitcast(to, ROW.as_pointer())
        data = context.make_array(ROWS)(context, builder, given[1]).data
        total = []
        for t in range(4):
            place, value = (builder.extract_value(some, t) for some in given[2:])
            row = builder.load(_row_at(builder, data, builder.zext(place, NUMBER)), align=8)
            total.append(builder.fmul(row, _everywhere(builder, value), flags=ANY_ORDER))
        while len(total) > 1:
            total = [
                builder.fadd(*total[k : k + 2], flags=ANY_ORDER) for k in range(0, len(total), 2)
            ]
        builder.store(builder.fadd(builder.load(to, align=8), *total, flags=ANY_ORDER), to, align=8)
        return context.get_dummy_value()

    return types.void(ARRAY, ROWS, PLACES, VALUES), generate


@intrinsic
def _write_products(typingctx, out, rows, wide, first):  # noqa: ARG001
    def generate(context, builder, signature, given):  # noqa: ARG001
        out, rows, wide = (context.make_array(ROWS)(context, builder, array) for array in given[:3])
        n = cgutils.unpack_tuple(builder, wide.shape, 2)[0]
        numbers = [builder.add(given[3], NUMBER(t)) for t in range(EIGHT)]
        places = [builder.gep(rows.data, [builder.mul(i, n)]) for i in numbers]
        sums = [
            cgutils.alloca_once_value(builder, ir.Constant(ROW, [0.0] * WIDTH)) for _ in numbers
        ]
        with cgutils.for_range(builder, n) as loop:
            values = builder.load(_row_at(builder, wide.data, loop.index), align=8)
            for place, total in zip(places, sums):
                value = _everywhere(builder, builder.load(builder.gep(place, [loop.index])))
                product = builder.fmul(value, values, flags=("contract",))
                builder.store(
                    builder.fadd(builder.load(total), product, flags=("contract",)), total
                )
        for i, total in zip(numbers, sums):
            builder.store(builder.load(total), _row_at(builder, out.data, i), align=8)
        return context.get_dummy_value()

    return types.void(ROWS, ROWS, ROWS, types.int64), generate


@overload(add_four)
def _compile_add_four(sums, words):
    if sums == words == ARRAY:
        return lambda sums, words: _add_four(sums, words)
    return None


@overload(add_split)
def _compile_add_split(sums, x, coarse, coarse_square):
    if sums == ARRAY and x == coarse == coarse_square == types.float64:
        return lambda sums, x, coarse, coarse_square: _add_split(sums, x, coarse, coarse_square)
    return None


@overload(add_rows)
def _compile_add_rows(sums, rows, places, values):
    if (sums, rows, places, values) == (ARRAY, ROWS, PLACES, VALUES):
        return lambda sums, rows, places, values: _add_rows(sums, rows, places, values)
    return None


@overload(write_products)
def _compile_write_products(out, rows, wide, first):
    if (out, rows, wide, first) == (ROWS, ROWS, ROWS, types.int64):
        return lambda out, rows, wide, first: _write_products(out, rows, wide, first)
    return None

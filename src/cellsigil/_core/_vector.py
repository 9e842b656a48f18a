"""Additions and products in SIMD lanes, where numba makes one at a time.

numba leaves LLVM's own search for such groups off, and to switch it on would be for every other library's code too.
Where nothing is compiled, the functions run as Python, with the same bits (but for `add_rows`, which rounds less).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

FOUR = ir.VectorType(ir.DoubleType(), 4)
ARRAY = types.Array(types.float64, 1, "C")
LANE = ir.IntType(32)
WIDTH = 16  # of the rows that `add_rows` adds: two registers of AVX-512, four of AVX2
ROW = ir.VectorType(ir.DoubleType(), WIDTH)
ROWS = types.Array(types.float64, 2, "C")
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


@intrinsic
def _add_rows(typingctx, sums, rows, places, values):  # noqa: ARG001
    def generate(context, builder, signature, given):  # noqa: ARG001
        to = context.make_array(ARRAY)(context, builder, given[0]).data
        to = builder.bitcast(to, ROW.as_pointer())
        data = context.make_array(ROWS)(context, builder, given[1]).data
        total = []
        for t in range(4):
            place, value = (builder.extract_value(some, t) for some in given[2:])
            first = builder.mul(builder.zext(place, ir.IntType(64)), ir.IntType(64)(WIDTH))
            row = builder.bitcast(builder.gep(data, [first]), ROW.as_pointer())
            row = builder.load(row, align=8)
            total.append(builder.fmul(row, _everywhere(builder, value), flags=ANY_ORDER))
        while len(total) > 1:
            total = [
                builder.fadd(*total[k : k + 2], flags=ANY_ORDER) for k in range(0, len(total), 2)
            ]
        builder.store(builder.fadd(builder.load(to, align=8), *total, flags=ANY_ORDER), to, align=8)
        return context.get_dummy_value()

    return types.void(ARRAY, ROWS, PLACES, VALUES), generate


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

"""Four additions in one instruction, where numba makes four."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

FOUR = ir.VectorType(ir.DoubleType(), 4)


def add_four(sums, words):
    """Add the four float64 ``words`` to ``sums``, both contiguous: the same bits as one by one.

    A scatter of four words a gene took 0.115, so 0.073 s at 39 M entries: numba leaves LLVM's own search for such
    groups off, and to switch it on would be for every other library's code too.
    """
    sums += words


@intrinsic
def _add_vector(typingctx, sums, words):  # noqa: ARG001
    def generate(context, builder, signature, arrays):
        into, other = (
            builder.bitcast(
                context.make_array(kind)(context, builder, array).data, FOUR.as_pointer()
            )
            for kind, array in zip(signature.args, arrays)
        )
        total = builder.fadd(builder.load(into, align=8), builder.load(other, align=8))
        builder.store(total, into, align=8)
        return context.get_dummy_value()

    return types.void(sums, words), generate


@overload(add_four)
def _compiled_add_four(sums, words):
    four = types.Array(types.float64, 1, "C")
    if sums == four and words == four:
        return lambda sums, words: _add_vector(sums, words)
    return None

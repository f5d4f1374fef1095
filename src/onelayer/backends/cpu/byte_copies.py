"""Bytes from one place to another: as they are, or pixels taken apart into channels."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.byte_windows import BYTES
from onelayer.backends.cpu.registers import BYTE, BYTES_16, constant, loaded, shuffled, side_by_side, stored
from onelayer.backends.cpu.vectors import data_of


def _part_by(step):
    @intrinsic
    def part(_typing, address, out, to, between):
        signature = types.void(address, out, to, between)

        def generate(context, builder, signature, arguments):
            out = data_of(context, builder, signature.args[1], arguments[1])
            address, _, to, between = arguments
            data = builder.inttoptr(address, BYTE.as_pointer())
            if step == 3:
                values, of = loaded(builder, data, constant(0), ir.VectorType(BYTE, 3 * BYTES)), [*range(3 * BYTES)]
            else:
                # Not a byte more than there are: the last one may be the last of all memory.
                parts = [loaded(builder, data, constant(at), BYTES_16) for at in (0, 16, 32, 47)]
                halves = [side_by_side(builder, *parts[i : i + 2]) for i in (0, 2)]
                values, of = side_by_side(builder, *halves), [*range(48), *range(49, 64)]
            for channel in range(3):
                own = shuffled(builder, values, values, [of[channel + step * i] for i in range(BYTES)])
                stored(builder, own, out, to)
                to = builder.add(to, between)

        return signature, generate

    return part


part_three, part_four = _part_by(3), _part_by(4)
"""``out[to + c·between + i]`` is channel c of pixel i, for sixteen pixels of 3, or of 4, bytes and channels c < 3."""


@intrinsic
def copy_bytes(_typing, values, at, count, out, to):
    """``out[to + i] = values[at + i]`` for 0 ≤ i < ``count``, bytes."""
    signature = types.void(values, at, count, out, to)

    def generate(context, builder, signature, arguments):
        values, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 3))
        _, at, count, _, to = arguments
        cgutils.raw_memcpy(builder, builder.gep(out, [to]), builder.gep(values, [at]), count, 1)

    return signature, generate

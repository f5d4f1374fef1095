"""Lay bytes out as patches of float32, as vision transformers for images of any size take them, with a table of values.

Every value is written once, where it stays: patch after patch, so that what is written lies side by side.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.affine import FACTORS
from onelayer.backends.cpu.compilation import exact_kernel
from onelayer.backends.cpu.simd import (
    BYTE,
    FLOATS_8,
    bytes_at,
    constant,
    copy_bytes,
    data_of,
    instruction,
    loaded,
    splat,
    stored,
)
from onelayer.backends.cpu.tables import LANES

_uint = np.uint64


@intrinsic
def _affine_square(_typing, values, at, of_row, side, factors, first, out, to):
    """Set a square of numbers as :func:`onelayer.backends.cpu.affine.affine_values` does, with factors loaded once.

    The bytes begin at ``values[at]``, with ``of_row`` from row to row; ``out[to:]`` takes them row after row. There are
    ``side`` rows and columns, at least eight; the last eight of a row begin at the eighth from its end.
    """
    signature = types.void(values, at, of_row, side, factors, first, out, to)

    def generate(context, builder, signature, arguments):
        values, factors, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 4, 6))
        _, at, of_row, side, _, first, _, to = arguments
        high, low, less, second_high, second_low = (
            splat(builder, builder.load(builder.gep(factors, [builder.add(first, constant(i))])), LANES)
            for i in range(FACTORS)
        )

        def product(x, high, low):
            return instruction(builder, "llvm.fma.v8f32", FLOATS_8, x, high, builder.fmul(x, low))

        last = builder.sub(side, constant(LANES))
        blocks = builder.udiv(builder.add(side, constant(LANES - 1)), constant(LANES))
        with cgutils.for_range(builder, side) as row:
            source = builder.add(at, builder.mul(row.index, of_row))
            target = builder.add(to, builder.mul(row.index, side))
            with cgutils.for_range(builder, blocks) as block:
                begin = builder.mul(block.index, constant(LANES))
                begin = builder.select(builder.icmp_unsigned("<", begin, last), begin, last)
                eight = loaded(builder, values, builder.add(source, begin), ir.VectorType(BYTE, LANES))
                x = builder.fsub(product(builder.uitofp(eight, FLOATS_8), high, low), less)
                stored(builder, product(x, second_high, second_low), out, builder.add(target, begin))

    return signature, generate


@exact_kernel
def patches_of(image, table, affine, has_affine, side, merge, copies, begin, end, out):
    """Lay a part of an image out as patches.

    Args:
        image: uint8 [C, H, W], contiguous.
        table: float32 [C · 256], values of the bytes.
        affine: float32 [C · 5], see :mod:`onelayer.backends.cpu.affine`.
        has_affine: Whether ``affine`` gives the values of the table.
        side: Height and width of a patch, uint64 as all integers here.
        merge: Patches side by side, along rows and along columns, that follow each other.
        copies: Times that each patch comes.
        begin: First of the rows of merged patches to lay out.
        end: End of these.
        out: float32 [H · W · C · copies].
    """
    channels, height, width = _uint(image.shape[0]), _uint(image.shape[1]), _uint(image.shape[2])
    values = image.reshape(image.size)
    cols = width // (side * merge)
    of_patch = channels * copies * side * side
    is_computed = has_affine and side >= _uint(LANES)
    out_bytes, square = bytes_at(_uint(out.ctypes.data)), side * side
    for row in range(begin, end):
        for col in range(cols):
            for part in range(merge * merge):
                top, left = (row * merge + part // merge) * side, (col * merge + part % merge) * side
                to = ((row * cols + col) * merge * merge + part) * of_patch
                for c in range(channels):
                    at = (c * height + top) * width + left
                    if is_computed:
                        _affine_square(values, at, width, side, affine, _uint(FACTORS) * c, out, to)
                    else:
                        for r in range(side):
                            for j in range(side):
                                byte = values[at + r * width + j]
                                out[to + r * side + j] = table[c * _uint(256) + _uint(byte)]
                    for copy in range(_uint(1), copies):
                        copy_bytes(
                            out_bytes, _uint(4) * to, _uint(4) * square, out_bytes, _uint(4) * (to + copy * square)
                        )
                    to += copies * square

"""Sums of bytes that round to float32 as PyTorch's do, in vector registers: what Numba has no words for.

Each tap has two weights, see :mod:`onelayer.backends.cpu.float32_windows`.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.byte_windows import BYTES
from onelayer.backends.cpu.integer_sums import ROW_OUTPUTS, line_at, ordered
from onelayer.backends.cpu.registers import (
    BYTE,
    BYTES_16,
    BYTES_32,
    INT,
    INTS_8,
    constant,
    instruction,
    loaded,
    side_by_side,
    splat,
    stored,
)
from onelayer.backends.cpu.vectors import data_of
from onelayer.backends.cpu.windows import LANES

_SINGLE = ir.FloatType()
_SINGLES = ir.VectorType(_SINGLE, LANES)


class _Sums:
    """Eight sums in float32."""

    def __init__(self, builder):
        self._total = cgutils.alloca_once(builder, _SINGLES)
        builder.store(ir.Constant(_SINGLES, [0.0] * LANES), self._total)

    def add(self, builder, values, fused, apart):
        """One tap: ``apart`` are the weights of products that are rounded first; None if there are none."""
        total = builder.load(self._total)
        if apart is not None:
            total = builder.fadd(total, builder.fmul(values, apart))
        builder.store(instruction(builder, "llvm.fma.v8f32", _SINGLES, values, fused, total), self._total)

    def value(self, builder):
        return builder.load(self._total)


def _near_columns_by(rows, has_apart):
    @intrinsic
    def near_columns(_typing, lines, at, starts, places, weights, block, taps, out, out_rows, to):
        signature = types.void(lines, at, starts, places, weights, block, taps, out, out_rows, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            lines, starts, places, weights, out, out_rows = (
                data_of(context, builder, kinds[i], arguments[i]) for i in (0, 2, 3, 4, 7, 8)
            )
            at, block, taps, to = (arguments[i] for i in (1, 5, 6, 9))
            sums = [_Sums(builder) for _ in range(rows)]
            of_row = [line_at(builder, lines, constant(row), at) for row in range(rows)]
            first = builder.mul(block, taps)
            with cgutils.for_range(builder, taps) as loop:
                tap = builder.add(first, loop.index)
                of_tap = builder.mul(tap, constant(2))
                begins = [builder.load(builder.gep(starts, [builder.add(of_tap, constant(half))])) for half in (0, 1)]
                order = loaded(builder, places, builder.mul(tap, constant(2 * BYTES)), BYTES_32)
                factors = _weights_of(builder, weights, tap, _SINGLES, has_apart)
                for each, line in zip(sums, of_row, strict=True):
                    halves = [loaded(builder, line, begin, BYTES_16) for begin in begins]
                    samples = builder.bitcast(ordered(builder, side_by_side(builder, *halves), order), INTS_8)
                    each.add(builder, builder.sitofp(samples, _SINGLES), *factors)
            _store(builder, [each.value(builder) for each in sums], out, out_rows, to)

        return signature, generate

    return near_columns


def _far_columns_by(rows, has_apart):
    @intrinsic
    def far_columns(_typing, lines, at, starts, weights, block, taps, out, out_rows, to):
        signature = types.void(lines, at, starts, weights, block, taps, out, out_rows, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            lines, starts, weights, out, out_rows = (
                data_of(context, builder, kinds[i], arguments[i]) for i in (0, 2, 3, 6, 7)
            )
            at, block, taps, to = (arguments[i] for i in (1, 4, 5, 8))
            sums = [_Sums(builder) for _ in range(rows)]
            of_row = [line_at(builder, lines, constant(row), at) for row in range(rows)]
            first = builder.mul(block, taps)
            with cgutils.for_range(builder, taps) as loop:
                tap = builder.add(first, loop.index)
                of_tap = builder.mul(tap, constant(LANES))
                begins = [
                    builder.load(builder.gep(starts, [builder.add(of_tap, constant(lane))])) for lane in range(LANES)
                ]
                factors = _weights_of(builder, weights, tap, _SINGLES, has_apart)
                for each, line in zip(sums, of_row, strict=True):
                    samples = ir.Constant(ir.VectorType(BYTE, LANES), ir.Undefined)
                    for lane, begin in enumerate(begins):
                        sample = builder.load(builder.gep(line, [begin]))
                        samples = builder.insert_element(samples, sample, ir.Constant(INT, lane))
                    each.add(builder, builder.uitofp(samples, _SINGLES), *factors)
            _store(builder, [each.value(builder) for each in sums], out, out_rows, to)

        return signature, generate

    return far_columns


def _weights_of(builder, weights, tap, kind, has_apart):
    """Both weights of a tap, each a value of a kind; None for the second if there is none."""
    count = kind.count if isinstance(kind, ir.VectorType) else 1
    singles = builder.bitcast(weights, _SINGLE.as_pointer())
    first = builder.mul(tap, constant(2 * count))
    return [
        loaded(builder, singles, builder.add(first, constant(part * count)), kind) if part <= has_apart else None
        for part in range(2)
    ]


def _store(builder, sums, out, out_rows, to):
    for row, values in enumerate(sums):
        place = builder.load(builder.gep(out_rows, [constant(row)]))
        stored(builder, values, out, builder.add(place, to))


near_single_columns, near_apart_columns = (_near_columns_by(4, has_apart) for has_apart in (False, True))
far_single_columns, far_apart_columns = (_far_columns_by(4, has_apart) for has_apart in (False, True))
"""Eight float32 sums in each of four rows, from ``out[out_rows[r] + to]`` on: addresses count bytes.

Of four rows r whose lines are at the addresses ``lines[r] + at``. What the arrays hold says
:mod:`onelayer.backends.cpu.float32_windows`.
"""


def _sums_of_rows_by(has_apart):
    @intrinsic
    def sums_of_rows(_typing, x, origins, weights, weights_at, taps, begin, out, to):
        signature = types.void(x, origins, weights, weights_at, taps, begin, out, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, origins, weights, out = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 6))
            _, _, _, weights_at, taps, begin, _, to = arguments
            sums = [_Sums(builder) for _ in range(ROW_OUTPUTS // LANES)]
            with cgutils.for_range(builder, taps) as loop:
                factors = [
                    weight and splat(builder, weight, LANES)
                    for weight in _weights_of(builder, weights, builder.add(weights_at, loop.index), _SINGLE, has_apart)
                ]
                place = builder.add(builder.load(builder.gep(origins, [loop.index])), begin)
                for number, each in enumerate(sums):
                    values = loaded(builder, x, builder.add(place, constant(4 * LANES * number)), _SINGLES)
                    each.add(builder, values, *factors)
            values = [_rounded(builder, each.value(builder)) for each in sums]
            halves = [side_by_side(builder, *values[i : i + 2]) for i in (0, 2)]
            whole = side_by_side(builder, *halves)
            stored(builder, builder.trunc(whole, BYTES_32), out, to)

        return signature, generate

    return sums_of_rows


def _rounded(builder, values):
    """Half to even, saturated to 0 … 255; whole numbers of 32 bits."""
    values = instruction(builder, "llvm.rint.v8f32", _SINGLES, values)
    for limit, comparison in ((0.0, "<"), (255.0, ">")):
        bound = ir.Constant(_SINGLES, [limit] * LANES)
        values = builder.select(builder.fcmp_ordered(comparison, values, bound), bound, values)
    return builder.fptosi(values, INTS_8)


single_rows, apart_rows = _sums_of_rows_by(has_apart=False), _sums_of_rows_by(has_apart=True)
"""``out[to + i]`` is the rounded sum of taps k of the float32 at ``x[origins[k] + begin + 4i]``, for 32 neighbours i.

``weights_at`` counts taps.
"""

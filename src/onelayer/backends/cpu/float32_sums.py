"""Sum bytes in float32, rounding for rounding as PyTorch does, as intrinsics in LLVM's terms.

Each tap has two weights, see :func:`onelayer.backends.cpu.tables.fused_and_unfused`.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.simd import (
    BYTE,
    BYTES_16,
    BYTES_32,
    FLOAT,
    FLOATS_8,
    INT,
    INTS_8,
    ROW_OUTPUTS,
    constant,
    data_of,
    instruction,
    joined,
    line_at,
    loaded,
    permuted,
    splat,
    stored,
)
from onelayer.backends.cpu.tables import BYTES, LANES


class _Sums:
    """Eight sums in float32."""

    def __init__(self, builder):
        self._total = cgutils.alloca_once(builder, FLOATS_8)
        builder.store(ir.Constant(FLOATS_8, [0.0] * LANES), self._total)

    def add(self, builder, values, fused, unfused):
        """Add a tap; ``unfused`` are the weights of products that are rounded first, None if there are none."""
        total = builder.load(self._total)
        if unfused is not None:
            total = builder.fadd(total, builder.fmul(values, unfused))
        builder.store(instruction(builder, "llvm.fma.v8f32", FLOATS_8, values, fused, total), self._total)

    def value(self, builder):
        """Return the sums."""
        return builder.load(self._total)


def _near_columns_by(rows, has_unfused):
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
                factors = _weights_of(builder, weights, tap, FLOATS_8, has_unfused)
                for each, line in zip(sums, of_row, strict=True):
                    halves = [loaded(builder, line, begin, BYTES_16) for begin in begins]
                    samples = builder.bitcast(permuted(builder, joined(builder, *halves), order), INTS_8)
                    each.add(builder, builder.sitofp(samples, FLOATS_8), *factors)
            _store(builder, [each.value(builder) for each in sums], out, out_rows, to)

        return signature, generate

    return near_columns


def _far_columns_by(rows, has_unfused):
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
                factors = _weights_of(builder, weights, tap, FLOATS_8, has_unfused)
                for each, line in zip(sums, of_row, strict=True):
                    samples = ir.Constant(ir.VectorType(BYTE, LANES), ir.Undefined)
                    for lane, begin in enumerate(begins):
                        sample = builder.load(builder.gep(line, [begin]))
                        samples = builder.insert_element(samples, sample, ir.Constant(INT, lane))
                    each.add(builder, builder.uitofp(samples, FLOATS_8), *factors)
            _store(builder, [each.value(builder) for each in sums], out, out_rows, to)

        return signature, generate

    return far_columns


def _weights_of(builder, weights, tap, kind, has_unfused):
    """Return the two weights of a tap, each a value of a kind; None for the second if there is none."""
    count = kind.count if isinstance(kind, ir.VectorType) else 1
    numbers = builder.bitcast(weights, FLOAT.as_pointer())
    first = builder.mul(tap, constant(2 * count))
    return [
        loaded(builder, numbers, builder.add(first, constant(part * count)), kind) if part <= has_unfused else None
        for part in range(2)
    ]


def _store(builder, sums, out, out_rows, to):
    for row, values in enumerate(sums):
        place = builder.load(builder.gep(out_rows, [constant(row)]))
        stored(builder, values, out, builder.add(place, to))


near_fused_columns, near_unfused_columns = (_near_columns_by(4, has_unfused) for has_unfused in (False, True))
far_fused_columns, far_unfused_columns = (_far_columns_by(4, has_unfused) for has_unfused in (False, True))
"""Write eight float32 sums of each of four rows r, from ``out[out_rows[r] + to]`` on: addresses count bytes.

The rows' lines are at the addresses ``lines[r] + at``; for what the arrays hold see
:func:`onelayer.backends.cpu.tables.float32_windows`.
"""


def _sums_of_rows_by(has_unfused):
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
                    for weight in _weights_of(builder, weights, builder.add(weights_at, loop.index), FLOAT, has_unfused)
                ]
                place = builder.add(builder.load(builder.gep(origins, [loop.index])), begin)
                for number, each in enumerate(sums):
                    values = loaded(builder, x, builder.add(place, constant(4 * LANES * number)), FLOATS_8)
                    each.add(builder, values, *factors)
            values = [_rounded(builder, each.value(builder)) for each in sums]
            halves = [joined(builder, *values[i : i + 2]) for i in (0, 2)]
            whole = joined(builder, *halves)
            stored(builder, builder.trunc(whole, BYTES_32), out, to)

        return signature, generate

    return sums_of_rows


def _rounded(builder, values):
    """Round half to even and saturate to 0 … 255; integers of 32 bits."""
    values = instruction(builder, "llvm.rint.v8f32", FLOATS_8, values)
    for limit, comparison in ((0.0, "<"), (255.0, ">")):
        bound = ir.Constant(FLOATS_8, [limit] * LANES)
        values = builder.select(builder.fcmp_ordered(comparison, values, bound), bound, values)
    return builder.fptosi(values, INTS_8)


fused_rows, unfused_rows = _sums_of_rows_by(has_unfused=False), _sums_of_rows_by(has_unfused=True)
"""Set ``out[to + i]``, for 32 neighbours i, to a rounded sum over k of the float32 at ``x[origins[k] + begin + 4i]``.

``weights_at`` counts taps.
"""


@intrinsic
def mix_three(_typing, values, at, between, weights, first, half, out, to):
    """Set ``out[to + i] = trunc(Σ_c weights[first + c] · values[at + c·between + i] + half)`` for sixteen bytes i.

    Of three lines, in float32; each product is added with one rounding.
    """
    signature = types.void(values, at, between, weights, first, half, out, to)

    def generate(context, builder, signature, arguments):
        values, weights, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 6))
        _, at, between, _, first, half, _, to = arguments
        floats = ir.VectorType(FLOAT, BYTES)
        total = None
        for channel in range(3):
            numbers = builder.uitofp(loaded(builder, values, at, BYTES_16), floats)
            weight = builder.load(builder.gep(weights, [builder.add(first, constant(channel))]))
            factor = splat(builder, weight, BYTES)
            total = (
                builder.fmul(numbers, factor)
                if channel == 0
                else instruction(builder, "llvm.fma.v16f32", floats, numbers, factor, total)
            )
            at = builder.add(at, between)
        total = builder.fadd(total, splat(builder, half, BYTES))
        whole = builder.fptosi(total, ir.VectorType(INT, BYTES))
        stored(builder, builder.trunc(whole, BYTES_16), out, to)

    return signature, generate


@intrinsic
def fused(_typing, x, y, z):
    """Return ``x · y + z`` in float32 with one rounding."""
    signature = types.float32(x, y, z)

    def generate(_context, builder, _signature, arguments):
        return instruction(builder, "llvm.fma.f32", FLOAT, *arguments)

    return signature, generate

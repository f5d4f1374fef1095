"""Sums of bytes with whole weights in vector registers: what Numba has no words for.

Everything is made of pairs: two bytes, as numbers of 16 bits, times two weights of 16 bits, added to a sum of 32 bits.
A weight of more bits is in two parts, the lower 15 bits and the rest, each with sums of its own. What these exceed 32
bits by does not matter, as long as the sum of both does not.

Where the processor lacks an instruction, plain operations stand for it.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.byte_windows import BYTES, FAR_OUTPUTS
from onelayer.backends.cpu.registers import (
    BYTE,
    BYTES_16,
    BYTES_32,
    INT,
    INTS_8,
    SHORTS_16,
    constant,
    has_avx2,
    instruction,
    loaded,
    shuffled,
    side_by_side,
    splat,
    stored,
)
from onelayer.backends.cpu.vectors import data_of
from onelayer.backends.cpu.windows import LANES

LOW_BITS = 15
"""In the lower part of a weight of more than 16 bits."""

ROW_OUTPUTS = 32
"""Neighbours along a row that are computed together."""


def _products(builder, samples, weights):
    """Of sixteen samples and weights, added in pairs to eight."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.pmadd.wd", INTS_8, samples, weights)
    wide = ir.VectorType(INT, BYTES)
    each = builder.mul(builder.sext(samples, wide), builder.sext(weights, wide))
    even, odd = (shuffled(builder, each, each, range(part, BYTES, 2)) for part in (0, 1))
    return builder.add(even, odd)


def ordered(builder, values, places):
    """The bytes of each half at places in that half, and zeros where the place is 128."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.pshuf.b", BYTES_32, values, places)
    result = ir.Constant(BYTES_32, [0] * 2 * BYTES)
    for lane in range(2 * BYTES):
        index = ir.Constant(INT, lane)
        place = builder.extract_element(places, index)
        within = builder.and_(builder.zext(place, INT), ir.Constant(INT, BYTES - 1))
        of_half = builder.add(within, ir.Constant(INT, lane // BYTES * BYTES))
        is_none = builder.icmp_signed("<", place, ir.Constant(BYTE, 0))
        value = builder.select(is_none, ir.Constant(BYTE, 0), builder.extract_element(values, of_half))
        result = builder.insert_element(result, value, index)
    return result


def _packed_shorts(builder, one, other):
    """Two times eight numbers, saturated to 16 bits: the first halves of both, then the second halves."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.packssdw", SHORTS_16, one, other)
    order = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15]
    both = shuffled(builder, one, other, order)
    return builder.trunc(_clamped(builder, both, -32768, 32767), SHORTS_16)


def _packed_bytes(builder, one, other):
    """Two times sixteen numbers of 16 bits, saturated to bytes: in the order that shorts are packed in."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.packuswb", BYTES_32, one, other)
    both = shuffled(builder, one, other, [*range(8), *range(16, 24), *range(8, 16), *range(24, 32)])
    return builder.trunc(_clamped(builder, both, 0, 255), BYTES_32)


def _clamped(builder, values, low, high):
    for limit, comparison in ((low, "<"), (high, ">")):
        bound = ir.Constant(values.type, [limit] * values.type.count)
        values = builder.select(builder.icmp_signed(comparison, values, bound), bound, values)
    return values


class _Sums:
    """Eight sums, of a kind: with weights of 16 bits, or in two parts."""

    def __init__(self, builder, parts, half):
        self._parts = [cgutils.alloca_once(builder, INTS_8) for _ in range(parts)]
        for number, part in enumerate(self._parts):
            zero = ir.Constant(INTS_8, [0] * LANES)
            builder.store(zero if half is None or number else splat(builder, half, LANES), part)

    def add(self, builder, samples, weights):
        """``samples`` as numbers of 16 bits; ``weights`` of each part."""
        for part, factors in zip(self._parts, weights, strict=True):
            builder.store(builder.add(builder.load(part), _products(builder, samples, factors)), part)

    def value(self, builder):
        low, *rest = (builder.load(part) for part in self._parts)
        for high in rest:
            low = builder.add(low, builder.shl(high, ir.Constant(INTS_8, [LOW_BITS] * LANES)))
        return low


def _shift_and_half(builder, bits):
    """For ``(sum + half) >> bits``; bits is a number of 64 bits."""
    shift = builder.trunc(bits, INT)
    return shift, builder.shl(ir.Constant(INT, 1), builder.sub(shift, ir.Constant(INT, 1)))


def _shifted(builder, sums, shift):
    return builder.ashr(sums, splat(builder, shift, LANES))


def _weights_of(builder, weights, at, parts, between):
    return [loaded(builder, weights, builder.add(at, constant(part * between)), SHORTS_16) for part in range(parts)]


def line_at(builder, lines, row, at):
    """The memory at the address ``lines[row] + at``."""
    address = builder.add(builder.load(builder.gep(lines, [row])), at)
    return builder.inttoptr(address, BYTE.as_pointer())


def _near_columns_by(rows, parts):
    @intrinsic
    def near_columns(_typing, lines, at, starts, places, weights, block, steps, bits, out, out_rows, first_row, to):
        signature = types.void(lines, at, starts, places, weights, block, steps, bits, out, out_rows, first_row, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            lines, starts, places, weights, out, out_rows = (
                data_of(context, builder, kinds[i], arguments[i]) for i in (0, 2, 3, 4, 8, 9)
            )
            at, block, steps, bits, first_row, to = (arguments[i] for i in (1, 5, 6, 7, 10, 11))
            row_numbers = [builder.add(first_row, constant(row)) for row in range(rows)]
            shift, half = _shift_and_half(builder, bits)
            sums = [[_Sums(builder, parts, half) for _ in range(2)] for _ in range(rows)]
            of_row = [line_at(builder, lines, row, at) for row in row_numbers]
            first = builder.mul(block, steps)
            with cgutils.for_range(builder, steps) as loop:
                step = builder.add(first, loop.index)
                of_step = builder.mul(step, constant(4))
                begins = [
                    builder.load(builder.gep(starts, [builder.add(of_step, constant(half))])) for half in range(4)
                ]
                for register in range(2):
                    order_at = builder.add(builder.mul(step, constant(4 * BYTES)), constant(register * 2 * BYTES))
                    order = loaded(builder, places, order_at, BYTES_32)
                    weights_at = builder.add(builder.mul(step, constant(2 * BYTES * parts)), constant(register * BYTES))
                    factors = _weights_of(builder, weights, weights_at, parts, 2 * BYTES)
                    for row in range(rows):
                        halves = [loaded(builder, of_row[row], begins[2 * register + h], BYTES_16) for h in range(2)]
                        samples = ordered(builder, side_by_side(builder, *halves), order)
                        sums[row][register].add(builder, builder.bitcast(samples, SHORTS_16), factors)
            shorts = [
                _packed_shorts(builder, *(_shifted(builder, each.value(builder), shift) for each in both))
                for both in sums
            ]
            for pair in range(0, rows, 2):
                # Of each row the first eight outputs, then of each the last eight.
                packed = _packed_bytes(builder, shorts[pair], shorts[pair + 1])
                for row in range(2):
                    own = [*range(8 * row, 8 * row + 8), *range(16 + 8 * row, 24 + 8 * row)]
                    place = builder.load(builder.gep(out_rows, [row_numbers[pair + row]]))
                    stored(builder, shuffled(builder, packed, packed, own), out, builder.add(place, to))

        return signature, generate

    return near_columns


def _far_columns_by(parts):
    @intrinsic
    def far_columns(_typing, lines, at, starts, weights, block, steps, bits, out, out_rows, row, to):
        signature = types.void(lines, at, starts, weights, block, steps, bits, out, out_rows, row, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            lines, starts, weights, out, out_rows = (
                data_of(context, builder, kinds[i], arguments[i]) for i in (0, 2, 3, 7, 8)
            )
            at, block, steps, bits, row, to = (arguments[i] for i in (1, 4, 5, 6, 9, 10))
            shift, half = _shift_and_half(builder, bits)
            line = line_at(builder, lines, row, at)
            first = builder.mul(block, steps)
            fours = []
            for begin in range(0, FAR_OUTPUTS, 4):
                sums = [_Sums(builder, parts, None) for _ in range(4)]
                with cgutils.for_range(builder, steps) as loop:
                    step = builder.mul(builder.add(first, loop.index), constant(FAR_OUTPUTS))
                    for number, each in enumerate(sums):
                        output = builder.add(step, constant(begin + number))
                        start = builder.load(builder.gep(starts, [output]))
                        samples = builder.zext(loaded(builder, line, start, BYTES_16), SHORTS_16)
                        weights_at = builder.mul(output, constant(BYTES * parts))
                        each.add(builder, samples, _weights_of(builder, weights, weights_at, parts, BYTES))
                values = [each.value(builder) for each in sums]
                while len(values) > 1:
                    values = [_neighbours_added(builder, *values[i : i + 2]) for i in range(0, len(values), 2)]
                fours.append(builder.add(*(shuffled(builder, values[0], values[0], range(i, i + 4)) for i in (0, 4))))
            sums = builder.add(side_by_side(builder, *fours), splat(builder, half, LANES))
            values = builder.trunc(
                _clamped(builder, _shifted(builder, sums, shift), 0, 255), ir.VectorType(BYTE, LANES)
            )
            place = builder.load(builder.gep(out_rows, [row]))
            stored(builder, values, out, builder.add(place, to))

        return signature, generate

    return far_columns


def _neighbours_added(builder, one, other):
    """In each half: two sums of neighbours of the one, two of the other."""
    even = shuffled(builder, one, other, [0, 2, 8, 10, 4, 6, 12, 14])
    odd = shuffled(builder, one, other, [1, 3, 9, 11, 5, 7, 13, 15])
    return builder.add(even, odd)


near_columns, near_columns_wide = _near_columns_by(4, parts=1), _near_columns_by(2, parts=2)
"""``out[out_rows[r] + to + j] = round(Σ_k weight(block, k, j) · line[r][place(block, k, j)])`` of bytes.

For 4, or 2, rows r from ``first_row`` on, whose lines are at the addresses ``lines[r] + at``, and 16 outputs j. What
the arrays hold, and in which order, says :mod:`onelayer.backends.cpu.byte_windows`; wide weights have their lower parts
first.
"""

far_columns, far_columns_wide = _far_columns_by(parts=1), _far_columns_by(parts=2)
"""The same of one row, and for 8 outputs."""


def _sums_of_rows_by(parts):
    @intrinsic
    def sums_of_rows(_typing, x, origins, weights, weights_at, pairs, begin, bits, out, to):
        signature = types.void(x, origins, weights, weights_at, pairs, begin, bits, out, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, origins, weights, out = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 7))
            _, _, _, weights_at, pairs, begin, bits, _, to = arguments
            shift, half = _shift_and_half(builder, bits)
            sums = [_Sums(builder, parts, half) for _ in range(ROW_OUTPUTS // LANES)]
            zeros = ir.Constant(BYTES_32, [0] * 2 * BYTES)
            with cgutils.for_range(builder, pairs) as loop:
                pair = builder.mul(loop.index, constant(2))
                at = builder.add(weights_at, builder.mul(loop.index, constant(2 * parts)))
                factors = [
                    builder.bitcast(
                        splat(builder, loaded(builder, weights, builder.add(at, constant(2 * part)), INT), LANES),
                        SHORTS_16,
                    )
                    for part in range(parts)
                ]
                both = [
                    loaded(builder, x, builder.add(builder.load(builder.gep(origins, [row])), begin), BYTES_32)
                    for row in (pair, builder.add(pair, constant(1)))
                ]
                for number, each in enumerate(sums):
                    upper, last = number // 2, number % 2
                    mixed = _interleaved(builder, *both, upper)
                    samples = builder.bitcast(_interleaved(builder, mixed, zeros, last), SHORTS_16)
                    each.add(builder, samples, factors)
            values = [_shifted(builder, each.value(builder), shift) for each in sums]
            shorts = [_packed_shorts(builder, *values[i : i + 2]) for i in (0, 2)]
            stored(builder, _packed_bytes(builder, *shorts), out, to)

        return signature, generate

    return sums_of_rows


def _interleaved(builder, one, other, upper):
    """Of each half the first eight bytes, or the last, each followed by the other's."""
    order = []
    for half in (0, BYTES):
        for byte in range(8 * upper, 8 * upper + 8):
            order += [half + byte, 2 * BYTES + half + byte]
    return shuffled(builder, one, other, order)


sums_of_rows, sums_of_rows_wide = _sums_of_rows_by(1), _sums_of_rows_by(2)
"""``out[to + i] = round(Σ_k weights[weights_at + k] · x[origins[k] + begin + i])`` of bytes, for 32 neighbours i.

With two weights for each of ``pairs`` pairs of rows; wide ones have the lower parts of both first.
"""


@intrinsic
def mix_three(_typing, values, at, between, weights, first, half, out, to):
    """``out[to + i] = trunc(Σ_c weights[first + c] · values[at + c·between + i] + half)`` for sixteen bytes i.

    Of three lines, in float32; each product is added with one rounding.
    """
    signature = types.void(values, at, between, weights, first, half, out, to)

    def generate(context, builder, signature, arguments):
        values, weights, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 6))
        _, at, between, _, first, half, _, to = arguments
        single = ir.VectorType(ir.FloatType(), BYTES)
        total = None
        for channel in range(3):
            numbers = builder.uitofp(loaded(builder, values, at, BYTES_16), single)
            weight = builder.load(builder.gep(weights, [builder.add(first, constant(channel))]))
            factor = splat(builder, weight, BYTES)
            total = (
                builder.fmul(numbers, factor)
                if channel == 0
                else instruction(builder, "llvm.fma.v16f32", single, numbers, factor, total)
            )
            at = builder.add(at, between)
        total = builder.fadd(total, splat(builder, half, BYTES))
        whole = builder.fptosi(total, ir.VectorType(INT, BYTES))
        stored(builder, builder.trunc(whole, BYTES_16), out, to)

    return signature, generate


@intrinsic
def fused(_typing, x, y, z):
    """``x · y + z`` in float32 with one rounding."""
    signature = types.float32(x, y, z)

    def generate(_context, builder, _signature, arguments):
        return instruction(builder, "llvm.fma.f32", ir.FloatType(), *arguments)

    return signature, generate

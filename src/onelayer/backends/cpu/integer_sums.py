"""Sum bytes with integer weights in vector registers, as intrinsics in LLVM's terms.

Everything is made of pairs: two bytes, as integers of 16 bits, times two weights of 16 bits, added to a sum of 32 bits.
A weight of more bits is in two parts, the lower 15 bits and the rest, each with sums of its own. What these exceed 32
bits by does not matter, as long as the sum of both does not.

Where the processor lacks an instruction, plain operations stand for it.
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
    INT,
    INTS_8,
    LONG,
    ROW_OUTPUTS,
    SHORTS_16,
    constant,
    data_of,
    has_avx2,
    instruction,
    joined,
    line_at,
    loaded,
    permuted,
    shuffled,
    splat,
    stored,
)
from onelayer.backends.cpu.tables import BYTES, FAR_OUTPUTS, LANES

LOW_BITS = 15
"""Bits of the lower part of a weight of more than 16 bits."""


def products(builder, samples, weights):
    """Multiply sixteen samples and weights, and add neighbouring products: eight sums."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.pmadd.wd", INTS_8, samples, weights)
    wide = ir.VectorType(INT, BYTES)
    each = builder.mul(builder.sext(samples, wide), builder.sext(weights, wide))
    even, odd = (shuffled(builder, each, each, range(part, BYTES, 2)) for part in (0, 1))
    return builder.add(even, odd)


def packed_shorts(builder, first, second):
    """Saturate two times eight integers to 16 bits: the first halves of both, then the second halves."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.packssdw", SHORTS_16, first, second)
    order = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15]
    joint = shuffled(builder, first, second, order)
    return builder.trunc(_clamped(builder, joint, -32768, 32767), SHORTS_16)


def _packed_bytes(builder, first, second):
    """Saturate two times sixteen integers of 16 bits to bytes, in the order that shorts are packed in."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.packuswb", BYTES_32, first, second)
    joint = shuffled(builder, first, second, [*range(8), *range(16, 24), *range(8, 16), *range(24, 32)])
    return builder.trunc(_clamped(builder, joint, 0, 255), BYTES_32)


def _clamped(builder, values, low, high):
    for limit, comparison in ((low, "<"), (high, ">")):
        bound = ir.Constant(values.type, [limit] * values.type.count)
        values = builder.select(builder.icmp_signed(comparison, values, bound), bound, values)
    return values


class _Sums:
    """Eight sums of 32 bits, with weights of 16 bits or in two parts.

    Args:
        builder: Builder of the function.
        parts: Parts of a weight, 1 or 2.
        half: Numbers that the sums begin with; None for zeros.
    """

    def __init__(self, builder, parts, half):
        self._parts = [cgutils.alloca_once(builder, INTS_8) for _ in range(parts)]
        for number, part in enumerate(self._parts):
            zero = ir.Constant(INTS_8, [0] * LANES)
            builder.store(zero if half is None or number else half, part)

    def add(self, builder, samples, weights):
        """Add the products of ``samples``, integers of 16 bits, and the weights of each part."""
        for part, factors in zip(self._parts, weights, strict=True):
            builder.store(builder.add(builder.load(part), products(builder, samples, factors)), part)

    def value(self, builder):
        """Return the sums."""
        low, *rest = (builder.load(part) for part in self._parts)
        for high in rest:
            low = builder.add(low, builder.shl(high, ir.Constant(INTS_8, [LOW_BITS] * LANES)))
        return low


def _shift_and_half(builder, bits):
    """Return the operands of ``(sum + half) >> bits``; bits is an integer of 64 bits."""
    shift = builder.trunc(bits, INT)
    return shift, builder.shl(ir.Constant(INT, 1), builder.sub(shift, ir.Constant(INT, 1)))


def _shifted(builder, sums, shift):
    return builder.ashr(sums, splat(builder, shift, LANES))


def _weights_of(builder, weights, at, parts, between):
    return [loaded(builder, weights, builder.add(at, constant(part * between)), SHORTS_16) for part in range(parts)]


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
            half = splat(builder, half, LANES)
            sums = [[_Sums(builder, parts, half) for _ in range(2)] for _ in range(rows)]
            row_lines = [line_at(builder, lines, row, at) for row in row_numbers]
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
                        halves = [loaded(builder, row_lines[row], begins[2 * register + h], BYTES_16) for h in range(2)]
                        samples = permuted(builder, joined(builder, *halves), order)
                        sums[row][register].add(builder, builder.bitcast(samples, SHORTS_16), factors)
            shorts = [
                packed_shorts(builder, *(_shifted(builder, each.value(builder), shift) for each in of_row))
                for of_row in sums
            ]
            for pair in range(0, rows, 2):
                # Of each row the first eight outputs, then of each the last eight.
                packed = _packed_bytes(builder, shorts[pair], shorts[pair + 1])
                for row in range(2):
                    order = [*range(8 * row, 8 * row + 8), *range(16 + 8 * row, 24 + 8 * row)]
                    place = builder.load(builder.gep(out_rows, [row_numbers[pair + row]]))
                    stored(builder, shuffled(builder, packed, packed, order), out, builder.add(place, to))

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
            sums = builder.add(joined(builder, *fours), splat(builder, half, LANES))
            values = builder.trunc(
                _clamped(builder, _shifted(builder, sums, shift), 0, 255), ir.VectorType(BYTE, LANES)
            )
            place = builder.load(builder.gep(out_rows, [row]))
            stored(builder, values, out, builder.add(place, to))

        return signature, generate

    return far_columns


def _neighbours_added(builder, first, second):
    """Add neighbours: in each half two sums of the first vector, and two of the second."""
    even = shuffled(builder, first, second, [0, 2, 8, 10, 4, 6, 12, 14])
    odd = shuffled(builder, first, second, [1, 3, 9, 11, 5, 7, 13, 15])
    return builder.add(even, odd)


near_columns, near_columns_wide = _near_columns_by(4, parts=1), _near_columns_by(2, parts=2)
"""Set ``out[out_rows[r] + to + j] = round(Σ_k weight(block, k, j) · line[r][place(block, k, j)])`` of bytes.

For 4, or 2, rows r from ``first_row`` on, whose lines are at the addresses ``lines[r] + at``, and 16 outputs j. What
the arrays hold, and in which order, says :func:`onelayer.backends.cpu.tables.byte_windows`; wide weights have their
lower parts first.
"""

far_columns, far_columns_wide = _far_columns_by(parts=1), _far_columns_by(parts=2)
"""Do the same for one row and 8 outputs."""


def _pixel_columns_by(parts, together):
    """Make a function for weights in some parts that computes some outputs together, one or two."""

    @intrinsic
    def pixel_columns(_typing, lines, starts, orders, weights, begin, end, steps, advance, bits, out, out_rows, to):
        signature = types.void(lines, starts, orders, weights, begin, end, steps, advance, bits, out, out_rows, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            lines, starts, orders, weights, out, out_rows = (
                data_of(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 3, 9, 10)
            )
            begin, end, steps, advance, bits, to = (arguments[i] for i in (4, 5, 6, 7, 8, 11))
            shift, half = _shift_and_half(builder, bits)
            # In half of the sums, because two halves will be added.
            halves = shuffled(
                builder, splat(builder, half, LANES), ir.Constant(INTS_8, [0] * LANES), [*range(4), *range(8, 12)]
            )
            row_lines = [line_at(builder, lines, constant(row), constant(0)) for row in range(4)]
            places = [
                builder.gep(out, [builder.add(builder.load(builder.gep(out_rows, [constant(row)])), to)])
                for row in range(4)
            ]
            with cgutils.for_range_slice(builder, begin, end, constant(together)) as (output, _):
                outputs = [builder.add(output, constant(number)) for number in range(together)]
                order_of, at_of, weights_of = [], [], []
                for each in outputs:
                    order_of.append(loaded(builder, orders, builder.mul(each, constant(2 * BYTES)), BYTES_32))
                    at_of.append(builder.load(builder.gep(starts, [each])))
                    weights_of.append(builder.mul(builder.mul(each, steps), constant(BYTES * parts)))
                sums = [[_Sums(builder, parts, halves) for _ in range(4)] for _ in outputs]
                with cgutils.for_range(builder, steps) as loop:
                    of_weights = builder.mul(loop.index, constant(BYTES * parts))
                    of_pixels = builder.mul(loop.index, advance)
                    for order, start, weights_at, of_output in zip(order_of, at_of, weights_of, sums, strict=True):
                        factors = _weights_of(builder, weights, builder.add(weights_at, of_weights), parts, BYTES)
                        at = builder.add(start, of_pixels)
                        for each, line in zip(of_output, row_lines, strict=True):
                            pixels = loaded(builder, line, at, BYTES_16)
                            samples = permuted(builder, joined(builder, pixels, pixels), order)
                            each.add(builder, builder.bitcast(samples, SHORTS_16), factors)
                values = [[each.value(builder) for each in of_output] for of_output in sums]
                store = _two_pixels_stored if together == 2 else _pixels_stored
                store(builder, values, shift, places, builder.mul(output, constant(4)))

        return signature, generate

    return pixel_columns


def _halves_added(builder, first, second):
    """Add both halves of two vectors: four sums of the first, and four of the second."""
    low, high = ([*range(i, i + 4), *range(i + 8, i + 12)] for i in (0, 4))
    return builder.add(shuffled(builder, first, second, low), shuffled(builder, first, second, high))


def _pixels_stored(builder, values, shift, places, at):
    """Store a pixel each of four rows."""
    ((*rows,),) = values
    pairs = [_shifted(builder, _halves_added(builder, *rows[i : i + 2]), shift) for i in (0, 2)]
    shorts = packed_shorts(builder, *pairs)
    packed = builder.bitcast(_packed_bytes(builder, shorts, shorts), INTS_8)
    # Packing leaves rows in the order 0 2 0 2, 1 3 1 3.
    for place, lane in zip(places, (0, 4, 1, 5), strict=True):
        stored(builder, builder.extract_element(packed, ir.Constant(INT, lane)), place, at)


def _two_pixels_stored(builder, values, shift, places, at):
    """Store two neighbouring pixels each of four rows."""
    first, second = values
    rows = [_shifted(builder, _halves_added(builder, *pair), shift) for pair in zip(first, second, strict=True)]
    shorts = [packed_shorts(builder, *rows[i : i + 2]) for i in (0, 2)]
    # Packing leaves the first pixel of all rows, and then the second.
    packed = builder.bitcast(_packed_bytes(builder, *shorts), INTS_8)
    pixels = builder.bitcast(shuffled(builder, packed, packed, [0, 4, 1, 5, 2, 6, 3, 7]), ir.VectorType(LONG, 4))
    for row, place in enumerate(places):
        stored(builder, builder.extract_element(pixels, ir.Constant(INT, row)), place, at)


pixel_columns, pixel_columns_wide = _pixel_columns_by(1, together=1), _pixel_columns_by(2, together=1)
"""Set four bytes from ``out[out_rows[r] + to + 4j]`` on to output j of all channels of row r, for four rows.

For the outputs from ``begin`` up to before ``end``. Each of ``steps`` takes sixteen bytes from ``lines[r] + starts[j]``
on, ``advance`` bytes after those before, which hold four pixels. In the order ``orders[32 · j:]`` they are two pairs of
pixels, channel by channel.
"""

pixel_column_pairs = _pixel_columns_by(1, together=2)
"""Do the same for an even number of outputs."""


def _sums_of_rows_by(parts):
    @intrinsic
    def sums_of_rows(_typing, x, origins, weights, weights_at, pairs, begin, bits, out, to):
        signature = types.void(x, origins, weights, weights_at, pairs, begin, bits, out, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, origins, weights, out = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 7))
            _, _, _, weights_at, pairs, begin, bits, _, to = arguments
            shift, half = _shift_and_half(builder, bits)
            sums = [_Sums(builder, parts, splat(builder, half, LANES)) for _ in range(ROW_OUTPUTS // LANES)]
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
                rows = [
                    loaded(builder, x, builder.add(builder.load(builder.gep(origins, [row])), begin), BYTES_32)
                    for row in (pair, builder.add(pair, constant(1)))
                ]
                for number, each in enumerate(sums):
                    upper, last = number // 2, number % 2
                    mixed = _interleaved(builder, *rows, upper)
                    samples = builder.bitcast(_interleaved(builder, mixed, zeros, last), SHORTS_16)
                    each.add(builder, samples, factors)
            values = [_shifted(builder, each.value(builder), shift) for each in sums]
            shorts = [packed_shorts(builder, *values[i : i + 2]) for i in (0, 2)]
            stored(builder, _packed_bytes(builder, *shorts), out, to)

        return signature, generate

    return sums_of_rows


def _interleaved(builder, first, second, upper):
    """Interleave, in each half, the first eight bytes of two vectors, or the last eight."""
    order = []
    for half in (0, BYTES):
        for byte in range(8 * upper, 8 * upper + 8):
            order += [half + byte, 2 * BYTES + half + byte]
    return shuffled(builder, first, second, order)


sums_of_rows, sums_of_rows_wide = _sums_of_rows_by(1), _sums_of_rows_by(2)
"""Set ``out[to + i] = round(Σ_k weights[weights_at + k] · x[origins[k] + begin + i])`` of bytes, for 32 neighbours i.

With two weights for each of ``pairs`` pairs of rows; wide ones have the lower parts of both first.
"""

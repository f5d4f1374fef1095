"""Warp PIL images by a matrix with Pillow's arithmetic, bilinear, bit for bit.

Pillow computes in float64 where an output pixel lies in the image, and weighs the four pixels around that place in
float64; the sum loses its fraction. (``Geometry.c``: ``affine_transform``, ``perspective_transform`` and
``bilinear_filter``.) Eight pixels are computed so here too where a perspective is asked for, or some lie at the border.

Where a map keeps rows or columns, two pixels are weighed in place of four: the sum of the others has the weight 0.
Elsewhere places are computed in whole numbers of 2⁻²⁰ pixels, and the sums in float32. The bilinear surface has no
steps, so that a sum is wrong by less than :data:`UNSURE`, whichever four pixels a place is taken to lie between. If no
integer is as near, or if the four are equal and the place surely lies between them, the sum without its fraction is
Pillow's; otherwise the eight are computed as Pillow does.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.compilation import exact_inlined, table_kernel
from onelayer.backends.cpu.simd import (
    BYTES_8,
    FLOATS_8,
    INT,
    INTS_8,
    LONG,
    SHORT,
    bytes_at,
    constant,
    copy_bytes,
    data_of,
    instruction,
    joined,
    loaded,
    longs_at,
    shuffled,
    splat,
    stored,
)
from onelayer.backends.cpu.tables import LANES

WARPED, UNKNOWN_MEMORY, NO_NUMBER = range(3)
"""What a call gave: the image; nothing, as the rows do not lie one behind the other; nothing, as a place is 0/0."""

# Fields of a call, uint64.
STRUCTURE, RESULT_STRUCTURE, ROWS_AT = range(3)
"""Addresses of the addresses of the structures of an image and of a result, and the offset in a structure of the
address of its rows' addresses."""

HEIGHT, WIDTH, RESULT_HEIGHT, RESULT_WIDTH, PIXEL = range(3, 8)
"""Rows and columns of both, and bytes of a pixel: 1, or 4 of which the first three are colors."""

IS_PERSPECTIVE, FILL = 8, 9
"""Whether the matrix is of a perspective, otherwise of an affine map in six numbers; the pixel outside of the image."""

FIELDS = 10

IS_INSIDE, IS_NO_NUMBER = 1, 2
"""What is true of some of eight places: they lie inside the image; they are 0/0."""

MAX_MEMORY = 1 << 31
"""Bytes of an image from which on offsets would not fit into 32 bits."""

FRACTION_BITS = 20
"""Bits of a place behind the point; before it there is room for 11."""

MAX_LENGTH, MAX_SLOPE, MAX_OFFSET = float((1 << 11) - 1), 256.0, float(1 << 20)
"""Largest length of an image, and numbers of a matrix, for places of 32 bits."""

UNSURE = 2.0**-10
"""Distance from an integer within which a quick sum is not used.

Each coordinate is wrong by less than 1½ · 2⁻²⁰: its start is cut off, its step rounded. Along a pixel the surface rises
by 255 at most, so that the sum is wrong by 2 · 255 · 1½ · 2⁻²⁰ for these. Rounding to float32, products and sums apart,
adds, in units of 255 · 2⁻²⁴, at most 2 for each sum along a row, 1 for their difference, 2 for its product and the last
sum, and 1 for the comparison, which is 10 in all. Together that is less than 2⁻¹⁰.
"""

_MARGIN = 2.0**-16
"""Distance that quick places keep from the middles of the pixels at the border, and more than they are wrong by."""

_BLOCK = 128
"""Pixels of a row that are computed together: what lies between the steps stays in the nearest cache."""

_HALF = LANES // 2
_DOUBLE = ir.DoubleType()
_DOUBLES_4, DOUBLES_8 = ir.VectorType(_DOUBLE, _HALF), ir.VectorType(_DOUBLE, LANES)
_INTS_4 = ir.VectorType(INT, _HALF)
_PAIRS = {1: ir.VectorType(SHORT, LANES), 4: ir.VectorType(INT, 2 * LANES)}
"""Eight pairs of neighbours along a row, by the bytes of a pixel."""

_uint = np.uint64


def equal(kind, value):
    """Return a vector of equal constants."""
    return ir.Constant(kind, [value] * kind.count)


def limited(builder, values, low, high):
    """Return integers that are not below ``low`` and not above ``high``."""
    values = builder.select(builder.icmp_signed("<", values, low), low, values)
    return builder.select(builder.icmp_signed("<", values, high), values, high)


def _any(builder, flags):
    """Whether any of several flags is true, as an integer of 64 bits."""
    bits = ir.IntType(flags.type.count)
    return builder.zext(builder.icmp_unsigned("!=", builder.bitcast(flags, bits), ir.Constant(bits, 0)), LONG)


def _places_by(is_perspective):
    @intrinsic
    def places(_typing, matrix, row, col, height, width, of_row, of_column, shares, starts):
        signature = types.uint64(matrix, row, col, height, width, of_row, of_column, shares, starts)

        def generate(context, builder, signature, arguments):
            matrix, shares, starts = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 7, 8))
            _, row, col, height, width, of_row, of_column, _, _ = arguments
            numbers = [builder.load(builder.gep(matrix, [constant(i)])) for i in range(8)]
            half = ir.Constant(_DOUBLE, 0.5)
            y = builder.fadd(builder.sitofp(row, _DOUBLE), half)
            along_rows = [builder.fmul(numbers[i], y) for i in (1, 4, 7)]
            first = builder.sitofp(col, _DOUBLE)
            flags = constant(0)
            parts = []
            for begin in (0, _HALF):
                # Exact, as sums of whole numbers and halves.
                x = builder.fadd(
                    splat(builder, first, _HALF), ir.Constant(_DOUBLES_4, [begin + i + 0.5 for i in range(_HALF)])
                )

                def sum_of(which, x=x):
                    product = builder.fmul(splat(builder, numbers[3 * which], _HALF), x)
                    total = builder.fadd(product, splat(builder, along_rows[which], _HALF))
                    last = numbers[3 * which + 2] if which < 2 else ir.Constant(_DOUBLE, 1.0)
                    return builder.fadd(total, splat(builder, last, _HALF))

                across, down = sum_of(0), sum_of(1)
                if is_perspective:
                    divisor = sum_of(2)
                    across, down = builder.fdiv(across, divisor), builder.fdiv(down, divisor)
                zero = equal(_DOUBLES_4, 0.0)
                inside = None
                for place, length in ((across, width), (down, height)):
                    end = splat(builder, builder.sitofp(length, _DOUBLE), _HALF)
                    for compared in (
                        builder.fcmp_ordered(">=", place, zero),
                        builder.fcmp_ordered("<", place, end),
                    ):
                        inside = compared if inside is None else builder.and_(inside, compared)
                is_no_number = builder.fcmp_unordered("uno", across, down)
                halves = equal(_DOUBLES_4, 0.5)

                def split(place, inside=inside, halves=halves):
                    place = builder.fsub(builder.select(inside, place, halves), halves)
                    floor = instruction(builder, "llvm.floor.v4f64", _DOUBLES_4, place)
                    return builder.fsub(place, floor), builder.fptosi(floor, _INTS_4)

                def integer(value):
                    return splat(builder, builder.trunc(value, INT), _HALF)

                share_x, left = split(across)
                share_y, top = split(down)
                none, one = equal(_INTS_4, 0), equal(_INTS_4, 1)
                # Beside the first and the last column Pillow takes that column twice.
                last_pair = integer(builder.sub(width, constant(2)))
                share_x = builder.select(builder.icmp_signed("<", left, none), zero, share_x)
                share_x = builder.select(builder.icmp_signed(">", left, last_pair), equal(_DOUBLES_4, 1.0), share_x)
                column = builder.mul(limited(builder, left, none, last_pair), integer(of_column))
                last_row = integer(builder.sub(height, constant(1)))
                rows = (
                    builder.add(column, builder.mul(limited(builder, line, none, last_row), integer(of_row)))
                    for line in (top, builder.add(top, one))
                )
                for flag, each in ((IS_INSIDE, inside), (IS_NO_NUMBER, is_no_number)):
                    flags = builder.or_(flags, builder.mul(_any(builder, each), constant(flag)))
                parts.append((share_x, share_y, *rows, builder.sext(inside, _INTS_4)))
            for i, (low, high) in enumerate(zip(*parts, strict=True)):
                data, place = (shares, i) if i < 2 else (starts, i - 2)
                stored(builder, joined(builder, low, high), data, constant(place * LANES))
            return flags

        return signature, generate

    return places


_affine_places, _perspective_places = _places_by(False), _places_by(True)
"""Compute where eight pixels of a row lie in an image, and return what is true of some of them.

Sets ``shares``, float64 [2, 8], to the share of the right one of two pixels, and of the lower one; ``starts``, uint32
[3, 8], to the offset in bytes of the upper left pixel, of the lower left one, and to a number that is not 0 inside the
image. The right one is the next, so that the width is 2 at least.
"""


@intrinsic
def _quick_places(_typing, x, y, steps, of_row, of_column, shares, starts, at):
    """Compute where eight pixels of a row lie in an image, in whole numbers of 2⁻²⁰ pixels.

    The first lies at ``x`` and ``y``, the others by ``steps``, int32 [2, 8], from there. Sets ``shares[at:]`` and
    ``starts[at:]``, and those one block behind, as :data:`_affine_places` does, the shares in float32.
    """
    signature = types.void(x, y, steps, of_row, of_column, shares, starts, at)

    def generate(context, builder, signature, arguments):
        steps, shares, starts = (data_of(context, builder, signature.args[i], arguments[i]) for i in (2, 5, 6))
        *first, _, of_row, of_column, _, _, at = arguments
        offset = None
        below = splat(builder, builder.trunc(of_row, INT), LANES)
        for i, step in enumerate((splat(builder, builder.trunc(of_column, INT), LANES), below)):
            begin = splat(builder, builder.trunc(first[i], INT), LANES)
            place = builder.add(begin, loaded(builder, steps, constant(i * LANES), INTS_8))
            share = builder.sitofp(builder.and_(place, equal(INTS_8, (1 << FRACTION_BITS) - 1)), FLOATS_8)
            share = builder.fmul(share, equal(FLOATS_8, 2.0**-FRACTION_BITS))
            stored(builder, share, shares, builder.add(at, constant(i * _BLOCK)))
            part = builder.mul(builder.lshr(place, equal(INTS_8, FRACTION_BITS)), step)
            offset = part if offset is None else builder.add(offset, part)
        stored(builder, offset, starts, at)
        stored(builder, builder.add(offset, below), starts, builder.add(at, constant(_BLOCK)))

    return signature, generate


@intrinsic
def _line_places(_typing, slope, along, last, col, other, step, of_this, of_other, below, shares, starts, at):
    """Compute where eight pixels lie along one axis of an image, where they lie in the middle of the other's pixels.

    The coordinate is ``slope · (x + ½) + along + last``; the other one is ``other``, and ``step`` more for each pixel.
    Sets ``shares[at:]`` to the share of the second of two pixels, ``starts[at:]`` to the offset in bytes of the first,
    and, a block behind it, to that plus ``below``.
    """
    signature = types.void(slope, along, last, col, other, step, of_this, of_other, below, shares, starts, at)

    def generate(context, builder, signature, arguments):
        slope, along, last, col, *integers, _, _, at = arguments
        shares, starts = (data_of(context, builder, signature.args[i], arguments[i]) for i in (9, 10))
        other, step, of_this, of_other, below = (splat(builder, builder.trunc(each, INT), LANES) for each in integers)
        # Exact, as sums of whole numbers and halves.
        x = builder.fadd(
            splat(builder, builder.sitofp(col, _DOUBLE), LANES),
            ir.Constant(DOUBLES_8, [i + 0.5 for i in range(LANES)]),
        )
        place = builder.fmul(splat(builder, slope, LANES), x)
        for each in (along, last):
            place = builder.fadd(place, splat(builder, each, LANES))
        place = builder.fsub(place, equal(DOUBLES_8, 0.5))
        floor = instruction(builder, "llvm.floor.v8f64", DOUBLES_8, place)
        stored(builder, builder.fsub(place, floor), shares, at)
        others = builder.add(other, builder.mul(step, ir.Constant(INTS_8, list(range(LANES)))))
        start = builder.add(builder.mul(builder.fptosi(floor, INTS_8), of_this), builder.mul(others, of_other))
        stored(builder, start, starts, at)
        stored(builder, builder.add(start, below), starts, builder.add(at, constant(_BLOCK)))

    return signature, generate


def _pairs_by(pixel):
    @intrinsic
    def copy_pairs(_typing, address, starts, at, count, pairs, to):
        signature = types.void(address, starts, at, count, pairs, to)

        def generate(context, builder, signature, arguments):
            starts, pairs = (data_of(context, builder, signature.args[i], arguments[i]) for i in (1, 4))
            address, _, at, count, _, to = arguments
            kind = ir.IntType(16 * pixel)
            pairs = builder.bitcast(pairs, kind.as_pointer())
            with cgutils.for_range(builder, count) as loop:
                start = builder.load(builder.gep(starts, [builder.add(at, loop.index)]))
                source = builder.inttoptr(builder.add(address, builder.zext(start, LONG)), kind.as_pointer())
                builder.store(builder.load(source, align=1), builder.gep(pairs, [builder.add(to, loop.index)]), align=1)

        return signature, generate

    return copy_pairs


_copy_pairs_of_1, _copy_pairs_of_4 = _pairs_by(1), _pairs_by(4)
"""Set ``pairs[to + i]``, numbers of two pixels, to what lies at ``address + starts[at + i]``, for i < ``count``."""


def _lerp(builder, kind, first, second, share):
    """Return ``first + (second - first) · share`` of whole numbers."""
    start, between = (builder.sitofp(each, kind) for each in (first, builder.sub(second, first)))
    return _weighed(builder, kind, start, between, share)


def _weighed(builder, kind, start, between, share):
    """Return ``start + between · share``; in float32 with one rounding wherever the processor is quick at that."""
    if kind == FLOATS_8:
        return instruction(builder, "llvm.fmuladd.v8f32", FLOATS_8, between, share, start)
    return builder.fadd(start, builder.fmul(between, share))


def _loaded_pixels(builder, pairs, pixel, at, which):
    """Return the first, and the second, of eight pairs of pixels each, as eight integers."""
    pairs = builder.bitcast(pairs, ir.IntType(16 * pixel).as_pointer())
    found = loaded(builder, pairs, at, _PAIRS[pixel])
    if pixel == 4:
        return [shuffled(builder, found, found, range(i, 2 * LANES, 2)) for i in which]
    found = builder.zext(found, INTS_8)
    both = builder.and_(found, equal(INTS_8, 255)), builder.lshr(found, equal(INTS_8, 8))
    return [both[i] for i in which]


def channel_of(builder, pixels, channel):
    """Return a channel of each of several pixels."""
    shifted = (builder.lshr(each, equal(INTS_8, 8 * channel)) if channel else each for each in pixels)
    return [builder.and_(each, equal(INTS_8, 255)) for each in shifted]


def _surface(builder, kind, numbers, share_x, share_y):
    """Weigh the upper two pixels, the lower two, and both results."""
    upper, lower = (_lerp(builder, kind, *numbers[i : i + 2], share_x) for i in (0, 2))
    return _weighed(builder, kind, upper, builder.fsub(lower, upper), share_y)


def packed(builder, pixel, channels):
    """Join channels to pixels, whose fourth byte is 255."""
    total = equal(INTS_8, 0 if pixel == 1 else 255 << 24)
    for place, channel in enumerate(channels):
        total = builder.or_(total, builder.shl(channel, equal(INTS_8, 8 * place)))
    return total


def store_pixels(builder, pixel, values, out, to):
    """Write eight pixels, int32, of 1 or 4 bytes from ``out[to]`` on."""
    stored(builder, builder.trunc(values, BYTES_8) if pixel == 1 else values, out, to)


CHANNELS = {1: 1, 4: 3}


def _blend_by(pixel):
    @intrinsic
    def blend(_typing, pairs, shares, starts, fill, out, to):
        signature = types.void(pairs, shares, starts, fill, out, to)

        def generate(context, builder, signature, arguments):
            pairs, shares, starts, out = (
                data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 2, 4)
            )
            share_x, share_y = (loaded(builder, shares, constant(i * LANES), DOUBLES_8) for i in range(2))
            pixels = [
                each for i in range(2) for each in _loaded_pixels(builder, pairs, pixel, constant(i * LANES), (0, 1))
            ]
            made = []
            for channel in range(CHANNELS[pixel]):
                numbers = channel_of(builder, pixels, channel)
                made.append(builder.fptosi(_surface(builder, DOUBLES_8, numbers, share_x, share_y), INTS_8))
            inside = loaded(builder, starts, constant(2 * LANES), INTS_8)
            inside = builder.icmp_signed("!=", inside, equal(INTS_8, 0))
            values = builder.select(inside, packed(builder, pixel, made), splat(builder, arguments[3], LANES))
            store_pixels(builder, pixel, values, out, arguments[5])

        return signature, generate

    return blend


_blend_1, _blend_4 = _blend_by(1), _blend_by(4)
"""Set eight pixels from ``out[to]`` on as Pillow does: weighed inside the image, the fill outside of it."""


def _quick_blend_by(pixel):
    @intrinsic
    def blend(_typing, pairs, shares, at, out):
        signature = types.boolean(pairs, shares, at, out)

        def generate(context, builder, signature, arguments):
            pairs, shares, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3))
            at = arguments[2]
            behind = at, builder.add(at, constant(_BLOCK))
            pixels = [each for place in behind for each in _loaded_pixels(builder, pairs, pixel, place, (0, 1))]
            share_x, share_y = (loaded(builder, shares, place, FLOATS_8) for place in behind)
            # Of equal pixels every sum is the same integer, if these are the pixels that a place lies between.
            differing = builder.xor(pixels[0], pixels[1])
            for each in pixels[2:]:
                differing = builder.or_(differing, builder.xor(pixels[0], each))
            half = equal(FLOATS_8, 0.5)
            for share in (share_x, share_y):
                distance = instruction(builder, "llvm.fabs.v8f32", FLOATS_8, builder.fsub(share, half))
                is_near = builder.fcmp_ordered(">", distance, equal(FLOATS_8, 0.5 - _MARGIN))
                differing = builder.or_(differing, builder.sext(is_near, INTS_8))
            unsure, made = equal(INTS_8, 0), []
            for channel in range(CHANNELS[pixel]):
                total = _surface(builder, FLOATS_8, channel_of(builder, pixels, channel), share_x, share_y)
                low, high = (
                    builder.fptosi(builder.fadd(total, equal(FLOATS_8, by)), INTS_8) for by in (-UNSURE, UNSURE)
                )
                changed = builder.sext(builder.icmp_signed("!=", low, high), INTS_8)
                changed = builder.and_(changed, equal(INTS_8, 255 << 8 * channel))
                unsure = builder.or_(unsure, builder.and_(changed, differing))
                made.append(high)
            store_pixels(builder, pixel, packed(builder, pixel, made), out, at)
            return builder.trunc(_any(builder, builder.icmp_signed("!=", unsure, equal(INTS_8, 0))), ir.IntType(1))

        return signature, generate

    return blend


_quick_blend_1, _quick_blend_4 = _quick_blend_by(1), _quick_blend_by(4)
"""Set eight pixels from ``out[at]`` on, weighed in float32, and return whether any of them may be another integer."""


def _line_blend_by(pixel, of_rows):
    @intrinsic
    def blend(_typing, pairs, shares, at, out):
        signature = types.void(pairs, shares, at, out)

        def generate(context, builder, signature, arguments):
            pairs, shares, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3))
            at = arguments[2]
            below = builder.add(at, constant(_BLOCK))
            if of_rows:
                pixels = _loaded_pixels(builder, pairs, pixel, at, (0, 1))
            else:
                pixels = [_loaded_pixels(builder, pairs, pixel, place, (0,))[0] for place in (at, below)]
            share = loaded(builder, shares, at, DOUBLES_8)
            made = []
            for channel in range(CHANNELS[pixel]):
                total = _lerp(builder, DOUBLES_8, *channel_of(builder, pixels, channel), share)
                made.append(builder.fptosi(total, INTS_8))
            store_pixels(builder, pixel, packed(builder, pixel, made), out, at)

        return signature, generate

    return blend


_row_blend_1, _row_blend_4 = _line_blend_by(1, True), _line_blend_by(4, True)
_column_blend_1, _column_blend_4 = _line_blend_by(1, False), _line_blend_by(4, False)
"""Set eight pixels from ``out[at]`` on as Pillow does, where each lies between two pixels of a row, or of a column."""


@exact_inlined
def _between(slope, start, length, begin, end):
    """Narrow a range of pixels to those whose coordinate ``slope · (x + ½) + start`` keeps clear of the border."""
    low, high = 0.5 + _MARGIN - start, length - 0.5 - _MARGIN - start
    if slope == 0.0:
        return (begin, end) if low <= 0.0 <= high else (begin, begin)
    first, last = low / slope - 0.5, high / slope - 0.5
    if slope < 0.0:
        first, last = last, first
    first, last = max(first, begin), min(last + 1.0, end)
    return (np.ceil(first), np.floor(last)) if first < last else (begin, begin)


@exact_inlined
def _quick_groups(matrix, row, height, width, result_width):
    """Return the first group of eight pixels of a row that quick places are known for, and the one behind the last."""
    y = float(row) + 0.5
    begin, end = 0.0, float(result_width)
    begin, end = _between(matrix[0], matrix[1] * y + matrix[2], float(width), begin, end)
    begin, end = _between(matrix[3], matrix[4] * y + matrix[5], float(height), begin, end)
    first, last = np.ceil(begin / LANES), np.floor(end / LANES)
    return (_uint(first), _uint(last)) if first < last else (_uint(0), _uint(0))


@exact_inlined
def _has_quick_places(matrix, height, width):
    """Whether quick places fit into 32 bits, and are as near as they are thought to be."""
    fits = max(float(height), float(width)) <= MAX_LENGTH
    for i in range(6):
        fits &= abs(matrix[i]) <= (MAX_OFFSET if i % 3 == 2 else MAX_SLOPE)
    return fits


@exact_inlined
def rows_of(call, structure):
    """Return the addresses of the rows of an image.

    Args:
        call: Fields of the call.
        structure: Field of the image's structure.
    """
    return longs_at(longs_at(longs_at(call[structure])[0] + call[ROWS_AT])[0])


@exact_inlined
def bytes_of_row(lines, height):
    """Return the bytes from row to row; 0 for a single row, :data:`MAX_MEMORY` if they are not as many everywhere."""
    if height < _uint(2):
        return _uint(0)
    of_row = lines[1] - lines[0]
    # An image of more than a block of memory is in several, wherever they lie.
    if of_row >= _uint(MAX_MEMORY) or of_row * height > _uint(MAX_MEMORY):
        return _uint(MAX_MEMORY)
    for i in range(_uint(1), height):
        if lines[i] - lines[i - _uint(1)] != of_row:
            return _uint(MAX_MEMORY)
    return of_row


@table_kernel
def warped_bilinear(call, matrix):
    """Warp an image of Pillow's of two columns or more, and return what came of it: one of :data:`WARPED` and so on.

    Args:
        call: Fields of the call, uint64 [FIELDS].
        matrix: float64 [8], as Pillow has it: the last two are for perspectives.
    """
    lines, result_lines = rows_of(call, STRUCTURE), rows_of(call, RESULT_STRUCTURE)
    height, width, result_height, result_width = call[HEIGHT], call[WIDTH], call[RESULT_HEIGHT], call[RESULT_WIDTH]
    pixel, is_perspective, fill = call[PIXEL], call[IS_PERSPECTIVE] != _uint(0), np.uint32(call[FILL])
    zero, one, eight, block = _uint(0), _uint(1), _uint(LANES), _uint(_BLOCK)
    of_row = bytes_of_row(lines, height)
    if of_row == _uint(MAX_MEMORY):
        return UNKNOWN_MEMORY
    address = lines[0]
    shares, starts, pairs = np.empty(2 * LANES, np.float64), np.empty(3 * LANES, np.uint32), np.empty(16, np.uint64)
    quick_shares, quick_starts = np.empty(2 * _BLOCK, np.float32), np.empty(2 * _BLOCK, np.uint32)
    line_shares, pairs_of_block = np.empty(_BLOCK, np.float64), np.empty(2 * _BLOCK, np.uint64)
    is_done = np.zeros(_BLOCK // LANES, np.bool_)
    line, steps = np.empty(_BLOCK, np.uint32), np.empty(2 * LANES, np.int32)
    line_bytes = line.view(np.uint8)
    is_quick = not is_perspective and _has_quick_places(matrix, height, width)
    unit = float(1 << FRACTION_BITS)
    if is_quick:
        for i in range(LANES):
            steps[i] = np.int32(np.floor(matrix[0] * unit * i + 0.5))
            steps[LANES + i] = np.int32(np.floor(matrix[3] * unit * i + 0.5))
    of_columns = matrix[0] == 1.0 and matrix[1] == 0.0 and matrix[2] == np.floor(matrix[2])
    for row in range(result_height):
        first, last = _quick_groups(matrix, row, height, width, result_width) if is_quick else (zero, zero)
        y = float(row) + 0.5
        down = matrix[4] * y + matrix[5] - 0.5
        of_rows = matrix[3] == 0.0 and down == np.floor(down)
        for begin in range(zero, result_width, block):
            count = min(block, result_width - begin)
            groups = (count + eight - one) // eight
            from_group = min(max(first, begin // eight) - begin // eight, groups)
            to_group = max(min(max(last, begin // eight) - begin // eight, groups), from_group)
            is_done[:] = False
            for i in range(from_group * eight, to_group * eight, eight):
                col = begin + i
                x = float(col) + 0.5
                if of_rows:
                    _line_places(
                        matrix[0], matrix[1] * y, matrix[2], col, _uint(down), zero, pixel, of_row, of_row,
                        line_shares, quick_starts, i,
                    )  # fmt: skip
                elif of_columns:
                    _line_places(
                        matrix[3], matrix[4] * y, matrix[5], col, _uint(x + matrix[2] - 0.5), one, of_row, pixel,
                        of_row, line_shares, quick_starts, i,
                    )  # fmt: skip
                else:
                    left = (matrix[0] * x + matrix[1] * y + matrix[2] - 0.5) * unit
                    top = (matrix[3] * x + matrix[4] * y + matrix[5] - 0.5) * unit
                    _quick_places(_uint(left), _uint(top), steps, of_row, pixel, quick_shares, quick_starts, i)
            at, many = from_group * eight, (to_group - from_group) * eight
            if pixel == one:
                _copy_pairs_of_1(address, quick_starts, at, many, pairs_of_block, at)
                if not of_rows:
                    _copy_pairs_of_1(address, quick_starts, block + at, many, pairs_of_block, block + at)
            else:
                _copy_pairs_of_4(address, quick_starts, at, many, pairs_of_block, at)
                if not of_rows:
                    _copy_pairs_of_4(address, quick_starts, block + at, many, pairs_of_block, block + at)
            for i in range(from_group, to_group):
                at = eight * i
                unsure = False
                if pixel == one:
                    if of_rows:
                        _row_blend_1(pairs_of_block, line_shares, at, line_bytes)
                    elif of_columns:
                        _column_blend_1(pairs_of_block, line_shares, at, line_bytes)
                    else:
                        unsure = _quick_blend_1(pairs_of_block, quick_shares, at, line_bytes)
                elif of_rows:
                    _row_blend_4(pairs_of_block, line_shares, at, line)
                elif of_columns:
                    _column_blend_4(pairs_of_block, line_shares, at, line)
                else:
                    unsure = _quick_blend_4(pairs_of_block, quick_shares, at, line)
                is_done[i] = not unsure
            for i in range(groups):
                if is_done[i]:
                    continue
                at = eight * i
                if is_perspective:
                    flags = _perspective_places(matrix, row, begin + at, height, width, of_row, pixel, shares, starts)
                else:
                    flags = _affine_places(matrix, row, begin + at, height, width, of_row, pixel, shares, starts)
                if flags & _uint(IS_NO_NUMBER):
                    return NO_NUMBER
                if flags & _uint(IS_INSIDE) == 0:
                    for j in range(eight):
                        if pixel == one:
                            line_bytes[at + j] = np.uint8(fill)
                        else:
                            line[at + j] = fill
                elif pixel == one:
                    _copy_pairs_of_1(address, starts, zero, _uint(2 * LANES), pairs, zero)
                    _blend_1(pairs, shares, starts, fill, line_bytes, at)
                else:
                    _copy_pairs_of_4(address, starts, zero, _uint(2 * LANES), pairs, zero)
                    _blend_4(pairs, shares, starts, fill, line, at)
            copy_bytes(line_bytes, zero, count * pixel, bytes_at(result_lines[row]), begin * pixel)
    return WARPED

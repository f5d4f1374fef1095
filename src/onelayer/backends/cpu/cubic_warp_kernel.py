"""Warp PIL images by a matrix with Pillow's arithmetic, bicubic, bit for bit.

Pillow computes in float64 where an output pixel lies in the image, weighs four pixels of each of four rows around that
place, and the four sums once more; what it makes is cut off to a byte. (``Geometry.c``: ``affine_transform``,
``perspective_transform`` and ``bicubic_filter``.) Eight pixels are computed so here too.

Where eight places lie in the middle of rows, or of columns, the sum across these is their own pixel: its share is 0,
and four pixels are weighed in place of sixteen. So it is in every shear and every move along an axis.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.simd import (
    INT,
    INTS_8,
    bytes_at,
    constant,
    copy_bytes,
    data_of,
    loaded,
    shuffled,
    splat,
    stored,
)
from onelayer.backends.cpu.tables import LANES
from onelayer.backends.cpu.warp_kernel import (
    CHANNELS,
    DOUBLES_8,
    FILL,
    HEIGHT,
    IS_PERSPECTIVE,
    NO_NUMBER,
    PIXEL,
    RESULT_HEIGHT,
    RESULT_STRUCTURE,
    RESULT_WIDTH,
    STRUCTURE,
    WARPED,
    WIDTH,
    channel_of,
    equal,
    limited,
    packed,
    rows_of,
    store_pixels,
)

TAPS = 4
"""Pixels that are weighed along an axis."""

_BLOCK = 64
"""Pixels of a row that are computed together: what was just written in parts is waited for where it is read at once."""

_uint, _int = np.uint64, np.int64
_TAPS_OF_8 = ir.VectorType(INT, TAPS * LANES)


def _sum_of(builder, start, slope, bend, twist, share):
    """Return ``start + share · (slope + share · (bend + share · twist))``."""
    total = builder.fadd(bend, builder.fmul(share, twist))
    total = builder.fadd(slope, builder.fmul(share, total))
    return builder.fadd(start, builder.fmul(share, total))


def _between_bytes(builder, values, share):
    """Interpolate between the second and the third of four bytes, int32."""
    first, second, third, fourth = values
    slope = builder.sub(third, first)
    fall, rest = builder.sub(first, second), builder.sub(third, fourth)
    bend = builder.add(builder.shl(fall, equal(INTS_8, 1)), rest)
    twist = builder.sub(builder.sub(equal(INTS_8, 0), fall), rest)
    # Whole numbers of float64 would be the same.
    return _sum_of(builder, *(builder.sitofp(each, DOUBLES_8) for each in (second, slope, bend, twist)), share)


def _between_sums(builder, values, share):
    """Interpolate between the second and the third of four float64, with Pillow's operations in their order."""
    first, second, third, fourth = values
    slope = builder.fsub(third, first)
    bend = builder.fmul(equal(DOUBLES_8, 2.0), builder.fsub(first, second))
    bend = builder.fsub(builder.fadd(bend, third), fourth)
    twist = builder.fadd(builder.fsub(builder.fsub(second, first), third), fourth)
    return _sum_of(builder, second, slope, bend, twist, share)


def _taps_of(builder, taps, line, at):
    """Return the four pixels of each of eight places, one after the other."""
    found = loaded(builder, taps, builder.mul(constant(TAPS), builder.add(at, constant(line * _BLOCK))), _TAPS_OF_8)
    return [shuffled(builder, found, found, range(tap, TAPS * LANES, TAPS)) for tap in range(TAPS)]


def _blend_by(pixel, lines):
    @intrinsic
    def blend(_typing, taps, shares, of_line, inside, fill, at, out):
        signature = types.void(taps, shares, of_line, inside, fill, at, out)

        def generate(context, builder, signature, arguments):
            taps, shares, inside, out = (
                data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3, 6)
            )
            _, _, of_line, _, fill, at, _ = arguments
            share = loaded(builder, shares, builder.add(of_line, at), DOUBLES_8)
            pixels = [_taps_of(builder, taps, line, at) for line in range(lines)]
            made = []
            for channel in range(CHANNELS[pixel]):
                sums = [_between_bytes(builder, channel_of(builder, each, channel), share) for each in pixels]
                if lines > 1:
                    down = loaded(builder, shares, builder.add(constant(_BLOCK), at), DOUBLES_8)
                    sums = [_between_sums(builder, sums, down)]
                total = builder.fptosi(sums[0], INTS_8)
                made.append(limited(builder, total, equal(INTS_8, 0), equal(INTS_8, 255)))
            is_inside = builder.icmp_signed("!=", loaded(builder, inside, at, INTS_8), equal(INTS_8, 0))
            values = builder.select(is_inside, packed(builder, pixel, made), splat(builder, fill, LANES))
            store_pixels(builder, pixel, values, out, at)

        return signature, generate

    return blend


_line_blend_1, _line_blend_4 = _blend_by(1, 1), _blend_by(4, 1)
"""Set eight pixels from ``out[at]`` on, each weighed from four along an axis, or the fill where ``inside`` is 0.

``taps``, int32 [block, 4], has their pixels; the shares begin at ``shares[of_line]``.
"""

_surface_blend_1, _surface_blend_4 = _blend_by(1, TAPS), _blend_by(4, TAPS)
"""Do so with sixteen pixels each: ``taps``, int32 [4, block, 4]. Shares down are a block behind those across."""


def _copy_by(pixel, count):
    @intrinsic
    def copy(_typing, address, taps, to):
        signature = types.void(address, taps, to)

        def generate(context, builder, signature, arguments):
            address, _, to = arguments
            taps = data_of(context, builder, signature.args[1], arguments[1])
            kind = ir.IntType(8 * pixel)
            found = builder.inttoptr(address, ir.VectorType(kind, count).as_pointer())
            values = builder.load(found, align=1)
            wide = ir.VectorType(INT, count)
            stored(builder, values if kind == INT else builder.zext(values, wide), taps, to)

        return signature, generate

    return copy


_copy_1_of_1, _copy_1_of_4, _copy_4_of_1, _copy_4_of_4 = (_copy_by(pixel, n) for n in (1, TAPS) for pixel in (1, 4))
"""Set ``taps[to]``, or four from there on, to pixels of 1, or of 4, bytes at an address."""


@inlined_table
def _find_places(matrix, is_perspective, row, begin, count, height, width, shares, corners, inside):
    """Find where pixels of a row lie in an image; return whether none of them is 0/0.

    Args:
        matrix: Numbers of the map.
        is_perspective: Whether the map is a perspective, a constant.
        row: Row of the result, int64 as all integers here.
        begin: Column of the first pixel.
        count: Number of pixels.
        height: Rows of the image.
        width: Columns of the image.
        shares: float64 [2, block], set to the shares of the third of four pixels, across and down.
        corners: int32 [2, block], set to the column and the row of the second of four pixels.
        inside: int32 [block], set to whether a pixel lies in the image.
    """
    y = float(row) + 0.5
    of_numbers = 0
    for i in range(count):
        x = float(begin + i) + 0.5
        across = matrix[0] * x + matrix[1] * y + matrix[2]
        down = matrix[3] * x + matrix[4] * y + matrix[5]
        if is_perspective:
            divisor = matrix[6] * x + matrix[7] * y + 1.0
            across, down = across / divisor, down / divisor
        of_numbers += across == across and down == down
        is_inside = (across >= 0.0) & (across < float(width)) & (down >= 0.0) & (down < float(height))
        # A place outside must not keep others from being copied without a look at the border.
        across, down = across - 0.5 if is_inside else 1.0, down - 0.5 if is_inside else 1.0
        left, top = np.floor(across), np.floor(down)
        shares[_uint(i)], shares[_uint(_BLOCK + i)] = across - left, down - top
        corners[_uint(i)], corners[_uint(_BLOCK + i)] = np.int32(left), np.int32(top)
        inside[_uint(i)] = is_inside
    return of_numbers == count


@inlined_table
def _nearest(place, length):
    """Return the nearest row or column that there is."""
    return _uint(min(max(place, _int(0)), length - _int(1)))


@inlined_table
def _are_inner(corners, count, height, width):
    """Whether the sixteen pixels around each place lie in the image."""
    others = 0
    for i in range(count):
        left, top = _int(corners[_uint(i)]), _int(corners[_uint(_BLOCK + i)])
        others += (left < 1) | (left + 2 >= width) | (top < 1) | (top + 2 >= height)
    return others == 0


@inlined_table
def _copy_lines(pixel, lines, height, width, corners, count, first, tap_lines, taps):
    """Copy four pixels of a row, or of several, for each place; beyond its ends a row has its last pixel.

    Args:
        pixel: Bytes of a pixel, a constant.
        lines: Addresses of the rows.
        height: Rows of the image, int64 as all integers here.
        width: Columns of the image.
        corners: int32 [2, block], columns and rows of the second of four pixels.
        count: Number of places.
        first: Number of the first row, from the second of four on.
        tap_lines: Number of rows for each place.
        taps: int32 [rows, block, 4], set to the pixels.
    """
    if _are_inner(corners, count, height, width):
        for line in range(tap_lines):
            for i in range(count):
                address = lines[_uint(_int(corners[_uint(_BLOCK + i)]) + first + line)]
                address += _uint((_int(corners[_uint(i)]) - 1) * pixel)
                if pixel == 4:
                    _copy_4_of_4(address, taps, _uint(TAPS * (line * _BLOCK + i)))
                else:
                    _copy_4_of_1(address, taps, _uint(TAPS * (line * _BLOCK + i)))
        return
    for line in range(tap_lines):
        for i in range(count):
            left = _int(corners[_uint(i)])
            address = lines[_nearest(_int(corners[_uint(_BLOCK + i)]) + first + line, height)]
            to = _uint(TAPS * (line * _BLOCK + i))
            if left >= 1 and left + 2 < width:
                address += _uint((left - 1) * pixel)
                if pixel == 4:
                    _copy_4_of_4(address, taps, to)
                else:
                    _copy_4_of_1(address, taps, to)
            else:
                for tap in range(TAPS):
                    at = address + _nearest(left - 1 + tap, width) * _uint(pixel)
                    if pixel == 4:
                        _copy_1_of_4(at, taps, to + _uint(tap))
                    else:
                        _copy_1_of_1(at, taps, to + _uint(tap))


@inlined_table
def _copy_columns(pixel, lines, height, width, corners, count, taps):
    """Copy four pixels of a column for each place, as :func:`_copy_lines` does those of a row."""
    for i in range(count):
        column = _nearest(_int(corners[_uint(i)]), width) * _uint(pixel)
        top = _int(corners[_uint(_BLOCK + i)]) - 1
        for tap in range(TAPS):
            address = lines[_nearest(top + tap, height)] + column
            if pixel == 4:
                _copy_1_of_4(address, taps, _uint(TAPS * i + tap))
            else:
                _copy_1_of_1(address, taps, _uint(TAPS * i + tap))


@inlined_table
def _all_zero(shares, begin, count):
    others = 0
    for i in range(begin, begin + count):
        others += shares[_uint(i)] != 0.0
    return others == 0


@inlined_table
def _warp(pixel, lines, result_lines, height, width, result_height, result_width, matrix, is_perspective, fill):
    """Warp an image of pixels of 1 or 4 bytes, a constant; return whether no place is 0/0."""
    shares, inside, corners = np.zeros(2 * _BLOCK), np.zeros(_BLOCK, np.int32), np.zeros(2 * _BLOCK, np.int32)
    taps = np.empty(TAPS * _BLOCK * TAPS, np.int32)
    line = np.empty(_BLOCK, np.uint32)
    line_bytes = line.view(np.uint8)
    block, eight = _int(_BLOCK), _uint(LANES)
    for row in range(result_height):
        for begin in range(_int(0), result_width, block):
            count = min(block, result_width - begin)
            if is_perspective:
                are_numbers = _find_places(matrix, True, row, begin, count, height, width, shares, corners, inside)
            else:
                are_numbers = _find_places(matrix, False, row, begin, count, height, width, shares, corners, inside)
            if not are_numbers:
                return False
            of_line = _uint(0)
            is_line = True
            if _all_zero(shares, block, count):
                _copy_lines(pixel, lines, height, width, corners, count, _int(0), 1, taps)
            elif _all_zero(shares, _int(0), count):
                _copy_columns(pixel, lines, height, width, corners, count, taps)
                of_line = _uint(block)
            else:
                _copy_lines(pixel, lines, height, width, corners, count, _int(-1), TAPS, taps)
                is_line = False
            for at in range(_uint(0), _uint(count), eight):
                if pixel == 4:
                    if is_line:
                        _line_blend_4(taps, shares, of_line, inside, fill, at, line)
                    else:
                        _surface_blend_4(taps, shares, of_line, inside, fill, at, line)
                elif is_line:
                    _line_blend_1(taps, shares, of_line, inside, fill, at, line_bytes)
                else:
                    _surface_blend_1(taps, shares, of_line, inside, fill, at, line_bytes)
            copy_bytes(
                line_bytes, _uint(0), _uint(count * pixel), bytes_at(result_lines[_uint(row)]), _uint(begin * pixel)
            )
    return True


@table_kernel
def warped_cubic(call, matrix):
    """Warp an image of Pillow's, and return what came of it: ``WARPED``, or ``NO_NUMBER``.

    Args:
        call: Fields of the call, uint64 [FIELDS].
        matrix: float64 [8], as Pillow has it: the last two are for perspectives.
    """
    lines, result_lines = rows_of(call, STRUCTURE), rows_of(call, RESULT_STRUCTURE)
    sizes = _int(call[HEIGHT]), _int(call[WIDTH]), _int(call[RESULT_HEIGHT]), _int(call[RESULT_WIDTH])
    is_perspective, fill = call[IS_PERSPECTIVE] != _uint(0), np.uint32(call[FILL])
    if call[PIXEL] == _uint(4):
        is_warped = _warp(4, lines, result_lines, *sizes, matrix, is_perspective, fill)
    else:
        is_warped = _warp(1, lines, result_lines, *sizes, matrix, is_perspective, fill)
    return WARPED if is_warped else NO_NUMBER

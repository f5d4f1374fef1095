"""Warp PIL images by a matrix with Pillow's arithmetic, to the nearest pixels, bit for bit.

Pillow has affine maps in whole numbers of 2⁻¹⁶ pixels, and adds one step for each pixel (``Geometry.c``:
``affine_fixed``). So which pixels of a row lie in the image follows from a division, and nothing is left to be asked
about each of them. A perspective is computed in float64 (``perspective_transform``, ``nearest_filter``).
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.simd import bytes_at, ints_at
from onelayer.backends.cpu.warp_kernel import (
    FILL,
    HEIGHT,
    IS_PERSPECTIVE,
    MAX_MEMORY,
    PIXEL,
    RESULT_HEIGHT,
    RESULT_STRUCTURE,
    RESULT_WIDTH,
    STRUCTURE,
    UNKNOWN_MEMORY,
    WARPED,
    WIDTH,
    bytes_of_row,
    rows_of,
)

FRACTION_BITS = 16
"""Bits of a place behind the point."""

_BLOCK = 256
"""Pixels of a row whose places are computed together."""

_uint, _int = np.uint64, np.int64


@inlined_table
def _fixed(number):
    """Return the nearest number of 2⁻¹⁶ pixels, halves rounded up."""
    return _int(np.floor(number * float(1 << FRACTION_BITS) + 0.5))


@inlined_table
def _narrowed(start, step, length, begin, end):
    """Narrow a range of columns to those at which ``start + column · step`` is at least 0 and below ``length``."""
    if step == 0:
        return (begin, end) if 0 <= start < length else (begin, begin)
    if step > 0:
        first, last = -(start // step), -((start - length) // step)
    else:
        first, last = (start - length) // -step + 1, start // -step + 1
    first, last = max(first, begin), min(last, end)
    return (first, last) if first < last else (begin, begin)


@inlined_table
def _fill_range(line, pixel, begin, end, fill):
    """Set the pixels of a row at an address from ``begin`` to ``end``."""
    if pixel == _uint(4):
        pixels, value = ints_at(line), np.int32(fill)
        for col in range(_uint(begin), _uint(end)):
            pixels[col] = value
    else:
        values, byte = bytes_at(line), np.uint8(fill)
        for col in range(_uint(begin), _uint(end)):
            values[col] = byte


@inlined_table
def _copy_pixels(source, places, count, pixel, line, first):
    """Set ``count`` pixels of a row at an address, from ``first`` on, to those at places of an image."""
    if pixel == _uint(4):
        read_ints, ints = ints_at(source), ints_at(line)
        for i in range(count):
            ints[first + i] = read_ints[_uint(places[i])]
    else:
        read_bytes, values = bytes_at(source), bytes_at(line)
        for i in range(count):
            values[first + i] = read_bytes[_uint(places[i])]


@inlined_table
def _warp_affine(source, result_lines, stride, height, width, result_height, result_width, pixel, matrix, fill):
    step_x, step_y = _fixed(matrix[0]), _fixed(matrix[3])
    x = _fixed(matrix[2] + matrix[0] * 0.5 + matrix[1] * 0.5)
    y = _fixed(matrix[5] + matrix[3] * 0.5 + matrix[4] * 0.5)
    places = np.empty(_BLOCK, np.uint32)
    bits, block = np.uint32(FRACTION_BITS), _int(_BLOCK)
    for row in range(result_height):
        begin, end = _narrowed(x, step_x, _int(width) << FRACTION_BITS, _int(0), _int(result_width))
        begin, end = _narrowed(y, step_y, _int(height) << FRACTION_BITS, begin, end)
        line = result_lines[row]
        _fill_range(line, pixel, _int(0), begin, fill)
        for first in range(begin, end, block):
            count = _uint(min(block, end - first))
            left, top = x + first * step_x, y + first * step_y
            # Inside the image places are below 2³¹.
            for i in range(count):
                across = np.uint32(left + _int(i) * step_x) >> bits
                down = np.uint32(top + _int(i) * step_y) >> bits
                places[i] = np.uint32(down * stride + across)
            _copy_pixels(source, places, count, pixel, line, _uint(first))
        _fill_range(line, pixel, end, _int(result_width), fill)
        x += _fixed(matrix[1])
        y += _fixed(matrix[4])


@inlined_table
def _warp_perspective(source, result_lines, stride, height, width, result_height, result_width, pixel, matrix, fill):
    places, inside = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.bool_)
    from_ints, from_bytes = ints_at(source), bytes_at(source)
    block = _uint(_BLOCK)
    for row in range(result_height):
        y = float(row) + 0.5
        ints, values = ints_at(result_lines[row]), bytes_at(result_lines[row])
        for first in range(_uint(0), result_width, block):
            count = min(block, result_width - first)
            for i in range(count):
                x = float(first + i) + 0.5
                divisor = matrix[6] * x + matrix[7] * y + 1.0
                across = (matrix[0] * x + matrix[1] * y + matrix[2]) / divisor
                down = (matrix[3] * x + matrix[4] * y + matrix[5]) / divisor
                # 0/0 is not in the image either.
                is_inside = across >= 0.0 and across < float(width) and down >= 0.0 and down < float(height)
                across, down = (across, down) if is_inside else (0.0, 0.0)
                places[i] = np.uint32(np.uint32(np.int32(down)) * stride + np.uint32(np.int32(across)))
                inside[i] = is_inside
            if pixel == _uint(4):
                for i in range(count):
                    ints[first + i] = from_ints[_uint(places[i])] if inside[i] else np.int32(fill)
            else:
                for i in range(count):
                    values[first + i] = from_bytes[_uint(places[i])] if inside[i] else np.uint8(fill)


@table_kernel
def warped_nearest(call, matrix):
    """Warp an image of Pillow's, and return what came of it: ``WARPED``, or ``UNKNOWN_MEMORY``.

    Args:
        call: Fields of the call, uint64 [FIELDS].
        matrix: float64 [8], as Pillow has it: the last two are for perspectives. In an affine map the corners of the
            result lie less than 2¹⁵ pixels away from the image's first one.
    """
    lines, result_lines = rows_of(call, STRUCTURE), rows_of(call, RESULT_STRUCTURE)
    sizes = call[HEIGHT], call[WIDTH], call[RESULT_HEIGHT], call[RESULT_WIDTH]
    pixel, fill = call[PIXEL], np.uint32(call[FILL])
    of_row = bytes_of_row(lines, call[HEIGHT])
    if of_row == _uint(MAX_MEMORY):
        return UNKNOWN_MEMORY
    stride = np.uint32(of_row // pixel)
    if call[IS_PERSPECTIVE] != _uint(0):
        _warp_perspective(lines[0], result_lines, stride, *sizes, pixel, matrix, fill)
    else:
        _warp_affine(lines[0], result_lines, stride, *sizes, pixel, matrix, fill)
    return WARPED

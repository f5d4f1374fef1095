"""Change tones as Pillow and torchvision do: bits, tables, spread and equalized values, and sharpness."""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.color_call import (
    ARITHMETIC,
    CHANNELS,
    HEIGHT,
    OF_CHANNEL,
    OF_COLUMN,
    PILLOW,
    RESULT,
    SOURCE,
    TENSORS_V1,
    TENSORS_V2,
    TENSORS_V2_UNFUSED,
    WIDTH,
    colors_at,
    row_of,
    store_colors,
    whole_numbers,
)
from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.simd import bytes_at, ints_at
from onelayer.backends.cpu.vectors import (
    COUNT,
    bytes_loaded,
    bytes_stored,
    doubles,
    every,
    floats,
    fused,
    ints,
    larger,
    largest_of,
    smaller,
    smallest_of,
    smoothed,
)

_f32, _f64, _i32, _u8, _uint = np.float32, np.float64, np.int32, np.uint8, np.uint64
_0, _1, _2, _3, _4, _COUNT = (np.uint64(number) for number in (0, 1, 2, 3, 4, COUNT))


@inlined_table
def _line_at(call, image, row, plane):
    """Return the address of a row; of images in planes, that of one plane."""
    return row_of(call, _uint(image), row) + plane * call[image + OF_CHANNEL]


@inlined_table
def _line(call, image, row, plane):
    """Return the bytes of a row; of images in planes, those of one plane."""
    return bytes_at(_line_at(call, image, row, plane))


@inlined_table
def _lines_of(call):
    """Return the number of lines of bytes that a row has, and their length."""
    of_column = call[SOURCE + OF_COLUMN]
    return call[CHANNELS] if of_column == _1 else _1, call[WIDTH] * of_column


@table_kernel
def inverted_and_masked(call, threshold, mask):
    """Invert the bytes from a threshold on, and keep some bits of all.

    Args:
        call: Fields of the call, uint64 [FIELDS]. There are as many bytes from column to column in both images.
        threshold: Smallest byte that is inverted; 256 for none.
        mask: Bits that are kept.
    """
    planes, length = _lines_of(call)
    threshold, mask = np.uint16(threshold), _u8(mask)
    for row in range(call[HEIGHT]):
        for plane in range(planes):
            source, result = _line(call, SOURCE, row, plane), _line(call, RESULT, row, plane)
            for i in range(length):
                value = source[i]
                result[i] = (~value if np.uint16(value) >= threshold else value) & mask


TABLES, SPREAD_AS_PILLOW, SPREAD_AS_V1, SPREAD_AS_V2, EQUALIZED = range(5)
"""Where the tables of a call come from: they are there; they spread the values that there are over all that can be, as
Pillow, or v1 or v2 for tensors, does; they make all values as frequent as can be."""


@table_kernel
def looked_up(call, kind, tables):
    """Look bytes up in tables, or in tables that follow from the bytes.

    Args:
        call: Fields of the call, uint64 [FIELDS]. There are as many bytes from column to column in both images.
        kind: Where the tables come from.
        tables: Tables, uint8 [3 · 256], one for each channel.
    """
    height, width, channels = call[HEIGHT], call[WIDTH], call[CHANNELS]
    of_column = call[SOURCE + OF_COLUMN]
    if kind in (SPREAD_AS_PILLOW, SPREAD_AS_V1, SPREAD_AS_V2) and width >= _COUNT:
        # A vector each time, and no table.
        _spread_all(kind, call)
        return
    counts = _counts(call) if kind == EQUALIZED else np.empty(0, np.int32)
    for c in range(channels):
        table = tables[_uint(256) * c : _uint(256) * c + _uint(256)]
        if kind == EQUALIZED:
            _equalizing_table(counts[_uint(256) * c : _uint(256) * c + _uint(256)], table)
        elif kind != TABLES:
            low, high = _ends(call, c)
            _spreading_table(kind, low, high, table)
    # Of pixels of four bytes each color's byte is where it goes in the pixel.
    moved = np.empty(3 * 256, np.int32)
    for c in range(channels if of_column == _4 else _0):
        for i in range(256):
            moved[_uint(256) * c + _uint(i)] = _i32(tables[_uint(256) * c + _uint(i)]) << _i32(8 * c)
    for row in range(height):
        if of_column == _1:
            for c in range(channels):
                source, result = _line(call, SOURCE, row, c), _line(call, RESULT, row, c)
                for i in range(width):
                    result[i] = tables[_uint(256) * c + _uint(source[i])]
        elif of_column == _4:
            source, result = _line(call, SOURCE, row, _0), ints_at(row_of(call, _uint(RESULT), row))
            for i in range(width):
                red, green = moved[_uint(source[_4 * i])], moved[_uint(256) + _uint(source[_4 * i + _1])]
                blue = moved[_uint(512) + _uint(source[_4 * i + _2])]
                result[i] = red | green | blue | _i32(-1 << 24)
        else:
            source, result = _line(call, SOURCE, row, _0), _line(call, RESULT, row, _0)
            for i in range(width):
                for c in range(_3):
                    result[_3 * i + c] = tables[_uint(256) * c + _uint(source[_3 * i + c])]


@inlined_table
def _whole(value):
    """Return what is left of a number as a byte: bounded, and its fraction cut off."""
    return _f32(_i32(min(max(value, _f32(0)), _f32(255))))


@inlined_table
def _counts(call):
    """Return how often each byte comes in each channel, int32 [3 · 256]."""
    channels, of_column = call[CHANNELS], call[SOURCE + OF_COLUMN]
    # Two of each, because a count that was changed just now is waited for.
    counts = np.zeros(6 * 256, np.int32)
    for row in range(call[HEIGHT]):
        if of_column == _1:
            for c in range(channels):
                source, begin = _line(call, SOURCE, row, c), _uint(256) * c
                for i in range(call[WIDTH]):
                    counts[begin + (i & _1) * _uint(768) + _uint(source[i])] += 1
        else:
            source = _line(call, SOURCE, row, _0)
            for i in range(call[WIDTH]):
                begin, at = (i & _1) * _uint(768), i * of_column
                counts[begin + _uint(source[at])] += 1
                counts[begin + _uint(256) + _uint(source[at + _1])] += 1
                counts[begin + _uint(512) + _uint(source[at + _2])] += 1
    for i in range(768):
        counts[i] += counts[768 + i]
    return counts


@inlined_table
def _ends(call, channel):
    """Return the smallest and the largest byte of a channel."""
    of_column = call[SOURCE + OF_COLUMN]
    low, high = _i32(255), _i32(0)
    for row in range(call[HEIGHT]):
        if of_column == _4:
            pixels, shift = ints_at(row_of(call, _uint(SOURCE), row)), _i32(8 * channel)
            for i in range(call[WIDTH]):
                value = (pixels[i] >> shift) & _i32(255)
                low, high = min(low, value), max(high, value)
        else:
            plane, first = (channel, _0) if of_column == _1 else (_0, channel)
            source = _line(call, SOURCE, row, plane)
            for i in range(call[WIDTH]):
                value = _i32(source[first + i * of_column])
                low, high = min(low, value), max(high, value)
    return low, high


@inlined_table
def _spread_all(kind, call):
    """Spread the values of an image that is at least as wide as a vector, whose last vector begins earlier."""
    height, width, channels = call[HEIGHT], call[WIDTH], call[CHANNELS]
    of_column, of_channel, of_result = call[SOURCE + OF_COLUMN], call[SOURCE + OF_CHANNEL], call[RESULT + OF_CHANNEL]
    last = width - _COUNT
    low_red, high_red = every(_f32(255)), every(_f32(0))
    low_green, high_green, low_blue, high_blue = low_red, high_red, low_red, high_red
    for row in range(height):
        read = row_of(call, _uint(SOURCE), row)
        for col in range(_0, width, _COUNT):
            red, green, blue = colors_at(read + min(col, last) * of_column, of_column, of_channel, channels)
            low_red, high_red = smaller(low_red, red), larger(high_red, red)
            low_green, high_green = smaller(low_green, green), larger(high_green, green)
            low_blue, high_blue = smaller(low_blue, blue), larger(high_blue, blue)
    scale_red, begin_red = _scale_and_begin(kind, smallest_of(low_red), largest_of(high_red))
    scale_green, begin_green = _scale_and_begin(kind, smallest_of(low_green), largest_of(high_green))
    scale_blue, begin_blue = _scale_and_begin(kind, smallest_of(low_blue), largest_of(high_blue))
    for row in range(height):
        read, written = row_of(call, _uint(SOURCE), row), row_of(call, _uint(RESULT), row)
        for col in range(_0, width, _COUNT):
            at = min(col, last) * of_column
            red, green, blue = colors_at(read + at, of_column, of_channel, channels)
            red = _spread(kind, red, scale_red, begin_red)
            green = _spread(kind, green, scale_green, begin_green)
            blue = _spread(kind, blue, scale_blue, begin_blue)
            store_colors(red, green, blue, written + at, of_column, of_result, channels)


@inlined_table
def _scale_and_begin(kind, low, high):
    """Return what values are multiplied with or divided by, and what is added or taken away, float64."""
    if high <= low:
        return 1.0, 0.0
    if kind == SPREAD_AS_PILLOW:
        scale = 255.0 / _f64(high - low)
        return scale, -_f64(low) * scale
    if kind == SPREAD_AS_V1:
        # PyTorch divides a number by a tensor so.
        return _f64(_f32(1) / (high - low) * _f32(255)), _f64(low)
    return _f64((high - low) * _f32(1.0 / 255.0)), _f64(low)


@inlined_table
def _spread(kind, values, scale, begin):
    if kind == SPREAD_AS_PILLOW:
        # Cut off toward zero, as Python's int() does.
        return whole_numbers(floats(ints(doubles(values) * every(scale) + every(begin))))
    if kind == SPREAD_AS_V1:
        return whole_numbers((values - every(_f32(begin))) * every(_f32(scale)))
    return whole_numbers((values - every(_f32(begin))) / every(_f32(scale)))


@inlined_table
def _spreading_table(kind, low, high, table):
    for i in range(256):
        if high <= low:
            table[i] = i
        elif kind == SPREAD_AS_PILLOW:
            scale = 255.0 / (high - low)
            # Cut off toward zero, as Python's int() does.
            table[i] = min(max(_i32(i * scale + -low * scale), 0), 255)
        elif kind == SPREAD_AS_V1:
            # PyTorch divides a number by a tensor so.
            scale = _f32(1) / (_f32(high) - _f32(low)) * _f32(255)
            table[i] = _u8(_i32(_whole((_f32(i) - _f32(low)) * scale)))
        else:
            scale = (_f32(high) - _f32(low)) * _f32(1.0 / 255.0)
            table[i] = _u8(_i32(_whole((_f32(i) - _f32(low)) / scale)))


@inlined_table
def _equalizing_table(counts, table):
    total, last = 0, 0
    for i in range(256):
        total += counts[i]
        if counts[i] > 0:
            last = i
    step = (total - counts[last]) // 255
    below = step // 2
    for i in range(256):
        table[i] = min(below // step, 255) if step > 0 else i
        below += counts[i]


@inlined_table
def _sharpened(arithmetic, mean, value, factor, rest):
    """Return the blends of bytes with their means."""
    if arithmetic == PILLOW:
        return whole_numbers(mean + factor * (value - mean))
    if arithmetic == TENSORS_V1:
        return whole_numbers(factor * value + rest * mean)
    if arithmetic == TENSORS_V2:
        return whole_numbers(fused(mean - value, rest, value))
    return whole_numbers(value + (mean - value) * rest)


@inlined_table
def _sharpen_line(arithmetic, above, here, below, result, count, step, factor, rest):
    """Blend bytes, at least as many as a vector has, with the means of their neighbours.

    Args:
        arithmetic: Whose arithmetic, a constant.
        above: Address of the bytes above.
        here: Address of the bytes.
        below: Address of the bytes below.
        result: Address of the results.
        count: Number of bytes.
        step: Bytes to the neighbours in a row.
        factor: Share of the bytes in the blend, a vector.
        rest: One less that share, a vector.
    """
    for begin in range(_0, count, _COUNT):
        # The last vector begins earlier, and is computed twice in part.
        at = min(begin, count - _COUNT)
        mean = smoothed(above + at, here + at, below + at, step)
        bytes_stored(_sharpened(arithmetic, mean, bytes_loaded(here + at), factor, rest), result + at)


@inlined_table
def _keep_line(arithmetic, here, result, begin, end, factor, rest):
    """Blend bytes with themselves."""
    for i in range(begin, end):
        value = _f32(here[i])
        result[i] = _u8(_i32(_whole(factor * value + rest * value))) if arithmetic == TENSORS_V1 else here[i]


@inlined_table
def _sharpen(arithmetic, call, factor, rest):
    planes, length = _lines_of(call)
    height, width, step = call[HEIGHT], call[WIDTH], call[SOURCE + OF_COLUMN]
    factors, rests = every(factor), every(rest)
    # Short rows are laid side by side here: above, the row, below, and the results.
    inner = length - _2 * step
    room = np.zeros(4 * (COUNT + 8), np.uint8)
    rooms, of_room = _uint(room.ctypes.data), _COUNT + _uint(8)
    for row in range(height):
        for plane in range(planes):
            here, result = _line_at(call, SOURCE, row, plane), _line_at(call, RESULT, row, plane)
            source, to = bytes_at(here), bytes_at(result)
            if row == _0 or row == height - _1 or width < _3:
                _keep_line(arithmetic, source, to, _0, length, factor, rest)
                continue
            above, below = _line_at(call, SOURCE, row - _1, plane), _line_at(call, SOURCE, row + _1, plane)
            if inner >= _COUNT:
                _sharpen_line(
                    arithmetic, above + step, here + step, below + step, result + step, inner, step, factors, rests
                )
            else:
                for i in range(length):
                    room[i], room[of_room + i], room[_2 * of_room + i] = (
                        bytes_at(above)[i],
                        source[i],
                        bytes_at(below)[i],
                    )
                first = rooms + step
                _sharpen_line(
                    arithmetic, first, first + of_room, first + _2 * of_room, first + _3 * of_room, _COUNT, step,
                    factors, rests,
                )  # fmt: skip
                for i in range(step, length - step):
                    to[i] = room[_3 * of_room + i]
            _keep_line(arithmetic, source, to, _0, step, factor, rest)
            _keep_line(arithmetic, source, to, length - step, length, factor, rest)
    room[0] = 0


@table_kernel
def sharpened(call, factor, rest):
    """Blend an image with its own smoothed one, of which the outermost rows and columns are not smoothed.

    Args:
        call: Fields of the call, uint64 [FIELDS]. There are as many bytes from column to column in both images.
        factor: Share of the image in the blend, float64.
        rest: One less that share, float64.
    """
    factor, rest = _f32(factor), _f32(rest)
    if call[ARITHMETIC] == PILLOW:
        _sharpen(PILLOW, call, factor, rest)
    elif call[ARITHMETIC] == TENSORS_V1:
        _sharpen(TENSORS_V1, call, factor, rest)
    elif call[ARITHMETIC] == TENSORS_V2:
        _sharpen(TENSORS_V2, call, factor, rest)
    else:
        _sharpen(TENSORS_V2_UNFUSED, call, factor, rest)

"""Change the colors of bytes as Pillow and torchvision do.

Brightness, contrast, saturation, hue and luma go through lines of float32, one for each channel, a block of a row at a
time: all adjustments of a block find it in the first-level cache. Bytes, their differences and sums of luma are whole
numbers below 2²⁴, which float32 holds exactly; what rounds besides is written as the libraries have it, operation by
operation. Only contrast, which depends on the mean of all pixels, takes a pass more.

Tables and sharpness go from bytes to bytes.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import inlined_table, table_kernel, table_part
from onelayer.backends.cpu.simd import bytes_at, doubles_at, ints_at, longs_at
from onelayer.backends.cpu.vectors import (
    COUNT,
    bytes_loaded,
    bytes_stored,
    doubles,
    every,
    floats,
    floored,
    fused,
    ints,
    lanes,
    larger,
    largest_of,
    multiplied_and_added,
    pixels_of_3_loaded,
    pixels_of_3_stored,
    pixels_of_4_loaded,
    pixels_of_4_stored,
    smaller,
    smallest_of,
    smoothed,
    total_of,
    where,
)

# Fields of a call, uint64.
HEIGHT, WIDTH, CHANNELS, RESULT_CHANNELS, STEPS, ARITHMETIC = range(6)
SOURCE, RESULT = 6, 12
"""First of the six fields of the image that is read, and of the one that is written."""

STRUCTURE, ROWS_AT, ADDRESS, OF_ROW, OF_COLUMN, OF_CHANNEL = range(6)
"""Fields of an image: the address at which that of Pillow's structure lies, and the offset of its table of rows; or 0
and 0, the address of the first byte, and the bytes from row to row. From column to column and from channel to channel
there are 1 and any number of bytes, or 3 or 4 and 1."""

FIRST_STEP, OF_STEP = 18, 3
"""Place of the first step, and fields of a step: what it does, and two numbers, float64."""

MAX_STEPS = 4
FIELDS = FIRST_STEP + MAX_STEPS * OF_STEP

BRIGHTNESS, CONTRAST, SATURATION, HUE, LUMA = range(5)
"""Steps. The first three are a blend of black, of the mean luma, or of the luma with the image: their numbers are the
factor and one less the factor. The number of the hue is what is added to it, of bytes for Pillow."""

PILLOW, TENSORS_V1, TENSORS_V2, TENSORS_V2_UNFUSED = range(4)
"""Whose arithmetic: Pillow's, or that of torchvision's v1 or v2 for tensors, with fused multiply-add or without."""

_f32, _f64, _i32, _u8, _uint = np.float32, np.float64, np.int32, np.uint8, np.uint64
_0, _1, _2, _3, _4, _COUNT = (np.uint64(number) for number in (0, 1, 2, 3, 4, COUNT))


@inlined_table
def _row_of(call, image, row):
    """Return the address of a row."""
    structure = call[image + STRUCTURE]
    if structure == _0:
        return call[image + ADDRESS] + row * call[image + OF_ROW]
    return longs_at(longs_at(longs_at(structure)[_0] + call[image + ROWS_AT])[_0])[row]


@inlined_table
def _colors_at(address, of_column, of_channel, channels):
    """Return sixteen pixels as vectors of red, green and blue; of one channel all three are that one."""
    if of_column == _4:
        return pixels_of_4_loaded(address)
    if of_column == _3:
        return pixels_of_3_loaded(address)
    red = bytes_loaded(address)
    if channels == _1:
        return red, red, red
    return red, bytes_loaded(address + of_channel), bytes_loaded(address + _2 * of_channel)


@inlined_table
def _store_colors(red, green, blue, address, of_column, of_channel, channels):
    """Write sixteen pixels."""
    if of_column == _4:
        pixels_of_4_stored(red, green, blue, address)
    elif of_column == _3:
        pixels_of_3_stored(red, green, blue, address)
    else:
        bytes_stored(red, address)
        if channels == _3:
            bytes_stored(green, address + of_channel)
            bytes_stored(blue, address + _2 * of_channel)


@inlined_table
def _copy_pixels(source, of_source, result, of_result, of_column, channels, count):
    """Copy less than sixteen pixels; the channels of planes are some bytes apart."""
    for plane in range(channels if of_column == _1 else _1):
        values, copied = bytes_at(source + plane * of_source), bytes_at(result + plane * of_result)
        for i in range(count * of_column):
            copied[i] = values[i]


@inlined_table
def _whole_numbers(values):
    """Return what is left of numbers as bytes: bounded, and the fraction cut off."""
    return floored(smaller(larger(values, every(_f32(0))), every(_f32(255))))


@inlined_table
def _luma(arithmetic, red, green, blue):
    """Return the luma of whole numbers, whole numbers."""
    if arithmetic == PILLOW:
        # Every product and every sum is a whole number below 2²⁴.
        total = multiplied_and_added(red, every(_f32(19595)), every(_f32(32768)))
        total = multiplied_and_added(green, every(_f32(38470)), total)
        return floored(multiplied_and_added(blue, every(_f32(7471)), total) * every(_f32(1 / 65536)))
    if arithmetic == TENSORS_V2:
        total = fused(green, every(_f32(0.587)), red * every(_f32(0.2989)))
        return floored(fused(blue, every(_f32(0.114)), total))
    return floored(red * every(_f32(0.2989)) + green * every(_f32(0.587)) + blue * every(_f32(0.114)))


@inlined_table
def _blend(arithmetic, degenerate, values, factor, rest):
    """Return blends of numbers: of the values as much as the factor says."""
    if arithmetic == PILLOW:
        return _whole_numbers(degenerate + factor * (values - degenerate))
    if arithmetic == TENSORS_V2:
        return _whole_numbers(fused(degenerate, rest, values * factor))
    return _whole_numbers(factor * values + rest * degenerate)


@inlined_table
def _by_sixth(sixth, value, middle, least):
    """Return red, green and blue of a hue in a sixth of the turn, between red, yellow, green, cyan, blue, magenta."""
    is_0, is_1, is_2 = sixth == every(_i32(0)), sixth == every(_i32(1)), sixth == every(_i32(2))
    is_3, is_4, is_5 = sixth == every(_i32(3)), sixth == every(_i32(4)), sixth == every(_i32(5))
    return (
        where(is_0 | is_5, value, where(is_1 | is_4, middle, least)),
        where(is_1 | is_2, value, where(is_0 | is_3, middle, least)),
        where(is_3 | is_4, value, where(is_2 | is_5, middle, least)),
    )


@inlined_table
def _turned_as_pillow(red, green, blue, turn):
    """Convert colors to hue, saturation and value, each a byte; add to the hue, which goes round; convert them back."""
    high, low = larger(red, larger(green, blue)), smaller(red, smaller(green, blue))
    span, one = high - low, every(_f32(1))
    # Of gray all numbers are zero, whatever they are divided by.
    divisor = larger(span, one)
    saturation = ints(doubles(span / larger(high, one)) * every(255.0))
    # The two colors that the hue lies between, and the sixth where it begins.
    is_red, is_green = red == high, green == high
    first = (high - where(is_red, blue, where(is_green, red, green))) / divisor
    second = (high - where(is_red, green, where(is_green, blue, red))) / divisor
    begin = where(is_red, every(_f32(0)), where(is_green, every(_f32(2)), every(_f32(4))))
    sixths = floats(doubles(begin) + doubles(first) - doubles(second))
    turns = doubles(sixths) / every(6.0) + every(1.0)
    part = floats(where(turns >= every(1.0), turns - every(1.0), turns))
    hue = (ints(doubles(part) * every(255.0)) + turn) & every(_i32(255))
    # And back: which sixth of the turn, and how far in it.
    six = hue * every(_i32(6))
    sixth = (six * every(_i32(257)) + every(_i32(257))) >> every(_i32(16))
    within = floats(six - sixth * every(_i32(255))) / every(_f32(255))
    strength = floats(saturation) / every(_f32(255))
    is_odd = (sixth & every(_i32(1))) == every(_i32(1))
    rising = doubles(strength) * (every(1.0) - doubles(within))
    lessened = where(is_odd, doubles(strength * within), rising)
    middle = floats(ints(doubles(high) * (every(1.0) - lessened) + every(0.5)))
    least = floats(ints(doubles(high) * (every(1.0) - doubles(strength)) + every(0.5)))
    return _by_sixth(where(sixth == every(_i32(6)), every(_i32(0)), sixth), high, middle, least)


@inlined_table
def _turned_as_tensors(arithmetic, red, green, blue, turn):
    """Turn the hue in float32, as torchvision does, whose every operation rounds."""
    zero, one = every(_f32(0)), every(_f32(1))
    if arithmetic == TENSORS_V1:
        white = every(_f32(255))
        red, green, blue = red / white, green / white, blue / white
    else:
        scale = every(_f32(1.0 / 255.0))
        red, green, blue = red * scale, green * scale, blue * scale
    high, low = larger(red, larger(green, blue)), smaller(red, smaller(green, blue))
    is_gray, span = high == low, high - low
    strength = span / where(is_gray, one, high)
    divisor = where(is_gray, one, span)
    is_red, is_green = red == high, green == high
    first = (high - where(is_red, blue, where(is_green, red, green))) / divisor
    second = (high - where(is_red, green, where(is_green, blue, red))) / divisor
    # v1 adds the other way round, which gives the same.
    sixths = first + where(is_red, zero, where(is_green, every(_f32(2)), every(_f32(4)))) - second
    hue = sixths / every(_f32(6)) if arithmetic == TENSORS_V1 else sixths * every(_f32(1.0 / 6.0))
    hue = hue + one
    hue = where(hue >= one, hue - one, hue)
    hue = hue + turn
    hue = where(hue >= one, hue - one, hue)
    hue = where(hue < zero, hue + one, hue)
    six = hue * every(_f32(6))
    sixth = ints(six)
    within = six - floats(sixth)
    product, weakness = strength * within, one - strength
    rising = (one - strength * (one - within)) if arithmetic == TENSORS_V1 else product + weakness
    is_odd = (sixth & every(_i32(1))) == every(_i32(1))
    middle = smaller(larger(where(is_odd, one - product, rising) * high, zero), one)
    least = smaller(larger(weakness * high, zero), one)
    sixth = where(sixth == every(_i32(6)), every(_i32(0)), sixth)
    red, green, blue = _by_sixth(sixth, high, middle, least)
    white = every(_f32(255.999))
    return floored(red * white), floored(green * white), floored(blue * white)


@inlined_table
def _adjusted(arithmetic, step, factor, rest, mean, red, green, blue):
    """Return colors after a step."""
    if step == BRIGHTNESS:
        factor = every(_f32(factor))
        red, green, blue = _whole_numbers(red * factor), _whole_numbers(green * factor), _whole_numbers(blue * factor)
    elif step in (CONTRAST, SATURATION):
        factor, rest = every(_f32(factor)), every(_f32(rest))
        degenerate = every(mean) if step == CONTRAST else _luma(arithmetic, red, green, blue)
        red = _blend(arithmetic, degenerate, red, factor, rest)
        green = _blend(arithmetic, degenerate, green, factor, rest)
        blue = _blend(arithmetic, degenerate, blue, factor, rest)
    elif step == HUE:
        if arithmetic == PILLOW:
            red, green, blue = _turned_as_pillow(red, green, blue, every(_i32(factor)))
        else:
            red, green, blue = _turned_as_tensors(arithmetic, red, green, blue, every(_f32(factor)))
    else:
        red = _luma(arithmetic, red, green, blue)
        green, blue = red, red
    return red, green, blue


@inlined_table
def _adjust_line(arithmetic, call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid):
    """Apply some steps to a part of a row, sixteen pixels at a time, and return the sum of the luma after them.

    Args:
        arithmetic: Whose arithmetic, a constant.
        call: Fields of the call.
        steps: The same as float64.
        begin: First of the steps.
        end: End of the steps, of which a contrast is the last, or the last of all. Nothing is written without a step.
        mean: Mean luma for a contrast.
        image: First field of the image that is read.
        read: Address of the first pixel.
        of_channel: Bytes from channel to channel there.
        written: Address of the first pixel of the result.
        of_result: Bytes from channel to channel there.
        count: Number of vectors.
        valid: Pixels of a vector that count for the sum.
    """
    channels, result_channels = call[CHANNELS], call[RESULT_CHANNELS]
    of_column, result_column = call[image + OF_COLUMN], call[RESULT + OF_COLUMN]
    has_sum, total = end < call[STEPS], every(_i32(0))
    for _ in range(count):
        red, green, blue = _colors_at(read, of_column, of_channel, channels)
        for step in range(begin, end):
            at = FIRST_STEP + OF_STEP * step
            red, green, blue = _adjusted(arithmetic, call[at], steps[at + 1], steps[at + 2], mean, red, green, blue)
        if has_sum:
            luma = ints(_luma(arithmetic, red, green, blue) if channels == _3 else red)
            total = total + where(lanes() < every(_i32(valid)), luma, every(_i32(0)))
        if end > begin:
            _store_colors(red, green, blue, written, result_column, of_result, result_channels)
        read, written = read + _COUNT * of_column, written + _COUNT * result_column
    return total_of(total)


@inlined_table
def _adjust_all(line, call):
    """Apply all steps of a call with a function for parts of rows."""
    height, width, channels, count = call[HEIGHT], call[WIDTH], call[CHANNELS], call[STEPS]
    result_channels, of_result, result_column = (
        call[RESULT_CHANNELS],
        call[RESULT + OF_CHANNEL],
        call[RESULT + OF_COLUMN],
    )
    steps = doubles_at(_uint(call.ctypes.data))
    buffer = np.zeros(4 * COUNT, np.uint8)
    buffered = _uint(buffer.ctypes.data)
    image, begin, has_mean, mean = _uint(SOURCE), _0, False, _f32(0)
    vectors, rest = width // _COUNT, width % _COUNT
    while begin < count:
        # Up to the next contrast, which needs the mean of what comes out before it.
        end = begin + _1 if has_mean or call[FIRST_STEP + OF_STEP * begin] != CONTRAST else begin
        while end < count and call[FIRST_STEP + OF_STEP * end] != CONTRAST:
            end += _1
        has_mean = end < count
        total = np.int64(0)
        of_column, of_channel = call[image + OF_COLUMN], call[image + OF_CHANNEL]
        for row in range(height):
            read, written = _row_of(call, image, row), _row_of(call, _uint(RESULT), row)
            total += line(call, steps, begin, end, mean, image, read, of_channel, written, of_result, vectors, _COUNT)
            if rest > _0:
                # What lies behind the last pixel is of others.
                read += (width - rest) * of_column
                written += (width - rest) * result_column
                _copy_pixels(read, of_channel, buffered, _COUNT, of_column, channels, rest)
                total += line(call, steps, begin, end, mean, image, buffered, _COUNT, buffered, _COUNT, _1, rest)
                if end > begin:
                    _copy_pixels(buffered, _COUNT, written, of_result, result_column, result_channels, rest)
        if end > begin:
            image = _uint(RESULT)
        begin = end
        if call[ARITHMETIC] == PILLOW:
            mean = _f32(_i32(_f64(total) / _f64(height * width) + 0.5))
        else:
            mean = _f32(total) / _f32(height * width)
    # Keeps the memory alive until here: addresses do not.
    buffer[0] = 0


@table_part
def _line_as_pillow(call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid):
    return _adjust_line(
        PILLOW, call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid
    )


@table_part
def _line_as_v1(call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid):
    return _adjust_line(
        TENSORS_V1, call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid
    )


@table_part
def _line_as_v2(call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid):
    return _adjust_line(
        TENSORS_V2, call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid
    )


@table_part
def _line_as_v2_unfused(call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid):
    return _adjust_line(
        TENSORS_V2_UNFUSED, call, steps, begin, end, mean, image, read, of_channel, written, of_result, count, valid
    )


@table_kernel
def adjusted_as_pillow(call):
    """Apply the steps of a call as Pillow does.

    Args:
        call: Fields of the call, uint64 [FIELDS].
    """
    _adjust_all(_line_as_pillow, call)


@table_kernel
def adjusted_as_tensors(call):
    """Apply the steps of a call as torchvision does with tensors.

    Args:
        call: Fields of the call, uint64 [FIELDS].
    """
    if call[ARITHMETIC] == TENSORS_V1:
        _adjust_all(_line_as_v1, call)
    elif call[ARITHMETIC] == TENSORS_V2:
        _adjust_all(_line_as_v2, call)
    else:
        _adjust_all(_line_as_v2_unfused, call)


@inlined_table
def _line_at(call, image, row, plane):
    """Return the address of a row; of images in planes, that of one plane."""
    return _row_of(call, _uint(image), row) + plane * call[image + OF_CHANNEL]


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
            source, result = _line(call, SOURCE, row, _0), ints_at(_row_of(call, _uint(RESULT), row))
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
            pixels, shift = ints_at(_row_of(call, _uint(SOURCE), row)), _i32(8 * channel)
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
        read = _row_of(call, _uint(SOURCE), row)
        for col in range(_0, width, _COUNT):
            red, green, blue = _colors_at(read + min(col, last) * of_column, of_column, of_channel, channels)
            low_red, high_red = smaller(low_red, red), larger(high_red, red)
            low_green, high_green = smaller(low_green, green), larger(high_green, green)
            low_blue, high_blue = smaller(low_blue, blue), larger(high_blue, blue)
    scale_red, begin_red = _scale_and_begin(kind, smallest_of(low_red), largest_of(high_red))
    scale_green, begin_green = _scale_and_begin(kind, smallest_of(low_green), largest_of(high_green))
    scale_blue, begin_blue = _scale_and_begin(kind, smallest_of(low_blue), largest_of(high_blue))
    for row in range(height):
        read, written = _row_of(call, _uint(SOURCE), row), _row_of(call, _uint(RESULT), row)
        for col in range(_0, width, _COUNT):
            at = min(col, last) * of_column
            red, green, blue = _colors_at(read + at, of_column, of_channel, channels)
            red = _spread(kind, red, scale_red, begin_red)
            green = _spread(kind, green, scale_green, begin_green)
            blue = _spread(kind, blue, scale_blue, begin_blue)
            _store_colors(red, green, blue, written + at, of_column, of_result, channels)


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
        return _whole_numbers(floats(ints(doubles(values) * every(scale) + every(begin))))
    if kind == SPREAD_AS_V1:
        return _whole_numbers((values - every(_f32(begin))) * every(_f32(scale)))
    return _whole_numbers((values - every(_f32(begin))) / every(_f32(scale)))


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
        return _whole_numbers(mean + factor * (value - mean))
    if arithmetic == TENSORS_V1:
        return _whole_numbers(factor * value + rest * mean)
    if arithmetic == TENSORS_V2:
        return _whole_numbers(fused(mean - value, rest, value))
    return _whole_numbers(value + (mean - value) * rest)


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

"""Change the colors of bytes as Pillow and torchvision do.

Brightness, contrast, saturation, hue and luma go through lines of float32, one for each channel, a block of a row at a
time: all adjustments of a block find it in the first-level cache. Bytes, their differences and sums of luma are whole
numbers below 2²⁴, which float32 holds exactly; what rounds besides is written as the libraries have it, operation by
operation. Only contrast, which depends on the mean of all pixels, takes a pass more.

Tables and sharpness go from bytes to bytes.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.float32_sums import fused
from onelayer.backends.cpu.simd import bytes_at, doubles_at, ints_at, longs_at

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

BLOCK = 256
"""Pixels of a row that go together."""

_f32, _f64, _i32, _u8, _uint = np.float32, np.float64, np.int32, np.uint8, np.uint64
_BLOCK, _2_BLOCKS = np.uint64(BLOCK), np.uint64(2 * BLOCK)
_0, _1, _2, _3, _4, _255 = (np.uint64(number) for number in (0, 1, 2, 3, 4, 255))


@inlined_table
def _row_of(call, image, row):
    """Return the address of a row."""
    structure = call[image + STRUCTURE]
    if structure == _0:
        return call[image + ADDRESS] + row * call[image + OF_ROW]
    return longs_at(longs_at(longs_at(structure)[_0] + call[image + ROWS_AT])[_0])[row]


@inlined_table
def _loaded(address, of_column, of_channel, channels, begin, count, lines):
    """Set lines to the colors of a part of a row."""
    if of_column == _4:
        pixels = ints_at(address + _4 * begin)
        for i in range(count):
            pixel = pixels[i]
            lines[i] = _f32(pixel & _i32(255))
            lines[_BLOCK + i] = _f32((pixel >> _i32(8)) & _i32(255))
            lines[_2_BLOCKS + i] = _f32((pixel >> _i32(16)) & _i32(255))
    elif of_column == _3:
        values = bytes_at(address + _3 * begin)
        for i in range(count):
            lines[i] = _f32(values[_3 * i])
            lines[_BLOCK + i] = _f32(values[_3 * i + _1])
            lines[_2_BLOCKS + i] = _f32(values[_3 * i + _2])
    else:
        for c in range(channels):
            values = bytes_at(address + c * of_channel + begin)
            for i in range(count):
                lines[c * _BLOCK + i] = _f32(values[i])


@inlined_table
def _stored(lines, address, of_column, of_channel, channels, begin, count):
    """Set the colors of a part of a row to lines."""
    if of_column == _4:
        pixels = ints_at(address + _4 * begin)
        for i in range(count):
            green, blue = _i32(lines[_BLOCK + i]) << _i32(8), _i32(lines[_2_BLOCKS + i]) << _i32(16)
            pixels[i] = _i32(lines[i]) | green | blue | _i32(-1 << 24)
    elif of_column == _3:
        values = bytes_at(address + _3 * begin)
        for i in range(count):
            values[_3 * i] = _u8(_i32(lines[i]))
            values[_3 * i + _1] = _u8(_i32(lines[_BLOCK + i]))
            values[_3 * i + _2] = _u8(_i32(lines[_2_BLOCKS + i]))
    else:
        for c in range(channels):
            values = bytes_at(address + c * of_channel + begin)
            for i in range(count):
                values[i] = _u8(_i32(lines[c * _BLOCK + i]))


@inlined_table
def _whole(value):
    """Return what is left of a number as a byte: bounded, and its fraction cut off."""
    value = min(max(value, _f32(0)), _f32(255))
    return _f32(_i32(value))


@inlined_table
def _luma(arithmetic, red, green, blue):
    """Return the luma of whole numbers, a whole number."""
    if arithmetic == PILLOW:
        # Every sum is a whole number below 2²⁴.
        total = _f32(19595) * red + _f32(38470) * green + _f32(7471) * blue + _f32(32768)
        return _f32(_i32(total) >> _i32(16))
    if arithmetic == TENSORS_V2:
        total = fused(blue, _f32(0.114), fused(green, _f32(0.587), red * _f32(0.2989)))
    else:
        total = red * _f32(0.2989) + green * _f32(0.587) + blue * _f32(0.114)
    return _f32(_i32(total))


@inlined_table
def _blended(arithmetic, degenerate, value, factor, rest):
    """Return a blend of two numbers: of the value as much as the factor says."""
    if arithmetic == PILLOW:
        return _whole(degenerate + factor * (value - degenerate))
    if arithmetic == TENSORS_V2:
        return _whole(fused(degenerate, rest, value * factor))
    return _whole(factor * value + rest * degenerate)


@inlined_table
def _blend_with_one(arithmetic, lines, channels, count, degenerate, factor, rest):
    """Blend all colors with the same number."""
    for c in range(channels):
        for i in range(count):
            at = c * _BLOCK + i
            lines[at] = _blended(arithmetic, degenerate, lines[at], factor, rest)


@inlined_table
def _blend_with_luma(arithmetic, lines, count, factor, rest):
    for i in range(count):
        red, green, blue = lines[i], lines[_BLOCK + i], lines[_2_BLOCKS + i]
        luma = _luma(arithmetic, red, green, blue)
        lines[i] = _blended(arithmetic, luma, red, factor, rest)
        lines[_BLOCK + i] = _blended(arithmetic, luma, green, factor, rest)
        lines[_2_BLOCKS + i] = _blended(arithmetic, luma, blue, factor, rest)


@inlined_table
def _to_luma(arithmetic, lines, count):
    for i in range(count):
        luma = _luma(arithmetic, lines[i], lines[_BLOCK + i], lines[_2_BLOCKS + i])
        lines[i], lines[_BLOCK + i], lines[_2_BLOCKS + i] = luma, luma, luma


@inlined_table
def _sum_of_luma(arithmetic, lines, channels, count):
    total = _i32(0)
    for i in range(count):
        red = lines[i]
        if channels == _3:
            total += _i32(_luma(arithmetic, red, lines[_BLOCK + i], lines[_2_BLOCKS + i]))
        else:
            total += _i32(red)
    return total


@inlined_table
def _turn_hue_as_pillow(lines, count, turn):
    """Convert colors to hue, saturation and value, each a byte; add to the hue, which goes round; convert them back."""
    for i in range(count):
        red, green, blue = lines[i], lines[_BLOCK + i], lines[_2_BLOCKS + i]
        high, low = max(red, max(green, blue)), min(red, min(green, blue))
        span = high - low
        # Of gray all numbers are zero, whatever they are divided by.
        divisor = max(span, _f32(1))
        saturation = _i32(_f64(span / max(high, _f32(1))) * 255.0)
        # The two colors that the hue lies between, and where it begins.
        is_red, is_green = red == high, green == high
        first = (high - (blue if is_red else red if is_green else green)) / divisor
        second = (high - (green if is_red else blue if is_green else red)) / divisor
        sixths = _f32((0.0 if is_red else 2.0 if is_green else 4.0) + _f64(first) - _f64(second))
        whole_turns = _f64(sixths) / 6.0 + 1.0
        part = _f32(whole_turns - 1.0 if whole_turns >= 1.0 else whole_turns)
        hue = _i32(_f64(part) * 255.0)
        hue = (hue + turn) & _i32(255)
        # And back: which sixth of the turn, and how far in it.
        six = _i32(6) * hue
        sixth = (six * _i32(257) + _i32(257)) >> _i32(16)
        within = _f32(six - _i32(255) * sixth) / _f32(255)
        strength = _f32(saturation) / _f32(255)
        is_odd = sixth & _i32(1)
        lessened = _f64(strength * within) if is_odd else _f64(strength) * (1.0 - _f64(within))
        middle = _f32(_i32(_f64(high) * (1.0 - lessened) + 0.5))
        least = _f32(_i32(_f64(high) * (1.0 - _f64(strength)) + 0.5))
        # value, t, p | q, value, p | p, value, t | p, q, value | t, p, value | value, p, q
        sixth = sixth if sixth < _i32(6) else _i32(0)
        lines[i] = high if sixth == 0 or sixth == 5 else middle if sixth == 1 or sixth == 4 else least
        lines[_BLOCK + i] = high if sixth == 1 or sixth == 2 else middle if sixth == 0 or sixth == 3 else least
        lines[_2_BLOCKS + i] = high if sixth == 3 or sixth == 4 else middle if sixth == 2 or sixth == 5 else least


@inlined_table
def _turn_hue_as_tensors(arithmetic, lines, count, turn):
    """Turn the hue in float32, as torchvision does, whose every operation rounds."""
    for i in range(count):
        red, green, blue = lines[i], lines[_BLOCK + i], lines[_2_BLOCKS + i]
        if arithmetic == TENSORS_V1:
            red, green, blue = red / _f32(255), green / _f32(255), blue / _f32(255)
        else:
            scale = _f32(1.0 / 255.0)
            red, green, blue = red * scale, green * scale, blue * scale
        high, low = max(red, max(green, blue)), min(red, min(green, blue))
        is_gray = high == low
        span = high - low
        strength = span / (_f32(1) if is_gray else high)
        divisor = _f32(1) if is_gray else span
        of_red, of_green, of_blue = (high - red) / divisor, (high - green) / divisor, (high - blue) / divisor
        if_green = of_red + _f32(2) - of_blue
        if_blue = of_green + _f32(4) - of_red
        if arithmetic == TENSORS_V1:
            if_green, if_blue = _f32(2) + of_red - of_blue, _f32(4) + of_green - of_red
        hue = of_blue - of_green if high == red else if_green if high == green else if_blue
        hue = hue / _f32(6) if arithmetic == TENSORS_V1 else hue * _f32(1.0 / 6.0)
        hue = hue + _f32(1)
        hue = hue - _f32(1) if hue >= _f32(1) else hue
        hue = hue + turn
        hue = hue - _f32(1) if hue >= _f32(1) else hue
        hue = hue + _f32(1) if hue < _f32(0) else hue
        six = hue * _f32(6)
        sixth = _i32(six)
        within = six - _f32(sixth)
        product = strength * within
        falling = (_f32(1) - product) * high
        if arithmetic == TENSORS_V1:
            rising = (_f32(1) - strength * (_f32(1) - within)) * high
        else:
            rising = (product + (_f32(1) - strength)) * high
        least = (_f32(1) - strength) * high
        middle = falling if sixth & _i32(1) else rising
        least = min(max(least, _f32(0)), _f32(1))
        middle = min(max(middle, _f32(0)), _f32(1))
        sixth = sixth if sixth < _i32(6) else _i32(0)
        red = high if sixth == 0 or sixth == 5 else middle if sixth == 1 or sixth == 4 else least
        green = high if sixth == 1 or sixth == 2 else middle if sixth == 0 or sixth == 3 else least
        blue = high if sixth == 3 or sixth == 4 else middle if sixth == 2 or sixth == 5 else least
        lines[i] = _f32(_i32(red * _f32(255.999)))
        lines[_BLOCK + i] = _f32(_i32(green * _f32(255.999)))
        lines[_2_BLOCKS + i] = _f32(_i32(blue * _f32(255.999)))


@inlined_table
def _adjust(arithmetic, step, factor, rest, lines, channels, count, mean):
    if step == BRIGHTNESS:
        _blend_with_one(arithmetic, lines, channels, count, _f32(0), _f32(factor), _f32(0))
    elif step == CONTRAST:
        _blend_with_one(arithmetic, lines, channels, count, mean, _f32(factor), _f32(rest))
    elif step == SATURATION:
        _blend_with_luma(arithmetic, lines, count, _f32(factor), _f32(rest))
    elif step == HUE:
        if arithmetic == PILLOW:
            _turn_hue_as_pillow(lines, count, _i32(factor))
        else:
            _turn_hue_as_tensors(arithmetic, lines, count, _f32(factor))
    else:
        _to_luma(arithmetic, lines, count)


@inlined_table
def _adjust_all(arithmetic, call, steps):
    """Apply all steps of a call in the arithmetic of a library."""
    height, width, channels, count = call[HEIGHT], call[WIDTH], call[CHANNELS], call[STEPS]
    lines = np.empty(3 * BLOCK, np.float32)
    image, begin, has_mean, mean = _uint(SOURCE), _0, False, _f32(0)
    while begin < count:
        # Up to the next contrast, which needs the mean of what comes out before it.
        end = begin + _1 if has_mean or call[FIRST_STEP + OF_STEP * begin] != CONTRAST else begin
        while end < count and call[FIRST_STEP + OF_STEP * end] != CONTRAST:
            end += _1
        has_mean = end < count
        total = np.int64(0)
        for row in range(height):
            read, written = _row_of(call, image, row), _row_of(call, _uint(RESULT), row)
            for col in range(_0, width, _BLOCK):
                pixels = min(_BLOCK, width - col)
                _loaded(read, call[image + OF_COLUMN], call[image + OF_CHANNEL], channels, col, pixels, lines)
                for step in range(begin, end):
                    at = FIRST_STEP + OF_STEP * step
                    _adjust(arithmetic, call[at], steps[at + 1], steps[at + 2], lines, channels, pixels, mean)
                if has_mean:
                    total += _sum_of_luma(arithmetic, lines, channels, pixels)
                if end > begin:
                    of_column, of_channel = call[RESULT + OF_COLUMN], call[RESULT + OF_CHANNEL]
                    _stored(lines, written, of_column, of_channel, call[RESULT_CHANNELS], col, pixels)
        if end > begin:
            image = _uint(RESULT)
        begin = end
        if arithmetic == PILLOW:
            mean = _f32(_i32(_f64(total) / _f64(height * width) + 0.5))
        else:
            mean = _f32(total) / _f32(height * width)


@table_kernel
def adjusted_as_pillow(call):
    """Apply the steps of a call as Pillow does.

    Args:
        call: Fields of the call, uint64 [FIELDS].
    """
    _adjust_all(PILLOW, call, doubles_at(_uint(call.ctypes.data)))


@table_kernel
def adjusted_as_tensors(call):
    """Apply the steps of a call as torchvision does with tensors.

    Args:
        call: Fields of the call, uint64 [FIELDS].
    """
    steps = doubles_at(_uint(call.ctypes.data))
    if call[ARITHMETIC] == TENSORS_V1:
        _adjust_all(TENSORS_V1, call, steps)
    elif call[ARITHMETIC] == TENSORS_V2:
        _adjust_all(TENSORS_V2, call, steps)
    else:
        _adjust_all(TENSORS_V2_UNFUSED, call, steps)


@inlined_table
def _line(call, image, row, plane):
    """Return the bytes of a row; of images in planes, those of one plane."""
    return bytes_at(_row_of(call, _uint(image), row) + plane * call[image + OF_CHANNEL])


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
    if kind != TABLES:
        # Two of each, because a count that was changed just now is waited for.
        counts = np.zeros(6 * 256, np.int32)
        for row in range(height):
            for c in range(channels):
                source = _line(call, SOURCE, row, c if of_column == _1 else _0)
                first, step = _0 if of_column == _1 else c, of_column
                begin = _uint(512) * c
                for i in range(width >> _1):
                    at = first + _2 * i * step
                    counts[begin + _uint(source[at])] += 1
                    counts[begin + _uint(256) + _uint(source[at + step])] += 1
                if width & _1:
                    counts[begin + _uint(source[first + (width - _1) * step])] += 1
        for c in range(channels):
            for i in range(256):
                counts[256 * c + i] = counts[512 * c + i] + counts[512 * c + 256 + i]
            of_channel, table = counts[256 * c : 256 * c + 256], tables[256 * c : 256 * c + 256]
            if kind == EQUALIZED:
                _equalizing_table(of_channel, table)
            else:
                _spreading_table(kind, of_channel, table)
    for row in range(height):
        if of_column == _1:
            for c in range(channels):
                source, result = _line(call, SOURCE, row, c), _line(call, RESULT, row, c)
                for i in range(width):
                    result[i] = tables[_uint(256) * c + _uint(source[i])]
        elif of_column == _4:
            source, result = _line(call, SOURCE, row, _0), ints_at(_row_of(call, _uint(RESULT), row))
            for i in range(width):
                red, green = tables[source[_4 * i]], tables[_uint(256) + _uint(source[_4 * i + _1])]
                blue = tables[_uint(512) + _uint(source[_4 * i + _2])]
                result[i] = _i32(red) | _i32(green) << _i32(8) | _i32(blue) << _i32(16) | _i32(-1 << 24)
        else:
            source, result = _line(call, SOURCE, row, _0), _line(call, RESULT, row, _0)
            for i in range(width):
                for c in range(_3):
                    result[_3 * i + c] = tables[_uint(256) * c + _uint(source[_3 * i + c])]


@inlined_table
def _spreading_table(kind, counts, table):
    low, high = 0, 255
    while low < 255 and counts[low] == 0:
        low += 1
    while high > 0 and counts[high] == 0:
        high -= 1
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
def _sharpen_line(arithmetic, above, here, below, result, begin, end, step, factor, rest):
    """Blend each byte with the mean of its neighbours, in which it counts five times, from one place to another."""
    for i in range(begin, end):
        value = _i32(here[i])
        total = (
            _i32(above[i - step]) + _i32(above[i]) + _i32(above[i + step])
            + _i32(here[i - step]) + _i32(5) * value + _i32(here[i + step])
            + _i32(below[i - step]) + _i32(below[i]) + _i32(below[i + step])
        )  # fmt: skip
        # Thirteenths are never halves, so that however the libraries add up, they round like this, and like division.
        mean = _f32(((total + _i32(6)) * _i32(5042)) >> _i32(16))
        if arithmetic == TENSORS_V2:
            blend = _whole(fused(mean - _f32(value), rest, _f32(value)))
        elif arithmetic == TENSORS_V2_UNFUSED:
            blend = _whole(_f32(value) + (mean - _f32(value)) * rest)
        else:
            blend = _blended(arithmetic, mean, _f32(value), factor, rest)
        result[i] = _u8(_i32(blend))


@inlined_table
def _keep_line(arithmetic, here, result, begin, end, factor, rest):
    """Blend bytes with themselves."""
    for i in range(begin, end):
        value = _f32(here[i])
        result[i] = _u8(_i32(_whole(factor * value + rest * value))) if arithmetic == TENSORS_V1 else here[i]


@inlined_table
def _sharpen(arithmetic, call, factor, rest):
    planes, length = _lines_of(call)
    height, step = call[HEIGHT], call[SOURCE + OF_COLUMN]
    for row in range(height):
        for plane in range(planes):
            here, result = _line(call, SOURCE, row, plane), _line(call, RESULT, row, plane)
            if row == _0 or row == height - _1 or call[WIDTH] < _3:
                _keep_line(arithmetic, here, result, _0, length, factor, rest)
            else:
                above, below = _line(call, SOURCE, row - _1, plane), _line(call, SOURCE, row + _1, plane)
                _sharpen_line(arithmetic, above, here, below, result, step, length - step, step, factor, rest)
                _keep_line(arithmetic, here, result, _0, step, factor, rest)
                _keep_line(arithmetic, here, result, length - step, length, factor, rest)


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

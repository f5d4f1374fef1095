"""Adjust the colors of bytes as Pillow and torchvision do.

Brightness, contrast, saturation, hue and luma go through lines of float32, one for each channel, a block of a row at a
time: all adjustments of a block find it in the first-level cache. Bytes, their differences and sums of luma are whole
numbers below 2²⁴, which float32 holds exactly; what rounds besides is written as the libraries have it, operation by
operation. Only contrast, which depends on the mean of all pixels, takes a pass more.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.color_call import (
    ARITHMETIC,
    BRIGHTNESS,
    CHANNELS,
    CONTRAST,
    FIRST_STEP,
    HEIGHT,
    HUE,
    OF_CHANNEL,
    OF_COLUMN,
    OF_STEP,
    PILLOW,
    RESULT,
    RESULT_CHANNELS,
    SATURATION,
    SOURCE,
    STEPS,
    TENSORS_V1,
    TENSORS_V2,
    TENSORS_V2_UNFUSED,
    WIDTH,
    colors_at,
    copy_pixels,
    row_of,
    store_colors,
    whole_numbers,
)
from onelayer.backends.cpu.compilation import inlined_table, table_kernel, table_part
from onelayer.backends.cpu.simd import doubles_at
from onelayer.backends.cpu.vectors import (
    COUNT,
    doubles,
    every,
    floats,
    floored,
    fused,
    ints,
    lanes,
    larger,
    multiplied_and_added,
    smaller,
    total_of,
    where,
)

_f32, _f64, _i32, _uint = np.float32, np.float64, np.int32, np.uint64
_0, _1, _3, _COUNT = (np.uint64(number) for number in (0, 1, 3, COUNT))


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
        return whole_numbers(degenerate + factor * (values - degenerate))
    if arithmetic == TENSORS_V2:
        return whole_numbers(fused(degenerate, rest, values * factor))
    return whole_numbers(factor * values + rest * degenerate)


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
        red, green, blue = whole_numbers(red * factor), whole_numbers(green * factor), whole_numbers(blue * factor)
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
        red, green, blue = colors_at(read, of_column, of_channel, channels)
        for step in range(begin, end):
            at = FIRST_STEP + OF_STEP * step
            red, green, blue = _adjusted(arithmetic, call[at], steps[at + 1], steps[at + 2], mean, red, green, blue)
        if has_sum:
            luma = ints(_luma(arithmetic, red, green, blue) if channels == _3 else red)
            total = total + where(lanes() < every(_i32(valid)), luma, every(_i32(0)))
        if end > begin:
            store_colors(red, green, blue, written, result_column, of_result, result_channels)
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
            read, written = row_of(call, image, row), row_of(call, _uint(RESULT), row)
            total += line(call, steps, begin, end, mean, image, read, of_channel, written, of_result, vectors, _COUNT)
            if rest > _0:
                # What lies behind the last pixel is of others.
                read += (width - rest) * of_column
                written += (width - rest) * result_column
                copy_pixels(read, of_channel, buffered, _COUNT, of_column, channels, rest)
                total += line(call, steps, begin, end, mean, image, buffered, _COUNT, buffered, _COUNT, _1, rest)
                if end > begin:
                    copy_pixels(buffered, _COUNT, written, of_result, result_column, result_channels, rest)
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

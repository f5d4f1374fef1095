"""Lay out a call of the kernels for colors and tones as one array of integers, and read and write pixels by it."""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import inlined_table
from onelayer.backends.cpu.simd import bytes_at, longs_at
from onelayer.backends.cpu.vectors import (
    bytes_loaded,
    bytes_stored,
    every,
    floored,
    larger,
    pixels_of_3_loaded,
    pixels_of_3_stored,
    pixels_of_4_loaded,
    pixels_of_4_stored,
    smaller,
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

_f32 = np.float32
_0, _1, _2, _3, _4 = (np.uint64(number) for number in range(5))


@inlined_table
def row_of(call, image, row):
    """Return the address of a row."""
    structure = call[image + STRUCTURE]
    if structure == _0:
        return call[image + ADDRESS] + row * call[image + OF_ROW]
    return longs_at(longs_at(longs_at(structure)[_0] + call[image + ROWS_AT])[_0])[row]


@inlined_table
def colors_at(address, of_column, of_channel, channels):
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
def store_colors(red, green, blue, address, of_column, of_channel, channels):
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
def copy_pixels(source, of_source, result, of_result, of_column, channels, count):
    """Copy less than sixteen pixels; the channels of planes are some bytes apart."""
    for plane in range(channels if of_column == _1 else _1):
        values, copied = bytes_at(source + plane * of_source), bytes_at(result + plane * of_result)
        for i in range(count * of_column):
            copied[i] = values[i]


@inlined_table
def whole_numbers(values):
    """Return what is left of numbers as bytes: bounded, and the fraction cut off."""
    return floored(smaller(larger(values, every(_f32(0))), every(_f32(255))))

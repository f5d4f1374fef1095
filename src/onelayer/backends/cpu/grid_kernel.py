"""Sample tensors of bytes at the points of a grid as PyTorch's ``grid_sample`` and torchvision do, bit for bit.

PyTorch computes in float32: a place is ``(x + 1) · (W / 2) − ½``, a weight the product of two distances, and an output
the sum of four products in the order upper left, upper right, lower left, lower right; what lies outside is 0. Its
compiler makes one step (FMA) of each product and the addition behind it. Torchvision samples a mask of ones too, mixes
with the fill by what comes of it, and rounds half to even. (``GridSamplerKernel.cpp``; ``_apply_grid_transform`` of v1
and v2.)
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.float32_sums import fused as fused_number
from onelayer.backends.cpu.simd import bytes_at, floats_at
from onelayer.backends.cpu.vectors import (
    COUNT,
    bytes_loaded,
    bytes_stored,
    every,
    floats_loaded,
    floored,
    fused,
    ints,
    larger,
    numbers_stored,
    points_loaded,
    smaller,
    total_of,
    where,
)

# Fields of a call, uint64.
(
    GRID,  # Address of float32 [H', W', 2], the points.
    IMAGES,  # Address of the first byte of the first image.
    OF_IMAGE,  # Bytes from one image to the next.
    OF_CHANNEL,  # Bytes from one channel to the next.
    OF_ROW,  # Bytes from one row to the next.
    OF_COLUMN,  # Bytes from one column to the next.
    BATCH,  # Number of images N.
    CHANNELS,  # C.
    HEIGHT,  # H.
    WIDTH,  # W.
    RESULTS,  # Address of memory for bytes [N, C, H', W'], contiguous.
    RESULT_HEIGHT,  # H'.
    RESULT_WIDTH,  # W'.
    FILLS,  # Address of float32 [C], the fill; 0 without one.
    MIX,  # How torchvision mixes with the fill: one of the two below; of weighed samples alone.
) = range(15)

FIELDS = 15

MIX_V1, MIX_V2, _NO_MIX = range(3)
"""``x · mask + (1 − mask) · fill``; ``(x − fill) · mask + fill``; neither."""

MAX_LENGTH, MAX_MEMORY = 1 << 20, 1 << 31
"""Height and width up to which places are rounded as they should be, and bytes of an image from which on offsets would
not fit into 32 bits."""

MIN_COLUMNS = COUNT
"""Columns of a result of weighed samples, at least."""

_f32, _i32, _u8, _uint = np.float32, np.int32, np.uint8, np.uint64

_COUNT = np.uint64(COUNT)

_TO_WHOLE = _f32(3 << 22)
"""A number that rounds float32 below 2²² to whole numbers, half to even, where it is added and taken away again."""

_FAR = _f32(1 << 21)
"""Distance beyond which a place is outside of all images."""


@inlined_table
def _rounded(value):
    return (value + _TO_WHOLE) - _TO_WHOLE


@inlined_table
def _place(point, half):
    """Return where a point lies along an axis; far outside of it for all that is farther."""
    place = fused_number(point + _f32(1), half, _f32(-0.5))
    return place if -_FAR < place < _FAR else -_FAR


@table_kernel
def sampled_nearest(call):
    """Sample the pixels that are nearest to the points.

    Args:
        call: Fields of the call, uint64 [FIELDS].
    """
    height, width = _i32(call[HEIGHT]), _i32(call[WIDTH])
    half_width, half_height = _f32(call[WIDTH]) / _f32(2), _f32(call[HEIGHT]) / _f32(2)
    of_row, of_column, channels = _i32(call[OF_ROW]), _i32(call[OF_COLUMN]), call[CHANNELS]
    columns, points = call[RESULT_WIDTH], floats_at(call[GRID])
    of_plane = call[RESULT_HEIGHT] * columns
    starts = np.empty(columns, np.int32)
    for row in range(call[RESULT_HEIGHT]):
        first = _uint(2) * row * columns
        for j in range(columns):
            col = _i32(_rounded(_place(points[first + _uint(2) * j], half_width)))
            line = _i32(_rounded(_place(points[first + _uint(2) * j + _uint(1)], half_height)))
            is_inside = (col >= 0) & (col < width) & (line >= 0) & (line < height)
            starts[j] = line * of_row + col * of_column if is_inside else _i32(-1)
        for n in range(call[BATCH]):
            for c in range(channels):
                image = bytes_at(call[IMAGES] + n * call[OF_IMAGE] + c * call[OF_CHANNEL])
                result = bytes_at(call[RESULTS] + (n * channels + c) * of_plane + row * columns)
                fill = _u8(_i32(_rounded(floats_at(call[FILLS])[c]))) if call[FILLS] != 0 else _u8(0)
                for j in range(columns):
                    result[j] = image[_uint(starts[j])] if starts[j] >= 0 else fill


@inlined_table
def _along(place, length, of_step):
    """Return the shares of the two pixels that places lie between along an axis, and the offsets of these.

    What is outside has no share, and lies somewhere inside.
    """
    zero, one = every(_f32(0)), every(_f32(1))
    far = every(_FAR)
    place = larger(smaller(place, far), zero - far)
    first = floored(place)
    share = place - first
    last = every(_f32(length)) - one
    has_first = (first >= zero) & (first < every(_f32(length)))
    has_second = (first >= zero - one) & (first < last)
    step = every(_i32(of_step))
    begin = ints(larger(smaller(first, last), zero)) * step
    end = ints(larger(smaller(first + one, last), zero)) * step
    return one - share, share, has_first, has_second, begin, end


@inlined_table
def _mixed(mix, total, mask, fill):
    """Mix samples with a fill, and round them; without one where ``mix`` says so."""
    if mix == MIX_V1:
        total = total * mask + (every(_f32(1)) - mask) * fill
    elif mix == MIX_V2:
        total = (total - fill) * mask + fill
    return (total + every(_TO_WHOLE)) - every(_TO_WHOLE)


@inlined_table
def _weigh(mix, samples, weights, masks, result, columns, fill):
    """Weigh four samples for each output of a row."""
    fills, of_weights = every(fill), _uint(4) * columns
    for block in range(_uint(0), columns, _COUNT):
        # The last vector begins earlier, and is computed twice in part.
        at = min(block, columns - _COUNT)
        sample, weight = samples + at, weights + _uint(4) * at
        total = bytes_loaded(sample) * floats_loaded(weight)
        for _ in range(3):
            sample, weight = sample + columns, weight + of_weights
            total = fused(bytes_loaded(sample), floats_loaded(weight), total)
        bytes_stored(_mixed(mix, total, floats_loaded(masks + _uint(4) * at), fills), result + at)


@table_kernel
def sampled_bilinear(call):
    """Weigh the four pixels around each point.

    Args:
        call: Fields of the call, uint64 [FIELDS]; there are as many columns in the results as a vector has numbers.

    Returns:
        Whether all points are finite; otherwise nothing is known of the result.
    """
    half_width, half_height = _f32(call[WIDTH]) / _f32(2), _f32(call[HEIGHT]) / _f32(2)
    channels, columns = call[CHANNELS], call[RESULT_WIDTH]
    of_plane, of_row = call[RESULT_HEIGHT] * columns, _uint(4) * columns
    starts, samples = np.empty(_uint(4) * columns, np.int32), np.empty(_uint(4) * columns, np.uint8)
    weights = np.empty(_uint(5) * columns, np.float32)
    starts_at, samples_at, weights_at = (
        _uint(starts.ctypes.data),
        _uint(samples.ctypes.data),
        _uint(weights.ctypes.data),
    )
    masks_at = weights_at + _uint(4) * of_row
    zero, one, minus_half = every(_f32(0)), every(_f32(1)), every(_f32(-0.5))
    differences = zero
    for row in range(call[RESULT_HEIGHT]):
        for block in range(_uint(0), columns, _COUNT):
            at = min(block, columns - _COUNT)
            x, y = points_loaded(call[GRID] + _uint(8) * (row * columns + at))
            # Of what is not finite these are no numbers.
            differences = differences + ((x - x) + (y - y))
            across = fused(x + one, every(half_width), minus_half)
            down = fused(y + one, every(half_height), minus_half)
            left, right, has_left, has_right, begin, end = _along(across, call[WIDTH], call[OF_COLUMN])
            above, below, has_above, has_below, top, bottom = _along(down, call[HEIGHT], call[OF_ROW])
            upper_left = where(has_above & has_left, above * left, zero)
            upper_right = where(has_above & has_right, above * right, zero)
            lower_left = where(has_below & has_left, below * left, zero)
            lower_right = where(has_below & has_right, below * right, zero)
            to, start = weights_at + _uint(4) * at, starts_at + _uint(4) * at
            numbers_stored(upper_left, to)
            numbers_stored(upper_right, to + of_row)
            numbers_stored(lower_left, to + _uint(2) * of_row)
            numbers_stored(lower_right, to + _uint(3) * of_row)
            numbers_stored(((upper_left + upper_right) + lower_left) + lower_right, to + _uint(4) * of_row)
            numbers_stored(top + begin, start)
            numbers_stored(top + end, start + of_row)
            numbers_stored(bottom + begin, start + _uint(2) * of_row)
            numbers_stored(bottom + end, start + _uint(3) * of_row)
        for n in range(call[BATCH]):
            for c in range(channels):
                image = bytes_at(call[IMAGES] + n * call[OF_IMAGE] + c * call[OF_CHANNEL])
                result = call[RESULTS] + (n * channels + c) * of_plane + row * columns
                for j in range(_uint(4) * columns):
                    samples[j] = image[_uint(starts[j])]
                if call[FILLS] == _uint(0):
                    _weigh(_NO_MIX, samples_at, weights_at, masks_at, result, columns, _f32(0))
                elif call[MIX] == MIX_V1:
                    _weigh(MIX_V1, samples_at, weights_at, masks_at, result, columns, floats_at(call[FILLS])[c])
                else:
                    _weigh(MIX_V2, samples_at, weights_at, masks_at, result, columns, floats_at(call[FILLS])[c])
    # Keeps the memory alive until here: addresses do not.
    starts[:1] = 0
    samples[:1] = 0
    weights[:1] = 0
    return total_of(where(differences == zero, every(_i32(0)), every(_i32(1)))) == 0

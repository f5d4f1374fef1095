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
from onelayer.backends.cpu.float32_sums import fused
from onelayer.backends.cpu.simd import bytes_at, floats_at

# Fields of a call, uint64.
(
    GRID,  # Address of float32 [H', W', 2], the points.
    IMAGES,  # Address of the first byte of the first image.
    OF_IMAGE,  # Bytes from one image to the next.
    OF_CHANNEL,  # Bytes from one channel to the next.
    OF_ROW,  # Bytes from one row to the next.
    OF_COLUMN,  # Bytes from one column to the next.
    COUNT,  # Number of images N.
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

MIX_V1, MIX_V2 = range(2)
"""``x · mask + (1 − mask) · fill``; ``(x − fill) · mask + fill``."""

MAX_LENGTH, MAX_MEMORY = 1 << 20, 1 << 31
"""Height and width up to which places are rounded as they should be, and bytes of an image from which on offsets would
not fit into 32 bits."""

_f32, _i32, _u8, _uint = np.float32, np.int32, np.uint8, np.uint64

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
    place = fused(point + _f32(1), half, _f32(-0.5))
    return place if -_FAR < place < _FAR else -_FAR


@inlined_table
def _store(value, address, at):
    bytes_at(address)[at] = _u8(_i32(_rounded(value)))


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
        for n in range(call[COUNT]):
            for c in range(channels):
                image = bytes_at(call[IMAGES] + n * call[OF_IMAGE] + c * call[OF_CHANNEL])
                result = bytes_at(call[RESULTS] + (n * channels + c) * of_plane + row * columns)
                fill = _u8(_i32(_rounded(floats_at(call[FILLS])[c]))) if call[FILLS] != 0 else _u8(0)
                for j in range(columns):
                    result[j] = image[_uint(starts[j])] if starts[j] >= 0 else fill


@table_kernel
def sampled_bilinear(call):
    """Weigh the four pixels around each point.

    Args:
        call: Fields of the call, uint64 [FIELDS].

    Returns:
        Whether all points are finite; otherwise nothing is known of the result.
    """
    height, width = _i32(call[HEIGHT]), _i32(call[WIDTH])
    half_width, half_height = _f32(call[WIDTH]) / _f32(2), _f32(call[HEIGHT]) / _f32(2)
    of_row, of_column, channels = _i32(call[OF_ROW]), _i32(call[OF_COLUMN]), call[CHANNELS]
    columns, points = call[RESULT_WIDTH], floats_at(call[GRID])
    of_plane, has_fill, is_v1 = call[RESULT_HEIGHT] * columns, call[FILLS] != 0, call[MIX] == MIX_V1
    starts, weights, masks = (
        np.empty(4 * columns, np.int32),
        np.empty(4 * columns, np.float32),
        np.empty(columns, np.float32),
    )
    two, three = _uint(2) * columns, _uint(3) * columns
    is_finite = True
    for row in range(call[RESULT_HEIGHT]):
        first = _uint(2) * row * columns
        for j in range(columns):
            x, y = points[first + _uint(2) * j], points[first + _uint(2) * j + _uint(1)]
            is_finite &= (x - x == _f32(0)) & (y - y == _f32(0))
            across, down = _place(x, half_width), _place(y, half_height)
            left, top = np.floor(across), np.floor(down)
            share_right, share_below = across - left, down - top
            share_left, share_above = _f32(1) - share_right, _f32(1) - share_below
            col, line = _i32(left), _i32(top)
            has_left, has_right = (col >= 0) & (col < width), (col >= -1) & (col < width - 1)
            has_above, has_below = (line >= 0) & (line < height), (line >= -1) & (line < height - 1)
            # What is outside has no weight, and is read from somewhere inside.
            begin, end = min(max(col, 0), width - 1) * of_column, min(max(col + 1, 0), width - 1) * of_column
            above, below = min(max(line, 0), height - 1) * of_row, min(max(line + 1, 0), height - 1) * of_row
            starts[j], starts[columns + j] = above + begin, above + end
            starts[two + j], starts[three + j] = below + begin, below + end
            weights[j] = share_above * share_left if has_above & has_left else _f32(0)
            weights[columns + j] = share_above * share_right if has_above & has_right else _f32(0)
            weights[two + j] = share_below * share_left if has_below & has_left else _f32(0)
            weights[three + j] = share_below * share_right if has_below & has_right else _f32(0)
            masks[j] = weights[j] + weights[columns + j] + weights[two + j] + weights[three + j]
        for n in range(call[COUNT]):
            for c in range(channels):
                image = bytes_at(call[IMAGES] + n * call[OF_IMAGE] + c * call[OF_CHANNEL])
                result = call[RESULTS] + (n * channels + c) * of_plane + row * columns
                fill = floats_at(call[FILLS])[c] if has_fill else _f32(0)
                for j in range(columns):
                    total = _f32(image[_uint(starts[j])]) * weights[j]
                    total = fused(_f32(image[_uint(starts[columns + j])]), weights[columns + j], total)
                    total = fused(_f32(image[_uint(starts[two + j])]), weights[two + j], total)
                    total = fused(_f32(image[_uint(starts[three + j])]), weights[three + j], total)
                    if has_fill and is_v1:
                        total = total * masks[j] + (_f32(1) - masks[j]) * fill
                    elif has_fill:
                        total = (total - fill) * masks[j] + fill
                    _store(total, result, j)
    return is_finite

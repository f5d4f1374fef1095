"""Compute maps whose axes do not separate: each output is a sum over a few samples wherever they lie.

The samples of neighbouring outputs lie close together, so they come from the nearest caches, but one by one: there is
nothing to do eight at a time.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import kernel
from onelayer.backends.cpu.counters import DONE, HAS_NAN, TAKEN, add, take
from onelayer.backends.cpu.float_kernel import finished
from onelayer.backends.cpu.simd import memory_at, value_at

_f32, _uint = np.float32, np.uint64


@kernel
def gathered(
    of, address, of_image, of_channel, of_row, of_column,
    begins, rows, cols, weights, width, channel,
    bias, low, high, rounding, into, out_address, images, pieces, piece_rows, at_once, shared,
):  # fmt: skip
    """Compute ``clamp(channel · matrix · x + bias)``, rounded, for the images and rows that the counter gives out.

    Args:
        of: Array of the dtype of the images: uint8, float32, or int16 for float16.
        address: Address of the first element of the first image.
        of_image: Elements from one image to the next.
        of_channel: Elements from one channel to the next.
        of_row: Elements from one row to the next.
        of_column: Elements from one column to the next.
        begins: uint64 [H'·W' + 1], where the samples of each output begin in the next three arrays.
        rows: uint32 [samples], row of each sample.
        cols: uint32 [samples], column of each sample.
        weights: float32 [samples].
        width: W'.
        channel: float32 [C', C].
        bias: float32 [C', 1] or [C', H'·W'].
        low: float32 [C'], may be infinite.
        high: float32 [C'], may be infinite.
        rounding: One of the four of :mod:`onelayer.backends.cpu.float_call`.
        into: Array of the dtype of the results, as ``of``.
        out_address: Address of memory for [N, C', H', W'], contiguous.
        images: N.
        pieces: Number of pieces, of whole rows, that an image is divided into.
        piece_rows: Rows of a piece.
        at_once: Number of pieces to take at a time.
        shared: Counters, uint64 [3], zeros at first: see :mod:`onelayer.backends.cpu.counters`. HAS_NAN stays zero
            where results are integers.
    """
    x, out = memory_at(address, of), memory_at(out_address, into)
    channels_out, channels = _uint(channel.shape[0]), _uint(channel.shape[1])
    outputs = _uint(len(begins)) - _uint(1)
    height = outputs // width
    flat_bias, biases = bias.reshape(-1), _uint(bias.shape[1])
    sums = np.empty(width, np.float32)
    has_nan = False
    all_pieces = images * pieces
    taken = take(shared, TAKEN, at_once)
    begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    while taken < all_pieces:
        n = taken // pieces
        begin = (taken - n * pieces) * piece_rows
        for i in range(begin, min(begin + piece_rows, height)):
            for d in range(channels_out):
                for j in range(width):
                    sums[j] = 0
                for c in range(channels):
                    share = channel[d, c]
                    if share != 0:
                        origin = n * of_image + c * of_channel
                        for j in range(width):
                            total = _f32(0)
                            for k in range(begins[i * width + j], begins[i * width + j + _uint(1)]):
                                at = origin + _uint(rows[k]) * of_row + _uint(cols[k]) * of_column
                                total += weights[k] * value_at(x, at)
                            sums[j] += share * total
                bias_at = d * biases + (_uint(i) * width if biases > _uint(1) else _uint(0))
                has_nan |= finished(
                    sums, _uint(0), width, _f32(1), flat_bias, bias_at, biases > _uint(1), low[d], high[d], rounding,
                    out, (n * channels_out + d) * outputs + i * width,
                )  # fmt: skip
        taken += _uint(1)
        if taken == end_taken:
            if has_nan:
                shared[HAS_NAN] = 1
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)

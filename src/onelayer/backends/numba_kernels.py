"""The fused separable stage, in Numba: rows, channels, columns, bias, clamp, rounding and cast in one pass.

Each input byte is read about once and each output byte written once; what lies between stays in the first-level cache.
Taps are arguments, so that one compiled kernel per pair of dtypes serves every pipeline. Kernels release the GIL and
are single-threaded inside: Numba's own threads abort a process that enters them from two threads, or after a fork.

A block of four output rows goes through two or three steps:

1. *sum of rows*: each line is a weighted sum of input rows, of several channels where these are mixed. Its loop runs
   along contiguous memory, whether that holds one channel (CHW) or all of them interleaved (HWC), and becomes vector
   instructions.
2. *taking apart*: interleaved channels are mixed, or picked, into lines of their own.
3. *horizontal*: reads start at places that differ from output to output, so each weight is loaded once for four rows.

No array is sliced in here: a slice counts references, which took longer than the arithmetic on images of 32×32.
"""

from __future__ import annotations

import numba
import numpy as np

_BLOCK = 4
"""Output rows that share each load of a horizontal weight."""

# Sums may be reordered and contracted, but NaN and infinities keep their meaning.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

_f32, _uint = np.float32, np.uint64

NO_ROUNDING, HALF_EVEN, HALF_UP, TRUNCATE = range(4)
"""What happens to a value before it is stored as an integer."""

_function = numba.njit(fastmath=_FAST, nogil=True, cache=True)


@_function
def _sum_of_rows(x, origins, weights, terms, length, lines, r):
    """``lines[r, i] = Σ_k weights[k] · x[origins[k] + i]``, four terms at a time, so that the line is written less."""
    k = 0
    while k + 4 <= terms:
        origin0, origin1, origin2, origin3 = origins[k], origins[k + 1], origins[k + 2], origins[k + 3]
        weight0, weight1, weight2, weight3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        if k == 0:
            for i in range(length):
                lines[r, i] = (
                    weight0 * _f32(x[origin0 + i])
                    + weight1 * _f32(x[origin1 + i])
                    + weight2 * _f32(x[origin2 + i])
                    + weight3 * _f32(x[origin3 + i])
                )
        else:
            for i in range(length):
                lines[r, i] += (
                    weight0 * _f32(x[origin0 + i])
                    + weight1 * _f32(x[origin1 + i])
                    + weight2 * _f32(x[origin2 + i])
                    + weight3 * _f32(x[origin3 + i])
                )
        k += 4
    if k + 2 <= terms:
        origin0, origin1, weight0, weight1 = origins[k], origins[k + 1], weights[k], weights[k + 1]
        if k == 0:
            for i in range(length):
                lines[r, i] = weight0 * _f32(x[origin0 + i]) + weight1 * _f32(x[origin1 + i])
        else:
            for i in range(length):
                lines[r, i] += weight0 * _f32(x[origin0 + i]) + weight1 * _f32(x[origin1 + i])
        k += 2
    if k < terms:
        origin0, weight0 = origins[k], weights[k]
        if k == 0:
            for i in range(length):
                lines[r, i] = weight0 * _f32(x[origin0 + i])
        else:
            for i in range(length):
                lines[r, i] += weight0 * _f32(x[origin0 + i])


@_function
def _taken_apart(lines, r, length, channel, d, into):
    """``into[r, i] = Σ_c channel[d, c] · lines[r, i·C + c]``."""
    channels = _uint(channel.shape[1])
    fresh = True
    for c in range(channels):
        weight = channel[d, c]
        if weight != 0:
            if fresh:
                for i in range(length):
                    into[r, i] = weight * lines[r, i * channels + c]
            else:
                for i in range(length):
                    into[r, i] += weight * lines[r, i * channels + c]
            fresh = False
    if fresh:
        for i in range(length):
            into[r, i] = _f32(0)


@_function
def _horizontal(lines, starts, weights, sums):
    """``sums[r, j] = Σ_k weights[j, k] · lines[r, starts[j] + k]`` for four rows r."""
    taps = weights.shape[1]
    one, two, three = _uint(1), _uint(2), _uint(3)
    if taps == 1:
        for j in range(_uint(len(starts))):
            p, weight0 = starts[j], weights[j, 0]
            for r in range(_BLOCK):
                sums[r, j] = weight0 * lines[r, p]
    elif taps == 2:
        for j in range(_uint(len(starts))):
            p, weight0, weight1 = starts[j], weights[j, 0], weights[j, 1]
            for r in range(_BLOCK):
                sums[r, j] = weight0 * lines[r, p] + weight1 * lines[r, p + one]
    elif taps == 3:
        for j in range(_uint(len(starts))):
            p, weight0, weight1, weight2 = starts[j], weights[j, 0], weights[j, 1], weights[j, 2]
            for r in range(_BLOCK):
                sums[r, j] = weight0 * lines[r, p] + weight1 * lines[r, p + one] + weight2 * lines[r, p + two]
    else:
        for j in range(_uint(len(starts))):
            p, weight0, weight1, weight2, weight3 = (
                starts[j],
                weights[j, 0],
                weights[j, 1],
                weights[j, 2],
                weights[j, 3],
            )
            sum0 = weight0 * lines[0, p] + weight1 * lines[0, p + one]
            sum0 += weight2 * lines[0, p + two] + weight3 * lines[0, p + three]
            sum1 = weight0 * lines[1, p] + weight1 * lines[1, p + one]
            sum1 += weight2 * lines[1, p + two] + weight3 * lines[1, p + three]
            sum2 = weight0 * lines[2, p] + weight1 * lines[2, p + one]
            sum2 += weight2 * lines[2, p + two] + weight3 * lines[2, p + three]
            sum3 = weight0 * lines[3, p] + weight1 * lines[3, p + one]
            sum3 += weight2 * lines[3, p + two] + weight3 * lines[3, p + three]
            for k in range(_uint(4), _uint(taps)):
                weight, q = weights[j, k], p + k
                sum0 += weight * lines[0, q]
                sum1 += weight * lines[1, q]
                sum2 += weight * lines[2, q]
                sum3 += weight * lines[3, q]
            sums[0, j] = sum0
            sums[1, j] = sum1
            sums[2, j] = sum2
            sums[3, j] = sum3


@_function
def _store(sums, r, bias, low, high, rounding, out, n, d, i):
    """Row ``i`` of the output: bias, clamp, rounding, cast."""
    width = _uint(sums.shape[1])
    if bias.shape[2] > 1:
        for j in range(width):
            sums[r, j] += bias[d, i, j]
    else:
        shift = bias[d, i if bias.shape[1] > 1 else _uint(0), 0]
        for j in range(width):
            sums[r, j] += shift
    if low > -np.inf or high < np.inf:
        for j in range(width):
            # Comparisons that NaN fails leave it as it is.
            value = sums[r, j]
            value = low if value < low else value
            sums[r, j] = high if value > high else value
    if rounding == HALF_EVEN:
        for j in range(width):
            out[n, d, i, j] = np.rint(sums[r, j])
    elif rounding == HALF_UP:
        for j in range(width):
            out[n, d, i, j] = np.floor(sums[r, j] + _f32(0.5))
    elif rounding == TRUNCATE:
        for j in range(width):
            out[n, d, i, j] = np.trunc(sums[r, j])
    else:
        for j in range(width):
            out[n, d, i, j] = sums[r, j]


@_function
def separable(
    x, strides, first_column, columns, row_starts, row_weights, col_starts, col_weights, channel, bias,
    low, high, rounding, images, rows, out,
):  # fmt: skip
    """``clamp(channel · (rows ⊗ cols) x + bias)``, rounded, for some images and some of their output rows.

    Whole numbers are unsigned: of signed ones Numba asks at every access whether they count from the end.

    Args:
        x: All memory that the images lie in, 1-D, contiguous, uint8 or float32.
        strides: uint64 [4]: image, channel, row, column, in elements. Either columns are 1 apart, or channels are and
            columns as many elements apart as there are channels.
        first_column: First column that is read.
        columns: How many are read from there on.
        row_starts: uint64 [H'].
        row_weights: float32 [H', taps].
        col_starts: uint64 [W'], counted from ``first_column``.
        col_weights: float32 [W', taps].
        channel: float32 [C', C].
        bias: float32 [C', 1, 1] or [C', H', W'].
        low: float32, may be infinite.
        high: Likewise.
        rounding: One of the four constants above.
        images: uint64 [2]: first, behind the last.
        rows: uint64 [2]: first, behind the last.
        out: [N, C', H', W'], C-contiguous, float32 or uint8.
    """
    of_image, of_channel, of_row, of_column = strides[0], strides[1], strides[2], strides[3]
    channels_out, channels = _uint(channel.shape[0]), _uint(channel.shape[1])
    taps = _uint(row_weights.shape[1])
    interleaved = of_column != 1
    length = columns * of_column
    lines = np.empty((_BLOCK, length), np.float32)
    apart = np.empty((_BLOCK, columns if interleaved else _uint(1)), np.float32)
    sums = np.empty((_BLOCK, len(col_starts)), np.float32)
    origins = np.empty(taps * channels, np.uint64)
    weights = np.empty(taps * channels, np.float32)
    for n in range(images[0], images[1]):
        origin = n * of_image + first_column * of_column
        i = rows[0]
        while i < rows[1]:
            count = min(_uint(_BLOCK), rows[1] - i)
            if interleaved:
                for r in range(count):
                    for k in range(taps):
                        origins[k] = origin + (row_starts[i + r] + k) * of_row
                        weights[k] = row_weights[i + r, k]
                    _sum_of_rows(x, origins, weights, taps, length, lines, r)
            for d in range(channels_out):
                if interleaved:
                    for r in range(count):
                        _taken_apart(lines, r, columns, channel, d, apart)
                    _horizontal(apart, col_starts, col_weights, sums)
                    for r in range(count):
                        _store(sums, r, bias, low, high, rounding, out, n, d, i + r)
                    continue
                for r in range(count):
                    terms = _uint(0)
                    for c in range(channels):
                        if channel[d, c] != 0:
                            for k in range(taps):
                                origins[terms] = origin + c * of_channel + (row_starts[i + r] + k) * of_row
                                weights[terms] = channel[d, c] * row_weights[i + r, k]
                                terms += _uint(1)
                    if terms == 0:
                        for j in range(length):
                            lines[r, j] = _f32(0)
                    _sum_of_rows(x, origins, weights, terms, length, lines, r)
                _horizontal(lines, col_starts, col_weights, sums)
                for r in range(count):
                    _store(sums, r, bias, low, high, rounding, out, n, d, i + r)
            i += _uint(_BLOCK)

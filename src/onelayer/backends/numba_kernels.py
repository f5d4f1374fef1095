"""The fused separable stage, in Numba: rows, channels, columns, bias, clamp, rounding and cast in one pass.

Each input byte is read about once and each output byte written once; what lies between stays in the nearest caches.
Taps are arguments, so that one compiled kernel per pair of dtypes serves every pipeline. Kernels release the GIL and
are single-threaded inside: Numba's own threads abort a process that enters them from two threads, or after a fork.

Blocks of eight output rows go through two or three steps:

1. *mixing*: where an output channel is made of several, they are summed over the rows that the block reads. That reads
   memory in long runs, which arrive while the rest is computed.
2. *sum of rows*: each line is a weighted sum of rows. It runs along contiguous memory, whether that holds one channel
   (CHW) or all of them interleaved (HWC).
3. *columns*: eight neighbouring outputs read nearly the same samples, so their taps are one small dense matrix,
   ``col_weights[block]``. Each sample, times eight weights, is added to eight sums; eight rows share each load of
   weights. A flip costs nothing, and zero weights in the matrix cost less than reads at eight places would.

The two loops that all the time goes into hold their sums in vector registers, which LLVM's vectoriser does not do by
itself: they are written in LLVM's own terms, for eight float32 at a time. LLVM splits these on processors with narrower
registers. No array is sliced: a slice counts references, which took longer than the arithmetic on images of 32×32.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Neighbouring outputs of one row that are computed together."""

ROWS = 8
"""Rows of the output that are computed together."""

_LINE = 64
"""Bytes of a cache line."""

_FETCHED = 8192
"""Up to so many elements of an image are fetched while the one before it is computed."""

# Sums may be reordered and contracted, but NaN and infinities keep their meaning.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

_f32, _uint = np.float32, np.uint64

NO_ROUNDING, HALF_EVEN, HALF_UP, TRUNCATE = range(4)
"""What happens to a value before it is stored as an integer."""

_function = numba.njit(fastmath=_FAST, nogil=True, cache=True)

_FLOATS = ir.VectorType(ir.FloatType(), LANES)


def _data(context, builder, kind, array):
    return context.make_array(kind)(context, builder, array).data


def _loaded(builder, data, at, element):
    """Eight neighbours from ``data[at]`` on, as float32."""
    vector = ir.VectorType(element, LANES)
    place = builder.bitcast(builder.gep(data, [at]), vector.as_pointer())
    values = builder.load(place, align=element.width // 8 if isinstance(element, ir.IntType) else 4)
    return builder.uitofp(values, _FLOATS) if isinstance(element, ir.IntType) else values


def _splat(builder, value):
    vector = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _accumulate(builder, total, factor, values):
    """``total += factor · values``, in one instruction where the processor has it."""
    product = builder.fmul(factor, values, flags=("contract",))
    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)


def _zeros(builder, count):
    totals = [cgutils.alloca_once(builder, _FLOATS) for _ in range(count)]
    for total in totals:
        builder.store(ir.Constant(_FLOATS, [0.0] * LANES), total)
    return totals


def _stored(builder, total, data, at):
    builder.store(builder.load(total), builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer()), align=4)


def _sum_of_rows_by(vectors):
    """``lines[at + i] = Σ_k weights[k] · x[origins[k] + begin + i]`` for 0 ≤ i < 8·``vectors``."""

    @intrinsic
    def sum_of_rows(_typing, x, origins, weights, terms, begin, lines, at):
        signature = types.void(x, origins, weights, terms, begin, lines, at)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, origins, weights, lines = (_data(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 5))
            terms, begin, at = arguments[3], arguments[4], arguments[6]
            totals = _zeros(builder, vectors)
            with cgutils.for_range(builder, terms) as loop:
                origin = builder.add(builder.load(builder.gep(origins, [loop.index])), begin)
                weight = _splat(builder, builder.load(builder.gep(weights, [loop.index])))
                for i, total in enumerate(totals):
                    place = builder.add(origin, ir.Constant(origin.type, i * LANES))
                    values = _loaded(builder, x, place, context.get_value_type(kinds[0].dtype))
                    _accumulate(builder, total, weight, values)
            for i, total in enumerate(totals):
                _stored(builder, total, lines, builder.add(at, ir.Constant(at.type, i * LANES)))

        return signature, generate

    return sum_of_rows


@intrinsic
def _columns(_typing, lines, at, between_lines, step, weights, weights_at, taps, sums, to, between_sums):
    """``sums[to + r·between_sums + j] = Σ_k weights[weights_at + 8k + j] · lines[at + r·between_lines + k·step]``.

    For eight rows r, in their order, and eight outputs j.
    """
    signature = types.void(lines, at, between_lines, step, weights, weights_at, taps, sums, to, between_sums)

    def generate(context, builder, signature, arguments):
        lines, weights, sums = (_data(context, builder, signature.args[i], arguments[i]) for i in (0, 4, 7))
        _, at, between_lines, step, _, weights_at, taps, _, to, between_sums = arguments
        totals = _zeros(builder, ROWS)
        with cgutils.for_range(builder, taps) as loop:
            eight = builder.mul(loop.index, ir.Constant(loop.index.type, LANES))
            factors = _loaded(builder, weights, builder.add(weights_at, eight), ir.FloatType())
            place = builder.add(at, builder.mul(loop.index, step))
            for total in totals:
                _accumulate(builder, total, _splat(builder, builder.load(builder.gep(lines, [place]))), factors)
                place = builder.add(place, between_lines)
        for total in totals:
            _stored(builder, total, sums, to)
            to = builder.add(to, between_sums)

    return signature, generate


@intrinsic
def _fetch_line(_typing, x, at):
    """Have the cache line of ``x[at]`` brought nearer, without waiting for it."""
    signature = types.void(x, at)

    def generate(context, builder, signature, arguments):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.gep(_data(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
        )
        # To read, into the first-level cache, data.
        flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]
        builder.call(prefetch, [builder.bitcast(place, byte), *flags])

    return signature, generate


_WIDE = 4 * LANES
_sum_of_wide_rows = _sum_of_rows_by(4)
_sum_of_narrow_rows = _sum_of_rows_by(1)


@_function
def _sum_of_rows(x, origins, weights, terms, length, lines, at):
    """``lines[at + i] = Σ_k weights[k] · x[origins[k] + i]`` for 0 ≤ i < ``length``."""
    i = _uint(0)
    while i + _uint(_WIDE) <= length:
        _sum_of_wide_rows(x, origins, weights, terms, i, lines, at + i)
        i += _uint(_WIDE)
    while i + _uint(LANES) <= length:
        _sum_of_narrow_rows(x, origins, weights, terms, i, lines, at + i)
        i += _uint(LANES)
    if i == length:
        return
    if length >= _uint(LANES):
        # The last eight, some of them once more: nothing beyond the image is read.
        i = length - _uint(LANES)
        _sum_of_narrow_rows(x, origins, weights, terms, i, lines, at + i)
        return
    for i in range(length):
        total = _f32(0)
        for k in range(terms):
            total += weights[k] * _f32(x[origins[k] + i])
        lines[at + i] = total


@_function
def _all_columns(lines, at, between_lines, step, starts, weights, taps, sums, width):
    """All blocks of eight outputs of eight rows: ``sums[r·width + j]``."""
    for block in range(_uint(len(starts))):
        to = block * _uint(LANES)
        if to + _uint(LANES) > width:
            to = width - _uint(LANES) if width > _uint(LANES) else _uint(0)
        weights_at = block * taps * _uint(LANES)
        _columns(lines, at + starts[block] * step, between_lines, step, weights, weights_at, taps, sums, to, width)


@_function
def _fetch(x, begin, count):
    """Have so many elements brought into the cache, from ``x[begin]`` on."""
    of_line = _uint(_LINE // x.itemsize)
    for at in range(begin, begin + count, of_line):
        _fetch_line(x, at)


@_function
def _mixed_rows(x, origin, of_channel, of_row, begin, end, columns, channel, d, origins, weights, window):
    """``window[i - begin] = Σ_c channel[d, c] · x[c, i]`` for the rows ``begin`` ≤ i < ``end``, channels apart."""
    terms = _uint(0)
    for c in range(_uint(channel.shape[1])):
        if channel[d, c] != 0:
            origins[terms] = origin + c * of_channel + begin * of_row
            weights[terms] = channel[d, c]
            terms += _uint(1)
    if of_row == columns:
        # Without gaps: one long run.
        _sum_of_rows(x, origins, weights, terms, (end - begin) * columns, window, _uint(0))
        return
    for row in range(end - begin):
        _sum_of_rows(x, origins, weights, terms, columns, window, row * columns)
        for term in range(terms):
            origins[term] += of_row


@_function
def _taken_apart(x, at, length, channel, d, window, to):
    """``window[to + i] = Σ_c channel[d, c] · x[at + i·C + c]`` for 0 ≤ i < ``length``."""
    channels = _uint(channel.shape[1])
    if channels == 3:
        weight0, weight1, weight2 = channel[d, 0], channel[d, 1], channel[d, 2]
        for i in range(length):
            p = at + i * _uint(3)
            window[to + i] = weight0 * _f32(x[p]) + weight1 * _f32(x[p + _uint(1)]) + weight2 * _f32(x[p + _uint(2)])
        return
    for i in range(length):
        total = _f32(0)
        for c in range(channels):
            total += channel[d, c] * _f32(x[at + i * channels + c])
        window[to + i] = total


@_function
def _finished(sums, count, scale, bias, d, bias_at, low, high, rounding, out, to):
    """``count`` outputs in a row: scale, bias, clamp, rounding, cast. Gives whether one of them is NaN."""
    if bias.shape[1] > 1:
        for i in range(count):
            sums[i] = sums[i] * scale + bias[d, bias_at + i]
    elif scale != 1 or bias[d, 0] != 0:
        shift = bias[d, 0]
        for i in range(count):
            sums[i] = sums[i] * scale + shift
    if low > -np.inf or high < np.inf:
        for i in range(count):
            # Comparisons that NaN fails leave it as it is.
            value = sums[i]
            value = low if value < low else value
            sums[i] = high if value > high else value
    if rounding == HALF_EVEN:
        for i in range(count):
            out[to + i] = np.rint(sums[i])
    elif rounding == HALF_UP:
        for i in range(count):
            out[to + i] = np.floor(sums[i] + _f32(0.5))
    elif rounding == TRUNCATE:
        for i in range(count):
            out[to + i] = np.trunc(sums[i])
    else:
        different = 0
        for i in range(count):
            value = sums[i]
            different |= value != value
            out[to + i] = value
        return different != 0
    return False


@_function
def separable(
    x, strides, first_column, columns, window_rows, row_starts, row_weights, col_starts, col_weights, width, channel,
    bias, low, high, rounding, images, rows, out,
):  # fmt: skip
    """``clamp(channel · (rows ⊗ cols) x + bias)``, rounded, for some images and some of their output rows.

    Whole numbers are unsigned: of signed ones Numba asks at every access whether they count from the end.

    Args:
        x: All memory that the images lie in, 1-D, contiguous, uint8 or float32.
        strides: uint64 [4]: image, channel, row, column, in elements. Either columns are 1 apart, or channels are and
            columns as many elements apart as there are channels.
        first_column: First column that is read.
        columns: How many are read from there on.
        window_rows: How many rows of the image eight neighbouring rows of the output read at most.
        row_starts: uint64 [H'].
        row_weights: float32 [H', taps].
        col_starts: uint64 [blocks], counted from ``first_column``: the first column that a block of outputs reads.
            Blocks begin at every eighth output; the last one at the eighth from the end, or at 0.
        col_weights: float32 [blocks, columns read by each, 8].
        width: W'.
        channel: float32 [C', C].
        bias: float32 [C', 1] or [C', H'·W'].
        low: float32, may be infinite.
        high: Likewise.
        rounding: One of the four constants above.
        images: uint64 [2]: first, behind the last.
        rows: uint64 [2]: first, behind the last.
        out: Memory of [N, C', H', W'], 1-D, contiguous, float32 or uint8.

    Returns:
        Whether one of the results is NaN; False where they are integers.
    """
    of_image, of_channel, of_row, of_column = strides[0], strides[1], strides[2], strides[3]
    channels_out, channels = _uint(channel.shape[0]), _uint(channel.shape[1])
    height, taps = _uint(len(row_starts)), _uint(row_weights.shape[1])
    block_taps = _uint(col_weights.shape[1])
    flat_weights = col_weights.reshape(-1)
    interleaved = of_column != 1
    length = columns * of_column
    mixed, only = np.zeros(channels_out, np.uint64), np.zeros(channels_out, np.uint64)
    for d in range(channels_out):
        for c in range(channels):
            if channel[d, c] != 0:
                mixed[d] += _uint(1)
                only[d] = c
    # Rows that a last block lacks are computed with what lies there, which must be numbers, and not kept.
    lines = np.zeros(_uint(ROWS) * length, np.float32)
    apart = np.zeros(_uint(ROWS) * columns, np.float32)
    window = np.empty(window_rows * columns, np.float32)
    # Fewer than eight outputs are computed as eight, row after row, each over what the one before wrote too much.
    sums = np.empty(_uint(ROWS) * width + _uint(LANES), np.float32)
    origins = np.empty(max(taps, channels), np.uint64)
    weights = np.empty(max(taps, channels), np.float32)
    has_nan = False
    for n in range(images[0], images[1]):
        origin = n * of_image + first_column * of_column
        i = rows[0]
        while i < rows[1]:
            count = min(_uint(ROWS), rows[1] - i)
            if of_image <= _uint(_FETCHED) and n + _uint(1) < images[1]:
                part = (of_image * count + (rows[1] - rows[0]) - _uint(1)) // (rows[1] - rows[0])
                _fetch(x, (n + _uint(1)) * of_image + (i - rows[0]) * of_image // (rows[1] - rows[0]), part)
            if interleaved and mixed.min() <= 1:
                for r in range(count):
                    for k in range(taps):
                        origins[k] = origin + (row_starts[i + r] + k) * of_row
                        weights[k] = row_weights[i + r, k]
                    _sum_of_rows(x, origins, weights, taps, length, lines, r * length)
            for d in range(channels_out):
                scale = _f32(1)
                if mixed[d] > 1:
                    begin, end = row_starts[i], row_starts[i]
                    for r in range(_uint(1), count):
                        begin, end = min(begin, row_starts[i + r]), max(end, row_starts[i + r])
                    end += taps
                    if interleaved:
                        for row in range(begin, end):
                            _taken_apart(x, origin + row * of_row, columns, channel, d, window, (row - begin) * columns)
                    else:
                        _mixed_rows(
                            x, origin, of_channel, of_row, begin, end, columns, channel, d, origins, weights, window
                        )
                    for r in range(count):
                        for k in range(taps):
                            origins[k] = (row_starts[i + r] - begin + k) * columns
                            weights[k] = row_weights[i + r, k]
                        _sum_of_rows(window, origins, weights, taps, columns, apart, r * columns)
                    _all_columns(apart, _uint(0), columns, _uint(1), col_starts, flat_weights, block_taps, sums, width)
                elif interleaved:
                    scale = channel[d, only[d]]
                    _all_columns(lines, only[d], length, channels, col_starts, flat_weights, block_taps, sums, width)
                else:
                    for r in range(count):
                        for k in range(taps):
                            origins[k] = origin + only[d] * of_channel + (row_starts[i + r] + k) * of_row
                            weights[k] = channel[d, only[d]] * row_weights[i + r, k]
                        _sum_of_rows(x, origins, weights, taps, columns, apart, r * columns)
                    _all_columns(apart, _uint(0), columns, _uint(1), col_starts, flat_weights, block_taps, sums, width)
                in_channel = i * width
                has_nan |= _finished(
                    sums, count * width, scale, bias, d, in_channel, low, high, rounding, out,
                    (n * channels_out + d) * height * width + in_channel,
                )  # fmt: skip
            i += _uint(ROWS)
    return has_nan

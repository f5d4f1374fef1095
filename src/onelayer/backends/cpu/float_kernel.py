"""Compute separable stages in float32: rows, channels, columns, bias, clamp, rounding and cast in one pass.

Each input byte is read about once and each output byte written once; what lies between stays in the nearest caches.
Taps are arguments, so that one compiled kernel per pair of dtypes serves every pipeline. Kernels release the GIL and
are single-threaded inside: Numba's own threads abort a process that enters them from two threads, or after a fork.
Several threads that run the same kernel on the same images share a counter, from which each takes what to do next.

Blocks of eight output rows go through two or three steps:

1. *mixing*: where an output channel is made of several, they are summed over the rows that the block reads, or over the
   whole of a small image. That reads memory in long runs, which arrive while the rest is computed.
2. *sum of rows*: each line is a weighted sum of rows. It runs along contiguous memory, whether that holds one channel
   (CHW) or all of them interleaved (HWC).
3. *columns*: eight neighbouring outputs read nearly the same samples, so their taps are one small dense matrix,
   ``col_weights[block]``. Each sample, times eight weights, is added to eight sums; eight rows share each load of
   weights. A flip costs nothing, and zero weights in the matrix cost less than reads at eight places would.

The two loops that all the time goes into are in :mod:`onelayer.backends.cpu.simd`. No array is sliced: a slice counts
references, which took longer than the arithmetic on images of 32×32.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import inlined, kernel
from onelayer.backends.cpu.counters import DONE, HAS_NAN, TAKEN, add, take
from onelayer.backends.cpu.simd import ROWS, columns, fetch_line, memory_at, store, sum_of_rows_by, value_at
from onelayer.backends.cpu.tables import LANES

NO_ROUNDING, HALF_EVEN, HALF_UP, TRUNCATE = range(4)
"""Rounding of a value before it is stored as an integer."""

_f32, _uint = np.float32, np.uint64

_LINE = 64
"""Bytes of a cache line."""

_SMALL = 8192
"""Number of elements up to which images are mixed as a whole, and fetched while the one before is computed."""

_WIDE = 4 * LANES
_sum_of_wide_rows = sum_of_rows_by(4)
_sum_of_narrow_rows = sum_of_rows_by(1)


@inlined
def _sum_of_rows(x, origins, weights, terms, length, lines, at):
    """Set ``lines[at + i] = Σ_k weights[k] · x[origins[k] + i]`` for 0 ≤ i < ``length``."""
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
            total += weights[k] * value_at(x, origins[k] + i)
        lines[at + i] = total


@inlined
def _all_columns(lines, at, between_lines, places, starts, weights, taps, sums, width, x, fetched, fetches):
    """Sum the columns of all blocks of eight outputs, for eight rows: ``sums[r·width + j]``.

    After each block, ``fetches`` cache lines of ``x`` are fetched, from ``x[fetched]`` on. Return where to go on.
    """
    of_line = _uint(_LINE // x.itemsize)
    for block in range(_uint(len(starts))):
        to = block * _uint(LANES)
        if to + _uint(LANES) > width:
            to = width - _uint(LANES) if width > _uint(LANES) else _uint(0)
        weights_at = block * taps * _uint(LANES)
        columns(
            lines, at + starts[block] * places[1], between_lines, places, weights, weights_at, taps, sums, to, width
        )
        for _ in range(fetches):
            fetch_line(x, fetched)
            fetched += of_line
    return fetched


@inlined
def _mixed_rows(x, origin, of_channel, of_row, begin, end, length, channel, d, origins, weights, window, to):
    """Set ``window[to + (i - begin)·length …] = Σ_c channel[d, c] · x[c, i]`` for ``begin`` ≤ i < ``end``, in CHW."""
    terms = _uint(0)
    for c in range(_uint(channel.shape[1])):
        if channel[d, c] != 0:
            origins[terms] = origin + c * of_channel + begin * of_row
            weights[terms] = channel[d, c]
            terms += _uint(1)
    if of_row == length:
        # Without gaps: one long run.
        _sum_of_rows(x, origins, weights, terms, (end - begin) * length, window, to)
        return
    for row in range(end - begin):
        _sum_of_rows(x, origins, weights, terms, length, window, to + row * length)
        for term in range(terms):
            origins[term] += of_row


@inlined
def _mixed_pixels(x, at, step, length, channel, d, window, to):
    """Set ``window[to + i] = Σ_c channel[d, c] · x[at + i·step + c]`` for 0 ≤ i < ``length``."""
    channels = _uint(channel.shape[1])
    # LLVM makes good code only of steps that it knows.
    if channels == 3 and step == 3:
        _mixed_pixels_of(x, at, _uint(3), length, channel[d, 0], channel[d, 1], channel[d, 2], window, to)
    elif channels == 3 and step == 4:
        _mixed_pixels_of(x, at, _uint(4), length, channel[d, 0], channel[d, 1], channel[d, 2], window, to)
    else:
        for i in range(length):
            total = _f32(0)
            for c in range(channels):
                total += channel[d, c] * value_at(x, at + i * step + c)
            window[to + i] = total


@inlined
def _mixed_pixels_of(x, at, step, length, weight0, weight1, weight2, window, to):
    for i in range(length):
        p = at + i * step
        first, second, third = value_at(x, p), value_at(x, p + _uint(1)), value_at(x, p + _uint(2))
        window[to + i] = weight0 * first + weight1 * second + weight2 * third


@inlined
def _mixed(x, origin, of_channel, of_row, of_column, begin, end, length, channel, d, origins, weights, window, to):
    """Set ``window[to + (i - begin)·length …] = Σ_c channel[d, c] · x[c, i]`` for rows ``begin`` ≤ i < ``end``."""
    if of_column != 1:
        for row in range(begin, end):
            _mixed_pixels(x, origin + row * of_row, of_column, length, channel, d, window, to + (row - begin) * length)
    else:
        _mixed_rows(x, origin, of_channel, of_row, begin, end, length, channel, d, origins, weights, window, to)


@inlined
def _clamped(value, low, high):
    # Comparisons that NaN fails leave it as it is.
    value = low if value < low else value
    return high if value > high else value


@inlined
def finished(sums, count, scale, bias, d, bias_at, low, high, rounding, out, to):
    """Write ``count`` outputs in a row: scale, bias, clamp, rounding, cast. Return whether one may be NaN."""
    shift = bias[d, 0]
    if bias.shape[1] > 1:
        for i in range(count):
            sums[i] = sums[i] * scale + bias[d, bias_at + i]
        scale, shift = _f32(1), _f32(0)
    if rounding == HALF_EVEN:
        for i in range(count):
            store(out, to + i, np.rint(_clamped(sums[i] * scale + shift, low, high)))
    elif rounding == HALF_UP:
        for i in range(count):
            store(out, to + i, np.floor(_clamped(sums[i] * scale + shift, low, high) + _f32(0.5)))
    elif rounding == TRUNCATE:
        for i in range(count):
            store(out, to + i, np.trunc(_clamped(sums[i] * scale + shift, low, high)))
    else:
        total = _f32(0)
        for i in range(count):
            value = _clamped(sums[i] * scale + shift, low, high)
            # NaN if one of them is: an addition takes one instruction for eight, a comparison takes many.
            total += value
            store(out, to + i, value)
        return total != total
    return False


@kernel
def separable(
    of, address, of_image, of_channel, of_row, of_column,
    first_column, length, window_rows, row_starts, row_weights, col_starts, col_weights, width, channel,
    bias, low, high, rounding, into, out_address, images, pieces, piece_rows, at_once, shared,
):  # fmt: skip
    """Compute ``clamp(channel · (rows ⊗ cols) x + bias)``, rounded, for the images and rows that the counter gives out.

    Integers are unsigned: at every access with a signed index Numba asks whether it counts from the end.

    Args:
        of: Array of the dtype of the images: uint8, float32, or int16 for float16.
        address: Address of the first element of the first image.
        of_image: Elements from one image to the next.
        of_channel: Elements from one channel to the next.
        of_row: Elements from one row to the next.
        of_column: Elements from one column to the next: 1; or at least as many as there are channels, which then are
            1 planes.
        first_column: First column that is read.
        length: Columns from there on that are read.
        window_rows: Maximum number of rows of the image that eight neighbouring rows of the output read.
        row_starts: uint64 [H'].
        row_weights: float32 [H', taps].
        col_starts: uint64 [blocks], counted from ``first_column``: the first column that a block of outputs reads.
            Blocks begin at every eighth output; the last one at the eighth from the end, or at 0.
        col_weights: float32 [blocks, columns read by each, 8].
        width: W'.
        channel: float32 [C', C].
        bias: float32 [C', 1] or [C', H'·W'].
        low: float32 [C'], may be infinite.
        high: float32 [C'], may be infinite.
        rounding: One of the four of this module.
        into: Array of the dtype of the results, as ``of``.
        out_address: Address of memory for [N, C', H', W'], contiguous.
        images: N.
        pieces: Number of pieces, of whole rows, that an image is divided into.
        piece_rows: Rows of a piece, a multiple of 8 if there is more than one.
        at_once: Number of pieces to take at a time.
        shared: Counters, uint64 [3], zeros at first: see :mod:`onelayer.backends.cpu.counters`. HAS_NAN stays zero
            where results are integers.
    """
    x, out = memory_at(address, of), memory_at(out_address, into)
    channels_out, channels = _uint(channel.shape[0]), _uint(channel.shape[1])
    height, taps = _uint(len(row_starts)), _uint(row_weights.shape[1])
    block_taps = _uint(col_weights.shape[1])
    flat_weights = col_weights.reshape(-1)
    interleaved = of_column != 1
    line = length * of_column
    mixed, only = np.zeros(channels_out, np.uint64), np.zeros(channels_out, np.uint64)
    for d in range(channels_out):
        for c in range(channels):
            if channel[d, c] != 0:
                mixed[d] += _uint(1)
                only[d] = c
    some_only = mixed.min() <= 1
    first_row = row_starts.min()
    all_rows = row_starts.max() + taps - first_row
    whole = pieces == 1 and channels_out * all_rows * length <= _uint(_SMALL)
    window_size = (all_rows if whole else window_rows) * length
    fetches = _uint(0)
    if of_image <= _uint(_SMALL):
        blocks = channels_out * ((height + _uint(ROWS - 1)) // _uint(ROWS)) * _uint(len(col_starts))
        lines_of_image = (of_image * _uint(x.itemsize) + _uint(_LINE - 1)) // _uint(_LINE)
        fetches = (lines_of_image + blocks - _uint(1)) // blocks
    # One more, so that the second is the distance between neighbours.
    places, plane_places = np.empty(block_taps + _uint(1), np.uint64), np.empty(block_taps + _uint(1), np.uint64)
    for k in range(block_taps + _uint(1)):
        places[k], plane_places[k] = k * of_column, k
    # Rows that a last block lacks are computed with what lies there, which must be numbers, and not kept.
    lines = np.zeros(_uint(ROWS) * line, np.float32)
    planes = np.zeros(_uint(ROWS) * length, np.float32)
    window = np.empty(channels_out * window_size, np.float32)
    # Fewer than eight outputs are computed as eight, row after row, each over what the one before wrote too much.
    sums = np.empty(_uint(ROWS) * width + _uint(LANES), np.float32)
    origins = np.empty(max(taps, channels), np.uint64)
    weights = np.empty(max(taps, channels), np.float32)
    has_nan = False
    all_pieces = images * pieces
    taken = take(shared, TAKEN, at_once)
    begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    while taken < all_pieces:
        n = taken // pieces
        origin = n * of_image + first_column * of_column
        i = (taken - n * pieces) * piece_rows
        behind = min(i + piece_rows, height)
        fetched = (n + _uint(1)) * of_image
        begin, end = first_row, first_row + all_rows
        if whole:
            for d in range(channels_out):
                if mixed[d] > 1:
                    _mixed(
                        x, origin, of_channel, of_row, of_column, begin, end, length, channel, d, origins, weights,
                        window, d * window_size,
                    )  # fmt: skip
        while i < behind:
            count = min(_uint(ROWS), behind - i)
            if not whole:
                begin, end = row_starts[i], row_starts[i]
                for r in range(_uint(1), count):
                    begin, end = min(begin, row_starts[i + r]), max(end, row_starts[i + r])
                end += taps
            if interleaved and some_only:
                for r in range(count):
                    for k in range(taps):
                        origins[k] = origin + (row_starts[i + r] + k) * of_row
                        weights[k] = row_weights[i + r, k]
                    _sum_of_rows(x, origins, weights, taps, line, lines, r * line)
            for d in range(channels_out):
                scale = _f32(1)
                if mixed[d] <= 1 and interleaved:
                    scale = channel[d, only[d]]
                    fetched = _all_columns(
                        lines, only[d], line, places, col_starts, flat_weights, block_taps, sums, width,
                        x, fetched, fetches,
                    )  # fmt: skip
                else:
                    if mixed[d] <= 1:
                        for r in range(count):
                            for k in range(taps):
                                origins[k] = origin + only[d] * of_channel + (row_starts[i + r] + k) * of_row
                                weights[k] = channel[d, only[d]] * row_weights[i + r, k]
                            _sum_of_rows(x, origins, weights, taps, length, planes, r * length)
                    else:
                        if not whole:
                            _mixed(
                                x, origin, of_channel, of_row, of_column, begin, end, length, channel, d, origins,
                                weights, window, d * window_size,
                            )  # fmt: skip
                        for r in range(count):
                            for k in range(taps):
                                origins[k] = d * window_size + (row_starts[i + r] - begin + k) * length
                                weights[k] = row_weights[i + r, k]
                            _sum_of_rows(window, origins, weights, taps, length, planes, r * length)
                    fetched = _all_columns(
                        planes, _uint(0), length, plane_places, col_starts, flat_weights, block_taps, sums, width,
                        x, fetched, fetches,
                    )  # fmt: skip
                in_channel = i * width
                has_nan |= finished(
                    sums, count * width, scale, bias, d, in_channel, low[d], high[d], rounding, out,
                    (n * channels_out + d) * height * width + in_channel,
                )  # fmt: skip
            i += _uint(ROWS)
        taken += _uint(1)
        if taken == end_taken:
            if has_nan:
                shared[HAS_NAN] = 1
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)

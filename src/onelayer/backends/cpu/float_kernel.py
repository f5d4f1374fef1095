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

Where pixels are only copied, their values go from the image to the result without any of that.

A frame, where there is one, is written by whoever computes the rows beside it.

The two loops that all the time goes into are in :mod:`onelayer.backends.cpu.simd`. No array is sliced: a slice counts
references, which took longer than the arithmetic on images of 32×32.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu import float_call as field
from onelayer.backends.cpu.compilation import inlined, kernel
from onelayer.backends.cpu.counters import DONE, HAS_NAN, TAKEN, add, take
from onelayer.backends.cpu.float_call import HALF_EVEN, HALF_UP, TRUNCATE
from onelayer.backends.cpu.simd import (
    ROWS,
    columns,
    fetch_line,
    floats_at,
    longs_at,
    memory_at,
    multiply_add,
    store,
    sum_of_rows_by,
    value_at,
)
from onelayer.backends.cpu.tables import LANES

_f32, _uint = np.float32, np.uint64

_LINE = 64
"""Bytes of a cache line."""

_SMALL = 8192
"""Number of elements up to which images are mixed as a whole, and fetched while the one before is computed."""

_WIDE = 4 * LANES
_sum_of_wide_rows, _sum_of_narrow_rows, _sum_of_values = sum_of_rows_by(4), sum_of_rows_by(1), sum_of_rows_by(0)


@inlined
def _sum_of_rows(x, first, between, weights, weights_at, terms, length, lines, at):
    """Set ``lines[at + i] = Σ_k weights[weights_at + k] · x[first + k·between + i]`` for 0 ≤ i < ``length``."""
    i = _uint(0)
    while i + _uint(_WIDE) <= length:
        _sum_of_wide_rows(x, first, between, weights, weights_at, terms, i, lines, at)
        i += _uint(_WIDE)
    while i + _uint(LANES) <= length:
        _sum_of_narrow_rows(x, first, between, weights, weights_at, terms, i, lines, at)
        i += _uint(LANES)
    if i == length:
        return
    if length >= _uint(LANES):
        # The last eight, some of them once more: nothing beyond the image is read.
        _sum_of_narrow_rows(x, first, between, weights, weights_at, terms, length - _uint(LANES), lines, at)
        return
    for i in range(length):
        _sum_of_values(x, first, between, weights, weights_at, terms, i, lines, at)


@inlined
def _all_columns(lines, at, between_lines, places, blocks, starts, weights, taps, sums, width, x, fetched, fetches):
    """Sum the columns of all blocks of eight outputs, for eight rows: ``sums[r·width + j]``.

    After each block, ``fetches`` cache lines of ``x`` are fetched, from ``x[fetched]`` on. Return where to go on.
    """
    of_line = _uint(_LINE // x.itemsize)
    for block in range(blocks):
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
def _mixed_rows(x, origin, of_channel, of_row, begin, end, length, mix, at, channels, window, to):
    """Set ``window[to + (i - begin)·length …] = Σ_c mix[at + c] · x[c, i]`` for ``begin`` ≤ i < ``end``, in CHW."""
    first = origin + begin * of_row
    if of_row == length:
        # Without gaps: one long run.
        _sum_of_rows(x, first, of_channel, mix, at, channels, (end - begin) * length, window, to)
        return
    for row in range(end - begin):
        _sum_of_rows(x, first + row * of_row, of_channel, mix, at, channels, length, window, to + row * length)


@inlined
def _mixed_pixels(x, first, step, length, mix, at, channels, window, to):
    """Set ``window[to + i] = Σ_c mix[at + c] · x[first + i·step + c]`` for 0 ≤ i < ``length``."""
    # LLVM makes good code only of steps that it knows.
    if channels == 3 and step == 3:
        _mixed_pixels_of(x, first, _uint(3), length, mix[at], mix[at + _uint(1)], mix[at + _uint(2)], window, to)
    elif channels == 3 and step == 4:
        _mixed_pixels_of(x, first, _uint(4), length, mix[at], mix[at + _uint(1)], mix[at + _uint(2)], window, to)
    else:
        for i in range(length):
            total = _f32(0)
            for c in range(channels):
                total = multiply_add(mix[at + c], value_at(x, first + i * step + c), total)
            window[to + i] = total


@inlined
def _mixed_pixels_of(x, at, step, length, weight0, weight1, weight2, window, to):
    for i in range(length):
        p = at + i * step
        first, second, third = value_at(x, p), value_at(x, p + _uint(1)), value_at(x, p + _uint(2))
        window[to + i] = multiply_add(weight2, third, multiply_add(weight1, second, weight0 * first))


@inlined
def _mixed(x, origin, of_channel, of_row, of_column, begin, end, length, mix, at, channels, window, to):
    """Set ``window[to + (i - begin)·length …] = Σ_c mix[at + c] · x[c, i]`` for rows ``begin`` ≤ i < ``end``."""
    if of_column != 1:
        for row in range(begin, end):
            of_line = to + (row - begin) * length
            _mixed_pixels(x, origin + row * of_row, of_column, length, mix, at, channels, window, of_line)
    else:
        _mixed_rows(x, origin, of_channel, of_row, begin, end, length, mix, at, channels, window, to)


@inlined
def _clamped(value, low, high):
    # Comparisons that NaN fails leave it as it is.
    value = low if value < low else value
    return high if value > high else value


@inlined
def finished(sums, at, count, scale, bias, bias_at, has_biases, low, high, rounding, out, to):
    """Write ``count`` outputs in a row: scale, bias, clamp, rounding, cast. Return whether one may be NaN.

    ``has_biases`` says whether each output has a bias of its own, from ``bias[bias_at]`` on.
    """
    shift = bias[bias_at]
    if has_biases:
        for i in range(count):
            sums[at + i] = multiply_add(sums[at + i], scale, bias[bias_at + i])
        scale, shift = _f32(1), _f32(0)
    if rounding == HALF_EVEN:
        for i in range(count):
            store(out, to + i, np.rint(_clamped(multiply_add(sums[at + i], scale, shift), low, high)))
    elif rounding == HALF_UP:
        for i in range(count):
            store(out, to + i, np.floor(_clamped(multiply_add(sums[at + i], scale, shift), low, high) + _f32(0.5)))
    elif rounding == TRUNCATE:
        for i in range(count):
            store(out, to + i, np.trunc(_clamped(multiply_add(sums[at + i], scale, shift), low, high)))
    elif low == -np.inf and high == np.inf:
        total = _f32(0)
        for i in range(count):
            value = multiply_add(sums[at + i], scale, shift)
            # NaN if one of them is: an addition takes one instruction for eight, a comparison takes many.
            total += value
            store(out, to + i, value)
        return total != total
    else:
        total = _f32(0)
        for i in range(count):
            value = _clamped(multiply_add(sums[at + i], scale, shift), low, high)
            total += value
            store(out, to + i, value)
        return total != total
    return False


@inlined
def _ascends(rows, first, count):
    """Whether ``count`` rows follow each other, from ``rows[first]`` on."""
    ascends = True
    for r in range(_uint(1), count):
        ascends = ascends and rows[first + r] == rows[first] + r
    return ascends


@inlined
def _copied(x, at, step, count, scale, shift, low, high, rounding, out, to):
    """Write ``count`` outputs in a row from ``x[at]``, ``x[at + step]`` … as :func:`finished` does."""
    if rounding == HALF_EVEN:
        for i in range(count):
            store(out, to + i, np.rint(_clamped(multiply_add(value_at(x, at + i * step), scale, shift), low, high)))
    elif rounding == HALF_UP:
        for i in range(count):
            value = _clamped(multiply_add(value_at(x, at + i * step), scale, shift), low, high)
            store(out, to + i, np.floor(value + _f32(0.5)))
    elif rounding == TRUNCATE:
        for i in range(count):
            store(out, to + i, np.trunc(_clamped(multiply_add(value_at(x, at + i * step), scale, shift), low, high)))
    else:
        total = _f32(0)
        for i in range(count):
            value = _clamped(multiply_add(value_at(x, at + i * step), scale, shift), low, high)
            total += value
            store(out, to + i, value)
        return total != total
    return False


@inlined
def _copied_rows(x, at, of_row, step, rows, first, count, width, scale, shift, low, high, rounding, out, to, of_line):
    """Write rows ``rows[first]`` … of one channel to lines ``of_line`` apart; return whether one may be NaN."""
    has_nan = False
    lines, length = count, width
    if of_line == width and of_row == width and step == 1 and _ascends(rows, first, count):
        lines, length = _uint(1), count * width
    for r in range(lines):
        begin, end = at + rows[first + r] * of_row, to + r * of_line
        # LLVM makes good code only of steps that it knows.
        if step == 1:
            has_nan |= _copied(x, begin, _uint(1), length, scale, shift, low, high, rounding, out, end)
        elif step == 3:
            has_nan |= _copied(x, begin, _uint(3), length, scale, shift, low, high, rounding, out, end)
        else:
            has_nan |= _copied(x, begin, step, length, scale, shift, low, high, rounding, out, end)
    return has_nan


@inlined
def _framed_rows(begin, end, first_column, behind, whole_width, around, channels_out, of_plane, out, at):
    """Write the values of the frame to columns ``first_column`` to before ``behind`` of some rows of all channels."""
    for d in range(channels_out):
        for row in range(begin, end):
            to = at + d * of_plane + row * whole_width
            for j in range(first_column, behind):
                out[to + j] = around[d]


@kernel
def separable(of, call, into):
    """Compute ``clamp(mix · (rows ⊗ cols) x + bias)``, rounded, for the images and rows that the counter gives out.

    Integers are unsigned: at every access with a signed index Numba asks whether it counts from the end.

    Args:
        of: Array of the dtype of the images, of any length: uint8, float32, or int16 for float16.
        call: uint64 [FIELDS], arguments, images and results, as :mod:`onelayer.backends.cpu.float_call` lays them out.
            Nothing is written to it, so that threads can share it. The counter HAS_NAN stays zero where results are
            integers.
        into: Array of the dtype of the results, as ``of``.
    """
    x, out = memory_at(call[field.IMAGES], of), memory_at(call[field.RESULTS], into)
    of_image, of_channel, of_row, of_column = (
        call[field.OF_IMAGE],
        call[field.OF_CHANNEL],
        call[field.OF_ROW],
        call[field.OF_COLUMN],
    )
    images, pieces, piece_rows, at_once = (
        call[field.COUNT],
        call[field.PIECES],
        call[field.PIECE_ROWS],
        call[field.AT_ONCE],
    )
    shared = longs_at(call[field.SHARED])
    first_column, length, width = call[field.FIRST_COLUMN], call[field.LENGTH], call[field.WIDTH]
    col_blocks, block_taps = call[field.COL_BLOCKS], call[field.COL_TAPS]
    col_starts, col_weights = longs_at(call[field.COL_STARTS]), floats_at(call[field.COL_WEIGHTS])
    first_row, all_rows, block_rows = call[field.FIRST_ROW], call[field.ROWS_READ], call[field.BLOCK_ROWS]
    taps, height = call[field.ROW_TAPS], call[field.HEIGHT]
    row_starts, row_weights = longs_at(call[field.ROW_STARTS]), floats_at(call[field.ROW_WEIGHTS])
    channels, channels_out, mix = call[field.CHANNELS], call[field.CHANNELS_OUT], floats_at(call[field.MIX])
    bias, biases, rounding = floats_at(call[field.BIAS]), call[field.BIASES], call[field.ROUNDING]
    low, high = floats_at(call[field.LOW]), floats_at(call[field.HIGH])
    top, left, around = call[field.TOP], call[field.LEFT], memory_at(call[field.AROUND], into)
    whole_height, whole_width = call[field.WHOLE_HEIGHT], call[field.WHOLE_WIDTH]
    of_plane = whole_height * whole_width
    interleaved = of_column != 1
    line = length * of_column
    mixed, only = np.zeros(channels_out, np.uint64), np.zeros(channels_out, np.uint64)
    for d in range(channels_out):
        for c in range(channels):
            if mix[d * channels + c] != 0:
                mixed[d] += _uint(1)
                only[d] = c
    some_only = mixed.min() <= 1
    only_copies = call[field.ONLY_COPIES] != 0 and biases == 1
    whole = pieces == 1 and not only_copies and channels_out * all_rows * length <= _uint(_SMALL)
    window_size = (all_rows if whole else block_rows) * length
    fetches = _uint(0)
    if of_image <= _uint(_SMALL):
        blocks = channels_out * ((height + _uint(ROWS - 1)) // _uint(ROWS)) * col_blocks
        lines_of_image = (of_image * _uint(x.itemsize) + _uint(_LINE - 1)) // _uint(_LINE)
        fetches = (lines_of_image + blocks - _uint(1)) // blocks
    # One more, so that the second is the distance between neighbours.
    places, plane_places = np.empty(block_taps + _uint(1), np.uint64), np.empty(block_taps + _uint(1), np.uint64)
    for k in range(block_taps + _uint(1)):
        places[k], plane_places[k] = k * of_column, k
    # Rows that a last block lacks are computed with what lies there, which must be numbers, and not kept.
    summed_rows = _uint(0) if only_copies else _uint(ROWS)
    lines = np.zeros(summed_rows * line, np.float32)
    planes = np.zeros(summed_rows * length, np.float32)
    window = np.empty(_uint(0) if only_copies else channels_out * window_size, np.float32)
    # Fewer than eight outputs are computed as eight, row after row, each over what the one before wrote too much.
    sums = np.empty(_uint(ROWS) * width + _uint(LANES), np.float32)
    has_nan = False
    all_pieces = images * pieces
    taken = take(shared, TAKEN, at_once)
    begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    while taken < all_pieces:
        n = taken // pieces
        origin = n * of_image + first_column * of_column
        piece_begin = (taken - n * pieces) * piece_rows
        i = piece_begin
        behind = min(i + piece_rows, height)
        fetched = (n + _uint(1)) * of_image
        of_result = n * channels_out * of_plane
        begin, end = first_row, first_row + all_rows
        if whole:
            for d in range(channels_out):
                if mixed[d] > 1:
                    _mixed(
                        x, origin, of_channel, of_row, of_column, begin, end, length, mix, d * channels, channels,
                        window, d * window_size,
                    )  # fmt: skip
        while i < behind:
            count = min(_uint(ROWS), behind - i)
            if not whole:
                begin, end = row_starts[i], row_starts[i]
                for r in range(_uint(1), count):
                    begin, end = min(begin, row_starts[i + r]), max(end, row_starts[i + r])
                end += taps
            if interleaved and some_only and not only_copies:
                for r in range(count):
                    first = origin + row_starts[i + r] * of_row
                    _sum_of_rows(x, first, of_row, row_weights, (i + r) * taps, taps, line, lines, r * line)
            for d in range(channels_out):
                scale = mix[d * channels + only[d]] if mixed[d] <= 1 else _f32(1)
                to = of_result + d * of_plane + (top + i) * whole_width + left
                if only_copies and mixed[d] <= 1:
                    has_nan |= _copied_rows(
                        x, origin + only[d] * of_channel, of_row, of_column, row_starts, i, count, width,
                        scale, bias[d], low[d], high[d], rounding, out, to, whole_width,
                    )  # fmt: skip
                    continue
                if only_copies:
                    lines_at_once = count if _ascends(row_starts, i, count) else _uint(1)
                    for r in range(count // lines_at_once):
                        begin = row_starts[i + r]
                        _mixed(
                            x, origin, of_channel, of_row, of_column, begin, begin + lines_at_once, width,
                            mix, d * channels, channels, sums, r * width,
                        )  # fmt: skip
                elif mixed[d] <= 1 and interleaved:
                    fetched = _all_columns(
                        lines, only[d], line, places, col_blocks, col_starts, col_weights, block_taps, sums, width,
                        x, fetched, fetches,
                    )  # fmt: skip
                else:
                    if mixed[d] <= 1:
                        for r in range(count):
                            first = origin + only[d] * of_channel + row_starts[i + r] * of_row
                            _sum_of_rows(
                                x, first, of_row, row_weights, (i + r) * taps, taps, length, planes, r * length
                            )  # fmt: skip
                    else:
                        if not whole:
                            _mixed(
                                x, origin, of_channel, of_row, of_column, begin, end, length, mix, d * channels,
                                channels, window, d * window_size,
                            )  # fmt: skip
                        for r in range(count):
                            first = d * window_size + (row_starts[i + r] - begin) * length
                            _sum_of_rows(
                                window, first, length, row_weights, (i + r) * taps, taps, length, planes, r * length
                            )  # fmt: skip
                    fetched = _all_columns(
                        planes, _uint(0), length, plane_places, col_blocks, col_starts, col_weights, block_taps, sums,
                        width, x, fetched, fetches,
                    )  # fmt: skip
                # Rows with a frame beside them do not lie side by side in memory.
                runs, run = (_uint(1), count * width) if width == whole_width else (count, width)
                for r in range(runs):
                    bias_at = d * biases + (i * width if biases > _uint(1) else _uint(0))
                    has_nan |= finished(
                        sums, r * width, run, scale, bias, bias_at, biases > _uint(1), low[d], high[d], rounding, out,
                        to + r * whole_width,
                    )  # fmt: skip
            i += _uint(ROWS)
        if height != whole_height or width != whole_width:
            rows_begin, rows_end = top + piece_begin, top + behind
            # What lies beside the rows of this piece; above and below, where it is the first and the last.
            for begin_column, end_column in ((_uint(0), left), (left + width, whole_width)):
                _framed_rows(
                    rows_begin, rows_end, begin_column, end_column, whole_width, around, channels_out, of_plane, out,
                    of_result,
                )  # fmt: skip
            for begin_row, end_row in (
                (_uint(0), top if piece_begin == 0 else _uint(0)),
                (top + height if behind == height else whole_height, whole_height),
            ):
                _framed_rows(
                    begin_row, end_row, _uint(0), whole_width, whole_width, around, channels_out, of_plane, out,
                    of_result,
                )  # fmt: skip
        taken += _uint(1)
        if taken == end_taken:
            if has_nan:
                shared[HAS_NAN] = 1
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)

"""Compute programs for bytes that round between their passes, every bit as Pillow and PyTorch have it.

A pass along columns, a pass along rows, a mix of the channels, a table and a frame, in one go over the image;
each may be missing. Arguments, memory and threads are as in :mod:`onelayer.backends.cpu.float_kernel`.

Rows that went through the pass along columns lie in a ring, from which the pass along rows takes them: row r is at
place r modulo its length. Four new rows are computed at a time, as they share the loads of their weights.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import exact_inlined, exact_kernel
from onelayer.backends.cpu.counters import DONE, TAKEN, add, take
from onelayer.backends.cpu.float32_sums import (
    far_fused_columns,
    far_unfused_columns,
    fused,
    fused_rows,
    mix_three,
    near_fused_columns,
    near_unfused_columns,
    unfused_rows,
)
from onelayer.backends.cpu.integer_sums import (
    far_columns,
    far_columns_wide,
    near_columns,
    near_columns_wide,
    sums_of_rows,
    sums_of_rows_wide,
)
from onelayer.backends.cpu.simd import (
    ROW_OUTPUTS,
    copy_bytes,
    fetch_line,
    memory_at,
    split_pixels_of_3,
    split_pixels_of_4,
)
from onelayer.backends.cpu.tables import BYTES, FAR_OUTPUTS, LANES, NEAR_OUTPUTS

NARROW, WIDE, FLOAT32, FLOAT32_UNFUSED = range(4)
"""Arithmetic of sums: integer weights of 16 bits; wider ones, in two parts; float32 with fused products; float32 with
some products that are rounded before they are added."""

NO_MIX, CUT_OFF, HALF_UP = range(3)
"""Mix of the channels: none, one whose fraction is cut off, one that is rounded half up."""

COPIED, NEAR, FAR = range(3)
"""Columns: copied as they are, or summed in one of the layouts of :mod:`onelayer.backends.cpu.tables`."""

_f32, _u8, _uint = np.float32, np.uint8, np.uint64

_GROUP = 4
"""Rows whose columns are summed together."""

_SHORT = 128
"""Bytes of a row up to which the next image is fetched ahead."""


@exact_inlined
def _row_split(x, address, at, of_channel, of_column, sources, channels, is_interleaved, length, out, to, between):
    """Copy the channels of ``length`` pixels from ``x[at]`` on into lines, ``between`` bytes from each other."""
    if of_column == 1:
        for c in range(channels):
            copy_bytes(x, at + sources[c] * of_channel, length, out, to + c * between)
    elif is_interleaved and length >= BYTES:
        # The last sixteen begin at the sixteenth from the end, some of them once more.
        for block in range((length + _uint(BYTES - 1)) // _uint(BYTES)):
            i = min(block * _uint(BYTES), length - _uint(BYTES))
            if of_column == 3:
                split_pixels_of_3(address + at + i * _uint(3), out, to + i, between)
            else:
                split_pixels_of_4(address + at + i * _uint(4), out, to + i, between)
    else:
        for c in range(channels):
            for i in range(length):
                out[to + c * between + i] = x[at + sources[c] * of_channel + i * of_column]


@exact_inlined
def _columns_summed(
    lines, at, kind, arithmetic, blocks, steps, starts, places, weights, bits, width, ring, ring_rows, to
):  # fmt: skip
    """Sum the columns of one channel of a group of rows, into the ring from byte ``to`` of each row on."""
    if arithmetic in (FLOAT32, FLOAT32_UNFUSED):
        last = width - min(width, _uint(LANES))
        for block in range(blocks):
            j = to + _uint(4) * min(block * _uint(LANES), last)
            if kind == NEAR and arithmetic == FLOAT32:
                near_fused_columns(lines, at, starts, places, weights, block, steps, ring, ring_rows, j)
            elif kind == NEAR:
                near_unfused_columns(lines, at, starts, places, weights, block, steps, ring, ring_rows, j)
            elif arithmetic == FLOAT32:
                far_fused_columns(lines, at, starts, weights, block, steps, ring, ring_rows, j)
            else:
                far_unfused_columns(lines, at, starts, weights, block, steps, ring, ring_rows, j)
    elif kind == NEAR:
        last = width - min(width, _uint(NEAR_OUTPUTS))
        for block in range(blocks):
            j = to + min(block * _uint(NEAR_OUTPUTS), last)
            if arithmetic == WIDE:
                for r in range(_uint(0), _uint(_GROUP), _uint(2)):
                    near_columns_wide(lines, at, starts, places, weights, block, steps, bits, ring, ring_rows, r, j)
            else:
                near_columns(lines, at, starts, places, weights, block, steps, bits, ring, ring_rows, _uint(0), j)
    else:
        last = width - min(width, _uint(FAR_OUTPUTS))
        for r in range(_uint(_GROUP)):
            for block in range(blocks):
                j = to + min(block * _uint(FAR_OUTPUTS), last)
                if arithmetic == WIDE:
                    far_columns_wide(lines, at, starts, weights, block, steps, bits, ring, ring_rows, r, j)
                else:
                    far_columns(lines, at, starts, weights, block, steps, bits, ring, ring_rows, r, j)


@exact_inlined
def _rows_summed(ring, origins, weights, output, steps, arithmetic, bits, length, to):
    """Sum rows of the ring to a row of ``length`` bytes; some bytes behind it are written too."""
    for block in range((length + _uint(ROW_OUTPUTS - 1)) // _uint(ROW_OUTPUTS)):
        i = block * _uint(ROW_OUTPUTS)
        if arithmetic == FLOAT32:
            fused_rows(ring, origins, weights, output * steps, steps, _uint(4) * i, ring, to + i)
        elif arithmetic == FLOAT32_UNFUSED:
            unfused_rows(ring, origins, weights, output * steps, steps, _uint(4) * i, ring, to + i)
        elif arithmetic == WIDE:
            weights_at = _uint(4) * output * steps
            sums_of_rows_wide(ring, origins, weights, weights_at, steps, i, bits, ring, to + i)
        else:
            weights_at = _uint(2) * output * steps
            sums_of_rows(ring, origins, weights, weights_at, steps, i, bits, ring, to + i)


@exact_inlined
def _stored(values, at, length, has_table, table, d, out, to):
    if has_table:
        row = d * _uint(256)
        for j in range(length):
            out[to + j] = table[row + _uint(values[at + j])]
    else:
        # Into bytes: there is a table where anything else is written.
        copy_bytes(values, at, length, out, to)


@exact_inlined
def _mixed(values, at, width, weights, channels, d, is_fused, mix, out, to):
    """Mix the channels of a row to one output channel of bytes, product after product."""
    first = d * channels
    half = _f32(0.5) if mix == HALF_UP else _f32(0)
    if is_fused and channels == 3 and width >= BYTES:
        for block in range((width + _uint(BYTES - 1)) // _uint(BYTES)):
            j = min(block * _uint(BYTES), width - _uint(BYTES))
            mix_three(values, at + j, width, weights, first, half, out, to + j)
        return
    for j in range(width):
        total = _f32(values[at + j]) * weights[first]
        for c in range(_uint(1), channels):
            value = _f32(values[at + c * width + j])
            total = fused(value, weights[first + c], total) if is_fused else total + value * weights[first + c]
        out[to + j] = _u8(np.int32(total + half))


@exact_kernel
def resized_bytes(
    of, address, of_image, of_channel, of_row, of_column,
    sources, first_column, length, col_kind, col_starts, col_places, col_weights, col_arithmetic, col_bits, width,
    between, row_taps, descends, row_starts, row_weights, row_arithmetic, row_bits, height,
    channel, is_fused, mix, table, top, left, whole_height, whole_width, around,
    into, out_address, images, pieces, piece_rows, at_once, shared,
):  # fmt: skip
    """Run a segment for the images and rows that the counter gives out; see the module.

    Integers are unsigned, as in :mod:`onelayer.backends.cpu.float_kernel`.

    Args:
        of: Array of uint8.
        address: Address of the first element of the first image.
        of_image: Elements from one image to the next.
        of_channel: Elements from one channel to the next.
        of_row: Elements from one row to the next.
        of_column: Elements from one column to the next.
        sources: uint64 [C], channel of the image that each channel is.
        first_column: First column that is read.
        length: Columns from there on that are read.
        col_kind: COPIED, NEAR or FAR.
        col_starts: uint64, ``starts`` of :class:`onelayer.backends.cpu.tables.Windows`.
        col_places: uint8, ``places`` of the same.
        col_weights: int16 [blocks, steps, parts, …], ``weights`` of the same in parts; float32 weights as int16.
        col_arithmetic: One of the four kinds of arithmetic of this module.
        col_bits: Fractional bits of the weights.
        width: W'.
        between: uint64 [rows], row of the image that each row before the pass along rows is.
        row_taps: Number of these rows that an output reads.
        descends: Whether later outputs read earlier rows.
        row_starts: uint64 [H'], first of these rows that each output reads.
        row_weights: int16 [H', pairs, parts, 2], empty where rows are copies; float32 [H', taps, 2] as int16.
        row_arithmetic: Arithmetic as in ``col_arithmetic``; both are of float32 or neither is.
        row_bits: Fractional bits of the weights.
        height: H'.
        channel: float32 [C'·C], weights of the mix.
        is_fused: Whether products of the mix are added with one rounding.
        mix: NO_MIX, CUT_OFF or HALF_UP.
        table: [C'·256] of the dtype of the results, empty for none.
        top: Rows of the frame above the image.
        left: Columns of the frame to the left of it.
        whole_height: H' and the frame.
        whole_width: W' and the frame.
        around: [C'] of the dtype of the results, values of the frame.
        into: Array of the dtype of the results.
        out_address: Address of memory for [N, C', H', W'] with the frame, contiguous.
        images: N.
        pieces: Number of pieces, of whole rows, that an image is divided into.
        piece_rows: Rows of a piece.
        at_once: Number of pieces to take at a time.
        shared: Counters, uint64 [3], zeros at first: see :mod:`onelayer.backends.cpu.counters`.
    """
    x, out, out_bytes = memory_at(address, of), memory_at(out_address, into), memory_at(out_address, of)
    address = _uint(address)
    # Numba converts the sum of a signed and an unsigned integer to floating point.
    of_image, of_channel, of_row, of_column = _uint(of_image), _uint(of_channel), _uint(of_row), _uint(of_column)
    images, pieces, piece_rows, at_once = _uint(images), _uint(pieces), _uint(piece_rows), _uint(at_once)
    col_bits, row_bits = _uint(col_bits), _uint(row_bits)
    channels, rows_between = _uint(len(sources)), _uint(len(between))
    channels_out = _uint(len(channel)) // channels if mix != NO_MIX else channels
    line = channels * width
    is_framed = whole_height != height or whole_width != width
    sums_rows = row_weights.size > 0
    is_interleaved = channels == 3 and of_channel == 1 and (of_column == 3 or of_column == 4)
    for c in range(channels):
        is_interleaved = is_interleaved and sources[c] == c
    # Rows whose columns are not side by side are laid so first. Windows of sixteen fit in all lines.
    in_place = of_column == 1 and length >= BYTES
    # Rows so short that the processor sees too late which comes next are fetched one image ahead.
    fetches = pieces == 1 and in_place and length <= _SHORT
    of_line = length + _uint(BYTES)
    all_lines = _uint(0) if col_kind == COPIED or in_place else channels * of_line * _uint(_GROUP)
    row_steps, taps = _uint(row_weights.shape[1]), _uint(row_taps)
    element = _uint(4) if row_arithmetic in (FLOAT32, FLOAT32_UNFUSED) else _uint(1)
    # Rows of a group beyond those that are needed must not overwrite rows that are still read.
    # A power of two, because a division takes as long as a block of sums.
    ring_rows = _uint(2 * _GROUP)
    while ring_rows < taps + _uint(2 * _GROUP):
        ring_rows += ring_rows
    within = ring_rows - _uint(1)
    # Vectors are written, and read, beyond the end of a row.
    of_ring = element * (line + _uint(ROW_OUTPUTS))
    # Behind the ring lies the row that comes out of the pass along rows.
    row = ring_rows * of_ring
    scratch_bytes = np.zeros(row + of_ring + width + all_lines, np.uint8)
    ring_address = _uint(scratch_bytes.ctypes.data)
    grey_address = ring_address + row + of_ring
    lines_address = grey_address + width
    scratch_numbers = np.zeros(_uint(2 * _GROUP) + taps, np.uint64)
    numbers_address = _uint(scratch_numbers.ctypes.data)
    # Numba counts how often an array is in use, in every inlined function, which takes longer than a short row.
    ring, grey, lines = memory_at(ring_address, of), memory_at(grey_address, of), memory_at(lines_address, of)
    line_addresses = memory_at(numbers_address, sources)
    places = memory_at(numbers_address + _uint(8 * _GROUP), sources)
    origins = memory_at(numbers_address + _uint(2 * 8 * _GROUP), sources)
    steps, blocks = _uint(col_starts.shape[1]), _uint(col_starts.shape[0])
    starts = memory_at(_uint(col_starts.ctypes.data), sources)
    orders = memory_at(_uint(col_places.ctypes.data), of)
    weights = memory_at(_uint(col_weights.ctypes.data), col_weights)
    row_pairs = memory_at(_uint(row_weights.ctypes.data), col_weights)
    channel_of = memory_at(_uint(sources.ctypes.data), sources)
    tables, mixing = memory_at(_uint(table.ctypes.data), into), memory_at(_uint(channel.ctypes.data), channel)
    has_table = len(table) > 0
    all_pieces = images * pieces
    taken = take(shared, TAKEN, at_once)
    begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    while taken < all_pieces:
        n = taken // pieces
        origin = n * of_image + first_column * of_column
        piece_begin = (taken - n * pieces) * piece_rows
        piece_end = min(piece_begin + piece_rows, height)
        # Rows of the ring that hold what they should: from the first to before the last.
        have_begin, have_end = _uint(0), _uint(0)
        for turn in range(piece_end - piece_begin):
            i = piece_end - _uint(1) - turn if descends else piece_begin + turn
            begin = row_starts[i]
            end = min(begin + taps, rows_between)
            if begin < have_begin or begin > have_end:
                have_begin = have_end = begin
            while have_end < end:
                for r in range(_uint(_GROUP)):
                    # Beyond the last row it is computed once more, and kept nowhere that is read.
                    of_image_row = origin + between[min(have_end + r, rows_between - _uint(1))] * of_row
                    places[r] = ((have_end + r) & within) * of_ring
                    if col_kind == COPIED:
                        _row_split(
                            x, address, of_image_row, of_channel, of_column, channel_of, channels, is_interleaved,
                            length, ring, places[r], width,
                        )  # fmt: skip
                    elif in_place:
                        line_addresses[r] = address + of_image_row
                    else:
                        at = r * channels * of_line
                        _row_split(
                            x, address, of_image_row, of_channel, of_column, channel_of, channels, is_interleaved,
                            length, lines, at, of_line,
                        )  # fmt: skip
                        line_addresses[r] = lines_address + at
                if col_kind != COPIED:
                    for c in range(channels):
                        at = channel_of[c] * of_channel if in_place else c * of_line
                        if fetches:
                            for r in range(_uint(_GROUP)):
                                fetch_line(x, line_addresses[r] - address + at + of_image)
                        _columns_summed(
                            line_addresses, at, col_kind, col_arithmetic, blocks, steps, starts, orders, weights,
                            col_bits, width, ring, places, element * c * width,
                        )  # fmt: skip
                have_end += _uint(_GROUP)
                if have_end > have_begin + ring_rows:
                    have_begin = have_end - ring_rows
            at = (begin & within) * of_ring
            if sums_rows:
                for k in range(taps):
                    # What a pair has too much may not have been computed, and has a weight of zero.
                    origins[k] = ((begin + k) & within) * of_ring
                _rows_summed(ring, origins, row_pairs, i, row_steps, row_arithmetic, row_bits, line, row)
                at = row
            for d in range(channels_out):
                to = ((n * channels_out + d) * whole_height + top + i) * whole_width
                if is_framed:
                    for j in range(left):
                        out[to + j] = around[d]
                    for j in range(left + width, whole_width):
                        out[to + j] = around[d]
                    to += left
                if mix == NO_MIX:
                    _stored(ring, at + d * width, width, has_table, tables, d, out, to)
                elif has_table:
                    _mixed(ring, at, width, mixing, channels, d, is_fused, mix, grey, _uint(0))
                    _stored(grey, _uint(0), width, has_table, tables, d, out, to)
                else:
                    _mixed(ring, at, width, mixing, channels, d, is_fused, mix, out_bytes, to)
        if is_framed:
            for d in range(channels_out):
                to = (n * channels_out + d) * whole_height * whole_width
                if piece_begin == 0:
                    for j in range(top * whole_width):
                        out[to + j] = around[d]
                if piece_end == height:
                    for j in range((top + height) * whole_width, whole_height * whole_width):
                        out[to + j] = around[d]
        taken += _uint(1)
        if taken == end_taken:
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    # Keeps the memory alive until here: addresses do not.
    scratch_bytes[0] = scratch_numbers[0] = 0

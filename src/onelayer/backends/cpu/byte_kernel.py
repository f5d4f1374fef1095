"""Programs for bytes that round between their passes, in Numba: every bit as Pillow and PyTorch have it.

A pass along columns, a pass along rows, a mix of the channels, a table and a frame, in one go over the image;
each may be missing. Arguments, memory and threads are as in ``numba_separable``; sums are in ``numba_integers``.

Rows that went through the pass along columns lie in a ring, from which the pass along rows takes them: row r is at
place r modulo its length. Four new rows are computed at a time, as they share the loads of their weights.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.byte_copies import copy_bytes, part_four, part_three
from onelayer.backends.cpu.byte_windows import BYTES, FAR_OUTPUTS, NEAR_OUTPUTS
from onelayer.backends.cpu.float32_sums import (
    apart_rows,
    far_apart_columns,
    far_single_columns,
    near_apart_columns,
    near_single_columns,
    single_rows,
)
from onelayer.backends.cpu.integer_sums import (
    ROW_OUTPUTS,
    far_columns,
    far_columns_wide,
    fused,
    mix_three,
    near_columns,
    near_columns_wide,
    sums_of_rows,
    sums_of_rows_wide,
)
from onelayer.backends.cpu.kernel_parts import DONE, TAKEN, exact_inlined, exact_kernel
from onelayer.backends.cpu.vectors import add, fetch_line, memory_at, take
from onelayer.backends.cpu.windows import LANES

NARROW, WIDE, SINGLE, APART = range(4)
"""Weights of 16 bits; wider ones, in two parts; sums in float32; such with products that are rounded by themselves."""

NO_MIX, CUT_OFF, HALF_UP = range(3)
"""What becomes of the channels: nothing, a mix whose fraction is cut off, or one that is rounded half up."""

COPIED, NEAR, FAR = range(3)
"""What becomes of the columns: they are copied as they are, or one of the two of ``byte_windows``."""

_f32, _u8, _uint = np.float32, np.uint8, np.uint64

_GROUP = 4

_SHORT = 128
"""Bytes."""


@exact_inlined
def _row_parted(x, address, at, of_channel, of_column, sources, channels, side_by_side, length, out, to, between):
    """All channels of ``length`` pixels from ``x[at]`` on, each in a line of its own, ``between`` bytes apart."""
    if of_column == 1:
        for c in range(channels):
            copy_bytes(x, at + sources[c] * of_channel, length, out, to + c * between)
    elif side_by_side and length >= BYTES:
        # The last sixteen begin at the sixteenth from the end, some of them once more.
        for block in range((length + _uint(BYTES - 1)) // _uint(BYTES)):
            i = min(block * _uint(BYTES), length - _uint(BYTES))
            if of_column == 3:
                part_three(address + at + i * _uint(3), out, to + i, between)
            else:
                part_four(address + at + i * _uint(4), out, to + i, between)
    else:
        for c in range(channels):
            for i in range(length):
                out[to + c * between + i] = x[at + sources[c] * of_channel + i * of_column]


@exact_inlined
def _columns_summed(
    lines, at, kind, arithmetic, blocks, steps, starts, places, weights, bits, width, ring, ring_rows, to
):  # fmt: skip
    """One channel of a group of rows, which begins at byte ``to`` of these rows in the ring."""
    if arithmetic in (SINGLE, APART):
        last = width - min(width, _uint(LANES))
        for block in range(blocks):
            j = to + _uint(4) * min(block * _uint(LANES), last)
            if kind == NEAR and arithmetic == SINGLE:
                near_single_columns(lines, at, starts, places, weights, block, steps, ring, ring_rows, j)
            elif kind == NEAR:
                near_apart_columns(lines, at, starts, places, weights, block, steps, ring, ring_rows, j)
            elif arithmetic == SINGLE:
                far_single_columns(lines, at, starts, weights, block, steps, ring, ring_rows, j)
            else:
                far_apart_columns(lines, at, starts, weights, block, steps, ring, ring_rows, j)
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
    """A row of ``length`` bytes of rows in the ring, and some behind it."""
    for block in range((length + _uint(ROW_OUTPUTS - 1)) // _uint(ROW_OUTPUTS)):
        i = block * _uint(ROW_OUTPUTS)
        if arithmetic == SINGLE:
            single_rows(ring, origins, weights, output * steps, steps, _uint(4) * i, ring, to + i)
        elif arithmetic == APART:
            apart_rows(ring, origins, weights, output * steps, steps, _uint(4) * i, ring, to + i)
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
    """One channel of weighted sums, each product after the other, as bytes."""
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
    """See the module. Whole numbers are unsigned, as in ``numba_separable``.

    Args:
        of: An array of uint8.
        address: Of the first element of the first image.
        of_image: Elements from one image to the next.
        of_channel: From one channel to the next.
        of_row: From one row to the next.
        of_column: From one column to the next.
        sources: uint64 [C], the channel of the image that each channel is.
        first_column: First column that is read.
        length: How many are read from there on.
        col_kind: One of the three of this module.
        col_starts: uint64, see ``byte_windows``; as are the next two.
        col_places: uint8.
        col_weights: int16 [blocks, steps, parts, …]; float32 as int16, as in ``single_windows``.
        col_arithmetic: One of the four of this module.
        col_bits: Of fraction.
        width: W'.
        between: uint64 [rows], the row of the image that each row before the pass along rows is.
        row_taps: How many of these rows an output reads.
        descends: Whether later outputs read earlier rows.
        row_starts: uint64 [H'], first row, of those, that each output reads.
        row_weights: int16 [H', pairs, parts, 2], empty where rows are copies; float32 [H', taps, 2] as int16.
        row_arithmetic: As ``col_arithmetic``; both are of float32 or neither is.
        row_bits: Of fraction.
        height: H'.
        channel: float32 [C'·C], weights of the mix.
        is_fused: Whether its products are added with one rounding.
        mix: One of the three of this module.
        table: [C'·256] of the dtype of the results, empty for none.
        top: Rows of the frame above the image.
        left: Its columns to the left.
        whole_height: H' and the frame.
        whole_width: W' and the frame.
        around: [C'] of the dtype of the results, values of the frame.
        into: An array of the dtype of the results.
        out_address: Of memory for [N, C', H', W'] with the frame, contiguous.
        images: N.
        pieces: Into how many pieces, of whole rows, an image is divided.
        piece_rows: Rows of a piece.
        at_once: How many pieces to take at a time.
        shared: uint64 [3], of zeros at first, as in ``numba_separable``.
    """
    x, out, out_bytes = memory_at(address, of), memory_at(out_address, into), memory_at(out_address, of)
    address = _uint(address)
    # A signed and an unsigned number make a floating point one.
    of_image, of_channel, of_row, of_column = _uint(of_image), _uint(of_channel), _uint(of_row), _uint(of_column)
    images, pieces, piece_rows, at_once = _uint(images), _uint(pieces), _uint(piece_rows), _uint(at_once)
    col_bits, row_bits = _uint(col_bits), _uint(row_bits)
    channels, rows_between = _uint(len(sources)), _uint(len(between))
    channels_out = _uint(len(channel)) // channels if mix != NO_MIX else channels
    line = channels * width
    is_framed = whole_height != height or whole_width != width
    sums_rows = row_weights.size > 0
    side_by_side = channels == 3 and of_channel == 1 and (of_column == 3 or of_column == 4)
    for c in range(channels):
        side_by_side = side_by_side and sources[c] == c
    # Rows whose columns are not side by side are laid so first. Windows of sixteen fit in all lines.
    in_place = of_column == 1 and length >= BYTES
    # Rows so short that the processor sees too late which comes next are fetched one image ahead.
    fetches = pieces == 1 and in_place and length <= _SHORT
    of_line = length + _uint(BYTES)
    all_lines = _uint(0) if col_kind == COPIED or in_place else channels * of_line * _uint(_GROUP)
    row_steps, taps = _uint(row_weights.shape[1]), _uint(row_taps)
    element = _uint(4) if row_arithmetic in (SINGLE, APART) else _uint(1)
    # Rows that a group has too many must not lie where one lies that is still read.
    # A power of two, because a division takes as long as a block of sums.
    ring_rows = _uint(2 * _GROUP)
    while ring_rows < taps + _uint(2 * _GROUP):
        ring_rows += ring_rows
    within = ring_rows - _uint(1)
    # Vectors are written, and read, beyond the end of a row.
    of_ring = element * (line + _uint(ROW_OUTPUTS))
    # Behind the ring lies the row that comes out of the pass along rows.
    row = ring_rows * of_ring
    own_bytes = np.zeros(row + of_ring + width + all_lines, np.uint8)
    ring_address = _uint(own_bytes.ctypes.data)
    grey_address = ring_address + row + of_ring
    lines_address = grey_address + width
    own_numbers = np.zeros(_uint(2 * _GROUP) + taps, np.uint64)
    numbers_address = _uint(own_numbers.ctypes.data)
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
                        _row_parted(
                            x, address, of_image_row, of_channel, of_column, channel_of, channels, side_by_side,
                            length, ring, places[r], width,
                        )  # fmt: skip
                    elif in_place:
                        line_addresses[r] = address + of_image_row
                    else:
                        at = r * channels * of_line
                        _row_parted(
                            x, address, of_image_row, of_channel, of_column, channel_of, channels, side_by_side,
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
    # Until here it must be kept.
    own_bytes[0] = own_numbers[0] = 0

"""Compute programs for bytes that round between their passes, every bit as Pillow and PyTorch have it.

A pass along columns, a pass along rows, a mix of the channels, a table and a frame, in one go over the image;
each may be missing. Memory and threads are as in :mod:`onelayer.backends.cpu.float_kernel`.

Rows that went through the pass along columns lie in a ring, from which the pass along rows takes them: row r is at
place r modulo its length. Four new rows are computed at a time, as they share the loads of their weights.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu.affine import affine_values
from onelayer.backends.cpu.byte_call import (
    COMPLETE,
    COMPUTE,
    COPIED,
    FILL,
    FLOAT32,
    FLOAT32_UNFUSED,
    HALF_UP,
    NEAR,
    NO_MIX,
    PIXELS,
    PLACE,
    WIDE,
)
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
    pixel_column_pairs,
    pixel_columns,
    pixel_columns_wide,
    sums_of_rows,
    sums_of_rows_wide,
)
from onelayer.backends.cpu.simd import (
    ROW_OUTPUTS,
    bytes_at,
    call_at,
    copy_bytes,
    fetch_line,
    floats_at,
    join_pixels,
    longs_at,
    memory_at,
    shorts_at,
    split_pixels_of_3,
    split_pixels_of_4,
)
from onelayer.backends.cpu.tables import BYTES, FAR_OUTPUTS, LANES, NEAR_OUTPUTS

_f32, _u8, _uint = np.float32, np.uint8, np.uint64

_GROUP = 4
"""Rows whose columns are summed together."""

_LINE = 64
"""Bytes of a cache line."""

_LONG = 1024
"""Bytes of a row from which on the processor foresees by itself what comes next."""

_SHORT = 128
"""Bytes of a row up to which the next image is fetched ahead."""


@exact_inlined
def _rows_of_pillow(structure, rows_at):
    """Return the address of the rows' addresses, from the address of the address of a structure of Pillow's; or 0."""
    return longs_at(longs_at(structure)[0] + rows_at)[0] if structure != 0 else _uint(0)


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
def _next_rows_fetched(
    x, origin, begin, between, rows_between, rows, has_rows, of_row, of_channel, channels, length
):  # fmt: skip
    """Have the next group of rows brought nearer; parts of rows are too short for the processor to foresee the next."""
    for r in range(begin, min(begin + _uint(_GROUP), rows_between)):
        row_number = between[r]
        at = origin + (rows[row_number] if has_rows else row_number * of_row)
        for c in range(channels):
            for i in range((length + _uint(_LINE - 1)) // _uint(_LINE)):
                fetch_line(x, at + c * of_channel + i * _uint(_LINE))


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
def _pixels_summed(lines, arithmetic, steps, starts, places, weights, bits, width, advance, ring, ring_rows):
    """Sum the columns of a group of rows, all channels of a pixel together, to four bytes per output in the ring."""
    zero = _uint(0)
    if arithmetic == WIDE:
        pixel_columns_wide(lines, starts, places, weights, zero, width, steps, advance, bits, ring, ring_rows, zero)
    else:
        even = width - (width & _uint(1))
        pixel_column_pairs(lines, starts, places, weights, zero, even, steps, advance, bits, ring, ring_rows, zero)
        pixel_columns(lines, starts, places, weights, even, width, steps, advance, bits, ring, ring_rows, zero)


@exact_inlined
def _pixels_apart(values_address, width, out):
    """Lay pixels of four bytes, of which three are colors, as three planes."""
    values = bytes_at(values_address)
    if width >= BYTES:
        for block in range((width + _uint(BYTES - 1)) // _uint(BYTES)):
            j = min(block * _uint(BYTES), width - _uint(BYTES))
            split_pixels_of_4(values_address + _uint(4) * j, out, j, width)
    else:
        for j in range(width):
            for c in range(_uint(3)):
                out[c * width + j] = values[_uint(4) * j + c]


@exact_inlined
def _stored(values, at, length, has_table, table, has_affine, affine, d, out, to):
    if has_affine and length >= LANES:
        for block in range((length + _uint(LANES - 1)) // _uint(LANES)):
            j = min(block * _uint(LANES), length - _uint(LANES))
            affine_values(values, at + j, affine, _uint(5) * d, out, to + j)
    elif has_table:
        row = d * _uint(256)
        for j in range(length):
            out[to + j] = table[row + _uint(values[at + j])]
    else:
        # Into bytes: there is a table where anything else is written.
        copy_bytes(values, at, length, out, to)


@exact_inlined
def _pixels_joined(planes_address, width, channels, out, to):
    """Lay one channel, or three, as Pillow has them: three take four bytes a pixel."""
    planes = bytes_at(planes_address)
    if channels == 1:
        copy_bytes(planes, _uint(0), width, out, to)
    elif width >= BYTES:
        for block in range((width + _uint(BYTES - 1)) // _uint(BYTES)):
            j = min(block * _uint(BYTES), width - _uint(BYTES))
            join_pixels(planes, j, width, out, to + _uint(4) * j)
    else:
        for j in range(width):
            for d in range(_uint(3)):
                out[to + _uint(4) * j + d] = planes[d * width + j]
            out[to + _uint(4) * j + _uint(3)] = 255


@exact_inlined
def _pixels_set(out, to, begin, end, values, channels):
    """Set pixels of a row of Pillow's from ``begin`` up to before ``end`` to one color."""
    for j in range(begin, end):
        if channels == 1:
            out[to + j] = _u8(values[0])
        else:
            for d in range(_uint(3)):
                out[to + _uint(4) * j + d] = _u8(values[d])
            out[to + _uint(4) * j + _uint(3)] = 255


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
def resized_bytes(call, into):
    """Run a segment for the images and rows that the counter gives out; see the module.

    Args:
        call: uint64 [FIELDS], arguments, images and results, as :mod:`onelayer.backends.cpu.byte_call` lays them out.
            If it is only to compute, nothing is written to it, so that threads can share it.
        into: Array of the dtype of the results, of any length.

    Returns:
        Outcome.
    """
    outcome = call_at(call[field.PLACE_WITH], call) if call[field.STAGES] & _uint(PLACE) else COMPLETE
    if outcome == COMPLETE and call[field.STAGES] & _uint(FILL):
        is_copy = (
            call[field.ROW_LENGTH] == call[field.ROW_RESIZED] and call[field.COL_LENGTH] == call[field.COL_RESIZED]
        )
        outcome = call_at(call[field.COPY_WITH] if is_copy else call[field.FILL_WITH], call)
    if outcome != COMPLETE or not call[field.STAGES] & _uint(COMPUTE):
        return outcome
    address, has_rows, is_pillow = call[field.IMAGES], call[field.STRUCTURE] != 0, call[field.RESULT_STRUCTURE] != 0
    rows = longs_at(_rows_of_pillow(call[field.STRUCTURE], call[field.ROWS_AT]))
    result_rows = longs_at(_rows_of_pillow(call[field.RESULT_STRUCTURE], call[field.ROWS_AT]))
    x, out, out_bytes = bytes_at(address), memory_at(call[field.RESULTS], into), bytes_at(call[field.RESULTS])
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
    shared, is_shared = longs_at(call[field.SHARED]), call[field.SHARED] != 0
    channels, channel_of = call[field.CHANNELS], longs_at(call[field.SOURCES])
    first_column, length, width = call[field.FIRST_COLUMN], call[field.LENGTH], call[field.WIDTH]
    col_kind, col_arithmetic, col_bits = call[field.COL_KIND], call[field.COL_ARITHMETIC], call[field.COL_BITS]
    steps, blocks = call[field.COL_STEPS], call[field.COL_BLOCKS]
    starts, orders, weights = (
        longs_at(call[field.COL_STARTS]),
        bytes_at(call[field.COL_PLACES]),
        shorts_at(call[field.COL_WEIGHTS]),
    )
    between, rows_between = longs_at(call[field.BETWEEN]), call[field.ROWS_BETWEEN]
    taps, descends, row_starts = call[field.ROW_TAPS], call[field.DESCENDS] != 0, longs_at(call[field.ROW_STARTS])
    row_steps, row_pairs = call[field.ROW_STEPS], shorts_at(call[field.ROW_WEIGHTS])
    row_arithmetic, row_bits, height = call[field.ROW_ARITHMETIC], call[field.ROW_BITS], call[field.HEIGHT]
    mixing, is_fused, mix = floats_at(call[field.MIX_WEIGHTS]), call[field.MIX_FUSED] != 0, call[field.MIX]
    tables, has_table = memory_at(call[field.TABLE], into), call[field.TABLE] != 0
    affine, has_affine = floats_at(call[field.AFFINE]), call[field.AFFINE] != 0
    top, left, around = call[field.TOP], call[field.LEFT], memory_at(call[field.AROUND], into)
    whole_height, whole_width = call[field.WHOLE_HEIGHT], call[field.WHOLE_WIDTH]
    channels_out = call[field.CHANNELS_OUT]
    sums_pixels = col_kind == PIXELS
    line = _uint(4) * width if sums_pixels else channels * width
    is_framed = whole_height != height or whole_width != width
    sums_rows = row_steps > 0
    is_interleaved = channels == 3 and of_channel == 1 and (of_column == 3 or of_column == 4)
    for c in range(channels):
        is_interleaved = is_interleaved and channel_of[c] == c
    # Rows whose columns are not side by side are laid so first. Windows of sixteen fit in all lines.
    in_place = of_column == 1 and length >= BYTES
    # Rows so short that the processor sees too late which comes next are fetched one image ahead.
    foresees = in_place and length <= _LONG
    fetches = pieces == 1 and in_place and length <= _SHORT
    of_line = length + _uint(BYTES)
    all_lines = _uint(0) if col_kind == COPIED or sums_pixels or in_place else channels * of_line * _uint(_GROUP)
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
    planes = channels_out * width if is_pillow else _uint(0)
    apart = channels * width if sums_pixels else _uint(0)
    of_pixel = _uint(1) if channels_out == 1 else _uint(4)
    scratch_bytes = np.zeros(row + of_ring + width + all_lines + planes + apart, np.uint8)
    ring_address = _uint(scratch_bytes.ctypes.data)
    grey_address = ring_address + row + of_ring
    lines_address = grey_address + width
    planes_address = lines_address + all_lines
    apart_address = planes_address + planes
    scratch_numbers = np.zeros(_uint(2 * _GROUP) + taps, np.uint64)
    numbers_address = _uint(scratch_numbers.ctypes.data)
    # Numba counts how often an array is in use, in every inlined function, which takes longer than a short row.
    ring, grey, lines = bytes_at(ring_address), bytes_at(grey_address), bytes_at(lines_address)
    apart_planes = bytes_at(apart_address)
    line_addresses = longs_at(numbers_address)
    places = longs_at(numbers_address + _uint(8 * _GROUP))
    origins = longs_at(numbers_address + _uint(2 * 8 * _GROUP))
    all_pieces = images * pieces
    taken = take(shared, TAKEN, at_once) if is_shared else _uint(0)
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
                    row_number = between[min(have_end + r, rows_between - _uint(1))]
                    of_image_row = origin + (rows[row_number] if has_rows else row_number * of_row)
                    places[r] = ((have_end + r) & within) * of_ring
                    if col_kind == COPIED:
                        _row_split(
                            x, address, of_image_row, of_channel, of_column, channel_of, channels, is_interleaved,
                            length, ring, places[r], width,
                        )  # fmt: skip
                    elif in_place or sums_pixels:
                        line_addresses[r] = address + of_image_row
                    else:
                        at = r * channels * of_line
                        _row_split(
                            x, address, of_image_row, of_channel, of_column, channel_of, channels, is_interleaved,
                            length, lines, at, of_line,
                        )  # fmt: skip
                        line_addresses[r] = lines_address + at
                if foresees:
                    _next_rows_fetched(
                        x, origin, have_end + _uint(_GROUP), between, rows_between, rows, has_rows, of_row, of_channel,
                        channels, length,
                    )  # fmt: skip
                if sums_pixels:
                    _pixels_summed(
                        line_addresses, col_arithmetic, steps, starts, orders, weights, col_bits, width,
                        _uint(4) * of_column, ring, places,
                    )  # fmt: skip
                elif col_kind != COPIED:
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
            if sums_pixels:
                _pixels_apart(ring_address + at, width, apart_planes)
                at = apart_address - ring_address
            for d in range(channels_out):
                to = ((n * channels_out + d) * whole_height + top + i) * whole_width
                if is_pillow:
                    to = planes_address + d * width
                elif is_framed:
                    for j in range(left):
                        out[to + j] = around[d]
                    for j in range(left + width, whole_width):
                        out[to + j] = around[d]
                    to += left
                if mix == NO_MIX:
                    _stored(ring, at + d * width, width, has_table, tables, has_affine, affine, d, out, to)
                elif has_table:
                    _mixed(ring, at, width, mixing, channels, d, is_fused, mix, grey, _uint(0))
                    _stored(grey, _uint(0), width, has_table, tables, has_affine, affine, d, out, to)
                else:
                    _mixed(ring, at, width, mixing, channels, d, is_fused, mix, out_bytes, to)
            if is_pillow:
                to = result_rows[top + i]
                _pixels_set(out_bytes, to, _uint(0), left, around, channels_out)
                _pixels_joined(planes_address, width, channels_out, out_bytes, to + left * of_pixel)
                _pixels_set(out_bytes, to, left + width, whole_width, around, channels_out)
        if is_framed:
            first_row = _uint(0) if piece_begin == 0 else top + height
            last_row = whole_height if piece_end == height else top
            for row_number in range(first_row, last_row):
                if top <= row_number < top + height:
                    continue
                if is_pillow:
                    _pixels_set(out_bytes, result_rows[row_number], _uint(0), whole_width, around, channels_out)
                    continue
                for d in range(channels_out):
                    to = ((n * channels_out + d) * whole_height + row_number) * whole_width
                    for j in range(whole_width):
                        out[to + j] = around[d]
        taken += _uint(1)
        if taken == end_taken and is_shared:
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    # Keeps the memory alive until here: addresses do not.
    scratch_bytes[0] = scratch_numbers[0] = 0
    return COMPLETE

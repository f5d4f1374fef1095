"""Programs for bytes that round between their passes, in Numba: every bit as Pillow and PyTorch have it.

A pass along columns, a pass along rows, a mix of the channels and a table, in one go over the image; each may be
missing, or a mere copy. Arguments, memory and threads are as in ``numba_separable``; sums are in ``numba_integers``.

Rows that went through the pass along columns lie in a ring, from which the pass along rows takes them: row r is at
place r modulo its length. Eight new rows are computed at a time, as they share the loads of their weights.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.numba_common import DONE, TAKEN, exact_inlined, exact_kernel
from onelayer.backends.numba_integers import (
    copy_bytes,
    fused,
    mix_three,
    pairs_of_8_columns,
    pairs_of_32_columns,
    pairs_of_columns,
    split_8_columns,
    split_32_columns,
    unpack_four,
    unpack_four_split,
    unpack_line,
    unpack_line_split,
    unpack_three,
    unpack_three_split,
)
from onelayer.backends.numba_vectors import ROWS, add, memory_at, take
from onelayer.backends.windows import LANES

NO_MIX, CUT_OFF, HALF_UP = range(3)
"""What becomes of the channels: nothing, a mix whose fraction is cut off, or one that is rounded half up."""

_f32, _u8, _i16, _uint = np.float32, np.uint8, np.int16, np.uint64

_WIDE = 4 * LANES


@exact_inlined
def _unpacked(x, at, step, length, split, lines, to):
    """A line of bytes as numbers of 16 bits, each followed by 128 times itself if ``split``."""
    for i in range(length):
        value = _i16(x[at + i * step])
        if split:
            lines[to + i * _uint(2)] = value
            lines[to + i * _uint(2) + _uint(1)] = value << 7
        else:
            lines[to + i] = value


@exact_inlined
def _line_unpacked(x, origin, of_channel, of_column, sources, side_by_side, length, split, lines, to, between):
    """All channels of one row, ``between`` numbers apart."""
    eight = _uint(LANES)
    if length < eight or not (of_column == 1 or side_by_side):
        for c in range(_uint(len(sources))):
            _unpacked(x, origin + sources[c] * of_channel, of_column, length, split, lines, to + c * between)
        return
    # The last eight begin at the eighth from the end, some of them once more.
    last = length - eight
    for block in range((length + eight - _uint(1)) // eight):
        i = min(block * eight, last)
        if of_column == 1:
            for c in range(_uint(len(sources))):
                at = origin + sources[c] * of_channel + i
                if split:
                    unpack_line_split(x, at, lines, to + c * between + i * _uint(2), between)
                else:
                    unpack_line(x, at, lines, to + c * between + i, between)
        elif of_column == 3:
            if split:
                unpack_three_split(x, origin + i * _uint(3), lines, to + i * _uint(2), between)
            else:
                unpack_three(x, origin + i * _uint(3), lines, to + i, between)
        elif split:
            unpack_four_split(x, origin + i * _uint(4), lines, to + i * _uint(2), between)
        else:
            unpack_four(x, origin + i * _uint(4), lines, to + i, between)


@exact_inlined
def _copied(x, origin, of_channel, of_column, sources, col_places, runs, out, to, width):
    """The columns at ``col_places`` of all channels; in a run from the first one on, if ``runs``."""
    for c in range(_uint(len(sources))):
        at, q = origin + sources[c] * of_channel, to + c * width
        if runs and of_column == 1:
            copy_bytes(x, at + col_places[0], width, out, q)
        elif runs and of_column == 3:
            at += col_places[0] * _uint(3)
            for j in range(width):
                out[q + j] = x[at + j * _uint(3)]
        else:
            for j in range(width):
                out[q + j] = x[at + col_places[j] * of_column]


@exact_inlined
def _summed(ring, origins, weights, weights_at, pairs, bits, split, length, out):
    """A row of ``length`` bytes of rows in the ring; at least as many bytes as a vector has are written."""
    i = _uint(0)
    if split:
        while i + _uint(_WIDE) <= length:
            split_32_columns(ring, origins, weights, weights_at, pairs, i, bits, out, i)
            i += _uint(_WIDE)
        while i < length:
            split_8_columns(ring, origins, weights, weights_at, pairs, i, bits, out, i)
            i += _uint(LANES)
    else:
        while i + _uint(_WIDE) <= length:
            pairs_of_32_columns(ring, origins, weights, weights_at, pairs, i, bits, out, i)
            i += _uint(_WIDE)
        while i < length:
            pairs_of_8_columns(ring, origins, weights, weights_at, pairs, i, bits, out, i)
            i += _uint(LANES)


@exact_inlined
def _stored(values, at, length, table, d, out, to):
    if len(table) == 0:
        # Into bytes: there is a table where anything else is written.
        copy_bytes(values, at, length, out, to)
    else:
        row = d * _uint(256)
        for j in range(length):
            out[to + j] = table[row + _uint(values[at + j])]


@exact_inlined
def _mixed(values, at, width, channel, d, is_fused, mix, out):
    """One channel of weighted sums, each product after the other, as bytes."""
    channels = _uint(channel.shape[1])
    if is_fused and channels == 3:
        half = _f32(0.5) if mix == HALF_UP else _f32(0)
        # Eight at a time, the last ones with what lies behind them.
        for block in range((width + _uint(LANES - 1)) // _uint(LANES)):
            j = block * _uint(LANES)
            mix_three(values, at + j, width, channel[d, 0], channel[d, 1], channel[d, 2], half, out, j)
        return
    for j in range(width):
        total = _f32(values[at + j]) * channel[d, 0]
        for c in range(_uint(1), channels):
            value = _f32(values[at + c * width + j])
            total = fused(value, channel[d, c], total) if is_fused else total + value * channel[d, c]
        if mix == HALF_UP:
            total += _f32(0.5)
        out[j] = _u8(np.int32(total))


@exact_kernel
def resized_bytes(
    of, address, of_image, of_channel, of_row, of_column,
    sources, first_column, length, col_places, col_runs, col_starts, col_pairs, col_bits, col_split, width,
    between, window_rows, descends, row_starts, row_weights, row_bits, row_split, height,
    channel, is_fused, mix, table,
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
        first_column: First column that sums read.
        length: How many columns they read from there on.
        col_places: uint64 [W'], the column that each column copies; empty where columns are sums.
        col_runs: Whether these follow each other.
        col_starts: uint64 [blocks], the first number of 16 bits of a line that each block of eight outputs reads.
        col_pairs: int16 [blocks, pairs, 8, 2], weights.
        col_bits: Of fraction.
        col_split: Whether a pair is a sample and 128 times itself, in place of two neighbours.
        width: W'.
        between: uint64 [rows], the row of the image that each row before the pass along rows is.
        window_rows: How many of these rows eight neighbouring outputs read at most.
        descends: Whether later outputs read earlier rows.
        row_starts: uint64 [H'], first row, of those, that each output reads.
        row_weights: int16 [H', pairs, 2], empty where rows are copies.
        row_bits: Of fraction.
        row_split: As ``col_split``.
        height: H'.
        channel: float32 [C', C], weights of the mix.
        is_fused: Whether its products are added with one rounding.
        mix: One of the three of this module.
        table: [C'·256] of the dtype of the results, empty for none.
        into: An array of the dtype of the results.
        out_address: Of memory for [N, C', H', W'], contiguous.
        images: N.
        pieces: Into how many pieces, of whole rows, an image is divided.
        piece_rows: Rows of a piece.
        at_once: How many pieces to take at a time.
        shared: uint64 [3], of zeros at first, as in ``numba_separable``.
    """
    x, out = memory_at(address, of), memory_at(out_address, into)
    # A signed and an unsigned number make a floating point one.
    of_image, of_channel, of_row, of_column = _uint(of_image), _uint(of_channel), _uint(of_row), _uint(of_column)
    images, pieces, piece_rows, at_once = _uint(images), _uint(pieces), _uint(piece_rows), _uint(at_once)
    col_bits, row_bits = _uint(col_bits), _uint(row_bits)
    channels, rows_between = _uint(len(sources)), _uint(len(between))
    channels_out = _uint(channel.shape[0]) if mix != NO_MIX else channels
    line = channels * width
    sums_columns, sums_rows = len(col_places) == 0, row_weights.size > 0
    side_by_side = channels == 3 and of_channel == 1
    for c in range(channels):
        side_by_side = side_by_side and sources[c] == c and (of_column == 3 or of_column == 4)
    per_sample = _uint(2) if col_split else _uint(1)
    # One more pair, which has weights of zero, may be read.
    between_lines = length * per_sample + _uint(2)
    between_channels = between_lines * _uint(ROWS)
    lines = np.zeros(channels * between_channels, np.int16) if sums_columns else np.zeros(1, np.int16)
    col_weights, row_pairs = col_pairs.reshape(-1), row_weights.reshape(-1)
    pairs_of_block = _uint(col_pairs.shape[1])
    pairs_of_row = _uint(row_weights.shape[1])
    taps = pairs_of_row if row_split else _uint(2) * pairs_of_row
    # Rows that a group of eight has too many must not lie where one lies that is still read.
    # A power of two, because a division takes as long as a block of sums.
    ring_rows = _uint(2 * ROWS)
    while ring_rows < window_rows + _uint(2 * ROWS):
        ring_rows += ring_rows
    within = ring_rows - _uint(1)
    # A vector may be written, or read, beyond the end of a row.
    ring_line = line + _uint(_WIDE)
    ring = np.zeros(ring_rows * ring_line, np.uint8)
    row, grey = np.zeros(line + _uint(_WIDE), np.uint8), np.zeros(width + _uint(LANES), np.uint8)
    places, origins = np.zeros(ROWS, np.uint64), np.zeros(max(taps, _uint(1)), np.uint64)
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
            begin, end = row_starts[i], row_starts[i] + max(taps, _uint(1))
            end = min(end, rows_between)
            if begin < have_begin or begin > have_end:
                have_begin = have_end = begin
            while have_end < end:
                for r in range(_uint(ROWS)):
                    # Beyond the last row it is computed once more, and kept nowhere that is read.
                    of_image_row = origin + between[min(have_end + r, rows_between - _uint(1))] * of_row
                    places[r] = ((have_end + r) & within) * ring_line
                    if sums_columns:
                        _line_unpacked(
                            x, of_image_row, of_channel, of_column, sources, side_by_side, length, col_split, lines,
                            r * between_lines, between_channels,
                        )  # fmt: skip
                    else:
                        _copied(
                            x, of_image_row, of_channel, of_column, sources, col_places, col_runs, ring, places[r],
                            width,
                        )  # fmt: skip
                if sums_columns:
                    for c in range(channels):
                        for block in range(_uint(len(col_starts))):
                            to = block * _uint(LANES)
                            if to + _uint(LANES) > width:
                                to = width - _uint(LANES) if width > _uint(LANES) else _uint(0)
                            pairs_of_columns(
                                lines, c * between_channels + col_starts[block], between_lines, col_weights,
                                block * pairs_of_block * _uint(2 * LANES), pairs_of_block, col_bits, ring, places,
                                c * width + to,
                            )  # fmt: skip
                have_end += _uint(ROWS)
                if have_end > have_begin + ring_rows:
                    have_begin = have_end - ring_rows
            if sums_rows:
                for k in range(taps):
                    # What a pair has too much has a weight of zero.
                    origins[k] = (min(begin + k, rows_between - _uint(1)) & within) * ring_line
                _summed(
                    ring, origins, row_pairs, i * pairs_of_row * _uint(2), pairs_of_row, row_bits, row_split, line, row
                )
            else:
                copy_bytes(ring, (begin & within) * ring_line, line, row, _uint(0))
            for d in range(channels_out):
                to = ((n * channels_out + d) * height + i) * width
                if mix != NO_MIX:
                    _mixed(row, _uint(0), width, channel, d, is_fused, mix, grey)
                    _stored(grey, _uint(0), width, table, d, out, to)
                else:
                    _stored(row, d * width, width, table, d, out, to)
        taken += _uint(1)
        if taken == end_taken:
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)

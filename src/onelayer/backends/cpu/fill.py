"""Fill the tables of a call of the byte kernel in compiled code, for an image size that was never seen before.

:mod:`onelayer.backends.cpu.tables` fills the same tables with NumPy, from any map of an axis, a hundred times slower;
tests hold the two to each other.
"""

from __future__ import annotations

import numpy as np
from numba import types

from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu.byte_call import (
    COMPLETE,
    COPIED,
    FAR,
    FLOAT32,
    FLOAT32_UNFUSED,
    NARROW,
    NEAR,
    NO_ROOM,
    PIXELS,
    ROWS_FIRST,
    TOO_LARGE,
    UNPLACED,
    WIDE,
)
from onelayer.backends.cpu.compilation import inlined_table, table_inline, table_kernel
from onelayer.backends.cpu.simd import doubles_at, floats_at, ints_at, longs_at, shorts_at
from onelayer.backends.cpu.tables import BYTES, FAR_OUTPUTS, LANES, NEAR_OUTPUTS
from onelayer.backends.cpu.taps import (
    CUBIC_FOURS,
    NEAREST,
    PILLOW_NEAREST,
    copied_samples,
    fixed_point_taps,
    float32_taps,
    most_taps,
)
from onelayer.frontends.placement import CROP_EDGE, CROP_REFLECT, NUMBERS, place, rows_first

(
    FIRST,  # Address of int32, first sample of each output.
    COUNTS,  # Address of int32, number of samples of each output.
    REAL,  # Address of float64, scratch memory of taps.
    WHOLE,  # Address of int32 or float32, weights tap by tap.
    STARTS,  # Address of uint64, starts of the columns' windows.
    PLACES,  # Address of int32, places in the columns' windows.
    COL_WEIGHTS,  # Address of int32, weights of the columns.
    ROW_STARTS,  # Address of uint64, first row of each output.
    ROW_WEIGHTS,  # Address of int32, weights of the rows.
    COPIES,  # Address of uint64, rows that are copied.
    NATURAL,  # Address of uint64, the numbers from 0 on.
    ROOM_OUTPUTS,  # Number of outputs of an axis that there is room for.
    ROOM_TAPS,  # Number of taps that there is room for.
    ROOM_LINES,  # Length of an axis of an image that there is room for.
) = range(14)
"""Places of the addresses and lengths in a workspace, uint64 each."""

CALL = types.Array(types.uint64, 1, "C")
"""Type of a call, the only argument of the functions that place and fill."""

_f32, _f64, _int, _int64, _uint = np.float32, np.float64, np.int32, np.int64, np.uint64

_place, _rows_first, _most_taps = table_kernel(place), inlined_table(rows_first), inlined_table(most_taps)

_LOW = np.int32(32767)
"""Lower part of a weight of more than 16 bits."""

_WIDE_REDUCTION = 3.2
"""Columns per output from which on whole pixels are summed; below, taking the channels apart first is quicker."""

_NO_PLACE = np.int32(0x80008000 - (1 << 32))
"""Two places of a register that stand for zeros, with a zero behind each."""


@inlined_table
def _bounds(outputs, first, count):
    """Return the first sample that is read, and how many are from there to the last."""
    low, high = first[0], first[0] + count[0]
    for j in range(outputs):
        low = min(low, first[j])
        high = max(high, first[j] + count[j])
    return low, high - low


@inlined_table
def _parts_of_pair(weights, at, between, low, high, is_wide):
    """Store two weights as a pair of 16 bits each, or in two such parts."""
    if is_wide:
        weights[at] = (low & _LOW) | (high & _LOW) << _int(16)
        weights[at + between] = ((low >> _int(15)) & _int(65535)) | (high >> _int(15)) << _int(16)
    else:
        weights[at] = (low & _int(65535)) | high << _int(16)


@table_kernel
def _near(outputs, taps, first, whole, origin, last, is_wide, starts, places, weights):
    """Fill the near layout of :func:`onelayer.backends.cpu.tables.byte_windows`; False if samples lie too far apart."""
    steps = (taps + _uint(1)) // _uint(2)
    last_block = outputs - min(outputs, _uint(NEAR_OUTPUTS))
    of_step = _uint(2 * NEAR_OUTPUTS if is_wide else NEAR_OUTPUTS)
    is_far = False
    for block in range((outputs + _uint(NEAR_OUTPUTS - 1)) // _uint(NEAR_OUTPUTS)):
        base = min(block * _uint(NEAR_OUTPUTS), last_block)
        for step in range(steps):
            at = block * steps + step
            even, odd = _uint(2) * step * outputs, (_uint(2) * step + _uint(1)) * outputs
            has_odd = _uint(2) * step + _uint(1) < taps
            sample = _int(2) * _int(step) - origin
            for half in range(_uint(4)):
                # Packing two registers to bytes leaves fours in the order 0 2 1 3.
                four = base + _uint(4) * (half >> _uint(1) | (half & _uint(1)) << _uint(1))
                begin = first[min(four, outputs - _uint(1))]
                for o in range(_uint(1), _uint(4)):
                    begin = min(begin, first[min(four + o, outputs - _uint(1))])
                begin = min(begin + sample, last)
                starts[at * _uint(4) + half] = _uint(begin)
                for o in range(_uint(4)):
                    j = four + o
                    to = at * _uint(NEAR_OUTPUTS) + half * _uint(4) + o
                    low, high, both = _int(0), _int(0), _NO_PLACE
                    if j < outputs:
                        low = whole[even + j]
                        high = whole[odd + j] if has_odd else _int(0)
                        place = first[j] + sample - begin
                        # What has no weight may be read from anywhere.
                        is_far |= (low != 0 and place > BYTES - 1) or (high != 0 and place > BYTES - 2)
                        both |= ((place + _int(1)) << _int(16) | place) & _int(0x007F007F)
                    places[to] = both
                    at_weight = at * of_step + half * _uint(4) + o
                    _parts_of_pair(weights, at_weight, _uint(NEAR_OUTPUTS), low, high, is_wide)
    return not is_far


@table_kernel
def _far(outputs, first, count, whole, steps, origin, last, is_wide, starts, weights):
    """Fill the far layout of :func:`onelayer.backends.cpu.tables.byte_windows`; weights are int16."""
    last_block = outputs - min(outputs, _uint(FAR_OUTPUTS))
    blocks = (outputs + _uint(FAR_OUTPUTS - 1)) // _uint(FAR_OUTPUTS)
    of_output = _uint(2 * BYTES if is_wide else BYTES)
    for i in range(blocks * steps * _uint(FAR_OUTPUTS) * of_output):
        weights[i] = 0
    for block in range(blocks):
        base = min(block * _uint(FAR_OUTPUTS), last_block)
        for step in range(steps):
            for o in range(_uint(FAR_OUTPUTS)):
                j = min(base + o, outputs - _uint(1))
                at = (block * steps + step) * _uint(FAR_OUTPUTS) + o
                # A window that would begin too late begins earlier, and its weights stand later in it.
                begin = min(first[j] - origin + _int(BYTES) * _int(step), last)
                starts[at] = _uint(begin)
                if base + o >= outputs:
                    continue
                for k in range(_uint(BYTES) * step, min(_uint(BYTES) * (step + _uint(1)), _uint(count[j]))):
                    w = whole[k * outputs + j]
                    to = at * of_output + _uint(first[j] - origin + _int(k) - begin)
                    if is_wide:
                        weights[to], weights[to + _uint(BYTES)] = w & _LOW, w >> _int(15)
                    else:
                        weights[to] = w


@inlined_table
def _pixel_window(begin, count, windows, span, pixel):
    """Return where a window of pixels begins, and how many bytes before it the first step does.

    A step reads sixteen bytes: four pixels and, where they are of three bytes, four bytes more. Those lie behind the
    pixels or, for a window that ends with the last one, before them.
    """
    if pixel == 4:
        return min(begin, span - windows), _int(0)
    early = min(begin, span - windows - _int(2))
    if begin + count <= early + windows:
        return early, _int(0)
    return span - windows, _int(4)


@inlined_table
def _pixel_steps(outputs, taps, first, count, origin, span, pixel):
    """Return the number of steps of four pixels in which every output has all its samples; 0 if rows are too short."""
    steps = (taps + _uint(3)) // _uint(4)
    for j in range(outputs):
        begin, _ = _pixel_window(first[j] - origin, count[j], _int(4) * _int(steps), span, pixel)
        if begin > first[j] - origin:
            steps += _uint(1)
            break
    return steps if _int(4) * _int(steps) + _int(2) <= span else _uint(0)


@table_kernel
def _pixels(outputs, first, count, whole, steps, origin, span, pixel, is_wide, starts, orders, weights):
    """Fill the layout for sums of whole pixels, of ``pixel`` bytes each.

    Half a register has two of the four pixels of a step, as a pair of samples for each channel.
    """
    windows, parts = _int(4) * _int(steps), _uint(2 if is_wide else 1)
    for i in range(outputs * steps * _uint(8) * parts):
        weights[i] = 0
    for j in range(outputs):
        begin, before = _pixel_window(first[j] - origin, count[j], windows, span, pixel)
        starts[j] = _uint(begin * pixel - before)
        for half in range(_uint(2)):
            for channel in range(_uint(4)):
                place = before + _int(2 * half) * pixel + _int(channel)
                # What there is beyond three channels is computed with them, and read by nobody.
                both = ((place + pixel) << _int(16) | place) & _int(0x000F000F)
                orders[_uint(8) * j + _uint(4) * half + channel] = both | _NO_PLACE
        skipped = first[j] - origin - begin
        for k in range(_uint(count[j])):
            tap = _uint(skipped) + k
            w = whole[k * outputs + j]
            at = (j * steps + tap // _uint(4)) * parts * _uint(8) + (tap // _uint(2) & _uint(1)) * _uint(4)
            shift = _int(16) * _int(tap & _uint(1))
            low = ((w & _LOW if is_wide else w) & _int(65535)) << shift
            high = ((w >> _int(15)) & _int(65535)) << shift
            for channel in range(_uint(4)):
                weights[at + channel] |= low
                if is_wide:
                    weights[at + _uint(8) + channel] |= high


@table_kernel
def _row_pairs(outputs, taps, whole, is_wide, weights):
    """Fill the weights of a pass along rows, [outputs, pairs, parts]; return the number of pairs."""
    pairs = (taps + _uint(1)) // _uint(2)
    parts = _uint(2 if is_wide else 1)
    for pair in range(pairs):
        even, odd = _uint(2) * pair * outputs, (_uint(2) * pair + _uint(1)) * outputs
        has_odd = _uint(2) * pair + _uint(1) < taps
        for i in range(outputs):
            high = whole[odd + i] if has_odd else _int(0)
            _parts_of_pair(weights, (i * pairs + pair) * parts, _uint(1), whole[even + i], high, is_wide)
    return pairs


@inlined_table
def _is_unfused(k, count, unfused):
    """Whether the product of a tap is rounded before it is added; see :class:`onelayer.algebra.Float32Sum`."""
    return unfused > 0 and 0 < k < 1 + (count - 1) // unfused * unfused


@table_kernel
def _float32_columns(outputs, taps, first, count, values, unfused, origin, last, starts, places, weights):
    """Fill the windows of :func:`onelayer.backends.cpu.tables.float32_windows`; return whether they are near."""
    blocks = (outputs + _uint(LANES - 1)) // _uint(LANES)
    last_block = outputs - min(outputs, _uint(LANES))
    is_near = True
    for block in range(blocks):
        base = min(block * _uint(LANES), last_block)
        for k in range(taps):
            at = block * taps + k
            for half in range(_uint(2)):
                begin = last
                for o in range(_uint(4)):
                    j = min(base + _uint(4) * half + o, outputs - _uint(1))
                    begin = min(begin, first[j] - origin + min(_int(k), count[j] - _int(1)))
                starts[at * _uint(2) + half] = _uint(begin)
                for o in range(_uint(4)):
                    j = min(base + _uint(4) * half + o, outputs - _uint(1))
                    place = first[j] - origin + min(_int(k), count[j] - _int(1)) - begin
                    is_near &= place < BYTES
                    # A byte, and three zeros.
                    places[at * _uint(LANES) + _uint(4) * half + o] = place & _int(15) | _int(0x80808000 - (1 << 32))
            for o in range(_uint(LANES)):
                j = min(base + o, outputs - _uint(1))
                w = values[k * outputs + j] if base + o < outputs else _f32(0)
                to = at * _uint(2 * LANES) + o
                apart = _is_unfused(_int(k), count[j], unfused)
                weights[to] = _f32(0) if apart else w
                weights[to + _uint(LANES)] = w if apart else _f32(0)
    if not is_near:
        for block in range(blocks):
            base = min(block * _uint(LANES), last_block)
            for k in range(taps):
                for o in range(_uint(LANES)):
                    j = min(base + o, outputs - _uint(1))
                    to = (block * taps + k) * _uint(LANES) + o
                    starts[to] = _uint(first[j] - origin + min(_int(k), count[j] - _int(1)))
    return is_near


@table_kernel
def _float32_rows(outputs, taps, count, values, unfused, weights):
    """Fill the weights of a pass along rows in float32, [outputs, taps, 2]."""
    for k in range(taps):
        for i in range(outputs):
            w = values[k * outputs + i]
            to = (i * taps + k) * _uint(2)
            apart = _is_unfused(_int(k), count[i], unfused)
            weights[to], weights[to + _uint(1)] = (_f32(0), w) if apart else (w, _f32(0))


@inlined_table
def _has_border(length, resized, low, outputs):
    """Whether an axis that is not resized has a border that is made of its samples."""
    return length == resized and (_int64(low) < 0 or _int64(low) + _int64(outputs) > _int64(length))


@inlined_table
def _mirrored(border, place, length):
    """Return the sample of an axis that a border has at a place before the first or behind the last one."""
    if border == CROP_EDGE:
        return min(max(place, _int(0)), length - _int(1))
    beyond = _int(0) if border == CROP_REFLECT else _int(1)
    if place < 0:
        return -place - beyond
    return _int(2) * (length - _int(1)) + beyond - place if place >= length else place


@inlined_table
def _turned(length, outputs, first, count):
    """Reverse the samples that outputs read."""
    for j in range(outputs):
        first[j] = _int(length) - first[j] - count[j]


@inlined_table
def _turned_weights(outputs, count, whole):
    """Reverse the weights of samples; sums of whole numbers are the same in any order."""
    for j in range(outputs):
        for k in range(_uint(count[j]) // _uint(2)):
            here, there = k * outputs + j, (_uint(count[j]) - _uint(1) - k) * outputs + j
            whole[here], whole[there] = whole[there], whole[here]


@inlined_table
def _copies(kind, length, resized, low, outputs, flip, border, first, count):
    """Find the samples of an axis that is only copied: as long as before, or resized to the nearest samples."""
    is_reversed = flip & _uint(1) != 0
    if length == resized:
        for j in range(outputs):
            first[j] = _int(low + (outputs - _uint(1) - j if is_reversed else j))
    else:
        copied_samples(length, resized, kind, low, outputs, is_reversed, first)
    if _has_border(length, resized, low, outputs):
        for j in range(outputs):
            first[j] = _mirrored(border, first[j], _int(length))
    for j in range(outputs):
        count[j] = 1
    if flip > _uint(1):
        _turned(length, outputs, first, count)


@inlined_table
def _has_more_taps(count, outputs, unfused):
    """Whether any product but the first is rounded before it is added."""
    most = _int(0)
    for j in range(outputs):
        most = max(most, count[j])
    return 0 < unfused < most


@inlined_table
def _fixed_point_taps(length, resized, kind, limit, low, outputs, flip, first, count, real, whole):
    """Find the samples and the weights of an axis, whose samples or outputs may be reversed."""
    taps, bits, fits = fixed_point_taps(
        length, resized, kind, limit, low, outputs, flip & _uint(1) != 0, first, count, real, whole
    )
    if flip > _uint(1):
        _turned(length, outputs, first, count)
        _turned_weights(outputs, count, whole)
    return taps, bits, fits


@table_inline
def _of_columns(call):
    """Return start, length, resized, low, outputs and flip, all uint64."""
    return (
        call[field.COL_START], call[field.COL_LENGTH], call[field.COL_RESIZED],
        call[field.COL_LOW], call[field.COL_KEPT], call[field.COL_FLIP],
    )  # fmt: skip


@table_inline
def _of_rows(call):
    """Return start, length, resized, low, outputs and flip, all uint64."""
    return (
        call[field.ROW_START], call[field.ROW_LENGTH], call[field.ROW_RESIZED],
        call[field.ROW_LOW], call[field.ROW_KEPT], call[field.ROW_FLIP],
    )  # fmt: skip


@table_inline
def _columns_filled(call, work, origin, span, start, column_kind):
    """Fill the fields of a pass along columns that reads ``span`` columns from ``origin`` on."""
    call[field.FIRST_COLUMN], call[field.LENGTH] = start + _uint(origin), _uint(span)
    call[field.COL_KIND] = column_kind
    call[field.COL_STARTS], call[field.COL_PLACES] = work[STARTS], work[PLACES]
    call[field.COL_WEIGHTS] = work[COL_WEIGHTS]


@table_inline
def _columns_of_bytes(call, work, kind, limit):
    """Fill the fields of the pass along columns; return whether sums fit into 32 bits."""
    start, length, resized, low, outputs, flip = _of_columns(call)
    call[field.WIDTH] = outputs
    if length == resized and flip == 0 and not _has_border(length, resized, low, outputs):
        call[field.FIRST_COLUMN], call[field.LENGTH], call[field.COL_KIND] = start + low, outputs, COPIED
        return True
    first, count = ints_at(work[FIRST]), ints_at(work[COUNTS])
    starts, places, weights = longs_at(work[STARTS]), ints_at(work[PLACES]), ints_at(work[COL_WEIGHTS])
    whole, pixel = ints_at(work[WHOLE]), call[field.PIXEL]
    fits, bits, taps, is_wide = True, 1, _uint(1), False
    if length != resized and kind < NEAREST:
        is_wide = limit == 0
        taps, bits, fits = _fixed_point_taps(
            length, resized, kind, limit, low, outputs, flip, first, count, doubles_at(work[REAL]), whole
        )
    else:
        _copies(kind, length, resized, low, outputs, flip, call[field.BORDER], first, count)
        for j in range(outputs):
            whole[j] = 2
    origin, span = _bounds(outputs, first, count)
    last = max(span - _int(BYTES), _int(0))
    call[field.COL_ARITHMETIC], call[field.COL_BITS] = WIDE if is_wide else NARROW, bits
    pixel_steps = _uint(0)
    if pixel and _f64(length) > _WIDE_REDUCTION * _f64(resized):
        pixel_steps = _pixel_steps(outputs, taps, first, count, origin, span, _int(pixel))
    if pixel_steps:
        column_kind = PIXELS
        _pixels(outputs, first, count, whole, pixel_steps, origin, span, _int(pixel), is_wide, starts, places, weights)
        call[field.COL_BLOCKS], call[field.COL_STEPS] = outputs, pixel_steps
    elif _near(outputs, taps, first, whole, origin, last, is_wide, starts, places, weights):
        column_kind = NEAR
        call[field.COL_BLOCKS] = (outputs + _uint(NEAR_OUTPUTS - 1)) // _uint(NEAR_OUTPUTS)
        call[field.COL_STEPS] = (taps + _uint(1)) // _uint(2)
    else:
        column_kind = FAR
        steps = (taps + _uint(BYTES - 1)) // _uint(BYTES)
        _far(outputs, first, count, whole, steps, origin, last, is_wide, starts, shorts_at(work[COL_WEIGHTS]))
        call[field.COL_BLOCKS] = (outputs + _uint(FAR_OUTPUTS - 1)) // _uint(FAR_OUTPUTS)
        call[field.COL_STEPS] = steps
    _columns_filled(call, work, origin, span, start, column_kind)
    return fits


@table_inline
def _columns_in_float32(call, work, kind, unfused):
    """Fill the fields of the pass along columns."""
    start, length, resized, low, outputs, flip = _of_columns(call)
    call[field.WIDTH] = outputs
    first, count = ints_at(work[FIRST]), ints_at(work[COUNTS])
    values, taps = floats_at(work[WHOLE]), _uint(1)
    if length != resized:
        taps = float32_taps(length, resized, kind, low, outputs, flip != 0, first, count, floats_at(work[REAL]), values)
    else:
        _copies(kind, length, resized, low, outputs, flip, call[field.BORDER], first, count)
        for j in range(outputs):
            values[j] = _f32(1)
    origin, span = _bounds(outputs, first, count)
    last = max(span - _int(BYTES), _int(0))
    is_near = _float32_columns(
        outputs, taps, first, count, values, unfused, origin, last,
        longs_at(work[STARTS]), ints_at(work[PLACES]), floats_at(work[COL_WEIGHTS]),
    )  # fmt: skip
    call[field.COL_ARITHMETIC] = FLOAT32_UNFUSED if _has_more_taps(count, outputs, unfused) else FLOAT32
    call[field.COL_BLOCKS], call[field.COL_STEPS] = (outputs + _uint(LANES - 1)) // _uint(LANES), taps
    call[field.COL_BITS] = 0
    _columns_filled(call, work, origin, span, start, NEAR if is_near else FAR)


@table_inline
def _rows_copied(call, work, kind):
    """Fill the fields of a pass along rows that only copies."""
    start, length, resized, low, outputs, flip = _of_rows(call)
    call[field.ROWS_BETWEEN], call[field.ROW_STARTS] = outputs, work[NATURAL]
    if length == resized and flip == 0 and not _has_border(length, resized, low, outputs):
        call[field.BETWEEN] = work[NATURAL] + _uint(8) * (start + low)
    else:
        first, between = ints_at(work[FIRST]), longs_at(work[COPIES])
        _copies(kind, length, resized, low, outputs, flip, call[field.BORDER], first, ints_at(work[COUNTS]))
        for i in range(outputs):
            between[i] = start + _uint(first[i])
        call[field.BETWEEN] = work[COPIES]
    call[field.ROW_TAPS], call[field.ROW_STEPS], call[field.ROW_ARITHMETIC] = 1, 0, NARROW


@table_inline
def _rows_filled(call, work, origin, span, first):
    """Fill the fields of a pass along rows that sums ``span`` rows from ``origin`` on."""
    starts = longs_at(work[ROW_STARTS])
    for i in range(call[field.HEIGHT]):
        starts[i] = _uint(first[i] - origin)
    call[field.BETWEEN] = work[NATURAL] + _uint(8) * (call[field.ROW_START] + _uint(origin))
    call[field.ROWS_BETWEEN] = _uint(span)
    call[field.ROW_STARTS], call[field.ROW_WEIGHTS] = work[ROW_STARTS], work[ROW_WEIGHTS]
    call[field.DESCENDS] = 1 if call[field.ROW_FLIP] == 1 or call[field.ROW_FLIP] == 2 else 0


@table_inline
def _rows_of_bytes(call, work, kind, limit):
    """Fill the fields of the pass along rows; return whether sums fit into 32 bits."""
    _, length, resized, low, outputs, flip = _of_rows(call)
    call[field.HEIGHT], call[field.DESCENDS] = outputs, 0
    if length == resized or kind >= NEAREST:
        _rows_copied(call, work, kind)
        return True
    first, count, whole = ints_at(work[FIRST]), ints_at(work[COUNTS]), ints_at(work[WHOLE])
    is_wide = limit == 0
    taps, bits, fits = _fixed_point_taps(
        length, resized, kind, limit, low, outputs, flip, first, count, doubles_at(work[REAL]), whole
    )
    pairs = _row_pairs(outputs, taps, whole, is_wide, ints_at(work[ROW_WEIGHTS]))
    call[field.ROW_ARITHMETIC], call[field.ROW_BITS] = WIDE if is_wide else NARROW, bits
    call[field.ROW_STEPS], call[field.ROW_TAPS] = pairs, _uint(2) * pairs
    origin, span = _bounds(outputs, first, count)
    _rows_filled(call, work, origin, span, first)
    return fits


@table_inline
def _rows_in_float32(call, work, kind, unfused):
    """Fill the fields of the pass along rows."""
    _, length, resized, low, outputs, flip = _of_rows(call)
    call[field.HEIGHT], call[field.DESCENDS] = outputs, 0
    weights = floats_at(work[ROW_WEIGHTS])
    if length == resized:
        _rows_copied(call, work, kind)
        for i in range(outputs):
            weights[_uint(2) * i], weights[_uint(2) * i + _uint(1)] = _f32(1), _f32(0)
        call[field.ROW_STEPS], call[field.ROW_ARITHMETIC], call[field.ROW_WEIGHTS] = 1, FLOAT32, work[ROW_WEIGHTS]
        return
    first, count, values = ints_at(work[FIRST]), ints_at(work[COUNTS]), floats_at(work[WHOLE])
    taps = float32_taps(length, resized, kind, low, outputs, flip != 0, first, count, floats_at(work[REAL]), values)
    _float32_rows(outputs, taps, count, values, unfused, weights)
    call[field.ROW_ARITHMETIC] = FLOAT32_UNFUSED if _has_more_taps(count, outputs, unfused) else FLOAT32
    call[field.ROW_STEPS] = call[field.ROW_TAPS] = taps
    call[field.ROW_BITS] = 0
    origin, span = _bounds(outputs, first, count)
    _rows_filled(call, work, origin, span, first)


@table_kernel
def placed(call):
    """Place images of the size that a call holds in the result; return an outcome."""
    signed = call.view(np.int64)
    moves = longs_at(call[field.MOVES]).view(np.int64)[: call[field.MOVE_NUMBERS]]
    numbers = signed[field.ROW_START : field.ROW_START + NUMBERS]
    height, width = signed[field.IMAGE_HEIGHT], signed[field.IMAGE_WIDTH]
    if height < 1 or width < 1 or not _place(moves, height, width, numbers):
        return UNPLACED
    rows, cols = signed[field.ROW_LENGTH], signed[field.COL_LENGTH]
    new_rows, new_cols = signed[field.ROW_RESIZED], signed[field.COL_RESIZED]
    changes_both = rows != new_rows and cols != new_cols and call[field.FILTER] < NEAREST
    is_rows_first = changes_both and _rows_first(signed[field.FIRST_PASS], rows, cols, new_rows, new_cols)
    if max(signed[field.ROW_FLIP], signed[field.COL_FLIP]) > 1:
        kind = signed[field.FILTER]
        # Sums in float32 are others in another order.
        if is_rows_first or not (kind <= CUBIC_FOURS or NEAREST <= kind <= PILLOW_NEAREST):
            return UNPLACED
    return ROWS_FIRST if is_rows_first else COMPLETE


@table_inline
def _prepared(call, work, kind):
    """Find the values of the frame; return whether a workspace has room for the tables of a call."""
    if _int64(call[field.FRAME]) >= 0:
        call[field.AROUND] = call[field.FRAMES] + call[field.FRAME] * call[field.OF_FRAME]
    rows, cols = _int64(call[field.ROW_LENGTH]), _int64(call[field.COL_LENGTH])
    new_rows, new_cols = _int64(call[field.ROW_RESIZED]), _int64(call[field.COL_RESIZED])
    most = max(_most_taps(rows, new_rows, kind), _most_taps(cols, new_cols, kind))
    most_outputs = max(new_rows, new_cols, _int64(call[field.ROW_KEPT]), _int64(call[field.COL_KEPT]))
    has_room = most_outputs <= _int64(work[ROOM_OUTPUTS]) and most <= _int64(work[ROOM_TAPS])
    return has_room and _int64(call[field.ROW_START]) + rows <= _int64(work[ROOM_LINES])


@table_kernel
def filled_with_bytes(call):
    """Fill the fields of both passes of a call in fixed point, for the place that it holds; return an outcome."""
    work = longs_at(call[field.WORKSPACE])
    kind, limit = _int64(call[field.FILTER]), _int64(call[field.LIMIT])
    if not _prepared(call, work, kind):
        return NO_ROOM
    fits = _columns_of_bytes(call, work, kind, limit)
    fits &= _rows_of_bytes(call, work, kind, limit)
    return COMPLETE if fits else TOO_LARGE


@table_kernel
def filled_with_float32(call):
    """Fill the fields of both passes of a call in float32, for the place that it holds; return an outcome."""
    work = longs_at(call[field.WORKSPACE])
    kind, unfused = _int64(call[field.FILTER]), _int64(call[field.UNFUSED])
    if not _prepared(call, work, kind):
        return NO_ROOM
    _columns_in_float32(call, work, kind, unfused)
    _rows_in_float32(call, work, kind, unfused)
    return COMPLETE

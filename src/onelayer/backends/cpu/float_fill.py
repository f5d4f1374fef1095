"""Fill the tables of a call of the separable float kernel in compiled code, for an image size that was never seen.

:func:`onelayer.backends.cpu.tables.dense_blocks` fills those of the columns with NumPy, from any map of an axis; tests
hold the two to each other.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu import float_call as field
from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.simd import doubles_at, floats_at, ints_at, longs_at
from onelayer.backends.cpu.tables import LANES
from onelayer.backends.cpu.taps import NEAREST, copied_samples, real_taps
from onelayer.frontends.placement import place

(
    FIRST,  # Address of int32, first sample of each output.
    NUMBERS,  # Address of int32, number of samples of each output.
    REAL,  # Address of float64, scratch memory of taps.
    WEIGHTS,  # Address of float32, weights tap by tap.
    COL_STARTS,  # Address of uint64, first column of each block.
    COL_WEIGHTS,  # Address of float32, weights of the columns.
    ROW_STARTS,  # Address of uint64, first row of each output.
    ROW_WEIGHTS,  # Address of float32, weights of the rows.
) = range(8)
"""Places of the addresses in a workspace, uint64 each."""

ADDRESSES = 8
"""Length of a workspace."""

_f32, _int, _uint = np.float32, np.int32, np.uint64

placed = table_kernel(place)
"""Place an image, in compiled code; arguments are arrays of int64."""


@inlined_table
def _taps(work, kind, in_float32, is_fused, length, resized, low, outputs, flip):
    """Compute the taps of an axis, which may be copied; return their number."""
    first, count, weights = ints_at(work[FIRST]), ints_at(work[NUMBERS]), floats_at(work[WEIGHTS])
    if length != resized and kind < NEAREST:
        return real_taps(
            length,
            resized,
            kind,
            in_float32,
            is_fused,
            low,
            outputs,
            flip,
            first,
            count,
            doubles_at(work[REAL]),
            weights,
        )
    if length != resized:
        copied_samples(length, resized, kind, low, outputs, flip, first)
    else:
        for j in range(outputs):
            first[j] = _int(low + (outputs - _uint(1) - j if flip else j))
    for j in range(outputs):
        count[j], weights[j] = 1, _f32(1)
    return _uint(1)


@inlined_table
def _bounds(first, last_start, begin, end):
    """Return the first of the starts of some outputs and the last, where none begins behind ``last_start``."""
    low, high = min(first[begin], last_start), min(first[begin], last_start)
    for j in range(begin + _uint(1), end):
        low, high = min(low, first[j], last_start), max(high, min(first[j], last_start))
    return low, high


@inlined_table
def _most_between(first, last_start, outputs):
    """Return how far apart the starts of eight neighbouring outputs lie at most."""
    most, eight = _int(0), min(outputs, _uint(LANES))
    for block in range((outputs + _uint(LANES - 1)) // _uint(LANES)):
        base = min(block * _uint(LANES), outputs - eight)
        low, high = _bounds(first, last_start, base, base + eight)
        most = max(most, high - low)
    return _uint(most)


@table_kernel
def filled_columns(call, work, room, kind, in_float32, is_fused, start, length, resized, low, outputs, flip):
    """Fill the fields of the columns.

    Args:
        call: Call of the separable kernel.
        work: Workspace, uint64 [ADDRESSES], with room for taps of this size.
        room: Number of weights of the columns that the workspace has room for.
        kind: Filter of the resize; see :mod:`onelayer.backends.cpu.taps`.
        in_float32: Whether samples are placed in float32.
        is_fused: Whether places are multiplied and subtracted with one rounding.
        start: First column of the part of the image that is resized, int64 as all integers here.
        length: Columns of that part.
        resized: Columns that it is resized to.
        low: First of these that is kept.
        outputs: Number of these that are kept.
        flip: Whether the last comes first.

    Returns:
        Number of weights of the columns. Where it exceeds ``room`` they are not filled.
    """
    start, length, resized, low, outputs = _uint(start), _uint(length), _uint(resized), _uint(low), _uint(outputs)
    taps = _taps(work, kind, in_float32, is_fused, length, resized, low, outputs, flip)
    first, count, values = ints_at(work[FIRST]), ints_at(work[NUMBERS]), floats_at(work[WEIGHTS])
    # All outputs read as many samples as the one that reads most, none of them beyond the end.
    last_start = _int(length - taps)
    origin, highest = _bounds(first, last_start, _uint(0), outputs)
    span = _uint(highest - origin) + taps
    block_taps = _most_between(first, last_start, outputs) + taps
    eight = min(outputs, _uint(LANES))
    blocks = (outputs + _uint(LANES - 1)) // _uint(LANES)
    needed = blocks * block_taps * _uint(LANES)
    if needed > _uint(room):
        return needed
    starts, weights = longs_at(work[COL_STARTS]), floats_at(work[COL_WEIGHTS])
    for i in range(needed):
        weights[i] = _f32(0)
    for block in range(blocks):
        base = min(block * _uint(LANES), outputs - eight)
        lowest, _ = _bounds(first, last_start, base, base + eight)
        begin = min(lowest - origin, _int(span - block_taps))
        starts[block] = _uint(begin)
        for o in range(eight):
            j = base + o
            to = (block * block_taps + _uint(first[j] - origin - begin)) * _uint(LANES) + o
            for k in range(_uint(count[j])):
                weights[to + k * _uint(LANES)] = values[k * outputs + j]
    call[field.FIRST_COLUMN], call[field.LENGTH], call[field.WIDTH] = start + _uint(origin), span, outputs
    call[field.COL_BLOCKS], call[field.COL_TAPS] = blocks, block_taps
    call[field.COL_STARTS], call[field.COL_WEIGHTS] = work[COL_STARTS], work[COL_WEIGHTS]
    call[field.ONLY_COPIES] = 1 if length == resized and not flip else 0
    return needed


@table_kernel
def filled_rows(call, work, kind, in_float32, is_fused, start, length, resized, low, outputs, flip):
    """Fill the fields of the rows; arguments as in :func:`filled_columns`."""
    start, length, resized, low, outputs = _uint(start), _uint(length), _uint(resized), _uint(low), _uint(outputs)
    taps = _taps(work, kind, in_float32, is_fused, length, resized, low, outputs, flip)
    first, count, values = ints_at(work[FIRST]), ints_at(work[NUMBERS]), floats_at(work[WEIGHTS])
    last_start = _int(length - taps)
    lowest, highest = _bounds(first, last_start, _uint(0), outputs)
    starts, weights = longs_at(work[ROW_STARTS]), floats_at(work[ROW_WEIGHTS])
    for i in range(outputs * taps):
        weights[i] = _f32(0)
    for i in range(outputs):
        begin = min(first[i], last_start)
        starts[i] = start + _uint(begin)
        to = i * taps + _uint(first[i] - begin)
        for k in range(_uint(count[i])):
            weights[to + k] = values[k * outputs + i]
    call[field.FIRST_ROW], call[field.ROWS_READ] = start + _uint(lowest), _uint(highest - lowest) + taps
    call[field.BLOCK_ROWS] = _most_between(first, last_start, outputs) + taps
    call[field.ROW_TAPS], call[field.HEIGHT] = taps, outputs
    call[field.ROW_STARTS], call[field.ROW_WEIGHTS] = work[ROW_STARTS], work[ROW_WEIGHTS]
    if length != resized and kind < NEAREST:
        call[field.ONLY_COPIES] = 0


@table_kernel
def filled(call, work, room, kind, in_float32, is_fused, rows, cols):
    """Fill the fields of both axes; see :func:`filled_columns`.

    Args:
        call: Call of the separable kernel.
        work: Workspace.
        room: Number of weights of the columns that it has room for.
        kind: Filter.
        in_float32: Whether samples are placed in float32.
        is_fused: Whether places are multiplied and subtracted with one rounding.
        rows: Start, length, resized, low, outputs and flip of the rows.
        cols: The same of the columns.

    Returns:
        Number of weights of the columns. Where it exceeds ``room`` nothing can be computed.
    """
    needed = filled_columns(
        call, work, room, kind, in_float32, is_fused, cols[0], cols[1], cols[2], cols[3], cols[4], cols[5] != 0
    )
    if needed <= _uint(room):
        filled_rows(
            call, work, kind, in_float32, is_fused, rows[0], rows[1], rows[2], rows[3], rows[4], rows[5] != 0
        )  # fmt: skip
    return needed

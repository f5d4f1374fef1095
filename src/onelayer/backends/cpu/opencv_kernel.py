"""Resize bytes with OpenCV's arithmetic, bit for bit, and write pixels or planes.

Bilinear sums are in fixed point. Along columns ``x₀·a₀ + x₁·a₁`` is exact, with weights of 11 bits; four bits of that
are cut off, and 16 are left. Along rows each of two products loses 16 bits by itself:
``(((b₀·s₀) >> 16) + ((b₁·s₁) >> 16) + 2) >> 2``. Samples that are copied have the weights 2048 and 0, which give them
back. Where an output is the mean of a block of pixels, ``INTER_AREA``, the sum is multiplied by the reciprocal in
float32; OpenCV rounds blocks of 2×2 in some numbers of channels by a shift.

A call is laid out as that of the byte kernel. Source of the arithmetic: ``resize.cpp`` of OpenCV.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu.affine import FACTORS, affine_values, in_affine_form
from onelayer.backends.cpu.byte_call import COMPLETE, COMPUTE, FILL, NO_ROOM, PLACE, UNPLACED
from onelayer.backends.cpu.compilation import exact_inlined, exact_kernel, inlined_table, table_kernel
from onelayer.backends.cpu.counters import DONE, TAKEN, add, take
from onelayer.backends.cpu.fill import (
    COL_WEIGHTS,
    COPIES,
    FIRST,
    ROOM_OUTPUTS,
    ROW_STARTS,
    ROW_WEIGHTS,
    STARTS,
)
from onelayer.backends.cpu.integer_sums import packed_shorts, products
from onelayer.backends.cpu.simd import (
    BYTES_8,
    BYTES_16,
    BYTES_32,
    FLOAT,
    FLOATS_8,
    INT,
    INTS_8,
    LONG,
    SHORTS_16,
    bytes_at,
    call_at,
    constant,
    copy_bytes,
    data_of,
    floats_at,
    ints_at,
    loaded,
    longs_at,
    memory_at,
    permuted,
    shorts_at,
    shuffled,
    splat,
    split_pixels_of_3,
    stored,
)
from onelayer.backends.cpu.tables import BYTES, LANES
from onelayer.backends.cpu.taps import (
    OPENCV_AREA,
    OPENCV_LINEAR,
    OPENCV_NEAREST,
    OPENCV_NEAREST_FIXED,
    PILLOW_NEAREST,
    copied_samples,
)

_f32, _f64, _int, _int64, _u8, _uint = np.float32, np.float64, np.int32, np.int64, np.uint8, np.uint64

PAIRS, BLOCKS = range(2)
"""Kinds of sums: of two samples along each axis; of a block of pixels."""

ONE = 2048
"""A weight of one."""

_PAIR = 8
"""Bytes that hold two neighbouring pixels of up to four bytes, which are loaded at once."""

_NO_ROW = (1 << 64) - 1

_SPARE = 64
"""Bytes behind a row that vectors may be written to, and read from."""


# Tables of an axis.


@inlined_table
def _is_block(length, resized):
    """Whether an axis shrinks by a whole number, as OpenCV finds that out."""
    scale = 1.0 / (_f64(resized) / _f64(length))
    return abs(scale - np.rint(scale)) < 2.220446049250313e-16


@inlined_table
def _shrinks(length, resized):
    return 1.0 / (_f64(resized) / _f64(length)) >= 1.0


@inlined_table
def _pairs(length, resized, kind, is_area, clamps, low, outputs, flip, found, first, second, weights):
    """Fill the two samples of each output of an axis, and their weights.

    Args:
        length: Samples of the axis, uint64, as all integers here.
        resized: Outputs of the resize.
        kind: Filter.
        is_area: Whether samples are placed as ``INTER_AREA`` does where an axis grows.
        clamps: Whether an output beyond the first or the last sample copies it, as along columns. Along rows both
            samples are that one, with their weights.
        low: First output that is kept.
        outputs: Number of outputs that are kept.
        flip: Whether the last of them comes first.
        found: int32, scratch memory.
        first: uint64 [outputs], first samples.
        second: uint64 [outputs], second samples.
        weights: int16 [outputs, 2].
    """
    inverse = _f64(resized) / _f64(length)
    scale = 1.0 / inverse
    last = _int64(length) - _int64(1)
    if kind == PILLOW_NEAREST and length != resized:
        copied_samples(length, resized, kind, low, outputs, flip, found)
    for j in range(outputs):
        i = _int64(low + (outputs - _uint(1) - j if flip else j))
        s, t = i, _f32(0)
        if length == resized:
            pass
        elif kind == PILLOW_NEAREST:
            s = _int64(found[j])
        elif kind == OPENCV_NEAREST:
            s = min(_int64(np.floor(_f64(i) * scale)), last)
        elif kind == OPENCV_NEAREST_FIXED:
            step = ((_int64(length) << _int64(16)) + _int64(resized) // _int64(2)) // _int64(resized)
            begin = step // _int64(2) - (_int64(length) & _int64(1))
            s = min((i * step + begin) >> _int64(16), last)
        else:
            if is_area:
                s = _int64(np.floor(_f64(i) * scale))
                t = _f32(_f64(i + _int64(1)) - _f64(s + _int64(1)) * inverse)
                t = _f32(0) if t <= _f32(0) else t - np.floor(t)
            else:
                place = _f32((_f64(i) + 0.5) * scale - 0.5)
                below = np.floor(place)
                s, t = _int64(below), place - below
            if clamps and (s < 0 or s >= last):
                s, t = min(max(s, _int64(0)), last), _f32(0)
        low_weight = _int(np.rint((_f32(1) - t) * _f32(ONE)))
        high_weight = _int(np.rint(t * _f32(ONE)))
        a, b = min(max(s, _int64(0)), last), min(max(s + _int64(1), _int64(0)), last)
        # What has no weight is not computed.
        if high_weight == 0:
            b = a
        if low_weight == 0:
            a = b
        first[j], second[j] = _uint(a), _uint(b)
        weights[_uint(2) * j], weights[_uint(2) * j + _uint(1)] = low_weight, high_weight


@inlined_table
def _blocks(factor, low, outputs, flip, first):
    """Fill the first sample of the block of each output."""
    for j in range(outputs):
        first[j] = (low + (outputs - _uint(1) - j if flip else j)) * factor


@inlined_table
def _fours(low, outputs, flip, weight, first, second, weights):
    """Fill the two samples of each output of an axis that is halved, with equal weights."""
    for j in range(outputs):
        first[j] = _uint(2) * (low + (outputs - _uint(1) - j if flip else j))
        second[j] = first[j] + _uint(1)
        weights[_uint(2) * j] = weights[_uint(2) * j + _uint(1)] = weight


@table_kernel
def filled_as_opencv(call):
    """Fill the tables of both axes for the place that a call holds; return an outcome."""
    signed, work, kind = call.view(np.int64), longs_at(call[field.WORKSPACE]), call.view(np.int64)[field.FILTER]
    rows, cols = call[field.ROW_LENGTH], call[field.COL_LENGTH]
    new_rows, new_cols = call[field.ROW_RESIZED], call[field.COL_RESIZED]
    if max(signed[field.ROW_FLIP], signed[field.COL_FLIP]) > 1:
        return UNPLACED
    if max(new_rows, new_cols) > work[ROOM_OUTPUTS]:
        return NO_ROOM
    if signed[field.FRAME] >= 0:
        call[field.AROUND] = call[field.FRAMES] + call[field.FRAME] * call[field.OF_FRAME]
    changes = rows != new_rows or cols != new_cols
    is_halved = rows == _uint(2) * new_rows and cols == _uint(2) * new_cols
    shrinks = _shrinks(rows, new_rows) and _shrinks(cols, new_cols)
    is_area = kind == OPENCV_AREA and changes
    sums_blocks = (kind == OPENCV_LINEAR and is_halved) or (is_area and shrinks)
    if sums_blocks and not (_is_block(rows, new_rows) and _is_block(cols, new_cols)):
        # Sums in float32, in an order that is the compiler's.
        return UNPLACED
    channels = call[field.IMAGE_CHANNELS]
    # OpenCV has vectors for these numbers of channels, which round in another way.
    sums_fours = sums_blocks and is_halved and (channels == 1 or channels == 3 or channels == 4)
    low, outputs, flip = call[field.COL_LOW], call[field.COL_KEPT], call[field.COL_FLIP] != 0
    row_low, row_outputs, row_flip = call[field.ROW_LOW], call[field.ROW_KEPT], call[field.ROW_FLIP] != 0
    starts, row_starts, seconds = longs_at(work[STARTS]), longs_at(work[ROW_STARTS]), longs_at(work[COPIES])
    weights, row_weights = shorts_at(work[COL_WEIGHTS]), shorts_at(work[ROW_WEIGHTS])
    if sums_fours:
        # ``(x₀ + x₁ + x₂ + x₃ + 2) >> 2`` is what pairs are summed to with other weights.
        call[field.COL_KIND] = PAIRS
        _fours(low, outputs, flip, 64, starts, seconds, weights)
        _fours(row_low, row_outputs, row_flip, 16384, row_starts, seconds, row_weights)
        for i in range(row_outputs):
            seconds[i] += call[field.ROW_START]
    elif sums_blocks:
        call[field.COL_KIND] = BLOCKS
        call[field.COL_STEPS], call[field.ROW_STEPS] = cols // new_cols, rows // new_rows
        _blocks(cols // new_cols, low, outputs, flip, starts)
        _blocks(rows // new_rows, row_low, row_outputs, row_flip, row_starts)
    else:
        call[field.COL_KIND] = PAIRS
        found = ints_at(work[FIRST])
        _pairs(cols, new_cols, kind, is_area, True, low, outputs, flip, found, starts, seconds, weights)
        for j in range(outputs):
            # Two neighbours, of which the second has no weight if there is none.
            if starts[j] == seconds[j] and weights[_uint(2) * j] == 0:
                weights[_uint(2) * j], weights[_uint(2) * j + _uint(1)] = weights[_uint(2) * j + _uint(1)], 0
        _pairs(
            rows, new_rows, kind, is_area, False, row_low, row_outputs, row_flip, found, row_starts, seconds,
            row_weights,
        )  # fmt: skip
        for i in range(row_outputs):
            seconds[i] += call[field.ROW_START]
    for j in range(outputs):
        starts[j] += call[field.COL_START]
    for i in range(row_outputs):
        row_starts[i] += call[field.ROW_START]
    call[field.COL_STARTS], call[field.COL_WEIGHTS] = work[STARTS], work[COL_WEIGHTS]
    call[field.ROW_STARTS], call[field.BETWEEN], call[field.ROW_WEIGHTS] = (
        work[ROW_STARTS],
        work[COPIES],
        work[ROW_WEIGHTS],
    )
    call[field.WIDTH], call[field.HEIGHT] = outputs, row_outputs
    return COMPLETE


# Vectors.


def _pixel_sums_of(channels):
    @intrinsic
    def pixel_sums(_typing, row, places, weights, order, j, sums, to):
        signature = types.void(row, places, weights, order, j, sums, to)

        def generate(context, builder, signature, arguments):
            row, _, _, _, j, _, to = arguments
            places, weights, order, sums = (
                data_of(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3, 5)
            )
            order = loaded(builder, order, constant(0), BYTES_32)
            totals = []
            for first in range(2):
                # Packing two registers puts the first halves of both before their second halves.
                windows = ir.Constant(ir.VectorType(LONG, 4), ir.Undefined)
                for half in range(2):
                    place = builder.load(builder.gep(places, [builder.add(j, constant(first + 2 * half))]))
                    window = builder.inttoptr(builder.add(row, place), LONG.as_pointer())
                    lane = ir.Constant(INT, 2 * half)
                    windows = builder.insert_element(windows, builder.load(window, align=1), lane)
                samples = builder.bitcast(permuted(builder, builder.bitcast(windows, BYTES_32), order), SHORTS_16)
                at = builder.add(builder.mul(j, constant(8)), constant(BYTES * first))
                total = products(builder, samples, loaded(builder, weights, at, SHORTS_16))
                totals.append(builder.lshr(total, ir.Constant(INTS_8, [4] * LANES)))
            packed = packed_shorts(builder, *totals)
            if channels == 4:
                stored(builder, packed, sums, to)
            else:
                # The last two of each store are written over by what comes after.
                for half in range(2):
                    pixels = [8 * half + 4 * pixel + channel for pixel in range(2) for channel in range(3)]
                    stored(builder, shuffled(builder, packed, packed, [*pixels, 0, 0]), sums, to)
                    to = builder.add(to, constant(6))

        return signature, generate

    return pixel_sums


sums_of_3, sums_of_4 = _pixel_sums_of(3), _pixel_sums_of(4)
"""Sum two samples of each channel for the outputs from ``j`` to ``j + 3``.

Eight bytes are read from ``row + places[output]`` on. ``order`` has the place of the two bytes of each channel in a
half of a register, ``weights`` those of the outputs, int16 [output, 8] in the order 0, 2, 1, 3. Sums are int16; two
more than there are for three channels are written.
"""


@intrinsic
def sums_of_1(_typing, row, places, weights, j, sums, to):
    """Sum two samples of one channel for the outputs from ``j`` to ``j + 7``; weights are int16 [output, 2]."""
    signature = types.void(row, places, weights, j, sums, to)

    def generate(context, builder, signature, arguments):
        row, _, _, j, _, to = arguments
        places, weights, sums = (data_of(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 4))
        short = ir.IntType(16)
        windows = ir.Constant(ir.VectorType(short, LANES), ir.Undefined)
        for output in range(LANES):
            place = builder.load(builder.gep(places, [builder.add(j, constant(output))]))
            window = builder.load(builder.inttoptr(builder.add(row, place), short.as_pointer()), align=1)
            windows = builder.insert_element(windows, window, ir.Constant(INT, output))
        samples = builder.zext(builder.bitcast(windows, BYTES_16), SHORTS_16)
        totals = products(builder, samples, loaded(builder, weights, builder.mul(j, constant(2)), SHORTS_16))
        totals = builder.lshr(totals, ir.Constant(INTS_8, [4] * LANES))
        stored(builder, builder.trunc(totals, ir.VectorType(short, LANES)), sums, to)

    return signature, generate


@intrinsic
def row_pair(_typing, sums, first, second, at, low, high, out, to):
    """Sum two rows to bytes: ``out[to + i]`` from ``sums[first + at + i]`` and ``sums[second + at + i]``, i < 16."""
    signature = types.void(sums, first, second, at, low, high, out, to)

    def generate(context, builder, signature, arguments):
        sums, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 6))
        _, first, second, at, low, high, _, to = arguments
        wide = ir.VectorType(INT, BYTES)
        total = ir.Constant(SHORTS_16, [2] * BYTES)
        for begin, weight in ((first, low), (second, high)):
            values = builder.sext(loaded(builder, sums, builder.add(begin, at), SHORTS_16), wide)
            product = builder.mul(values, splat(builder, builder.sext(weight, INT), BYTES))
            part = builder.trunc(builder.ashr(product, ir.Constant(wide, [16] * BYTES)), SHORTS_16)
            total = builder.add(total, part)
        total = builder.lshr(total, ir.Constant(SHORTS_16, [2] * BYTES))
        stored(builder, builder.trunc(total, BYTES_16), out, to)

    return signature, generate


@intrinsic
def affine_lanes(_typing, values, at, factors, first, out, to):
    """Set eight float32 as :func:`onelayer.backends.cpu.affine.affine_values`, with factors for each.

    Args:
        values: Bytes.
        at: Place of the first.
        factors: float32 [FACTORS, 8] from ``first`` on.
        first: Place of the first factor.
        out: Results; nothing is written if they are not float32.
        to: Place of the first.
    """
    signature = types.void(values, at, factors, first, out, to)

    def generate(context, builder, signature, arguments):
        values, factors, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4))
        _, at, _, first, _, to = arguments
        if out.type.pointee != FLOAT:
            return
        each = [loaded(builder, factors, builder.add(first, constant(LANES * i)), FLOATS_8) for i in range(FACTORS)]
        stored(builder, in_affine_form(builder, loaded(builder, values, at, BYTES_8), each), out, to)

    return signature, generate


# Rows.


@exact_inlined
def _columns_summed(
    x, at, of_channel, of_column, sources, channels, starts, weights, last, row, places, factors, order, begin, end,
    width, sums, to,
):  # fmt: skip
    """Sum the columns of a row to 16 bits; the outputs from ``begin`` to ``end`` several at a time."""
    step = _uint(LANES if channels == 1 else 4)
    vectors = begin + (end - begin) // step * step
    if channels == 1:
        for j in range(begin, vectors, step):
            sums_of_1(row, places, weights, j, sums, to + j)
    elif channels == 3:
        for j in range(begin, vectors, step):
            sums_of_3(row, places, factors, order, j, sums, to + _uint(3) * j)
    elif channels == 4:
        for j in range(begin, vectors, step):
            sums_of_4(row, places, factors, order, j, sums, to + _uint(4) * j)
    for part in range(_uint(2)):
        first, beyond = (_uint(0), begin) if part == 0 else (vectors, width)
        for j in range(first, beyond):
            place = at + starts[j] * of_column
            beside = place + (of_column if starts[j] < last else _uint(0))
            low, high = _int(weights[_uint(2) * j]), _int(weights[_uint(2) * j + _uint(1)])
            for c in range(channels):
                of_source = sources[c] * of_channel
                total = _int(x[place + of_source]) * low + _int(x[beside + of_source]) * high
                sums[to + j * channels + c] = total >> _int(4)


@exact_inlined
def _block_summed(
    x, at, of_channel, of_row, of_column, image_channels, sources, channels, starts, cols, rows, width, inverse,
    totals, out,
):  # fmt: skip
    """Compute the means of blocks of ``rows`` · ``cols`` pixels for one row of outputs, as bytes."""
    low, high = starts[0], starts[0]
    for j in range(width):
        low, high = min(low, starts[j]), max(high, starts[j])
    span = high + cols - low
    is_dense = of_channel == 1 and of_column <= 4
    values = span * of_column if is_dense else span * channels
    for i in range(values):
        totals[i] = 0
    for r in range(rows):
        begin = at + r * of_row + low * of_column
        if is_dense:
            # Behind the last channel of the last pixel there may be no memory.
            for i in range((span - _uint(1)) * of_column + image_channels):
                totals[i] += _int(x[begin + i])
        else:
            for c in range(channels):
                for i in range(span):
                    totals[i * channels + c] += _int(x[begin + sources[c] * of_channel + i * of_column])
    step = of_column if is_dense else channels
    for j in range(width):
        for c in range(channels):
            place = (starts[j] - low) * step + (sources[c] if is_dense else c)
            total = _int(0)
            for k in range(cols):
                total += totals[place + k * step]
            out[j * channels + c] = _u8(_int(np.rint(_f32(total) * inverse)))


@exact_inlined
def _planes_written(
    values, address, channels, width, planes, has_table, table, has_affine, affine, out, to, of_plane
):  # fmt: skip
    """Write a row of bytes as a row of each plane."""
    if channels == 3 and width >= BYTES:
        for block in range((width + _uint(BYTES - 1)) // _uint(BYTES)):
            j = min(block * _uint(BYTES), width - _uint(BYTES))
            split_pixels_of_3(address + _uint(3) * j, planes, j, width)
    else:
        for c in range(channels):
            for j in range(width):
                planes[c * width + j] = values[j * channels + c]
    for c in range(channels):
        at, row = c * width, c * _uint(256)
        begin = to + c * of_plane
        if has_affine and width >= LANES:
            for block in range((width + _uint(LANES - 1)) // _uint(LANES)):
                j = min(block * _uint(LANES), width - _uint(LANES))
                affine_values(planes, at + j, affine, _uint(FACTORS) * c, out, begin + j)
        elif has_table:
            for j in range(width):
                out[begin + j] = table[row + _uint(planes[at + j])]
        else:
            copy_bytes(planes, at, width, out, begin)


@exact_inlined
def _pixels_written(values, channels, width, has_table, table, has_affine, lanes, phases, out, to):
    """Write a row of bytes as a row of pixels."""
    length = width * channels
    if not has_table:
        copy_bytes(values, _uint(0), length, out, to)
        return
    done = _uint(0)
    if has_affine:
        # The channels of eight values come round after so many vectors.
        step = phases * _uint(LANES)
        done = length // step * step
        for i in range(_uint(0), done, step):
            for phase in range(phases):
                at = i + _uint(LANES) * phase
                affine_lanes(values, at, lanes, _uint(FACTORS * LANES) * phase, out, to + at)
    c = done % channels
    for i in range(done, length):
        out[to + i] = table[c * _uint(256) + _uint(values[i])]
        c = c + _uint(1) if c + _uint(1) < channels else _uint(0)


@exact_inlined
def _framed(out, to, begin, end, around, channels, of_plane, in_pixels, is_grey):
    """Set the pixels of a row from ``begin`` up to before ``end`` to the values of the frame."""
    if in_pixels and is_grey:
        value = around[0]
        for i in range(begin * channels, end * channels):
            out[to + i] = value
    elif in_pixels:
        for j in range(begin, end):
            for c in range(channels):
                out[to + j * channels + c] = around[c]
    else:
        for c in range(channels):
            value = around[c]
            for j in range(begin, end):
                out[to + c * of_plane + j] = value


@exact_kernel
def resized_as_opencv(call, into):
    """Run a segment for the images and rows that the counter gives out; see the module.

    Args:
        call: As for :func:`onelayer.backends.cpu.byte_kernel.resized_bytes`; images and results are no PIL images.
        into: Array of the dtype of the results, of any length.

    Returns:
        Outcome.
    """
    outcome = call_at(call[field.PLACE_WITH], call) if call[field.STAGES] & _uint(PLACE) else COMPLETE
    if outcome == COMPLETE and call[field.STAGES] & _uint(FILL):
        outcome = call_at(call[field.FILL_WITH], call)
    if outcome != COMPLETE or not call[field.STAGES] & _uint(COMPUTE):
        return outcome
    address = call[field.IMAGES]
    x, out = bytes_at(address), memory_at(call[field.RESULTS], into)
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
    channels, sources = call[field.CHANNELS], longs_at(call[field.SOURCES])
    width, height = call[field.WIDTH], call[field.HEIGHT]
    image_width, image_channels = call[field.IMAGE_WIDTH], call[field.IMAGE_CHANNELS]
    sums_blocks, cols, rows = call[field.COL_KIND] == BLOCKS, call[field.COL_STEPS], call[field.ROW_STEPS]
    starts, weights = longs_at(call[field.COL_STARTS]), shorts_at(call[field.COL_WEIGHTS])
    row_starts, row_seconds = longs_at(call[field.ROW_STARTS]), longs_at(call[field.BETWEEN])
    row_weights = shorts_at(call[field.ROW_WEIGHTS])
    tables, has_table = memory_at(call[field.TABLE], into), call[field.TABLE] != 0
    affine, has_affine = floats_at(call[field.AFFINE]), call[field.AFFINE] != 0
    top, left, around = call[field.TOP], call[field.LEFT], memory_at(call[field.AROUND], into)
    whole_height, whole_width = call[field.WHOLE_HEIGHT], call[field.WHOLE_WIDTH]
    in_pixels = call[field.RESULT_PIXELS] != 0
    of_plane = whole_height * whole_width
    of_result_row = whole_width * channels if in_pixels else whole_width
    inverse = _f32(1.0 / _f64(max(rows * cols, _uint(1))))
    last = call[field.COL_START] + call[field.COL_LENGTH] - _uint(1)
    # Of pixels whose channels lie side by side, both samples of all channels are loaded at once.
    is_packed = of_channel == 1 and not sums_blocks and (channels == 1 or channels == 3 or channels == 4)
    is_packed = is_packed and of_column <= 4
    for c in range(channels):
        is_packed = is_packed and sources[c] < of_column
    is_packed = is_packed and (channels != 1 or (of_column == 1 and sources[0] == 0))
    begin, end = _uint(0), _uint(0)
    if is_packed:
        # Outputs whose window lies within their row.
        row_bytes = (image_width - _uint(1)) * of_column + image_channels
        window = _uint(2 if channels == 1 else _PAIR)
        while begin < width and starts[begin] * of_column + window > row_bytes:
            begin += _uint(1)
        end = begin
        while end < width and starts[end] * of_column + window <= row_bytes:
            end += _uint(1)
    of_line = width * channels + _uint(_SPARE)
    of_totals = image_width * max(of_column if of_channel == 1 else _uint(0), channels) if sums_blocks else _uint(0)
    phases = channels if channels % _uint(2) else _uint(1)
    if channels > 4:
        has_affine = has_affine and not in_pixels
    scratch_sums = np.zeros(
        _uint(2) * of_line + (_uint(8) * width + _uint(_SPARE) if is_packed else _uint(0)), np.int16
    )
    scratch_bytes = np.zeros(of_line + channels * width + _uint(_SPARE + 2 * BYTES), np.uint8)
    scratch_totals = np.zeros(of_totals + _uint(_SPARE), np.int32)
    scratch_floats = np.zeros(_uint(FACTORS * LANES) * phases, np.float32)
    scratch_places = np.zeros(width + _uint(LANES), np.uint64)
    # Numba counts how often an array is in use, in every inlined function, which takes longer than a short row.
    sums, totals = shorts_at(_uint(scratch_sums.ctypes.data)), ints_at(_uint(scratch_totals.ctypes.data))
    factors = shorts_at(_uint(scratch_sums.ctypes.data) + _uint(4) * of_line)
    row_address = _uint(scratch_bytes.ctypes.data)
    row, planes = bytes_at(row_address), bytes_at(row_address + of_line)
    order = bytes_at(row_address + of_line + channels * width + _uint(_SPARE))
    lanes, places = floats_at(_uint(scratch_floats.ctypes.data)), longs_at(_uint(scratch_places.ctypes.data))
    if is_packed:
        for lane in range(_uint(2 * BYTES // 4)):
            channel, at = lane & _uint(3), _uint(4) * lane
            source = sources[channel] if channel < channels else _uint(0)
            order[at], order[at + _uint(1)], order[at + _uint(2)], order[at + _uint(3)] = (
                _u8(source), _u8(128), _u8(source + of_column), _u8(128),
            )  # fmt: skip
        for j in range(width):
            places[j] = starts[j] * of_column
        if channels > 1:
            for j in range(begin, end):
                # Of four outputs, the second comes third.
                four = (j - begin) & _uint(3)
                at = _uint(8) * (j - four + ((four & _uint(1)) << _uint(1) | four >> _uint(1)))
                for k in range(_uint(8)):
                    factors[at + k] = weights[_uint(2) * j + (k & _uint(1))]
    if has_affine:
        for phase in range(phases):
            for lane in range(_uint(LANES)):
                channel = (phase * _uint(LANES) + lane) % channels
                for factor in range(_uint(FACTORS)):
                    at = (phase * _uint(FACTORS) + factor) * _uint(LANES) + lane
                    lanes[at] = affine[_uint(FACTORS) * channel + factor]
    is_grey = True
    for c in range(channels):
        is_grey = is_grey and around[c] == around[0]
    all_pieces = images * pieces
    taken = take(shared, TAKEN, at_once) if is_shared else _uint(0)
    begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    while taken < all_pieces:
        n = taken // pieces
        origin = n * of_image
        piece_begin = (taken - n * pieces) * piece_rows
        piece_end = min(piece_begin + piece_rows, height)
        of_result = n * channels * of_plane
        have_first, have_second = _uint(_NO_ROW), _uint(_NO_ROW)
        for i in range(piece_begin, piece_end):
            if sums_blocks:
                _block_summed(
                    x, origin + row_starts[i] * of_row, of_channel, of_row, of_column, image_channels, sources,
                    channels, starts, cols, rows, width, inverse, totals, row,
                )  # fmt: skip
            else:
                first, second = row_starts[i], row_seconds[i]
                # Two lines hold the last two rows that were summed.
                for turn in range(_uint(2)):
                    wanted, other = (first, second) if turn == 0 else (second, first)
                    if wanted != have_first and wanted != have_second:
                        is_into_second = have_first == other
                        if is_into_second:
                            have_second = wanted
                        else:
                            have_first = wanted
                        at = origin + wanted * of_row
                        _columns_summed(
                            x, at, of_channel, of_column, sources, channels, starts, weights, last, address + at,
                            places, factors, order, begin, end, width, sums, of_line if is_into_second else _uint(0),
                        )  # fmt: skip
                first_line = _uint(0) if have_first == first else of_line
                second_line = _uint(0) if have_first == second else of_line
                low, high = row_weights[_uint(2) * i], row_weights[_uint(2) * i + _uint(1)]
                for block in range((width * channels + _uint(BYTES - 1)) // _uint(BYTES)):
                    at = block * _uint(BYTES)
                    row_pair(sums, first_line, second_line, at, low, high, row, at)
            to = of_result + (top + i) * of_result_row
            _framed(out, to, _uint(0), left, around, channels, of_plane, in_pixels, is_grey)
            _framed(out, to, left + width, whole_width, around, channels, of_plane, in_pixels, is_grey)
            if in_pixels:
                _pixels_written(
                    row, channels, width, has_table, tables, has_affine, lanes, phases, out, to + left * channels
                )  # fmt: skip
            else:
                _planes_written(
                    row, row_address, channels, width, planes, has_table, tables, has_affine, affine, out,
                    to + left, of_plane,
                )  # fmt: skip
        first_row = _uint(0) if piece_begin == 0 else top + height
        last_row = whole_height if piece_end == height else top
        for row_number in range(first_row, last_row):
            if not top <= row_number < top + height:
                to = of_result + row_number * of_result_row
                _framed(out, to, _uint(0), whole_width, around, channels, of_plane, in_pixels, is_grey)
        taken += _uint(1)
        if taken == end_taken and is_shared:
            add(shared, DONE, end_taken - begin_taken)
            taken = take(shared, TAKEN, at_once)
            begin_taken, end_taken = taken, min(taken + at_once, all_pieces)
    # Keeps the memory alive until here: addresses do not.
    scratch_sums[0] = scratch_bytes[0] = scratch_totals[0] = scratch_places[0] = 0
    scratch_floats[0] = 0
    return COMPLETE

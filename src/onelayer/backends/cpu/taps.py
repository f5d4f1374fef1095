"""Compute the taps of a resized axis in compiled code, for lengths that were never seen before.

The arithmetic is that of :mod:`onelayer.algebra.filters`, :mod:`onelayer.algebra.fixed_point` and
:func:`onelayer.algebra.float32_sum.resized_in_float32`, operation for operation, and tests hold the two to each other.
Weights are laid out tap by tap, ``weights[tap · outputs + output]``, so that LLVM computes several outputs at a time.
"""

from __future__ import annotations

import math

import numpy as np

from onelayer.backends.cpu.compilation import inlined_table, table_kernel
from onelayer.backends.cpu.float32_sums import fused

(
    BOX,
    BILINEAR,
    HAMMING,
    BICUBIC,
    LANCZOS,
    LINEAR_PAIRS,
    CUBIC_FOURS,
    FLOAT32_BILINEAR,
    FLOAT32_BICUBIC,
    NEAREST,
    NEAREST_EXACT,
    PILLOW_NEAREST,
    OPENCV_LINEAR,
    OPENCV_AREA,
    OPENCV_NEAREST,
    OPENCV_NEAREST_FIXED,
) = range(16)
"""Filters: five that widen with the reduction, with weights in fixed point; PyTorch's two that do not widen, in fixed
point too; PyTorch's two that widen, in float32; three that copy samples; and OpenCV's,
see :mod:`onelayer.backends.cpu.opencv_kernel`."""

LARGEST_BITS = 22
"""Bits of fraction of weights in fixed point, at most."""

SPARE = 16
"""Outputs that memory for numbers per output has room for beyond those that there are."""

_f32, _f64, _int, _uint = np.float32, np.float64, np.int32, np.uint64

_PI = math.pi
_WINDOW, _CHANGE = float(np.float32(0.54)), float(np.float32(0.46))


SUPPORT = (0.5, 1.0, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Distance that each filter reaches, in output samples, where it widens."""


def most_taps(n_in: int, n_out: int, kind: int) -> int:
    """Return an upper bound for the number of samples that an output reads, for which memory needs room."""
    if n_in == n_out:
        return 1
    return min(int(SUPPORT[kind] * max(n_in / n_out, 1.0)) * 2 + 3, max(n_in, 4))


@inlined_table
def _sinc(x):
    angle = x * _PI
    return 1.0 if angle == 0.0 else math.sin(angle) / angle


@inlined_table
def _weight(kind, x):
    """Return the weight at a distance in output samples, for the filters that are quick to compute one at a time."""
    if kind == BOX:
        return 1.0 if -0.5 < x <= 0.5 else 0.0
    if kind == LANCZOS:
        return _sinc(x) * _sinc(x / 3.0) if -3.0 <= x < 3.0 else 0.0
    angle = abs(x) * _PI
    if angle == 0.0:
        return 1.0
    return math.sin(angle) / angle * (_WINDOW + _CHANGE * math.cos(angle)) if abs(x) < 1.0 else 0.0


@inlined_table
def _bicubic(x):
    x = abs(x)
    near = ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return near if x < 1.0 else (far if x < 2.0 else 0.0)


@inlined_table
def _placed(place, in_float32):
    """Round a place to float32, if places are in that."""
    return _f64(_f32(place)) if in_float32 else place


@inlined_table
def _distance(sample, centre, inverse, in_float32):
    """Return the distance of a sample from a centre, in output samples."""
    return _placed((_placed(_f64(sample) - centre, in_float32) + 0.5) * inverse, in_float32)


@inlined_table
def _widened(n_in, n_out, kind, in_float32, begin, outputs, first, count, total, centre, real):
    """Compute the weights of the outputs from ``begin`` on, not yet divided by their total; return the most taps."""
    scale = _placed(_f64(n_in) / n_out, in_float32)
    filter_scale = max(scale, 1.0)
    support = _placed(SUPPORT[kind] * filter_scale, in_float32)
    inverse = _placed(1.0 / filter_scale, in_float32)
    end = _int(n_in)
    most = _int(0)
    for i in range(outputs):
        c = _placed((_f64(_int(begin + i)) + 0.5) * scale, in_float32)
        f = max(_int(_placed(c - support, in_float32) + 0.5), _int(0))
        n = min(_int(_placed(c + support, in_float32) + 0.5), end) - f
        centre[i], first[i], count[i], total[i] = c, f, n, 0.0
        most = max(most, n)
    for k in range(_uint(most)):
        row, tap = k * outputs, _int(k)
        if kind == BILINEAR:
            for i in range(outputs):
                w = max(1.0 - abs(_distance(first[i] + tap, centre[i], inverse, in_float32)), 0.0)
                w = w if tap < count[i] else 0.0
                real[row + i] = w
                total[i] += w
        elif kind == BICUBIC:
            for i in range(outputs):
                w = _bicubic(_distance(first[i] + tap, centre[i], inverse, in_float32))
                w = w if tap < count[i] else 0.0
                real[row + i] = w
                total[i] += w
        else:
            for i in range(outputs):
                w = 0.0
                if tap < count[i]:
                    w = _weight(kind, _distance(first[i] + tap, centre[i], inverse, in_float32))
                real[row + i] = w
                total[i] += w
    return _uint(most)


@inlined_table
def _pairs(n_in, n_out, in_float32, is_fused, begin, outputs, first, count, total, real):
    """Compute the weights of PyTorch's bilinear that does not widen; return the most taps."""
    scale = _placed(_f64(n_in) / n_out, in_float32)
    last = _int(n_in) - _int(1)
    for i in range(outputs):
        product = (_f64(_int(begin + i)) + 0.5) * scale
        source = max(_placed((product if is_fused else _placed(product, in_float32)) - 0.5, in_float32), 0.0)
        f = min(_int(source), last)
        t = min(max(source - _f64(f), 0.0), 1.0)
        is_last = f == last
        first[i], count[i], total[i] = f, _int(1) if is_last else _int(2), 1.0
        real[i] = (1.0 - t) + t if is_last else 1.0 - t
        real[outputs + i] = 0.0 if is_last else t
    return _uint(min(2, n_in))


@inlined_table
def _fours(n_in, n_out, in_float32, begin, outputs, first, count, total, real):
    """Compute the weights of PyTorch's bicubic that does not widen (a = −0.75); return the most taps."""
    a = -0.75
    scale = _placed(_f64(n_in) / n_out, in_float32)
    last = _int(n_in) - _int(1)
    for i in range(outputs):
        source = _placed((_f64(_int(begin + i)) + 0.5) * scale - 0.5, in_float32)
        below = math.floor(source)
        t = source - below
        low, high = _int(below) - _int(1), _int(below) + _int(2)
        f = min(max(low, _int(0)), last)
        first[i], count[i], total[i] = f, min(max(high, _int(0)), last) - f + _int(1), 1.0
        for k in range(_uint(4)):
            real[k * outputs + i] = 0.0
        # A tap beyond an edge reads the edge sample.
        for k in range(_int(4)):
            x = t + 1.0 if k == 0 else (t if k == 1 else (1.0 - t if k == 2 else 2.0 - t))
            near, far = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0, (((x - 5.0) * x + 8.0) * x - 4.0) * a
            w = near if 0 < k < 3 else far
            to = _uint(min(max(low + k, _int(0)), last) - f) * outputs + i
            real[to] = real[to] + w
    return _uint(min(4, n_in))


@inlined_table
def _in_order(outputs, skipped, flip, first, count):
    """Move the first samples and counts of the outputs that are kept to the front, in the order of the outputs."""
    if skipped:
        for j in range(outputs):
            first[j], count[j] = first[skipped + j], count[skipped + j]
    if flip:
        for j in range(outputs // _uint(2)):
            i = outputs - _uint(1) - j
            first[i], first[j] = first[j], first[i]
            count[i], count[j] = count[j], count[i]


@table_kernel
def fixed_point_taps(n_in, n_out, kind, limit, low, outputs, flip, first, count, real, whole):
    """Compute the taps of a resize in fixed point.

    Args:
        n_in: Samples of the axis, uint64, as all integers here.
        n_out: Outputs of the resize.
        kind: Filter: BOX to CUBIC_FOURS.
        limit: Number that the largest weight of *all* outputs stays below as a whole number; 0 for always 22 bits.
        low: First output that is kept.
        outputs: Number of outputs that are kept.
        flip: Whether the last of them comes first.
        first: int32 [n_out + SPARE], to be filled: first sample that each output reads.
        count: int32 [n_out + SPARE], to be filled: number of samples that it reads.
        real: float64 [(taps + 3) · (n_out + SPARE)], scratch memory.
        whole: int32 [taps · outputs], to be filled: weights, tap by tap.

    Returns:
        Number of taps, the bits of fraction, and whether sums of bytes fit into 32 bits.
    """
    begin, computed = (_uint(0), n_out) if limit else (low, outputs)
    skipped = low - begin
    room = computed + _uint(SPARE)
    total, centre, most = real[:room], real[room : _uint(2) * room], real[_uint(2) * room : _uint(3) * room]
    real = real[_uint(3) * room :]
    if kind == LINEAR_PAIRS:
        taps = _pairs(n_in, n_out, False, True, begin, computed, first, count, total, real)
    elif kind == CUBIC_FOURS:
        taps = _fours(n_in, n_out, False, begin, computed, first, count, total, real)
    else:
        taps = _widened(n_in, n_out, kind, False, begin, computed, first, count, total, centre, real)
    bits = LARGEST_BITS
    if limit:
        for i in range(computed):
            most[i] = real[i]
        for k in range(_uint(1), taps):
            for i in range(computed):
                most[i] = max(most[i], real[k * computed + i])
        for i in range(computed):
            most[i] = most[i] / total[i]
        largest = 0.0
        for i in range(computed):
            largest = max(largest, most[i])
        bits = 0
        while bits < LARGEST_BITS and int(0.5 + largest * (1 << (bits + 1))) < limit:
            bits += 1
    unit = _f64(1 << bits)
    for j in range(outputs):
        most[j] = 0.0
    for k in range(taps):
        row, to = k * computed + skipped, k * outputs
        for j in range(outputs):
            w = real[row + j] / total[skipped + j]
            number = _int(w * unit + math.copysign(0.5, w))
            most[j] += _f64(abs(number))
            whole[to + (outputs - _uint(1) - j if flip else j)] = number
    largest = 0.0
    for j in range(outputs):
        largest = max(largest, most[j])
    _in_order(outputs, skipped, flip, first, count)
    return taps, bits, 255.0 * largest < 2147483648.0


@table_kernel
def real_taps(n_in, n_out, kind, in_float32, is_fused, low, outputs, flip, first, count, real, weights):
    """Compute the taps of a resize in real arithmetic, in float64 and then rounded to float32.

    Args:
        n_in: Samples of the axis, uint64, as all integers here.
        n_out: Outputs of the resize.
        kind: Filter: BOX to CUBIC_FOURS.
        in_float32: Whether samples are placed in float32.
        is_fused: Whether the place in LINEAR_PAIRS is multiplied and subtracted with one rounding.
        low: First output that is kept.
        outputs: Number of outputs that are kept.
        flip: Whether the last of them comes first.
        first: int32 [outputs + SPARE], to be filled: first sample that each output reads.
        count: int32 [outputs + SPARE], to be filled: number of samples that it reads, from the first to the last weight
            that is not zero.
        real: float64 [(taps + 2) · (outputs + SPARE)], scratch memory.
        weights: float32 [taps · outputs], to be filled, tap by tap.

    Returns:
        Number of taps.
    """
    room = outputs + _uint(SPARE)
    total, centre, real = real[:room], real[room : _uint(2) * room], real[_uint(2) * room :]
    if kind == LINEAR_PAIRS:
        taps = _pairs(n_in, n_out, in_float32, is_fused, low, outputs, first, count, total, real)
    elif kind == CUBIC_FOURS:
        taps = _fours(n_in, n_out, in_float32, low, outputs, first, count, total, real)
    elif in_float32:
        taps = _widened(n_in, n_out, kind, True, low, outputs, first, count, total, centre, real)
    else:
        taps = _widened(n_in, n_out, kind, False, low, outputs, first, count, total, centre, real)
    for k in range(taps):
        row = k * outputs
        for j in range(outputs):
            weights[row + (outputs - _uint(1) - j if flip else j)] = _f32(real[row + j] / total[j])
    # Zeros at the end do not count; those at the front are skipped.
    most = _int(1)
    for j in range(outputs):
        n = _uint(count[j])
        while n > _uint(1) and real[(n - _uint(1)) * outputs + j] == 0.0:
            n -= _uint(1)
        skipped, to = _uint(0), outputs - _uint(1) - j if flip else j
        while skipped + _uint(1) < n and real[skipped * outputs + j] == 0.0:
            skipped += _uint(1)
        if skipped > _uint(0):
            first[j] += _int(skipped)
            for k in range(n - skipped):
                weights[k * outputs + to] = weights[(k + skipped) * outputs + to]
        count[j] = _int(n - skipped)
        most = max(most, count[j])
    _in_order(outputs, _uint(0), flip, first, count)
    return _uint(most)


@table_kernel
def float32_taps(n_in, n_out, kind, low, outputs, flip, first, count, real, weights):
    """Compute the taps of PyTorch's resize in float32, with products that are added with one rounding.

    Args:
        n_in: Samples of the axis, uint64, as all integers here.
        n_out: Outputs of the resize.
        kind: FLOAT32_BILINEAR or FLOAT32_BICUBIC.
        low: First output that is kept.
        outputs: Number of outputs that are kept.
        flip: Whether the last of them comes first.
        first: int32 [outputs + SPARE], to be filled: first sample that each output reads.
        count: int32 [outputs + SPARE], to be filled: number of samples that it reads.
        real: float32 [2 · (outputs + SPARE)], scratch memory.
        weights: float32 [taps · outputs], to be filled, tap by tap.

    Returns:
        Number of taps.
    """
    scale = _f32(_f64(n_in) / n_out)
    support, inverse = _f32(SUPPORT[kind]), _f32(1)
    if scale >= _f32(1):
        support, inverse = support * scale, _f32(1.0 / _f64(scale))
    room = outputs + _uint(SPARE)
    centre, total = real[:room], real[room : _uint(2) * room]
    end = _int(n_in)
    most = _int(0)
    for j in range(outputs):
        i = low + (outputs - _uint(1) - j if flip else j)
        c = _f32(_f64(scale) * (_f64(_int(i)) + 0.5))
        f = max(_int(_f64(c - support) + 0.5), _int(0))
        n = min(_int(_f64(c + support) + 0.5), end) - f
        centre[j], first[j], count[j], total[j] = c, f, n, _f32(0)
        most = max(most, n)
    for k in range(_uint(most)):
        row, tap = k * outputs, _int(k)
        for j in range(outputs):
            distance = _f64(_f32(first[j] + tap) - centre[j]) + 0.5
            x = abs(_f32(distance * _f64(inverse)))
            if kind == FLOAT32_BILINEAR:
                w = _f32(1.0 - _f64(x)) if x < _f32(1) else _f32(0)
            else:
                near = fused(fused(_f32(1.5), x, _f32(-2.5)) * x, x, _f32(1))
                far = fused(fused(fused(_f32(-0.5), x, _f32(2.5)), x, _f32(-4)), x, _f32(2))
                w = near if x < _f32(1) else (far if x < _f32(2) else _f32(0))
            w = w if tap < count[j] else _f32(0)
            weights[row + j] = w
            total[j] += w
    for k in range(_uint(most)):
        for j in range(outputs):
            weights[k * outputs + j] = weights[k * outputs + j] / total[j]
    return _uint(most)


@table_kernel
def copied_samples(n_in, n_out, kind, low, outputs, flip, first):
    """Find the sample that each output of a resize to the nearest one copies.

    Args:
        n_in: Samples of the axis, uint64, as all integers here.
        n_out: Outputs of the resize.
        kind: NEAREST, NEAREST_EXACT or PILLOW_NEAREST.
        low: First output that is kept.
        outputs: Number of outputs that are kept.
        flip: Whether the last of them comes first.
        first: int32 [outputs + SPARE], to be filled.
    """
    last = _int(n_in) - _int(1)
    if kind == PILLOW_NEAREST:
        step = _f64(n_in) / n_out
        place = step / 2.0
        for i in range(low + outputs):
            if i >= low:
                j = i - low
                first[outputs - _uint(1) - j if flip else j] = min(_int(place), last)
            place += step
        return
    scale = _f32(_f64(n_in) / n_out)
    offset = _f32(0.5) if kind == NEAREST_EXACT else _f32(0)
    for j in range(outputs):
        i = low + (outputs - _uint(1) - j if flip else j)
        first[j] = min(_int((_f32(_int(i)) + offset) * scale), last)

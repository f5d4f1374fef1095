"""Known maps of one axis that a matrix could be, from where its outputs lie on the input."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor

import numpy as np

from onelayer.algebra import AxisMap
from onelayer.algebra.axis import Interpolation
from onelayer.algebra.filters import Precision
from onelayer.algebra.operator import FloatArray

_OFF_A_LINE = 1.0
"""Samples, or steps if these are longer, that the centres of a resize may be off a line."""

Candidate = tuple[str, AxisMap]
"""Its name, and the map."""

# Where two of them are the same map, the first gives it its name.
_FILTERS: tuple[tuple[str, Interpolation, bool], ...] = (
    ("nearest", "nearest", False),
    ("nearest exact", "nearest_exact", False),
    ("bilinear", "bilinear", False),
    ("bilinear antialias", "bilinear", True),
    ("bicubic", "bicubic", False),
    ("bicubic antialias", "bicubic", True),
    ("box", "box", True),
    ("hamming", "hamming", True),
    ("lanczos", "lanczos", True),
)


def unpadded_candidates(taps: FloatArray, precision: Precision) -> Iterator[Candidate]:
    """Crops and resizes, the simplest first, flipped where the outputs descend.

    The centres of gravity of the outputs' taps say by how much the axis is resized and where it is cropped, up to a few
    samples, and only these are tried.

    Args:
        taps: float64 [n_out, n_in], none of the rows near zero.
        precision: In which a resize places its samples.
    """
    n_out = len(taps)
    centres = _centres(taps)
    ascends = n_out == 1 or float(np.median(np.diff(centres))) >= 0.0
    upright = centres if ascends else centres[::-1]
    for name, known in _ascending(taps.shape[1], upright, precision):
        if ascends:
            yield name, known
        else:
            flipped = AxisMap.flip(n_out) @ known
            yield ("flipped" if known.is_identity else f"{name}, flipped"), flipped


def _centres(taps: FloatArray) -> FloatArray:
    """The centre of gravity of each row's taps, in samples, [n_out]."""
    # Squares: negative lobes of a filter would pull the centre to the wrong side.
    masses = taps**2
    centres: FloatArray = masses @ np.arange(taps.shape[1]) / masses.sum(axis=1)
    return centres


def _ascending(n_in: int, centres: FloatArray, precision: Precision) -> Iterator[Candidate]:
    yield from _crops(n_in, centres)
    yield from _resizes(n_in, len(centres), precision)
    if len(centres) > 1:
        step, doubt, off = _step(centres)
        if off > _OFF_A_LINE * max(step, 1.0):
            return
        yield from _resized_then_cropped(n_in, centres, step, doubt, precision)
        yield from _cropped_then_resized(n_in, centres, step, doubt, precision)


def _crops(n_in: int, centres: FloatArray) -> Iterator[Candidate]:
    length = len(centres)
    start = round(float(np.median(centres - np.arange(length))))
    if length == n_in and start == 0:
        yield "identity", AxisMap.identity(n_in)
    elif 0 <= start <= n_in - length:
        yield _crop_name(n_in, start, length), AxisMap.crop(n_in, start, length)


def _crop_name(n: int, start: int, length: int) -> str:
    return f"crop {start}…{start + length - 1} of {n}"


def _resizes(n_in: int, n_out: int, precision: Precision) -> Iterator[Candidate]:
    if n_in == n_out:
        return
    for name, interpolation, antialias in _FILTERS:
        known = AxisMap.resample(n_in, n_out, interpolation, antialias, precision=precision)
        yield f"{name} {n_in}→{n_out}", known
    if n_out < n_in:
        yield f"area {n_in}→{n_out}", _area(n_in, n_out)


def _area(n_in: int, n_out: int) -> AxisMap:
    """Means over intervals of equal length, input samples counted by their overlap, as OpenCV's INTER_AREA shrinks."""
    length = n_in / n_out
    ends = np.arange(n_out + 1) * length
    samples = np.floor(ends[:-1, None]).astype(np.intp) + np.arange(ceil(length) + 1)
    overlap = np.minimum(samples + 1, ends[1:, None]) - np.maximum(samples, ends[:-1, None])
    # The last interval may reach a sample past the end, of which it has nothing.
    return AxisMap.from_taps(n_in, np.minimum(samples, n_in - 1), np.maximum(overlap, 0.0) / length)


def _step(centres: FloatArray) -> tuple[float, float, float]:
    """Input samples per output sample, the relative doubt about it, and how far centres are from that regular."""
    count = len(centres)
    # At the ends, filters lean inwards.
    inner = slice(count // 6, count - count // 6)
    places = np.arange(count)[inner]
    step = float(np.polyfit(places, centres[inner], 1)[0]) if len(places) > 1 else float(np.diff(centres).mean())
    step = max(step, 1.0 / 64)
    regular = centres[inner] - places * step
    return step, 1.0 / (len(places) * max(step, 1.0)) + 0.01, float(np.ptp(regular)) / 2


def _around(value: float, doubt: float) -> range:
    return range(max(1, floor(value * (1.0 - doubt)) - 1), ceil(value * (1.0 + doubt)) + 2)


def _resized_then_cropped(
    n_in: int, centres: FloatArray, step: float, doubt: float, precision: Precision
) -> Iterator[Candidate]:
    length = len(centres)
    for size in _around(n_in / step, doubt):
        if size <= length:
            continue
        offset = float(np.median((centres + 0.5) * (size / n_in) - 0.5 - np.arange(length)))
        starts = [start for start in range(floor(offset) - 1, ceil(offset) + 2) if 0 <= start <= size - length]
        for name, known in _resizes(n_in, size, precision):
            for start in starts:
                crop = AxisMap.crop(size, start, length)
                yield f"{name}, {_crop_name(size, start, length)}", crop @ known


def _cropped_then_resized(
    n_in: int, centres: FloatArray, step: float, doubt: float, precision: Precision
) -> Iterator[Candidate]:
    length = len(centres)
    for size in _around(step * length, doubt):
        if size >= n_in:
            continue
        offset = float(np.median(centres + 0.5 - (np.arange(length) + 0.5) * (size / length)))
        starts = [start for start in range(floor(offset) - 1, ceil(offset) + 2) if 0 <= start <= n_in - size]
        for name, known in _resizes(size, length, precision):
            for start in starts:
                crop = AxisMap.crop(n_in, start, size)
                yield f"{_crop_name(n_in, start, size)}, {name}", known @ crop

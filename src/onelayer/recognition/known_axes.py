"""Names what happens to one axis: crops, flips, resizes and paddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra import AxisMap
from onelayer.algebra.axis import Interpolation
from onelayer.algebra.filters import Padding, Precision
from onelayer.algebra.operator import FloatArray
from onelayer.recognition.tolerance import CLEARLY, checked_matrix, is_meaningful

SAME = 1e-6
"""Largest difference of the taps of two known maps that are the same map: libraries round differently."""
_MODES: tuple[Padding, ...] = ("edge", "symmetric", "reflect")
_OFF_A_LINE = 1.0
"""Largest distance of the centres of a resize from a line, in samples, or in steps if these are longer."""
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
_MOST_ENLARGED = 16
"""Largest factor of an enlargement that is followed by a crop."""


@final
@dataclass(frozen=True)
class AxisSteps:
    """What happens along an axis, in this order; all numbers are of samples.

    Args:
        first: First sample of the part of the axis that is resized.
        length: Length of that part.
        resized: Length that it is resized to.
        filters: Names of the filters that do so, each with the same taps; empty without a resize.
        start: First sample of the result that is kept.
        kept: Number of these that are kept.
        flipped: Whether the last of them comes first.
        before: Number of samples that are added before them.
        after: Number of samples that are added after them.
        padding: Content of what is added; None where nothing is.
    """

    first: int
    length: int
    resized: int
    filters: tuple[str, ...]
    start: int
    kept: int
    flipped: bool
    before: int
    after: int
    padding: Padding | None


@final
@dataclass(frozen=True, eq=False)
class NamedAxis:
    """A known map of one axis.

    Args:
        name: Description, in the order in which things happen, such as ``bilinear antialias 32→28, flipped``.
        map: The map, with its exact taps.
        distance: Largest distance of a measured tap from these.
        also: Other names of the same map.
        steps: What happens, in numbers; None where that is not known.
    """

    name: str
    map: AxisMap
    distance: float
    also: tuple[str, ...] = ()
    steps: AxisSteps | None = None


@final
@dataclass(frozen=True, eq=False)
class _Candidate:
    """A known map in its parts, which are multiplied out only if its middle output is near.

    Args:
        name: Description.
        core: Map between a crop of the input and a crop of the output, such as a resize.
        n_in: Length of the input.
        input_start: Start of the crop of the input.
        output_start: Start of the crop of the core's output.
        length: Length of that crop.
        flipped: Whether the crop of the output is flipped.
        padding: Numbers of outputs before and after, and how they are padded; None without any.
        filter: Name of the core's filter; empty where it is no resize.
    """

    name: str
    core: AxisMap
    n_in: int
    input_start: int
    output_start: int
    length: int
    flipped: bool = False
    padding: tuple[int, int, Padding] | None = None
    filter: str = ""

    def steps(self, filters: tuple[str, ...]) -> AxisSteps:
        """Return what happens, in numbers, with filters of the same taps."""
        before, after, padding = self.padding or (0, 0, None)
        window = self.output_start, self.length
        return AxisSteps(
            self.input_start, self.core.n_in, self.core.n_out, filters, *window, self.flipped, before, after, padding
        )

    @property
    def middle(self) -> int:
        """Index of the output in the middle between the paddings."""
        return self.length // 2 + (0 if self.padding is None else self.padding[0])

    def middle_row(self) -> FloatArray:
        """Compute the taps of that output, [n_in]."""
        place = self.length // 2
        output = self.output_start + (self.length - 1 - place if self.flipped else place)
        row = np.zeros(self.n_in)
        start = self.input_start + self.core.starts[output]
        row[start : start + self.core.taps] = self.core.weights[output]
        return row

    def multiplied_out(self) -> AxisMap:
        """Compute the map."""
        whole = AxisMap.crop(self.core.n_out, self.output_start, self.length) @ self.core
        whole = whole @ AxisMap.crop(self.n_in, self.input_start, self.core.n_in)
        if self.flipped:
            whole = AxisMap.flip(self.length) @ whole
        return whole if self.padding is None else AxisMap.pad(self.length, *self.padding) @ whole


def named_axis(matrix: ArrayLike, tolerance: float, precision: Precision = "float64") -> NamedAxis | None:
    """Find the known map that is nearest to a matrix, if it is near enough.

    Known are the identity, crops, resizes (nearest, box, bilinear, hamming, bicubic, Lanczos; with antialiasing and
    without, where libraries have both) of the whole axis or of a crop, crops of them, each of them flipped, and padded
    with zeros, or by edge, reflect or symmetric padding.

    Args:
        matrix: Measured taps, float64 [n_out, n_in]; those of a resize add up to one.
        tolerance: Largest error of a tap, ≥ 0.
        precision: Precision in which a resize places its samples: that of torch's images, or float64 for Pillow.

    Returns:
        None if no known map is within the tolerance, if another one is nearly as near as the nearest, or if the
        tolerance is half of the largest tap or more.

    Raises:
        OnelayerError: If the matrix is no matrix, is empty or not finite, or the tolerance is negative.
    """
    taps = checked_matrix(matrix, tolerance)
    if not is_meaningful(tolerance, taps):
        return None
    # Rounding in float64 is no difference.
    tolerance = max(tolerance, 1e-12)
    read = np.flatnonzero(np.abs(taps).max(axis=1) > tolerance)
    if len(read) == 0:
        nothing = AxisMap(taps.shape[1], np.zeros(len(taps), np.int64), np.zeros((len(taps), 1)))
        return NamedAxis("zeros", nothing, float(np.abs(taps).max()))
    before, after = int(read[0]), len(taps) - 1 - int(read[-1])
    inner = taps[before : len(taps) - after]
    if len(inner) != len(read):
        # Nothing known reads nothing in between.
        return None
    if before or after:
        return _best(taps, tolerance, _padded(_unpadded(inner, precision), before, after, "zero"))
    found = _best(taps, tolerance, _unpadded(taps, precision))
    if found is not None:
        return found
    padded = (named for mode in _MODES for named in _edge_padded(taps, tolerance, precision, mode))
    return _best(taps, tolerance, padded)


def _best(taps: FloatArray, tolerance: float, candidates: Iterator[_Candidate]) -> NamedAxis | None:
    near: list[tuple[float, _Candidate, AxisMap]] = []
    for candidate in candidates:
        # A single output tells most of them apart, at a fraction of the cost.
        if float(np.abs(candidate.middle_row() - taps[candidate.middle]).max()) > tolerance:
            continue
        known = candidate.multiplied_out()
        distance = float(np.abs(known.to_dense() - taps).max())
        if distance <= tolerance:
            near.append((distance, candidate, known))
    if not near:
        return None
    nearest = min(near, key=lambda candidate: candidate[0])[2]
    # Of several names for the same map, the first is the simplest.
    alike = [candidate for candidate in near if candidate[2].allclose(nearest, SAME)]
    distance, simplest, known = alike[0]
    others = [candidate[0] for candidate in near if not candidate[2].allclose(nearest, SAME)]
    if min(others, default=np.inf) < CLEARLY * distance:
        return None
    name, steps = simplest.name, simplest.steps(())
    filters = dict.fromkeys(other.filter for _, other, _ in alike if other.filter and other.steps(()) == steps)
    also = dict.fromkeys(other.name for _, other, _ in alike[1:] if other.name != name)
    return NamedAxis(name, known, distance, tuple(also), replace(steps, filters=tuple(filters)))


def _padded(candidates: Iterator[_Candidate], before: int, after: int, mode: Padding) -> Iterator[_Candidate]:
    content = "zeros" if mode == "zero" else mode
    for candidate in candidates:
        name = f"{candidate.name}, padded by {before} and {after} ({content})"
        yield replace(candidate, name=name, padding=(before, after, mode))


def _edge_padded(taps: FloatArray, tolerance: float, precision: Precision, mode: Padding) -> Iterator[_Candidate]:
    before = _repeats(taps, tolerance, mode)
    after = _repeats(taps[::-1], tolerance, mode)
    length = len(taps) - before - after
    if before + after == 0 or length < 1 or (mode == "reflect" and max(before, after) >= length):
        return
    inner = taps[before : before + length]
    yield from _padded(_unpadded(inner, precision), before, after, mode)


def _repeats(taps: FloatArray, tolerance: float, mode: Padding) -> int:
    """Count the outputs at the front that padding makes of those behind them."""
    most = 0
    for count in range(1, len(taps)):
        match mode:
            case "edge":
                mirrored = np.broadcast_to(taps[count], (count, taps.shape[1]))
            case "symmetric":
                mirrored = taps[count : 2 * count][::-1]
            case _:
                mirrored = taps[count + 1 : 2 * count + 1][::-1]
        if len(mirrored) == count and bool((np.abs(mirrored - taps[:count]) <= 2 * tolerance).all()):
            most = count
    return most


def _unpadded(taps: FloatArray, precision: Precision) -> Iterator[_Candidate]:
    """Yield crops and resizes, the simplest first, flipped where the outputs descend.

    The centres of gravity of the outputs' taps say by how much the axis is resized and where it is cropped, up to a few
    samples, and only such maps are tried.

    Args:
        taps: Measured taps, float64 [n_out, n_in], none of the rows near zero.
        precision: Precision in which a resize places its samples.
    """
    centres = _centres(taps)
    ascends = len(taps) == 1 or float(np.median(np.diff(centres))) >= 0.0
    for candidate in _ascending(taps.shape[1], centres if ascends else centres[::-1], precision):
        if ascends:
            yield candidate
        else:
            name = "flipped" if candidate.name == "identity" else f"{candidate.name}, flipped"
            yield replace(candidate, name=name, flipped=True)


def _centres(taps: FloatArray) -> FloatArray:
    """Compute the centre of gravity of each row's taps, in samples, [n_out]."""
    # Squares: negative lobes of a filter would pull the centre to the wrong side.
    masses = taps**2
    centres: FloatArray = masses @ np.arange(taps.shape[1]) / masses.sum(axis=1)
    return centres


def _ascending(n_in: int, centres: FloatArray, precision: Precision) -> Iterator[_Candidate]:
    yield from _crops(n_in, centres)
    for filter_name, name, resize in _resizes(n_in, len(centres), precision):
        yield _Candidate(name, resize, n_in, 0, 0, len(centres), filter=filter_name)
    if len(centres) > 1:
        step, uncertainty, off = _step(centres)
        if off > _OFF_A_LINE * max(step, 1.0):
            return
        yield from _resized_then_cropped(n_in, centres, step, uncertainty, precision)
        yield from _cropped_then_resized(n_in, centres, step, uncertainty, precision)


def _crops(n_in: int, centres: FloatArray) -> Iterator[_Candidate]:
    length = len(centres)
    start = round(float(np.median(centres - np.arange(length))))
    if 0 <= start <= n_in - length:
        name = "identity" if length == n_in else _crop_name(n_in, start, length)
        yield _Candidate(name, AxisMap.identity(n_in), n_in, 0, start, length)


def _crop_name(n: int, start: int, length: int) -> str:
    return f"crop {start}…{start + length - 1} of {n}"


def _resizes(n_in: int, n_out: int, precision: Precision) -> Iterator[tuple[str, str, AxisMap]]:
    """Yield resizes, each with the name of its filter and its own."""
    if n_in == n_out:
        return
    for name, interpolation, antialias in _FILTERS:
        yield (
            name,
            f"{name} {n_in}→{n_out}",
            AxisMap.resample(n_in, n_out, interpolation, antialias, precision=precision),
        )
    if n_out < n_in:
        yield "area", f"area {n_in}→{n_out}", _area(n_in, n_out)


def _area(n_in: int, n_out: int) -> AxisMap:
    """Average over intervals of equal length, input samples counted by their overlap, as OpenCV's INTER_AREA."""
    length = n_in / n_out
    ends = np.arange(n_out + 1) * length
    samples = np.floor(ends[:-1, None]).astype(np.intp) + np.arange(ceil(length) + 1)
    overlap = np.minimum(samples + 1, ends[1:, None]) - np.maximum(samples, ends[:-1, None])
    # The last interval may reach a sample past the end, of which it has nothing.
    return AxisMap.from_taps(n_in, np.minimum(samples, n_in - 1), np.maximum(overlap, 0.0) / length)


def _step(centres: FloatArray) -> tuple[float, float, float]:
    """Find the input samples per output sample, their relative uncertainty, and the distance of centres from a line."""
    count = len(centres)
    # At the ends, filters lean inwards.
    inner = slice(count // 6, count - count // 6)
    places = np.arange(count)[inner]
    step = float(np.polyfit(places, centres[inner], 1)[0]) if len(places) > 1 else float(np.diff(centres).mean())
    step = max(step, 1.0 / _MOST_ENLARGED)
    regular = centres[inner] - places * step
    return step, 1.0 / (len(places) * max(step, 1.0)) + 0.01, float(np.ptp(regular)) / 2


def _around(value: float, uncertainty: float) -> range:
    return range(max(1, floor(value * (1.0 - uncertainty)) - 1), ceil(value * (1.0 + uncertainty)) + 2)


def _resized_then_cropped(
    n_in: int, centres: FloatArray, step: float, uncertainty: float, precision: Precision
) -> Iterator[_Candidate]:
    length = len(centres)
    for size in _around(n_in / step, uncertainty):
        if size <= length:
            continue
        offset = float(np.median((centres + 0.5) * (size / n_in) - 0.5 - np.arange(length)))
        starts = [start for start in range(floor(offset) - 1, ceil(offset) + 2) if 0 <= start <= size - length]
        for filter_name, name, resize in _resizes(n_in, size, precision) if starts else ():
            for start in starts:
                cropped = f"{name}, {_crop_name(size, start, length)}"
                yield _Candidate(cropped, resize, n_in, 0, start, length, filter=filter_name)


def _cropped_then_resized(
    n_in: int, centres: FloatArray, step: float, uncertainty: float, precision: Precision
) -> Iterator[_Candidate]:
    length = len(centres)
    for size in _around(step * length, uncertainty):
        if size >= n_in:
            continue
        offset = float(np.median(centres + 0.5 - (np.arange(length) + 0.5) * (size / length)))
        starts = [start for start in range(floor(offset) - 1, ceil(offset) + 2) if 0 <= start <= n_in - size]
        for filter_name, name, resize in _resizes(size, length, precision) if starts else ():
            for start in starts:
                cropped = f"{_crop_name(n_in, start, size)}, {name}"
                yield _Candidate(cropped, resize, n_in, start, 0, length, filter=filter_name)

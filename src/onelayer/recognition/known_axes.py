"""Names for what happens to one axis: crops, flips, resizes and paddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra import AxisMap
from onelayer.algebra.filters import Padding, Precision
from onelayer.algebra.operator import FloatArray
from onelayer.recognition.axis_candidates import Candidate, unpadded_candidates
from onelayer.recognition.nearness import CLEARLY, is_meaningful, measured

SAME = 1e-6
"""Two known maps no tap of which differs by more are one map by two names: libraries round differently."""
_MODES: tuple[Padding, ...] = ("edge", "symmetric", "reflect")


@final
@dataclass(frozen=True, eq=False)
class NamedAxis:
    """A known map of one axis.

    Args:
        name: In words, in the order in which things happen, such as ``bilinear antialias 32→28, flipped``.
        map: Its exact taps.
        distance: How far the taps that were given are from these at most.
        also: Other names of the same map.
    """

    name: str
    map: AxisMap
    distance: float
    also: tuple[str, ...] = ()


def named_axis(matrix: ArrayLike, tolerance: float, precision: Precision = "float64") -> NamedAxis | None:
    """The known map that is nearest to a matrix, if it is near enough.

    Known are the identity, crops, resizes (nearest, box, bilinear, hamming, bicubic, Lanczos; with antialiasing and
    without, where libraries have both) of the whole axis or of a crop, crops of them, each of them flipped, and padded
    with zeros, or by edge, reflect or symmetric padding.

    Args:
        matrix: float64 [n_out, n_in]; the taps of a resize add up to one.
        tolerance: How far a tap may be off, ≥ 0.
        precision: In which a resize places its samples: that of torch's images, or float64 for Pillow.

    Returns:
        None if no known map is within the tolerance, if another one is nearly as near as the nearest, or if the
        tolerance is half of the largest tap or more.

    Raises:
        OnelayerError: If the matrix is none, is empty or not finite, or the tolerance is negative.
    """
    taps = measured(matrix, tolerance)
    if not is_meaningful(tolerance, taps):
        return None
    # What rounding in float64 makes of taps is no difference.
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
        return _best(taps, tolerance, _padded(unpadded_candidates(inner, precision), len(inner), before, after, "zero"))
    found = _best(taps, tolerance, unpadded_candidates(taps, precision))
    if found is not None:
        return found
    padded = (named for mode in _MODES for named in _edge_padded(taps, tolerance, precision, mode))
    return _best(taps, tolerance, padded)


def _best(taps: FloatArray, tolerance: float, candidates: Iterator[Candidate]) -> NamedAxis | None:
    near: list[tuple[float, str, AxisMap]] = []
    middle = len(taps) // 2
    for name, known in candidates:
        # One output tells most of them apart, at a fraction of the cost.
        if float(np.abs(_row(known, middle) - taps[middle]).max()) > tolerance:
            continue
        distance = float(np.abs(known.to_dense() - taps).max())
        if distance <= tolerance:
            near.append((distance, name, known))
    if not near:
        return None
    nearest = min(near, key=lambda one: one[0])[2]
    # Of several names for one map, the first is the simplest.
    names = [one for one in near if one[2].allclose(nearest, SAME)]
    distance, name, known = names[0]
    others = [one[0] for one in near if not one[2].allclose(nearest, SAME)]
    if min(others, default=np.inf) < CLEARLY * distance:
        return None
    return NamedAxis(name, known, distance, tuple(dict.fromkeys(other for _, other, _ in names[1:] if other != name)))


def _row(axis: AxisMap, output: int) -> FloatArray:
    row = np.zeros(axis.n_in)
    start = axis.starts[output]
    row[start : start + axis.taps] = axis.weights[output]
    return row


def _padded(
    candidates: Iterator[Candidate], length: int, before: int, after: int, mode: Padding
) -> Iterator[Candidate]:
    words = "zeros" if mode == "zero" else mode
    padding = AxisMap.pad(length, before, after, mode)
    for name, known in candidates:
        yield f"{name}, padded by {before} and {after} ({words})", padding @ known


def _edge_padded(taps: FloatArray, tolerance: float, precision: Precision, mode: Padding) -> Iterator[Candidate]:
    before = _repeats(taps, tolerance, mode)
    after = _repeats(taps[::-1], tolerance, mode)
    length = len(taps) - before - after
    if before + after == 0 or length < 1 or (mode == "reflect" and max(before, after) >= length):
        return
    inner = taps[before : before + length]
    yield from _padded(unpadded_candidates(inner, precision), length, before, after, mode)


def _repeats(taps: FloatArray, tolerance: float, mode: Padding) -> int:
    """How many outputs at the front are what padding by as many would make of those behind them."""
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

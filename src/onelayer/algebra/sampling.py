"""The pixels that a warp reads and their weights, found from its images of places.

Grids are computed in the precision of the image, and a rounding there decides which pixel a nearest neighbour is. So
the warp itself is asked: an image that holds the number of each row comes out holding the rows that were read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from onelayer.algebra.axis import AxisMap
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.operator import ROUNDING, TooLargeError
from onelayer.errors import OnelayerError

Warp = Callable[[NDArray[np.float32]], FloatArray]
"""Takes images [N, H, W] of whole numbers and samples all of them at the same places: a linear map to [N, H', W']."""

MAX_TAPS = 20_000_000
"""Weights of the largest pixel matrix that a warp becomes, 240 MB."""


def refuse_too_many_taps(taps: int) -> None:
    """Raise TooLargeError if a pixel matrix would have more than :data:`MAX_TAPS` weights."""
    if taps > MAX_TAPS:
        raise TooLargeError(
            f"a pixel matrix would have at least {taps:,} taps",
            expected=f"at most {MAX_TAPS:,}",
            hint="Put a resize to fewer pixels before it.",
        )


def selection(warp: Warp, size: tuple[int, int], precision: float) -> tuple[AxisMap, AxisMap, bool] | None:
    """Recognise a warp that copies pixels in rows and columns: flips, right angles, shifts by whole pixels, crops.

    Args:
        warp: Function of images of this size.
        size: Height and width of the input.
        precision: Relative precision of the numbers that the warp computes with. A place is rounded about four times
            by half of that, relative to the longest axis, and its number in the image a few times more. Within four
            times the precision of a pixel's centre it counts as the centre; as far may a weight, a product of up to
            four numbers that place gives, be from 0 or 1.

    Returns:
        Maps of the rows and of the columns, zero where nothing is sampled, and whether height and width are swapped
        first. None if the warp is no such copy.

    Raises:
        OnelayerError: If a place is not finite.
    """
    height, width = size
    numbers = np.ones((3, height, width), dtype=np.float32)
    numbers[1] = np.arange(height)[:, None]
    numbers[2] = np.arange(width)
    weights, *sums = _finite(warp(numbers))
    tolerance = 4 * max(*size, *weights.shape) * precision
    covered = weights > 0.5
    if bool((np.abs(weights - covered) > tolerance).any()):
        return None
    places = [np.divide(total, weights, out=np.zeros_like(total), where=covered) for total in sums]
    down, along = (np.rint(place) for place in places)
    if max(np.abs(places[0] - down).max(), np.abs(places[1] - along).max()) > tolerance:
        return None
    for transpose, vertical, horizontal in ((False, down, along), (True, along, down)):
        rows = _per_row(vertical, covered)
        cols = _per_row(horizontal.T, covered.T)
        if rows is None or cols is None:
            continue
        lengths = (width, height) if transpose else (height, width)
        maps = [AxisMap(n, *axis) for n, axis in zip(lengths, (rows, cols), strict=True)]
        return maps[0], maps[1], transpose
    return None


def _per_row(places: FloatArray, covered: NDArray[np.bool_]) -> tuple[IntArray, FloatArray] | None:
    """Find the one place of each row and its weight, 0 where the row is not covered; None where its samples differ."""
    rows, cols = np.asarray(covered.any(axis=1)), np.asarray(covered.any(axis=0))
    first = places[:, cols.argmax()]
    if bool((covered != np.outer(rows, cols)).any()) or bool((covered & (places != first[:, None])).any()):
        return None
    return np.where(rows, first, 0).astype(np.int64), rows[:, None].astype(np.float64)


def sampled(warp: Warp, size: tuple[int, int], window: int) -> tuple[Any, tuple[int, int]]:
    """Read a warp off as a matrix over pixels.

    Of the pixels whose row and column have one remainder modulo ``window``, an output reads one at most. So if only
    those are one, its value is the weight of that pixel, and if they hold their number, the weight times the number.

    Args:
        warp: Function of images of this size.
        size: Height and width of the input.
        window: Largest number of neighbouring rows, and of columns, that one output reads.

    Returns:
        A ``csr_array`` [H'·W', H·W] of the weights as the warp computes them, and the height and width of the output.

    Raises:
        OnelayerError: If a weight is not finite.
        TooLargeError: If there are more than :data:`MAX_TAPS` weights.
    """
    height, width = size
    outputs, inputs, values = [], [], []
    taps = 0
    for down, along in itertools.product(range(min(window, height)), range(min(window, width))):
        numbers = np.zeros((3, height, width), dtype=np.float32)
        ones, rows, cols = numbers[:, down::window, along::window]
        ones[:] = 1.0
        rows[:] = np.arange(len(rows))[:, None]
        cols[:] = np.arange(cols.shape[1])
        weights, *sums = _finite(warp(numbers))
        out_size = (weights.shape[0], weights.shape[1])
        # A weight that is only the rounding of a zero would not tell its pixel.
        read = np.flatnonzero(np.abs(weights) > ROUNDING)
        taps += len(read)
        refuse_too_many_taps(taps)
        weight = weights.ravel()[read].astype(np.float64)
        row, col = (
            np.rint(total.ravel()[read] / weight).clip(0, count - 1).astype(np.int32)
            for total, count in zip(sums, ones.shape, strict=True)
        )
        outputs.append(read.astype(np.int32))
        inputs.append((row * window + down) * width + col * window + along)
        values.append(weight)
    coordinates = np.concatenate(outputs), np.concatenate(inputs)
    shape = (out_size[0] * out_size[1], height * width)
    return scipy.sparse.csr_array((np.concatenate(values), coordinates), shape=shape), out_size


def _finite(sums: FloatArray) -> FloatArray:
    if not np.isfinite(sums).all():
        raise OnelayerError(
            "the place of a sample is not finite",
            expected="finite coefficients, and a horizon that passes through no pixel's centre",
            hint="Mend the angles, points or coefficients.",
        )
    # A rotated view would be read across its memory again and again.
    return np.ascontiguousarray(sums)

"""From where, and with which weights, a pass along a line of bytes takes its samples, sixteen bytes at a time.

A half of a vector register holds sixteen bytes, which one instruction puts in any order. There are two ways to use it:

* *near*: a half serves four neighbouring outputs, two samples for each. For those that lie in sixteen bytes together.
* *far*: a register serves one output, sixteen samples. For all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import AxisMap
from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu.windows import nearby

BYTES = 16
"""In half of a vector register; as many samples are read at a time."""

NEAR_OUTPUTS, FAR_OUTPUTS = 16, 8
"""That are computed together."""

_ORDER = np.array([[0, 2], [1, 3]])
"""Which four of sixteen outputs each half of two registers has: packing them to bytes then leaves them in order."""

NO_PLACE = 0x80
"""In place of a place: a zero."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A pass along a line.

    Args:
        first: The first sample that is read, from which on places count.
        length: How many from there on.
        starts: uint64, where each half, or each output, begins to read: [blocks, steps, 4] if near, [blocks, steps, 8]
            if far.
        places: uint8 [blocks, steps, 64], the order of the bytes in each half; empty if far.
        weights: Whole numbers, [blocks, steps, 32] if near, [blocks, steps, 8, 16] if far.
        near: Which of the two ways it is.
    """

    first: int
    length: int
    starts: NDArray[np.uint64]
    places: NDArray[np.uint8]
    weights: NDArray[Any]
    near: bool


def windows_of(axis: AxisMap, whole: IntArray) -> Windows:
    """The windows of a map.

    Args:
        axis: The map, of which only the places count.
        whole: Its weights as whole numbers, [n_out, taps].
    """
    axis = nearby(axis)
    first = int(axis.starts.min())
    starts = axis.starts - first
    # The last byte that a window may begin at; a shorter line is followed by zeros.
    last = max(axis.span - BYTES, 0)
    near = _near(starts, whole, last)
    begins, places, weights = near or _far(starts, whole, last)
    return Windows(first, axis.span, begins.astype(np.uint64), places, weights, near is not None)


def blocks_of(width: int, outputs: int) -> IntArray:
    """The outputs of each block, [blocks, outputs]: the last block ends at the end, or else there is but one."""
    begins = np.minimum(np.arange(0, width, outputs), max(width - outputs, 0))
    return begins[:, None] + np.arange(outputs)


def _near(starts: IntArray, whole: IntArray, last: int) -> tuple[IntArray, NDArray[np.uint8], IntArray] | None:
    width, taps = whole.shape
    steps = -(-taps // 2)
    outputs = blocks_of(width, NEAR_OUTPUTS)
    padded = np.zeros((width + 1, 2 * steps), np.int64)
    padded[:width, :taps] = whole
    # [blocks, outputs, steps, 2]: the weight of each sample of a pair, and where it is.
    weights = padded[np.minimum(outputs, width)].reshape(*outputs.shape, steps, 2)
    samples = starts[np.minimum(outputs, width - 1)][:, :, None, None] + np.arange(2 * steps).reshape(steps, 2)
    # [blocks, 4 halves, steps, 8 samples]
    by_halves = (len(outputs), 4, 4, steps, 2)
    weights, samples = (
        values.reshape(by_halves).swapaxes(2, 3).reshape(len(outputs), 4, steps, 8) for values in (weights, samples)
    )
    used = weights != 0
    lowest = np.where(used, samples, np.iinfo(np.int64).max).min(axis=-1)
    begins = np.where(used.any(axis=-1), np.minimum(lowest, last), 0)
    within = samples - begins[..., None]
    if (within[used] >= BYTES).any():
        return None
    places = np.full((*within.shape, 2), NO_PLACE, np.uint8)
    places[..., 0] = np.where(used, within, NO_PLACE)
    order = _ORDER.ravel()
    return (
        np.ascontiguousarray(begins[:, order].swapaxes(1, 2)),
        np.ascontiguousarray(places[:, order].swapaxes(1, 2)).reshape(len(outputs), steps, 4 * BYTES),
        np.ascontiguousarray(weights[:, order].swapaxes(1, 2)).reshape(len(outputs), steps, 32),
    )


def _far(starts: IntArray, whole: IntArray, last: int) -> tuple[IntArray, NDArray[np.uint8], IntArray]:
    width, taps = whole.shape
    outputs = blocks_of(width, FAR_OUTPUTS)
    # A window that would begin too late begins earlier, and its weights stand later in it.
    steps = -(-taps // BYTES)
    begins = np.minimum(starts[:, None] + BYTES * np.arange(steps), last)
    weights = np.zeros((width + 1, steps, BYTES), np.int64)
    for step, (begin, end) in enumerate(pairwise([*range(0, taps, BYTES), taps])):
        lines, columns = np.nonzero(whole[:, begin:end])
        samples = starts[lines] + begin + columns
        weights[lines, step, samples - begins[lines, step]] = whole[lines, begin + columns]
    lanes = np.minimum(outputs, width)
    return (
        np.ascontiguousarray(begins[np.minimum(outputs, width - 1)].swapaxes(1, 2)),
        np.zeros((0, 0, 4 * BYTES), np.uint8),
        np.ascontiguousarray(weights[lanes].swapaxes(1, 2)),
    )

"""Fill the tables that the CPU kernels read: from where along a line, and with which weights, outputs take samples.

Kernels compute blocks of neighbouring outputs. There are tables for three kinds of sums:

* float32 images: the taps of eight neighbouring outputs as one small dense matrix (:func:`dense_blocks`);
* bytes with integer weights (:func:`byte_windows`);
* bytes whose sums round to float32 (:func:`float32_windows`).

A half of a 32-byte register holds sixteen bytes, which one instruction puts in any order. Tables for bytes use it in
one of two layouts:

* *near*: a half serves four neighbouring outputs that read from the same sixteen bytes, with two samples each (for
  float32 sums, one each);
* *far*: each output reads from a place of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import AxisMap, Taps
from onelayer.algebra.operator import IntArray
from onelayer.errors import OnelayerError

LANES = 8
"""Neighbouring outputs of a line that a register of float32 or int32 holds."""

BYTES = 16
"""Bytes of half a register; as many samples are read at a time."""

NEAR_OUTPUTS, FAR_OUTPUTS = 16, 8
"""Outputs of integer sums that are computed together in either layout."""

ZERO = 0x80
"""Place in a register that stands for a zero."""

_ORDER = np.array([[0, 2], [1, 3]])
"""Fours of sixteen outputs that each half of two registers has: packing them to bytes then leaves them in order."""


def blocks_of(width: int, outputs: int) -> IntArray:
    """Cut a line into blocks of outputs.

    Args:
        width: Outputs of the line.
        outputs: Outputs of a block.

    Returns:
        int64 [blocks, outputs]. The last block ends with the line; a line shorter than a block has a single one.
    """
    begins = np.minimum(np.arange(0, width, outputs), max(width - outputs, 0))
    return begins[:, None] + np.arange(outputs)


def refuse_reads_outside(name: str, starts: NDArray[Any], taps: IntArray | int, length: int) -> None:
    """Raise OnelayerError if a read leaves an axis.

    Stages check what they are built from; this is the last look before a kernel gets addresses.

    Args:
        name: Name of the field, for the error.
        starts: First sample of each read, [n].
        taps: Samples of each read, [n], or of all.
        length: Samples of the axis.
    """
    # Starts first: a sum with one that is too large could overflow.
    inside = len(starts) == 0 or (int(starts.min()) >= 0 and int(starts.max()) <= length)
    if not inside or bool((starts > length - np.asarray(taps, np.int64)).any()):
        raise OnelayerError(
            f"{name} has reads from {starts.min()} to {starts.max()}", expected=f"within {length} samples"
        )


@lru_cache(maxsize=64)
def with_nearby_starts(axis: AxisMap) -> AxisMap:
    """Move outputs that read nothing, such as padding, to where their neighbours read; the map stays the same."""
    reads = (axis.weights != 0).any(axis=1)
    if reads.all() or not reads.any():
        return axis
    # The output itself, or the last before it that reads, or else the first that does.
    source = np.maximum.accumulate(np.where(reads, np.arange(axis.n_out), reads.argmax()))
    return AxisMap(axis.n_in, axis.starts[source], axis.weights)


def is_far_apart(axis: AxisMap) -> bool:
    """Whether neighbouring outputs read samples so far apart that a dense block wastes most of its work."""
    axis = with_nearby_starts(axis)
    return samples_of_blocks(axis) * axis.n_out > 8 * (axis.n_in + axis.n_out * axis.taps) + LANES**2


@lru_cache(maxsize=64)
def samples_of_blocks(axis: AxisMap) -> int:
    """Return how many samples the widest block of eight outputs spans, from its first to its last."""
    starts = axis.starts[np.minimum(blocks_of(axis.n_out, LANES), axis.n_out - 1)]
    return int((starts.max(axis=1) - starts.min(axis=1)).max()) + axis.taps


def dense_blocks(cols: AxisMap) -> tuple[int, NDArray[np.uint64], NDArray[np.float32]]:
    """Fill the tap tables of the columns: one dense matrix for each block of eight outputs.

    Returns:
        First column that is read, from which on columns are counted; first column of each block, [blocks]; weights
        [blocks, columns, 8].
    """
    first = int(cols.starts.min())
    blocks = blocks_of(cols.n_out, LANES)
    lanes = np.minimum(blocks, cols.n_out - 1)
    starts = cols.starts[lanes] - first
    taps = samples_of_blocks(cols)
    begins = np.minimum(starts.min(axis=1), cols.span - taps)
    weights = np.zeros((len(blocks), taps, LANES), dtype=np.float32)
    values = np.where((blocks < cols.n_out)[:, :, None], cols.weights[lanes], 0.0)
    columns = (starts - begins[:, None])[:, :, None] + np.arange(cols.taps)
    np.put_along_axis(weights, columns.transpose(0, 2, 1), values.transpose(0, 2, 1), axis=1)
    return first, begins.astype(np.uint64), weights


@dataclass(frozen=True, eq=False)
class Windows:
    """Tables of a pass along a line of bytes.

    Args:
        first: First sample that is read, from which on samples are counted.
        length: Samples from there on that are read.
        starts: uint64, first sample of each half of a register (near) or of each output (far). Integer sums:
            [blocks, steps, 4] or [blocks, steps, 8]; float32 sums: [blocks, taps, 2] or [blocks, taps, 8].
        places: uint8, order of the bytes in each half; empty if far. Integer sums: [blocks, steps, 64]; float32 sums:
            [blocks, taps, 32].
        weights: Integer sums: integers [blocks, steps, 32] or [blocks, steps, 8, 16]; float32 sums: float32
            [blocks, taps, 2, 8].
        near: Whether the layout is near.
    """

    first: int
    length: int
    starts: NDArray[np.uint64]
    places: NDArray[np.uint8]
    weights: NDArray[Any]
    near: bool


def byte_windows(axis: AxisMap, weights: IntArray) -> Windows:
    """Fill the tap tables of a pass with integer weights.

    Args:
        axis: Map of the line; its own weights are not read.
        weights: Integer weights [n_out, taps].
    """
    axis = with_nearby_starts(axis)
    first = int(axis.starts.min())
    starts = axis.starts - first
    # The last byte at which a window may begin; a shorter line is followed by zeros.
    last = max(axis.span - BYTES, 0)
    near = _near(starts, weights, last)
    begins, places, values = near or _far(starts, weights, last)
    return Windows(first, axis.span, begins.astype(np.uint64), places, values, near is not None)


def _near(starts: IntArray, weights: IntArray, last: int) -> tuple[IntArray, NDArray[np.uint8], IntArray] | None:
    width, taps = weights.shape
    steps = -(-taps // 2)
    outputs = blocks_of(width, NEAR_OUTPUTS)
    padded = np.zeros((width + 1, 2 * steps), np.int64)
    padded[:width, :taps] = weights
    # [blocks, outputs, steps, 2]: weight and place of each sample of a pair.
    values = padded[np.minimum(outputs, width)].reshape(*outputs.shape, steps, 2)
    samples = starts[np.minimum(outputs, width - 1)][:, :, None, None] + np.arange(2 * steps).reshape(steps, 2)
    # [blocks, 4 halves, steps, 8 samples]
    by_halves = (len(outputs), 4, 4, steps, 2)
    values, samples = (
        array.reshape(by_halves).swapaxes(2, 3).reshape(len(outputs), 4, steps, 8) for array in (values, samples)
    )
    used = values != 0
    lowest = np.where(used, samples, np.iinfo(np.int64).max).min(axis=-1)
    begins = np.where(used.any(axis=-1), np.minimum(lowest, last), 0)
    within = samples - begins[..., None]
    if (within[used] >= BYTES).any():
        return None
    places = np.full((*within.shape, 2), ZERO, np.uint8)
    places[..., 0] = np.where(used, within, ZERO)
    order = _ORDER.ravel()
    return (
        np.ascontiguousarray(begins[:, order].swapaxes(1, 2)),
        np.ascontiguousarray(places[:, order].swapaxes(1, 2)).reshape(len(outputs), steps, 4 * BYTES),
        np.ascontiguousarray(values[:, order].swapaxes(1, 2)).reshape(len(outputs), steps, 32),
    )


def _far(starts: IntArray, weights: IntArray, last: int) -> tuple[IntArray, NDArray[np.uint8], IntArray]:
    width, taps = weights.shape
    outputs = blocks_of(width, FAR_OUTPUTS)
    # A window that would begin too late begins earlier, and its weights stand later in it.
    steps = -(-taps // BYTES)
    begins = np.minimum(starts[:, None] + BYTES * np.arange(steps), last)
    values = np.zeros((width + 1, steps, BYTES), np.int64)
    for step, (begin, end) in enumerate(pairwise([*range(0, taps, BYTES), taps])):
        lines, columns = np.nonzero(weights[:, begin:end])
        samples = starts[lines] + begin + columns
        values[lines, step, samples - begins[lines, step]] = weights[lines, begin + columns]
    return (
        np.ascontiguousarray(begins[np.minimum(outputs, width - 1)].swapaxes(1, 2)),
        np.zeros((0, 0, 4 * BYTES), np.uint8),
        np.ascontiguousarray(values[np.minimum(outputs, width)].swapaxes(1, 2)),
    )


def fused_and_unfused(taps: Taps, unfused: int) -> NDArray[np.float32]:
    """Split weights into those of products that are added in one step and those that are rounded before.

    One of the two is zero for each tap, and what it adds changes nothing.

    Args:
        taps: Taps in the order in which they are added.
        unfused: Size of the groups of products that are rounded before they are added, see
            :class:`onelayer.algebra.Float32Sum`.

    Returns:
        float32 [n_out, K, 2].
    """
    places = np.arange(taps.weights.shape[1])
    fused_from = 1 + (taps.counts - 1) // unfused * unfused if unfused else np.ones_like(taps.counts)
    # The first product is rounded in any case: it is added to zero.
    is_unfused = (places > 0) & (places < fused_from[:, None])
    weights = np.where(places < taps.counts[:, None], taps.weights, np.float32(0))
    return np.stack([np.where(is_unfused, 0, weights), np.where(is_unfused, weights, 0)], axis=-1).astype(np.float32)


def float32_windows(taps: Taps, unfused: int) -> Windows:
    """Fill the tap tables of a pass whose sums round to float32; tap after tap is added for eight outputs at a time.

    Args:
        taps: Taps along the line.
        unfused: As in :func:`fused_and_unfused`.
    """
    first, length = taps.window
    outputs = blocks_of(taps.n_out, LANES)
    lanes = np.minimum(outputs, taps.n_out - 1)
    values = fused_and_unfused(taps, unfused)[lanes]
    values = np.where((outputs < taps.n_out)[:, :, None, None], values, np.float32(0))
    weights = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    offsets = np.arange(taps.weights.shape[1])
    # [blocks, K, 8]; a tap that does not count is read from where another is.
    samples = (taps.starts - first)[lanes][:, None] + np.minimum(offsets[:, None], (taps.counts - 1)[lanes][:, None])
    near = _near_float32(samples, max(length - BYTES, 0))
    if near is None:
        nothing = np.zeros((0, 0, 2 * BYTES), np.uint8)
        return Windows(first, length, samples.astype(np.uint64), nothing, weights, near=False)
    return Windows(first, length, *near, weights, near=True)


def _near_float32(samples: IntArray, last: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]] | None:
    starts, places = zip(*_halves(samples, last), strict=True)
    if max(int(half.max()) for half in places) >= BYTES:
        return None
    # A byte, and three zeros.
    wide = np.full((*samples.shape, 4), ZERO, np.uint8)
    wide[..., 0] = np.concatenate(places, axis=-1)
    return np.stack(starts, axis=-1).astype(np.uint64), wide.reshape(*samples.shape[:2], 2 * BYTES)


def _halves(samples: IntArray, last: int) -> Iterator[tuple[IntArray, IntArray]]:
    for four in (samples[..., :4], samples[..., 4:]):
        start = np.minimum(four.min(axis=-1), last)
        yield start, four - start[..., None]

"""From where, and with which weights, a pass along a line of bytes takes its samples where sums round to float32.

Such sums have an order, so that one tap after the other is added, for eight outputs at a time: as in ``byte_windows``
either from two windows of sixteen bytes (*near*), or each from its own place (*far*).

Each weight is there twice: as one whose product is rounded before it is added, and as one whose product is not. One of
the two is zero, and what it adds changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import Taps
from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu.byte_windows import BYTES, NO_PLACE, Windows, blocks_of
from onelayer.backends.cpu.windows import LANES


def two_weights(taps: Taps, apart: int) -> NDArray[np.float32]:
    """Weights [n_out, K, 2] of products that are added in one step, and of those that are rounded first.

    Args:
        taps: Whose.
        apart: See :class:`onelayer.algebra.Float32Sum`.
    """
    places = np.arange(taps.weights.shape[1])
    fused_from = 1 + (taps.counts - 1) // apart * apart if apart else np.ones_like(taps.counts)
    # The first is rounded either way: it is added to zero.
    is_apart = (places > 0) & (places < fused_from[:, None])
    weights = np.where(places < taps.counts[:, None], taps.weights, np.float32(0))
    return np.stack([np.where(is_apart, 0, weights), np.where(is_apart, weights, 0)], axis=-1).astype(np.float32)


def single_windows_of(taps: Taps, apart: int) -> Windows:
    """The windows of taps, with weights [blocks, K, 2, 8].

    Args:
        taps: Along the line.
        apart: As above.
    """
    first, length = taps.window
    outputs = blocks_of(taps.n_out, LANES)
    lanes = np.minimum(outputs, taps.n_out - 1)
    of_lane = np.where((outputs < taps.n_out)[:, :, None, None], two_weights(taps, apart)[lanes], np.float32(0))
    weights = np.ascontiguousarray(of_lane.transpose(0, 2, 3, 1))
    offsets = np.arange(taps.weights.shape[1])
    # [blocks, K, 8]; what is not counted is read from where something is.
    samples = (taps.starts - first)[lanes][:, None] + np.minimum(offsets[:, None], (taps.counts - 1)[lanes][:, None])
    near = _near(samples, max(length - BYTES, 0))
    if near is None:
        nothing = np.zeros((0, 0, 2 * BYTES), np.uint8)
        return Windows(first, length, samples.astype(np.uint64), nothing, weights, near=False)
    return Windows(first, length, *near, weights, near=True)


def _near(samples: IntArray, last: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]] | None:
    starts, places = zip(*_halves(samples, last), strict=True)
    if max(int(one.max()) for one in places) >= BYTES:
        return None
    # A byte, and three zeros.
    wide = np.full((*samples.shape, 4), NO_PLACE, np.uint8)
    wide[..., 0] = np.concatenate(places, axis=-1)
    return np.stack(starts, axis=-1).astype(np.uint64), wide.reshape(*samples.shape[:2], 2 * BYTES)


def _halves(samples: IntArray, last: int) -> Iterator[tuple[IntArray, IntArray]]:
    for four in (samples[..., :4], samples[..., 4:]):
        start = np.minimum(four.min(axis=-1), last)
        yield start, four - start[..., None]

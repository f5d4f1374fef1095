"""What neighbouring outputs of an axis read together, eight at a time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import AxisMap

LANES = 8
"""Neighbouring outputs of a line that kernels compute together."""


def is_far_apart(axis: AxisMap) -> bool:
    """Whether neighbouring outputs read samples so far apart that reading all between them is no good idea."""
    axis = nearby(axis)
    return samples_of_blocks(axis) * axis.n_out > 8 * (axis.n_in + axis.n_out * axis.taps) + LANES**2


@lru_cache(maxsize=64)
def nearby(axis: AxisMap) -> AxisMap:
    """The same map; outputs that read nothing, such as padding, have their places by those of their neighbours."""
    reads = (axis.weights != 0).any(axis=1)
    if reads.all() or not reads.any():
        return axis
    # Each output's own place, or that of the last before it that reads, or else of the first that does.
    of = np.maximum.accumulate(np.where(reads, np.arange(axis.n_out), reads.argmax()))
    return AxisMap(axis.n_in, axis.starts[of], axis.weights)


@lru_cache(maxsize=64)
def samples_of_blocks(axis: AxisMap) -> int:
    """Samples that the widest block of eight neighbouring outputs reads, from its first to its last."""
    places = _places(axis.n_out)
    starts = axis.starts[np.minimum(places, axis.n_out - 1)]
    return int((starts.max(axis=1) - starts.min(axis=1)).max()) + axis.taps


def first_column_and_blocks(cols: AxisMap) -> tuple[int, NDArray[np.uint64], NDArray[np.float32]]:
    """The map of the columns as one small dense matrix for eight outputs.

    Returns:
        The first column that is read, from which on columns are counted; the first column of each block, [blocks]; and
        weights [blocks, columns, 8].
    """
    first = int(cols.starts.min())
    places = _places(cols.n_out)
    lanes = np.minimum(places, cols.n_out - 1)
    starts = cols.starts[lanes] - first
    taps = samples_of_blocks(cols)
    begins = np.minimum(starts.min(axis=1), cols.span - taps)
    weights = np.zeros((len(places), taps, LANES), dtype=np.float32)
    values = np.where((places < cols.n_out)[:, :, None], cols.weights[lanes], 0.0)
    columns = (starts - begins[:, None])[:, :, None] + np.arange(cols.taps)
    np.put_along_axis(weights, columns.transpose(0, 2, 1), values.transpose(0, 2, 1), axis=1)
    return first, begins.astype(np.uint64), weights


def _places(width: int) -> NDArray[np.int64]:
    """The outputs of each block, [blocks, 8]: at every eighth, the last one at the eighth from the end, or at 0."""
    begins = np.minimum(np.arange(0, width, LANES), max(width - LANES, 0))
    return begins[:, None] + np.arange(LANES)

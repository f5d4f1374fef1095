"""The largest difference of two affine operators over all images there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy

from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.operator import Operator, TooLargeError, blocks_of_outputs, extremes, refuse_other_channels
from onelayer.algebra.ranges import Range
from onelayer.algebra.spatial import SpatialOperator
from onelayer.errors import OnelayerError

MAX_TAPS = 200_000_000
"""Taps of the two largest pixel matrices that are compared: seconds per channel, one block after the other."""

_TAPS_PER_BLOCK = 2_000_000


def difference_range(first: Operator, second: Operator, input_range: Range) -> tuple[FloatArray, FloatArray]:
    """Find the smallest and the largest value of ``first(x) − second(x)`` over all images x within a range.

    Exact up to float64 rounding: with W and b the differences of weights and biases, an output pixel's largest value is
    ``Σ max(W, 0)·high + Σ min(W, 0)·low + b``, and the image that is ``high`` where W is positive and ``low`` elsewhere
    attains it. Neither end exceeds the usual bound ``Σ |W| · max(|low|, |high|) + |b|`` in size, and
    they are often well within it: where no value of x is negative, positive and negative weights pull in opposite
    directions.

    Args:
        first: Operator that does not round its sums.
        second: Operator between images of the same shapes that does not either.
        input_range: Range of x, per input channel; every sample may take every value in it.

    Returns:
        Two float64 arrays [C', H', W'], the smallest values and the largest.

    Raises:
        OnelayerError: If shapes or channels differ, or one of the two rounds its sums.
        TooLargeError: If the two have more than :data:`MAX_TAPS` taps per pair of channels.
    """
    if (first.in_shape, first.out_shape) != (second.in_shape, second.out_shape):
        raise OnelayerError(
            f"operators from {first.in_shape} to {first.out_shape} and from {second.in_shape} to {second.out_shape} "
            "were to be compared",
            expected="equal shapes",
        )
    refuse_other_channels(input_range, first)
    for operator in (first, second):
        if operator.rounds_sums:
            raise OnelayerError(f"{type(operator).__name__} rounds its sums", expected="operators in real arithmetic")
    if isinstance(first, SpatialOperator) and isinstance(second, SpatialOperator):
        low, high = _spatial_ends(first, second, input_range)
    else:
        low, high = _ends_by_rows(first, second, input_range)
    bias = first.offset() - second.offset()
    return low + bias, high + bias


def _ends_by_rows(first: Operator, second: Operator, input_range: Range) -> tuple[FloatArray, FloatArray]:
    ends = [
        extremes(first.weight_rows(outputs) - second.weight_rows(outputs), input_range)
        for outputs in blocks_of_outputs(first)
    ]
    low, high = (np.concatenate(end).reshape(first.out_shape) for end in zip(*ends, strict=True))
    return low, high


def _spatial_ends(first: SpatialOperator, second: SpatialOperator, input_range: Range) -> tuple[FloatArray, FloatArray]:
    channels, _, width = first.out_shape
    lowest, highest = input_range.low, input_range.high
    low, high = np.zeros(first.out_shape), np.zeros(first.out_shape)
    # Channels that have the same pair of factors, as those without mixing do, share their sums.
    factors = np.stack([first.channel.matrix, second.channel.matrix], axis=-1).reshape(-1, 2)
    distinct, which = np.unique(factors, axis=0, return_inverse=True)
    which = which.reshape(first.channel.matrix.shape)
    for begin, end in _blocks(first.taps_per_row + second.taps_per_row):
        one, other = first.pixel_matrix(begin, end), second.pixel_matrix(begin, end)
        sums = [_signed_sums(own * one - others * other) for own, others in distinct]
        for c in range(channels):
            for k in range(first.in_shape[0]):
                positive, negative = (part.reshape(end - begin, width) for part in sums[which[c, k]])
                low[c, begin:end] += positive * lowest[k] + negative * highest[k]
                high[c, begin:end] += positive * highest[k] + negative * lowest[k]
    return low, high


def _blocks(taps: IntArray) -> Iterator[tuple[int, int]]:
    """Divide rows into ranges with about :data:`_TAPS_PER_BLOCK` taps each."""
    if taps.sum() > MAX_TAPS:
        raise TooLargeError(
            f"two operators of {int(taps.sum()):,} taps were to be compared",
            expected=f"at most {MAX_TAPS:,}",
            hint="Compare them for smaller images.",
        )
    begin, held = 0, 0
    for row, count in enumerate(taps.tolist()):
        if row > begin and held + count > _TAPS_PER_BLOCK:
            yield begin, row
            begin, held = row, 0
        held += count
    yield begin, len(taps)


def _signed_sums(matrix: Any) -> tuple[FloatArray, FloatArray]:
    """Add up the positive and the negative entries of each row, both [rows]."""
    parts = (np.maximum(matrix.data, 0.0), np.minimum(matrix.data, 0.0))
    positive, negative = (
        scipy.sparse.csr_array((part, matrix.indices, matrix.indptr), shape=matrix.shape).sum(axis=1) for part in parts
    )
    return np.asarray(positive), np.asarray(negative)

"""How far apart two affine operators can come, over all images there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from onelayer.algebra.channels import bias_image
from onelayer.algebra.dense import Dense
from onelayer.algebra.operator import FloatArray, IntArray, Operator, TooLargeError, samples_of
from onelayer.algebra.pixel_matrix import Spatial, pixel_matrix, taps_per_row
from onelayer.algebra.ranges import Range
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse
from onelayer.errors import OnelayerError

MAX_TAPS = 200_000_000
"""Taps of the two largest pixel matrices that are compared: seconds per channel, one block after the other."""

_TAPS_PER_BLOCK = 2_000_000
_SAMPLES_PER_BLOCK = 4_000_000


def difference_range(first: Operator, second: Operator, given: Range) -> tuple[FloatArray, FloatArray]:
    """The smallest and the largest value of ``first(x) − second(x)`` over all images x within a range.

    Exact up to float64 rounding: with W and b the differences of weights and biases, an output pixel's largest value is
    ``Σ max(W, 0)·high + Σ min(W, 0)·low + b``, and the image that is ``high`` where W is positive and ``low`` elsewhere
    attains it. Neither end exceeds the usual bound ``Σ |W| · max(|low|, |high|) + |b|`` in size, and
    they are often well within it: where no value of x is negative, positive and negative weights pull in opposite
    directions.

    Args:
        first: A Separable, SpatialSparse or Dense.
        second: Another, between images of the same shapes.
        given: The range of x, per input channel; every sample may take every value in it.

    Returns:
        Two float64 arrays [C', H', W'], the smallest values and the largest.

    Raises:
        OnelayerError: If shapes or channels differ.
        TooLargeError: If the two have more than :data:`MAX_TAPS` taps per pair of channels.
    """
    if (first.in_shape, first.out_shape) != (second.in_shape, second.out_shape):
        raise OnelayerError(
            f"operators from {first.in_shape} to {first.out_shape} and from {second.in_shape} to {second.out_shape} "
            "were to be compared",
            expected="equal shapes",
        )
    if len(given.low) != first.in_shape[0]:
        raise OnelayerError(
            f"a range of {len(given.low)} channels was given", expected=f"{first.in_shape[0]}, as the operators have"
        )
    if isinstance(first, Spatial) and isinstance(second, Spatial):
        low, high = _spatial_ends(first, second, given)
    else:
        low, high = _ends_by_rows(first, second, given)
    bias = _bias(first) - _bias(second)
    return low + bias, high + bias


def weight_rows(operator: Operator, outputs: IntArray) -> FloatArray:
    """The weights that some output samples have on the input.

    Args:
        operator: A Separable, SpatialSparse or Dense.
        outputs: Indices into the flattened output, int64 [n].

    Returns:
        float64 [n, C, H, W].
    """
    channel, row, col = np.unravel_index(outputs, operator.out_shape)
    match operator:
        case Dense():
            return operator.weight[outputs].reshape(len(outputs), *operator.in_shape)
        case SpatialSparse():
            spatial = operator.matrix[row * operator.out_size[1] + col].toarray()
            spatial = spatial.reshape(len(outputs), *operator.in_size)
        case Separable():
            rows, cols = (
                axis.to_sparse()[places].toarray() for axis, places in ((operator.rows, row), (operator.cols, col))
            )
            spatial = rows[:, :, None] * cols[:, None, :]
            if operator.transpose:
                spatial = spatial.swapaxes(1, 2)
        case _:
            raise TypeError(f"no weight rows of {type(operator).__name__}")
    weights: FloatArray = operator.channel[channel][:, :, None, None] * spatial[:, None]
    return weights


def _bias(operator: Operator) -> FloatArray:
    if isinstance(operator, Dense):
        return operator.bias.reshape(operator.out_shape)
    if isinstance(operator, Spatial):
        return bias_image(operator.bias)
    raise TypeError(f"no difference of {type(operator).__name__}")


def _ends_by_rows(first: Operator, second: Operator, given: Range) -> tuple[FloatArray, FloatArray]:
    outputs = samples_of(first.out_shape)
    low, high = np.empty(outputs), np.empty(outputs)
    at_a_time = max(1, _SAMPLES_PER_BLOCK // (samples_of(first.in_shape) + outputs))
    for begin in range(0, outputs, at_a_time):
        part = np.arange(begin, min(begin + at_a_time, outputs))
        weights = weight_rows(first, part) - weight_rows(second, part)
        positive, negative = np.maximum(weights, 0.0).sum(axis=(2, 3)), np.minimum(weights, 0.0).sum(axis=(2, 3))
        low[part] = positive @ given.low + negative @ given.high
        high[part] = positive @ given.high + negative @ given.low
    return low.reshape(first.out_shape), high.reshape(first.out_shape)


def _spatial_ends(first: Spatial, second: Spatial, given: Range) -> tuple[FloatArray, FloatArray]:
    channels, _, width = first.out_shape
    low, high = np.zeros(first.out_shape), np.zeros(first.out_shape)
    # Channels that have the same pair of factors, as those without mixing do, share their sums.
    factors = np.stack([first.channel, second.channel], axis=-1).reshape(-1, 2)
    distinct, which = np.unique(factors, axis=0, return_inverse=True)
    which = which.reshape(first.channel.shape)
    for begin, end in _blocks(taps_per_row(first) + taps_per_row(second)):
        one, other = pixel_matrix(first, begin, end), pixel_matrix(second, begin, end)
        sums = [_signed_sums(own * one - others * other) for own, others in distinct]
        for c in range(channels):
            for k in range(first.in_shape[0]):
                positive, negative = (part.reshape(end - begin, width) for part in sums[which[c, k]])
                low[c, begin:end] += positive * given.low[k] + negative * given.high[k]
                high[c, begin:end] += positive * given.high[k] + negative * given.low[k]
    return low, high


def _blocks(taps: IntArray) -> Iterator[tuple[int, int]]:
    """Ranges of rows with about :data:`_TAPS_PER_BLOCK` taps each."""
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
    """Sums of the positive and of the negative entries of each row, both [rows]."""
    parts = (np.maximum(matrix.data, 0.0), np.minimum(matrix.data, 0.0))
    positive, negative = (
        sparse.csr_array((part, matrix.indices, matrix.indptr), shape=matrix.shape).sum(axis=1) for part in parts
    )
    return np.asarray(positive), np.asarray(negative)

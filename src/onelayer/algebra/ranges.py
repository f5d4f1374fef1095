"""Interval analysis: between which values the output of a stage lies.

For one operator the result is exact up to float64 rounding: some image within the input range attains each bound. Over
several stages it is a safe enclosure, since the values that an operator gives do not vary independently of each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.activations import Activation
from onelayer.algebra.axis import AxisMap
from onelayer.algebra.dense import Dense
from onelayer.algebra.float32_sum import Float32Sum
from onelayer.algebra.operator import FloatArray, Operator
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse
from onelayer.errors import OnelayerError


@final
@dataclass(frozen=True, eq=False)
class Range:
    """The smallest and the largest value of each channel.

    Args:
        low: float64 [C].
        high: float64 [C], nowhere below ``low``.

    Raises:
        OnelayerError: If the two do not fit together or are not finite.
    """

    low: FloatArray
    high: FloatArray

    def __post_init__(self) -> None:
        low, high = np.array(self.low, dtype=np.float64), np.array(self.high, dtype=np.float64)
        fits = low.ndim == 1 and low.shape == high.shape and low.size > 0
        if not fits or not bool((np.isfinite(low) & np.isfinite(high) & (low <= high)).all()):
            raise OnelayerError(f"the range {low} … {high} was given", expected="finite numbers [C], low ≤ high")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def of(cls, channels: int, low: ArrayLike, high: ArrayLike) -> Self:
        """The range of so many channels: one pair of numbers for all, or one per channel."""
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        return cls(np.broadcast_to(low, (channels,)), np.broadcast_to(high, (channels,)))


def ranges_of(stages: Iterable[Operator | Activation], given: Range) -> list[Range]:
    """The range behind each stage in turn.

    Raises:
        OnelayerError: If a range reaches beyond what an activation is defined for, or has other channels than an
            operator.
    """
    ranges: list[Range] = []
    current = given
    for stage in stages:
        if isinstance(stage, Operator):
            current = operator_range(stage, current)
        else:
            current = Range(*stage.out_range(current.low, current.high))
        ranges.append(current)
    return ranges


def operator_range(operator: Operator, given: Range) -> Range:
    """The range of an operator's output, exact up to float64 rounding.

    Args:
        operator: A Separable, SpatialSparse, Dense or Float32Sum.
        given: The range of its input; every sample may take every value in it.

    Raises:
        OnelayerError: If the range has another number of channels.
    """
    if len(given.low) != operator.in_shape[0]:
        raise OnelayerError(
            f"a range of {len(given.low)} channels was given", expected=f"{operator.in_shape[0]}, as the operator has"
        )
    match operator:
        case Separable():
            return _spread(operator, *_separable_sums(operator), given)
        case SpatialSparse():
            sums = operator.matrix.maximum(0).sum(axis=1), operator.matrix.minimum(0).sum(axis=1)
            return _spread(operator, *sums, given)
        case Dense():
            return _dense_range(operator, given)
        case Float32Sum():
            return _singles_range(operator, given)
        case _:
            raise TypeError(f"no range analysis for {type(operator).__name__}")


def _singles_range(operator: Float32Sum, given: Range) -> Range:
    """A safe enclosure: that of real arithmetic, and the bound of two roundings for each tap."""
    exact = operator_range(operator.real, given)
    roundings = 2 * int(operator.taps.counts.max()) * 2.0**-24
    weight = float(np.abs(operator.taps.weights).sum(axis=1).max())
    slack = roundings / (1 - roundings) * weight * float(np.abs([given.low, given.high]).max())
    return Range(exact.low - slack, exact.high + slack)


def _dense_range(operator: Dense, given: Range) -> Range:
    weight = operator.weight.reshape(len(operator.weight), operator.in_shape[0], -1)
    positive, negative = np.maximum(weight, 0.0).sum(axis=2), np.minimum(weight, 0.0).sum(axis=2)
    low = positive @ given.low + negative @ given.high + operator.bias
    high = positive @ given.high + negative @ given.low + operator.bias
    channels = operator.out_shape[0]
    return Range(low.reshape(channels, -1).min(axis=1), high.reshape(channels, -1).max(axis=1))


def _separable_sums(operator: Separable) -> tuple[FloatArray, FloatArray]:
    """Sums of the positive and of the negative weights of the output pixels that can be extreme, both [pixels]."""
    # Where the bias is an image every place counts.
    sums_of = _signed_sums if operator.bias.ndim == 3 else _extreme_sums
    (rows_plus, rows_minus), (cols_plus, cols_minus) = sums_of(operator.rows), sums_of(operator.cols)
    positive = np.outer(rows_plus, cols_plus) + np.outer(rows_minus, cols_minus)
    negative = np.outer(rows_plus, cols_minus) + np.outer(rows_minus, cols_plus)
    return positive.ravel(), negative.ravel()


def _spread(operator: Separable | SpatialSparse, positive: FloatArray, negative: FloatArray, given: Range) -> Range:
    """The range behind output pixels whose positive and negative weights add up to these sums [pixels]."""
    plus, minus = np.maximum(operator.channel, 0.0), np.minimum(operator.channel, 0.0)
    mixed_low = (plus @ given.low + minus @ given.high)[:, None]
    mixed_high = (plus @ given.high + minus @ given.low)[:, None]
    bias = operator.bias.reshape(len(operator.channel), -1)
    low = positive * mixed_low + negative * mixed_high + bias
    high = positive * mixed_high + negative * mixed_low + bias
    return Range(low.min(axis=1), high.max(axis=1))


def _signed_sums(axis: AxisMap) -> tuple[FloatArray, FloatArray]:
    """Sums of the positive and of the negative weights of each row, both [n_out]."""
    return np.maximum(axis.weights, 0.0).sum(axis=1), np.minimum(axis.weights, 0.0).sum(axis=1)


def _extreme_sums(axis: AxisMap) -> tuple[FloatArray, FloatArray]:
    """Of those sums, only the rows that can be extreme.

    The output is linear in the pair of sums. If all rows have the same total the pairs lie on a line, and its two
    ends are enough.
    """
    positive, negative = _signed_sums(axis)
    if axis.gain is None:
        return positive, negative
    ends = [int(negative.argmin()), int(negative.argmax())]
    return positive[ends], negative[ends]

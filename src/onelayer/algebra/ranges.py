"""Interval analysis: between which values the output of a stage lies.

For one operator the result is exact up to float64 rounding: some image within the input range attains each bound. Over
several stages it is a safe enclosure, since the values that an operator gives do not vary independently of each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.checks import FloatArray
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.algebra.operator import Stage


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
        """Make the range of so many channels, from one pair of numbers for all or from one per channel."""
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        return cls(np.broadcast_to(low, (channels,)), np.broadcast_to(high, (channels,)))


def ranges_of(stages: Iterable[Stage], input_range: Range) -> list[Range]:
    """Follow a range through stages, and give the range behind each of them.

    Raises:
        OnelayerError: If a range reaches beyond what an activation is defined for, or has other channels than an
            operator.
    """
    ranges: list[Range] = []
    for stage in stages:
        input_range = stage.output_range(input_range)
        ranges.append(input_range)
    return ranges

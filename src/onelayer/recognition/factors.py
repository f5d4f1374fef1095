"""Three matrices and the weights that their Kronecker product has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np

from onelayer.algebra.operator import FloatArray


@final
@dataclass(frozen=True, eq=False)
class Factors:
    """``channel ⊗ rows ⊗ cols``.

    Args:
        channel: float64 [C', C].
        rows: float64 [H', H].
        cols: float64 [W', W].
    """

    channel: FloatArray
    rows: FloatArray
    cols: FloatArray

    @property
    def each(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """All three."""
        return self.channel, self.rows, self.cols

    @property
    def grams(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``FᵀF`` of each."""
        channel, rows, cols = (factor.T @ factor for factor in self.each)
        return channel, rows, cols

    @property
    def weights(self) -> FloatArray:
        """The product, float64 [C', H', W', C, H, W]."""
        product: FloatArray = np.einsum("pc,qh,rw->pqrchw", *self.each, optimize=True)
        return product

    def with_factor(self, along: int, factor: FloatArray) -> Self:
        """One of them (0 channels, 1 rows, 2 columns) replaced."""
        return replace(self, **{("channel", "rows", "cols")[along]: factor})

    def balanced(self) -> Self:
        """The same product, with rows and cols whose taps add up to one at most outputs, as those of resizes do.

        Where they add up to nothing (differences), their largest tap becomes one.
        """
        rows, cols = (gain_of(factor.sum(axis=1), _largest(factor)) for factor in (self.rows, self.cols))
        return replace(self, channel=self.channel * (rows * cols), rows=self.rows / rows, cols=self.cols / cols)


def gain_of(sums: FloatArray, largest: FloatArray) -> float:
    """What the taps of an output add up to, at most outputs; where that is nothing, the largest tap.

    Args:
        sums: Of the taps of each output, [n_out].
        largest: The largest tap of each output by its size, with its sign, [n_out].
    """
    extent = float(np.abs(largest).max(initial=0.0))
    if extent == 0.0:
        return 1.0
    # Outputs that read nothing (zero padding) have no say.
    middle = float(np.median(sums[np.abs(largest) > 0.1 * extent]))
    return middle if abs(middle) > 0.1 * extent else float(largest[np.abs(largest).argmax()])


def _largest(factor: FloatArray) -> FloatArray:
    places = np.abs(factor).argmax(axis=1)
    largest: FloatArray = factor[np.arange(len(factor)), places]
    return largest

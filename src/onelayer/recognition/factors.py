"""Three matrices and the weights that their Kronecker product has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np

from onelayer.operators.contract import FloatArray


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
        rows, cols = _gain(self.rows), _gain(self.cols)
        return replace(self, channel=self.channel * (rows * cols), rows=self.rows / rows, cols=self.cols / cols)


def _gain(factor: FloatArray) -> float:
    sums = factor.sum(axis=1)
    extent = float(np.abs(factor).max())
    if extent == 0.0:
        return 1.0
    # Outputs that read nothing (zero padding) have no say.
    reading = np.abs(factor).max(axis=1) > 0.1 * extent
    middle = float(np.median(sums[reading]))
    return middle if abs(middle) > 0.1 * extent else float(factor.flat[np.abs(factor).argmax()])

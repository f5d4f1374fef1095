"""An affine map as one matrix: what learning finds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.operator import (
    Cost,
    FloatArray,
    Operator,
    Shape,
    TooLargeError,
    as_images,
    samples_of,
)
from onelayer.errors import OnelayerError

MAX_WEIGHTS = 50_000_000
"""Weights of the largest matrix that is built, 400 MB."""


def refuse_too_large(in_shape: Shape, out_shape: Shape) -> None:
    """Raise TooLargeError if a matrix between these shapes would have more than :data:`MAX_WEIGHTS` weights."""
    weights = samples_of(in_shape) * samples_of(out_shape)
    if weights > MAX_WEIGHTS:
        raise TooLargeError(
            f"a dense layer from {in_shape} to {out_shape} would have {weights:,} weights",
            expected=f"at most {MAX_WEIGHTS:,}",
            hint="Keep it as a separable or sparse operator, or use smaller images.",
        )


@final
@dataclass(frozen=True, eq=False)
class Dense(Operator):
    """``y = weight · x + bias`` over images flattened as (channel, row, column).

    Args:
        weight: float64 [C'·H'·W', C·H·W], finite.
        bias: float64 [C'·H'·W'], finite.
        in_shape: Channels, height and width of the input.
        out_shape: Channels, height and width of the output.

    Raises:
        OnelayerError: If the arrays do not fit the shapes or hold a value that is not finite.
    """

    weight: FloatArray
    bias: FloatArray
    in_shape: Shape
    out_shape: Shape

    def __post_init__(self) -> None:
        weight = np.array(self.weight, dtype=np.float64, order="C")
        bias = np.array(self.bias, dtype=np.float64)
        rows, columns = samples_of(self.out_shape), samples_of(self.in_shape)
        if weight.shape != (rows, columns) or bias.shape != (rows,):
            raise OnelayerError(
                f"a weight of shape {weight.shape} and a bias of shape {bias.shape} were given",
                expected=f"({rows}, {columns}) and ({rows},) for images from {self.in_shape} to {self.out_shape}",
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise OnelayerError("a weight or bias is not finite", expected="finite numbers")
        weight.setflags(write=False)
        bias.setflags(write=False)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    @property
    def cost(self) -> Cost:
        """One multiplication per weight; the weights themselves are read once per batch and not counted."""
        return Cost(self.weight.size, self.weight.shape[0] + self.weight.shape[1])

    @cached_property
    def is_identity(self) -> bool:
        """Whether the weight is the unit matrix and the bias zero."""
        return (
            self.in_shape == self.out_shape
            and not self.bias.any()
            and np.array_equal(self.weight, np.eye(len(self.weight)))
        )

    def apply(self, x: ArrayLike) -> FloatArray:
        """Images [..., C, H, W] to float64 [..., C', H', W']."""
        images = as_images(x, self.in_shape)
        batch = images.shape[:-3]
        result: FloatArray = images.reshape(*batch, self.weight.shape[1]) @ self.weight.T + self.bias
        return result.reshape(*batch, *self.out_shape)

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Images [..., C', H', W'] to float64 [..., C, H, W], without the bias."""
        images = as_images(y, self.out_shape)
        batch = images.shape[:-3]
        result: FloatArray = images.reshape(*batch, self.weight.shape[0]) @ self.weight
        return result.reshape(*batch, *self.in_shape)

    def to_dense(self) -> Self:
        """This operator itself."""
        return self

"""An affine map as one matrix: what learning finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra import checks
from onelayer.algebra.channels import bias_image
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.operator import Cost, Footprint, Operator, Shape, TooLargeError, as_images, samples_of

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
class Dense(Operator, kind="dense"):
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
        in_shape, out_shape = (checks.lengths(name, getattr(self, name), 3) for name in ("in_shape", "out_shape"))
        inputs, outputs = samples_of(in_shape), samples_of(out_shape)
        object.__setattr__(self, "weight", checks.real_numbers("weight", self.weight, (outputs, inputs)))
        object.__setattr__(self, "bias", checks.real_numbers("bias", self.bias, (outputs,)))
        object.__setattr__(self, "in_shape", in_shape)
        object.__setattr__(self, "out_shape", out_shape)

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

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        outputs, inputs = self.weight.shape
        return f"dense matrix {inputs:,} → {outputs:,}"

    @property
    def footprint(self) -> Footprint:
        """All pixels of the input."""
        _, height, width = self.in_shape
        return float(height * width)

    @property
    def roundings(self) -> int:
        """Rounded operations on the way of any term to its output in floating point."""
        return int(np.count_nonzero(self.weight, axis=1).max()) + int(self.bias.any())

    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute images [..., C, H, W] to float64 [..., C', H', W']."""
        images = as_images(x, self.in_shape)
        batch = images.shape[:-3]
        result: FloatArray = images.reshape(*batch, self.weight.shape[1]) @ self.weight.T + self.bias
        return result.reshape(*batch, *self.out_shape)

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Apply the adjoint of the linear part: [..., C', H', W'] to float64 [..., C, H, W]."""
        images = as_images(y, self.out_shape)
        batch = images.shape[:-3]
        result: FloatArray = images.reshape(*batch, self.weight.shape[0]) @ self.weight
        return result.reshape(*batch, *self.in_shape)

    def to_dense(self) -> Self:
        """Return this operator itself."""
        return self

    def offset(self) -> FloatArray:
        """Return the bias as an image, [C', H', W']."""
        return self.bias.reshape(self.out_shape)

    def weight_rows(self, outputs: IntArray) -> FloatArray:
        """Find the weights that some output samples, int64 [n], have on the input, float64 [n, C, H, W]."""
        return self.weight[outputs].reshape(len(outputs), *self.in_shape)

    def with_weights(self, change: Callable[[FloatArray], FloatArray]) -> Self:
        """Make the operator whose weights and biases are changed one by one."""
        return type(self)(change(self.weight), change(self.bias), self.in_shape, self.out_shape)

    def rescaled(self, factors: FloatArray, bias: FloatArray) -> Self:
        """Make the operator whose weights are multiplied by a factor per channel, [C'], with another bias."""
        image = np.broadcast_to(bias_image(bias), self.out_shape)
        repeated = np.repeat(factors, self.out_shape[1] * self.out_shape[2])
        return type(self)(self.weight * repeated[:, None], image.ravel(), self.in_shape, self.out_shape)

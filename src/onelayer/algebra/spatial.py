"""Operators that do the same to the pixels of every channel, then mix the channels and add a bias."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.channels import ChannelMap, bias_description, bias_image
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.dense import Dense, refuse_too_large
from onelayer.algebra.operator import Operator, WindowWeights, as_images
from onelayer.algebra.ranges import Range


class SpatialOperator(Operator):
    """``y = channel · (pixels · x) + bias``, the linear map ``pixels`` being the same for every channel."""

    channel: ChannelMap
    """The mixing of channels."""
    bias: FloatArray
    """float64 [C'], or an image [C', H', W']."""

    @property
    @abstractmethod
    def gain(self) -> float | None:
        """The factor that constant images are multiplied by in space; None where it depends on the place."""

    @property
    @abstractmethod
    def taps_per_row(self) -> IntArray:
        """Number of taps that :meth:`pixel_matrix` holds, while it is built, for each row of the output, int64 [H']."""

    @abstractmethod
    def pixel_matrix(self, first: int = 0, last: int | None = None) -> Any:
        """Write the taps of the output's rows ``first`` … ``last`` − 1, of all by default, as a matrix over pixels.

        Returns:
            A ``csr_array`` [rows·W', H·W] without stored zeros, its indices ascending in each row.
        """

    @abstractmethod
    def apply_to_pixels(self, x: FloatArray) -> FloatArray:
        """Apply the map of pixels alone: [..., H, W] to [..., H', W']."""

    @abstractmethod
    def apply_to_pixels_transposed(self, y: FloatArray) -> FloatArray:
        """Apply the adjoint of the map of pixels alone: [..., H', W'] to [..., H, W]."""

    @abstractmethod
    def pixels_of(self, row: IntArray, col: IntArray) -> FloatArray:
        """Find the weights that the output pixels at these rows and columns, [n] each, have on pixels, [n, H, W]."""

    @abstractmethod
    def pixels_read_by(self, weights: FloatArray, rows: slice, cols: slice) -> tuple[FloatArray, int, int]:
        """Follow weights [C, h, w] on a part of the output back to the input, without mixing channels.

        Returns:
            Weights on a window of the input, [C, h', w'], and the row and column at which the window begins.
        """

    @abstractmethod
    def pixel_sums(self) -> tuple[FloatArray, FloatArray]:
        """Add up the positive and the negative weights of the output pixels that can be extreme, both [pixels].

        Where the bias is an image, these are all pixels.
        """

    @property
    @abstractmethod
    def pixel_roundings(self) -> int:
        """Rounded operations on the way of any pixel to an output pixel; a copy takes none."""

    @property
    @abstractmethod
    def pixel_description(self) -> str:
        """Description of what happens to pixels, for people; empty if they stay."""

    @property
    def bias_samples(self) -> int:
        """Numbers of the bias that are read from memory: all where it is an image, or else none."""
        return self.bias.size if self.bias.ndim == 3 else 0

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        pieces = self.pixel_description, self.channel.description, bias_description(self.bias)
        return ", ".join(filter(None, pieces)) or "nothing"

    @property
    def roundings(self) -> int:
        """Rounded operations on the way of any term to its output in floating point; a copy takes none."""
        return self.channel.roundings + self.pixel_roundings + int(self.bias.any())

    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute images [..., C, H, W] to float64 [..., C', H', W']."""
        return self.apply_linear(x) + bias_image(self.bias)

    def apply_linear(self, x: ArrayLike) -> FloatArray:
        """Compute the same as :meth:`apply`, without the bias."""
        return self.channel.apply(self.apply_to_pixels(as_images(x, self.in_shape)))

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Apply the adjoint of the linear part: [..., C', H', W'] to float64 [..., C, H, W]."""
        return self.apply_to_pixels_transposed(self.channel.apply_transposed(as_images(y, self.out_shape)))

    def to_dense(self) -> Dense:
        """Multiply out the Kronecker product of channels and pixels."""
        refuse_too_large(self.in_shape, self.out_shape)
        weight = np.kron(self.channel.matrix, self.pixel_matrix().toarray())
        return Dense(weight, self.offset().ravel(), self.in_shape, self.out_shape)

    def offset(self) -> FloatArray:
        """Return the bias as an image, [C', H', W']."""
        return np.broadcast_to(bias_image(self.bias), self.out_shape)

    def weight_rows(self, outputs: IntArray) -> FloatArray:
        """Find the weights that some output samples, int64 [n], have on the input, float64 [n, C, H, W]."""
        channel, row, col = np.unravel_index(outputs, self.out_shape)
        weights: FloatArray = self.channel.matrix[channel][:, :, None, None] * self.pixels_of(row, col)[:, None]
        return weights

    def _output_range(self, input_range: Range) -> Range:
        positive, negative = self.pixel_sums()
        plus, minus = np.maximum(self.channel.matrix, 0.0), np.minimum(self.channel.matrix, 0.0)
        mixed_low = (plus @ input_range.low + minus @ input_range.high)[:, None]
        mixed_high = (plus @ input_range.high + minus @ input_range.low)[:, None]
        bias = self.bias.reshape(len(self.bias), -1)
        low = positive * mixed_low + negative * mixed_high + bias
        high = positive * mixed_high + negative * mixed_low + bias
        return Range(low.min(axis=1), high.max(axis=1))

    def with_weights(self, change: Callable[[FloatArray], FloatArray]) -> Self:
        """Make the operator whose weights and biases are changed one by one."""
        channel, bias = self.channel.with_weights(change), change(self.bias)
        changed: Self = replace(cast("Any", self), channel=channel, bias=bias, **self._pixels_with_weights(change))
        return changed

    @abstractmethod
    def _pixels_with_weights(self, change: Callable[[FloatArray], FloatArray]) -> dict[str, Any]:
        """Change the weights of the fields that hold the map of pixels, by name."""

    def rescaled(self, factors: FloatArray, bias: FloatArray) -> Self:
        """Make the operator whose linear part is multiplied by a factor per channel, [C'], with another bias."""
        changed: Self = replace(cast("Any", self), channel=self.channel.scaled(factors), bias=bias)
        return changed

    def read_by(self, window: WindowWeights) -> WindowWeights:
        """Follow weights on the output back to the input; only the window that is read is computed."""
        image = bias_image(self.bias)
        shown = image[:, *window.place] if self.bias.ndim == 3 else image
        offset = window.offset + float((shown * window.weights).sum())
        weights, top, left = self.pixels_read_by(self.channel.apply_transposed(window.weights), *window.place)
        return WindowWeights(weights, top, left, offset)

"""Affine maps that work on channels, rows and columns independently of each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Literal, Self, final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.axis import AxisMap
from onelayer.algebra.channels import (
    bias_image,
    channel_matrix,
    channels_read,
    mixed,
    mixing_multiplications,
    settled_bias,
)
from onelayer.algebra.dense import Dense, refuse_too_large
from onelayer.algebra.operator import ROUNDING, Cost, FloatArray, Operator, Shape, as_images, samples_of

Factor = Literal["channel", "rows", "cols"]

# Among orders of equal cost the first wins: along the columns' axis memory is contiguous.
_ORDERS: tuple[tuple[Factor, ...], ...] = tuple(permutations(("cols", "rows", "channel")))


@final
@dataclass(frozen=True, eq=False)
class Separable(Operator):
    """``y = channel · (rows ⊗ cols) · x + bias``, where ``transpose`` swaps height and width of x first.

    The three factors commute, so a kernel may take them in any order; :attr:`order` is the cheapest.

    Args:
        channel: Mixing matrix, float64 [C', C].
        rows: The map of the vertical axis (of the transposed image, if ``transpose``).
        cols: The map of the horizontal axis (likewise).
        bias: float64 [C'], or an image [C', H', W']; an image that is constant in each channel becomes [C'].
        transpose: Whether height and width are swapped first, which rotation by a right angle needs besides flips.

    Raises:
        OnelayerError: If the channel matrix or the bias has another shape or is not finite.
    """

    channel: FloatArray
    rows: AxisMap
    cols: AxisMap
    bias: FloatArray
    transpose: bool = False
    in_shape: Shape = field(init=False)
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        channel = channel_matrix(self.channel)
        height, width = self.rows.n_in, self.cols.n_in
        if self.transpose:
            height, width = width, height
        out_shape = (channel.shape[0], self.rows.n_out, self.cols.n_out)
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "in_shape", (channel.shape[1], height, width))
        object.__setattr__(self, "out_shape", out_shape)
        object.__setattr__(self, "bias", settled_bias(self.bias, out_shape))

    @classmethod
    def identity(cls, shape: Shape) -> Self:
        """The operator that changes nothing."""
        channels, height, width = shape
        return cls.of_axes(channels, AxisMap.identity(height), AxisMap.identity(width))

    @classmethod
    def of_axes(cls, channels: int, rows: AxisMap, cols: AxisMap, transpose: bool = False) -> Self:
        """The same maps of the axes for every channel, no bias."""
        return cls(np.eye(channels), rows, cols, np.zeros(channels), transpose)

    @classmethod
    def of_channels(cls, channel: ArrayLike, bias: ArrayLike, size: tuple[int, int]) -> Self:
        """``channel · x + bias`` at every pixel of images of this height and width.

        Args:
            channel: Mixing matrix [C', C].
            bias: [C'].
            size: Height and width.
        """
        height, width = size
        identities = AxisMap.identity(height), AxisMap.identity(width)
        return cls(np.asarray(channel, dtype=np.float64), *identities, np.asarray(bias, dtype=np.float64))

    def with_fill(self, fill: ArrayLike) -> Self:
        """The same operator, where what zero padding leaves out of a weighted sum is ``fill`` instead of zero.

        Args:
            fill: One number, or one per output channel, in the unit of the output.
        """
        fills = np.broadcast_to(np.asarray(fill, dtype=np.float64), self.out_shape[:1])
        missing = 1.0 - np.outer(self.rows.row_sums, self.cols.row_sums)
        # Normalised weights add up to one but for their rounding, which is nothing that is missing.
        missing[np.abs(missing) <= ROUNDING] = 0.0
        bias = bias_image(self.bias) + fills[:, None, None] * missing
        return type(self)(self.channel, self.rows, self.cols, bias, self.transpose)

    @cached_property
    def gain(self) -> float | None:
        """The factor that constant images are multiplied by in space; None where it depends on the place."""
        if self.rows.gain is None or self.cols.gain is None:
            return None
        return self.rows.gain * self.cols.gain

    @cached_property
    def order(self) -> tuple[Factor, ...]:
        """The order of the three factors that takes the fewest multiplications.

        Found with the spans of the axes, which cost little to know and are all but equal to what is read.
        """
        read = channels_read(self.channel), self.rows.span, self.cols.span
        return min(_ORDERS, key=lambda order: self._multiplications(order, read))

    @cached_property
    def cost(self) -> Cost:
        """Multiplications in :attr:`order`; values between the factors count as staying in the cache.

        Channels, rows and columns of the input that no output depends on are neither read nor computed with.
        """
        image = self.bias.size if self.bias.ndim == 3 else 0
        channels, height, width = read = channels_read(self.channel), self.rows.reads, self.cols.reads
        samples = channels * height * width + samples_of(self.out_shape) + image
        return Cost(self._multiplications(self.order, read), samples)

    def _multiplications(self, order: tuple[Factor, ...], read: Shape) -> int:
        channels, height, width = read
        count = 0
        for factor in order:
            match factor:
                case "channel":
                    count += self._mixing * height * width
                    channels = self.out_shape[0]
                case "rows":
                    count += self.rows.multiplications * channels * width
                    height = self.out_shape[1]
                case "cols":
                    count += self.cols.multiplications * channels * height
                    width = self.out_shape[2]
        return count

    @cached_property
    def _mixing(self) -> int:
        return mixing_multiplications(self.channel)

    @cached_property
    def is_identity(self) -> bool:
        """Whether all three factors are identities, nothing is transposed and the bias is zero."""
        return (
            not self.transpose
            and self.rows.is_identity
            and self.cols.is_identity
            and not self.bias.any()
            and np.array_equal(self.channel, np.eye(len(self.channel)))
        )

    @cached_property
    def is_scale(self) -> bool:
        """Whether it only multiplies each channel by a number and adds one."""
        axes_stay = self.rows.is_identity and self.cols.is_identity and not self.transpose
        rows = self.channel.tolist()
        diagonal = len(rows) == len(rows[0]) and not any(
            weight for at, row in enumerate(rows) for place, weight in enumerate(row) if place != at
        )
        return axes_stay and diagonal and self.bias.ndim == 1

    @cached_property
    def is_choice(self) -> bool:
        """Whether every output value is a copy of an input value, and there are no more of them along any axis."""
        axes = self.rows, self.cols
        return (
            all(axis.is_selection and axis.n_out <= axis.n_in for axis in axes)
            and not self.bias.any()
            and np.array_equal(self.channel, np.eye(len(self.channel)))
        )

    def apply(self, x: ArrayLike) -> FloatArray:
        """Images [..., C, H, W] to float64 [..., C', H', W']."""
        return self.apply_linear(x) + bias_image(self.bias)

    def apply_linear(self, x: ArrayLike) -> FloatArray:
        """Like :meth:`apply`, without the bias."""
        images = as_images(x, self.in_shape)
        if self.transpose:
            images = images.swapaxes(-1, -2)
        return mixed(self.channel, self.cols.apply(self.rows.apply(images, axis=-2), axis=-1))

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Images [..., C', H', W'] to float64 [..., C, H, W], without the bias."""
        images = mixed(self.channel.T, as_images(y, self.out_shape))
        images = self.rows.apply_transposed(self.cols.apply_transposed(images, axis=-1), axis=-2)
        return images.swapaxes(-1, -2) if self.transpose else images

    def to_dense(self) -> Dense:
        """The Kronecker product of the three factors."""
        refuse_too_large(self.in_shape, self.out_shape)
        spatial = np.kron(self.rows.to_dense(), self.cols.to_dense())
        if self.transpose:
            _, height, width = self.in_shape
            spatial = spatial[:, np.arange(height * width).reshape(width, height).T.ravel()]
        bias = np.broadcast_to(bias_image(self.bias), self.out_shape).ravel()
        return Dense(np.kron(self.channel, spatial), bias, self.in_shape, self.out_shape)

"""Affine maps of images whose axes do not separate: rotation, shear, perspective, elastic deformation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from onelayer.algebra.bands import common_sum
from onelayer.algebra.channels import (
    bias_image,
    channel_matrix,
    channels_read,
    mixed,
    mixing_multiplications,
    settled_bias,
)
from onelayer.algebra.dense import Dense, refuse_too_large
from onelayer.algebra.operator import Cost, FloatArray, Operator, Shape, as_images, samples_of
from onelayer.errors import OnelayerError


@final
@dataclass(frozen=True, eq=False)
class SpatialSparse(Operator):
    """``y = channel · (matrix · x) + bias``, the matrix taking all pixels of one channel to all pixels of the output.

    Args:
        channel: Mixing matrix, float64 [C', C].
        matrix: Any scipy sparse matrix [H'·W', H·W]; kept as a ``csr_array`` of float64 without stored zeros.
        in_size: Height and width of the input.
        out_size: Height and width of the output.
        bias: float64 [C'], or an image [C', H', W']; an image that is constant in each channel becomes [C'].

    Raises:
        OnelayerError: If anything has another shape or is not finite.
    """

    channel: FloatArray
    matrix: Any
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    bias: FloatArray
    in_shape: Shape = field(init=False)
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        channel = channel_matrix(self.channel)
        matrix = sparse.csr_array(self.matrix, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        out_shape, in_shape = (channel.shape[0], *self.out_size), (channel.shape[1], *self.in_size)
        expected = (self.out_size[0] * self.out_size[1], self.in_size[0] * self.in_size[1])
        if matrix.shape != expected or not np.isfinite(matrix.data).all():
            raise OnelayerError(
                f"a pixel matrix of shape {matrix.shape} was given",
                expected=f"finite weights {expected} for images from {self.in_size} to {self.out_size}",
            )
        for part in (matrix.data, matrix.indices, matrix.indptr):
            part.setflags(write=False)
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "in_shape", in_shape)
        object.__setattr__(self, "out_shape", out_shape)
        object.__setattr__(self, "bias", settled_bias(self.bias, out_shape))

    @cached_property
    def row_sums(self) -> FloatArray:
        """What each output pixel of a constant image of ones is, [H'·W']."""
        return np.asarray(self.matrix.sum(axis=1), dtype=np.float64)

    @cached_property
    def gain(self) -> float | None:
        """The factor that constant images are multiplied by in space; None where it depends on the place."""
        return common_sum(self.row_sums)

    @cached_property
    def cost(self) -> Cost:
        """One multiplication per stored weight and channel, mixing on the cheaper side; a pure selection takes none."""
        selects = bool((np.diff(self.matrix.indptr) <= 1).all() and (self.matrix.data == 1.0).all())
        taps = 0 if selects else int(self.matrix.nnz)
        pixels_out, pixels_in = self.matrix.shape
        pixels_read = int(np.count_nonzero(np.bincount(self.matrix.indices, minlength=pixels_in)))
        mixing, channels = mixing_multiplications(self.channel), channels_read(self.channel)
        mix_last = taps * channels + mixing * pixels_out
        mix_first = mixing * pixels_read + taps * len(self.channel)
        image = self.bias.size if self.bias.ndim == 3 else 0
        return Cost(min(mix_last, mix_first), channels * pixels_read + samples_of(self.out_shape) + image)

    @cached_property
    def is_identity(self) -> bool:
        """Whether both factors are unit matrices and the bias is zero."""
        pixels = self.in_size[0] * self.in_size[1]
        return (
            self.in_shape == self.out_shape
            and not self.bias.any()
            and np.array_equal(self.channel, np.eye(len(self.channel)))
            and np.array_equal(self.matrix.indptr, np.arange(pixels + 1))
            and np.array_equal(self.matrix.indices, np.arange(pixels))
            and bool((self.matrix.data == 1.0).all())
        )

    def apply(self, x: ArrayLike) -> FloatArray:
        """Images [..., C, H, W] to float64 [..., C', H', W']."""
        return self.apply_linear(x) + bias_image(self.bias)

    def apply_linear(self, x: ArrayLike) -> FloatArray:
        """Like :meth:`apply`, without the bias."""
        return mixed(self.channel, _per_channel(self.matrix, as_images(x, self.in_shape), self.out_size))

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Images [..., C', H', W'] to float64 [..., C, H, W], without the bias."""
        return _per_channel(self.matrix.T, mixed(self.channel.T, as_images(y, self.out_shape)), self.in_size)

    def to_dense(self) -> Dense:
        """The Kronecker product of the two factors."""
        refuse_too_large(self.in_shape, self.out_shape)
        bias = np.broadcast_to(bias_image(self.bias), self.out_shape).ravel()
        return Dense(np.kron(self.channel, self.matrix.toarray()), bias, self.in_shape, self.out_shape)


def _per_channel(matrix: Any, x: FloatArray, size: tuple[int, int]) -> FloatArray:
    pixels = matrix.shape[1]
    flat: FloatArray = (matrix @ x.reshape(-1, pixels).T).T
    return flat.reshape(*x.shape[:-2], *size)

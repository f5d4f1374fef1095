"""Adam on whitened images: the cure that explains why it creeps on images as they are.

Neighbouring pixels are nearly equal, so a few directions hold almost all the variance, and the error left in the others
gives gradients thousands of times smaller. In coordinates of equal variance all directions are learned alike.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas, solve_triangular

from onelayer.algebra import Dense
from onelayer.algebra.operator import FloatArray
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.least_squares import LeastSquares
from onelayer.reproduction.learning.regression import unit_range

_AT_ONCE = 2048
"""Images that are whitened at a time."""

_MOST_BYTES = 2**31
"""Of whitened images, which are held in memory: 139,000 of 3×32×32, with what the report's pipeline makes of each."""


class Whitening:
    """Coordinates in which each value of an image has mean 0 and variance 1, and no two are correlated.

    Args:
        mean: Of the images, float64 [D].
        factor: Lower triangular Cholesky factor of their covariance, float64 [D, D], none of its diagonal zero.
    """

    def __init__(self, mean: FloatArray, factor: FloatArray) -> None:
        # In float32 from here on, and in its order: what is undone in the end is exactly what was done.
        self.mean = mean.astype(np.float32)
        self.factor = np.asfortranarray(factor, dtype=np.float32)

    @classmethod
    def of(cls, sums: LeastSquares) -> Self:
        """That of images that were summed.

        Raises:
            OnelayerError: If there was no image.
        """
        return cls(sums.mean, sums.factor())

    def apply(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images, float32 [N, D], in these coordinates."""
        # Solved, not multiplied by the inverse: half the operations, and smaller errors. The transposed copy is in the
        # order that BLAS writes to in place.
        centred = flat - self.mean
        solved: NDArray[np.float32] = blas.strsm(1.0, self.factor, centred.T, lower=1, overwrite_b=1)
        return solved.T

    @torch.no_grad()
    def undone(self, layer: DenseLayer) -> Dense:
        """The map for images as they are of a layer for whitened ones, in float64."""
        whitened = layer.weight.detach().cpu().double().numpy()
        weight = solve_triangular(self.factor.astype(np.float64), whitened.T, lower=True, trans=1).T
        bias = layer.bias.detach().cpu().double().numpy() - weight @ self.mean.astype(np.float64)
        return Dense(weight, bias, layer.input_shape, layer.output_shape)


def most_images(pipeline: Pipeline) -> int:
    """How many images of a pipeline can be held in memory whitened."""
    return _MOST_BYTES // (4 * (math.prod(pipeline.input_shape) + math.prod(pipeline.output_shape)))


def whitened_rows(whitening: Whitening, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images, whitened, and behind each what the pipeline makes of it as it is.

    Once for all epochs: whitening a batch takes longer than a step of Adam.

    Args:
        whitening: The coordinates.
        pipeline: The ground truth.
        pixels: uint8 [N, C, H, W].

    Returns:
        float32 [N, D + D'], for D = C·H·W and D' = C'·H'·W'.

    Raises:
        OnelayerError: If they would take more than 2 GiB.
    """
    if len(pixels) > most_images(pipeline):
        raise OnelayerError(
            f"{len(pixels):,} images were to be whitened, all of them in memory",
            expected=f"at most {most_images(pipeline):,}",
            hint="Learn from fewer images, or by least squares, which takes any number.",
        )
    inputs, outputs = math.prod(pipeline.input_shape), math.prod(pipeline.output_shape)
    rows = np.empty((len(pixels), inputs + outputs), np.float32)
    for begin in range(0, len(pixels), _AT_ONCE):
        images = unit_range(torch.from_numpy(np.array(pixels[begin : begin + _AT_ONCE])))
        here = rows[begin : begin + len(images)]
        here[:, :inputs] = whitening.apply(images.numpy().reshape(len(images), inputs))
        here[:, inputs:] = pipeline(images).numpy().reshape(len(images), outputs)
    return rows

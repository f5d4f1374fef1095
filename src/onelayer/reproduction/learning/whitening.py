"""Whiten images, so that gradient descent learns all their directions alike.

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
from onelayer.data import float_images
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.pipelines import Pipeline
from onelayer.records import PipelineSummary
from onelayer.reproduction.learning.least_squares import LeastSquares

_BLOCK = 2048
"""Images that are whitened at a time."""

_MAX_BYTES = 2**31
"""Largest size of the whitened images, which are held in memory: 139,000 of 3×32×32 with the outputs of the report's
pipeline."""


class Whitening:
    """Coordinates in which each value of an image has mean 0 and variance 1, and no two are correlated.

    Args:
        mean: Mean of the images, float64 [D].
        factor: Lower triangular Cholesky factor of their covariance, float64 [D, D], without zeros in its diagonal.
    """

    def __init__(self, mean: FloatArray, factor: FloatArray) -> None:
        # In float32 from here on, and in its order: what is undone in the end is exactly what was done.
        self.mean = mean.astype(np.float32)
        self.factor = np.asfortranarray(factor, dtype=np.float32)

    @classmethod
    def of(cls, sums: LeastSquares) -> Self:
        """Find the coordinates for summed images.

        Raises:
            OnelayerError: If there was no image.
        """
        return cls(sums.mean, sums.factor())

    def apply(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert flattened images, float32 [N, D], to these coordinates."""
        # Solved, not multiplied by the inverse: half the operations, and smaller errors. The transposed copy is in the
        # order that BLAS writes to in place.
        centred = flat - self.mean
        solved: NDArray[np.float32] = blas.strsm(1.0, self.factor, centred.T, lower=1, overwrite_b=1)
        return solved.T

    @torch.no_grad()
    def undone(self, layer: DenseLayer) -> Dense:
        """Convert a layer for whitened images to one for images as they are, in float64."""
        whitened = layer.weight.detach().cpu().double().numpy()
        weight = solve_triangular(self.factor.astype(np.float64), whitened.T, lower=True, trans=1).T
        bias = layer.bias.detach().cpu().double().numpy() - weight @ self.mean.astype(np.float64)
        return Dense(weight, bias, layer.input_shape, layer.output_shape)


def max_whitened_images(pipeline: Pipeline | PipelineSummary) -> int:
    """Compute how many images of a pipeline memory holds whitened, with their outputs."""
    return _MAX_BYTES // (4 * (math.prod(pipeline.input_shape) + math.prod(pipeline.output_shape)))


def whitened_rows(whitening: Whitening, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Whiten images, and append to each the pipeline's output for the image as it is.

    This is done once for all epochs: whitening a batch takes longer than a step of Adam.

    Args:
        whitening: Coordinates.
        pipeline: Ground truth.
        pixels: uint8 [N, C, H, W].

    Returns:
        float32 [N, D + D'], for D = C·H·W and D' = C'·H'·W'.

    Raises:
        OnelayerError: If they would take more than 2 GiB.
    """
    if len(pixels) > max_whitened_images(pipeline):
        raise OnelayerError(
            f"{len(pixels):,} images were to be whitened, all of them in memory",
            expected=f"at most {max_whitened_images(pipeline):,}",
            hint="Learn from fewer images, or by least squares, which takes any number.",
        )
    inputs, outputs = math.prod(pipeline.input_shape), math.prod(pipeline.output_shape)
    rows = np.empty((len(pixels), inputs + outputs), np.float32)
    for begin in range(0, len(pixels), _BLOCK):
        images = float_images(pixels[begin : begin + _BLOCK])
        here = rows[begin : begin + len(images)]
        here[:, :inputs] = whitening.apply(images.numpy().reshape(len(images), inputs))
        here[:, inputs:] = pipeline(images).numpy().reshape(len(images), outputs)
    return rows

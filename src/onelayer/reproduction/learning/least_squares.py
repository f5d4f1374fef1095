"""Find the best affine layer for images in one pass: least squares by normal equations, in float64."""

from __future__ import annotations

import math
import time
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, blas, cho_factor, cho_solve

from onelayer.algebra import Dense, Shape
from onelayer.algebra.dense import refuse_too_large
from onelayer.algebra.operator import FloatArray
from onelayer.console import progress
from onelayer.data import float_images
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.fit_interface import FitResult
from onelayer.reproduction.records import Epoch, TrainingSummary, write_history
from onelayer.reproduction.run_folder import RunFolder

_BLOCK = 2048
"""Images that go through the pipeline, or into the sums, at a time."""

_MAX_INPUTS = 20_000
"""Largest number of values of an image: sums of products of so many take 3.2 GB."""

_RIDGE_FACTOR = 100.0
"""Distance of the ridge from what rounding in float64 can make of an eigenvalue."""


class LeastSquares:
    """Sum images of data of any size, batch by batch, and solve for the layer of least mean squared error.

    In memory are sums of products of the inputs, [D, D] in float64, and of inputs and outputs, [D, D'], for D = C·H·W
    and D' = C'·H'·W'; solving takes the former once more. Sums are of deviations from mid-grey, so that little is lost
    when the means are subtracted.

    Args:
        in_shape: (C, H, W) of the inputs.
        out_shape: (C', H', W') of the outputs.

    Attributes:
        count: Number of images in the sums.

    Raises:
        OnelayerError: If an image has more than 20,000 values, or the layer would be too large.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        inputs, outputs = math.prod(in_shape), math.prod(out_shape)
        if inputs > _MAX_INPUTS:
            raise OnelayerError(
                f"least squares was asked for images of {in_shape}, {inputs:,} values each",
                expected=f"at most {_MAX_INPUTS:,}",
                hint="Learn on smaller images, or identify the function (onelayer.identify), which takes any size.",
            )
        refuse_too_large(in_shape, out_shape)
        self.in_shape, self.out_shape = in_shape, out_shape
        self.count = 0
        self._products = np.zeros((inputs, inputs), order="F")
        self._crossed = np.zeros((outputs, inputs), order="F")
        self._inputs, self._outputs = np.zeros(inputs), np.zeros(outputs)

    def partial_fit(self, inputs: NDArray[np.floating], outputs: NDArray[np.floating]) -> Self:
        """Add images to the sums.

        Args:
            inputs: Floating point [N, C, H, W], values in [0, 1]; N may be 0.
            outputs: Targets, floating point [N, C', H', W'].

        Raises:
            OnelayerError: If shapes do not fit, or a value is not finite; nothing is added then.
        """
        found, expected = (inputs.shape, outputs.shape), ((len(inputs), *self.in_shape), (len(inputs), *self.out_shape))
        if found != expected:
            raise OnelayerError(
                f"images of {found[0]} and {found[1]} were given", expected=f"{expected[0]} and {expected[1]}"
            )
        if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
            raise OnelayerError("images with NaN or infinite values were given", expected="finite values")
        for begin in range(0, len(inputs), _BLOCK):
            here = slice(begin, begin + _BLOCK)
            x = inputs[here].reshape(-1, len(self._inputs)).astype(np.float64) - 0.5
            y = outputs[here].reshape(-1, len(self._outputs)).astype(np.float64)
            # Symmetric: one half is computed. Transposed views are in the order that BLAS writes to in place.
            self._products = blas.dsyrk(1.0, x.T, 1.0, self._products, lower=1, overwrite_c=1)
            self._crossed = blas.dgemm(1.0, y.T, x.T, 1.0, self._crossed, trans_b=1, overwrite_c=1)
            self._inputs += x.sum(axis=0)
            self._outputs += y.sum(axis=0)
        self.count += len(inputs)
        return self

    @property
    def mean(self) -> FloatArray:
        """Mean of the inputs, [D]."""
        return self._inputs / max(self.count, 1) + 0.5

    @property
    def mean_output(self) -> FloatArray:
        """Mean of the outputs, [D']."""
        return self._outputs / max(self.count, 1)

    def covariance(self) -> FloatArray:
        """Compute the covariance of the inputs, [D, D]; only its lower triangle is valid.

        Raises:
            OnelayerError: If there was no image yet.
        """
        self._refuse_none()
        mean = self._inputs / self.count
        covariance: FloatArray = self._products / self.count
        return blas.dsyr(-1.0, mean, lower=1, a=covariance, overwrite_a=1)  # type: ignore[no-any-return]

    def solve(self, ridge: float | None = None) -> tuple[Dense, float]:
        """Solve for the layer with the least mean squared error over all images so far.

        A ridge is added to each input's variance. Directions in which images vary less than that keep small weights,
        instead of whatever rounding errors make of them.

        Args:
            ridge: Variance of values in [0, 1]; None for a hundred times what float64 loses in such a matrix, 2⁻⁵²
                times the sum of its eigenvalues. Doubled as often as the solution needs.

        Returns:
            The layer, and the ridge that the solution took.

        Raises:
            OnelayerError: If there was no image yet.
        """
        factor, ridge = self._factored(ridge)
        mean = self._inputs / self.count
        shifted = self._outputs / self.count
        crossed = self._crossed / self.count - np.outer(shifted, mean)
        weight = cho_solve((factor, True), crossed.T, check_finite=False).T
        bias = shifted - weight @ (mean + 0.5)
        return Dense(np.ascontiguousarray(weight), bias, self.in_shape, self.out_shape), ridge

    def factor(self) -> FloatArray:
        """Factor the inputs' covariance, with a ridge as in :meth:`solve`, by Cholesky: lower triangular [D, D].

        Raises:
            OnelayerError: If there was no image yet.
        """
        return self._factored(None)[0]

    def _factored(self, ridge: float | None) -> tuple[FloatArray, float]:
        while True:
            # Anew for each ridge: the factor takes its place in memory.
            covariance = self.covariance()
            if ridge is None:
                ridge = _RIDGE_FACTOR * float(np.finfo(np.float64).eps) * float(np.trace(covariance))
            ridge = max(ridge, float(np.finfo(np.float64).tiny))
            covariance[np.diag_indices_from(covariance)] += ridge
            try:
                return cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)[0], ridge
            except LinAlgError:
                ridge *= 2

    def _refuse_none(self) -> None:
        if not self.count:
            raise OnelayerError("there are no images yet", expected="at least one, given to partial_fit")


class ImageSums:
    """Sum the first images of a set and a pipeline's outputs; go on from there when more images are asked for.

    Args:
        pipeline: Ground truth.
        pixels: uint8 [N, C, H, W].

    Attributes:
        seconds: Time that summing has taken so far, the pipeline's own time included.
    """

    def __init__(self, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> None:
        self.pipeline = pipeline
        self.pixels = pixels
        self.seconds = 0.0
        self._sums = LeastSquares(pipeline.input_shape, pipeline.output_shape)

    def over(self, count: int | None = None) -> LeastSquares:
        """Return the sums over the first ``count`` images, or over all; they change when more are asked for.

        Raises:
            ValueError: If more were summed before.
        """
        end = len(self.pixels) if count is None else count
        if end < self._sums.count:
            raise ValueError(f"{self._sums.count} images were summed already, not {end}")
        started = time.perf_counter()
        with progress() as display:
            task = display.add_task("Summing", total=end, completed=self._sums.count)
            for begin in range(self._sums.count, end, _BLOCK):
                images = float_images(self.pixels[begin : min(begin + _BLOCK, end)])
                self._sums.partial_fit(images.numpy(), self.pipeline(images).numpy())
                display.update(task, completed=self._sums.count)
        self.seconds += time.perf_counter() - started
        return self._sums


def fit_least_squares(
    sums: ImageSums, validation: NDArray[np.uint8], folder: RunFolder, *, images: int | None = None
) -> FitResult:
    """Find the layer of least squared error over the first of the summed images.

    Writes ``history.csv``, with one row. Its training error is over as many images as the validation error.

    Args:
        sums: Sums over the training images.
        validation: uint8 [M, C, H, W].
        folder: An existing folder.
        images: Number of images; None for all.

    Returns:
        The layer in float64; its seconds are those of summing, whenever that was, and of solving.
    """
    summed = sums.over(images)
    started = time.perf_counter()
    operator, _ = summed.solve()
    seconds = sums.seconds + time.perf_counter() - started
    train = sums.pixels[:images]
    train_mse, validation_mse = (_mse(operator, sums.pipeline, part[: len(validation)]) for part in (train, validation))
    write_history(folder.history, [Epoch(1, train_mse, validation_mse, seconds)])
    summary = TrainingSummary(
        device="cpu",
        epochs_run=1,
        best_epoch=1,
        best_validation_mse=validation_mse,
        last_validation_mse=validation_mse,
        stop_reason="all epochs done",
        seconds=seconds,
        parameters=operator.weight.size + operator.bias.size,
    )
    return FitResult(DenseLayer.from_operator(operator, torch.float64), summary)


def _mse(operator: Dense, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> float:
    squares = 0.0
    for begin in range(0, len(pixels), _BLOCK):
        images = float_images(pixels[begin : begin + _BLOCK])
        error: FloatArray = operator.apply(images.numpy()) - pipeline(images).numpy()
        squares += float(np.sum(error**2))
    return squares / (len(pixels) * len(operator.bias))

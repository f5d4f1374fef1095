"""Least squares, from sums to the layer that is kept."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Dense
from onelayer.algebra.operator import FloatArray
from onelayer.pipelines import Pipeline
from onelayer.reproduction.history import Epoch, write_history
from onelayer.reproduction.learning.conversion import layer_of
from onelayer.reproduction.learning.fit import Learned
from onelayer.reproduction.learning.image_sums import ImageSums
from onelayer.reproduction.learning.regression import unit_range
from onelayer.reproduction.records import TrainingSummary
from onelayer.reproduction.run_folder import RunFolder

_AT_ONCE = 1000
"""Images whose errors are taken at a time."""


def fit_least_squares(
    sums: ImageSums, validation: NDArray[np.uint8], folder: RunFolder, *, images: int | None = None
) -> Learned:
    """Find the best layer there is for the first images of those that are summed.

    Writes ``history.csv``, with one row. Its training error is over as many images as the validation error.

    Args:
        sums: Of the training images.
        validation: uint8 [M, C, H, W].
        folder: It must exist.
        images: How many; None for all.

    Returns:
        The layer in float64; its seconds are those of summing, whenever that was, and of solving.
    """
    summed = sums.over(images)
    started = time.perf_counter()
    operator, _ = summed.solve()
    seconds = sums.seconds + time.perf_counter() - started
    train = sums.pixels[:images]
    here, there = (_mse(operator, sums.pipeline, part[: len(validation)]) for part in (train, validation))
    write_history(folder.history, [Epoch(1, here, there, seconds)])
    summary = TrainingSummary(
        device="cpu",
        epochs_run=1,
        best_epoch=1,
        best_validation_mse=there,
        last_validation_mse=there,
        stop_reason="all epochs done",
        seconds=seconds,
        parameters=operator.weight.size + operator.bias.size,
    )
    return Learned(layer_of(operator, torch.float64), summary)


def _mse(operator: Dense, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> float:
    squares = 0.0
    for begin in range(0, len(pixels), _AT_ONCE):
        images = unit_range(torch.from_numpy(np.array(pixels[begin : begin + _AT_ONCE])))
        error: FloatArray = operator.apply(images.numpy()) - pipeline(images).numpy()
        squares += float(np.sum(error**2))
    return squares / (len(pixels) * len(operator.bias))

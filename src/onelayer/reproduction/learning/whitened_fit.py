"""Gradient descent on whitened images, from sums to the kept layer of a run folder."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.dense_layer import DenseLayer
from onelayer.reproduction.learning.conversion import layer_of
from onelayer.reproduction.learning.fit import Device, Learned, fit_module
from onelayer.reproduction.learning.image_sums import ImageSums
from onelayer.reproduction.learning.regression import WhitenedRegression
from onelayer.reproduction.learning.whitening import Whitening, whitened_rows
from onelayer.reproduction.records import TrainingSettings
from onelayer.reproduction.run_folder import RunFolder


def fit_whitened(
    sums: ImageSums,
    validation: NDArray[np.uint8],
    settings: TrainingSettings,
    folder: RunFolder,
    device: Device,
    *,
    images: int | None = None,
    resume: bool = False,
) -> Learned:
    """Learn a dense layer from whitened images: files, interruption and errors are those of ``fit``.

    The bias starts at the mean output, which a step of Adam at a time takes an epoch to reach.

    Args:
        sums: Of the training images.
        validation: uint8 [M, C, H, W].
        settings: The options of learning.
        folder: The run folder; it must exist.
        device: Where to learn; images are whitened on the CPU.
        images: Learn from so many of those that are summed, the first; None for all.
        resume: Go on from the last checkpoint of the folder, if there is one.

    Returns:
        The layer for images as they are, in float64; its seconds include summing, whenever that was, and whitening.

    Raises:
        OnelayerError: As ``fit``, and if the images are too many to be held in memory whitened.
    """
    pipeline = sums.pipeline
    summed = sums.over(images)
    started = time.perf_counter()
    whitening = Whitening.of(summed)
    # As bytes: what brings batches of images in their order brings any rows of bytes.
    train, held_out = (
        whitened_rows(whitening, pipeline, part).view(np.uint8) for part in (sums.pixels[:images], validation)
    )
    layer = DenseLayer(pipeline.input_shape, pipeline.output_shape, torch.Generator().manual_seed(settings.seed))
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(summed.mean_output))
    before = sums.seconds + time.perf_counter() - started
    module = WhitenedRegression(layer, pipeline, settings.lr)
    summary = fit_module(module, train, held_out, settings, folder, device, resume=resume)
    summary = summary.model_copy(update={"seconds": summary.seconds + before})
    return Learned(layer_of(whitening.undone(layer), torch.float64), summary)

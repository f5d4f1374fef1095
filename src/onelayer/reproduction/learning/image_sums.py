"""Sums over images and what a pipeline makes of them: computed once, for all that is learned from them."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from onelayer.console import console
from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.least_squares import LeastSquares
from onelayer.reproduction.learning.regression import unit_range

_AT_ONCE = 2048
"""Images that the pipeline is given at a time."""


class ImageSums:
    """Sums over the first images of a part; they go on from there when more are asked for.

    Args:
        pipeline: The ground truth.
        pixels: uint8 [N, C, H, W].

    Attributes:
        seconds: That summing has taken so far, the pipeline's own time included.
    """

    def __init__(self, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> None:
        self.pipeline = pipeline
        self.pixels = pixels
        self.seconds = 0.0
        self._sums = LeastSquares(pipeline.input_shape, pipeline.output_shape)

    def over(self, count: int | None = None) -> LeastSquares:
        """The sums over the first ``count`` images, or over all; as long as no more are asked for.

        Raises:
            ValueError: If more were summed before.
        """
        end = len(self.pixels) if count is None else count
        if end < self._sums.count:
            raise ValueError(f"{self._sums.count} images were summed already, not {end}")
        started = time.perf_counter()
        begins = range(self._sums.count, end, _AT_ONCE)
        for begin in track(begins, "Summing", console=console, transient=True, disable=len(begins) < 3):
            images = unit_range(torch.from_numpy(np.array(self.pixels[begin : min(begin + _AT_ONCE, end)])))
            self._sums.partial_fit(images.numpy(), self.pipeline(images).numpy())
        self.seconds += time.perf_counter() - started
        return self._sums

"""Errors of many images added up, in units of the output and in grey levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from onelayer.algebra import Range, ranges_of
from onelayer.algebra.operator import FloatArray
from onelayer.frontends import Derived

GREY_LEVELS = 255
"""Steps from black to white."""

SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM in pixels; SSIM of smaller images is undefined."""
_SSIM_DEVIATION = 1.5
_SSIM_STABILISERS = (0.01**2, 0.03**2)
"""``(k₁L)²`` and ``(k₂L)²`` for a range L of 1."""


@dataclass(frozen=True, eq=False)
class GreyScale:
    """Black and the length of a grey level, in units of the output.

    Args:
        black: float64 [C'].
        level: float64 [C'], positive.
    """

    black: FloatArray
    level: FloatArray

    @classmethod
    def of_unit_range(cls, channels: int) -> Self:
        """Take 0 for black and 1 for white."""
        return cls(np.zeros(channels), np.full(channels, 1 / GREY_LEVELS))

    @classmethod
    def of_derived(cls, derived: Derived, values: Range) -> Self:
        """Read the grey levels of each channel off a derived pipeline.

        One grey level is 1/255 of the way from the output for a black image to that for a white one, at the pixel where
        they are furthest apart (padding is the same for both): behind a ``Normalize``, 1/(255·std). For uint8 outputs
        it is 1. Where black and white give the same, it is 1/255 of the range of the channel, or 1/255 where that has
        one value only.

        Args:
            derived: The pipeline.
            values: Black and white, per input channel.
        """
        black, white = (
            derived.program.apply(np.broadcast_to(end[:, None, None], derived.input_spec.shape))
            for end in (values.low, values.high)
        )

        def output_range() -> Range:
            return [values, *ranges_of(derived.program.stages, values)][-1]

        return cls.between(black, white, output_range, is_float=derived.output_spec.is_float)

    @classmethod
    def between(
        cls, black: FloatArray, white: FloatArray, output_range: Callable[[], Range], *, is_float: bool
    ) -> Self:
        """Find the grey levels between two outputs; see :meth:`of_derived`.

        Args:
            black: Output for a black image, float64 [C', H', W'].
            white: Output for a white image, float64 [C', H', W'].
            output_range: Function that gives the range of each channel; called only where black and white are the same.
            is_float: Whether outputs are floating point numbers.
        """
        channels = len(black)
        if not is_float:
            return cls(np.zeros(channels), np.ones(channels))
        span = np.abs(white - black).max(axis=(1, 2))
        lowest = np.minimum(white, black).min(axis=(1, 2))
        if not span.all():
            reached = output_range()
            lowest = np.where(span == 0, reached.low, lowest)
            span = np.where(span == 0, reached.high - reached.low, span)
        return cls(lowest, np.where(span == 0, 1.0, span) / GREY_LEVELS)

    def to_unit_range(self, values: NDArray[Any]) -> FloatArray:
        """Map outputs [..., C', H', W'] to float64 with black at 0 and white at 1."""
        unit: FloatArray = (values - self.black[:, None, None]) / (GREY_LEVELS * self.level[:, None, None])
        return unit


class Measurement:
    """Errors of a layer's outputs against a pipeline's, added up over images that may differ in size.

    Attributes:
        images: Number of images.
        mismatches: Number of output values that are not exactly equal.
        max_units: Largest absolute error, in units of the output.
        max_grey_levels: Largest absolute error, in grey levels.
    """

    def __init__(self) -> None:
        self.images = self.mismatches = 0
        self.max_units = self.max_grey_levels = 0.0
        self._values = self._ssim_images = 0
        self._squares = self._unit_squares = self._ssims = 0.0

    def update(self, prediction: NDArray[Any], truth: NDArray[Any], scale: GreyScale) -> FloatArray:
        """Add images to all figures but the SSIM.

        Args:
            prediction: Outputs of the layer [N, C', H', W'], N ≥ 1, finite.
            truth: Outputs of the pipeline, of the same shape and dtype.
            scale: Grey levels of the pipeline.

        Returns:
            Largest error of each image in grey levels, float64 [N].
        """
        self.images += len(truth)
        self._values += truth.size
        if np.array_equal(prediction, truth):
            return np.zeros(len(truth))
        errors = np.abs(prediction.astype(np.float64) - truth)
        level = scale.level[:, None, None]
        squares = (errors**2).sum(axis=(0, 2, 3), keepdims=True)[0]
        self._squares += float(squares.sum())
        self._unit_squares += float((squares / (GREY_LEVELS * level) ** 2).sum())
        self.mismatches += int(np.count_nonzero(errors))
        largest: FloatArray = (errors / level).max(axis=(1, 2, 3))
        self.max_units = max(self.max_units, float(errors.max()))
        self.max_grey_levels = max(self.max_grey_levels, float(largest.max()))
        return largest

    def update_ssim(self, prediction: NDArray[Any], truth: NDArray[Any], scale: GreyScale) -> None:
        """Add images to the SSIM, which costs far more than the rest; smaller ones than its window are left out.

        Args: see :meth:`update`.
        """
        if min(truth.shape[-2:]) < SSIM_WINDOW:
            return
        self._ssim_images += len(truth)
        differ = (prediction != truth).any(axis=(1, 2, 3))
        self._ssims += len(truth) - int(differ.sum())
        if differ.any():
            self._ssims += float(ssim(*(scale.to_unit_range(side[differ]) for side in (prediction, truth))).sum())

    def merged(self, other: Measurement) -> Measurement:
        """Add up two measurements."""
        total = Measurement()
        total.images = self.images + other.images
        total.mismatches = self.mismatches + other.mismatches
        total.max_units = max(self.max_units, other.max_units)
        total.max_grey_levels = max(self.max_grey_levels, other.max_grey_levels)
        total._values = self._values + other._values
        total._squares = self._squares + other._squares
        total._unit_squares = self._unit_squares + other._unit_squares
        total._ssims = self._ssims + other._ssims
        total._ssim_images = self._ssim_images + other._ssim_images
        return total

    @property
    def mse(self) -> float:
        """Mean squared error, in squared units of the output."""
        return self._squares / self._values

    @property
    def psnr_db(self) -> float | None:
        """Peak signal-to-noise ratio in dB, with a peak of 255 grey levels; None without any error."""
        mean = self._unit_squares / self._values
        return -10 * math.log10(mean) if mean > 0 else None

    @property
    def ssim(self) -> float | None:
        """Mean SSIM of the images that were added to it; None without any image of at least 11×11 pixels."""
        return self._ssims / self._ssim_images if self._ssim_images else None

    @property
    def mismatch_rate(self) -> float:
        """Fraction of the output values that are not exactly equal, 0 … 1."""
        return self.mismatches / self._values


def ssim(one: FloatArray, other: FloatArray) -> FloatArray:
    """Compute the structural similarity of images with values in [0, 1].

    Wang, Bovik, Sheikh and Simoncelli, *Image quality assessment: from error visibility to structural similarity*, IEEE
    Transactions on Image Processing 13 (2004), with their Gaussian window of 11×11 pixels (σ = 1.5), k₁ = 0.01 and
    k₂ = 0.03; averaged over all pixels and channels, images being mirrored at their border, as torchmetrics does.

    Args:
        one: float64 [N, C, H, W], H and W at least :data:`SSIM_WINDOW`.
        other: Images of the same shape.

    Returns:
        float64 [N], exactly 1 for equal images.
    """
    blur = partial(gaussian_filter, sigma=_SSIM_DEVIATION, mode="mirror", radius=SSIM_WINDOW // 2, axes=(-2, -1))
    mean, other_mean = blur(one), blur(other)
    variance, other_variance = blur(one**2) - mean**2, blur(other**2) - other_mean**2
    covariance = blur(one * other) - mean * other_mean
    first, second = _SSIM_STABILISERS
    luminance = (2 * mean * other_mean + first) / (mean**2 + other_mean**2 + first)
    structure = (2 * covariance + second) / (variance + other_variance + second)
    similarity: FloatArray = (luminance * structure).mean(axis=(1, 2, 3))
    return similarity

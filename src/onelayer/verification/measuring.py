"""Errors of many images, added up."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Self

import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.regression import MeanSquaredError

GREY_LEVELS = 255
"""Steps from black to white."""

SSIM_WINDOW = 11
"""SSIM's Gaussian window (Wang et al. 2004), below which it is not defined."""


@dataclass(frozen=True)
class GreyScale:
    """What black is and how long a grey level is, in the units of a pipeline's output.

    Args:
        black: float64 [C'].
        level: float64 [C'], positive.
    """

    black: torch.Tensor
    level: torch.Tensor

    @classmethod
    def of_unit_range(cls, channels: int) -> Self:
        """Black is 0 and white is 1."""
        level = torch.full((channels,), 1 / GREY_LEVELS, dtype=torch.float64)
        return cls(torch.zeros(channels, dtype=torch.float64), level)

    def to_unit_range(self, values: torch.Tensor) -> torch.Tensor:
        """Outputs [..., C', H', W'] with black at 0 and white at 1, in float64."""
        span = GREY_LEVELS * self.level
        return (values.double() - self.black[:, None, None]) / span[:, None, None]


class Measurement:
    """How far the outputs of a layer are from those of a pipeline; images may differ in size."""

    def __init__(self) -> None:
        # float64 sums: the squared errors of a nearly exact layer are far below float32's resolution of their sum.
        self._mse = MeanSquaredError().set_dtype(torch.float64)
        self._psnr = PeakSignalNoiseRatio(data_range=1.0).set_dtype(torch.float64)
        self._ssim = StructuralSimilarityIndexMeasure(data_range=1.0, kernel_size=SSIM_WINDOW)
        self._has_ssim = False
        self._values = 0
        self._differing = 0
        self.images = 0
        self.max_units = 0.0
        """Largest absolute error, in the units of the output."""
        self.max_grey_levels = 0.0
        """Largest absolute error, in grey levels."""

    def update(self, prediction: torch.Tensor, truth: torch.Tensor, scale: GreyScale) -> torch.Tensor:
        """Add images.

        Args:
            prediction: Outputs of the layer [N, C', H', W'], N ≥ 1.
            truth: Those of the pipeline.
            scale: Its grey levels.

        Returns:
            The largest error of each image in grey levels, float64 [N].
        """
        apart = (prediction.double() - truth.double()).abs()
        self._mse.update(prediction.double(), truth.double())
        self._psnr.update(scale.to_unit_range(prediction), scale.to_unit_range(truth))
        self._values += apart.numel()
        self._differing += int(torch.count_nonzero(apart))
        self.images += len(apart)
        largest = (apart.flatten(2).amax(2) / scale.level).amax(1)
        self.max_units = max(self.max_units, float(apart.max()))
        self.max_grey_levels = max(self.max_grey_levels, float(largest.max()))
        return largest

    def update_similarity(self, prediction: torch.Tensor, truth: torch.Tensor, scale: GreyScale) -> None:
        """Add images to the SSIM too, which takes a hundred times longer; those smaller than its window are left out.

        Args: as for :meth:`update`.
        """
        if min(truth.shape[-2:]) >= SSIM_WINDOW:
            self._has_ssim = True
            self._ssim.update(scale.to_unit_range(prediction).float(), scale.to_unit_range(truth).float())

    def merged(self, other: Measurement) -> Measurement:
        """Both together. Their averages must not have been read before."""
        both = deepcopy(self)
        both._mse.merge_state(other._mse)
        both._psnr.merge_state(other._psnr)
        both._ssim.merge_state(other._ssim)
        both._has_ssim |= other._has_ssim
        both._values += other._values
        both._differing += other._differing
        both.images += other.images
        both.max_units = max(self.max_units, other.max_units)
        both.max_grey_levels = max(self.max_grey_levels, other.max_grey_levels)
        return both

    @property
    def mse(self) -> float:
        """Mean squared error, in squared units of the output."""
        return float(self._mse.compute())

    @property
    def psnr_db(self) -> float | None:
        """Peak signal-to-noise ratio in dB, the peak being 255 grey levels; None where there is no error."""
        return float(self._psnr.compute()) if self.mse > 0 else None

    @property
    def ssim(self) -> float | None:
        """Mean SSIM of the images that were added to it; None where there are none of at least 11×11 values."""
        return torch.as_tensor(self._ssim.compute()).item() if self._has_ssim else None

    @property
    def differing(self) -> float:
        """Share of the output values that are not exactly equal."""
        return self._differing / self._values

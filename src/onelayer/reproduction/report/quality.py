"""How far a prediction is from the truth, for outputs of the range [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onelayer.formats import GREY_LEVELS, psnr

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageError:
    """The error of one predicted image: PSNR is in dB (None if exact), the largest error in grey levels."""

    mse: float
    psnr_db: float | None
    max_grey_levels: float


def image_error(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> ImageError:
    """Measure one image, of any one shape, unclipped.

    Args:
        prediction: Output of a layer.
        truth: Output of the transforms, of the same shape, in [0, 1].
    """
    # In double precision: the squares of float32 errors of an almost exact layer would underflow.
    difference = prediction.astype(np.float64) - truth.astype(np.float64)
    mse = float(np.mean(np.square(difference)))
    return ImageError(mse, psnr(mse), GREY_LEVELS * float(np.max(np.abs(difference))))


def error_map(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Absolute error in grey levels at each pixel: [C, H, W] twice → [H, W], the largest of the channels."""
    difference = prediction.astype(np.float64) - truth.astype(np.float64)
    largest: NDArray[np.float64] = GREY_LEVELS * np.abs(difference).max(axis=0)
    return largest

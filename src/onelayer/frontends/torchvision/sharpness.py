"""Torchvision's sharpening and smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import AxisMap, Clamp, SpatialSparse, Stage
from onelayer.algebra.sampling import refuse_too_many_taps
from onelayer.errors import OnelayerError
from onelayer.frontends.base import arguments, registered
from onelayer.frontends.torchvision.probability import always
from onelayer.image_spec import ImageSpec


@registered(f1.adjust_sharpness, f2.adjust_sharpness)
def adjust_sharpness(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """``factor · x + (1 − factor) · smooth(x)``, clamped to black and white; images of a side up to 2 stay.

    Of uint8 images torchvision and Pillow round the smoothed one and cut fractions of the result off.
    """
    (factor,) = arguments(transform, "sharpness_factor")
    channels, height, width = given.shape
    if given.container != "pil" and (not factor >= 0 or channels not in (1, 3)):
        raise OnelayerError(
            f"sharpness_factor {factor} for {channels} channels",
            expected="a factor of at least 0, and 1 or 3 channels",
        )
    if min(height, width) <= 2:
        return [], given
    refuse_too_many_taps(9 * height * width)
    matrix = _blend(float(factor), height, width)
    operator = SpatialSparse(np.eye(channels), matrix, (height, width), (height, width), np.zeros(channels))
    return [operator, Clamp(0.0, given.white)], given


def _blend(factor: float, height: int, width: int) -> Any:
    """The pixel matrix [H·W, H·W]; the border, where a neighbour is missing, is copied.

    The kernel is Pillow's ``SMOOTH``, (1 1 1, 1 5 1, 1 1 1) / 13: a box of ones, and four more in the middle. So within
    the border smoothing adds (box − 9) / 13 to a pixel.
    """
    box = sparse.kron(_inside(height, [1.0, 1.0, 1.0]), _inside(width, [1.0, 1.0, 1.0]))
    middle = sparse.kron(_inside(height, [0.0, 1.0, 0.0]), _inside(width, [0.0, 1.0, 0.0]))
    return sparse.eye_array(height * width) + (1.0 - factor) / 13.0 * (box - 9.0 * middle)


def _inside(n: int, kernel: list[float]) -> Any:
    """A filter along an axis, with zeros instead of its first and its last output."""
    return (
        AxisMap.crop(n - 2, -1, n).to_sparse() @ AxisMap(n, np.arange(n - 2), np.tile(kernel, (n - 2, 1))).to_sparse()
    )


registered(v1.RandomAdjustSharpness, v2.RandomAdjustSharpness)(always(adjust_sharpness))

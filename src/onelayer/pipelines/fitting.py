"""Transforms that torchvision lacks: they fit images of any size into a fixed size.

How far they resize or pad depends on the size of the image. So each returns, for an image of a given size, the
torchvision function with its arguments; that function does the work, and its handler derives it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, RoundingMode, register
from onelayer.frontends.base import Derivation, stages_of


class SizedTransform(nn.Module, ABC):
    """A transform whose arguments depend on the size of the image."""

    @abstractmethod
    def function_for(self, height: int, width: int, white: float) -> functools.partial[Any]:
        """Return the function of ``torchvision.transforms.v2.functional``, with keywords, for such images.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.
            white: Value of full intensity: 255 for uint8, 1 for floating point.

        Raises:
            OnelayerError: If it cannot be applied to images of this size.
        """

    def forward(self, image: Any) -> Any:
        """Apply the transform.

        Args:
            image: Tensor or ``tv_tensors.Image`` [..., C, H, W], uint8 or floating point, or a PIL image.

        Raises:
            OnelayerError: If it cannot be applied to images of this size.
        """
        height, width = F.get_size(image)
        floating = isinstance(image, torch.Tensor) and image.is_floating_point()
        return self.function_for(height, width, 1.0 if floating else 255.0)(image)


@register(SizedTransform)
def sized_transform(transform: SizedTransform, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive the function for images of this size."""
    _, height, width = spec.shape
    return stages_of(transform.function_for(height, width, spec.white), spec, rounding)


class ResizeLongSide(SizedTransform):
    """Resize, bilinear, so that the long side has ``size`` pixels and proportions stay.

    torchvision's ``Resize(None, max_size=size)`` cuts the fraction of the short side off. The letterbox of YOLO and
    SAM's resize round it, so their images can be one row or column larger.

    Args:
        size: Length of the long side in pixels.
        antialias: Antialiasing, as in ``v2.Resize``.
        halves: Rounding of a half: ``even`` as Python's ``round`` does, or ``up``.

    Raises:
        OnelayerError: For a size below 1, or another value of ``halves``.
    """

    def __init__(self, size: int, antialias: bool = True, halves: Literal["even", "up"] = "even") -> None:
        super().__init__()
        _refuse_below_one(size)
        if halves not in ("even", "up"):
            raise OnelayerError(f"halves {halves!r} was given", expected="'even' or 'up'")
        self.size = size
        self.antialias = antialias
        self.halves = halves

    def function_for(self, height: int, width: int, white: float) -> functools.partial[Any]:  # noqa: ARG002
        """Return a resize to height and width; an image so narrow that no pixel would be left is refused."""
        scale = self.size / max(height, width)
        rows, cols = (round(n * scale) if self.halves == "even" else int(n * scale + 0.5) for n in (height, width))
        if min(rows, cols) < 1:
            raise OnelayerError(
                f"an image of {height}×{width} would be resized to {rows}×{cols}",
                expected=f"proportions below 1:{2 * self.size}, so that a pixel is left",
                hint="Crop the image before.",
            )
        return functools.partial(
            F.resize, size=[rows, cols], interpolation=v2.InterpolationMode.BILINEAR, antialias=self.antialias
        )

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"size={self.size}, antialias={self.antialias}, halves={self.halves!r}"


class PadTo(SizedTransform):
    """Pad with one value to a fixed size.

    Args:
        size: Height and width of the result in pixels, or one length for both.
        fill: Value of the padding in grey levels 0 … 255. Floating-point images, whose white is 1, get 1/255 of it.
        place: Position of the image: ``center`` pads both sides equally, and the bottom and the right by the odd pixel;
            ``top-left`` pads the bottom and the right only.

    Raises:
        OnelayerError: For a size below 1, a fill outside of 0 … 255 or an unknown place.
    """

    def __init__(
        self, size: int | Sequence[int], fill: float = 0, place: Literal["center", "top-left"] = "center"
    ) -> None:
        super().__init__()
        height, width = [size] * 2 if isinstance(size, int) else size
        _refuse_below_one(height, width)
        if not 0 <= fill <= 255:
            raise OnelayerError(f"the fill {fill} was given", expected="grey levels, 0 … 255")
        if place not in ("center", "top-left"):
            raise OnelayerError(f"the place {place!r} was given", expected="'center' or 'top-left'")
        self.size = (height, width)
        self.fill = fill
        self.place = place

    def function_for(self, height: int, width: int, white: float) -> functools.partial[Any]:
        """Return a padding with a constant; an image larger than the size is refused."""
        rows, cols = self.size[0] - height, self.size[1] - width
        if min(rows, cols) < 0:
            raise OnelayerError(
                f"an image of {height}×{width} cannot be padded to {self.size[0]}×{self.size[1]}",
                expected="an image that is no larger in height or width",
                hint="Resize it before, for example with ResizeLongSide, or crop it.",
            )
        top, left = (rows // 2, cols // 2) if self.place == "center" else (0, 0)
        fill = self.fill if white == 255.0 else self.fill * white / 255.0
        return functools.partial(F.pad, padding=[left, top, cols - left, rows - top], fill=fill)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"size={self.size}, fill={self.fill}, place={self.place!r}"


def _refuse_below_one(*sizes: int) -> None:
    if min(sizes) < 1:
        raise OnelayerError(f"the size {'×'.join(map(str, sizes))} was given", expected="at least 1 pixel")

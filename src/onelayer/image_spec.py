"""Describe the images that arrive at a transform and leave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from onelayer.algebra import Shape
from onelayer.errors import OnelayerError

PixelType = Literal["uint8", "float16", "bfloat16", "float32", "float64"]
RoundingMode = Literal["exact", "fused"]
"""``exact``: each rounding of the original, so the same bits; ``fused``: real arithmetic, rounded once at the end."""

Container = Literal["tensor", "image", "pil", "numpy"]
CONTAINER_NAMES: dict[Container, str] = {
    "tensor": "a tensor",
    "image": "a tv_tensors.Image",
    "pil": "a PIL image",
    "numpy": "a NumPy array",
}
"""Containers in sentences."""


_DTYPES, _CONTAINERS = get_args(PixelType), get_args(Container)


@dataclass(frozen=True)
class ImageSpec:
    """The shape, dtype and container of an image.

    Args:
        shape: Channels, height and width, in this order for every container.
        dtype: ``uint8`` with values 0 … 255, or a floating point type with any values.
        container: A ``tensor`` [..., C, H, W]; an ``image``, which is a ``tv_tensors.Image``; a ``pil`` image: uint8,
            of mode L (1 channel) or RGB (3); or a ``numpy`` array [..., H, W, C].

    Raises:
        OnelayerError: For a shape that is no image, or another dtype or container.
    """

    shape: Shape
    dtype: PixelType
    container: Container

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise OnelayerError(f"the shape {self.shape} was given", expected="channels, height and width, at least 1")
        if self.dtype not in _DTYPES or self.container not in _CONTAINERS:
            raise OnelayerError(
                f"a {self.container!r} of {self.dtype!r} was given",
                expected=f"one of {', '.join(_CONTAINERS)}, of one of {', '.join(_DTYPES)}",
            )
        if self.container == "pil" and (self.dtype != "uint8" or self.shape[0] not in (1, 3)):
            raise OnelayerError(
                f"a PIL image of {self.dtype} with {self.shape[0]} channels was given",
                expected="uint8 with 1 channel (mode L) or 3 channels (mode RGB)",
                hint=f"Channels come first, as in {(self.shape[2], *self.shape[:2])}."
                if self.shape[2] in (1, 3)
                else "Convert the image with .convert('RGB') before the pipeline.",
            )

    @property
    def is_float(self) -> bool:
        """Whether the values are floating point numbers."""
        return self.dtype != "uint8"

    @property
    def white(self) -> float:
        """The value that torchvision takes for full intensity: 255 or 1."""
        return 1.0 if self.is_float else 255.0

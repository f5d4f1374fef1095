"""What arrives at a transform, and what a pipeline became."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from onelayer.algebra import Program, Shape
from onelayer.errors import OnelayerError

PixelType = Literal["uint8", "float16", "bfloat16", "float32", "float64"]
RoundingMode = Literal["exact", "fused"]
"""Bit for bit what the original gives, with each of its roundings; or real arithmetic, rounded once at the end."""

Container = Literal["tensor", "image", "pil", "numpy"]


_DTYPES, _CONTAINERS = get_args(PixelType), get_args(Container)


@dataclass(frozen=True)
class ImageSpec:
    """The image that arrives at a transform.

    Args:
        shape: Channels, height and width.
        dtype: ``uint8`` with values 0 … 255, or a floating point one with any values.
        container: A ``tensor``; an ``image``, which is a ``tv_tensors.Image``; a ``pil`` image: uint8, of mode L (1
            channel) or RGB (3); or a ``numpy`` array [..., H, W, C].

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
                hint="Convert the image with .convert('RGB') before the pipeline.",
            )

    @property
    def is_float(self) -> bool:
        """Whether values are floating point numbers."""
        return self.dtype != "uint8"

    @property
    def white(self) -> float:
        """The value that torchvision takes for full intensity: 255 or 1."""
        return 1.0 if self.is_float else 255.0


@dataclass(frozen=True)
class Step:
    """One transform of the pipeline; those in nested containers stand one after the other.

    Args:
        name: Name of its class, or of the function.
        transform: The transform itself.
        place: Counted from 0.
        stages: Indices into the program's stages that it became; none for a transform that changes no value.
        before: What arrives at it.
        after: What leaves it.
    """

    name: str
    transform: Any
    place: int
    stages: range
    before: ImageSpec
    after: ImageSpec

    @property
    def text(self) -> str:
        """The transform's ``repr``; some take longer than deriving it, so it is made when asked for."""
        return repr(self.transform)


@dataclass(frozen=True)
class Derived:
    """A pipeline in the operator algebra.

    Args:
        program: With every rounding of the original; or in real arithmetic: then rounding between steps is left out,
            and one rounding to uint8, which belongs to no step, stands at the end if the output is uint8. Neighbouring
            stages are not fused.
        steps: The transforms and what they became, in order.
        given: What arrives at the pipeline.
        after: What leaves it.
    """

    program: Program
    steps: tuple[Step, ...]
    given: ImageSpec
    after: ImageSpec

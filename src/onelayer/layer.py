"""What ``compile()`` returns: a pipeline as one module, with a plan per input size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import PIL.Image
import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from onelayer.backends.torch_eager import Apply, lower
from onelayer.errors import OnelayerError
from onelayer.frontends import Derived, Given, derive
from onelayer.operators import Range, Simplified, simplify

Image = torch.Tensor | PIL.Image.Image
Container = Literal["tensor", "pil"]

_IMAGES = "a tensor [..., C, H, W], a PIL image, or a list of these"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_ANY_FLOAT = 1e30
"""Float images may hold any value; this stands for infinity where ranges are computed."""

PLANS = 64
"""Plans kept. The images of a data set differ in size, and a plan is a few arrays of O(height + width) numbers."""


class OneLayer(nn.Module):
    """A pipeline of transforms, derived and fused, in place of the transforms themselves.

    The arithmetic is that of real numbers ("fused" rounding): on floating point images the result is the original's up
    to float32 rounding. On uint8 and PIL images torchvision rounds after every transform, and this rounds once, at the
    end, so values may be a grey level or two apart; more, on content of extremes, after bicubic and Lanczos resizes,
    which overshoot and saturate in the original between their two passes.

    Args:
        transform: torchvision transforms, v1 or v2, or a preset; see ``onelayer.frontends`` for what is known.
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        super().__init__()
        # In a tuple, because as an attribute it would become a submodule: what runs is the plan, not the transform.
        self._transform = (transform,)
        self._plans: OrderedDict[object, tuple[Derived, Apply]] = OrderedDict()

    @property
    def transform(self) -> Any:
        """The transforms, as given."""
        return self._transform[0]

    def forward(self, image: Image | Sequence[Image]) -> Any:
        """Apply the pipeline.

        Args:
            image: A tensor [..., C, H, W], uint8 or floating point; a PIL image; or a list of images, which may differ
                in size.

        Returns:
            What the transforms would have given: a tensor [..., C', H', W'] or a PIL image; for a list, a list.

        Raises:
            OnelayerError: If the image is none of these, or a transform is not supported.
        """
        if isinstance(image, PIL.Image.Image):
            return self._one(F.pil_to_tensor(image), "pil")
        if isinstance(image, torch.Tensor):
            result = self._one(image.as_subclass(torch.Tensor), "tensor")
            return tv_tensors.wrap(result, like=image) if isinstance(image, tv_tensors.Image) else result
        if isinstance(image, list | tuple):
            return [self(one) for one in image]
        raise OnelayerError(f"{type(image).__name__} was given as an image", expected=_IMAGES)

    def _one(self, pixels: torch.Tensor, container: Container) -> Any:
        given = _given(pixels, container)
        # Half precision is for storage: weights of 11 bits would be off by whole grey levels.
        compute = pixels.dtype if pixels.dtype in (torch.float32, torch.float64) else torch.float32
        derived, apply = self._plan(given, pixels.device, compute)
        result = apply(pixels.to(compute))
        if derived.after.dtype == "uint8":
            result = result.to(torch.uint8)
        elif pixels.is_floating_point():
            result = result.to(pixels.dtype)
        return F.to_pil_image(result) if derived.after.container == "pil" else result

    def program(self, given: Given) -> Simplified:
        """The simplified program for one kind of image, with the rules that made it."""
        return _simplified(derive(self.transform, given))

    def _plan(self, given: Given, device: torch.device, dtype: torch.dtype) -> tuple[Derived, Apply]:
        key = (given, device, dtype)
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        derived = derive(self.transform, given)
        plan = derived, lower(_simplified(derived).program, device, dtype)
        self._plans[key] = plan
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return plan

    def __getstate__(self) -> dict[str, Any]:
        # Plans are made again where the layer arrives: they hold functions, which do not travel.
        return self.__dict__ | {"_plans": OrderedDict()}

    def extra_repr(self) -> str:
        """The transforms."""
        return repr(self.transform)


def compile(transform: Callable[..., Any]) -> OneLayer:  # noqa: A001 - torch.compile is named so too
    """Turn transforms into one layer; see :class:`OneLayer`.

    Nothing is derived before the first image comes, because the weights depend on its size.

    Args:
        transform: torchvision transforms, v1 or v2, or a preset.
    """
    return OneLayer(transform)


def _given(pixels: torch.Tensor, container: Container) -> Given:
    if pixels.dim() < 3:
        raise OnelayerError(f"a tensor of shape {tuple(pixels.shape)} was given as an image", expected=_IMAGES)
    if pixels.dtype != torch.uint8 and pixels.dtype not in _FLOATS:
        raise OnelayerError(
            "an image of this dtype was given", expected="uint8 or floating point", dtype=str(pixels.dtype)
        )
    channels, height, width = pixels.shape[-3:]
    if min(channels, height, width) < 1:
        raise OnelayerError("an image without pixels was given", shape=tuple(pixels.shape))
    return Given((channels, height, width), "uint8" if pixels.dtype == torch.uint8 else "float32", container)


def _simplified(derived: Derived) -> Simplified:
    low, high = (0.0, 255.0) if derived.given.dtype == "uint8" else (-_ANY_FLOAT, _ANY_FLOAT)
    return simplify(derived.program, Range.of(derived.given.shape[0], low, high))

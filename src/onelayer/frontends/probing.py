"""Find out what transforms return, by showing them an image: which type, and what it knows about itself."""

from __future__ import annotations

from typing import Any

import PIL.Image
import torch
from torchvision import tv_tensors

from onelayer.frontends.base import UNREADABLE
from onelayer.frontends.placement import PilResult
from onelayer.image_spec import ImageSpec
from onelayer.random_state import unchanged_random_state

_MARK = "onelayer"


def keeps_type(transform: Any, spec: ImageSpec) -> bool:
    """Whether a transform returns a ``tv_tensors.Image`` for one of a spec, and no plain tensor."""
    image = torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype), device="cpu").as_subclass(tv_tensors.Image)
    try:
        with unchanged_random_state():
            return isinstance(transform(image), tv_tensors.Image)
    except UNREADABLE:
        return True


def pil_result(transform: Any, spec: ImageSpec, output: ImageSpec) -> PilResult:
    """Return what a transform of PIL images returns for an image of a spec; a new image for one of other images.

    Args:
        transform: The transform, which is called once.
        spec: The image that arrives.
        output: The image that leaves.
    """
    if spec.container != "pil" or output.container != "pil":
        return PilResult.NEW
    (result,) = pil_results(transform, spec)
    return result


def pil_results(transform: Any, spec: ImageSpec) -> tuple[PilResult, ...]:
    """Return what a transform returns for a PIL image of a spec, for each image that comes out."""
    _, height, width = spec.shape
    image = PIL.Image.new("L" if spec.shape[0] == 1 else "RGB", (width, height))
    image.info = {_MARK: True}
    try:
        with unchanged_random_state():
            made = transform(image)
    except UNREADABLE:
        return (PilResult.NEW,)
    each = made if isinstance(made, tuple | list) else (made,)
    return tuple(
        PilResult.SAME
        if result is image
        else PilResult.KEEPS_INFO
        if _MARK in getattr(result, "info", {})
        else PilResult.NEW
        for result in each
    )

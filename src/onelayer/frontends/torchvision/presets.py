"""The transforms behind ``weights.transforms()`` of torchvision's classification models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torchvision.transforms._presets import ImageClassification

from onelayer.algebra import Stage
from onelayer.frontends.base import register
from onelayer.frontends.torchvision.color import normalized
from onelayer.frontends.torchvision.dtype import to_float
from onelayer.frontends.torchvision.geometry import center_cropped, resized
from onelayer.image_spec import ImageSpec


@register(ImageClassification)
def image_classification(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Resize, center crop, float tensor, normalise."""
    stages, after = resized(given, transform.resize_size, transform.interpolation, None, transform.antialias)
    cropped, after = center_cropped(after, transform.crop_size)
    after = replace(after, container="tensor")
    scaled, after = to_float(after) if not after.is_float else ([], replace(after, dtype="float32"))
    normal, after = normalized(after, transform.mean, transform.std)
    return [*stages, *cropped, *scaled, *normal], after

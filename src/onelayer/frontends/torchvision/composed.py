"""Derive torchvision's transforms that consist of others: containers, ``Lambda`` and the presets of weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification, ObjectDetection, SemanticSegmentation

from onelayer.errors import OnelayerError
from onelayer.frontends.base import register_sequence
from onelayer.frontends.derivation import CONTAINERS
from onelayer.image_spec import ImageSpec

CONTAINERS[v1.Compose] = CONTAINERS[v2.Compose] = lambda compose: compose.transforms
CONTAINERS[nn.Sequential] = iter


@register_sequence(v1.Lambda)
def lambda_v1(transform: Any, _: ImageSpec) -> list[Any]:
    """Take the function of a ``Lambda``."""
    return [transform.lambd]


@register_sequence(v2.Lambda)
def lambda_v2(transform: Any, _: ImageSpec) -> list[Any]:
    """Take the function of a ``Lambda`` that is applied to everything."""
    if tuple(transform.types) != (object,):
        raise OnelayerError("it acts on some types only", expected="a Lambda without types")
    return [transform.lambd]


@register_sequence(ImageClassification)
def image_classification(transform: Any, spec: ImageSpec) -> list[Any]:
    """List ``weights.transforms()`` of the classification models: functions of v1, one after the other."""
    resize = partial(
        f1.resize, size=transform.resize_size, interpolation=transform.interpolation, antialias=transform.antialias
    )
    crop = partial(f1.center_crop, output_size=transform.crop_size)
    return [*_as_floats(spec, [resize, crop]), partial(f1.normalize, mean=transform.mean, std=transform.std)]


@register_sequence(SemanticSegmentation)
def semantic_segmentation(transform: Any, spec: ImageSpec) -> list[Any]:
    """List ``weights.transforms()`` of the segmentation models."""
    if transform.resize_size is None:
        raise OnelayerError("a preset for segmentation without a size to resize to", expected="a size")
    resize = partial(
        f1.resize, size=transform.resize_size, interpolation=transform.interpolation, antialias=transform.antialias
    )
    return [*_as_floats(spec, [resize]), partial(f1.normalize, mean=transform.mean, std=transform.std)]


@register_sequence(ObjectDetection)
def object_detection(_: Any, spec: ImageSpec) -> list[Any]:
    """List ``weights.transforms()`` of the detection models."""
    if spec.container == "image" and spec.dtype == "float32":
        raise OnelayerError("a tv_tensors.Image of float32 comes back as it is", expected="an image of another dtype")
    return _as_floats(spec, [])


def _as_floats(spec: ImageSpec, first: list[Any]) -> list[Any]:
    """List what presets do before they normalize, with the transforms that come first."""
    is_pil = spec.container == "pil"
    return [
        *([] if is_pil else [v2.ToImage(), v2.ToPureTensor()]),
        *first,
        *([f1.pil_to_tensor] if is_pil else []),
        partial(f1.convert_image_dtype, dtype=torch.float32),
    ]

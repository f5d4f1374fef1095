"""Derive torchvision's transforms that consist of others: containers, ``Lambda`` and the presets of weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from onelayer.algebra import Stage
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, register, stages_of
from onelayer.frontends.derivation import CONTAINERS
from onelayer.image_spec import ImageSpec, RoundingMode

CONTAINERS[v1.Compose] = CONTAINERS[v2.Compose] = lambda compose: compose.transforms
CONTAINERS[nn.Sequential] = iter


@register(v1.Lambda)
def lambda_v1(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive the function of a ``Lambda``."""
    return stages_of(transform.lambd, spec, rounding)


@register(v2.Lambda)
def lambda_v2(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive the function of a ``Lambda`` that is applied to everything."""
    if tuple(transform.types) != (object,):
        raise OnelayerError("it acts on some types only", expected="a Lambda without types")
    return stages_of(transform.lambd, spec, rounding)


@register(ImageClassification)
def image_classification(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive ``weights.transforms()`` of the classification models: functions of v1, one after the other."""
    functions: list[Any] = [
        partial(
            f1.resize,
            size=transform.resize_size,
            interpolation=transform.interpolation,
            antialias=transform.antialias,
        ),
        partial(f1.center_crop, output_size=transform.crop_size),
        *([f1.pil_to_tensor] if spec.container == "pil" else []),
        partial(f1.convert_image_dtype, dtype=torch.float32),
        partial(f1.normalize, mean=transform.mean, std=transform.std),
    ]
    stages: list[Stage] = []
    current = spec if spec.container == "pil" else replace(spec, container="tensor")
    for function in functions:
        added, current = stages_of(function, current, rounding)
        stages += added
    return stages, current

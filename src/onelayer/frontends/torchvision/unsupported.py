"""Torchvision's transforms that are known and refused, and why."""

from __future__ import annotations

from typing import Any

from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Stage
from onelayer.frontends.base import REGISTER, Handler, UnsupportedTransformError, registered
from onelayer.image_spec import ImageSpec

_RANDOM = (
    "AugMix",
    "AutoAugment",
    "ColorJitter",
    "ElasticTransform",
    "GaussianNoise",
    "RandAugment",
    "RandomApply",
    "RandomChannelPermutation",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomIoUCrop",
    "RandomOrder",
    "RandomPhotometricDistort",
    "RandomResize",
    "RandomResizedCrop",
    "RandomShortestSize",
    "RandomZoomOut",
    "ScaleJitter",
    "TrivialAugmentWide",
)
_DEPENDENT = ("JPEG", "RandomAutocontrast", "RandomEqualize")
_FUNCTIONS_DEPENDENT = ("autocontrast", "equalize", "adjust_contrast", "adjust_hue")


def _refusing(problem: str, hint: str) -> Handler:
    def refuse(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:  # noqa: ARG001 - whatever is given
        raise UnsupportedTransformError(problem, hint=hint)

    return refuse


def _named(modules: tuple[Any, ...], names: tuple[str, ...]) -> list[Any]:
    # v1 lacks some, and older versions of torchvision others.
    return [getattr(module, name) for module in modules for name in names if hasattr(module, name)]


for names, problem, hint in (
    (
        _RANDOM,
        "it is random",
        "Leave augmentation out of what is derived, or apply its deterministic transform itself.",
    ),
    (_DEPENDENT, "it is not affine: what it does to a pixel depends on the whole image", REGISTER),
):
    registered(*_named((v1, v2), names))(_refusing(problem, hint))
registered(*_named((f1, f2), _FUNCTIONS_DEPENDENT))(
    _refusing("it is not affine: what it does to a pixel depends on others", REGISTER)
)

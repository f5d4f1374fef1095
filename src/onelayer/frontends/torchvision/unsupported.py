"""Refuse torchvision's transforms that are random or not affine, with the reason."""

from __future__ import annotations

from typing import Any

from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends.base import LEAVE, Derivation, RealHandler, UnsupportedTransformError, register
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
_DEPENDENT_FUNCTIONS = ("autocontrast", "equalize", "adjust_contrast", "adjust_hue")


def _refusing(problem: str, hint: str) -> RealHandler:
    def refuse(transform: Any, spec: ImageSpec) -> Derivation:  # noqa: ARG001 - for any image
        raise UnsupportedTransformError(problem, hint=hint)

    return refuse


def _named(modules: tuple[Any, ...], names: tuple[str, ...]) -> list[Any]:
    # v1 lacks some, and older versions of torchvision others.
    return [getattr(module, name) for module in modules for name in names if hasattr(module, name)]


register(*_named((v1, v2), _RANDOM))(
    _refusing("it is random", f"Leave augmentation out of what is compiled. {LEAVE}"),
)
register(*_named((v1, v2), _DEPENDENT), *_named((f1, f2), _DEPENDENT_FUNCTIONS))(
    _refusing(
        "it is not affine: what it does to a pixel depends on others", f"Leave it out of what is compiled. {LEAVE}"
    )
)

"""Refuse torchvision's transforms that are random or not affine, with the reason."""

from __future__ import annotations

from typing import Any

from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends.base import (
    LEAVE,
    Derivation,
    RealHandler,
    UnsupportedTransformError,
    arguments,
    register,
)
from onelayer.frontends.torchvision.random import deterministic, is_random
from onelayer.image_spec import ImageSpec

_RANDOM = (
    "AugMix",
    "AutoAugment",
    "ElasticTransform",
    "GaussianNoise",
    "RandAugment",
    "RandomChannelPermutation",
    "RandomChoice",
    "RandomIoUCrop",
    "RandomOrder",
    "RandomPhotometricDistort",
    "TrivialAugmentWide",
)
_DEPENDENT = ("JPEG",)
_DEPENDENT_WITH_PROBABILITY = ("RandomAutocontrast", "RandomEqualize")
_DEPENDENT_FUNCTIONS = ("autocontrast", "equalize", "adjust_contrast", "adjust_hue")


def _refusing(problem: str, hint: str) -> RealHandler:
    def refuse(transform: Any, spec: ImageSpec) -> Derivation:  # noqa: ARG001 - for any image
        raise UnsupportedTransformError(problem, hint=hint)

    return refuse


def named(modules: tuple[Any, ...], names: tuple[str, ...]) -> list[Any]:
    """List what modules have by these names."""
    # v1 lacks some, and older versions of torchvision others.
    return [getattr(module, name) for module in modules for name in names if hasattr(module, name)]


register(*named((v1, v2), _RANDOM))(
    _refusing("it is random", f"Leave augmentation out of what is compiled. {LEAVE}"),
)
register(*named((v1, v2), _DEPENDENT), *named((f1, f2), _DEPENDENT_FUNCTIONS))(
    _refusing(
        "it is not affine: what it does to a pixel depends on others", f"Leave it out of what is compiled. {LEAVE}"
    )
)
register(*named((v1, v2), _DEPENDENT_WITH_PROBABILITY), any_size=True)(
    deterministic(
        _refusing(
            "it is not affine: what it does to a pixel depends on others", f"Leave it out of what is compiled. {LEAVE}"
        )
    )
)
register(*named((v1, v2), ("RandomErasing",)), any_size=True)(
    deterministic(_refusing("it is random: it draws a rectangle", f"Leave it out of what is compiled. {LEAVE}"))
)


@register(*named((v1, v2), ("RandomApply",)))
def random_apply(transform: Any, spec: ImageSpec) -> Derivation:  # noqa: ARG001 - for any image
    """Refuse transforms that are applied now and then; those that always or never are become part of the pipeline."""
    raise is_random(f"it acts with probability {transform.p}", f"Leave augmentation out of what is compiled. {LEAVE}")


@register(*named((v1, v2), ("ColorJitter",)), any_size=True)
def color_jitter(transform: Any, spec: ImageSpec) -> Derivation:
    """Leave every image as it is, where there is no range to draw an adjustment from."""
    ranges = arguments(transform, "brightness", "contrast", "saturation", "hue")
    if any(each is not None for each in ranges):
        raise is_random("it draws how colors change", f"Leave augmentation out of what is compiled. {LEAVE}")
    return [], spec

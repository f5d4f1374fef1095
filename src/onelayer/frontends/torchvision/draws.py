"""List the random numbers that torchvision's transforms draw where nothing depends on them.

A flip with a probability of 1 draws a number all the same, and the transform behind it the next one. Every function
here draws as the original does: from the same generator, under whatever default dtype and device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.frontends.base import Derivation, Draw, register, register_draws
from onelayer.frontends.derivation import CONTAINERS
from onelayer.frontends.torchvision.unsupported import named
from onelayer.image_spec import ImageSpec

_WITH_PROBABILITY = (
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterize",
    "RandomSolarize",
    "RandomVerticalFlip",
)


def _uniform() -> None:
    torch.rand(1)


def _order_of_four() -> None:
    torch.randperm(4)


class UniformNumber:
    """A transform that draws a number and changes nothing: what ``RandomApply`` does before its transforms."""

    def __call__(self, *sample: Any) -> Any:
        """Return a sample, or the parts of one, as they are."""
        _uniform()
        return sample if len(sample) > 1 else sample[0]


@register(UniformNumber, any_size=True)
def uniform_number(_: UniformNumber, spec: ImageSpec) -> Derivation:
    """Leave every image as it is."""
    return [], spec


def _always_or_never(transform: Any) -> Iterable[Any] | None:
    # At a probability of 0 v1 acts all the same where the number is exactly 0.
    if transform.p == 1:
        return [UniformNumber(), *transform.transforms]
    return [UniformNumber()] if transform.p == 0 and isinstance(transform, v2.RandomApply) else None


CONTAINERS[v1.RandomApply] = CONTAINERS[v2.RandomApply] = _always_or_never


@register_draws(
    UniformNumber,
    *named((v1, v2), _WITH_PROBABILITY),
    *named((v1, v2), ("GaussianBlur", "RandomRotation")),
)
def one_number(_: Any) -> list[Draw]:
    """Draw one number: the probability, the sigma, or the angle."""
    return [_uniform]


@register_draws(v1.ColorJitter, v2.ColorJitter)
def order_of_adjustments(_: Any) -> list[Draw]:
    """Draw the order of the four adjustments; see :func:`color_jitter`."""
    return [_order_of_four]


@register_draws(v1.RandomAffine, v2.RandomAffine)
def numbers_of_affine(transform: Any) -> list[Draw]:
    """Draw the angle, and what else there is a range for."""
    of_shear = 0 if transform.shear is None else 2 if len(transform.shear) == 4 else 1
    return [_uniform] * (1 + 2 * (transform.translate is not None) + (transform.scale is not None) + of_shear)

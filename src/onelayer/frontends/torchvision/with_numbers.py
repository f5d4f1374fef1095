"""Fix the numbers that a random pipeline draws for an image, to explain what it does with that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torchvision.transforms import v2

from onelayer.frontends.base import (
    SEQUENCES,
    kind_of,
    name_of,
    register_sequence,
    stages_of,
)
from onelayer.frontends.torchvision.by_rule import ResizeBy, ResizeByOneOf
from onelayer.frontends.torchvision.random_geometry import RandomBorder, RandomFlip, RandomSize
from onelayer.frontends.torchvision.random_windows import RandomWindow
from onelayer.image_spec import ImageSpec, RoundingMode


@dataclass(frozen=True)
class WithNumbers:
    """Do what a random transform does with the numbers that were drawn once.

    Args:
        transforms: Transforms that do so.
    """

    transforms: tuple[Any, ...]

    def __call__(self, image: Any) -> Any:
        """Apply the transforms to an image."""
        return v2.Compose(self.transforms)(image) if self.transforms else image

    def __repr__(self) -> str:
        each = (
            ", ".join([name_of(transform), *(f"{name}={value}" for name, value in _keywords(transform).items())])
            for transform in self.transforms
        )
        return f"{type(self).__name__}(for this image: {'; '.join(each) or 'nothing'})"


def _keywords(transform: Any) -> dict[str, Any]:
    return dict(transform.keywords) if isinstance(transform, partial) else {}


@register_sequence(WithNumbers)
def with_numbers(transform: WithNumbers, _: ImageSpec) -> list[Any]:
    """List the transforms."""
    return list(transform.transforms)


def numbers_drawn(transforms: Sequence[Any], spec: ImageSpec, rounding: RoundingMode) -> list[Any]:
    """Draw the numbers of a pipeline once, for an image of a spec, and return the pipeline with these.

    Args:
        transforms: Transforms in order, none of which is a container, that have a structure for every size.
        spec: The image that arrives.
        rounding: Rounding of the result.
    """
    made = []
    for transform in transforms:
        parts = _with_numbers(transform, spec, rounding)
        if parts is not None:
            transform = type(name_of(transform), (WithNumbers,), {})(tuple(parts))
        made.append(transform)
        _, spec = stages_of(transform, spec, rounding)
    return made


def _with_numbers(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> list[Any] | None:
    """Return what a transform does with numbers that are drawn now; None if there is nothing to draw."""
    is_drawn = isinstance(transform, RandomWindow | RandomFlip | RandomSize | RandomBorder | ResizeByOneOf)
    if is_drawn or (isinstance(transform, ResizeBy) and transform.draws):
        fixed: list[Any] = transform.fixed(*spec.shape[1:])
        return fixed
    kind = kind_of(transform)
    if kind not in SEQUENCES:
        return None
    made, draws = [], False
    for part in SEQUENCES[kind](transform, spec):
        drawn = _with_numbers(part, spec, rounding)
        draws = draws or drawn is not None
        for each in [part] if drawn is None else drawn:
            made.append(each)
            _, spec = stages_of(each, spec, rounding)
    return made if draws else None

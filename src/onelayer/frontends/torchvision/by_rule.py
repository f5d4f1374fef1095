"""Resize, crop and pad by rules: transforms that front ends state those of other libraries with.

Libraries resample with torchvision or Pillow, and differ in how they compute the new size, the window and the border.
A rule is that arithmetic, a function of height and width.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import LEAVE, Derivation, register_step
from onelayer.frontends.placement import CROP, PAD, RESIZE_TO, Move, RealSums, Size, Sums
from onelayer.frontends.torchvision import geometry, resize
from onelayer.frontends.torchvision.random import is_random
from onelayer.image_spec import ImageSpec, RoundingMode

SizeRule = Callable[[int, int], Size]
"""Computes height and width of what comes out from those of an image."""

Box = tuple[int, int, int, int]

BoxRule = Callable[[int, int], Box]
"""Computes four numbers from the height and the width of an image: top, left, height and width of a window; or columns
and rows of a border, at the left, the top, the right and the bottom."""


@dataclass(frozen=True)
class ConstantSize:
    """The rule of one size for all images.

    Args:
        size: Height and width.
    """

    size: Size

    def __call__(self, _height: int, _width: int) -> Size:
        """Return the size."""
        return self.size


@dataclass(frozen=True)
class ResizeByOneOf:
    """Resize in one of several ways, which Python's generator chooses after the rule has its size.

    Args:
        resizes: The ways, all with one rule.
    """

    resizes: tuple[ResizeBy, ...]

    @property
    def returns_plain_tensors(self) -> bool:
        """Whether a plain tensor comes of a ``tv_tensors.Image``."""
        return self.resizes[0].returns_plain_tensors

    def fixed(self, height: int, width: int) -> list[Any]:
        """Return transforms that do what this does for one image of a size; it draws."""
        rule = ConstantSize(self.resizes[0].rule(height, width))
        return [replace(random.choice(self.resizes), rule=rule, draws=False)]  # noqa: S311 - as the original draws


@dataclass(frozen=True)
class ResizeBy:
    """Resize to the size that a rule gives.

    Args:
        rule: Rule for the new size.
        interpolation: As in ``v2.Resize``.
        antialias: As in ``v2.Resize``.
        function: Torchvision's function, of v2 or of v1, which resizes tensors of bytes in float32.
        draws: Whether the rule draws numbers from Python's generator.
    """

    rule: SizeRule
    interpolation: v2.InterpolationMode
    antialias: bool = True
    function: Callable[..., Any] = f2.resize
    draws: bool = False

    @property
    def returns_plain_tensors(self) -> bool:
        """Whether a plain tensor comes of a ``tv_tensors.Image``, as from v1's functions."""
        return self.function is f1.resize

    def fixed(self, height: int, width: int) -> list[Any]:
        """Return transforms that do what this does for one image of a size; if it draws, it does so now."""
        return [replace(self, rule=ConstantSize(self.rule(height, width)), draws=False)]

    def __call__(self, image: Any) -> Any:
        """Resize an image."""
        size = list(self.rule(*f2.get_size(image)))
        return self.function(image, size, self.interpolation, antialias=self.antialias)


@dataclass(frozen=True)
class CropBy:
    """Crop to the window that a rule gives, with zeros where it leaves the image.

    Args:
        rule: Rule for the window.
    """

    rule: BoxRule

    def __call__(self, image: Any) -> Any:
        """Crop an image."""
        return f2.crop(image, *self.rule(*f2.get_size(image)))


@dataclass(frozen=True)
class PadBy:
    """Pad by what a rule gives.

    Args:
        rule: Rule for the border, of no negative numbers.
        fill: As in ``v2.Pad``.
    """

    rule: BoxRule
    fill: Any = 0

    def __call__(self, image: Any) -> Any:
        """Pad an image."""
        return f2.pad(image, list(self.rule(*f2.get_size(image))), self.fill)


@dataclass(frozen=True)
class _Resize(resize.Resize):
    rule: SizeRule = lambda height, width: (height, width)

    by_rule = True

    def move(self) -> Move:
        return RESIZE_TO, 0, 0, 0, 0

    def move_for(self, height: int, width: int) -> Move:
        return RESIZE_TO, *self.resized(height, width), 0, 0

    def resized(self, height: int, width: int) -> Size:
        size = self.rule(height, width)
        return size if min(size) >= 1 else resize.resized_size((height, width), size, None)


@dataclass(frozen=True)
class _DrawnResize(_Resize):
    draws = draws_from_python = True

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - for any image
        raise is_random("it draws numbers for each image", LEAVE)


@dataclass(frozen=True)
class _ResizeByOneOf(_DrawnResize):
    each: tuple[_Resize, ...] = ()

    def choices(self, spec: ImageSpec, rounding: RoundingMode) -> list[Sums | RealSums | None]:
        return [one.sums(spec, rounding) for one in self.each]

    def move_for(self, height: int, width: int) -> Move:
        move = super().move_for(height, width)
        return *move[:-1], random.choice(range(len(self.each)))  # noqa: S311 - as the original draws


@dataclass(frozen=True)
class _Crop(geometry.WindowCrop):
    rule: BoxRule = lambda height, width: (0, 0, height, width)

    by_rule = True

    def move_for(self, height: int, width: int) -> Move:
        return CROP, *self.rule(height, width)

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
        return geometry.WindowCrop(*self.rule(*spec.shape[1:])).stages(spec, rounding)


@dataclass(frozen=True)
class _Pad(geometry.Pad):
    rule: BoxRule = lambda _height, _width: (0, 0, 0, 0)

    by_rule = True

    def move_for(self, height: int, width: int) -> Move:
        return PAD, *_border(self.rule, height, width)

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
        border = _border(self.rule, *spec.shape[1:])
        return geometry.Pad(border, self.fill, self.mode).stages(spec, rounding)


def _border(rule: BoxRule, height: int, width: int) -> Box:
    border = rule(height, width)
    if min(border) < 0:
        raise OnelayerError(f"the border {border} for an image of {height}×{width}", expected="numbers of at least 0")
    return border


@register_step(ResizeBy)
def resize_by(transform: ResizeBy, spec: ImageSpec) -> _Resize:
    """State a resize by a rule."""
    state = resize.resize_v1 if transform.function is f1.resize else resize.resize_v2
    plain = v2.Resize((1, 1), transform.interpolation, antialias=transform.antialias)
    made = state(plain, spec)
    kind = _DrawnResize if transform.draws else _Resize
    return kind(None, None, made.kind, made.widens, made.for_bytes, transform.rule)


@register_step(ResizeByOneOf)
def resize_by_one_of(transform: ResizeByOneOf, spec: ImageSpec) -> _ResizeByOneOf:
    """State resizes by a rule, one of which is chosen for each image."""
    first, *others = (resize_by(each, spec) for each in transform.resizes)
    return _ResizeByOneOf(None, None, first.kind, first.widens, first.for_bytes, first.rule, (first, *others))


@register_step(CropBy)
def crop_by(transform: CropBy, _: ImageSpec) -> geometry.WindowCrop:
    """State a crop by a rule."""
    return _Crop(0, 0, 1, 1, transform.rule)


@register_step(PadBy)
def pad_by(transform: PadBy, _: ImageSpec) -> geometry.Pad:
    """State a padding by a rule."""
    return _Pad((0, 0, 0, 0), transform.fill, "constant", transform.rule)

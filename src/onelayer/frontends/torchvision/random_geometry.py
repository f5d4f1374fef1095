"""State torchvision's random flips, resizes and borders: moves whose numbers are drawn for each image.

They come from the original's generator, in its order and as often, so that what is random behind them stays the same
too. Sources: ``make_params`` and ``forward`` of torchvision's classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    LEAVE,
    Derivation,
    register_sequence,
    register_step,
)
from onelayer.frontends.drawn_moves import FLIP_OR_NOT, Code
from onelayer.frontends.placement import FLIP_COLS, FLIP_ROWS, PAD, RESIZE_TO, Move, Step
from onelayer.frontends.torchvision import geometry, resize
from onelayer.frontends.torchvision.by_rule import Box
from onelayer.frontends.torchvision.drawn_numbers import (
    image_of_size,
    in_default_precision,
    number_between,
    rounded,
)
from onelayer.frontends.torchvision.random import acts_now_and_then, happens, is_random
from onelayer.image_spec import ImageSpec, RoundingMode


@dataclass(frozen=True)
class RandomFlip:
    """Reverse rows or columns now and then.

    Args:
        p: Probability.
        function: Torchvision's function of an image.
        of_rows: Whether rows are reversed; columns otherwise.
    """

    p: float
    function: Callable[..., Any]
    of_rows: bool

    def happens(self) -> bool:
        """Draw whether it does."""
        return number_between() < in_default_precision(self.p)

    def fixed(self, _height: int, _width: int) -> list[Any]:
        """Return transforms that do what this does for one image; it draws."""
        return [self.function] * self.happens()


@dataclass(frozen=True)
class RandomSize:
    """Resize to a size that is drawn.

    Args:
        original: One of v2's transforms, whose ``make_params`` draws it.
    """

    original: Any

    def draw(self, height: int, width: int) -> list[int]:
        """Draw the height and the width, or the length of the shorter side, of what becomes of an image."""
        return list(self.original.make_params([image_of_size(height, width)])["size"])

    def fixed(self, height: int, width: int) -> list[Any]:
        """Return transforms that do what this does for one image of a size; it draws."""
        original = self.original
        return [v2.Resize(self.draw(height, width), original.interpolation, antialias=original.antialias)]


@dataclass(frozen=True)
class RandomBorder:
    """Put a border around an image now and then.

    Args:
        original: A ``RandomZoomOut``, whose ``make_params`` draws the border.
    """

    original: Any

    def draw(self, height: int, width: int) -> Box | None:
        """Draw columns and rows at the left, the top, the right and the bottom; or that there is no border."""
        if torch.rand(1) >= self.original.p:
            return None
        left, top, right, bottom = self.original.make_params([image_of_size(height, width)])["padding"]
        return left, top, right, bottom

    def fixed(self, height: int, width: int) -> list[Any]:
        """Return transforms that do what this does for one image of a size; it draws."""
        border = self.draw(height, width)
        return [] if border is None else [v2.Pad(border, self.original.fill)]


class Drawn(Step):
    """A step that draws its numbers, for which there is no program."""

    by_rule = draws = True

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - for any image
        """Refuse; see :meth:`Step.stages`."""
        raise is_random("it draws numbers for each image", f"Leave augmentation out of what is compiled. {LEAVE}")


@dataclass(frozen=True)
class _Flip(Drawn, geometry.Flip):
    flip: RandomFlip

    def move_for(self, height: int, width: int) -> Move:
        kind = FLIP_ROWS if self.of_rows else FLIP_COLS
        return (kind, 0, 0, 0, 0) if self.flip.happens() else (RESIZE_TO, height, width, 0, 0)

    def code(self) -> Code:
        return FLIP_OR_NOT, FLIP_ROWS if self.of_rows else FLIP_COLS, rounded(self.flip.p, torch.float32)

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - for any image
        raise acts_now_and_then(self.flip)


@dataclass(frozen=True)
class _Size(Drawn, resize.Resize):
    random: RandomSize

    def move(self) -> Move:
        return RESIZE_TO, 0, 0, 0, 0

    def move_for(self, height: int, width: int) -> Move:
        size = resize.resized_size((height, width), self.random.draw(height, width), None)
        return RESIZE_TO, *size, 0, 0


@dataclass(frozen=True)
class _Border(Drawn, geometry.Pad):
    random: RandomBorder

    def move_for(self, height: int, width: int) -> Move:
        border = self.random.draw(height, width)
        if border is None:
            return RESIZE_TO, height, width, 0, 0
        if not any(border):
            raise OnelayerError("a border of nothing makes a new PIL image", expected="a border, or none")
        return PAD, *border

    def forgets(self, is_framed: bool) -> bool:
        return is_framed


@register_step(RandomSize)
def random_size(transform: RandomSize, spec: ImageSpec) -> _Size:
    """State a resize to a size that is drawn."""
    original = transform.original
    made = resize.resize_v2(v2.Resize((1, 1), original.interpolation, antialias=original.antialias), spec)
    return _Size(None, None, made.kind, made.widens, made.for_bytes, transform)


@register_step(RandomBorder)
def random_border(transform: RandomBorder, _: ImageSpec) -> _Border:
    """State a border that is drawn."""
    return _Border((0, 0, 0, 0), transform.original.fill, "constant", transform)


@register_sequence(v2.RandomResize, v2.RandomShortestSize, v2.ScaleJitter)
def size(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a resize to a size that is drawn."""
    return [RandomSize(transform)]


@register_sequence(v2.RandomZoomOut)
def border(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a border that is drawn."""
    return [RandomBorder(transform)]


@register_step(RandomFlip)
def random_flip(transform: RandomFlip, _: ImageSpec) -> _Flip:
    """State a flip that is drawn."""
    return _Flip(transform.of_rows, transform)


@register_sequence(v1.RandomHorizontalFlip, v2.RandomHorizontalFlip, v1.RandomVerticalFlip, v2.RandomVerticalFlip)
def flip(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a flip that always, never, or now and then happens."""
    of_rows = isinstance(transform, v1.RandomVerticalFlip | v2.RandomVerticalFlip)
    if isinstance(transform, v1.RandomHorizontalFlip | v1.RandomVerticalFlip):
        function = f1.vflip if of_rows else f1.hflip
    else:
        function = f2.vertical_flip if of_rows else f2.horizontal_flip
    if transform.p in (0, 1):
        return [function] * happens(transform)
    return [RandomFlip(transform.p, function, of_rows)]

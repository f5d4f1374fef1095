"""Rules of the sizes of resizes and of windows, and which of them fit what was observed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, floor
from typing import Literal, final

from torchvision.transforms import v2

from onelayer.frontends.placement import Size
from onelayer.frontends.torchvision.by_rule import Box

Rounding = Literal["cut off", "half to even", "half up", "up"]
Arithmetic = Literal["length·target/side", "length/(side/target)", "length·(target/side)"]
Position = Literal["half to even", "rounded down", "rounded up", "at the start", "at the end"]

_ROUND: dict[Rounding, Callable[[float], int]] = {
    "cut off": int,
    "half to even": round,
    "half up": lambda value: floor(value + 0.5),
    "up": ceil,
}
_SCALE: dict[Arithmetic, Callable[[int, int, int], float]] = {
    "length·target/side": lambda length, target, side: length * target / side,
    "length/(side/target)": lambda length, target, side: length / (side / target),
    "length·(target/side)": lambda length, target, side: length * (target / side),
}
_START: dict[Position, Callable[[int], int]] = {
    "half to even": lambda rest: round(rest / 2),
    "rounded down": lambda rest: rest // 2,
    "rounded up": lambda rest: -(-rest // 2),
    "at the start": lambda _rest: 0,
    "at the end": lambda rest: rest,
}
"""Samples before a window that is that much shorter than the axis, or before the image in one that is longer."""

_TORCHVISIONS: tuple[Arithmetic, Rounding] = ("length·target/side", "cut off")


@final
@dataclass(frozen=True)
class SizeRule:
    """The size after a resize.

    Args:
        kind: ``unchanged``; ``squash`` to height and width; or with one ratio for both axes, to ``cover`` height and
            width, or to ``fit`` into them.
        height: New height; 0 for unchanged.
        width: New width; 0 for unchanged.
        arithmetic: Formula of the side that follows.
        rounding: Rounding of that side.
        most: Largest length of the longer side, as torchvision bounds it; 0 for any.
    """

    kind: Literal["unchanged", "squash", "cover", "fit"]
    height: int = 0
    width: int = 0
    arithmetic: Arithmetic = "length·target/side"
    rounding: Rounding = "cut off"
    most: int = 0

    def __call__(self, height: int, width: int) -> Size:
        """Compute the new height and width."""
        if self.kind == "unchanged":
            return height, width
        if self.kind == "squash":
            return self.height, self.width
        # Comparing products rounds nothing.
        is_by_rows = (height * self.width <= width * self.height) == (self.kind == "cover")
        target, side, other = (self.height, height, width) if is_by_rows else (self.width, width, height)
        new, follows = target, _ROUND[self.rounding](_SCALE[self.arithmetic](other, target, side))
        if self.most and follows > self.most:
            new, follows = int(self.most * new / follows), self.most
        return (new, max(follows, 1)) if is_by_rows else (max(follows, 1), new)

    @property
    def of_torchvision(self) -> int | list[int] | None:
        """The size that ``Resize`` takes for this rule; None where it has none, or the long side is meant."""
        if self.kind == "squash":
            return [self.height, self.width]
        is_usual = (self.arithmetic, self.rounding) == _TORCHVISIONS and self.height == self.width
        return self.height if self.kind == "cover" and is_usual else None

    def __str__(self) -> str:
        if self.kind == "unchanged":
            return "none"
        if self.kind == "squash":
            return f"squash to {self.height}×{self.width}"
        if self.height == self.width:
            what = f"{'short' if self.kind == 'cover' else 'long'} side to {self.height}"
        else:
            what = f"one ratio, to {'cover' if self.kind == 'cover' else 'fit into'} {self.height}×{self.width}"
        bounded = f", long side at most {self.most}" if self.most else ""
        return f"{what}{bounded}; the other is {self.arithmetic}, {self.rounding}"


def size_rules(observed: Mapping[Size, Size]) -> list[SizeRule]:
    """List the rules that explain sizes after a resize, the simplest and most usual first.

    Args:
        observed: Height and width after the resize by those before.
    """
    return [rule for rule in _size_rules(observed) if all(rule(*size) == new for size, new in observed.items())]


def _size_rules(observed: Mapping[Size, Size]) -> Iterator[SizeRule]:
    yield SizeRule("unchanged")
    new = list(observed.values())
    yield SizeRule("squash", *new[0])
    smallest, largest = (bound(side for size in new for side in size) for bound in (min, max))
    ways: list[tuple[Arithmetic, Rounding]] = list(product(_SCALE, _ROUND))
    ways.sort(key=lambda way: way != _TORCHVISIONS)
    for arithmetic, rounding in ways:
        heights, widths = ([size[axis] for size in new] for axis in (0, 1))
        for height, width in dict.fromkeys([(smallest, smallest), (min(heights), min(widths))]):
            yield SizeRule("cover", height, width, arithmetic, rounding)
        for height, width in dict.fromkeys([(largest, largest), (max(heights), max(widths))]):
            yield SizeRule("fit", height, width, arithmetic, rounding)
    short = max(map(min, new))
    if largest > short:
        yield SizeRule("cover", short, short, *_TORCHVISIONS, most=largest)


@final
@dataclass(frozen=True)
class WindowRule:
    """The window that is kept of an image, with a border where it is larger.

    Args:
        kind: The ``whole`` image; a ``fixed`` size; or a ``square`` as long as the longer side.
        height: Height of a fixed window; 0 for others.
        width: Width of a fixed window; 0 for others.
        crop: Place of a window that is smaller.
        pad: Place of the image in a window that is larger.
    """

    kind: Literal["whole", "fixed", "square"]
    height: int = 0
    width: int = 0
    crop: Position = "half to even"
    pad: Position = "rounded down"

    def size(self, height: int, width: int) -> Size:
        """Compute the size of the window of an image."""
        if self.kind == "square":
            return max(height, width), max(height, width)
        return (height, width) if self.kind == "whole" else (self.height, self.width)

    def starts(self, height: int, width: int) -> Size:
        """Compute the first row and column of the window; negative where a border comes before the image."""
        sides = zip((height, width), self.size(height, width), strict=True)
        first, second = (
            _START[self.crop](length - kept) if length > kept else -_START[self.pad](kept - length)
            for length, kept in sides
        )
        return first, second

    @property
    def is_centre_crop(self) -> bool:
        """Whether torchvision's ``CenterCrop`` has this window."""
        return (self.kind, self.crop, self.pad) == ("fixed", "half to even", "rounded down")

    def __str__(self) -> str:
        if self.kind == "whole":
            return "none"
        what = f"{self.height}×{self.width}" if self.kind == "fixed" else "a square as long as the longer side"
        return f"{what}; crops {self.crop}, borders {self.pad}"


@final
@dataclass(frozen=True)
class WindowCrop:
    """The crop of a :class:`WindowRule`."""

    window: WindowRule

    def __call__(self, height: int, width: int) -> Box:
        """Compute top, left, height and width."""
        top, left = (max(start, 0) for start in self.window.starts(height, width))
        kept_height, kept_width = self.window.size(height, width)
        return top, left, min(height, kept_height), min(width, kept_width)


@final
@dataclass(frozen=True)
class WindowBorder:
    """The border of a :class:`WindowRule`, around what was cropped."""

    window: WindowRule

    def __call__(self, height: int, width: int) -> Box:
        """Compute the numbers of columns and rows at the left, the top, the right and the bottom."""
        whole_height, whole_width = self.window.size(height, width)
        top, left = (max(-start, 0) for start in self.window.starts(height, width))
        return left, top, max(whole_width - width - left, 0), max(whole_height - height - top, 0)


Seen = tuple[Size, Size, Size]
"""Size of an image before the window, first row and column of the window, and its size."""


def window_rules(seen: Sequence[Seen]) -> list[WindowRule]:
    """List the rules that explain windows, the most usual first."""
    rules = [WindowRule("whole")]
    for kind in ("fixed", "square"):
        size = seen[0][2] if kind == "fixed" else (0, 0)
        rules += [WindowRule(kind, *size, crop, pad) for crop in _START for pad in ("rounded down", *_START)]
    return [
        rule
        for rule in dict.fromkeys(rules)
        if all(rule.size(*before) == size and rule.starts(*before) == starts for before, starts, size in seen)
    ]


def resize_arguments(rule: SizeRule) -> dict[str, object] | None:
    """Return the arguments ``size`` and ``max_size`` of ``Resize`` for a rule; None where it has none."""
    if rule.kind == "fit" and rule.height == rule.width and (rule.arithmetic, rule.rounding) == _TORCHVISIONS:
        return {"size": None, "max_size": rule.height}
    size = rule.of_torchvision
    return None if size is None else {"size": size, "max_size": rule.most or None}


INTERPOLATIONS: dict[str, tuple[v2.InterpolationMode, bool]] = {
    "nearest": (v2.InterpolationMode.NEAREST, False),
    "nearest exact": (v2.InterpolationMode.NEAREST_EXACT, False),
    "bilinear": (v2.InterpolationMode.BILINEAR, False),
    "bilinear antialias": (v2.InterpolationMode.BILINEAR, True),
    "bicubic": (v2.InterpolationMode.BICUBIC, False),
    "bicubic antialias": (v2.InterpolationMode.BICUBIC, True),
    "box": (v2.InterpolationMode.BOX, True),
    "hamming": (v2.InterpolationMode.HAMMING, True),
    "lanczos": (v2.InterpolationMode.LANCZOS, True),
}
"""Interpolation and antialiasing of torchvision by the names that filters are identified as."""

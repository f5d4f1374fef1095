"""State torchvision's random crops: windows whose numbers are drawn for each image.

Sources: ``make_params``, ``get_params`` and ``forward`` of torchvision's classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    LEAVE,
    register_sequence,
    register_step,
)
from onelayer.frontends.drawn_moves import RESIZED_WINDOW, TRIES, WINDOW, Code
from onelayer.frontends.placement import BORDERS, CROP, Move
from onelayer.frontends.torchvision import geometry
from onelayer.frontends.torchvision.by_rule import Box, BoxRule
from onelayer.frontends.torchvision.drawn_numbers import (
    place_below,
    sides_of_window,
)
from onelayer.frontends.torchvision.random import is_random
from onelayer.frontends.torchvision.random_geometry import Drawn
from onelayer.frontends.torchvision.uniform_range import uniform_range
from onelayer.image_spec import ImageSpec


@dataclass(frozen=True)
class RandomWindow:
    """Crop to a window that is drawn, with a frame or a border where it leaves the image.

    Args:
        draw: Rule that draws top, left, height and width.
        fill: As in ``v2.Pad``.
        is_padded: Whether the image is padded before, whatever its size.
        function: Torchvision's function for fixed numbers, which are its keywords.
        code: What compiled code draws the window by; None if it cannot.
        draws_from_python: Whether the rule draws from Python's generator, and not from PyTorch's.
        mode: Padding mode, as in ``v2.Pad``.
    """

    draw: BoxRule
    fill: Any
    is_padded: bool
    function: Callable[..., Any]
    code: Code | None = None
    draws_from_python: bool = False
    mode: str = "constant"

    def fixed(self, height: int, width: int) -> list[Any]:
        """Return transforms that do what this does for one image of a size; it draws."""
        top, left, rows, cols = self.draw(height, width)
        below, right = top + rows - height, left + cols - width
        border = max(-left, 0), max(-top, 0), max(right, 0), max(below, 0)
        crop = partial(self.function, top=max(top, 0), left=max(left, 0), height=rows, width=cols)
        return [v2.Pad(border, self.fill, self.mode), crop] if any(border) else [crop]


@dataclass(frozen=True)
class _Window(Drawn, geometry.WindowCrop):
    window: RandomWindow

    def move(self) -> Move:
        return BORDERS.get(self.window.mode, CROP), 0, 0, 1, 1

    def move_for(self, height: int, width: int) -> Move:
        return BORDERS.get(self.window.mode, CROP), *self.window.draw(height, width)

    def fills(self, spec: ImageSpec) -> list[float]:
        return geometry.fills_of(spec, self.window.fill if self.window.mode == "constant" else 0)

    def forgets(self, is_framed: bool) -> bool:
        return self.window.is_padded or is_framed

    def code(self) -> Code | None:
        return self.window.code


@dataclass(frozen=True)
class _PythonsWindow(_Window):
    draws_from_python = True


@register_step(RandomWindow)
def random_window(transform: RandomWindow, _: ImageSpec) -> _Window:
    """State a crop to a window that is drawn."""
    kind = _PythonsWindow if transform.draws_from_python else _Window
    return kind(0, 0, 1, 1, transform)


@register_sequence(v1.RandomResizedCrop)
def random_resized_crop_v1(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a crop to a window of random size and shape, and a resize of v1."""
    # It makes float32, or what else is the default, of the logarithms for each image.
    log_ratio = torch.log(torch.tensor(transform.ratio)).tolist()
    return _crop_and_resize(transform, log_ratio, f1.crop, v1.Resize)


@register_sequence(v2.RandomResizedCrop)
def random_resized_crop_v2(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a crop to a window of random size and shape, and a resize of v2."""
    return _crop_and_resize(transform, transform._log_ratio.tolist(), f2.crop, v2.Resize)


def _crop_and_resize(
    transform: Any, log_ratio: Sequence[float], crop: Callable[..., Any], resize_like: Callable[..., Any]
) -> list[Any]:
    scale, ratio = tuple(transform.scale), tuple(transform.ratio)
    scales, logs = uniform_range(*scale), uniform_range(*log_ratio)
    code = None
    if scales is not None and logs is not None and scales.is_fused == logs.is_fused:
        ranges = scales.start, scales.length, logs.start, logs.length
        code = RESIZED_WINDOW, *ranges, min(ratio), max(ratio), scales.is_fused

    def draw(height: int, width: int) -> Box:
        return _resized_window(height, width, scale, ratio, log_ratio)

    return [
        RandomWindow(draw, 0, is_padded=False, function=crop, code=code),
        resize_like(list(transform.size), transform.interpolation, antialias=transform.antialias),
    ]


def _resized_window(
    height: int, width: int, scale: tuple[float, ...], ratio: tuple[float, ...], log_ratio: Sequence[float]
) -> Box:
    """Draw the window of a ``RandomResizedCrop``."""
    for _ in range(TRIES):
        cols, rows = sides_of_window(height * width, scale, log_ratio)
        if 0 < cols <= width and 0 < rows <= height:
            top = place_below(height - rows + 1)
            return top, place_below(width - cols + 1), rows, cols
    shape = float(width) / float(height)
    rows, cols = height, width
    if shape < min(ratio):
        rows = round(width / min(ratio))
    elif shape > max(ratio):
        cols = round(height * max(ratio))
    return (height - rows) // 2, (width - cols) // 2, rows, cols


@register_sequence(v1.RandomCrop)
def random_crop_v1(transform: Any, spec: ImageSpec) -> list[Any]:
    """Take a padding and a crop to a window of fixed size as v1 does, which draws both numbers or none."""
    sides = _sides(transform, [] if transform.padding is None else transform.padding)
    if spec.container != "pil" and isinstance(transform.fill, tuple | list):
        raise OnelayerError("a v1 RandomCrop of tensors was given several fills", expected="one number")

    def draw(height: int, width: int) -> tuple[int, int]:
        draws = (height, width) != (1, 1)
        return (place_below(height), place_below(width)) if draws else (0, 0)

    refused = "Required crop size {} is larger than input image size {}"
    rule = partial(_padded_window, transform, sides, draw, refused)
    return [_padded_crop(transform, rule, sides, transform.padding is not None, f1.crop, draws_both=True)]


@register_sequence(v2.RandomCrop)
def random_crop_v2(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a padding and a crop to a window of fixed size as v2 does, which draws for axes that are longer."""
    left, right, top, bottom = transform.padding or (0, 0, 0, 0)
    sides = _sides(transform, [left, top, right, bottom])

    def draw(height: int, width: int) -> tuple[int, int]:
        return place_below(height) if height > 1 else 0, place_below(width) if width > 1 else 0

    what = "input" if transform.padding is None else "padded input"
    refused = f"Required crop size {{}} is larger than {what} image size {{}}."
    rule = partial(_padded_window, transform, sides, draw, refused)
    return [_padded_crop(transform, rule, sides, any(sides), f2.crop, draws_both=False)]


def _padded_crop(
    transform: Any, rule: BoxRule, sides: Box, is_padded: bool, function: Callable[..., Any], draws_both: bool
) -> RandomWindow:
    mode = transform.padding_mode if transform.pad_if_needed or any(sides) else "constant"
    code = WINDOW, *transform.size, *sides, transform.pad_if_needed, draws_both, BORDERS.get(mode, CROP)
    return RandomWindow(rule, transform.fill, is_padded, function, code, mode=mode)


def _padded_window(
    transform: Any, sides: Box, draw: Callable[[int, int], tuple[int, int]], refused: str, height: int, width: int
) -> Box:
    """Draw the window of a ``RandomCrop`` in an image, beyond which the padding lies.

    Args:
        transform: The transform.
        sides: Its padding: left, top, right and bottom.
        draw: Function that draws the first row and column, of as many as it is given.
        refused: Text of the error for a window that does not fit, with places for its size and that of the image.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        ValueError: If the window does not fit.
        OnelayerError: If the image is too small for a border that is made of it.
    """
    left, top, right, bottom = sides
    rows, cols = transform.size
    if transform.pad_if_needed:
        above, before = max(rows - height - top - bottom, 0), max(cols - width - left - right, 0)
        left, top, right, bottom = left + before, top + above, right + before, bottom + above
    if transform.padding_mode != "constant":
        geometry.refuse_long_border(transform.padding_mode, (left, top, right, bottom), height, width)
    height, width = height + top + bottom, width + left + right
    if height < rows or width < cols:
        raise ValueError(refused.format((rows, cols), (height, width)))
    i, j = draw(height - rows + 1, width - cols + 1)
    return i - top, j - left, rows, cols


def _sides(transform: Any, padding: Any) -> tuple[int, int, int, int]:
    """Read the padding of a ``RandomCrop``: left, top, right and bottom."""
    pads = transform.pad_if_needed or padding
    if pads and transform.padding_mode != "constant":
        _refuse_unknown_border(transform, padding)
    sides = geometry.Pad.of(padding or 0, transform.fill, "constant").sides
    if min(sides) < 0:
        raise is_random("it pads by negative numbers and draws a window", LEAVE)
    return sides


def _refuse_unknown_border(transform: Any, padding: Any) -> None:
    """Refuse a border other than of samples of the image, once around it."""
    mode, fill = transform.padding_mode, transform.fill
    is_number = fill is None or isinstance(fill, int | float)
    # v1 pads what it padded before.
    pads_twice = isinstance(transform, v1.RandomCrop) and transform.pad_if_needed and padding and mode != "edge"
    if mode not in BORDERS or not is_number or pads_twice:
        raise is_random(f"it pads with mode {mode!r} and draws a window", LEAVE)

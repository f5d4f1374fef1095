"""State torchvision's random crops, flips, resizes and borders: moves whose numbers are drawn for each image.

They come from the original's generator, in its order and as often, so that what is random behind them stays the same
too. Sources: ``make_params``, ``get_params`` and ``forward`` of torchvision's classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import local
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    LEAVE,
    SEQUENCES,
    Derivation,
    kind_of,
    name_of,
    register_sequence,
    register_step,
    stages_of,
)
from onelayer.frontends.drawn_moves import FLIP_OR_NOT, RESIZED_WINDOW, TRIES, WINDOW, Code
from onelayer.frontends.placement import CROP, FLIP_COLS, FLIP_ROWS, PAD, RESIZE_TO, Move, Step
from onelayer.frontends.torchvision import geometry, resize
from onelayer.frontends.torchvision.by_rule import Box, BoxRule, ResizeBy, ResizeByOneOf
from onelayer.frontends.torchvision.random import acts_now_and_then, happens, is_random
from onelayer.frontends.torchvision.uniform_range import uniform_range
from onelayer.image_spec import ImageSpec, RoundingMode

_NOTHING = torch.empty(1, device="cpu")


def image_of_size(height: int, width: int) -> torch.Tensor:
    """Return what stands for an image where only its size is asked for."""
    return _NOTHING.expand(1, height, width)


class _OfThread(local):
    """Tensors of one number each, which are drawn into: making one takes as long as drawing it."""

    def __init__(self) -> None:
        # Those of inference mode cannot be written to outside of it.
        with torch.inference_mode(False):
            self.place = torch.empty(1, dtype=torch.int64, device="cpu")
            self.numbers = {
                dtype: torch.empty(1, dtype=dtype, device="cpu")
                for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
            }


_OF_THREAD = _OfThread()


def place_below(count: int) -> int:
    """Draw a whole number from 0 to below ``count``, as ``torch.randint`` does."""
    return int(_OF_THREAD.place.random_(0, count).item())


def number_between(low: float = 0.0, high: float = 1.0) -> float:
    """Draw a number in PyTorch's default precision, as ``torch.rand`` and ``torch.empty(1).uniform_`` do."""
    return _OF_THREAD.numbers[torch.get_default_dtype()].uniform_(low, high).item()


def in_default_precision(value: float) -> float:
    """Round a number to PyTorch's default precision, in which a tensor is compared with it."""
    return _rounded(value, torch.get_default_dtype())


def sides_of_window(area: float, scale: Sequence[float], log_ratio: Sequence[float]) -> tuple[int, int]:
    """Draw the sides of a window of random size and shape.

    Args:
        area: Pixels of the image.
        scale: Smallest and largest part of these in the window.
        log_ratio: Smallest and largest logarithm of the quotient of its sides.

    Returns:
        The two sides; the first is the longer one where the quotient is above 1.
    """
    number = _OF_THREAD.numbers[torch.get_default_dtype()]
    target = area * number.uniform_(scale[0], scale[1]).item()
    aspect = number.uniform_(log_ratio[0], log_ratio[1]).exp_().item()
    return round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))


@dataclass(frozen=True)
class RandomWindow:
    """Crop to a window that is drawn, with a frame where it leaves the image.

    Args:
        draw: Rule that draws top, left, height and width.
        fill: As in ``v2.Pad``.
        is_padded: Whether the image is padded before, whatever its size.
        function: Torchvision's function for fixed numbers, which are its keywords.
        code: What compiled code draws the window by; None if it cannot.
        draws_from_python: Whether the rule draws from Python's generator, and not from PyTorch's.
    """

    draw: BoxRule
    fill: Any
    is_padded: bool
    function: Callable[..., Any]
    code: Code | None = None
    draws_from_python: bool = False

    def fixed(self, height: int, width: int) -> list[Any]:
        """Return transforms that do what this does for one image of a size; it draws."""
        top, left, rows, cols = self.draw(height, width)
        below, right = top + rows - height, left + cols - width
        border = max(-left, 0), max(-top, 0), max(right, 0), max(below, 0)
        crop = partial(self.function, top=max(top, 0), left=max(left, 0), height=rows, width=cols)
        return [v2.Pad(border, self.fill), crop] if any(border) else [crop]


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


@lru_cache(maxsize=256)
def _rounded(value: float, dtype: torch.dtype) -> float:
    return torch.tensor(value, dtype=dtype, device="cpu").item()


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


class _Drawn(Step):
    """A step that draws its numbers, for which there is no program."""

    by_rule = draws = True

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - for any image
        """Refuse; see :meth:`Step.stages`."""
        raise is_random("it draws numbers for each image", f"Leave augmentation out of what is compiled. {LEAVE}")


@dataclass(frozen=True)
class _Window(_Drawn, geometry.WindowCrop):
    window: RandomWindow

    def move_for(self, height: int, width: int) -> Move:
        return CROP, *self.window.draw(height, width)

    def fills(self, spec: ImageSpec) -> list[float]:
        return geometry.fills_of(spec, self.window.fill)

    def forgets(self, is_framed: bool) -> bool:
        return self.window.is_padded or is_framed

    def code(self) -> Code | None:
        return self.window.code


@dataclass(frozen=True)
class _PythonsWindow(_Window):
    draws_from_python = True


@dataclass(frozen=True)
class _Flip(_Drawn, geometry.Flip):
    flip: RandomFlip

    def move_for(self, height: int, width: int) -> Move:
        kind = FLIP_ROWS if self.of_rows else FLIP_COLS
        return (kind, 0, 0, 0, 0) if self.flip.happens() else (RESIZE_TO, height, width, 0, 0)

    def code(self) -> Code:
        return FLIP_OR_NOT, FLIP_ROWS if self.of_rows else FLIP_COLS, _rounded(self.flip.p, torch.float32)

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - for any image
        raise acts_now_and_then(self.flip)


@dataclass(frozen=True)
class _Size(_Drawn, resize.Resize):
    random: RandomSize

    def move(self) -> Move:
        return RESIZE_TO, 0, 0, 0, 0

    def move_for(self, height: int, width: int) -> Move:
        size = resize.resized_size((height, width), self.random.draw(height, width), None)
        return RESIZE_TO, *size, 0, 0


@dataclass(frozen=True)
class _Border(_Drawn, geometry.Pad):
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


@register_step(RandomWindow)
def random_window(transform: RandomWindow, _: ImageSpec) -> _Window:
    """State a crop to a window that is drawn."""
    kind = _PythonsWindow if transform.draws_from_python else _Window
    return kind(0, 0, 1, 1, transform)


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
    code = WINDOW, *transform.size, *sides, transform.pad_if_needed, True
    return [RandomWindow(rule, transform.fill, transform.padding is not None, f1.crop, code)]


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
    code = WINDOW, *transform.size, *sides, transform.pad_if_needed, False
    return [RandomWindow(rule, transform.fill, any(sides), f2.crop, code)]


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
    """
    left, top, right, bottom = sides
    rows, cols = transform.size
    height, width = height + top + bottom, width + left + right
    above, before = 0, 0
    if transform.pad_if_needed:
        above, before = max(rows - height, 0), max(cols - width, 0)
        height, width = height + 2 * above, width + 2 * before
    if height < rows or width < cols:
        raise ValueError(refused.format((rows, cols), (height, width)))
    i, j = draw(height - rows + 1, width - cols + 1)
    return i - top - above, j - left - before, rows, cols


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


def _sides(transform: Any, padding: Any) -> tuple[int, int, int, int]:
    """Read the padding of a ``RandomCrop``: left, top, right and bottom."""
    pads = transform.pad_if_needed or padding
    if pads and transform.padding_mode != "constant":
        raise is_random(f"it pads with mode {transform.padding_mode!r} and draws a window", LEAVE)
    sides = geometry.Pad.of(padding or 0, transform.fill, "constant").sides
    if min(sides) < 0:
        raise is_random("it pads by negative numbers and draws a window", LEAVE)
    return sides

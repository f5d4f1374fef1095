"""Derive torchvision's crops, flips, padding, blurs and sharpening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import AxisMap, ChannelMap, Clamp, Separable, SpatialSparse
from onelayer.algebra.filters import Padding
from onelayer.algebra.sampling import refuse_too_many_taps
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, arguments, register, register_step
from onelayer.frontends.placement import BORDERS, CROP, CROP_MIDDLE, FLIP_COLS, FLIP_ROWS, PAD, Move, Step
from onelayer.frontends.torchvision.random import deterministic, single_value
from onelayer.image_spec import ImageSpec, RoundingMode


def map_axes(spec: ImageSpec, rows: AxisMap, cols: AxisMap) -> Derivation:
    """Derive a map of each axis; no stage where nothing changes."""
    if rows.is_identity and cols.is_identity:
        return [], spec
    operator = Separable.of_axes(spec.shape[0], rows, cols)
    return [operator], replace(spec, shape=operator.out_shape)


@dataclass(frozen=True)
class CenterCrop(Step):
    """A crop from the middle, with a border around images that are smaller.

    Args:
        height: Rows to keep.
        width: Columns to keep.
        fill: Fill of the border as torchvision's ``Pad`` takes it; its own ``CenterCrop`` has zeros.
    """

    height: int
    width: int
    fill: Any = 0

    @classmethod
    def of(cls, size: int | Sequence[int]) -> CenterCrop:
        """Make a crop to one length for both axes, or to height and width."""
        numbers = [size] if isinstance(size, int) else list(size)
        return cls(*(numbers * 2 if len(numbers) == 1 else numbers))

    def move(self) -> Move:
        """Return the move; see :meth:`Step.move`."""
        return CROP_MIDDLE, self.height, self.width, 0, 0

    def forgets(self, is_framed: bool) -> bool:
        """Whether it pads; see :meth:`Step.forgets`."""
        return is_framed

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - it only copies
        """Derive the crop; see :meth:`Step.stages`."""
        _, height, width = spec.shape
        rows = AxisMap.crop(height, _middle(height, self.height), self.height)
        cols = AxisMap.crop(width, _middle(width, self.width), self.width)
        return _filled(map_axes(spec, rows, cols), self.fills(spec))

    def fills(self, spec: ImageSpec) -> list[float]:
        """Read the fill; see :func:`fills_of`."""
        return fills_of(spec, self.fill)


def _filled(derivation: Derivation, fills: list[float]) -> Derivation:
    """Put the fill, one number per channel, around what axes that are cropped or padded leave empty."""
    stages, output = derivation
    if any(fills):
        stages = [stage.with_fill(fills) if isinstance(stage, Separable) else stage for stage in stages]
    return stages, output


def _middle(n: int, length: int) -> int:
    # Padding rounds down, cropping rounds half to even: both are torchvision's.
    return -((length - n) // 2) if length > n else round((n - length) / 2.0)


@register_step(v1.CenterCrop, v2.CenterCrop)
def center_crop(transform: Any, _: ImageSpec) -> CenterCrop:
    """State a crop from the middle."""
    return CenterCrop.of(*arguments(transform, "size"))


@register_step(f1.center_crop, f2.center_crop)
def center_crop_function(transform: Any, _: ImageSpec) -> CenterCrop:
    """State the function behind ``CenterCrop``."""
    return CenterCrop.of(*arguments(transform, "output_size"))


@dataclass(frozen=True)
class WindowCrop(Step):
    """A crop to a window that holds some of the image, with zeros where it leaves it.

    Args:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    def move(self) -> Move:
        """Return the move; see :meth:`Step.move`."""
        return CROP, self.top, self.left, self.height, self.width

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - it only copies
        """Derive the crop; see :meth:`Step.stages`."""
        _, rows, cols = spec.shape
        if self.top >= rows or self.left >= cols or self.top + self.height <= 0 or self.left + self.width <= 0:
            raise OnelayerError("the window lies beside the image", expected="a window with some of the image in it")
        return map_axes(
            spec, AxisMap.crop(rows, self.top, self.height), AxisMap.crop(cols, self.left, self.width)
        )  # fmt: skip


@register_step(f1.crop, f2.crop)
def crop(transform: Any, _: ImageSpec) -> WindowCrop:
    """State a crop to a window."""
    return WindowCrop(*arguments(transform, "top", "left", "height", "width"))


@dataclass(frozen=True)
class Pad(Step):
    """A padding of all four sides.

    Args:
        sides: Samples added at the left, the top, the right and the bottom; negative to take some away.
        fill: Fill as torchvision takes it.
        mode: Padding mode as torchvision names it.
    """

    sides: tuple[int, int, int, int]
    fill: Any
    mode: str

    @classmethod
    def of(cls, padding: int | Sequence[int], fill: Any, mode: str) -> Pad:
        """Make a padding from torchvision's arguments.

        Raises:
            OnelayerError: If ``padding`` is no such argument.
        """
        sides = [padding] if isinstance(padding, int) else list(padding)
        if len(sides) not in (1, 2, 4):
            raise OnelayerError(f"the padding {padding} was given", expected="1, 2 or 4 numbers")
        left, top, right, bottom = sides * (4 // len(sides))
        return cls((left, top, right, bottom), fill, mode)

    def move(self) -> Move | None:
        """Return the move; see :meth:`Step.move`."""
        return (PAD, *self.sides) if self.mode == "constant" and min(self.sides) >= 0 else None

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - it only copies
        """Derive the padding; see :meth:`Step.stages`."""
        left, top, right, bottom = self.sides
        if self.mode != "constant":
            _refuse_unlike_torchvision(spec, self.sides, self.fill, self.mode)
        elif spec.container == "pil" and min(self.sides) < 0:
            raise OnelayerError(
                "negative padding of a PIL image", expected="padding of at least 0", hint="Crop instead."
            )
        kind: Padding = "zero" if self.mode == "constant" else self.mode  # type: ignore[assignment]  # AxisMap.pad refuses others
        _, height, width = spec.shape
        padded = map_axes(spec, AxisMap.pad(height, top, bottom, kind), AxisMap.pad(width, left, right, kind))
        fills = self.fills(spec)
        return _filled(padded, fills) if self.mode == "constant" else padded

    def forgets(self, is_framed: bool) -> bool:  # noqa: ARG002 - it pastes into a new image also where it adds nothing
        """Return True; see :meth:`Step.forgets`."""
        return True

    def fills(self, spec: ImageSpec) -> list[float]:
        """Read one number per channel as torchvision does: whole numbers, cut off, for uint8."""
        return fills_of(spec, self.fill)


@dataclass(frozen=True)
class BorderPad(Pad):
    """A padding of all four sides with samples of the image."""

    by_rule = True

    def move(self) -> Move:
        """Return the move; see :meth:`Step.move`."""
        return BORDERS[self.mode], 0, 0, 0, 0

    def move_for(self, height: int, width: int) -> Move:
        """Return the move for images of a size; see :meth:`Step.move_for`."""
        left, top, right, bottom = self.sides
        refuse_long_border(self.mode, self.sides, height, width)
        return BORDERS[self.mode], -top, -left, height + top + bottom, width + left + right

    def fills(self, spec: ImageSpec) -> list[float]:
        """Return zeros, which lie nowhere."""
        return [0.0] * spec.shape[0]


def refuse_long_border(mode: str, sides: tuple[int, int, int, int], height: int, width: int) -> None:
    """Refuse a border of samples of an image that is too small for it.

    PyTorch raises an error there; NumPy, which pads PIL images, mirrors the image again.

    Args:
        mode: One of :data:`onelayer.frontends.placement.BORDERS`.
        sides: Samples added at the left, the top, the right and the bottom.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        OnelayerError: If a side is too long.
    """
    left, top, right, bottom = sides
    beyond = 1 if mode == "reflect" else 0
    is_long = max(top, bottom) + beyond > height or max(left, right) + beyond > width
    if is_long and mode != "edge":
        raise OnelayerError(f"a border {sides} by {mode} is too long for an image of {height}×{width}")


@register_step(v2.Pad, f2.pad)
def pad_v2(transform: Any, spec: ImageSpec) -> Pad:
    """State a padding of v2."""
    return _pad(spec, *arguments(transform, "padding", "fill", "padding_mode"))


def _pad(spec: ImageSpec, padding: Any, fill: Any, mode: str) -> Pad:
    made = Pad.of(padding, fill, mode)
    is_border = mode in BORDERS and min(made.sides) >= 0 and spec.container != "numpy"
    has_fills = isinstance(fill, tuple | list) and len(fill) > 1
    return BorderPad(made.sides, fill, mode) if is_border and not has_fills else made


@register_step(v1.Pad, f1.pad)
def pad_v1(transform: Any, spec: ImageSpec) -> Pad:
    """State a padding of v1, which fills tensors with one number only."""
    padding, fill, mode = arguments(transform, "padding", "fill", "padding_mode")
    if spec.container != "pil" and isinstance(fill, (tuple, list)):
        raise OnelayerError(f"a v1 Pad of tensors was given the fill {fill}", expected="one number", hint="Use v2.Pad.")
    return _pad(spec, padding, fill, mode)


def _refuse_unlike_torchvision(spec: ImageSpec, sides: tuple[int, int, int, int], fill: Any, mode: str) -> None:
    left, top, right, bottom = sides
    _, height, width = spec.shape
    if min(sides) < 0:
        raise OnelayerError(
            f"negative padding with mode {mode!r}", expected="padding of at least 0", hint="Crop first."
        )
    # Tensors are indexed from the other end, once; np.pad, which serves PIL images, goes back and forth.
    if mode == "symmetric" and spec.container != "pil" and (max(left, right) > width or max(top, bottom) > height):
        raise OnelayerError(
            f"symmetric padding {sides} is longer than the image", expected="at most its height and width"
        )
    if isinstance(fill, (tuple, list)) and len(fill) > 1:
        raise OnelayerError(f"a fill of {len(fill)} numbers with mode {mode!r}", expected="padding_mode='constant'")


def fills_of(spec: ImageSpec, fill: Any) -> list[float]:
    """Read one number per channel as torchvision does: whole numbers, cut off, for uint8."""
    if isinstance(fill, dict):
        raise OnelayerError("the fill is a dictionary of types", expected="a number, or one per channel")
    numbers = [0.0] if fill is None else list(fill) if isinstance(fill, (tuple, list)) else [fill]
    channels = spec.shape[0]
    if len(numbers) not in (1, channels):
        raise OnelayerError(f"a fill of {len(numbers)} numbers", expected=f"one, or {channels}: one per channel")
    numbers = [float(number) for number in numbers] * (channels // len(numbers))
    if spec.dtype == "uint8":
        if min(numbers) < 0 or max(numbers) > 255:
            raise OnelayerError(f"the fill {fill} for a uint8 image", expected="numbers in 0 … 255")
        numbers = [float(int(number)) for number in numbers]
    return numbers


@dataclass(frozen=True)
class Flip(Step):
    """A reversal of the rows or of the columns.

    Args:
        of_rows: Whether rows are reversed, which turns the image upside down; columns otherwise.
    """

    of_rows: bool

    def move(self) -> Move:
        """Return the move; see :meth:`Step.move`."""
        return FLIP_ROWS if self.of_rows else FLIP_COLS, 0, 0, 0, 0

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - it only copies
        """Derive the flip; see :meth:`Step.stages`."""
        _, height, width = spec.shape
        if self.of_rows:
            return map_axes(spec, AxisMap.flip(height), AxisMap.identity(width))
        return map_axes(spec, AxisMap.identity(height), AxisMap.flip(width))


@register_step(f1.hflip, f2.horizontal_flip)
def flip_columns(_transform: Any, _spec: ImageSpec) -> Flip:
    """State a horizontal flip."""
    return Flip(of_rows=False)


@register_step(f1.vflip, f2.vertical_flip)
def flip_rows(_transform: Any, _spec: ImageSpec) -> Flip:
    """State a vertical flip."""
    return Flip(of_rows=True)


@register(v1.GaussianBlur, v2.GaussianBlur)
def gaussian_blur(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a blur of one fixed sigma."""
    kernel_size, ends = arguments(transform, "kernel_size", "sigma")
    sigma = single_value("sigma", ends, "Give a single sigma.")
    return _blurred(spec, kernel_size, [sigma, sigma])


@register(f1.gaussian_blur, f2.gaussian_blur)
def gaussian_blur_function(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a blur with a sigma each for x and y."""
    kernel_size, sigma = arguments(transform, "kernel_size", "sigma")
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if sigma is None:
        sigma = [size * 0.15 + 0.35 for size in sizes]
    sigmas = [sigma] if isinstance(sigma, (int, float)) else list(sigma)
    return _blurred(spec, sizes, sigmas * 2 if len(sigmas) == 1 else sigmas)


def _blurred(spec: ImageSpec, kernel_size: Sequence[int], sigma: Sequence[float]) -> Derivation:
    if len(kernel_size) != 2 or len(sigma) != 2:
        raise OnelayerError(
            f"a blur with kernel {kernel_size} and sigma {sigma}", expected="two numbers of each, x first"
        )
    _, height, width = spec.shape
    return map_axes(
        spec,
        AxisMap.gaussian_blur(height, kernel_size[1], sigma[1]),
        AxisMap.gaussian_blur(width, kernel_size[0], sigma[0]),
    )


@register(f1.adjust_sharpness, f2.adjust_sharpness)
def adjust_sharpness(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive ``factor · x + (1 − factor) · smooth(x)``, clamped to black and white; images of a side up to 2 stay.

    Of uint8 images torchvision and Pillow round the smoothed one and cut fractions of the result off.
    """
    (factor,) = arguments(transform, "sharpness_factor")
    channels, height, width = spec.shape
    if spec.container != "pil" and (not factor >= 0 or channels not in (1, 3)):
        raise OnelayerError(
            f"sharpness_factor {factor} for {channels} channels",
            expected="a factor of at least 0, and 1 or 3 channels",
        )
    if min(height, width) <= 2:
        return [], spec
    refuse_too_many_taps(9 * height * width)
    matrix = _sharpening(float(factor), height, width)
    size = height, width
    operator = SpatialSparse(ChannelMap.identity(channels), matrix, size, size, np.zeros(channels))
    return [operator, Clamp(0.0, spec.white)], spec


register(v1.RandomAdjustSharpness, v2.RandomAdjustSharpness)(deterministic(adjust_sharpness))


def _sharpening(factor: float, height: int, width: int) -> Any:
    """Build the pixel matrix [H·W, H·W]; the border, where a neighbour is missing, is copied.

    The kernel is Pillow's ``SMOOTH``, (1 1 1, 1 5 1, 1 1 1) / 13: a box of ones, and four more in the middle. So within
    the border smoothing adds (box − 9) / 13 to a pixel.
    """
    box = scipy.sparse.kron(_inside(height, [1.0, 1.0, 1.0]), _inside(width, [1.0, 1.0, 1.0]))
    middle = scipy.sparse.kron(_inside(height, [0.0, 1.0, 0.0]), _inside(width, [0.0, 1.0, 0.0]))
    return scipy.sparse.eye_array(height * width) + (1.0 - factor) / 13.0 * (box - 9.0 * middle)


def _inside(n: int, kernel: list[float]) -> Any:
    """Filter along an axis, with zeros in place of its first and its last output."""
    return (
        AxisMap.crop(n - 2, -1, n).to_sparse() @ AxisMap(n, np.arange(n - 2), np.tile(kernel, (n - 2, 1))).to_sparse()
    )

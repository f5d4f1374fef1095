"""Derive torchvision's crops, flips, padding, blurs and sharpening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import AxisMap, ChannelMap, Clamp, Separable, SpatialSparse
from onelayer.algebra.filters import Padding
from onelayer.algebra.sampling import refuse_too_many_taps
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, arguments, register
from onelayer.frontends.torchvision.random import deterministic, single_value
from onelayer.image_spec import ImageSpec


def map_axes(spec: ImageSpec, rows: AxisMap, cols: AxisMap) -> Derivation:
    """Derive a map of each axis; no stage where nothing changes."""
    if rows.is_identity and cols.is_identity:
        return [], spec
    operator = Separable.of_axes(spec.shape[0], rows, cols)
    return [operator], replace(spec, shape=operator.out_shape)


@register(v1.CenterCrop, v2.CenterCrop)
def center_crop(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a crop from the middle, padded with zeros where the image is smaller."""
    return cropped_to_center(spec, *arguments(transform, "size"))


@register(f1.center_crop, f2.center_crop)
def center_crop_function(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive the function behind ``CenterCrop``."""
    return cropped_to_center(spec, *arguments(transform, "output_size"))


def cropped_to_center(spec: ImageSpec, size: int | Sequence[int]) -> Derivation:
    """Derive a center crop to one length for both axes, or to height and width."""
    numbers = [size] if isinstance(size, int) else list(size)
    lengths = numbers * 2 if len(numbers) == 1 else numbers
    rows, cols = (_middle(n, length) for n, length in zip(spec.shape[1:], lengths, strict=True))
    return map_axes(spec, rows, cols)


def _middle(n: int, length: int) -> AxisMap:
    # Padding rounds down, cropping rounds half to even: both are torchvision's.
    start = -((length - n) // 2) if length > n else round((n - length) / 2.0)
    return AxisMap.crop(n, start, length)


@register(f1.crop, f2.crop)
def crop(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a crop to a window, filled with zeros where it leaves the image."""
    return cropped_to_window(spec, *arguments(transform, "top", "left", "height", "width"))


def cropped_to_window(spec: ImageSpec, top: int, left: int, height: int, width: int) -> Derivation:
    """Derive a crop to a window that holds some of the image.

    Raises:
        OnelayerError: If it holds none.
    """
    _, rows, cols = spec.shape
    if top >= rows or left >= cols or top + height <= 0 or left + width <= 0:
        raise OnelayerError("the window lies beside the image", expected="a window with some of the image in it")
    return map_axes(spec, AxisMap.crop(rows, top, height), AxisMap.crop(cols, left, width))


@register(v2.Pad, f2.pad)
def pad_v2(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a padding of all four sides."""
    return _padded(spec, *arguments(transform, "padding", "fill", "padding_mode"))


@register(v1.Pad, f1.pad)
def pad_v1(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a padding of v1, which fills tensors with one number only."""
    padding, fill, mode = arguments(transform, "padding", "fill", "padding_mode")
    if spec.container != "pil" and isinstance(fill, (tuple, list)):
        raise OnelayerError(f"a v1 Pad of tensors was given the fill {fill}", expected="one number", hint="Use v2.Pad.")
    return _padded(spec, padding, fill, mode)


def _padded(spec: ImageSpec, padding: int | Sequence[int], fill: Any, mode: str) -> Derivation:
    sides = [padding] if isinstance(padding, int) else list(padding)
    if len(sides) not in (1, 2, 4):
        raise OnelayerError(f"the padding {padding} was given", expected="1, 2 or 4 numbers")
    left, top, right, bottom = sides * (4 // len(sides))
    if mode != "constant":
        _refuse_unlike_torchvision(spec, (left, top, right, bottom), fill, mode)
    elif spec.container == "pil" and min(left, top, right, bottom) < 0:
        raise OnelayerError("negative padding of a PIL image", expected="padding of at least 0", hint="Crop instead.")
    kind: Padding = "zero" if mode == "constant" else mode  # type: ignore[assignment]  # AxisMap.pad refuses others
    _, height, width = spec.shape
    stages, output = map_axes(spec, AxisMap.pad(height, top, bottom, kind), AxisMap.pad(width, left, right, kind))
    fills = _fills(spec, fill)
    if mode == "constant" and any(fills):
        stages = [stage.with_fill(fills) if isinstance(stage, Separable) else stage for stage in stages]
    return stages, output


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


def _fills(spec: ImageSpec, fill: Any) -> list[float]:
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


@register(f1.hflip, f2.horizontal_flip)
def flip_columns(_: Any, spec: ImageSpec) -> Derivation:
    """Derive a horizontal flip."""
    _, height, width = spec.shape
    return map_axes(spec, AxisMap.identity(height), AxisMap.flip(width))


@register(f1.vflip, f2.vertical_flip)
def flip_rows(_: Any, spec: ImageSpec) -> Derivation:
    """Derive a vertical flip."""
    _, height, width = spec.shape
    return map_axes(spec, AxisMap.flip(height), AxisMap.identity(width))


register(v1.RandomHorizontalFlip, v2.RandomHorizontalFlip)(deterministic(flip_columns))
register(v1.RandomVerticalFlip, v2.RandomVerticalFlip)(deterministic(flip_rows))


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
    box = sparse.kron(_inside(height, [1.0, 1.0, 1.0]), _inside(width, [1.0, 1.0, 1.0]))
    middle = sparse.kron(_inside(height, [0.0, 1.0, 0.0]), _inside(width, [0.0, 1.0, 0.0]))
    return sparse.eye_array(height * width) + (1.0 - factor) / 13.0 * (box - 9.0 * middle)


def _inside(n: int, kernel: list[float]) -> Any:
    """Filter along an axis, with zeros in place of its first and its last output."""
    return (
        AxisMap.crop(n - 2, -1, n).to_sparse() @ AxisMap(n, np.arange(n - 2), np.tile(kernel, (n - 2, 1))).to_sparse()
    )

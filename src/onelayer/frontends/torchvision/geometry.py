"""Torchvision's transforms of the two spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2.functional._geometry import _compute_resized_output_size

from onelayer.algebra import AxisMap, Clamp, Separable, Stage
from onelayer.algebra.axis import Interpolation
from onelayer.algebra.filters import Precision
from onelayer.algebra.padding import Padding
from onelayer.errors import OnelayerError
from onelayer.frontends.base import arguments, registered
from onelayer.frontends.torchvision.probability import always
from onelayer.image_spec import ImageSpec

OVERSHOOTING = ("bicubic", "lanczos")
"""Interpolations with negative weights."""

_WIDENING = ("bilinear", *OVERSHOOTING)


def spatial(given: ImageSpec, rows: AxisMap, cols: AxisMap) -> tuple[list[Stage], ImageSpec]:
    """The stage that maps both axes; none where nothing changes."""
    if rows.is_identity and cols.is_identity:
        return [], given
    operator = Separable.of_axes(given.shape[0], rows, cols)
    return [operator], replace(given, shape=operator.out_shape)


@registered(v2.Resize, f2.resize)
def resize_v2(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Resize a tensor or a PIL image. Source of the output size: torchvision."""
    return resized(given, *arguments(transform, "size", "interpolation", "max_size", "antialias"))


@registered(v1.Resize, f1.resize)
def resize_v1(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Resize as v2 does, but for Lanczos on tensors, which v1 does not have."""
    size, interpolation, max_size, antialias = arguments(transform, "size", "interpolation", "max_size", "antialias")
    if given.container != "pil" and filter_of(interpolation) == "lanczos":
        raise OnelayerError("a v1 Resize of tensors has no interpolation lanczos", hint="Use v2.Resize.")
    return resized(given, size, interpolation, max_size, antialias)


def resized(
    given: ImageSpec, size: int | Sequence[int] | None, interpolation: Any, max_size: int | None, antialias: bool | None
) -> tuple[list[Stage], ImageSpec]:
    """The stages of a resize; the arguments are those of ``v2.Resize``.

    Raises:
        OnelayerError: For sizes or an interpolation that torchvision refuses for such an image.
    """
    kind = filter_of(interpolation)
    lengths = list(zip(given.shape[1:], resized_size(given, size, max_size), strict=True))
    if given.container == "pil" and kind in ("nearest", "nearest_exact"):
        rows, cols = (_pillow_nearest(n_in, n_out) for n_in, n_out in lengths)
    else:
        if given.container != "pil" and kind in ("box", "hamming"):
            raise OnelayerError(
                f"a resize of tensors has no interpolation {kind}", expected="a PIL image", hint="Choose another one."
            )
        widens = given.container == "pil" or bool(antialias)
        if given.is_float and widens and kind in _WIDENING:
            refuse_width_of_one(*lengths)
        precision: Precision = "float32" if given.is_float and given.dtype != "float64" else "float64"
        rows, cols = (AxisMap.resample(n_in, n_out, kind, widens, precision=precision) for n_in, n_out in lengths)
    stages, after = spatial(given, rows, cols)
    if stages and given.dtype == "uint8" and kind in OVERSHOOTING:
        stages.append(Clamp(0, 255))
    return stages, after


def resized_size(given: ImageSpec, size: int | Sequence[int] | None, max_size: int | None) -> tuple[int, int]:
    """Height and width after a resize. Source: torchvision.

    Raises:
        OnelayerError: For sizes that torchvision refuses.
    """
    try:
        height, width = _compute_resized_output_size(given.shape[1:], size, max_size)
    except ValueError as error:
        raise OnelayerError(
            f"a resize to {size} with max_size {max_size} was asked for", expected=str(error), hint="Mend its size."
        ) from error
    return height, width


def refuse_width_of_one(heights: tuple[int, int], widths: tuple[int, int]) -> None:
    """Refuse what PyTorch computes wrongly; both lengths are before and after."""
    # PyTorch 2.15 on CPU then fills every output row with the same input row instead of weighing several.
    if widths[1] == 1 and heights[0] > 1 and heights[1] not in (1, heights[0]):
        raise OnelayerError(
            "PyTorch resizes float tensors to a width of 1 wrongly when it antialiases and the height changes too",
            expected="a width of at least 2, or the same height",
            hint="Resize to another size, or use uint8 tensors, PIL images or antialias=False.",
        )


def filter_of(interpolation: Any) -> Interpolation:
    """The interpolation of an ``InterpolationMode``, its value, or Pillow's number for it."""
    try:
        if isinstance(interpolation, int):
            name = Image.Resampling(interpolation).name.lower()
        else:
            name = v2.InterpolationMode(interpolation).value.replace("-", "_")
    except ValueError as error:
        raise OnelayerError(
            f"there is no interpolation {interpolation!r}", expected=", ".join(get_args(Interpolation))
        ) from error
    kind: Interpolation = name  # type: ignore[assignment]  # these are all the names there are
    return kind


def _pillow_nearest(n_in: int, n_out: int) -> AxisMap:
    """``ImagingScaleAffine`` of Pillow's ``Geometry.c``: places are added up one after the other, in float64."""
    if n_out < 1:
        raise OnelayerError(f"a resize from {n_in} to {n_out} samples was asked for", expected="at least 1 sample")
    distances = np.full(n_out, n_in / n_out)
    distances[0] /= 2
    return AxisMap.select(n_in, np.minimum(np.add.accumulate(distances).astype(np.int64), n_in - 1))


@registered(v1.CenterCrop, v2.CenterCrop)
def center_crop(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The window in the middle, padded with zeros where the image is smaller."""
    return center_cropped(given, *arguments(transform, "size"))


@registered(f1.center_crop, f2.center_crop)
def center_crop_function(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The same, as a function."""
    return center_cropped(given, *arguments(transform, "output_size"))


def center_cropped(given: ImageSpec, size: int | Sequence[int]) -> tuple[list[Stage], ImageSpec]:
    """The stages of a center crop to one length for both axes, or to height and width."""
    both = [size] if isinstance(size, int) else list(size)
    lengths = both * 2 if len(both) == 1 else both
    rows, cols = (_middle(n, length) for n, length in zip(given.shape[1:], lengths, strict=True))
    return spatial(given, rows, cols)


def _middle(n: int, length: int) -> AxisMap:
    # Padding rounds down, cropping rounds half to even: both are torchvision's.
    start = -((length - n) // 2) if length > n else round((n - length) / 2.0)
    return AxisMap.crop(n, start, length)


@registered(f1.crop, f2.crop)
def crop(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A window; zeros where it leaves the image."""
    return windowed(given, *arguments(transform, "top", "left", "height", "width"))


def windowed(given: ImageSpec, top: int, left: int, height: int, width: int) -> tuple[list[Stage], ImageSpec]:
    """The stages of a crop to a window, which must hold some of the image.

    Raises:
        OnelayerError: If it does not.
    """
    _, rows, cols = given.shape
    if top >= rows or left >= cols or top + height <= 0 or left + width <= 0:
        raise OnelayerError("the window lies beside the image", expected="a window with some of the image in it")
    return spatial(given, AxisMap.crop(rows, top, height), AxisMap.crop(cols, left, width))


@registered(v2.Pad, f2.pad)
def pad_v2(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Padding of all four sides."""
    return _padded(given, *arguments(transform, "padding", "fill", "padding_mode"))


@registered(v1.Pad, f1.pad)
def pad_v1(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Padding as in v2, but that tensors are filled with one number only."""
    padding, fill, mode = arguments(transform, "padding", "fill", "padding_mode")
    if given.container != "pil" and isinstance(fill, (tuple, list)):
        raise OnelayerError(f"a v1 Pad of tensors was given the fill {fill}", expected="one number", hint="Use v2.Pad.")
    return _padded(given, padding, fill, mode)


def _padded(given: ImageSpec, padding: int | Sequence[int], fill: Any, mode: str) -> tuple[list[Stage], ImageSpec]:
    sides = [padding] if isinstance(padding, int) else list(padding)
    if len(sides) not in (1, 2, 4):
        raise OnelayerError(f"the padding {padding} was given", expected="1, 2 or 4 numbers")
    left, top, right, bottom = sides * (4 // len(sides))
    if mode != "constant":
        _refuse_unlike_torchvision(given, (left, top, right, bottom), fill, mode)
    elif given.container == "pil" and min(left, top, right, bottom) < 0:
        raise OnelayerError("negative padding of a PIL image", expected="padding of at least 0", hint="Crop instead.")
    kind: Padding = "zero" if mode == "constant" else mode  # type: ignore[assignment]  # AxisMap.pad refuses others
    _, height, width = given.shape
    stages, after = spatial(given, AxisMap.pad(height, top, bottom, kind), AxisMap.pad(width, left, right, kind))
    fills = _fills(given, fill)
    if mode == "constant" and any(fills):
        stages = [stage.with_fill(fills) if isinstance(stage, Separable) else stage for stage in stages]
    return stages, after


def _refuse_unlike_torchvision(given: ImageSpec, sides: tuple[int, int, int, int], fill: Any, mode: str) -> None:
    left, top, right, bottom = sides
    _, height, width = given.shape
    if min(sides) < 0:
        raise OnelayerError(
            f"negative padding with mode {mode!r}", expected="padding of at least 0", hint="Crop first."
        )
    # Tensors are indexed from the other end, once; np.pad, which serves PIL images, goes back and forth.
    if mode == "symmetric" and given.container != "pil" and (max(left, right) > width or max(top, bottom) > height):
        raise OnelayerError(
            f"symmetric padding {sides} is longer than the image", expected="at most its height and width"
        )
    if isinstance(fill, (tuple, list)) and len(fill) > 1:
        raise OnelayerError(f"a fill of {len(fill)} numbers with mode {mode!r}", expected="padding_mode='constant'")


def _fills(given: ImageSpec, fill: Any) -> list[float]:
    """One number per channel, as torchvision makes it of the argument: whole numbers, cut off, for uint8."""
    if isinstance(fill, dict):
        raise OnelayerError("the fill is a dictionary of types", expected="a number, or one per channel")
    numbers = [0.0] if fill is None else list(fill) if isinstance(fill, (tuple, list)) else [fill]
    channels = given.shape[0]
    if len(numbers) not in (1, channels):
        raise OnelayerError(f"a fill of {len(numbers)} numbers", expected=f"one, or {channels}: one per channel")
    numbers = [float(number) for number in numbers] * (channels // len(numbers))
    if given.dtype == "uint8":
        if min(numbers) < 0 or max(numbers) > 255:
            raise OnelayerError(f"the fill {fill} for a uint8 image", expected="numbers in 0 … 255")
        numbers = [float(int(number)) for number in numbers]
    return numbers


def _flipped_columns(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    _, height, width = given.shape
    return spatial(given, AxisMap.identity(height), AxisMap.flip(width))


def _flipped_rows(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    _, height, width = given.shape
    return spatial(given, AxisMap.flip(height), AxisMap.identity(width))


registered(f1.hflip, f2.horizontal_flip)(_flipped_columns)
registered(f1.vflip, f2.vertical_flip)(_flipped_rows)
registered(v1.RandomHorizontalFlip, v2.RandomHorizontalFlip)(always(_flipped_columns))
registered(v1.RandomVerticalFlip, v2.RandomVerticalFlip)(always(_flipped_rows))


@registered(v1.GaussianBlur, v2.GaussianBlur)
def gaussian_blur(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A blur of one fixed sigma."""
    kernel_size, (lowest, highest) = arguments(transform, "kernel_size", "sigma")
    if lowest != highest:
        raise OnelayerError(
            f"sigma is drawn at random from {lowest} … {highest}", expected="one sigma", hint="Give a single sigma."
        )
    # Torchvision draws sigma as float32 even where there is nothing to draw.
    sigma = float(np.float32(lowest))
    return _blurred(given, kernel_size, [sigma, sigma])


@registered(f1.gaussian_blur, f2.gaussian_blur)
def gaussian_blur_function(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A blur with sigmas of its own for x and y."""
    kernel_size, sigma = arguments(transform, "kernel_size", "sigma")
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if sigma is None:
        sigma = [size * 0.15 + 0.35 for size in sizes]
    sigmas = [sigma] if isinstance(sigma, (int, float)) else list(sigma)
    return _blurred(given, sizes, sigmas * 2 if len(sigmas) == 1 else sigmas)


def _blurred(given: ImageSpec, kernel_size: Sequence[int], sigma: Sequence[float]) -> tuple[list[Stage], ImageSpec]:
    if len(kernel_size) != 2 or len(sigma) != 2:
        raise OnelayerError(
            f"a blur with kernel {kernel_size} and sigma {sigma}", expected="two numbers of each, x first"
        )
    _, height, width = given.shape
    return spatial(
        given,
        AxisMap.gaussian_blur(height, kernel_size[1], sigma[1]),
        AxisMap.gaussian_blur(width, kernel_size[0], sigma[0]),
    )

"""Front end of timm: the transforms of ``timm.data.create_transform``, for evaluation and for training.

``Resize``, ``CenterCrop``, flips, ``ColorJitter`` and ``Normalize`` in these pipelines are torchvision's. Numbers of
timm's own transforms come from Python's generator, and are drawn by timm's functions.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from torchvision.transforms import functional as f1
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, register, register_sequence, register_step
from onelayer.frontends.derivation import OF_V1
from onelayer.frontends.placement import Size
from onelayer.frontends.torchvision.by_rule import Box, ConstantSize, CropBy, ResizeBy, ResizeByOneOf, SizeRule
from onelayer.frontends.torchvision.drawn_numbers import image_of_size
from onelayer.frontends.torchvision.dtype import pil_to_tensor_v1, to_tensor_v2
from onelayer.frontends.torchvision.geometry import CenterCrop
from onelayer.frontends.torchvision.random_windows import RandomWindow
from onelayer.image_spec import ImageSpec

OF_V1.add("timm.data.")

_TRANSFORMS = "timm.data.transforms"

register(f"{_TRANSFORMS}.MaybeToTensor", any_size=True)(to_tensor_v2)


@register(f"{_TRANSFORMS}.MaybePILToTensor", any_size=True)
def maybe_pil_to_tensor(transform: Any, spec: ImageSpec) -> Derivation:
    """Convert a PIL image to a tensor of bytes; a tensor stays."""
    return ([], spec) if spec.container in ("tensor", "image") else pil_to_tensor_v1(transform, spec)


@register_sequence(f"{_TRANSFORMS}.ToTensor")
def to_tensor(transform: Any, _: ImageSpec) -> list[Any]:
    """Convert a PIL image to a tensor of a dtype, without scaling."""
    return [f1.pil_to_tensor, v2.ToDtype(transform.dtype, scale=False)]


@register_sequence(f"{_TRANSFORMS}.TrimBorder")
def trim_border(transform: Any, _: ImageSpec) -> list[Any]:
    """Cut off as many rows and columns at each side."""
    return [CropBy(partial(_within_border, border=transform.border_size))]


def _within_border(height: int, width: int, border: int) -> Box:
    return border, border, max(height - 2 * border, 0), max(width - 2 * border, 0)


@register_sequence(f"{_TRANSFORMS}.ResizeKeepRatio")
def resize_keep_ratio(transform: Any, _: ImageSpec) -> list[Any]:
    """Resize by one ratio for both axes: that of one of the sides to its new length, or a mean of both.

    Each axis may have its share of a random scale and a random aspect ratio.
    """
    height, width = transform.size
    if transform.random_scale_prob > 0 or transform.random_aspect_prob > 0:
        return _resizes(transform.interpolation, partial(_by_random_ratios, transform), draws=True)
    return _resizes(transform.interpolation, partial(_by_one_ratio, height, width, transform.longest), draws=False)


def _resizes(interpolation: Any, rule: SizeRule, *, draws: bool) -> list[Any]:
    """Return a resize by a rule, or one of several that is chosen for each image."""
    if not isinstance(interpolation, tuple | list):
        return [ResizeBy(rule, v2.InterpolationMode(interpolation), function=f1.resize, draws=draws)]
    each = [ResizeBy(rule, v2.InterpolationMode(one), function=f1.resize, draws=draws) for one in interpolation]
    return [ResizeByOneOf(tuple(each))]


def _by_random_ratios(transform: Any, height: int, width: int) -> Size:
    new_height, new_width = transform.get_params(
        image_of_size(height, width),
        transform.size,
        transform.longest,
        transform.random_scale_prob,
        transform.random_scale_range,
        transform.random_scale_area,
        transform.random_aspect_prob,
        transform.random_aspect_range,
    )
    return new_height, new_width


@register_sequence(f"{_TRANSFORMS}.RandomResizedCropAndInterpolation")
def random_resized_crop(transform: Any, _: ImageSpec) -> list[Any]:
    """Take a crop to a window of random size and shape, and a resize whose interpolation may be random too."""

    def draw(height: int, width: int) -> Box:
        top, left, rows, cols = transform.get_params(image_of_size(height, width), transform.scale, transform.ratio)
        return top, left, rows, cols

    height, width = transform.size
    window = RandomWindow(draw, 0, is_padded=False, function=f1.crop, draws_from_python=True)
    return [window, *_resizes(transform.interpolation, ConstantSize((height, width)), draws=False)]


@register_sequence(f"{_TRANSFORMS}.RandomCropOrPad")
def random_crop_or_pad(transform: Any, spec: ImageSpec) -> list[Any]:
    """Take a crop to a window that is drawn, beyond the image where that is smaller."""
    fill = _fill_of(transform, spec)
    size = tuple(transform.size)

    def draw(height: int, width: int) -> Box:
        return *transform.get_params(image_of_size(height, width), size), *size

    return [RandomWindow(draw, fill, is_padded=False, function=f1.crop, draws_from_python=True)]


def _fill_of(transform: Any, spec: ImageSpec) -> Any:
    """Return the fill around an image, which has to be constant, and one number for tensors."""
    mode = getattr(transform, "padding_mode", "constant")
    if mode != "constant":
        raise OnelayerError(f"the padding mode {mode!r}", expected="constant")
    if spec.container != "pil" and isinstance(transform.fill, tuple | list):
        raise OnelayerError(f"tensors were given the fill {transform.fill}", expected="one number")
    return transform.fill


def _by_one_ratio(new_height: int, new_width: int, longest: float, height: int, width: int) -> Size:
    ratios = height / new_height, width / new_width
    ratio = max(ratios) * longest + min(ratios) * (1.0 - longest)
    return round(height / ratio), round(width / ratio)


@register_step(f"{_TRANSFORMS}.CenterCropOrPad")
def center_crop_or_pad(transform: Any, spec: ImageSpec) -> CenterCrop:
    """State a crop from the middle with a fill of its own around smaller images, as in "border" mode."""
    fill = _fill_of(transform, spec)
    height, width = transform.size
    return CenterCrop(height, width, fill)


@register_sequence("timm.data.naflex_transforms.ResizeToSequence")
def resize_to_sequence(transform: Any, _: ImageSpec) -> list[Any]:
    """Resize to as many patches as fit into a sequence; timm's own function says how many these are."""
    from timm.data.naflex_transforms import get_image_size_for_seq

    size_for_sequence = partial(
        get_image_size_for_seq,
        patch_size=transform.patch_size,
        max_seq_len=transform.max_seq_len,
        divisible_by_patch=transform.divisible_by_patch,
        max_ratio=transform.max_ratio,
    )

    # timm searches for the size, which takes longer than all else around the kernel.
    @lru_cache(maxsize=4096)
    def rule(height: int, width: int) -> Size:
        try:
            _, (new_height, new_width) = size_for_sequence((height, width))
        except ValueError as error:
            raise OnelayerError(f"timm refuses the size: {error}", expected="another size") from error
        return new_height, new_width

    return _resizes(transform.interpolation, rule, draws=False)

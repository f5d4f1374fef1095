"""Albumentations and AlbumentationsX: pipelines of ``Compose``, called as ``pipeline(image=array)``.

Compiled are deterministic pipelines for one image of bytes, [H, W, C] with up to four channels. All else is left to the
original as a whole: probabilities other than 0 and 1, transforms that are not listed here, masks, boxes and keypoints,
floating point images, and sizes that the arithmetic is not known for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onelayer.algebra import Lookup
from onelayer.errors import OnelayerError
from onelayer.frontends.array_pipelines import ArrayPipeline, refuse_arrays, shown
from onelayer.frontends.base import (
    Derivation,
    UnsupportedTransformError,
    not_bit_exact,
    qualified_name,
    register,
    register_step,
)
from onelayer.frontends.front_end import FRONT_ENDS, MakeLayer
from onelayer.frontends.opencv import Flag, Resize, ResizeBy
from onelayer.frontends.placement import Size, Step
from onelayer.frontends.torchvision.by_rule import CropBy, PadBy, crop_by, pad_by
from onelayer.frontends.torchvision.geometry import Flip
from onelayer.image_spec import ImageSpec, RoundingMode

_GEOMETRIC = "albumentations.augmentations.geometric"
_COMPOSE = "albumentations.core.composition.Compose"
_RESIZE = f"{_GEOMETRIC}.resize.Resize"
_SMALLEST = f"{_GEOMETRIC}.resize.SmallestMaxSize"
_LONGEST = f"{_GEOMETRIC}.resize.LongestMaxSize"
_PAD = f"{_GEOMETRIC}.pad.PadIfNeeded"
_CROP = "albumentations.augmentations.crops.transforms.CenterCrop"
_FLIP_COLS = f"{_GEOMETRIC}.flip.HorizontalFlip"
_FLIP_ROWS = f"{_GEOMETRIC}.flip.VerticalFlip"
_NORMALIZE = "albumentations.augmentations.pixel.transforms.Normalize"
_TO_FLOAT = "albumentations.augmentations.other.type_transform.ToFloat"
_TO_TENSOR = "albumentations.pytorch.transforms.ToTensorV2"
_NOTHING = "albumentations.core.transforms_interface.NoOp"

TRANSFORMS = (
    _RESIZE, _SMALLEST, _LONGEST, _PAD, _CROP, _FLIP_COLS, _FLIP_ROWS, _NORMALIZE, _TO_FLOAT, _TO_TENSOR, _NOTHING,
)  # fmt: skip
"""Qualified names of the transforms that are compiled."""

_OPTIONS = ("save_applied_params", "replay_mode", "processors", "_frame_binding", "_instance_binding")
"""Attributes of a ``Compose`` that make it do more than its transforms, unless they are empty."""

_BEHAVIOUR = ("__call__", "apply", "apply_with_params", "apply_in_invocation")


@register_step(_RESIZE)
def resize(transform: Any, spec: ImageSpec) -> Step:
    """State a resize to one height and width."""
    size = int(transform.height), int(transform.width)
    flag = _flag(transform)
    refuse_arrays(spec)
    if flag != Flag.AREA:
        return Resize(size, flag)

    def rule(height: int, width: int) -> Size:
        shrinks = size[0] < height or size[1] < width
        _refuse_other_flag(transform, shrinks or (height, width) == size)
        return size

    return ResizeBy(size, flag, rule)


@register_step(_SMALLEST)
def smallest_max_size(transform: Any, spec: ImageSpec) -> Step:
    """State a resize of the shorter side to one length."""
    return _by_scale(transform, spec, min, max)


@register_step(_LONGEST)
def longest_max_size(transform: Any, spec: ImageSpec) -> Step:
    """State a resize of the longer side to one length."""
    return _by_scale(transform, spec, max, min)


def _by_scale(transform: Any, spec: ImageSpec, side: Callable[..., Any], of_two: Callable[..., Any]) -> Step:
    """State a resize by one scale for both sides.

    Args:
        transform: The transform.
        spec: The image.
        side: Chooses the side that ``max_size`` is the length of.
        of_two: Chooses one of two scales, where ``max_size_hw`` has a height and a width.
    """
    refuse_arrays(spec)
    flag = _flag(transform)
    max_size, sides = transform.max_size, transform.max_size_hw
    if max_size is not None and not isinstance(max_size, int):
        raise UnsupportedTransformError("its max_size is drawn from several", expected="one number")
    if max_size is None and sides is None:
        raise UnsupportedTransformError("it has neither max_size nor max_size_hw", expected="one of them")

    def rule(height: int, width: int) -> Size:
        if max_size is not None:
            scale = max_size / side(height, width)
        else:
            both = zip(sides, (height, width), strict=True)
            scale = of_two(new / length for new, length in both if new is not None)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        _refuse_other_flag(transform, scale < 1.0 or (height, width) == size)
        return size

    return ResizeBy((0, 0), flag, rule)


def _flag(transform: Any) -> int:
    return int(transform.interpolation if transform.area_for_downscale is None else Flag.AREA)


def _refuse_other_flag(transform: Any, shrinks: bool) -> None:
    """Refuse an enlargement by a transform that uses ``INTER_AREA`` for reductions alone."""
    if transform.area_for_downscale is not None and transform.interpolation != Flag.AREA and not shrinks:
        raise not_bit_exact("an enlargement where area_for_downscale is set", "a reduction by whole numbers")


@register_step(_CROP)
def center_crop(transform: Any, _: ImageSpec) -> Step:
    """State a crop from the middle; a smaller image is the original's."""
    if transform.pad_if_needed:
        raise UnsupportedTransformError("it pads if needed", expected="pad_if_needed=False")
    size = int(transform.height), int(transform.width)

    def rule(height: int, width: int) -> tuple[int, int, int, int]:
        if size[0] > height or size[1] > width:
            raise OnelayerError(
                f"a crop to {size[0]}×{size[1]} of an image of {height}×{width}", expected="a larger image"
            )
        return (height - size[0]) // 2, (width - size[1]) // 2, *size

    return crop_by(CropBy(rule), _)


@register_step(_PAD)
def pad_if_needed(transform: Any, spec: ImageSpec) -> Step:
    """State a padding to a least height and width, or to multiples of numbers."""
    position, mode = transform.position, int(transform.border_mode)
    if position not in _BEFORE or mode != 0:
        raise UnsupportedTransformError(
            f"it pads at {position} with border mode {mode}",
            expected="a position that is not drawn, and BORDER_CONSTANT",
        )

    def rule(height: int, width: int) -> tuple[int, int, int, int]:
        rows = _missing(height, transform.min_height, transform.pad_height_divisor)
        cols = _missing(width, transform.min_width, transform.pad_width_divisor)
        top, left = _BEFORE[position](rows, cols)
        return left, top, cols - left, rows - top

    return pad_by(PadBy(rule, _fill(transform.fill, spec)), spec)


_BEFORE: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "center": lambda rows, cols: (rows // 2, cols // 2),
    "top_left": lambda _rows, _cols: (0, 0),
    "top_right": lambda _rows, cols: (0, cols),
    "bottom_left": lambda rows, _cols: (rows, 0),
    "bottom_right": lambda rows, cols: (rows, cols),
}
"""Rows above and columns to the left of an image, by the position, of those that are missing."""


def _missing(length: int, least: int | None, divisor: int | None) -> int:
    if least is not None:
        return max(least - length, 0)
    assert divisor is not None, "one of the two is given"
    return -length % divisor


def _fill(fill: Any, spec: ImageSpec) -> list[float]:
    """Read a number per channel; of bytes whole ones, because OpenCV rounds and saturates others."""
    channels = spec.shape[0]
    numbers = [float(number) for number in np.atleast_1d(np.asarray(fill, dtype=np.float64))]
    if len(numbers) not in (1, channels):
        raise UnsupportedTransformError(f"its fill has {len(numbers)} numbers", expected=f"one, or {channels}")
    if spec.is_float:
        numbers = [float(np.float32(number)) for number in numbers]
    elif any(number != round(number) or not 0 <= number <= 255 for number in numbers):
        raise UnsupportedTransformError(f"its fill is {fill}", expected="whole numbers in 0 … 255")
    return numbers * (channels // len(numbers))


@register_step(_FLIP_COLS)
def flip_columns(_: Any, __: ImageSpec) -> Step:
    """State a flip from left to right."""
    return Flip(of_rows=False)


@register_step(_FLIP_ROWS)
def flip_rows(_: Any, __: ImageSpec) -> Step:
    """State a flip upside down."""
    return Flip(of_rows=True)


@register(_NORMALIZE, _TO_FLOAT, any_size=True)
def values(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG001 - a table rounds nothing
    """Derive what is done to each byte, by doing it to all of them."""
    refuse_arrays(spec)
    if getattr(transform, "normalization", "standard") != "standard":
        raise UnsupportedTransformError(
            f"normalization={transform.normalization!r} looks at the whole image", expected="normalization='standard'"
        )
    channels = spec.shape[0]
    every = np.ascontiguousarray(np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), (16, 16, channels)))
    result = np.asarray(shown(transform.apply, every))
    if result.shape != every.shape or result.dtype != np.float32:
        raise UnsupportedTransformError(f"it makes {result.dtype} of bytes", expected="float32")
    table = result.astype(np.float64).reshape(256, channels).T
    return [Lookup(table)], replace(spec, dtype="float32")


@register(_TO_TENSOR, any_size=True)
def to_tensor(_: Any, spec: ImageSpec) -> Derivation:
    """Make a tensor [C, H, W] of an array."""
    if spec.container != "numpy":
        raise UnsupportedTransformError("it does not take a tensor", expected="a NumPy array")
    return [], replace(spec, container="tensor")


@register(_NOTHING, any_size=True)
def nothing(_: Any, spec: ImageSpec) -> Derivation:
    """Leave the image as it is."""
    return [], spec


class Albumentations:
    """The front end; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is a ``Compose``, or one of the transforms alone."""
        return qualified_name(type(pipeline)) in (_COMPOSE, *TRANSFORMS)

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List the transforms that are applied."""
        refuse_arrays(spec)
        is_compose = qualified_name(type(pipeline)) == _COMPOSE
        if is_compose and (options := [name for name in _OPTIONS if getattr(pipeline, name, None)]):
            raise UnsupportedTransformError(f"the Compose has {options[0].strip('_')}", expected="images alone")
        if is_compose and pipeline.p < 1:
            raise UnsupportedTransformError(f"the Compose has p={pipeline.p}", expected="p=1")
        return [each for each in (pipeline.transforms if is_compose else [pipeline]) if _is_applied(each)]

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make a pipeline that is called with keywords."""
        return CompiledCompose(pipeline, self, make_layer)


def _is_applied(transform: Any) -> bool:
    """Whether a transform is always applied; False if it never is.

    Raises:
        UnsupportedTransformError: If it is not known, or is applied at random.
    """
    name = type(transform).__name__
    if qualified_name(type(transform)) not in TRANSFORMS:
        raise UnsupportedTransformError(f"{name} is not a transform that onelayer knows")
    if patched := [each for each in _BEHAVIOUR if each in vars(transform)]:
        raise UnsupportedTransformError(f"this {name} has {patched[0]} of its own")
    if 0 < transform.p < 1 and qualified_name(type(transform)) != _NOTHING:
        raise UnsupportedTransformError(f"{name} is applied at random, p={transform.p}", expected="p=0 or p=1")
    return bool(transform.p > 0)


class CompiledCompose(ArrayPipeline):
    """A ``Compose`` of which images alone go through a layer. Other attributes are the original's."""

    def __call__(self, *args: Any, **data: Any) -> Any:
        """Apply the pipeline, as the original does."""
        image = data.get("image")
        if not args and (len(data) == 1 or self._only_labels(data)) and (result := self.of_layer(image)) is not None:
            return {**data, "image": result}
        return self.original(*args, **data)

    def _only_labels(self, data: dict[str, Any]) -> bool:
        """Whether all but the image are values that the original hands on."""
        original = self.original
        if getattr(original, "strict", True) or qualified_name(type(original)) != _COMPOSE:
            return False
        others = [(name, value) for name, value in data.items() if name != "image"]
        known = {*original.available_keys, *_OWN_ARGUMENTS}
        return all(name not in known and isinstance(value, int | float | str | None) for name, value in others)


_OWN_ARGUMENTS = (
    "force_apply", "invocation_seed", "applied_transforms", "replay", "instances", "frame_annotations",
)  # fmt: skip
"""Arguments of a ``Compose`` that mean something to it."""

FRONT_ENDS.append(Albumentations())

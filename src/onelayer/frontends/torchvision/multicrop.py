"""Derive transforms that make several images of one: five and ten crops, and ``torch.stack``, which joins them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import AxisMap
from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    UNREADABLE,
    Derivation,
    UnsupportedTransformError,
    arguments,
    function_of,
    name_of,
    register,
    unreadable,
)
from onelayer.frontends.derivation import Derived, Step, Transform, derive_sequence
from onelayer.frontends.torchvision.geometry import CenterCrop, WindowCrop, map_axes
from onelayer.image_spec import CONTAINER_NAMES, ImageSpec, RoundingMode

Corner = Literal["top left", "top right", "bottom left", "bottom right", "center"]

_CORNERS: tuple[Corner, ...] = ("top left", "top right", "bottom left", "bottom right", "center")


@dataclass(frozen=True)
class DerivedOutputs:
    """A pipeline in the operator algebra, with one program for each image that it returns.

    Args:
        each: The derived pipelines, several after a ``FiveCrop`` or ``TenCrop``.
        joined: ``one`` for a single image; ``tuple`` for several images, as torchvision returns them; ``stacked`` where
            ``torch.stack`` makes one tensor of them, with a new first dimension.
    """

    each: tuple[Derived, ...]
    joined: Literal["one", "tuple", "stacked"]


@dataclass(frozen=True)
class CornerCrop:
    """One of the windows of a ``FiveCrop`` or ``TenCrop``.

    Args:
        size: Height and width of the window.
        corner: Position of the window.
        flip: Direction in which the image is mirrored first.
        plain: Whether a ``tv_tensors.Image`` becomes a plain tensor, as in v1.
    """

    size: tuple[int, int]
    corner: Corner
    flip: Literal["no", "horizontal", "vertical"]
    plain: bool


class Stack:
    """``torch.stack`` in the pipeline of a single crop."""


def derive_outputs(transforms: Sequence[Transform], spec: ImageSpec, rounding: RoundingMode) -> DerivedOutputs:
    """Derive transforms in order, of which one may make several images of one.

    Args:
        transforms: Transforms none of which contains others; see :func:`onelayer.frontends.transforms_of`.
        spec: The image that arrives at the first.
        rounding: See :func:`onelayer.frontends.derive`.

    Raises:
        UnsupportedTransformError: For a transform that cannot be derived, with its name and index.
    """
    fork = next((index for index, transform in enumerate(transforms) if _forks(transform)), None)
    if fork is None:
        return DerivedOutputs((derive_sequence(transforms, spec, rounding),), "one")
    join = next((index for index in range(fork + 1, len(transforms)) if _stacks(transforms[index])), None)
    end = len(transforms) if join is None else join
    rest = transforms[fork + 1 :] if join is None else [*transforms[fork + 1 : join], Stack(), *transforms[join + 1 :]]
    try:
        crops = _crops(transforms[fork])
    except UNREADABLE as error:
        problem = unreadable(transforms[fork], error).problem
        raise UnsupportedTransformError(problem, transform=name_of(transforms[fork]), stage=fork) from error
    each = tuple(derive_sequence([*transforms[:fork], crop, *rest], spec, rounding) for crop in crops)
    for step in each[0].steps[fork + 1 : end]:
        _require_each(transforms[step.index], step)
    return DerivedOutputs(each, "tuple" if join is None else "stacked")


def _require_each(transform: Transform, step: Step) -> None:
    """Refuse a transform that torchvision would not apply to each of several images."""
    if not isinstance(transform, v2.Transform):
        problem = "it takes one image, and several come out of the crops"
    elif step.input_spec.container == "tensor":
        problem = "of several plain tensors, v2 transforms change the first only"
    else:
        return
    raise UnsupportedTransformError(
        problem,
        expected="a transform of v2, and v2.ToImage() before the crops; or torch.stack before it",
        transform=step.name,
        stage=step.index,
        shape=step.input_spec.shape,
        dtype=step.input_spec.dtype,
    )


_FIVE: tuple[Any, ...] = (v1.FiveCrop, v2.FiveCrop, f1.five_crop, f2.five_crop)
_TEN: tuple[Any, ...] = (v1.TenCrop, v2.TenCrop, f1.ten_crop, f2.ten_crop)
_PLAIN = (v1.FiveCrop, v1.TenCrop, f1.five_crop, f1.ten_crop)


def _kind(transform: Transform) -> Any:
    function = function_of(transform)
    is_crop = not isinstance(function, type) and function in (*_FIVE, *_TEN)
    return function if is_crop else type(transform)


def _forks(transform: Transform) -> bool:
    return _kind(transform) in (*_FIVE, *_TEN)


def _stacks(transform: Transform) -> bool:
    """Whether it is ``torch.stack`` along a new first dimension."""
    function: Any = transform.lambd if isinstance(transform, v1.Lambda) else transform
    keywords = getattr(function, "keywords", {})
    return function_of(function) is torch.stack and keywords in ({}, {"dim": 0})


def _crops(transform: Transform) -> list[CornerCrop]:
    flips: list[Literal["no", "horizontal", "vertical"]] = ["no"]
    if _kind(transform) in _TEN:
        (vertical,) = arguments(transform, "vertical_flip")
        flips.append("vertical" if vertical else "horizontal")
    (size,) = arguments(transform, "size")
    lengths = [size] if isinstance(size, int) else list(size)
    rows, cols = lengths * 2 if len(lengths) == 1 else lengths
    return [CornerCrop((rows, cols), corner, flip, _kind(transform) in _PLAIN) for flip in flips for corner in _CORNERS]


@register(CornerCrop)
def corner_crop(crop: CornerCrop, spec: ImageSpec) -> Derivation:
    """Derive a window of the image, mirrored or not; a window larger than the image is refused."""
    _, height, width = spec.shape
    rows, cols = crop.size
    if crop.plain and spec.container == "image":
        spec = replace(spec, container="tensor")
    if rows > height or cols > width:
        raise OnelayerError(
            f"a crop of {rows}×{cols} was asked for",
            expected=f"at most the image's {height}×{width}",
            hint="Resize before it, or choose smaller crops.",
        )
    if crop.corner == "center":
        stages, output = CenterCrop(rows, cols).stages(spec, "exact")
    else:
        top = 0 if crop.corner.startswith("top") else height - rows
        left = 0 if crop.corner.endswith("left") else width - cols
        stages, output = WindowCrop(top, left, rows, cols).stages(spec, "exact")
    flips = {
        "no": (AxisMap.identity(height), AxisMap.identity(width)),
        "horizontal": (AxisMap.identity(height), AxisMap.flip(width)),
        "vertical": (AxisMap.flip(height), AxisMap.identity(width)),
    }
    return [*map_axes(spec, *flips[crop.flip])[0], *stages], output


@register(Stack)
def stack(_: Stack, spec: ImageSpec) -> Derivation:
    """Derive a tensor without a subclass, as ``torch.stack`` returns it."""
    if spec.container not in ("tensor", "image"):
        raise OnelayerError(
            f"{CONTAINER_NAMES[spec.container]} cannot be stacked",
            expected="tensors",
            hint="Put v2.ToImage() before it.",
        )
    return [], replace(spec, container="tensor")


@register(*_FIVE, *_TEN, torch.stack)
def refuse_several_images(_: Any, spec: ImageSpec) -> Derivation:  # noqa: ARG001 - for any image
    """Refuse several images where one program is asked for."""
    raise UnsupportedTransformError(
        "it makes several images of one, or one of several",
        expected="one FiveCrop or TenCrop, and torch.stack behind it",
        hint="onelayer.compile takes such a pipeline; each crop alone is functools.partial of functional.crop.",
    )

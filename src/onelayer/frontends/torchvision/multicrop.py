"""Transforms that make several images of one: five and ten crops, and ``torch.stack``, which joins them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import AxisMap, Separable, Stage
from onelayer.errors import OnelayerError
from onelayer.frontends.base import UnsupportedTransformError, arguments, function_of, register, registered
from onelayer.frontends.derivation import Transform, derive_parts
from onelayer.frontends.torchvision.geometry import center_cropped, windowed
from onelayer.image_spec import Derived, ImageSpec, RoundingMode, Step

Corner = Literal["top left", "top right", "bottom left", "bottom right", "center"]

_CORNERS: tuple[Corner, ...] = ("top left", "top right", "bottom left", "bottom right", "center")


@dataclass(frozen=True)
class Branches:
    """A pipeline that may give several images of one.

    Args:
        derived: One for each image that comes out.
        joined: ``one`` for a pipeline without branches; ``tuple`` for several images, as torchvision gives them;
            ``stacked`` where ``torch.stack`` makes one tensor of them, with a new first dimension.
    """

    derived: tuple[Derived, ...]
    joined: Literal["one", "tuple", "stacked"]


@dataclass(frozen=True)
class CornerCrop:
    """One of the windows of a ``FiveCrop``.

    Args:
        size: Height and width of the window.
        corner: Where it is.
        flip: Along which axis the image is mirrored first.
        plain: Whether a ``tv_tensors.Image`` becomes a plain tensor, as in v1.
    """

    size: tuple[int, int]
    corner: Corner
    flip: Literal["no", "horizontal", "vertical"]
    plain: bool


class Stack:
    """``torch.stack`` as one branch sees it."""


def derive_branches(parts: Sequence[Transform], given: ImageSpec, rounding: RoundingMode) -> Branches:
    """Read the operators off transforms in order, of which one may make several images of one.

    Args:
        parts: None of them is a container of others (``derivation.parts_of`` takes them out).
        given: What arrives at the first.
        rounding: See :func:`onelayer.frontends.derive`.

    Raises:
        UnsupportedTransformError: For a transform that cannot be derived, with its name and place.
    """
    fork = next((place for place, part in enumerate(parts) if _forks(part)), None)
    if fork is None:
        return Branches((derive_parts(parts, given, rounding),), "one")
    join = next((place for place in range(fork + 1, len(parts)) if _stacks(parts[place])), None)
    end = len(parts) if join is None else join
    after = parts[fork + 1 :] if join is None else [*parts[fork + 1 : join], Stack(), *parts[join + 1 :]]
    derived = tuple(derive_parts([*parts[:fork], crop, *after], given, rounding) for crop in _crops(parts[fork]))
    for step in derived[0].steps[fork + 1 : end]:
        _require_each(parts[step.place], step)
    return Branches(derived, "tuple" if join is None else "stacked")


def _require_each(part: Transform, step: Step) -> None:
    """Refuse what torchvision would not do to each of several images."""
    if not isinstance(part, v2.Transform):
        problem = "it takes one image, and several come out of the crops"
    elif step.before.container == "tensor":
        problem = "of several plain tensors, v2 transforms change the first only"
    else:
        return
    raise UnsupportedTransformError(
        problem,
        expected="a transform of v2, and v2.ToImage() before the crops; or torch.stack before it",
        transform=step.name,
        stage=step.place,
        shape=step.before.shape,
        dtype=step.before.dtype,
    )


_FIVE: tuple[Any, ...] = (v1.FiveCrop, v2.FiveCrop, f1.five_crop, f2.five_crop)
_TEN: tuple[Any, ...] = (v1.TenCrop, v2.TenCrop, f1.ten_crop, f2.ten_crop)
_PLAIN = (v1.FiveCrop, v1.TenCrop, f1.five_crop, f1.ten_crop)


def _kind(part: Transform) -> Any:
    function = function_of(part)
    return function if function in (*_FIVE, *_TEN) else type(part)


def _forks(part: Transform) -> bool:
    return _kind(part) in (*_FIVE, *_TEN)


def _stacks(part: Transform) -> bool:
    """Whether it is ``torch.stack`` along a new first dimension."""
    function: Any = part.lambd if isinstance(part, v1.Lambda) else part
    keywords = getattr(function, "keywords", {})
    return function_of(function) is torch.stack and keywords in ({}, {"dim": 0})


def _crops(part: Transform) -> list[CornerCrop]:
    flips: list[Literal["no", "horizontal", "vertical"]] = ["no"]
    if _kind(part) in _TEN:
        (vertical,) = arguments(part, "vertical_flip")
        flips.append("vertical" if vertical else "horizontal")
    (size,) = arguments(part, "size")
    lengths = [size] if isinstance(size, int) else list(size)
    rows, cols = lengths * 2 if len(lengths) == 1 else lengths
    return [CornerCrop((rows, cols), corner, flip, _kind(part) in _PLAIN) for flip in flips for corner in _CORNERS]


@register(CornerCrop)
def corner_crop(crop: CornerCrop, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A window of the image, mirrored or not. The window must fit."""
    _, height, width = given.shape
    rows, cols = crop.size
    if crop.plain and given.container == "image":
        given = replace(given, container="tensor")
    if rows > height or cols > width:
        raise OnelayerError(
            f"a crop of {rows}×{cols} was asked for",
            expected=f"at most the image's {height}×{width}",
            hint="Resize before it, or choose smaller crops.",
        )
    if crop.corner == "center":
        stages, after = center_cropped(given, (rows, cols))
    else:
        top = 0 if crop.corner.startswith("top") else height - rows
        left = 0 if crop.corner.endswith("left") else width - cols
        stages, after = windowed(given, top, left, rows, cols)
    if crop.flip == "no":
        return stages, after
    axes = {
        "horizontal": (AxisMap.identity(height), AxisMap.flip(width)),
        "vertical": (AxisMap.flip(height), AxisMap.identity(width)),
    }
    return [Separable.of_axes(given.shape[0], *axes[crop.flip]), *stages], after


@register(Stack)
def stack(_: Stack, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A tensor without a subclass, as ``torch.stack`` gives."""
    if given.container not in ("tensor", "image"):
        raise OnelayerError(
            f"images as {given.container} cannot be stacked", expected="tensors", hint="Put v2.ToImage() before it."
        )
    return [], replace(given, container="tensor")


@registered(*_FIVE, *_TEN, torch.stack)
def refused(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:  # noqa: ARG001 - whatever is given
    """Where one image is asked for there can be no branches."""
    raise OnelayerError(
        "it makes several images of one, or one of several",
        expected="one FiveCrop or TenCrop, and torch.stack behind it",
        hint="onelayer.compile takes such a pipeline; each crop alone is functools.partial of functional.crop.",
    )

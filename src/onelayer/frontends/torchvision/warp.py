"""Torchvision's rotations, affine maps and perspectives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2.functional._geometry import _check_interpolation

from onelayer.algebra import Clamp, Separable, SpatialSparse, Stage
from onelayer.algebra.operator import FloatArray
from onelayer.algebra.sampling import sampled, selection
from onelayer.errors import OnelayerError
from onelayer.frontends.base import UnsupportedTransformError, arguments, function_of, registered
from onelayer.frontends.torchvision.probability import always
from onelayer.image_spec import ImageSpec

_WINDOWS = {
    v2.InterpolationMode.NEAREST: 1,
    v2.InterpolationMode.NEAREST_EXACT: 1,
    v2.InterpolationMode.BILINEAR: 2,
    v2.InterpolationMode.BICUBIC: 4,
}
"""How many neighbouring rows, and columns, an output reads."""


@registered(f1.rotate, f2.rotate, f1.affine, f2.affine, f1.perspective, f2.perspective)
def warp_function(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """One of the functions, with all that it needs as keywords."""
    function = function_of(transform)
    names = tuple(inspect.signature(function).parameters)[1:]
    return warped(given, function, **dict(zip(names, arguments(transform, *names), strict=True)))


@registered(v1.RandomRotation, v2.RandomRotation)
def rotation(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A rotation by one angle."""
    interpolation, expand, center, fill = arguments(transform, "interpolation", "expand", "center", "fill")
    return warped(
        given,
        f1.rotate if isinstance(transform, v1.RandomRotation) else f2.rotate,
        angle=_fixed("degrees", transform.degrees),
        interpolation=interpolation,
        expand=expand,
        center=center,
        fill=fill,
    )


@registered(v1.RandomAffine, v2.RandomAffine)
def affine(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """An affine map of one angle, one scale and one shear, without translation."""
    scale, shear = transform.scale, transform.shear or (0.0, 0.0)
    if any(transform.translate or ()):
        raise _random(f"it is random: a translation is drawn, of up to {transform.translate} of the image")
    interpolation, center, fill = arguments(transform, "interpolation", "center", "fill")
    return warped(
        given,
        f1.affine if isinstance(transform, v1.RandomAffine) else f2.affine,
        angle=_fixed("degrees", transform.degrees),
        translate=(0, 0),
        scale=1.0 if scale is None else _fixed("scale", scale),
        shear=(_fixed("shear", shear[:2]), _fixed("shear", shear[2:] or (0.0, 0.0))),
        interpolation=interpolation,
        center=center,
        fill=fill,
    )


@registered(v1.RandomPerspective, v2.RandomPerspective)
@always
def perspective(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:  # noqa: ARG001 - whatever is given
    """Nothing, where it is never applied."""
    raise _random("it is random: it draws its corners")


def _random(problem: str) -> UnsupportedTransformError:
    return UnsupportedTransformError(
        problem,
        expected="a deterministic transform",
        hint="Give ranges of one value, as in degrees=(30, 30), or take functools.partial of torchvision's function.",
    )


def _fixed(name: str, ends: Sequence[float]) -> float:
    low, high = ends
    if low != high:
        raise _random(f"it is random: its {name} is drawn from {low} … {high}")
    # Torchvision draws float32 even where there is nothing to draw.
    return float(np.float32(low))


def warped(given: ImageSpec, function: Callable[..., Any], **keywords: Any) -> tuple[list[Stage], ImageSpec]:
    """The stages of one of torchvision's functions that sample an image at places of a grid.

    Weights are those that torchvision computes for such an image, in float32 but for float64 images. Copies of pixels
    become a ``Separable``, also where a rounded grid makes torchvision's bilinear filter miss their centres slightly.

    Args:
        given: What arrives.
        function: Takes the image first.
        keywords: Its other arguments, among them ``interpolation`` and ``fill``.

    Raises:
        OnelayerError: For what torchvision refuses for such an image, for float16 and bfloat16, for a fill that does
            not fit the image, or if a place is not finite.
        TooLargeError: If the matrix would have more than 20 million taps.
    """
    if given.dtype in ("float16", "bfloat16"):
        raise OnelayerError(
            f"torchvision computes a grid for {given.dtype} images in {given.dtype}, which misses pixels",
            expected="float32, float64 or uint8",
            hint="Put v2.ToDtype(torch.float32) before it.",
        )
    fills = _fills(given, keywords["fill"])
    channels, *size = given.shape
    in_size = (size[0], size[1])
    # Torchvision multiplies by a mask, which is fractional at the border, only where there is any fill.
    without_fill = keywords | {"fill": None if keywords["fill"] is None else 0.0}
    warp = partial(_applied, given, function, without_fill)
    copies = selection(warp, in_size, torch.finfo(_grid_type(given)).eps)
    if copies is not None:
        separable = Separable.of_axes(channels, *copies)
        if fills.any():
            separable = separable.with_fill(fills)
        stages: list[Stage] = [] if separable.is_identity else [separable]
        return stages, replace(given, shape=separable.out_shape)
    window = _WINDOWS[_check_interpolation(keywords["interpolation"])]
    matrix, out_size = sampled(warp, in_size, window)
    bias = np.zeros(channels)
    if fills.any():
        black = np.zeros((1, *in_size), dtype=np.float32)
        bias = fills[:, None, None] * _applied(given, function, keywords | {"fill": 1.0}, black)
    operator = SpatialSparse(np.eye(channels), matrix, in_size, out_size, bias)
    # Bicubic weights overshoot, and only PIL images, of uint8, have them.
    overshot: list[Stage] = [Clamp(0.0, 255.0)] if window == _WINDOWS[v2.InterpolationMode.BICUBIC] else []
    return [operator, *overshot], replace(given, shape=operator.out_shape)


def _applied(
    given: ImageSpec, function: Callable[..., Any], keywords: dict[str, Any], images: NDArray[np.float32]
) -> FloatArray:
    """What the function makes of each image of [N, H, W], in the container and precision of what is given.

    Pillow places the samples of a float image (mode F) as it does those of bytes.
    """
    try:
        if given.container == "pil":
            return np.stack([np.asarray(function(Image.fromarray(image), **keywords)) for image in images])
        result: FloatArray = function(torch.from_numpy(images).to(_grid_type(given)), **keywords).numpy()
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise OnelayerError(
            f"torchvision refuses it: {error}", expected="arguments for such an image", hint="Mend its arguments."
        ) from error
    return result


def _grid_type(given: ImageSpec) -> torch.dtype:
    return torch.float64 if given.dtype == "float64" else torch.float32


def _fills(given: ImageSpec, fill: Any) -> FloatArray:
    """One number per channel; Pillow cuts off fractions."""
    if isinstance(fill, dict):
        raise OnelayerError("the fill is a dictionary of types", expected="a number, or one per channel")
    channels = given.shape[0]
    numbers = np.atleast_1d(np.asarray(0.0 if fill is None else fill, dtype=np.float64))
    if numbers.shape not in ((1,), (channels,)):
        raise OnelayerError(f"a fill of {numbers.size} numbers", expected=f"one, or {channels}: one per channel")
    if given.dtype == "uint8" and (numbers.min() < 0 or numbers.max() > 255):
        raise OnelayerError(f"the fill {fill} for a uint8 image", expected="numbers in 0 … 255")
    return np.broadcast_to(np.trunc(numbers) if given.container == "pil" else numbers, (channels,))

"""Derive torchvision's rotations, affine maps and perspectives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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

from onelayer.algebra import ChannelMap, Clamp, Separable, SpatialSparse, Stage
from onelayer.algebra.operator import FloatArray
from onelayer.algebra.sampling import sampled, selection
from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    Derivation,
    arguments,
    function_of,
    not_bit_exact,
    register,
    require_no_rounding,
)
from onelayer.frontends.torchvision.random import deterministic, is_random, single_value
from onelayer.image_spec import ImageSpec, RoundingMode

_WINDOWS = {
    v2.InterpolationMode.NEAREST: 1,
    v2.InterpolationMode.NEAREST_EXACT: 1,
    v2.InterpolationMode.BILINEAR: 2,
    v2.InterpolationMode.BICUBIC: 4,
}
"""Neighbouring rows, and columns, that an output reads."""

_FIXED = "Give ranges of one value, as in degrees=(30, 30), or functools.partial of torchvision's function."


@register(f1.rotate, f2.rotate, f1.affine, f2.affine, f1.perspective, f2.perspective)
def warp_function(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive one of the functions, with its arguments as keywords."""
    function = function_of(transform)
    names = tuple(inspect.signature(function).parameters)[1:]
    return _warped(spec, rounding, function, **dict(zip(names, arguments(transform, *names), strict=True)))


@register(v1.RandomRotation, v2.RandomRotation)
def rotation(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive a rotation by one angle."""
    interpolation, expand, center, fill = arguments(transform, "interpolation", "expand", "center", "fill")
    return _warped(
        spec,
        rounding,
        f1.rotate if isinstance(transform, v1.RandomRotation) else f2.rotate,
        angle=single_value("degrees", transform.degrees, _FIXED),
        interpolation=interpolation,
        expand=expand,
        center=center,
        fill=fill,
    )


@register(v1.RandomAffine, v2.RandomAffine)
def affine(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive an affine map of one angle, one scale and one shear, without translation."""
    scale, shear = transform.scale, transform.shear or (0.0, 0.0)
    if any(transform.translate or ()):
        raise is_random(f"its translation is drawn, up to {transform.translate} of the image", _FIXED)
    interpolation, center, fill = arguments(transform, "interpolation", "center", "fill")
    return _warped(
        spec,
        rounding,
        f1.affine if isinstance(transform, v1.RandomAffine) else f2.affine,
        angle=single_value("degrees", transform.degrees, _FIXED),
        translate=(0, 0),
        scale=1.0 if scale is None else single_value("scale", scale, _FIXED),
        shear=(single_value("shear", shear[:2], _FIXED), single_value("shear", shear[2:] or (0.0, 0.0), _FIXED)),
        interpolation=interpolation,
        center=center,
        fill=fill,
    )


@register(v1.RandomPerspective, v2.RandomPerspective)
@deterministic
def perspective(_: Any, spec: ImageSpec) -> Derivation:  # noqa: ARG001 - for any image
    """Refuse a perspective that is ever applied."""
    raise is_random("it draws its corners", _FIXED)


def _warped(spec: ImageSpec, rounding: RoundingMode, function: Callable[..., Any], **keywords: Any) -> Derivation:
    """Derive one of torchvision's functions, bit for bit where that is asked for; see :func:`_sampled`."""
    stages, output = _sampled(spec, function, **keywords)
    if rounding == "exact":
        require_no_rounding(stages, spec)
        if spec.is_float and _WINDOWS[_check_interpolation(keywords["interpolation"])] > 1:
            raise not_bit_exact("a warp of floats that weighs pixels", "nearest neighbours, or bytes that are copied")
    return stages, output


def _sampled(spec: ImageSpec, function: Callable[..., Any], **keywords: Any) -> Derivation:
    """Derive one of torchvision's functions that sample an image at the points of a grid.

    Weights are those that torchvision computes for such an image, in float32 but for float64 images. Copies of pixels
    become a ``Separable``, also where a rounded grid makes torchvision's bilinear filter miss their centres slightly.

    Args:
        spec: The image that arrives.
        function: The function, which takes the image first.
        keywords: The other arguments, among them ``interpolation`` and ``fill``.

    Raises:
        OnelayerError: For what torchvision refuses for such an image, for float16 and bfloat16, for a fill that does
            not fit the image, or if a grid point is not finite.
        TooLargeError: If the matrix would have more than 20 million taps.
    """
    if spec.dtype in ("float16", "bfloat16"):
        raise OnelayerError(
            f"torchvision computes a grid for {spec.dtype} images in {spec.dtype}, which misses pixels",
            expected="float32, float64 or uint8",
            hint="Put v2.ToDtype(torch.float32) before it.",
        )
    fills = _fills(spec, keywords["fill"])
    channels, *size = spec.shape
    in_size = (size[0], size[1])
    # Without any fill, as the weights near a border are then single ones: a fill multiplies by a mask as well, and the
    # square of a small weight, of an output just beside the image, would pass for the rounding of a zero.
    unfilled = partial(_applied, spec, function, keywords | {"fill": None})
    copies = selection(unfilled, in_size, torch.finfo(_grid_type(spec)).eps)
    if copies is not None:
        separable = Separable.of_axes(channels, *copies)
        if fills.any():
            separable = separable.with_fill(fills)
        stages: list[Stage] = [] if separable.is_identity else [separable]
        return stages, replace(spec, shape=separable.out_shape)
    window = _WINDOWS[_check_interpolation(keywords["interpolation"])]
    # Torchvision multiplies by a mask, which is fractional at the border, only where there is any fill.
    without_fill = keywords | {"fill": None if keywords["fill"] is None else 0.0}
    matrix, out_size = sampled(partial(_applied, spec, function, without_fill), in_size, window)
    bias = np.zeros(channels)
    if fills.any():
        black = np.zeros((1, *in_size), dtype=np.float32)
        bias = fills[:, None, None] * _applied(spec, function, keywords | {"fill": 1.0}, black)
    operator = SpatialSparse(ChannelMap.identity(channels), matrix, in_size, out_size, bias)
    # Bicubic weights overshoot, and only PIL images, of uint8, have them.
    overshot: list[Stage] = [Clamp(0.0, 255.0)] if window == _WINDOWS[v2.InterpolationMode.BICUBIC] else []
    return [operator, *overshot], replace(spec, shape=operator.out_shape)


def _applied(
    spec: ImageSpec, function: Callable[..., Any], keywords: dict[str, Any], images: NDArray[np.float32]
) -> FloatArray:
    """Apply the function to each image of [N, H, W], in the container and precision of the spec.

    Pillow places the samples of a float image (mode F) as it does those of bytes.
    """
    try:
        if spec.container == "pil":
            return np.stack([np.asarray(function(Image.fromarray(image), **keywords)) for image in images])
        result: FloatArray = function(torch.from_numpy(images).to(_grid_type(spec)), **keywords).numpy()
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise OnelayerError(
            f"torchvision refuses it: {error}", expected="arguments for such an image", hint="Change its arguments."
        ) from error
    return result


def _grid_type(spec: ImageSpec) -> torch.dtype:
    return torch.float64 if spec.dtype == "float64" else torch.float32


def _fills(spec: ImageSpec, fill: Any) -> FloatArray:
    """Read one number per channel; Pillow cuts off fractions."""
    if isinstance(fill, dict):
        raise OnelayerError("the fill is a dictionary of types", expected="a number, or one per channel")
    channels = spec.shape[0]
    numbers = np.atleast_1d(np.asarray(0.0 if fill is None else fill, dtype=np.float64))
    if numbers.shape not in ((1,), (channels,)):
        raise OnelayerError(f"a fill of {numbers.size} numbers", expected=f"one, or {channels}: one per channel")
    if spec.dtype == "uint8" and (numbers.min() < 0 or numbers.max() > 255):
        raise OnelayerError(f"the fill {fill} for a uint8 image", expected="numbers in 0 … 255")
    return np.broadcast_to(np.trunc(numbers) if spec.container == "pil" else numbers, (channels,))

"""Derive torchvision's conversions between containers and between dtypes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import FloatOp, Quantize, Stage
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, arguments, not_bit_exact, register
from onelayer.frontends.torchvision.color import arithmetic_type, byte_table, mix_channels
from onelayer.image_spec import CONTAINER_NAMES, Container, ImageSpec, PixelType, RoundingMode

_WHITE_TO_INTEGER = 255.999
"""What torchvision multiplies 0 … 1 by before it cuts the fraction off: 256 − 1e-3."""


@register(v2.Identity, nn.Identity, any_size=True)
def identity(_: Any, spec: ImageSpec) -> Derivation:
    """Leave every image as it is."""
    return [], spec


@register(v2.ToImage, f2.to_image, any_size=True)
def to_image(_: Any, spec: ImageSpec) -> Derivation:
    """Wrap any image as a ``tv_tensors.Image`` of the same values."""
    return [], replace(spec, container="image")


@register(v2.ToPureTensor, any_size=True)
def to_pure_tensor(_: Any, spec: ImageSpec) -> Derivation:
    """Unwrap a ``tv_tensors.Image``; any other image stays."""
    return [], replace(spec, container="tensor") if spec.container == "image" else spec


@register(v2.PILToTensor, any_size=True)
def pil_to_tensor_v2(_: Any, spec: ImageSpec) -> Derivation:
    """Convert a PIL image to a tensor; any other image stays."""
    return [], replace(spec, container="tensor") if spec.container == "pil" else spec


@register(v1.PILToTensor, f1.pil_to_tensor, any_size=True)
def pil_to_tensor_v1(_: Any, spec: ImageSpec) -> Derivation:
    """Convert a PIL image to a tensor; any other image is refused."""
    _require(spec, "pil")
    return [], replace(spec, container="tensor")


@register(v2.ToTensor, any_size=True)
def to_tensor_v2(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert a PIL image or an array to a float tensor, 0 … 1; a tensor stays."""
    return ([], spec) if spec.container in ("tensor", "image") else _to_tensor(transform, spec, rounding)


@register(v1.ToTensor, f1.to_tensor, f2.to_tensor, any_size=True)
def to_tensor_v1(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert a PIL image or an array to a float tensor, 0 … 1; a tensor is refused."""
    _require(spec, "pil", "numpy")
    return _to_tensor(transform, spec, rounding)


def _to_tensor(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    # An array of floats keeps its dtype and its values.
    default: PixelType = str(torch.get_default_dtype()).removeprefix("torch.")  # type: ignore[assignment]
    dtype = spec.dtype if spec.is_float else default
    output = replace(spec, container="tensor", dtype=dtype)
    return _converted(transform, spec, output, scale=True, rounding=rounding)


@register(v2.ToPILImage, any_size=True)
def to_pil_v2(transform: Any, spec: ImageSpec) -> Derivation:
    """Convert a uint8 tensor to a PIL image; a PIL image stays."""
    return ([], spec) if spec.container == "pil" else _to_pil(transform, spec)


@register(v1.ToPILImage, f1.to_pil_image, any_size=True)
def to_pil_v1(transform: Any, spec: ImageSpec) -> Derivation:
    """Convert a uint8 tensor to a PIL image; a PIL image is refused."""
    _require(spec, "tensor", "image", "numpy")
    return _to_pil(transform, spec)


def _to_pil(transform: Any, spec: ImageSpec) -> Derivation:
    (mode,) = arguments(transform, "mode")
    usual = {1: "L", 3: "RGB"}.get(spec.shape[0])
    if spec.is_float or usual is None or mode not in (None, usual):
        raise OnelayerError(
            f"a PIL image of mode {mode or 'by default'} from a tensor was asked for",
            expected="a uint8 tensor of 1 or 3 channels, and mode L or RGB",
            hint="Keep float images as tensors.",
        )
    return [], replace(spec, container="pil")


@register(v2.ToDtype, f2.to_dtype, any_size=True)
def to_dtype(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert to another dtype, with or without scaling between 0 … 255 and 0 … 1."""
    dtype, scale = arguments(transform, "dtype", "scale")
    if spec.container == "pil":
        return _pil_stays(transform, v2.ToDtype, spec)
    return _to_dtype(transform, spec, _dtype_for(dtype, scale, spec), scale, rounding)


@register(v2.ConvertImageDtype, any_size=True)
def convert_image_dtype_v2(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert to another dtype, scaled; a PIL image stays."""
    if spec.container == "pil":
        return _pil_stays(transform, v2.ConvertImageDtype, spec)
    (dtype,) = arguments(transform, "dtype")
    return _to_dtype(transform, spec, dtype, True, rounding)


@register(v1.ConvertImageDtype, f1.convert_image_dtype, f2.convert_image_dtype, any_size=True)
def convert_image_dtype_v1(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert to another dtype, scaled; a PIL image is refused."""
    _require(spec, "tensor", "image", "numpy")
    (dtype,) = arguments(transform, "dtype")
    return _to_dtype(transform, spec, dtype, True, rounding)


def _pil_stays(transform: Any, kind: type, spec: ImageSpec) -> Derivation:
    # The classes leave PIL images alone without a word; the functions refuse them.
    if not isinstance(transform, kind):
        _require(spec, "tensor", "image", "numpy")
    return [], spec


def _dtype_for(dtype: Any, scale: bool, spec: ImageSpec) -> torch.dtype | None:
    """Read the dtype for images of a spec, where a dictionary names it by type."""
    if not isinstance(dtype, dict):
        known: torch.dtype = dtype
        return known
    # Arrays are images here, of no type that the dictionary could name.
    kinds = {"tensor": [torch.Tensor], "image": [tv_tensors.Image]}.get(
        spec.container, [torch.Tensor, tv_tensors.Image]
    )
    named = {dtype.get(kind, dtype.get("others", "missing")) for kind in kinds}
    if len(named) != 1 or "missing" in named:
        raise OnelayerError(
            f"its dictionary does not give {CONTAINER_NAMES[spec.container]} one dtype",
            expected="one dtype for images",
            hint="Give a torch.dtype instead of the dictionary.",
        )
    only: torch.dtype | None = named.pop()
    if only is None and scale:
        raise OnelayerError("it warns that images stay as they are", expected="scale=False, or a dtype for images")
    return only


def _to_dtype(
    transform: Any, spec: ImageSpec, dtype: torch.dtype | None, scale: bool, rounding: RoundingMode
) -> Derivation:
    name = spec.dtype if dtype is None else str(dtype).removeprefix("torch.")
    if name not in get_args(PixelType):
        raise OnelayerError(
            f"a conversion from {spec.dtype} to {dtype} was asked for",
            expected="one of " + ", ".join(get_args(PixelType)),
        )
    output = replace(spec, dtype=name)  # type: ignore[arg-type]  # it is one of the names
    return _converted(transform, spec, output, scale, rounding)


def _converted(transform: Any, spec: ImageSpec, output: ImageSpec, scale: bool, rounding: RoundingMode) -> Derivation:
    """Derive a conversion between the dtypes of two specs.

    Args:
        transform: The transform, which fills the table of a conversion from uint8.
        spec: The image that arrives.
        output: The image that leaves.
        scale: Whether values are scaled between 0 … 255 and 0 … 1.
        rounding: ``fused`` or ``exact``.
    """
    if output.dtype == spec.dtype:
        return [], output
    if output.is_float:
        return _to_float(transform, spec, output, scale, rounding), output
    # Torchvision cuts the fraction off. What it makes of values beyond 0 … 255 depends on the processor; here they
    # saturate.
    stretched: list[Stage] = []
    if scale and rounding == "exact":
        stretched = [FloatOp("multiply", np.array([_WHITE_TO_INTEGER]), arithmetic_type(spec))]
    elif scale:
        channels = spec.shape[0]
        stretched, _ = mix_channels(spec, np.eye(channels) * _WHITE_TO_INTEGER, np.zeros(channels))
    return [*stretched, Quantize("truncate")], output


def _to_float(transform: Any, spec: ImageSpec, output: ImageSpec, scale: bool, rounding: RoundingMode) -> list[Stage]:
    if rounding == "exact":
        if not spec.is_float:
            return byte_table(transform, spec, output)
        if output.dtype != "float64":
            raise not_bit_exact(
                f"a conversion from {spec.dtype} to {output.dtype}", "one to float64, which rounds nothing"
            )
    if spec.is_float or not scale:
        return []
    channels = spec.shape[0]
    return mix_channels(spec, np.eye(channels) / 255.0, np.zeros(channels))[0]


def _require(spec: ImageSpec, *containers: Container) -> None:
    if spec.container not in containers:
        raise OnelayerError(
            f"it does not take {CONTAINER_NAMES[spec.container]}",
            expected=" or ".join(CONTAINER_NAMES[container] for container in containers),
        )

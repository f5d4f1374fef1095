"""Torchvision's transforms between PIL images and tensors, and between dtypes."""

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

from onelayer.algebra import Quantize, Stage
from onelayer.errors import OnelayerError
from onelayer.frontends.base import arguments, handler_for, registered
from onelayer.frontends.torchvision.color import mixed
from onelayer.image_spec import ImageSpec, PixelType

WHITE_TO_INTEGER = 255.999
"""What torchvision multiplies 0 … 1 by before it cuts the fraction off: 256 − 1e-3."""


@registered(v2.Identity, nn.Identity)
def unchanged(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Whatever arrives."""
    return [], given


@registered(v2.ToImage, f2.to_image)
def to_image(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Anything as a ``tv_tensors.Image`` of the same values."""
    return [], replace(given, container="image")


@registered(v2.ToPureTensor)
def to_pure_tensor(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A ``tv_tensors.Image`` as a tensor; anything else stays."""
    return [], replace(given, container="tensor") if given.container == "image" else given


@registered(v2.PILToTensor)
def pil_to_tensor(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A PIL image as a tensor; anything else stays."""
    return [], replace(given, container="tensor") if given.container == "pil" else given


@registered(v1.PILToTensor, f1.pil_to_tensor)
def from_pil(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A PIL image as a tensor; nothing else is taken."""
    _require(given, "pil")
    return [], replace(given, container="tensor")


@registered(v2.ToTensor)
def to_scaled_tensor(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A PIL image or an array as a float tensor, 0 … 1; a tensor stays as it is."""
    return ([], given) if given.container in ("tensor", "image") else _as_scaled_tensor(given)


@registered(v1.ToTensor, f1.to_tensor, f2.to_tensor)
def to_scaled_tensor_from_pil(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A PIL image or an array as a float tensor, 0 … 1; a tensor is not taken."""
    _require(given, "pil", "numpy")
    return _as_scaled_tensor(given)


def _as_scaled_tensor(given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    tensor = replace(given, container="tensor")
    # An array of floats keeps its dtype and its values.
    return ([], tensor) if given.is_float else to_float(tensor)


@registered(v2.ToPILImage)
def to_pil(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A uint8 tensor as a PIL image; a PIL image stays one."""
    return ([], given) if given.container == "pil" else _as_pil(transform, given)


@registered(v1.ToPILImage, f1.to_pil_image)
def to_pil_from_tensor(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A uint8 tensor as a PIL image; nothing else is taken."""
    _require(given, "tensor", "image", "numpy")
    return _as_pil(transform, given)


def _as_pil(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    (mode,) = arguments(transform, "mode")
    usual = {1: "L", 3: "RGB"}.get(given.shape[0])
    if given.is_float or usual is None or mode not in (None, usual):
        raise OnelayerError(
            f"a PIL image of mode {mode or 'by default'} from a tensor was asked for",
            expected="a uint8 tensor of 1 or 3 channels, and mode L or RGB",
            hint="Keep float images as tensors.",
        )
    return [], replace(given, container="pil")


@registered(v2.ToDtype, f2.to_dtype)
def to_dtype(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Another dtype, with or without scaling between 0 … 255 and 0 … 1."""
    dtype, scale = arguments(transform, "dtype", "scale")
    if given.container == "pil":
        return _passed_by(transform, v2.ToDtype, given)
    return _converted(given, _one_dtype(dtype), scale)


@registered(v2.ConvertImageDtype)
def convert_image_dtype_v2(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Another dtype, scaled; a PIL image stays as it is."""
    if given.container == "pil":
        return _passed_by(transform, v2.ConvertImageDtype, given)
    (dtype,) = arguments(transform, "dtype")
    return _converted(given, dtype, scale=True)


@registered(v1.ConvertImageDtype, f1.convert_image_dtype, f2.convert_image_dtype)
def convert_image_dtype(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Another dtype, scaled; of tensors only."""
    _require(given, "tensor", "image", "numpy")
    (dtype,) = arguments(transform, "dtype")
    return _converted(given, dtype, scale=True)


def _passed_by(transform: Any, kind: type, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    # The classes leave PIL images alone without a word; the functions refuse them.
    if not isinstance(transform, kind):
        _require(given, "tensor", "image", "numpy")
    return [], given


def _one_dtype(dtype: Any) -> torch.dtype | None:
    """The dtype for images, where a dictionary names it by type."""
    if not isinstance(dtype, dict):
        known: torch.dtype = dtype
        return known
    named = {dtype.get(kind, dtype.get("others", "missing")) for kind in (torch.Tensor, tv_tensors.Image)}
    if len(named) != 1 or "missing" in named:
        raise OnelayerError(
            "its dictionary does not give plain tensors and tv_tensors.Image the same dtype",
            expected="one dtype for images",
            hint="Give a torch.dtype instead of the dictionary.",
        )
    only: torch.dtype | None = named.pop()
    return only


def _converted(given: ImageSpec, dtype: torch.dtype | None, scale: bool) -> tuple[list[Stage], ImageSpec]:
    name = given.dtype if dtype is None else str(dtype).removeprefix("torch.")
    if name == given.dtype:
        return [], given
    if name not in get_args(PixelType):
        raise OnelayerError(
            f"a conversion from {given.dtype} to {dtype} was asked for",
            expected="one of " + ", ".join(get_args(PixelType)),
        )
    after = replace(given, dtype=name)  # type: ignore[arg-type]  # it is one of the names
    if given.is_float == after.is_float:
        return [], after
    if after.is_float:
        return to_float(given, after.dtype) if scale else ([], after)
    # Torchvision cuts the fraction off. What it makes of values beyond 0 … 255 depends on the processor; here they
    # saturate.
    channels = given.shape[0]
    stretched = mixed(given, np.eye(channels) * WHITE_TO_INTEGER, np.zeros(channels))[0] if scale else []
    return [*stretched, Quantize("truncate")], after


def to_float(given: ImageSpec, dtype: PixelType = "float32") -> tuple[list[Stage], ImageSpec]:
    """The stages of a conversion from uint8, 0 … 255, to floating point, 0 … 1."""
    channels = given.shape[0]
    return mixed(replace(given, dtype=dtype), np.eye(channels) / 255.0, np.zeros(channels))


def _require(given: ImageSpec, *containers: str) -> None:
    if given.container not in containers:
        raise OnelayerError(f"it was given a {given.container}", expected=f"an image as {' or '.join(containers)}")


@registered(v1.Lambda)
def inner(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The function inside, where that is known."""
    return handler_for(transform.lambd)(transform.lambd, given)


@registered(v2.Lambda)
def inner_v2(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The function inside, where that is known and is applied to everything."""
    if tuple(transform.types) != (object,):
        raise OnelayerError("it acts on some types only", expected="a Lambda without types")
    return inner(transform, given)

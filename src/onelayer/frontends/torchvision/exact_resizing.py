"""Torchvision's resizes, bit for bit: Pillow's and PyTorch's in fixed point, and PyTorch's in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import _geometry

from onelayer.algebra import AxisMap, Float32Sum, Quantize, Separable, Stage
from onelayer.algebra.axis import Interpolation
from onelayer.algebra.fixed_point import in_fixed_point
from onelayer.algebra.float32_taps import resized_in_singles
from onelayer.frontends.base import arguments
from onelayer.frontends.bit_exact import exactly, tabulated
from onelayer.frontends.torchvision import geometry, presets
from onelayer.frontends.torchvision.exact_values import normalized, refuse
from onelayer.frontends.torchvision.rounding_rules import FixedPoint, pillow_resize, torch_bytes, torch_singles
from onelayer.image_spec import ImageSpec


@exactly(geometry.resize_v2)
def resize_v2(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A resize of v2: PyTorch's for bytes, where it is quick on the processor, or that for float32."""
    wanted = arguments(transform, "size", "interpolation", "max_size", "antialias")
    kind = geometry.filter_of(wanted[1])
    native = kind in _MODES and _geometry._do_native_uint8_resize_on_cpu(_MODES[kind])
    return _resized(given, wanted, resizes_bytes=native)


@exactly(geometry.resize_v1)
def resize_v1(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A resize of v1: of tensors, always that for float32."""
    geometry.resize_v1(transform, given)
    wanted = arguments(transform, "size", "interpolation", "max_size", "antialias")
    return _resized(given, wanted, resizes_bytes=False)


_MODES: dict[str, v2.InterpolationMode] = {
    kind: v2.InterpolationMode(kind) for kind in ("bilinear", "bicubic", "lanczos")
}


def _resized(given: ImageSpec, wanted: tuple[Any, ...], resizes_bytes: bool) -> tuple[list[Stage], ImageSpec]:
    _, interpolation, _, antialias = wanted
    kind = geometry.filter_of(interpolation)
    in_real_arithmetic, after = geometry.resized(given, *wanted)
    if not in_real_arithmetic or kind in ("nearest", "nearest_exact"):
        # Nothing changes, or values are copied.
        return in_real_arithmetic, after
    widens = given.container == "pil" or bool(antialias)
    if given.container == "pil":
        return _in_fixed_point(given, after, kind, widens, pillow_resize()), after
    if given.dtype == "uint8" and resizes_bytes:
        _refuse_many_channels_of_width_one(given, after)
        return _in_fixed_point(given, after, kind, widens, torch_bytes()), after
    return _in_singles(given, after, kind, widens), after


def _in_fixed_point(
    given: ImageSpec, after: ImageSpec, kind: Interpolation, widens: bool, dialect: FixedPoint
) -> list[Stage]:
    """A pass along each axis that changes, rounded and saturated."""
    channels, height, width = given.shape
    _, new_height, new_width = after.shape
    rows = AxisMap.resample(height, new_height, kind, widens)
    cols = AxisMap.resample(width, new_width, kind, widens)
    axes: list[tuple[AxisMap, AxisMap]]
    if dialect.first((height, width), (new_height, new_width)) == "cols":
        axes = [(AxisMap.identity(height), cols), (rows, AxisMap.identity(new_width))]
    else:
        axes = [(rows, AxisMap.identity(width)), (AxisMap.identity(new_height), cols)]
    stages: list[Stage] = []
    for along_rows, along_cols in axes:
        if along_rows.is_identity and along_cols.is_identity:
            continue
        whole_rows, whole_cols = (in_fixed_point(axis, dialect.limit) for axis in (along_rows, along_cols))
        stages += [Separable.of_axes(channels, whole_rows, whole_cols), Quantize("half_up")]
    return stages


def _in_singles(given: ImageSpec, after: ImageSpec, kind: Interpolation, widens: bool) -> list[Stage]:
    """PyTorch's passes along columns, then along rows, in float32; of bytes, rounded half to even at the end."""
    if not widens or kind not in ("bilinear", "bicubic") or given.dtype not in ("uint8", "float32"):
        raise refuse(
            f"a resize of {given.dtype} tensors in float32 with {kind}{'' if widens else ' and without antialiasing'}",
            "bilinear or bicubic with antialiasing, of uint8 or float32",
        )
    singles = torch_singles()
    channels, height, width = given.shape
    _, new_height, new_width = after.shape
    geometry.refuse_width_of_one((height, new_height), (width, new_width))
    stages: list[Stage] = []
    identity = AxisMap.identity
    if new_width != width:
        cols = resized_in_singles(width, new_width, kind, singles.weights_fused)
        stages.append(Float32Sum(identity(channels), identity(height), cols, singles.resize_apart))
    if new_height != height:
        rows = resized_in_singles(height, new_height, kind, singles.weights_fused)
        stages.append(Float32Sum(identity(channels), rows, identity(new_width), singles.resize_apart))
    return stages if given.is_float else [*stages, Quantize("half_even")]


def _refuse_many_channels_of_width_one(given: ImageSpec, after: ImageSpec) -> None:
    channels, height, _ = given.shape
    if channels > 4 and after.shape[2] == 1 and after.shape[1] not in (1, height):
        raise refuse(
            f"a resize of {channels} channels to a width of 1, which PyTorch computes wrongly,",
            "at most 4 channels, or a width of at least 2",
        )


@exactly(presets.image_classification)
def image_classification(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The presets behind ``weights.transforms()``: v1's functions, one after the other."""
    wanted = transform.resize_size, transform.interpolation, None, transform.antialias
    resized, after = _resized(given, wanted, resizes_bytes=False)
    cropped, after = geometry.center_cropped(after, transform.crop_size)
    after = replace(after, container="tensor")
    scaled: list[Stage] = []
    if not after.is_float:
        scaled = tabulated(f1.convert_image_dtype, after, replace(after, dtype="float32"))
    elif after.dtype != "float32":
        raise refuse(f"a conversion from {after.dtype} to float32", "uint8 or float32")
    after = replace(after, dtype="float32")
    normal, after = normalized(after, transform.mean, transform.std)
    return [*resized, *cropped, *scaled, *normal], after

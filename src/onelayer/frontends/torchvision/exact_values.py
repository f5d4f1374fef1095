"""Torchvision's transforms of channels and of single values, bit for bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from onelayer.algebra import AxisMap, Float32Sum, FloatOp, Quantize, Stage, Taps
from onelayer.algebra.activations import FloatType
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Handler, arguments
from onelayer.frontends.bit_exact import NOT_EXACT, exact_stages, exactly, tabulated
from onelayer.frontends.torchvision import color as values
from onelayer.frontends.torchvision import dtype as conversions
from onelayer.frontends.torchvision.rounding_rules import PILLOW_LUMA, TENSOR_LUMA, torch_singles
from onelayer.image_spec import ImageSpec

_OF_VALUES = (
    values.inverted,
    values.solarize,
    values.posterize,
    values.adjust_brightness,
    values.adjust_gamma,
)


def refuse(problem: str, expected: str) -> OnelayerError:
    """That something cannot be had bit for bit."""
    return OnelayerError(f"{problem} cannot be had bit for bit", expected=expected, hint=NOT_EXACT)


@exactly(*_OF_VALUES)
def of_every_value(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A function of single values: as a table, which the transform itself fills."""
    if given.is_float:
        raise refuse("a function of float values", "uint8 images, of whose values there are 256")
    return tabulated(transform, given, given), given


_CONVERSIONS = (
    conversions.to_dtype,
    conversions.convert_image_dtype_v2,
    conversions.convert_image_dtype,
    conversions.to_scaled_tensor,
    conversions.to_scaled_tensor_from_pil,
)


def converted(handler: Handler, transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Another dtype, scaled or not, as a handler has it in real arithmetic."""
    stages, after = handler(transform, given)
    if after.dtype == given.dtype:
        return [], after
    if not given.is_float:
        return tabulated(transform, given, after), after
    if not after.is_float:
        # Stretched to 0 … 255 first, if there is more than the rounding.
        factors = [FloatOp("multiply", np.array([conversions.WHITE_TO_INTEGER]), _float_type(given))]
        return [*factors[: len(stages) - 1], Quantize("truncate")], after
    if after.dtype != "float64":
        raise refuse(f"a conversion from {given.dtype} to {after.dtype}", "one to float64, which rounds nothing")
    return [], after


for _handler in _CONVERSIONS:
    exactly(_handler)(partial(converted, _handler))


@exactly(values.normalize)
def normalize(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A difference, rounded, then a quotient, rounded."""
    return normalized(given, *arguments(transform, "mean", "std"))


def normalized(given: ImageSpec, mean: Any, std: Any) -> tuple[list[Stage], ImageSpec]:
    """The stages of ``(x − mean) / std``; see :func:`onelayer.frontends.torchvision.color.normalized`."""
    means, stds = values.mean_and_std(given, mean, std)
    dtype = _float_type(given)
    return [FloatOp("subtract", means, dtype), FloatOp("divide", stds, dtype)], given


def _float_type(given: ImageSpec) -> FloatType:
    if given.dtype in ("float32", "float64"):
        return given.dtype
    raise refuse(f"arithmetic in {given.dtype}", "float32 or float64")


@exactly(values.grayscale)
def grayscale(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Luma of v2, or of a PIL image."""
    (channels,) = arguments(transform, "num_output_channels")
    return _gray(given, channels, _luma_of_v2(given))


def _luma_of_v2(given: ImageSpec) -> int:
    return torch_singles().luma_apart if given.container != "pil" else 0


@exactly(values.grayscale_v1)
def grayscale_v1(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Luma of v1, which rounds every product."""
    (channels,) = arguments(transform, "num_output_channels")
    kept = given.container != "pil" and given.shape[0] == 1 and channels == 3
    return _gray(given, 1 if kept else channels, 1)


@exactly(values.grayscale_of_as_many)
def grayscale_of_as_many(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Luma in as many channels as there are."""
    is_v2 = type(transform).__module__.startswith("torchvision.transforms.v2")
    return _gray(given, given.shape[0], _luma_of_v2(given) if is_v2 else 1)


def _gray(given: ImageSpec, channels: int, apart: int) -> tuple[list[Stage], ImageSpec]:
    stages, after = values.gray(given, channels)
    if given.shape[0] == 1 or not stages:
        # Copies of the one channel that there is.
        return stages, after
    _, height, width = given.shape
    if given.container == "pil":
        return [*values.mixed(given, [PILLOW_LUMA] * channels, np.zeros(channels))[0], Quantize("half_up")], after
    if given.dtype not in ("uint8", "float32"):
        raise refuse(f"the luma of {given.dtype} values", "uint8 or float32")
    three = np.full(channels, 3)
    taps = Taps(3, np.zeros(channels, np.int64), three, np.tile(np.array(TENSOR_LUMA, np.float32), (channels, 1)))
    luma = Float32Sum(taps, AxisMap.identity(height), AxisMap.identity(width), apart)
    return [luma] if given.is_float else [luma, Quantize("truncate")], after


@exactly(conversions.inner)
def inner(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The function inside."""
    return exact_stages(transform.lambd, given)


@exactly(conversions.inner_v2)
def inner_v2(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The function inside, where it is applied to everything."""
    conversions.inner_v2(transform, given)
    return exact_stages(transform.lambd, given)

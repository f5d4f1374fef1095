"""Torchvision's transforms of channels and of single values, bit for bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from onelayer.errors import OnelayerError
from onelayer.frontends import conversions, values
from onelayer.frontends.dialects import PILLOW_LUMA, TENSOR_LUMA, torch_singles
from onelayer.frontends.exactly import NOT_EXACT, exact_stages, exactly, tabulated
from onelayer.frontends.given import Given
from onelayer.frontends.registry import Handler, arguments
from onelayer.operators import AxisMap, FloatStep, Quantize, SingleSums, Stage, Taps
from onelayer.operators.activations import FloatType

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
def of_every_value(transform: Any, given: Given) -> tuple[list[Stage], Given]:
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


def converted(handler: Handler, transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """Another dtype, scaled or not, as a handler has it in real arithmetic."""
    stages, after = handler(transform, given)
    if after.dtype == given.dtype:
        return [], after
    if not given.is_float:
        return tabulated(transform, given, after), after
    if not after.is_float:
        # Stretched to 0 … 255 first, if there is more than the rounding.
        factors = [FloatStep("multiply", np.array([conversions.WHITE_TO_INTEGER]), _float_type(given))]
        return [*factors[: len(stages) - 1], Quantize("truncate")], after
    if after.dtype != "float64":
        raise refuse(f"a conversion from {given.dtype} to {after.dtype}", "one to float64, which rounds nothing")
    return [], after


for _handler in _CONVERSIONS:
    exactly(_handler)(partial(converted, _handler))


@exactly(values.normalize)
def normalize(transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """A difference, rounded, then a quotient, rounded."""
    return normalized(given, *arguments(transform, "mean", "std"))


def normalized(given: Given, mean: Any, std: Any) -> tuple[list[Stage], Given]:
    """The stages of ``(x − mean) / std``; see :func:`onelayer.frontends.values.normalized`."""
    means, stds = values.mean_and_std(given, mean, std)
    dtype = _float_type(given)
    return [FloatStep("subtract", means, dtype), FloatStep("divide", stds, dtype)], given


def _float_type(given: Given) -> FloatType:
    if given.dtype in ("float32", "float64"):
        return given.dtype
    raise refuse(f"arithmetic in {given.dtype}", "float32 or float64")


@exactly(values.grayscale)
def grayscale(transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """Luma of v2, or of a PIL image."""
    (channels,) = arguments(transform, "num_output_channels")
    return _gray(given, channels, _luma_of_v2(given))


def _luma_of_v2(given: Given) -> int:
    return torch_singles().luma_apart if given.container != "pil" else 0


@exactly(values.grayscale_v1)
def grayscale_v1(transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """Luma of v1, which rounds every product."""
    (channels,) = arguments(transform, "num_output_channels")
    kept = given.container != "pil" and given.shape[0] == 1 and channels == 3
    return _gray(given, 1 if kept else channels, 1)


@exactly(values.grayscale_of_as_many)
def grayscale_of_as_many(transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """Luma in as many channels as there are."""
    is_v2 = type(transform).__module__.startswith("torchvision.transforms.v2")
    return _gray(given, given.shape[0], _luma_of_v2(given) if is_v2 else 1)


def _gray(given: Given, channels: int, apart: int) -> tuple[list[Stage], Given]:
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
    luma = SingleSums(taps, AxisMap.identity(height), AxisMap.identity(width), apart)
    return [luma] if given.is_float else [luma, Quantize("truncate")], after


@exactly(conversions.inner)
def inner(transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """The function inside."""
    return exact_stages(transform.lambd, given)


@exactly(conversions.inner_v2)
def inner_v2(transform: Any, given: Given) -> tuple[list[Stage], Given]:
    """The function inside, where it is applied to everything."""
    conversions.inner_v2(transform, given)
    return exact_stages(transform.lambd, given)

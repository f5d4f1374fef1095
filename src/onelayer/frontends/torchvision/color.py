"""Derive torchvision's transforms of channels and of single values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Quantize,
    Separable,
    Stage,
    Taps,
)
from onelayer.algebra.activations import FloatType
from onelayer.algebra.dense import refuse_too_large
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, arguments, function_of, not_bit_exact, register
from onelayer.frontends.torchvision.random import deterministic
from onelayer.frontends.torchvision.rounding_rules import PILLOW_LUMA, TENSOR_LUMA, torch_float32
from onelayer.image_spec import CONTAINER_NAMES, ImageSpec, RoundingMode
from onelayer.random_state import unchanged_random_state


def mix_channels(spec: ImageSpec, channel: Any, bias: Any) -> Derivation:
    """Derive ``channel · x + bias`` at every pixel, channel [C', C] and bias [C']."""
    operator = Separable.of_channels(channel, bias, spec.shape[1:])
    return [operator], replace(spec, shape=operator.out_shape)


@register(v2.Grayscale, f2.rgb_to_grayscale, any_size=True)
def grayscale_v2(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive luma in one channel or in three."""
    (channels,) = arguments(transform, "num_output_channels")
    return _luma(spec, channels, rounding, "v2")


@register(v1.Grayscale, f1.rgb_to_grayscale, any_size=True)
def grayscale_v1(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive luma of v1, of which a tensor of one channel keeps one."""
    (channels,) = arguments(transform, "num_output_channels")
    stays = spec.container != "pil" and spec.shape[0] == 1 and channels == 3
    return _luma(spec, 1 if stays else channels, rounding, "v1")


@register(v1.RandomGrayscale, v2.RandomGrayscale, any_size=True)
@deterministic
def random_grayscale(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive luma in as many channels as the image has."""
    return _luma(spec, spec.shape[0], rounding, "v2" if isinstance(transform, v2.Transform) else "v1")


@register(v2.RGB, f2.grayscale_to_rgb, any_size=True)
def rgb(_: Any, spec: ImageSpec) -> Derivation:
    """Derive three copies of one channel; three channels or more stay."""
    if spec.shape[0] >= 3:
        return [], spec
    return _luma(spec, 3, "fused", "v2")


def _luma(spec: ImageSpec, channels: int, rounding: RoundingMode, version: Literal["v1", "v2"]) -> Derivation:
    """Derive luma in 1 or 3 channels, of 1 or 3; v1 and v2 round that of tensors in different ways."""
    if spec.shape[0] not in (1, 3) or channels not in (1, 3):
        raise OnelayerError(
            f"{channels} gray channels of {spec.shape[0]} channels were asked for", expected="1 or 3 of both"
        )
    if spec.shape[0] == channels == 1:
        return [], spec
    weights = (1.0,) if spec.shape[0] == 1 else _luma_weights(spec)
    stages, output = mix_channels(spec, [weights] * channels, np.zeros(channels))
    if rounding == "fused" or spec.shape[0] == 1:
        return stages, output
    if spec.container == "pil":
        return [*stages, Quantize("half_up")], output
    if spec.dtype not in ("uint8", "float32"):
        raise not_bit_exact(f"the luma of {spec.dtype} values", "uint8 or float32")
    if spec.dtype == "uint8" and torch.get_default_dtype() != torch.float32:
        # Bytes times a number are of the default dtype.
        raise not_bit_exact(f"the luma of bytes in {torch.get_default_dtype()}", "a default dtype of float32")
    starts, counts = np.zeros(channels, np.int64), np.full(channels, 3)
    taps = Taps(3, starts, counts, np.tile(np.array(weights, np.float32), (channels, 1)))
    _, height, width = spec.shape
    unfused = 1 if version == "v1" else torch_float32().luma_unfused
    luma = Float32Sum(taps, AxisMap.identity(height), AxisMap.identity(width), unfused)
    return [luma] if spec.is_float else [luma, Quantize("truncate")], output


def _luma_weights(spec: ImageSpec) -> tuple[float, float, float]:
    return PILLOW_LUMA if spec.container == "pil" else TENSOR_LUMA


@register(v1.Normalize, v2.Normalize, f1.normalize, f2.normalize, any_size=True)
def normalize(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive ``(x − mean) / std`` per channel, of float tensors; both operations round."""
    mean, std = arguments(transform, "mean", "std")
    if not spec.is_float:
        raise OnelayerError(
            f"{CONTAINER_NAMES[spec.container]} of {spec.dtype} cannot be normalised",
            expected="a float tensor",
            hint="Put v2.ToImage() and v2.ToDtype(torch.float32, scale=True) before it.",
        )
    means, stds = _per_channel(spec, "mean", mean), _per_channel(spec, "std", std)
    if not stds.all():
        raise OnelayerError(f"the standard deviation {std} has a zero", expected="numbers other than 0")
    if rounding == "fused":
        return mix_channels(spec, np.diag(1.0 / stds), -means / stds)
    dtype = arithmetic_type(spec)
    return [FloatOp("subtract", means, dtype), FloatOp("divide", stds, dtype)], spec


def _per_channel(spec: ImageSpec, name: str, numbers: Any) -> FloatArray:
    values = np.atleast_1d(np.asarray(numbers, dtype=np.float64))
    channels = spec.shape[0]
    if values.ndim == 3 and values.shape[1:] == (1, 1):
        values = values[:, 0, 0]
    if values.shape not in ((1,), (channels,)):
        raise OnelayerError(
            f"a {name} of {values.size} numbers for {channels} channels",
            expected="1 number" if channels == 1 else f"1 or {channels} numbers",
            hint="Give one number per channel, or bring the image to as many channels before, as a PIL image with "
            ".convert('RGB').",
        )
    return np.broadcast_to(values, (channels,))


def arithmetic_type(spec: ImageSpec) -> FloatType:
    """Return the dtype of arithmetic on such an image, for stages that round in it.

    Raises:
        OnelayerError: For half precision.
    """
    if spec.dtype in ("float32", "float64"):
        return spec.dtype
    raise not_bit_exact(f"arithmetic in {spec.dtype}", "float32 or float64")


@register(f2.permute_channels, any_size=True)
def permute_channels(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive another order of channels."""
    (permutation,) = arguments(transform, "permutation")
    channels = spec.shape[0]
    if sorted(permutation) != list(range(channels)):
        raise OnelayerError(
            f"the permutation {permutation} of {channels} channels was given",
            expected=f"each of 0 … {channels - 1} once",
        )
    return mix_channels(spec, np.eye(channels)[list(permutation)], np.zeros(channels))


@register(f1.adjust_brightness, f2.adjust_brightness, any_size=True)
def adjust_brightness(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive a multiplication of every value, clamped to black and white."""
    (factor,) = arguments(transform, "brightness_factor")
    stages, output = _enhanced(spec, "brightness_factor", factor, np.zeros((spec.shape[0], spec.shape[0])))
    return (stages if rounding == "fused" else _table_of_itself(transform, spec)), output


@register(f1.adjust_saturation, f2.adjust_saturation, any_size=True)
def adjust_saturation(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive an increase of each pixel's distance to its luma, clamped to black and white; gray images stay."""
    (factor,) = arguments(transform, "saturation_factor")
    if spec.shape[0] == 1:
        return [], spec
    return _enhanced(spec, "saturation_factor", factor, np.tile(_luma_weights(spec), (spec.shape[0], 1)))


def _enhanced(spec: ImageSpec, name: str, factor: float, degenerate: FloatArray) -> Derivation:
    """Derive ``factor · x + (1 − factor) · degenerate · x``, clamped, as PIL's ``ImageEnhance`` has it."""
    if factor < 0 or spec.shape[0] not in (1, 3):
        raise OnelayerError(
            f"{name} {factor} for {spec.shape[0]} channels", expected="a factor of at least 0, and 1 or 3 channels"
        )
    channels = spec.shape[0]
    stages, output = mix_channels(spec, factor * np.eye(channels) + (1.0 - factor) * degenerate, np.zeros(channels))
    return [*stages, Clamp(0.0, spec.white)], output


@register(f1.invert, f2.invert, any_size=True)
def invert(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive white minus every value."""
    if rounding == "exact":
        return _table_of_itself(transform, spec), spec
    channels = spec.shape[0]
    return mix_channels(spec, -np.eye(channels), np.full(channels, spec.white))


@register(f1.solarize, f2.solarize, any_size=True)
def solarize(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive an inversion of the values from a threshold on; of uint8 images."""
    (threshold,) = arguments(transform, "threshold")
    if spec.container != "pil" and threshold > spec.white:
        raise OnelayerError(f"the threshold {threshold} was given", expected=f"at most {spec.white:g}")
    return _step_function(transform, spec)


@register(f1.posterize, f2.posterize, any_size=True)
def posterize(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive a reduction of each value to its highest bits; of uint8 images."""
    (bits,) = arguments(transform, "bits")
    if bits not in range(9):
        raise OnelayerError(f"{bits} bits were asked for", expected="a whole number in 0 … 8")
    return _step_function(transform, spec)


def _step_function(transform: Any, spec: ImageSpec) -> Derivation:
    if spec.is_float:
        raise OnelayerError(
            "it jumps, and is no look-up table for float values",
            expected="a uint8 image",
            hint="Put it before the conversion to float.",
        )
    return byte_table(transform, spec, spec), spec


@register(f1.adjust_gamma, f2.adjust_gamma, any_size=True)
def adjust_gamma(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive ``gain · x ** gamma`` of values 0 … 1; of uint8 images a look-up table."""
    gamma, gain = arguments(transform, "gamma", "gain")
    if gamma < 0:
        raise OnelayerError(f"gamma {gamma} was given", expected="a number of at least 0")
    if not spec.is_float:
        return byte_table(transform, spec, spec), spec
    # v1 clamps always, v2 only where the gain can lead beyond 0 … 1.
    clamps = gain != 1.0 or function_of(transform) is f1.adjust_gamma
    return [Gamma(gain, gamma), *([Clamp(0.0, 1.0)] if clamps else [])], spec


register(v1.RandomInvert, v2.RandomInvert, any_size=True)(deterministic(invert))
register(v1.RandomSolarize, v2.RandomSolarize, any_size=True)(deterministic(solarize))
register(v1.RandomPosterize, v2.RandomPosterize, any_size=True)(deterministic(posterize))


@register(v1.LinearTransformation, v2.LinearTransformation)
def linear_transformation(transform: Any, spec: ImageSpec) -> Derivation:
    """Derive ``(x − mean) @ matrix`` over the flattened image: a dense layer, so for toy sizes only."""
    refuse_too_large(spec.shape, spec.shape)
    matrix = np.asarray(transform.transformation_matrix, dtype=np.float64)
    mean = np.asarray(transform.mean_vector, dtype=np.float64)
    if spec.container == "pil" or len(mean) != np.prod(spec.shape):
        raise OnelayerError(
            f"{CONTAINER_NAMES[spec.container]} of {np.prod(spec.shape)} values for a matrix of {len(mean)}",
            expected="a tensor of as many values",
        )
    output = spec if spec.is_float else replace(spec, dtype="float32")
    return [Dense(matrix.T, -mean @ matrix, spec.shape, spec.shape)], output


def _table_of_itself(transform: Any, spec: ImageSpec) -> list[Stage]:
    if spec.is_float:
        raise not_bit_exact("a function of float values", "uint8 images, of whose values there are 256")
    return byte_table(transform, spec, spec)


def byte_table(transform: Any, spec: ImageSpec, output: ImageSpec) -> list[Stage]:
    """Derive a function of single bytes as the table that the transform itself fills.

    Args:
        transform: Called with an image in which every value comes up in every channel.
        spec: The image that arrives, uint8.
        output: The image that leaves.

    Raises:
        OnelayerError: If the transform refuses such images.
    """
    try:
        # A transform with a probability of 1 draws a number nevertheless.
        with unchanged_random_state():
            result = transform(_every_byte(spec, output))
    except (TypeError, ValueError, RuntimeError) as error:
        raise OnelayerError(f"torchvision refuses it: {error}", expected="arguments for such an image") from error
    table = _values(result, spec.shape[0])
    lookup = Lookup(table[0] if bool((table == table[0]).all()) else table)
    return [] if lookup.is_identity and not output.is_float else [lookup]


def register_table(*kinds: type | Callable[..., Any]) -> None:
    """Register transforms that change each value alone: called on every byte, they say all that they do to bytes.

    Of images of bytes a table of 256 values per channel is filled by calling the transform, so that the result is its
    own bit for bit, also where it is floating point. Images of floats and arrays are left to the transform.

    Args:
        kinds: As in :func:`onelayer.register`; of deterministic transforms.
    """

    @register(*kinds, any_size=True)
    def handle(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG001 - of both
        if spec.is_float or spec.container == "numpy":
            raise not_bit_exact(
                f"a function of {spec.dtype} values in {CONTAINER_NAMES[spec.container]}",
                "bytes in a tensor or a PIL image: there are 256 of them",
            )
        with unchanged_random_state():
            every, half = (transform(image) for image in (_every_byte(spec, spec), _every_byte(spec, spec, 2)))
        output = _spec_like(every, spec)
        table, dark = _values(every, spec.shape[0]), _values(half, spec.shape[0])
        if not np.array_equal(table[:, np.arange(256) // 2], dark, equal_nan=True):
            raise OnelayerError(
                "it is registered by a table, and what it does to a value depends on others",
                expected="a transform that changes each value alone",
                hint="Register a handler, or none: then it is called as it is.",
            )
        return byte_table(transform, spec, output), output


def _spec_like(image: Any, spec: ImageSpec) -> ImageSpec:
    """Return the spec of an image that a transform has made, with the shape of another."""
    if isinstance(image, PIL.Image.Image):
        return replace(spec, container="pil", dtype="uint8")
    return replace(
        spec,
        container="image" if isinstance(image, tv_tensors.Image) else "tensor",
        dtype=str(image.dtype).removeprefix("torch."),  # type: ignore[arg-type]  # it is checked there
    )


def _every_byte(spec: ImageSpec, output: ImageSpec, divisor: int = 1) -> Any:
    numbers = torch.arange(256, dtype=torch.uint8, device="cpu") // divisor
    values = numbers.reshape(1, 16, 16).repeat(spec.shape[0], 1, 1)
    if spec.container == "pil":
        return f1.to_pil_image(values)
    if spec.container == "image":
        return tv_tensors.Image(values)
    # Arrays are handled as tensors, except by what makes a tensor of them.
    is_read = spec.container == "numpy" and output.container == "tensor"
    return values.movedim(0, -1).numpy() if is_read else values


def _values(image: Any, channels: int) -> FloatArray:
    if isinstance(image, PIL.Image.Image):
        values = np.moveaxis(np.atleast_3d(np.asarray(image)), -1, 0)
    else:
        values = image.to(torch.float64).numpy()
    return np.asarray(values, dtype=np.float64).reshape(channels, 256)

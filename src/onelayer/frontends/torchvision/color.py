"""Torchvision's transforms of channels and of single values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Clamp, Dense, Gamma, Lookup, Separable, Stage
from onelayer.algebra.channels import channel_matrix
from onelayer.algebra.dense import refuse_too_large
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends.base import arguments, function_of, registered
from onelayer.frontends.torchvision.probability import always
from onelayer.frontends.torchvision.rounding_rules import PILLOW_LUMA, TENSOR_LUMA
from onelayer.image_spec import ImageSpec


def mixed(given: ImageSpec, channel: Any, bias: Any) -> tuple[list[Stage], ImageSpec]:
    """The stage ``channel · x + bias`` at every pixel, channel [C', C] and bias [C']."""
    operator = Separable.of_channels(channel_matrix(channel), bias, given.shape[1:])
    return [operator], replace(given, shape=operator.out_shape)


@registered(v2.Grayscale, f2.rgb_to_grayscale)
def grayscale(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Luma in one channel or in three."""
    return gray(given, *arguments(transform, "num_output_channels"))


@registered(v1.Grayscale, f1.rgb_to_grayscale)
def grayscale_v1(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """As in v2, but that a tensor of one channel keeps one."""
    (channels,) = arguments(transform, "num_output_channels")
    kept = given.container != "pil" and given.shape[0] == 1 and channels == 3
    return gray(given, 1 if kept else channels)


@registered(v1.RandomGrayscale, v2.RandomGrayscale)
@always
def grayscale_of_as_many(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Luma in as many channels as there are."""
    return gray(given, given.shape[0])


def gray(given: ImageSpec, channels: int) -> tuple[list[Stage], ImageSpec]:
    """The stages of luma in 1 or 3 channels, of 1 or 3."""
    if given.shape[0] not in (1, 3) or channels not in (1, 3):
        raise OnelayerError(
            f"{channels} gray channels of {given.shape[0]} channels were asked for", expected="1 or 3 of both"
        )
    if given.shape[0] == channels == 1:
        return [], given
    return mixed(given, [(1.0,) if given.shape[0] == 1 else _luma(given)] * channels, np.zeros(channels))


def _luma(given: ImageSpec) -> tuple[float, float, float]:
    return PILLOW_LUMA if given.container == "pil" else TENSOR_LUMA


@registered(v2.RGB, f2.grayscale_to_rgb)
def rgb(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """One channel three times; three channels or more stay."""
    if given.shape[0] >= 3:
        return [], given
    return gray(given, 3)


@registered(v1.Normalize, v2.Normalize, f1.normalize, f2.normalize)
def normalize(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """``(x − mean) / std`` per channel, of float tensors."""
    return normalized(given, *arguments(transform, "mean", "std"))


def normalized(given: ImageSpec, mean: Any, std: Any) -> tuple[list[Stage], ImageSpec]:
    """The stages of ``(x − mean) / std`` with one number each, or one per channel.

    Raises:
        OnelayerError: If no float tensor is given, or the numbers do not fit it.
    """
    means, stds = mean_and_std(given, mean, std)
    return mixed(given, np.diag(1.0 / stds), -means / stds)


def mean_and_std(given: ImageSpec, mean: Any, std: Any) -> tuple[FloatArray, FloatArray]:
    """Both as one number per channel, [C].

    Raises:
        OnelayerError: If no float tensor is given, or the numbers do not fit it.
    """
    if not given.is_float:
        raise OnelayerError(
            f"a {given.container} of {given.dtype} cannot be normalised",
            expected="a float tensor",
            hint="Put v2.ToImage() and v2.ToDtype(torch.float32, scale=True) before it.",
        )
    means, stds = _per_channel(given, "mean", mean), _per_channel(given, "std", std)
    if not stds.all():
        raise OnelayerError(f"the standard deviation {std} has a zero", expected="numbers other than 0")
    return means, stds


def _per_channel(given: ImageSpec, name: str, numbers: Any) -> FloatArray:
    values = np.atleast_1d(np.asarray(numbers, dtype=np.float64))
    channels = given.shape[0]
    if values.shape not in ((1,), (channels,)):
        raise OnelayerError(
            f"a {name} of {values.size} numbers for {channels} channels",
            expected=f"1 or {channels} numbers",
            hint="Give one number per channel, or bring the image to as many channels before.",
        )
    return np.broadcast_to(values, (channels,))


def inverted(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """White minus every value."""
    channels = given.shape[0]
    return mixed(given, -np.eye(channels), np.full(channels, given.white))


registered(f1.invert, f2.invert)(inverted)
registered(v1.RandomInvert, v2.RandomInvert)(always(inverted))


@registered(f1.solarize, f2.solarize)
def solarize(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Values from a threshold on, inverted; of uint8 images."""
    (threshold,) = arguments(transform, "threshold")
    if given.container != "pil" and threshold > given.white:
        raise OnelayerError(f"the threshold {threshold} was given", expected=f"at most {given.white:g}")
    return _looked_up(given, lambda values: np.where(values >= threshold, 255 - values, values))


@registered(f1.posterize, f2.posterize)
def posterize(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The highest bits of each value; of uint8 images."""
    (bits,) = arguments(transform, "bits")
    if bits not in range(9):
        raise OnelayerError(f"{bits} bits were asked for", expected="a whole number in 0 … 8")
    return _looked_up(given, lambda values: values // 2 ** (8 - bits) * 2 ** (8 - bits))


@registered(f2.permute_channels)
def permute_channels(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """The channels in another order."""
    (permutation,) = arguments(transform, "permutation")
    channels = given.shape[0]
    if sorted(permutation) != list(range(channels)):
        raise OnelayerError(
            f"the permutation {permutation} of {channels} channels was given",
            expected=f"each of 0 … {channels - 1} once",
        )
    return mixed(given, np.eye(channels)[list(permutation)], np.zeros(channels))


@registered(f1.adjust_brightness, f2.adjust_brightness)
def adjust_brightness(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Every value times a factor, clamped to black and white."""
    (factor,) = arguments(transform, "brightness_factor")
    return _enhanced(given, "brightness_factor", factor, np.zeros((given.shape[0], given.shape[0])))


@registered(f1.adjust_saturation, f2.adjust_saturation)
def adjust_saturation(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """Each pixel away from its luma by a factor, clamped to black and white; gray images stay."""
    (factor,) = arguments(transform, "saturation_factor")
    if given.shape[0] == 1:
        return [], given
    return _enhanced(given, "saturation_factor", factor, np.tile(_luma(given), (given.shape[0], 1)))


def _enhanced(given: ImageSpec, name: str, factor: float, degenerate: FloatArray) -> tuple[list[Stage], ImageSpec]:
    """``factor · x + (1 − factor) · degenerate · x``, clamped, as PIL's ``ImageEnhance`` has it."""
    if factor < 0 or given.shape[0] not in (1, 3):
        raise OnelayerError(
            f"{name} {factor} for {given.shape[0]} channels", expected="a factor of at least 0, and 1 or 3 channels"
        )
    channels = given.shape[0]
    stages, after = mixed(given, factor * np.eye(channels) + (1.0 - factor) * degenerate, np.zeros(channels))
    return [*stages, Clamp(0.0, given.white)], after


@registered(f1.adjust_gamma, f2.adjust_gamma)
def adjust_gamma(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """``gain · x ** gamma`` of values 0 … 1; of uint8 images a look-up table."""
    gamma, gain = arguments(transform, "gamma", "gain")
    if gamma < 0:
        raise OnelayerError(f"gamma {gamma} was given", expected="a number of at least 0")
    if given.is_float:
        # v1 clamps always, v2 only where the gain can lead beyond 0 … 1.
        clamps = gain != 1.0 or function_of(transform) is f1.adjust_gamma
        return [Gamma(gain, gamma), *([Clamp(0.0, 1.0)] if clamps else [])], given
    every_value = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    table = transform(f1.to_pil_image(every_value) if given.container == "pil" else every_value)
    return _looked_up(given, lambda _: np.asarray(table, dtype=np.float64).ravel())


def _looked_up(given: ImageSpec, function: Callable[[FloatArray], FloatArray]) -> tuple[list[Stage], ImageSpec]:
    if given.is_float:
        raise OnelayerError(
            "it jumps, and is no look-up table for float values",
            expected="a uint8 image",
            hint="Put it before the conversion to float.",
        )
    table = Lookup(function(np.arange(256.0)))
    return [] if table.is_identity else [table], given


registered(v1.RandomSolarize, v2.RandomSolarize)(always(solarize))
registered(v1.RandomPosterize, v2.RandomPosterize)(always(posterize))


@registered(v1.LinearTransformation, v2.LinearTransformation)
def linear_transformation(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """``(x − mean) @ matrix`` over the flattened image: a dense layer, so for toy sizes only."""
    refuse_too_large(given.shape, given.shape)
    matrix = np.asarray(transform.transformation_matrix, dtype=np.float64)
    mean = np.asarray(transform.mean_vector, dtype=np.float64)
    if given.container == "pil" or len(mean) != np.prod(given.shape):
        raise OnelayerError(
            f"a {given.container} of {np.prod(given.shape)} values for a matrix of {len(mean)}",
            expected="a tensor of as many values",
        )
    return [Dense(matrix.T, -mean @ matrix, given.shape, given.shape)], given if given.is_float else replace(
        given, dtype="float32"
    )

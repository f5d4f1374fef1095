"""A program as plain PyTorch: small matrix products along each axis, and gathers. Runs on any device, differentiable.

The reference that it is tested against is ``Program.apply``.
"""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import (
    Activation,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Operator,
    Program,
    Quantize,
    Separable,
    SpatialSparse,
)
from onelayer.backends.pytorch.factors import (
    PRODUCTS,
    TAP_BY_TAP,
    Factors,
    Home,
    Step,
    lower_axis,
    lower_channel,
)
from onelayer.backends.pytorch.float32_sum import float_step, single_sums
from onelayer.backends.target import Apply, LoweringTarget, writing


def lower(program: Program, device: torch.device, dtype: torch.dtype) -> Step:
    """Turn a program into a function on tensors.

    A matrix product spreads a NaN or an infinity over all its outputs, as zero times infinity is NaN. So where NaN
    comes out of floating point images, they are computed once more, each output from its own taps alone, as in the
    original.

    Args:
        program: Simplified or not.
        device: Of the images, and where the weights go.
        dtype: Floating point, of the weights and the result.

    Returns:
        Takes [..., C, H, W] of that device and any dtype, with any batch dimensions, also empty ones, and gives
        [..., C', H', W']. A final ``Quantize`` rounds, but the result stays floating point.
    """
    steps = _steps(program, device, dtype, PRODUCTS)
    tap_by_tap = cache(partial(_steps, program, device, dtype, TAP_BY_TAP))

    def run(images: torch.Tensor) -> torch.Tensor:
        # Under autocast matrix products would be of bfloat16, which torchvision's kernels are not.
        with torch.autocast(device.type, enabled=False):
            result = _run(steps, images.to(dtype))
            # The sum is NaN if a value is, and takes one pass over the result.
            if images.is_floating_point() and bool(result.detach().sum().isnan()):
                result = _run(tap_by_tap(), images.to(dtype))
        return result

    return run


def applied(program: Program, setting: LoweringTarget) -> Apply:
    """The same, with the result's dtype and memory as a setting has them."""
    return writing(lower(program, setting.device, setting.real), setting)


def _run(steps: list[Step], images: torch.Tensor) -> torch.Tensor:
    for step in steps:
        images = step(images)
    return images


def _steps(program: Program, device: torch.device, dtype: torch.dtype, factors: Factors) -> list[Step]:
    home = Home(device, dtype)
    # Weights made in inference mode could take part in no gradient later.
    with torch.inference_mode(False):
        return _lowered(program, home, factors)


def _lowered(program: Program, home: Home, factors: Factors) -> list[Step]:
    return [step for stage in program.stages for step in _lower_stage(stage, home, factors)]


def _lower_stage(stage: Operator | Activation, home: Home, factors: Factors) -> list[Step]:
    match stage:
        case Separable():
            return _separable(stage, home, factors)
        case SpatialSparse():
            return _spatial_sparse(stage, home, factors)
        case Dense():
            return [_dense(stage, home)]
        case Float32Sum():
            return single_sums(stage, home)
        case FloatOp():
            return [float_step(stage, home)]
        case Clamp():
            return [lambda images: images.clamp(stage.low, stage.high)]
        case Quantize():
            return [_quantize(stage)]
        case Lookup():
            return [_lookup(stage, home)]
        case Gamma():
            return [lambda images: stage.gain * images**stage.gamma]
        case _:
            raise TypeError(f"no lowering for {type(stage).__name__}")


def _separable(operator: Separable, home: Home, factors: Factors) -> list[Step]:
    steps: list[Step] = [lambda images: images.transpose(-1, -2)] if operator.transpose else []
    for factor in operator.order:
        match factor:
            case "rows":
                steps += lower_axis(operator.rows, -2, home, factors)
            case "cols":
                steps += lower_axis(operator.cols, -1, home, factors)
            case "channel":
                steps += lower_channel(operator.channel, home, factors)
    return steps + _bias(operator.bias, home)


def _bias(bias: NDArray[np.float64], home: Home) -> list[Step]:
    if not bias.any():
        return []
    added = home.tensor(bias if bias.ndim == 3 else bias[:, None, None])
    return [lambda images: images + added]


def _spatial_sparse(operator: SpatialSparse, home: Home, factors: Factors) -> list[Step]:
    coordinates = operator.matrix.tocoo()
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack(coordinates.coords)).to(home.device),
        home.tensor(coordinates.data),
        coordinates.shape,
        check_invariants=False,
    ).coalesce()

    def gather(images: torch.Tensor) -> torch.Tensor:
        *batch, channels, height, width = images.shape
        # The number of lines is named, never -1, so that an empty batch has a shape too.
        pixels = images.reshape(math.prod(batch) * channels, height * width)
        outputs: torch.Tensor = torch.sparse.mm(matrix, pixels.T).T
        return outputs.reshape(*batch, channels, *operator.out_size).contiguous()

    return [gather, *lower_channel(operator.channel, home, factors), *_bias(operator.bias, home)]


def _dense(operator: Dense, home: Home) -> Step:
    weight, bias = home.tensor(operator.weight), home.tensor(operator.bias)

    def multiply(images: torch.Tensor) -> torch.Tensor:
        outputs = torch.nn.functional.linear(images.flatten(-3), weight, bias)
        return outputs.reshape(*images.shape[:-3], *operator.out_shape)

    return multiply


def _quantize(stage: Quantize) -> Step:
    rounding: dict[str, Step] = {
        "half_even": torch.round,
        "half_up": lambda images: torch.floor(images + 0.5),
        "truncate": torch.trunc,
    }
    return lambda images: rounding[stage.rounding](images).clamp(stage.low, stage.high)


def _lookup(stage: Lookup, home: Home) -> Step:
    table = home.tensor(stage.table)
    if stage.channels is None:
        return lambda images: table[images.long()]
    channels = torch.arange(stage.channels, device=home.device)[:, None, None]
    return lambda images: table[channels, images.long()]

"""A program as plain PyTorch: small matrix products along each axis, and gathers. Runs on any device, differentiable.

Every kind of stage registers how it is lowered with :func:`lower_stage`; a kind that does not is computed by its own
NumPy arithmetic. The reference that all is tested against is ``Program.apply``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial, singledispatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import (
    AxisMap,
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
    Stage,
    Taps,
    activations,
)
from onelayer.backends.kernel_memory import only_for_pytorch
from onelayer.backends.pytorch.separable import (
    PRODUCTS,
    TAP_BY_TAP,
    FactorLowering,
    TensorFunction,
    lower_axis,
    lower_channel,
    weights_on,
)
from onelayer.backends.reference import computed
from onelayer.backends.target import Apply, LoweringTarget, with_out
from onelayer.errors import OnelayerError


def lower(program: Program, target: LoweringTarget) -> Apply:
    """Turn a program into a function on tensors.

    A matrix product spreads a NaN or an infinity over all its outputs, as zero times infinity is NaN. So where NaN
    comes out of floating point images, they are computed once more, each output from its own taps alone, as in the
    original.

    Args:
        program: Simplified or not.
        target: Device of the images, where the weights go too, and dtypes of the arithmetic and of the result.

    Returns:
        A function that takes [..., C, H, W] of that device and any dtype, with any batch dimensions, also empty ones,
        and gives [..., C', H', W'].
    """
    functions = _lowered(program, target, PRODUCTS)
    tap_by_tap = cache(partial(_lowered, program, target, TAP_BY_TAP))

    def run(images: torch.Tensor) -> torch.Tensor:
        # Under autocast matrix products would be of bfloat16, which torchvision's kernels are not.
        with torch.autocast(target.device.type, enabled=False):
            result = _run(functions, images.to(target.sum_dtype))
            # The sum is NaN if a value is, and takes one pass over the result.
            if images.is_floating_point() and bool(result.detach().sum().isnan()):
                result = _run(tap_by_tap(), images.to(target.sum_dtype))
        return result

    return with_out(run, target)


def _run(functions: list[TensorFunction], images: torch.Tensor) -> torch.Tensor:
    for function in functions:
        images = function(images)
    return images


def _lowered(program: Program, target: LoweringTarget, factors: FactorLowering) -> list[TensorFunction]:
    # Weights made in inference mode could take part in no gradient later.
    with torch.inference_mode(False):
        return [function for stage in program.stages for function in lower_stage(stage, target, factors)]


@singledispatch
def lower_stage(stage: Stage, target: LoweringTarget, factors: FactorLowering) -> list[TensorFunction]:  # noqa: ARG001
    """Turn a stage into functions on tensors of the target's device and real dtype, by its type.

    A stage of a type that nothing is registered for is computed by NumPy on the CPU, slow and right.

    Args:
        stage: Stage of a program.
        target: Device and dtypes that it runs with.
        factors: Lowering of the factors of separable operators.
    """
    return [lambda images: _ByNumPy.apply(images, stage)]


class _ByNumPy(torch.autograd.Function):
    """A stage computed by NumPy; the gradient of an operator is its adjoint."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, stage: Stage) -> torch.Tensor:
        ctx.stage = stage
        return computed(stage, images, images.device, images.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        if not isinstance(ctx.stage, Operator):
            raise OnelayerError(
                f"a gradient through {type(ctx.stage).__name__} was asked for",
                expected="stages that PyTorch computes, or operators",
            )
        transposed = ctx.stage.apply_transposed(gradient.detach().cpu().double().numpy())
        return torch.from_numpy(transposed).to(gradient.device, gradient.dtype), None


@lower_stage.register
def _separable(stage: Separable, target: LoweringTarget, factors: FactorLowering) -> list[TensorFunction]:
    functions: list[TensorFunction] = [lambda images: images.transpose(-1, -2)] if stage.transpose else []
    for factor in stage.order:
        match factor:
            case "rows":
                functions += lower_axis(stage.rows, -2, target, factors)
            case "cols":
                functions += lower_axis(stage.cols, -1, target, factors)
            case "channel":
                functions += lower_channel(stage.channel, target, factors)
    return functions + _bias(stage.bias, target)


def _bias(bias: NDArray[np.float64], target: LoweringTarget) -> list[TensorFunction]:
    if not bias.any():
        return []
    added = weights_on(target, bias if bias.ndim == 3 else bias[:, None, None])
    return [lambda images: images + added]


@lower_stage.register
def _spatial_sparse(stage: SpatialSparse, target: LoweringTarget, factors: FactorLowering) -> list[TensorFunction]:
    coordinates = stage.matrix.tocoo()
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack(coordinates.coords)).to(target.device),
        weights_on(target, coordinates.data),
        coordinates.shape,
        check_invariants=False,
    ).coalesce()

    def gather(images: torch.Tensor) -> torch.Tensor:
        *batch, channels, height, width = images.shape
        # The number of lines is named, never -1, so that an empty batch has a shape too.
        pixels = images.reshape(math.prod(batch) * channels, height * width)
        outputs: torch.Tensor = torch.sparse.mm(matrix, pixels.T).T
        return outputs.reshape(*batch, channels, *stage.out_size).contiguous()

    return [gather, *lower_channel(stage.channel, target, factors), *_bias(stage.bias, target)]


@lower_stage.register
def _dense(stage: Dense, target: LoweringTarget, _: FactorLowering) -> list[TensorFunction]:
    weight, bias = weights_on(target, stage.weight), weights_on(target, stage.bias)

    def multiply(images: torch.Tensor) -> torch.Tensor:
        outputs = torch.nn.functional.linear(images.flatten(-3), weight, bias)
        return outputs.reshape(*images.shape[:-3], *stage.out_shape)

    return [multiply]


@lower_stage.register
def _clamp(stage: Clamp, target: LoweringTarget, _: FactorLowering) -> list[TensorFunction]:
    low, high = _scalar(stage.low, target), _scalar(stage.high, target)
    return [lambda images: images.clamp(low, high)]


def _scalar(number: float, target: LoweringTarget) -> float:
    """Round a number to the dtype of sums: PyTorch refuses what is beyond it."""
    if target.sum_dtype == torch.float64:
        return number
    with np.errstate(over="ignore"):
        return float(np.float32(number))


@lower_stage.register
def _quantize(stage: Quantize, *_: object) -> list[TensorFunction]:
    rounding: dict[activations.Rounding, TensorFunction] = {
        "half_even": torch.round,
        "half_up": lambda images: torch.floor(images + 0.5),
        "truncate": torch.trunc,
    }
    return [lambda images: rounding[stage.rounding](images).clamp(stage.low, stage.high)]


@lower_stage.register
def _lookup(stage: Lookup, target: LoweringTarget, _: FactorLowering) -> list[TensorFunction]:
    table = weights_on(target, stage.table)
    if stage.channels is None:
        return [lambda images: table[images.long()]]
    channels = torch.arange(stage.channels, device=target.device)[:, None, None]
    return [lambda images: table[channels, images.long()]]


@lower_stage.register
def _gamma(stage: Gamma, target: LoweringTarget, _: FactorLowering) -> list[TensorFunction]:
    gain, gamma = _scalar(stage.gain, target), _scalar(stage.gamma, target)
    return [lambda images: gain * images**gamma]


@lower_stage.register
def _float_op(stage: FloatOp, target: LoweringTarget, _: FactorLowering) -> list[TensorFunction]:
    dtype = {"float32": torch.float32, "float64": torch.float64}[stage.dtype]
    numbers = weights_on(target, stage.numbers[:, None, None]).to(dtype)
    operations: dict[activations.FloatOperation, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "multiply": torch.mul,
        "subtract": torch.sub,
        "divide": torch.div,
    }
    return [lambda images: operations[stage.operation](images.to(dtype), numbers).to(target.sum_dtype)]


@lower_stage.register
def _float32_sum(stage: Float32Sum, target: LoweringTarget, _: FactorLowering) -> list[TensorFunction]:
    copies, sums = [], []
    for factor, dim in zip(stage.factors, (-3, -2, -1), strict=True):
        if isinstance(factor, Taps):
            sums.append(_sums(factor, dim, stage.unfused, target))
        elif not factor.is_identity:
            copies.append(_copied(factor, dim, target))
    return copies + sums


def _copied(selection: AxisMap, dim: int, target: LoweringTarget) -> TensorFunction:
    places = torch.from_numpy(selection.starts.copy()).to(target.device)
    return lambda images: images.index_select(dim, places)


def _sums(taps: Taps, dim: int, unfused: int, target: LoweringTarget) -> TensorFunction:
    anywhere = cache(partial(_sums_anywhere, taps, dim, unfused, target))
    if target.device.type != "cpu" or dim == -3:
        return anywhere()
    kernel = _sums_by_kernel(taps, dim, unfused)
    return lambda images: anywhere()(images) if only_for_pytorch(images) else kernel(images)


def _sums_by_kernel(taps: Taps, dim: int, unfused: int) -> TensorFunction:
    # Only here, because it takes a quarter of a second to import Numba.
    from onelayer.backends.cpu.float32_sum_kernel import sums_of_columns, sums_of_rows

    def add(images: torch.Tensor) -> torch.Tensor:
        if images.shape[dim] != taps.n_in:
            raise OnelayerError(f"an axis of {images.shape[dim]} samples was given", expected=f"{taps.n_in} samples")
        *batch, height, width = images.shape
        planes = images.to(torch.float32).contiguous().numpy().reshape(math.prod(batch), height, width)
        if dim == -1:
            sums = np.empty((len(planes), height, taps.n_out), np.float32)
            lines = planes.reshape(-1, width), sums.reshape(-1, taps.n_out)
            if sums.size:
                sums_of_columns(lines[0], taps.starts, taps.counts, taps.weights, unfused, lines[1])
        else:
            sums = np.empty((len(planes), taps.n_out, width), np.float32)
            if sums.size:
                sums_of_rows(planes, taps.starts, taps.counts, taps.weights, unfused, sums)
        return torch.from_numpy(sums).reshape(*batch, *sums.shape[1:]).to(images.dtype)

    return add


def _sums_anywhere(taps: Taps, dim: int, unfused: int, target: LoweringTarget) -> TensorFunction:
    starts, counts = (torch.from_numpy(numbers.copy()).to(target.device) for numbers in (taps.starts, taps.counts))
    # In float64, where the product of two float32 is exact.
    weights = torch.from_numpy(taps.weights.astype(np.float64)).to(target.device)
    fused_from = 1 + (counts - 1) // unfused * unfused if unfused else torch.ones_like(counts)
    longest = int(taps.counts.max())

    def add(images: torch.Tensor) -> torch.Tensor:
        # Along the last dimension, where a number per output broadcasts.
        lines = images.to(torch.float64).movedim(dim, -1)
        sums = _to_float32(lines[..., starts] * weights[:, 0])
        for k in range(1, longest):
            products = lines[..., (starts + k).clamp(max=taps.n_in - 1)] * weights[:, k]
            fused = _to_float32(_added_to_odd(products, sums))
            added = torch.where(k >= fused_from, fused, _to_float32(sums + _to_float32(products)))
            sums = torch.where(k < counts, added, sums)
        return sums.movedim(-1, dim).contiguous().to(images.dtype)

    return add


def _to_float32(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float32).to(values.dtype)


def _added_to_odd(product: torch.Tensor, addend: torch.Tensor) -> torch.Tensor:
    """Add as :func:`onelayer.algebra.float32_sum.multiplied_and_added` does, rounding to odd in float64."""
    total = product + addend
    part = total - product
    lost = (product - (total - part)) + (addend - part)
    bits = total.contiguous().view(torch.int64)
    step = torch.where((lost > 0) == (total > 0), 1, -1)
    return torch.where((lost != 0) & (bits & 1 == 0), bits + step, bits).view(torch.float64)

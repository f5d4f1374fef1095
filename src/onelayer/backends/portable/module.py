"""A program as an ``nn.Module`` of plain tensor operations, for compilers and exporters of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onelayer.algebra.activations import Rounding
from onelayer.backends.portable.steps import (
    Add,
    AxisName,
    Clip,
    Frame,
    Luma,
    Matrix,
    Mix,
    Multiply,
    Power,
    Products,
    Round,
    Step,
    Swap,
    Table,
    Take,
    TakeChannels,
    Warp,
    ZeroPad,
)
from onelayer.errors import OnelayerError
from onelayer.image_spec import ImageSpec
from onelayer.images.containers import TORCH_DTYPES

Tensors = list[torch.Tensor]


class PlainModule(nn.Module):
    """A program for images of one size, in tensor operations that PyTorch's compilers and exporters know.

    Its constants are buffers that no checkpoint holds. Products have to be of full float32 precision: with TF32,
    bfloat16 or autocast, sums of whole numbers are no longer exact.

    Args:
        steps: The program.
        input_spec: Spec of the image.
        output_spec: Spec of the result, of which the dtype counts.
    """

    def __init__(self, steps: Sequence[Step], input_spec: ImageSpec, output_spec: ImageSpec) -> None:
        super().__init__()
        self.input_shape = input_spec.shape
        self.input_dtype, self.output_dtype = TORCH_DTYPES[input_spec.dtype], TORCH_DTYPES[output_spec.dtype]
        self.operations = nn.ModuleList(_Operation(lowered(step)) for step in steps)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the results of images [..., C, H, W], as a tensor [..., C', H', W'].

        Raises:
            OnelayerError: If the images have another shape or dtype.
        """
        if tuple(images.shape[-3:]) != self.input_shape or images.dtype != self.input_dtype:
            raise OnelayerError(
                f"{images.dtype} images {tuple(images.shape)} were given",
                expected=f"{self.input_dtype} images {self.input_shape}",
                hint="The module is for images of one size; make one for this size.",
            )
        values = images.to(torch.float32)
        for operation in self.operations:
            values = operation(values)
        return values.to(self.output_dtype)


class Lowered(NamedTuple):
    """A step as a function.

    Args:
        function: Function of values [..., C, H, W], the constants, and the parameters.
        constants: Arrays that become buffers.
        parameters: Further arguments.
    """

    function: Callable[..., torch.Tensor]
    constants: tuple[NDArray[Any], ...] = ()
    parameters: tuple[Any, ...] = ()


class _Operation(nn.Module):
    def __init__(self, lowered_step: Lowered) -> None:
        super().__init__()
        self.function, constants, self.parameters_of_function = lowered_step
        self.names = [f"constant{number}" for number in range(len(constants))]
        for name, array in zip(self.names, constants, strict=True):
            self.register_buffer(name, torch.from_numpy(np.array(array, order="C")), persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        constants = [getattr(self, name) for name in self.names]
        result: torch.Tensor = self.function(values, constants, *self.parameters_of_function)
        return result


_DIMENSIONS: dict[AxisName, int] = {"rows": -2, "cols": -1}


@singledispatch
def lowered(step: Step) -> Lowered:
    """Turn a step into a function."""
    raise NotImplementedError(type(step).__name__)


@lowered.register
def _(step: Take) -> Lowered:
    if step.run is not None and step.run[2] == 1:
        return Lowered(_narrowed, (), (_DIMENSIONS[step.axis], step.run[0], len(step.places)))
    return Lowered(_taken, (step.places,), (_DIMENSIONS[step.axis],))


def _narrowed(values: torch.Tensor, _: Tensors, dim: int, start: int, length: int) -> torch.Tensor:
    return values.narrow(dim, start, length)


def _taken(values: torch.Tensor, constants: Tensors, dim: int) -> torch.Tensor:
    return values.index_select(dim, constants[0])


@lowered.register
def _(step: TakeChannels) -> Lowered:
    return Lowered(_taken, (step.places,), (-3,))


@lowered.register
def _(_: Swap) -> Lowered:
    return Lowered(_swapped)


def _swapped(values: torch.Tensor, _: Tensors) -> torch.Tensor:
    return values.transpose(-1, -2)


@lowered.register
def _(step: ZeroPad) -> Lowered:
    around = [step.before, step.after]
    return Lowered(_padded, (), (around if step.axis == "cols" else [0, 0, *around],))


def _padded(values: torch.Tensor, _: Tensors, around: list[int]) -> torch.Tensor:
    return nn.functional.pad(values, around)


@lowered.register
def _(step: Frame) -> Lowered:
    kept = np.logical_and.outer(step.rows, step.cols)
    return Lowered(_framed, (kept, step.values[:, None, None]))


def _framed(values: torch.Tensor, constants: Tensors) -> torch.Tensor:
    return torch.where(constants[0], values, constants[1])


@lowered.register
def _(step: Products) -> Lowered:
    matrices = tuple(digit for block in step.blocks for digit in block.digits)
    windows = [(block.start, block.end) for block in step.blocks]
    return Lowered(_multiplied, matrices, (_DIMENSIONS[step.axis], windows, step.carries, step.clip))


def _multiplied(
    values: torch.Tensor,
    constants: Tensors,
    dim: int,
    windows: list[tuple[int, int]],
    carries: tuple[float, ...],
    clip: tuple[float, float] | None,
) -> torch.Tensor:
    lines = values if dim == -1 else values.transpose(-1, -2)
    number = len(carries) + 1
    results = []
    for place, (start, end) in enumerate(windows):
        window, digits = lines[..., start:end], constants[place * number : (place + 1) * number]
        sums = window @ digits[0]
        for matrix, scale in zip(digits[1:], carries, strict=True):
            sums = window @ matrix + torch.floor(sums) * scale
        results.append(sums if clip is None else torch.floor(sums + 0.5).clamp(*clip))
    joined = torch.cat(results, dim=-1)
    return joined if dim == -1 else joined.transpose(-1, -2)


@lowered.register
def _(step: Mix) -> Lowered:
    return Lowered(_mixed, (step.matrix,))


def _mixed(values: torch.Tensor, constants: Tensors) -> torch.Tensor:
    return torch.einsum("dc,...chw->...dhw", constants[0], values)


@lowered.register
def _(step: Luma) -> Lowered:
    return Lowered(_luma, (step.high, step.low), (step.low.any(axis=1).tolist(),))


def _luma(values: torch.Tensor, constants: Tensors, fused: list[bool]) -> torch.Tensor:
    places = values.to(torch.int64)
    high, low = constants
    sums = high[0][places.select(-3, 0)]
    for channel in range(1, len(fused)):
        colors = places.select(-3, channel)
        product = high[channel][colors]
        total = sums + product
        if fused[channel]:
            # What the sum lost (Knuth's TwoSum), exact, and the rest of the product.
            part = total - sums
            lost = (sums - (total - part)) + (product - part)
            total = total + (lost + low[channel][colors])
        sums = total
    return sums.unsqueeze(-3)


@lowered.register
def _(step: Multiply) -> Lowered:
    return Lowered(_scaled, (step.factors[:, None, None],))


def _scaled(values: torch.Tensor, constants: Tensors) -> torch.Tensor:
    return values * constants[0]


@lowered.register
def _(step: Add) -> Lowered:
    return Lowered(_added, (step.values if step.values.ndim == 3 else step.values[:, None, None],))


def _added(values: torch.Tensor, constants: Tensors) -> torch.Tensor:
    return values + constants[0]


@lowered.register
def _(step: Round) -> Lowered:
    return Lowered(_rounded, (), (step.rounding,))


def _rounded(values: torch.Tensor, _: Tensors, rounding: Rounding) -> torch.Tensor:
    if rounding == "half_even":
        return torch.round(values)
    return torch.floor(values + 0.5 if rounding == "half_up" else values)


@lowered.register
def _(step: Clip) -> Lowered:
    return Lowered(_clipped, (), (step.low, step.high))


def _clipped(values: torch.Tensor, _: Tensors, low: float, high: float) -> torch.Tensor:
    return values.clamp(low, high)


@lowered.register
def _(step: Table) -> Lowered:
    per_channel = step.values.ndim == 2
    offsets = np.arange(len(step.values))[:, None, None] * 256 if per_channel else np.zeros((1, 1, 1), dtype=np.int64)
    return Lowered(_looked_up, (step.values.ravel(), offsets))


def _looked_up(values: torch.Tensor, constants: Tensors) -> torch.Tensor:
    table, offsets = constants
    return table[values.to(torch.int64) + offsets]


@lowered.register
def _(step: Power) -> Lowered:
    return Lowered(_raised, (), (step.exponent,))


def _raised(values: torch.Tensor, _: Tensors, exponent: float) -> torch.Tensor:
    return values**exponent


@lowered.register
def _(step: Warp) -> Lowered:
    is_copy = step.pixels.shape[1] == 1 and bool((step.weights == 1.0).all())
    return Lowered(_warped, (step.pixels.T, step.weights.T), (step.size, is_copy))


def _warped(values: torch.Tensor, constants: Tensors, size: tuple[int, int], is_copy: bool) -> torch.Tensor:
    pixels, weights = constants
    flat = values.flatten(-2)
    sums = flat.index_select(-1, pixels[0])
    if not is_copy:
        sums = sums * weights[0]
        for tap in range(1, len(pixels)):
            sums = sums + flat.index_select(-1, pixels[tap]) * weights[tap]
    return sums.reshape(*sums.shape[:-1], *size)


@lowered.register
def _(step: Matrix) -> Lowered:
    return Lowered(_matrix_product, (step.weight, step.bias), (step.shape,))


def _matrix_product(values: torch.Tensor, constants: Tensors, shape: tuple[int, int, int]) -> torch.Tensor:
    return nn.functional.linear(values.flatten(-3), *constants).reshape(*values.shape[:-3], *shape)

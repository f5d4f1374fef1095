"""A program as plain PyTorch: small matrix products along each axis, and gathers. Runs on any device, differentiable.

The reference that it is tested against is ``Program.apply``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.operators import (
    Activation,
    AxisMap,
    Clamp,
    Dense,
    Gamma,
    Lookup,
    Operator,
    Program,
    Quantize,
    Separable,
    SpatialSparse,
)

Apply = Callable[[torch.Tensor], torch.Tensor]

BLOCK = 32
"""Outputs of an axis that one matrix product gives. Their bands lie close together, so a block reads a short window of
the axis and its matrix is nearly full; all blocks together hold O(n_in + n_out · taps) numbers, where the whole matrix
would hold n_in · n_out."""

WHOLE = 64 * 64
"""Matrices of at most so many entries are multiplied whole: at that size a call costs more than the zeros."""


def lower(program: Program, device: torch.device, dtype: torch.dtype) -> Apply:
    """Turn a program into a function on tensors.

    Args:
        program: Simplified or not.
        device: Of the images, and where the weights go.
        dtype: Floating point, of the images, the weights and the result.

    Returns:
        Takes [..., C, H, W] of that device and dtype, with any batch dimensions, also empty ones, and gives
        [..., C', H', W']. A final ``Quantize`` rounds, but the result stays floating point. A NaN or an infinity in
        the input reaches all outputs of its block of a matrix product, not only those that read it.
    """
    steps = list(itertools.chain.from_iterable(_lower_stage(stage, device, dtype) for stage in program.stages))

    def run(images: torch.Tensor) -> torch.Tensor:
        for step in steps:
            images = step(images)
        return images

    return run


def _lower_stage(stage: Operator | Activation, device: torch.device, dtype: torch.dtype) -> list[Apply]:
    def tensor(values: NDArray[np.float64]) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=dtype, device=device)

    match stage:
        case Separable():
            return _separable(stage, tensor)
        case SpatialSparse():
            return _spatial_sparse(stage, device, dtype, tensor)
        case Dense():
            return [_dense(stage, tensor)]
        case Clamp():
            return [lambda images: images.clamp(stage.low, stage.high)]
        case Quantize():
            return [_quantize(stage)]
        case Lookup():
            return [_lookup(stage, tensor)]
        case Gamma():
            return [lambda images: stage.gain * images**stage.gamma]
        case _:
            raise TypeError(f"no lowering for {type(stage).__name__}")


Tensor = Callable[[NDArray[np.float64]], torch.Tensor]


def _separable(operator: Separable, tensor: Tensor) -> list[Apply]:
    steps: list[Apply] = [lambda images: images.transpose(-1, -2)] if operator.transpose else []
    for factor in operator.order:
        match factor:
            case "rows":
                steps += _rows(operator.rows, tensor)
            case "cols":
                steps += _cols(operator.cols, tensor)
            case "channel":
                steps += _channel(operator.channel, tensor)
    return steps + _bias(operator.bias, tensor)


def _rows(axis: AxisMap, tensor: Tensor) -> list[Apply]:
    if axis.is_identity:
        return []
    if axis.is_selection:
        return [_selection(axis, -2)]
    blocks = [(first, last, tensor(matrix)) for first, last, matrix in _blocks(axis)]
    if len(blocks) == 1:
        first, last, matrix = blocks[0]
        return [lambda images: torch.matmul(matrix, images[..., first:last, :])]
    return [
        lambda images: torch.cat(
            [torch.matmul(matrix, images[..., first:last, :]) for first, last, matrix in blocks], -2
        )
    ]


def _cols(axis: AxisMap, tensor: Tensor) -> list[Apply]:
    if axis.is_identity:
        return []
    if axis.is_selection:
        return [_selection(axis, -1)]
    blocks = [(first, last, tensor(matrix.T)) for first, last, matrix in _blocks(axis)]
    if len(blocks) == 1:
        first, last, matrix = blocks[0]
        return [lambda images: torch.matmul(images[..., first:last], matrix)]
    return [
        lambda images: torch.cat([torch.matmul(images[..., first:last], matrix) for first, last, matrix in blocks], -1)
    ]


def _blocks(axis: AxisMap) -> list[tuple[int, int, NDArray[np.float64]]]:
    """The axis map as matrices on windows of its input: (first sample, last sample + 1, matrix)."""
    size = axis.n_out if axis.n_in * axis.n_out <= WHOLE else BLOCK
    blocks = []
    for begin in range(0, axis.n_out, size):
        starts, weights = axis.starts[begin : begin + size], axis.weights[begin : begin + size]
        first, last = int(starts.min()), int(starts.max()) + axis.taps
        matrix = np.zeros((len(starts), last - first))
        matrix[np.arange(len(starts))[:, None], (starts - first)[:, None] + np.arange(axis.taps)] = weights
        blocks.append((first, last, matrix))
    return blocks


def _selection(axis: AxisMap, dim: int) -> Apply:
    starts = axis.starts
    step = np.diff(starts)
    first, length = int(starts[0]), axis.n_out
    if (step == 1).all():
        return lambda images: images.narrow(dim, first, length)  # a crop is a view
    if (step == -1).all():
        return lambda images: images.narrow(dim, int(starts[-1]), length).flip(dim)
    indices = torch.tensor(starts)
    return lambda images: images.index_select(dim, indices.to(images.device))


def _channel(matrix: NDArray[np.float64], tensor: Tensor) -> list[Apply]:
    if np.array_equal(matrix, np.eye(*matrix.shape)) and matrix.shape[0] == matrix.shape[1]:
        return []
    if matrix.shape[0] == matrix.shape[1] and np.count_nonzero(matrix - np.diag(np.diag(matrix))) == 0:
        scale = tensor(np.diag(matrix)[:, None, None])
        return [lambda images: images * scale]
    weights = tensor(matrix)

    def mix(images: torch.Tensor) -> torch.Tensor:
        mixed = torch.matmul(weights, images.flatten(-2))
        return mixed.reshape(*mixed.shape[:-1], *images.shape[-2:])

    return [mix]


def _bias(bias: NDArray[np.float64], tensor: Tensor) -> list[Apply]:
    if not bias.any():
        return []
    added = tensor(bias if bias.ndim == 3 else bias[:, None, None])
    return [lambda images: images + added]


def _spatial_sparse(operator: SpatialSparse, device: torch.device, dtype: torch.dtype, tensor: Tensor) -> list[Apply]:
    coordinates = operator.matrix.tocoo()
    matrix = torch.sparse_coo_tensor(
        torch.tensor(np.stack(coordinates.coords)),
        torch.tensor(coordinates.data, dtype=dtype),
        coordinates.shape,
        device=device,
        check_invariants=False,
    ).coalesce()

    def gather(images: torch.Tensor) -> torch.Tensor:
        *batch, channels, height, width = images.shape
        # The number of lines is named, never -1, so that an empty batch has a shape too.
        pixels = images.reshape(math.prod(batch) * channels, height * width)
        outputs: torch.Tensor = torch.sparse.mm(matrix, pixels.T).T
        return outputs.reshape(*batch, channels, *operator.out_size)

    return [gather, *_channel(operator.channel, tensor), *_bias(operator.bias, tensor)]


def _dense(operator: Dense, tensor: Tensor) -> Apply:
    weight, bias = tensor(operator.weight), tensor(operator.bias)

    def multiply(images: torch.Tensor) -> torch.Tensor:
        outputs = torch.nn.functional.linear(images.flatten(-3), weight, bias)
        return outputs.reshape(*images.shape[:-3], *operator.out_shape)

    return multiply


def _quantize(stage: Quantize) -> Apply:
    rounding: dict[str, Apply] = {
        "half_even": torch.round,
        "half_up": lambda images: torch.floor(images + 0.5),
        "truncate": torch.trunc,
    }
    return lambda images: rounding[stage.rounding](images).clamp(stage.low, stage.high)


def _lookup(stage: Lookup, tensor: Tensor) -> Apply:
    table = tensor(stage.table)
    if stage.channels is None:
        return lambda images: table[images.long()]
    channels = torch.arange(stage.channels)[:, None, None]
    return lambda images: table[channels.to(images.device), images.long()]

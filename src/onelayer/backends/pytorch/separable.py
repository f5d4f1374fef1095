"""The factors of a separable operator on tensors: axis maps and channel maps.

``PRODUCTS`` are matrix products, fast; ``TAP_BY_TAP`` takes one tap of every output after the other, slow, and keeps a
NaN or an infinity to the outputs that read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import AxisMap, ChannelMap
from onelayer.backends.target import LoweringTarget

TensorFunction = Callable[[torch.Tensor], torch.Tensor]


def weights_on(target: LoweringTarget, values: NDArray[Any]) -> torch.Tensor:
    """Copy weights into a tensor of the target's device and dtype."""
    return _adopted(np.array(values, dtype=_numpy_dtype(target), order="C"), target)


def _adopted(array: NDArray[Any], target: LoweringTarget) -> torch.Tensor:
    """Make a tensor of an array that nobody else writes to."""
    return torch.from_numpy(array).to(target.device, target.sum_dtype)


def _numpy_dtype(target: LoweringTarget) -> type[np.float32 | np.float64]:
    """Choose the dtype of arrays that become tensors without another conversion."""
    return np.float64 if target.sum_dtype == torch.float64 else np.float32


BLOCK = 32
"""Output samples of an axis that one matrix product gives. Their bands lie close together, so a block reads a short
window of the axis and its matrix is nearly full; all blocks together hold O(n_in + n_out · taps) numbers, where the
whole matrix would hold n_in · n_out."""

WHOLE = 64 * 64
"""Matrices of at most so many entries are multiplied whole: at that size a call costs more than the zeros."""


@dataclass(frozen=True)
class FactorLowering:
    """Lowering of the factors of a separable operator, for images [..., C, H, W].

    Args:
        axis: Function that lowers an axis map along dimension −2 or −1.
        mix: Function that lowers a channel matrix [C', C].
    """

    axis: Callable[[AxisMap, int, LoweringTarget], TensorFunction]
    mix: Callable[[NDArray[np.float64], LoweringTarget], TensorFunction]


def lower_axis(axis: AxisMap, dim: int, target: LoweringTarget, factors: FactorLowering) -> list[TensorFunction]:
    """Lower an axis map along dimension −2 or −1; what only copies samples is no arithmetic."""
    if axis.is_identity:
        return []
    if axis.is_selection:
        return [_selection(axis, dim)]
    if axis.copies_values:
        return [_padded(axis, dim)]
    return [factors.axis(axis, dim, target)]


def lower_channel(channel: ChannelMap, target: LoweringTarget, factors: FactorLowering) -> list[TensorFunction]:
    """Lower a channel map; a diagonal one is a scale per channel."""
    if channel.is_identity:
        return []
    if channel.is_diagonal:
        scale = weights_on(target, channel.matrix.diagonal()[:, None, None])
        return [lambda images: images * scale]
    return [factors.mix(channel.matrix, target)]


def _selection(axis: AxisMap, dim: int) -> TensorFunction:
    starts = axis.starts
    step = np.diff(starts)
    first, length = int(starts[0]), axis.n_out
    if (step == 1).all():
        return lambda images: images.narrow(dim, first, length)  # a crop is a view
    if (step == -1).all():
        return lambda images: images.narrow(dim, int(starts[-1]), length).flip(dim)
    indices = torch.from_numpy(np.array(starts))
    return lambda images: images.index_select(dim, indices.to(images.device))


def _padded(axis: AxisMap, dim: int) -> TensorFunction:
    """Copy samples, and write zeros."""
    indices = torch.from_numpy(np.array(axis.starts))
    inside = torch.from_numpy(axis.weights[:, 0] != 0).reshape(-1, *[1] * (-1 - dim))

    def pad(images: torch.Tensor) -> torch.Tensor:
        # Not times zero, which makes −0 of a negative value.
        return torch.where(inside.to(images.device), images.index_select(dim, indices.to(images.device)), 0)

    return pad


def _axis_products(axis: AxisMap, dim: int, target: LoweringTarget) -> TensorFunction:
    length, firsts, matrix = _blocks(axis, _numpy_dtype(target))
    weights = _adopted(matrix, target)
    rows = len(weights) if len(firsts) == 1 else BLOCK
    blocks = list(zip(firsts, torch.split(weights, rows), strict=True))

    def product(images: torch.Tensor, first: int, block: torch.Tensor) -> torch.Tensor:
        window = images.narrow(dim, first, length)
        return torch.matmul(block, window) if dim == -2 else torch.matmul(window, block.T)

    if len(blocks) == 1:
        return lambda images: product(images, *blocks[0])
    return lambda images: torch.cat([product(images, *block) for block in blocks], dim)


def _blocks(axis: AxisMap, dtype: type) -> tuple[int, list[int], NDArray[Any]]:
    """Divide an axis map into matrices on windows of its input, one below the other.

    Returns:
        Samples of a window, the first sample of each block's, and the matrix [n_out, samples] of which every block
        has ``BLOCK`` rows, the last one what is left.
    """
    size = axis.n_out if axis.n_in * axis.n_out <= WHOLE else BLOCK
    begins = np.arange(0, axis.n_out, size)
    firsts = np.minimum.reduceat(axis.starts, begins)
    length = int((np.maximum.reduceat(axis.starts, begins) - firsts).max()) + axis.taps
    firsts = np.minimum(firsts, axis.n_in - length)
    matrix: NDArray[Any] = np.zeros((axis.n_out, length), dtype)
    places = axis.starts - np.repeat(firsts, size)[: axis.n_out]
    matrix[np.arange(axis.n_out)[:, None], places[:, None] + np.arange(axis.taps)] = axis.weights
    return length, firsts.tolist(), matrix


def _mix_product(matrix: NDArray[np.float64], target: LoweringTarget) -> TensorFunction:
    weights = weights_on(target, matrix)

    def mix(images: torch.Tensor) -> torch.Tensor:
        mixed = torch.matmul(weights, images.flatten(-2))
        return mixed.reshape(*mixed.shape[:-1], *images.shape[-2:])

    return mix


def _axis_taps(axis: AxisMap, dim: int, target: LoweringTarget) -> TensorFunction:
    # Weights of zero fill the bands up to one width, and must not touch what is no number.
    taps = [
        (axis.starts + k, weights_on(target, column if dim == -1 else column[:, None]))
        for k, column in enumerate(np.moveaxis(axis.weights, 1, 0))
    ]

    def add_up(images: torch.Tensor) -> torch.Tensor:
        terms = (
            torch.where(weights == 0, 0, weights * images.index_select(dim, torch.tensor(places, device=images.device)))
            for places, weights in taps
        )
        return sum(terms, start=torch.zeros((), dtype=images.dtype, device=images.device))

    return add_up


def _mix_terms(matrix: NDArray[np.float64], target: LoweringTarget) -> TensorFunction:
    weights = weights_on(target, matrix)[..., None, None]

    def add_up(images: torch.Tensor) -> torch.Tensor:
        return torch.where(weights == 0, 0, weights * images.unsqueeze(-4)).sum(-3)

    return add_up


PRODUCTS = FactorLowering(_axis_products, _mix_product)
TAP_BY_TAP = FactorLowering(_axis_taps, _mix_terms)

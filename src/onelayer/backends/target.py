"""Describe where and how a program runs, and the function that it is lowered to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from onelayer.frontends.placement import Placed
from onelayer.image_spec import ImageSpec, RoundingMode


@dataclass(frozen=True)
class LoweringTarget:
    """Device, dtypes and threads that a program is lowered for.

    Args:
        device: Device of the images and of the results.
        dtype: Dtype of the computation; uint8 for programs that round bytes to bytes between their stages. Where there
            are no kernels for them, float64 holds their sums.
        result_dtype: Dtype of the results.
        threads: Maximum number of CPU threads per call; None for as many as PyTorch may use. Only the kernels on the
            CPU, which bring their own, look at it.
    """

    device: torch.device
    dtype: torch.dtype
    result_dtype: torch.dtype
    threads: int | None = None

    @property
    def sum_dtype(self) -> torch.dtype:
        """Dtype of sums in PyTorch: float64 where bytes are computed with."""
        return self.dtype if self.dtype.is_floating_point else torch.float64


def computes_in(images: ImageSpec, results: ImageSpec, rounding: RoundingMode) -> torch.dtype:
    """Return the dtype that images are computed in.

    Half precision is for storage, its weights would be levels off. Bytes that are rounded as the original rounds them
    stay bytes; floating point values that are take float64, in which values rounded to float32 stay what they are.
    """
    if rounding == "exact":
        return torch.float64 if images.is_float else torch.uint8
    return torch.float64 if "float64" in (images.dtype, results.dtype) else torch.float32


class Apply(Protocol):
    """A program that was lowered."""

    def __call__(self, images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Compute.

        Args:
            images: [..., C, H, W] of any dtype, any strides, and any number of batch dimensions, also empty ones.
            out: Memory for the result, of its shape and dtype.

        Returns:
            [..., C', H', W'] of the target's result dtype; ``out``, if that was given.
        """


class PixelMemory(NamedTuple):
    """Memory on the CPU that holds images, as a kernel addresses it.

    Args:
        address: Address of the first image; 0 with ``structure``.
        of_image: Elements from one image to the next.
        of_channel: Elements from one channel to the next.
        of_row: Elements from one row to the next; 0 with ``structure``.
        of_column: Elements from one column to the next.
        structure: Address of the address of Pillow's structure of the only image; 0 where rows are ``of_row`` apart.
        images: Number of images.
        owner: Object that keeps the memory alive.
    """

    address: int
    of_image: int
    of_channel: int
    of_row: int
    of_column: int
    structure: int
    images: int
    owner: object


class ResultMemory(NamedTuple):
    """Memory on the CPU for results.

    Args:
        address: Address of contiguous [N, C', H', W']; 0 with ``structure``.
        structure: Address of the address of Pillow's structure of the only result, a PIL image; or 0.
        owner: Object that keeps the memory alive.
    """

    address: int
    structure: int
    owner: object


class ComputeAnySize(Protocol):
    """A structure that was lowered: a pipeline for images of any size."""

    writes_pixels: bool
    """Whether it writes [N, H', W', C'], the colors of a pixel side by side, and not [N, C', H', W']."""

    def place(self, height: int, width: int, moves: tuple[int, ...] | None = None) -> Placed | None:
        """Place images of a size in the result; None where only a program for it can.

        Args:
            height: Rows of each image, at least 1.
            width: Columns of each image, at least 1.
            moves: Moves for this call, if these follow from rules in Python; None for those of the structure.
        """

    def __call__(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        results: ResultMemory,
        threads: int,
        moves: tuple[int, ...] | None = None,
    ) -> bool:
        """Compute; return False where only a program for one size can.

        Args:
            images: Images of one size, at least one.
            height: Rows of each, at least 1.
            width: Columns of each, at least 1.
            results: Memory for the results.
            threads: Maximum number of threads.
            moves: As in :meth:`place`.
        """


def with_out(plain: Callable[[torch.Tensor], torch.Tensor], target: LoweringTarget) -> Apply:
    """Add the argument ``out`` to a function that cannot choose where it writes, by a copy.

    Args:
        plain: Takes images [..., C, H, W] of any dtype and returns [..., C', H', W'] in memory of its own choice.
        target: Target that the result is for.
    """

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        result = plain(images).to(target.result_dtype)
        return result if out is None else out.copy_(result)

    return run

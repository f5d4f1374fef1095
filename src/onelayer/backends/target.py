"""What a program runs on and with, and what it then is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from onelayer.algebra import Program

Plain = Callable[[torch.Tensor], torch.Tensor]
"""Takes images [..., C, H, W] of any dtype and gives [..., C', H', W'] in memory of its own choice."""


@dataclass(frozen=True)
class LoweringTarget:
    """Where and how a program runs.

    Args:
        device: Of the images and of the results.
        dtype: That is computed in; uint8 for programs that round bytes to bytes between their stages. Where there are
            no kernels for them, float64 holds their sums.
        result: Of the results.
        threads: That may take part, at most; None for as many as PyTorch may use. Only the kernels on the CPU, which
            bring their own, look at it.
    """

    device: torch.device
    dtype: torch.dtype
    result: torch.dtype
    threads: int | None = None

    @property
    def real(self) -> torch.dtype:
        """The dtype of the sums."""
        return self.dtype if self.dtype.is_floating_point else torch.float64


class Apply(Protocol):
    """A program, ready to run."""

    def __call__(self, images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Compute.

        Args:
            images: [..., C, H, W] of any dtype, any strides, and any number of batch dimensions, also empty ones.
            out: Memory for the result, of its shape and dtype.

        Returns:
            [..., C', H', W'] of the setting's result dtype; ``out``, if that was given.
        """


Lower = Callable[[Program, LoweringTarget], Apply]


def writing(plain: Plain, setting: LoweringTarget) -> Apply:
    """A function that cannot choose where it writes, with a copy to where the result is wanted."""

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        result = plain(images).to(setting.result)
        return result if out is None else out.copy_(result)

    return run

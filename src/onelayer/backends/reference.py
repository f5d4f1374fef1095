"""The operators' own arithmetic, in NumPy and float64: slow, and what every other backend is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch

from onelayer.algebra import Program


def lower(program: Program, device: torch.device, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """The program as a function on tensors; it has no gradient.

    Args:
        program: Simplified or not.
        device: Where the result goes.
        dtype: Of the result; the computation is in float64 always.
    """

    def run(images: torch.Tensor) -> torch.Tensor:
        computed = program.apply(images.detach().cpu().double().numpy())
        return torch.from_numpy(computed).to(device, dtype)

    return run

"""The stages' own arithmetic, in NumPy and float64: slow, and what every other backend is compared with."""

from __future__ import annotations

import torch

from onelayer.algebra import Program, Stage
from onelayer.backends.target import Apply, LoweringTarget, with_out


def lower(program: Program, target: LoweringTarget) -> Apply:
    """Turn a program into a function on tensors; it has no gradient.

    Args:
        program: Simplified or not.
        target: Device and dtype of the result; the computation is in float64 always.
    """
    return with_out(lambda images: computed(program, images, target.device, target.sum_dtype), target)


def computed(stage: Program | Stage, images: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Compute a program or one stage of it by NumPy, for images of any device and dtype."""
    return torch.from_numpy(stage.apply(images.detach().cpu().double().numpy())).to(device, dtype)

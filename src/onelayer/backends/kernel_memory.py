"""What kernels read and write: images whose memory they can take as it is, and memory for their results."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

from onelayer.backends.target import LoweringTarget

DTYPES = torch.uint8, torch.float16, torch.float32
"""That kernels read and write. PyTorch converts all others."""


def only_for_pytorch(images: torch.Tensor) -> bool:
    """Whether no kernel can compute with images, only PyTorch itself.

    Because a derivative is wanted, backward or forward; or because they are no numbers in memory: under
    ``torch.func.vmap``, in tracing, as the negative of other memory.
    """
    return (
        (images.requires_grad and torch.is_grad_enabled())
        or forward_ad._current_level >= 0
        or type(images) is not torch.Tensor
        or images.layout != torch.strided
        or images.is_neg()
        or torch._C._functorch.is_functorch_wrapped_tensor(images)
    )


def one_batch(images: torch.Tensor) -> torch.Tensor:
    """Images [..., C, H, W] of any dtype as [N, C, H, W] of one that kernels read; a copy only where it must be."""
    if images.dtype not in DTYPES:
        images = images.to(torch.float32)
    if images.ndim == 4:
        return images
    return images.flatten(0, -4) if images.ndim > 4 else images[None]


def written_dtype(setting: LoweringTarget, is_rounded: bool) -> torch.dtype:
    """What the last kernel of a program writes: uint8 if it rounds, or else the wanted dtype or the nearest to it."""
    if is_rounded:
        return torch.uint8
    return torch.float16 if setting.result == torch.float16 else torch.float32


def memory_for(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    out: torch.Tensor | None,
    empty: Callable[[tuple[int, ...], torch.dtype], torch.Tensor],
) -> torch.Tensor:
    """Contiguous memory that a kernel can write a result to: what was given for it if that will do, or new memory.

    Args:
        shape: Of the result.
        dtype: That the kernel writes.
        out: Memory that was given, of that shape.
        empty: Makes new memory.
    """
    return out if out is not None and out.dtype == dtype and out.is_contiguous() else empty(shape, dtype)


def delivered(memory: torch.Tensor, out: torch.Tensor | None, setting: LoweringTarget) -> torch.Tensor:
    """A result as it is wanted: from the memory that it was computed in, into the memory that was given for it."""
    if out is None:
        return memory.to(setting.result)
    return out if memory is out else out.copy_(memory)

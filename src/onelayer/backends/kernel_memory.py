"""Prepare what kernels read and write: images whose memory they can take as it is, and memory for their results."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

from onelayer.backends.target import LoweringTarget

_DTYPES = torch.uint8, torch.float16, torch.float32
"""Dtypes that kernels read and write. PyTorch converts all others."""


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


def read_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which kernels read images of a dtype."""
    return dtype if dtype in _DTYPES else torch.float32


def is_readable(images: torch.Tensor) -> bool:
    """Whether the separable kernel reads images [..., C, H, W] as they lie."""
    *batch, channels, height, width = images.shape
    *of_batch, of_channel, of_row, of_column = images.stride()
    # Colors of a pixel next to each other, and at most as many bytes that are no colors, as in Pillow's memory.
    if of_column == 1 or not (of_channel == 1 and channels <= of_column <= 2 * channels):
        return of_column == 1
    # What is no color is read too, and behind the last pixel there may be none.
    end = images.storage_offset() + (height - 1) * of_row + width * of_column
    end += sum((length - 1) * stride for length, stride in zip(batch, of_batch, strict=True))
    return bool(of_column == channels or end * images.itemsize <= images.untyped_storage().nbytes())


def readable(images: torch.Tensor) -> torch.Tensor:
    """Return images [..., C, H, W] as the separable kernel reads them, copied only if they lie in another way."""
    if is_readable(images):
        return images
    if images.shape[-1] == 1:
        # For PyTorch they are contiguous, whatever their stride along a single column.
        return readable(images.as_strided(images.shape, (*images.stride()[:-1], 1)))
    return images.contiguous()


def as_batch(images: torch.Tensor) -> torch.Tensor:
    """Return images [..., C, H, W] as [N, C, H, W] of a dtype that kernels read; a copy only where it must be."""
    if images.dtype not in _DTYPES:
        images = images.to(torch.float32)
    if images.ndim == 4:
        return images
    return images.flatten(0, -4) if images.ndim > 4 else images[None]


def written_dtype(target: LoweringTarget, is_rounded: bool) -> torch.dtype:
    """Return the dtype that the last kernel of a program writes: uint8 if it rounds, else float16 or float32."""
    if is_rounded:
        return torch.uint8
    return torch.float16 if target.result_dtype == torch.float16 else torch.float32


def memory_for(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    out: torch.Tensor | None,
    empty: Callable[[tuple[int, ...], torch.dtype], torch.Tensor],
) -> torch.Tensor:
    """Return contiguous memory that a kernel can write a result to: ``out`` if that will do, else new memory.

    Args:
        shape: Shape of the result.
        dtype: Dtype that the kernel writes.
        out: Memory of that shape, or None.
        empty: Function that makes new memory.
    """
    return out if out is not None and out.dtype == dtype and out.is_contiguous() else empty(shape, dtype)


def delivered(memory: torch.Tensor, out: torch.Tensor | None, target: LoweringTarget) -> torch.Tensor:
    """Return a result in the target's dtype and in ``out``, if that was given; copied only where it must be."""
    if out is None:
        # A call of PyTorch's that changes nothing takes microseconds, too.
        return memory if memory.dtype == target.result_dtype else memory.to(target.result_dtype)
    return out if memory is out else out.copy_(memory)

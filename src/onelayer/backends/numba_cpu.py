"""Programs of affine maps between pixels as fused kernels on the CPU, spread over threads by images or by rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch.autograd import forward_ad

from onelayer.backends import result_memory, torch_eager
from onelayer.backends.segments import Segment, segments_of
from onelayer.backends.windows import is_far_apart
from onelayer.operators import Program, Separable

if TYPE_CHECKING:
    from onelayer.backends.numba_calls import Call

Apply = Callable[[torch.Tensor], torch.Tensor]

_BETWEEN = 256 << 10
"""Bytes of images that lie between two kernels, at most: they stay in the caches."""


def why_not(program: Program, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels cannot run a program; None if they can."""
    if device.type != "cpu":
        return f"the images are on {device.type}, not on the CPU"
    if dtype != torch.float32:
        return f"the kernels compute in float32, not in {str(dtype).removeprefix('torch.')}"
    segments = segments_of(program)
    if isinstance(segments, str):
        return segments
    return next((reason for segment in segments if (reason := _why_not(segment)) is not None), None)


def _why_not(segment: Segment) -> str | None:
    if not isinstance(segment.operator, Separable):
        return None
    for axis, lines in ((segment.operator.rows, "rows"), (segment.operator.cols, "columns")):
        if is_far_apart(axis):
            return f"neighbouring {lines} of the output read {lines} of the image that lie far apart"
    return None


def lower(program: Program, device: torch.device, dtype: torch.dtype) -> Apply:
    """Turn a program that the kernels can run into a function on tensors.

    Args:
        program: For which :func:`why_not` gives None.
        device: The CPU.
        dtype: float32.

    Returns:
        Takes [..., C, H, W] of any dtype and any strides, and gives [..., C', H', W']: uint8 if the program ends with a
        rounding, or else float32. Where a gradient is wanted, or NaN comes out of floating point images, plain PyTorch
        computes instead (:func:`onelayer.backends.torch_eager.lower`).
    """
    kernels = _Kernels(program)
    plain = cache(partial(torch_eager.lower, program, device, dtype))

    def run(images: torch.Tensor) -> torch.Tensor:
        # Derivatives, backward or forward.
        if (images.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0:
            return plain()(images)
        result, has_nan = kernels(images)
        # Bands are filled up with weights of zero, and zero times infinity is NaN.
        return plain()(images) if has_nan else result

    return run


class _Kernels:
    """The kernels of a program, one after the other."""

    def __init__(self, program: Program) -> None:
        # Only here, because it takes a quarter of a second to import Numba.
        from onelayer.backends.numba_calls import call_of

        segments = segments_of(program)
        assert not isinstance(segments, str)
        self._calls = [call_of(segment) for segment in segments]
        self._largest = max(4 * math.prod(call.out_shape) for call in self._calls)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Images [..., C, H, W] to [..., C', H', W'], and whether there may be NaN among the results."""
        *before, last = self._calls
        threads = torch.get_num_threads()
        out = _empty(images.shape[:-3], last)
        if not before:
            return out, last(images, out, threads)
        images = images.flatten(0, -4) if images.ndim > 3 else images[None]
        outs = out.view(-1, *last.out_shape)
        has_nan = False
        # Some images at a time, so that what lies between two kernels stays in the caches.
        at_once = max(1, _BETWEEN // self._largest)
        for begin in range(0, len(images), at_once):
            part = images[begin : begin + at_once]
            for call in before:
                between = _empty(part.shape[:1], call)
                has_nan |= call(part, between, threads)
                part = between
            has_nan |= last(part, outs[begin : begin + at_once], threads)
        return out, has_nan


def _empty(batch: torch.Size, call: Call) -> torch.Tensor:
    return result_memory.empty((*batch, *call.out_shape), torch.uint8 if call.is_rounded else torch.float32)

"""Programs of affine maps between pixels as fused kernels on the CPU, spread over threads by images or by rows."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING

import torch

from onelayer.algebra import Program, Separable
from onelayer.backends.cpu import result_memory
from onelayer.backends.cpu.byte_segments import byte_segments_of
from onelayer.backends.cpu.windows import is_far_apart
from onelayer.backends.kernel_memory import delivered, memory_for, only_for_pytorch, written_dtype
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.segments import Segment, segments_of
from onelayer.backends.target import Apply, LoweringTarget

if TYPE_CHECKING:
    from onelayer.backends.cpu.launch import KernelLaunch

_BETWEEN = 256 << 10
"""Bytes of images that lie between two kernels, at most: they stay in the caches."""


def why_not(program: Program, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels cannot run a program; None if they can."""
    if device.type != "cpu":
        return f"the images are on {device.type}, not on the CPU"
    if dtype == torch.uint8:
        of_bytes = byte_segments_of(program)
        return of_bytes if isinstance(of_bytes, str) else None
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


def lower(program: Program, setting: LoweringTarget) -> Apply:
    """Turn a program that the kernels can run into a function on tensors.

    Where a gradient is wanted, images are no numbers in memory, or NaN comes out of floating point images, plain
    PyTorch computes instead (:func:`onelayer.backends.pytorch.lowering.lower`).

    Args:
        program: For which :func:`why_not` gives None.
        setting: On the CPU, computing in float32, or with bytes.
    """
    kernels = _Kernels(program, setting)
    plain = cache(partial(pytorch.lower, program, setting))

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        if only_for_pytorch(images):
            return plain()(images, out)
        result, has_nan = kernels(images, out)
        # Bands are filled up with weights of zero, and zero times infinity is NaN.
        return plain()(images, out) if has_nan else result

    return run


class _Kernels:
    """The kernels of a program, one after the other."""

    def __init__(self, program: Program, setting: LoweringTarget) -> None:
        self._calls = _calls(program, setting.dtype)
        self._largest = max(4 * math.prod(call.out_shape) for call in self._calls)
        self._setting = setting
        self._written = written_dtype(setting, self._calls[-1].is_rounded)

    def __call__(self, images: torch.Tensor, out: torch.Tensor | None) -> tuple[torch.Tensor, bool]:
        """Images [..., C, H, W] to [..., C', H', W'], and whether there may be NaN among the results."""
        *before, last = self._calls
        threads = self._setting.threads or torch.get_num_threads()
        memory = memory_for((*images.shape[:-3], *last.out_shape), self._written, out, result_memory.empty)
        has_nan = self._through(before, images, memory, threads) if before else last(images, memory, threads)
        return delivered(memory, out, self._setting), has_nan

    def _through(self, before: list[KernelLaunch], images: torch.Tensor, memory: torch.Tensor, threads: int) -> bool:
        """Some images at a time, so that what lies between two kernels stays in the caches."""
        last = self._calls[-1]
        images = images.flatten(0, -4) if images.ndim > 3 else images[None]
        results = memory.view(-1, *last.out_shape)
        has_nan = False
        at_once = max(1, _BETWEEN // self._largest)
        for begin in range(0, len(images), at_once):
            part = images[begin : begin + at_once]
            for call in before:
                dtype = torch.uint8 if call.is_rounded else torch.float32
                between = result_memory.empty((len(part), *call.out_shape), dtype)
                has_nan |= call(part, between, threads)
                part = between
            has_nan |= last(part, results[begin : begin + at_once], threads)
        return has_nan


def _calls(program: Program, dtype: torch.dtype) -> list[KernelLaunch]:
    # Only here, because it takes a quarter of a second to import Numba.
    if dtype == torch.uint8:
        from onelayer.backends.cpu.byte_launch import ByteLaunch

        byte_segments = byte_segments_of(program)
        assert not isinstance(byte_segments, str)
        return [ByteLaunch(segment) for segment in byte_segments]
    from onelayer.backends.cpu.launch import launch_of

    segments = segments_of(program)
    assert not isinstance(segments, str)
    return [launch_of(segment) for segment in segments]

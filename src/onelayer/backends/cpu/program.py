"""Lower programs to fused kernels on the CPU, compiled by Numba and spread over threads by images or by rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch

from onelayer.algebra import Program, Separable
from onelayer.backends.cpu import memory
from onelayer.backends.cpu.split import ByteSegment, byte_segments_of
from onelayer.backends.cpu.tables import is_far_apart
from onelayer.backends.kernel_memory import delivered, memory_for, only_for_pytorch, written_dtype
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.segments import Segment, segments_of
from onelayer.backends.target import Apply, LoweringTarget

_BETWEEN = 256 << 10
"""Maximum number of bytes of images that lie between two kernels: they stay in the caches."""


def prepare(program: Program, target: LoweringTarget) -> Callable[[], Apply] | str:
    """Split a program into kernels.

    Returns:
        A function that lowers the program, or the reason why the kernels cannot run it.
    """
    if target.device.type != "cpu":
        return f"the images are on {target.device.type}, not on the CPU"
    segments: list[ByteSegment] | list[Segment] | str
    if target.dtype == torch.uint8:
        segments = byte_segments_of(program)
    elif target.dtype == torch.float32:
        segments = _float_segments(program)
    else:
        segments = f"the kernels compute in float32, not in {str(target.dtype).removeprefix('torch.')}"
    return segments if isinstance(segments, str) else partial(_lower, program, segments, target)


def _float_segments(program: Program) -> list[Segment] | str:
    segments = segments_of(program)
    if isinstance(segments, str):
        return segments
    for segment in segments:
        if isinstance(segment.operator, Separable):
            for axis, lines in ((segment.operator.rows, "rows"), (segment.operator.cols, "columns")):
                if is_far_apart(axis):
                    return f"neighbouring {lines} of the output read {lines} of the image that lie far apart"
    return segments


def _lower(program: Program, segments: Sequence[Segment | ByteSegment], target: LoweringTarget) -> Apply:
    """Turn a program into a function on tensors.

    Where a gradient is wanted, images are no numbers in memory, or NaN comes out of floating point images, plain
    PyTorch computes instead (:func:`onelayer.backends.pytorch.lowering.lower`).
    """
    kernels = _Kernels(segments, target)
    plain = cache(partial(pytorch.lower, program, target))

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        if only_for_pytorch(images):
            return plain()(images, out)
        result, has_nan = kernels(images, out)
        # Bands are filled up with weights of zero, and zero times infinity is NaN.
        return plain()(images, out) if has_nan else result

    return run


class _Kernels:
    """The kernels of a program, run in order."""

    def __init__(self, segments: Sequence[Segment | ByteSegment], target: LoweringTarget) -> None:
        # Only here, because it takes half a second to import Numba.
        from onelayer.backends.cpu.launch import launch_of

        *self._before, self._last = (launch_of(segment) for segment in segments)
        self._largest = max(4 * math.prod(launch.out_shape) for launch in (*self._before, self._last))
        self._target = target
        self._written = written_dtype(target, self._last.is_rounded)

    def __call__(self, images: torch.Tensor, out: torch.Tensor | None) -> tuple[torch.Tensor, bool]:
        """Compute.

        Args:
            images: [..., C, H, W].
            out: Memory for the result, or None.

        Returns:
            [..., C', H', W'], and whether there may be NaN among the values.
        """
        threads = self._target.threads or torch.get_num_threads()
        results = memory_for((*images.shape[:-3], *self._last.out_shape), self._written, out, memory.empty)
        has_nan = (self._run_all if self._before else self._last)(images, results, threads)
        return delivered(results, out, self._target), has_nan

    def _run_all(self, images: torch.Tensor, results: torch.Tensor, threads: int) -> bool:
        """Run some images at a time, so that what lies between two kernels stays in the caches."""
        images = images.flatten(0, -4) if images.ndim > 3 else images[None]
        results = results.view(-1, *self._last.out_shape)
        has_nan = False
        at_once = max(1, _BETWEEN // self._largest)
        for begin in range(0, len(images), at_once):
            part = images[begin : begin + at_once]
            for launch in self._before:
                dtype = torch.uint8 if launch.is_rounded else torch.float32
                between = memory.empty((len(part), *launch.out_shape), dtype)
                has_nan |= launch(part, between, threads)
                part = between
            has_nan |= self._last(part, results[begin : begin + at_once], threads)
        return has_nan

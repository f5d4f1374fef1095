"""A program of one separable stage as one fused kernel on the CPU, spread over threads by images or by rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import forward_ad

from onelayer.backends import torch_eager
from onelayer.backends.threads import in_threads
from onelayer.console import console
from onelayer.operators import Clamp, Program, Quantize, Separable
from onelayer.operators.activations import Rounding

Apply = Callable[[torch.Tensor], torch.Tensor]

MULTIPLICATIONS_PER_THREAD = 500_000
"""Below so many another thread costs more than it saves: about a tenth of a millisecond's work."""

_ROWS = 16
"""A single image is split into pieces of a multiple of so many rows, four blocks of the kernel."""


def why_not(program: Program, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernel cannot run a program; None if it can."""
    if device.type != "cpu":
        return f"the images are on {device.type}, not on the CPU"
    if dtype != torch.float32:
        return f"the kernel computes in float32, not in {str(dtype).removeprefix('torch.')}"
    if not program.stages or not isinstance(program.stages[0], Separable):
        return "the program does not begin with a separable stage"
    if program.stages[0].transpose:
        return "the stage swaps height and width"
    kinds = [type(stage) for stage in program.stages[1:]]
    if kinds not in ([], [Clamp], [Quantize], [Clamp, Quantize]):
        return "more follows the separable stage than a clamp and one rounding"
    if any(isinstance(stage, Quantize) and stage.dtype != "uint8" for stage in program.stages):
        return "it rounds to another dtype than uint8"
    return None


WIDE = 64
"""Output columns from which on the kernel is taken: at 28 matrix products were faster, at 224 it took half as long."""


def why_slow(program: Program) -> str | None:
    """Why PyTorch may well be faster for a program that the kernel can run; None if the kernel is."""
    width = program.out_shape[2]
    return None if width >= WIDE else f"rows of {width} values are too short for the fused kernel to be faster"


def lower(program: Program, device: torch.device, dtype: torch.dtype) -> Apply:
    """Turn a program that the kernel can run into a function on tensors.

    Args:
        program: For which :func:`why_not` gives None.
        device: The CPU.
        dtype: float32.

    Returns:
        Takes [..., C, H, W] of any dtype and any strides, and gives [..., C', H', W']: uint8 if the program ends with a
        rounding, or else float32. Where a gradient is wanted, or NaN comes out of floating point images, plain PyTorch
        computes instead (:func:`onelayer.backends.torch_eager.lower`).
    """
    kernel = _Kernel(program)
    plain = cache(partial(torch_eager.lower, program, device, dtype))

    def run(images: torch.Tensor) -> torch.Tensor:
        # Derivatives, backward or forward.
        if (images.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0:
            return plain()(images)
        result, has_nan = kernel(images.detach())
        # Bands are filled up with weights of zero, and zero times infinity is NaN.
        return plain()(images) if has_nan else result

    return run


class _Kernel:
    """The kernel with the taps of one program."""

    def __init__(self, program: Program) -> None:
        from onelayer.backends import numba_kernels

        stage, *activations = program.stages
        assert isinstance(stage, Separable)
        self.out_shape = program.out_shape
        channels, height, width = self.out_shape
        # As the kernel does them: rows first, along all columns that are read.
        self.multiplications = channels * height * (stage.rows.taps * stage.cols.span + stage.cols.taps * width)
        low, high, rounding = -np.inf, np.inf, numba_kernels.NO_ROUNDING
        codes: dict[Rounding, int] = {
            "half_even": numba_kernels.HALF_EVEN,
            "half_up": numba_kernels.HALF_UP,
            "truncate": numba_kernels.TRUNCATE,
        }
        for activation in activations:
            assert isinstance(activation, Clamp | Quantize)
            low, high = max(low, activation.low), min(high, activation.high)
            if isinstance(activation, Quantize):
                rounding = codes[activation.rounding]
        self.dtype = torch.float32 if rounding == numba_kernels.NO_ROUNDING else torch.uint8
        first = int(stage.cols.starts.min())
        bias = stage.bias if stage.bias.ndim == 3 else stage.bias[:, None, None]
        self.kernel = numba_kernels.separable
        self.taps = (
            np.uint64(first),
            np.uint64(stage.cols.span),
            stage.rows.starts.astype(np.uint64),
            _singles(stage.rows.weights),
            (stage.cols.starts - first).astype(np.uint64),
            _singles(stage.cols.weights),
            _singles(stage.channel),
            _singles(bias),
            np.float32(low),
            np.float32(high),
            rounding,
        )

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Images [..., C, H, W] to [..., C', H', W'], and whether there is NaN among float32 results."""
        *batch, channels, height, width = images.shape
        out = torch.empty((*batch, *self.out_shape), dtype=self.dtype, device=images.device)
        if out.numel() == 0:
            return out, False
        memory, strides = _memory(images.reshape(-1, channels, height, width))
        written = out.view(-1, *self.out_shape).numpy()
        count, rows = written.shape[0], written.shape[2]
        threads = min(torch.get_num_threads(), 1 + count * self.multiplications // MULTIPLICATIONS_PER_THREAD)
        if count >= threads:
            pieces = [(piece, (0, rows)) for piece in _split(count, threads, 1)]
        else:
            pieces = [((0, count), piece) for piece in _split(rows, threads, _ROWS)]
        finite = not (images.is_floating_point() and out.is_floating_point())

        def piece(of_images: tuple[int, int], of_rows: tuple[int, int]) -> bool:
            self.kernel(memory, strides, *self.taps, _whole(of_images), _whole(of_rows), written)
            # The sum is NaN if a value is. It is NumPy's, because PyTorch's threads do not survive a fork.
            part = written[slice(*of_images), :, slice(*of_rows)]
            return not finite and bool(np.isnan(part.sum()))

        with _announced((memory.dtype, self.dtype)):
            return out, any(in_threads([partial(piece, *which) for which in pieces]))


def _singles(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32, order="C")


def _whole(numbers: tuple[int, ...]) -> NDArray[np.uint64]:
    return np.array(numbers, dtype=np.uint64)


def _memory(images: torch.Tensor) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """The memory of images [N, C, H, W] as one line, and their strides in it; copied only if neither layout fits."""
    if images.dtype not in (torch.uint8, torch.float32):
        images = images.to(torch.float32)
    _, channels, _, width = images.shape
    of_image, of_channel, of_row, of_column = images.stride()
    if of_column == 1 or width == 1:
        of_column = 1
    elif not (of_channel == 1 and of_column == channels):
        return _memory(images.contiguous())
    extent = 1 + sum((size - 1) * stride for size, stride in zip(images.shape, images.stride(), strict=True))
    line = torch.as_strided(images, (extent,), (1,))
    return line.numpy(), _whole((of_image, of_channel, of_row, of_column))


def _split(count: int, pieces: int, unit: int) -> list[tuple[int, int]]:
    """``count`` in at most so many pieces of nearly equal size, each but the last a multiple of ``unit``."""
    size = -(-count // (pieces * unit)) * unit
    return [(begin, min(begin + size, count)) for begin in range(0, count, size)]


_COMPILED: set[object] = set()


@contextmanager
def _announced(dtypes: object) -> Iterator[None]:
    """Say what takes so long, if it does: a kernel compiles once per machine and pair of dtypes, then it is cached."""
    if dtypes in _COMPILED:
        yield
        return
    timer = threading.Timer(1.0, console.print, ["Compiling the CPU kernel, once on this machine …"])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    _COMPILED.add(dtypes)

"""A program of one separable stage as one fused kernel on the CPU, spread over threads by images or by rows."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import forward_ad

from onelayer.backends import result_memory, torch_eager
from onelayer.backends.threads import share
from onelayer.console import console
from onelayer.operators import AxisMap, Clamp, Program, Quantize, Separable
from onelayer.operators.activations import Rounding

Apply = Callable[[torch.Tensor], torch.Tensor]

MULTIPLICATIONS_PER_THREAD = 160_000
"""Below so many another thread costs more than it saves: about a tenth of a millisecond's work."""

_ROWS = 16
"""A single image is split into pieces of a multiple of so many rows, two blocks of the kernel."""

_LANES = 8
"""Neighbouring outputs of a row that the kernel computes together, ``numba_vectors.LANES``."""


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
    for axis, lines in ((program.stages[0].rows, "rows"), (program.stages[0].cols, "columns")):
        if _taps_of_blocks(axis) * axis.n_out > 4 * (axis.n_in + axis.n_out * axis.taps) + _LANES**2:
            return f"neighbouring {lines} of the output read {lines} of the image that lie far apart"
    if any(isinstance(stage, Quantize) and stage.dtype != "uint8" for stage in program.stages):
        return "it rounds to another dtype than uint8"
    return None


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
        result, has_nan = kernel(images)
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
        self.outputs = math.prod(program.out_shape)
        channels, height, _ = self.out_shape
        first = int(stage.cols.starts.min())
        col_starts, col_weights = _blocks(stage.cols, first)
        # Eight at a time, as the kernel does them: rows first, along all columns that are read.
        self.multiplications = channels * height * (stage.rows.taps * stage.cols.span + col_weights.size) // _LANES
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
        bias = stage.bias.reshape(len(stage.bias), -1)
        self.kernel = numba_kernels.separable
        self.wait_a_little = numba_kernels.wait_a_little
        self.taps = (
            np.uint64(first),
            np.uint64(stage.cols.span),
            np.uint64(_taps_of_blocks(stage.rows)),
            stage.rows.starts.astype(np.uint64),
            _singles(stage.rows.weights),
            col_starts,
            col_weights,
            np.uint64(self.out_shape[2]),
            _singles(stage.channel),
            _singles(bias),
            np.float32(low),
            np.float32(high),
            rounding,
        )

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Images [..., C, H, W] to [..., C', H', W'], and whether there is NaN among float32 results."""
        out = result_memory.empty((*images.shape[:-3], *self.out_shape), self.dtype)
        if out.numel() == 0:
            return out, False
        images, strides = _readable(images)
        count, rows = out.numel() // self.outputs, self.out_shape[1]
        threads = min(torch.get_num_threads(), 1 + count * self.multiplications // MULTIPLICATIONS_PER_THREAD)
        if count >= threads:
            shares = (count, 1, rows, 1 + count // (_SHARES * threads))
        else:
            # Fewer images than threads: shared by rows.
            of_share = _ROWS * (1 + rows // (_ROWS * _SHARES * threads))
            shares = (count, -(-rows // of_share), of_share, 1)
        taken_done_nan = np.zeros(3, np.uint64)
        arguments = (
            _SAMPLE[images.dtype], images.data_ptr(), *strides, *self.taps, _SAMPLE[out.dtype], out.data_ptr(),
            *shares, taken_done_nan,
        )  # fmt: skip
        if (dtypes := (images.dtype, out.dtype)) not in _COMPILED:
            with _announced():
                self.kernel(*arguments)
            _COMPILED.add(dtypes)
        elif threads == 1:
            self.kernel(*arguments)
        else:
            self._in_threads(arguments, threads, (images, out))
        return out, bool(taken_done_nan[2])

    def _in_threads(self, arguments: tuple[Any, ...], threads: int, memory: object) -> None:
        def work() -> object:
            self.kernel(*arguments)
            # Held until here: addresses keep no memory alive.
            return memory

        share(work, threads - 1)
        self.kernel(*arguments)
        *_, images, pieces, _, _, shared = arguments
        while not self.wait_a_little(shared, images * pieces):
            time.sleep(0)


_SHARES = 4
"""So many shares of the work for each thread: a thread that wakes late, or is slowed down, takes fewer of them."""

_SAMPLE = {
    torch.uint8: np.empty(0, np.uint8),
    torch.float32: np.empty(0, np.float32),
    torch.float16: np.empty(0, np.int16),
}
"""What tells the kernel a dtype."""


def _readable(images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int, int]]:
    """Images whose memory the kernel can read, copied only if it is of no dtype or layout that it knows.

    Returns:
        They, and the elements from one image, channel, row, column to the next.
    """
    if images.dtype not in _SAMPLE:
        images = images.to(torch.float32)
    if images.ndim > 4:
        images = images.flatten(0, -4)
    of_image, of_channel, of_row, of_column = images.stride() if images.ndim == 4 else (0, *images.stride())
    if images.shape[-1] == 1:
        of_column = 1
    if not (of_column == 1 or (of_channel == 1 and of_column == images.shape[-3])):
        return _readable(images.contiguous())
    return images, (of_image, of_channel, of_row, of_column)


def _taps_of_blocks(axis: AxisMap) -> int:
    """Samples that the widest block of eight neighbouring outputs reads, from its first to its last."""
    places = _places(axis.n_out)
    starts = axis.starts[np.minimum(places, axis.n_out - 1)]
    return int((starts.max(axis=1) - starts.min(axis=1)).max()) + axis.taps


def _places(width: int) -> NDArray[np.int64]:
    """The outputs of each block, [blocks, 8]: at every eighth, the last one at the eighth from the end, or at 0."""
    begins = np.minimum(np.arange(0, width, _LANES), max(width - _LANES, 0))
    return begins[:, None] + np.arange(_LANES)


def _blocks(cols: AxisMap, first: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """The map of the columns as one small dense matrix for eight outputs.

    Args:
        cols: The map.
        first: Column from which on columns are counted.

    Returns:
        First column of each block, [blocks], and weights [blocks, columns, 8].
    """
    places = _places(cols.n_out)
    lanes = np.minimum(places, cols.n_out - 1)
    starts = cols.starts[lanes] - first
    taps = _taps_of_blocks(cols)
    begins = np.minimum(starts.min(axis=1), cols.span - taps)
    weights = np.zeros((len(places), taps, _LANES), dtype=np.float32)
    values = np.where((places < cols.n_out)[:, :, None], cols.weights[lanes], 0.0)
    columns = (starts - begins[:, None])[:, :, None] + np.arange(cols.taps)
    np.put_along_axis(weights, columns.transpose(0, 2, 1), values.transpose(0, 2, 1), axis=1)
    return begins.astype(np.uint64), weights


def _singles(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32, order="C")


_COMPILED: set[object] = set()


@contextmanager
def _announced() -> Iterator[None]:
    """Say what takes so long, if it does: a kernel compiles once per machine and pair of dtypes, then it is cached."""
    timer = threading.Timer(1.0, console.print, ["Compiling the CPU kernel, once on this machine …"])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

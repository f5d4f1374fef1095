"""Launch CPU kernels: fill their arguments for one segment of a program, and run them in threads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Separable, Shape, SpatialSparse
from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu import byte_kernel, float_kernel, gather_kernel
from onelayer.backends.cpu.counters import HAS_NAN, wait_a_little
from onelayer.backends.cpu.integer_sums import LOW_BITS
from onelayer.backends.cpu.split import ByteSegment, Float32Pass, Pass
from onelayer.backends.cpu.tables import (
    BYTES,
    LANES,
    byte_windows,
    dense_blocks,
    float32_windows,
    fused_and_unfused,
    samples_of_blocks,
    with_nearby_starts,
)
from onelayer.backends.cpu.threads import share
from onelayer.backends.kernel_memory import as_batch
from onelayer.backends.segments import Segment

MULTIPLICATIONS_PER_THREAD = 160_000
"""Work below which another thread costs more than it saves: about a tenth of a millisecond's."""

_SHARES = 4
"""Shares of the work per thread: a thread that wakes late, or is slowed down, takes fewer of them."""

_ROWS = 16
"""Rows of which a piece of a single image has a multiple: two blocks of the separable kernel."""

_SAMPLE = {
    torch.uint8: np.empty(0, np.uint8),
    torch.float32: np.empty(0, np.float32),
    torch.float16: np.empty(0, np.int16),
}
"""Arrays that tell a kernel a dtype; Numba does not compute with float16, and has it as int16."""

_ROUNDINGS = {
    None: float_kernel.NO_ROUNDING,
    "half_even": float_kernel.HALF_EVEN,
    "half_up": float_kernel.HALF_UP,
    "truncate": float_kernel.TRUNCATE,
}

_LOADED: set[object] = set()
"""Kernels and dtypes whose machine code this process has."""


class KernelLaunch(ABC):
    """A kernel with the arguments of one segment of a program.

    Args:
        out_shape: Shape of the results.
        is_rounded: Whether the results are bytes.
    """

    kernel: Any
    """Compiled function."""

    multiplications: int
    """Work for one image, in multiplications of eight numbers."""

    shared_rows: int
    """Rows of one image by which its work can be shared."""

    def __init__(self, out_shape: Shape, is_rounded: bool) -> None:
        self.out_shape = out_shape
        self.is_rounded = is_rounded
        self.shared_rows = out_shape[1]

    @abstractmethod
    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:
        """Return the kernel's constants, for results of a dtype."""

    @abstractmethod
    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images in a layout that the kernel can read, copied only if they are in another."""

    def __call__(self, images: torch.Tensor, out: torch.Tensor, threads: int) -> bool:
        """Compute.

        Args:
            images: [..., C, H, W], of any dtype and any strides.
            out: Contiguous [..., C', H', W'], uint8 if the results are bytes, else float32 or float16.
            threads: Maximum number of threads.

        Returns:
            Whether there may be NaN among the results; False where they are integers.
        """
        if out.numel() == 0:
            return False
        images = self._readable(as_batch(images))
        threads = min(threads, 1 + len(images) * self.multiplications // MULTIPLICATIONS_PER_THREAD)
        arguments = self.arguments(images, out, threads)
        # Where machine code is still to be loaded, or compiled, other threads would only wait for it.
        if threads == 1 or (self.kernel, images.dtype, out.dtype) not in _LOADED:
            self.kernel(*arguments)
            _LOADED.add((self.kernel, images.dtype, out.dtype))
        else:
            self._run_in_threads(arguments, threads, (images, out))
        return bool(arguments[-1][HAS_NAN])

    def arguments(self, images: torch.Tensor, out: torch.Tensor, threads: int) -> tuple[Any, ...]:
        """Return the kernel's arguments.

        Args:
            images: [N, C, H, W] in a layout and dtype that the kernel can read.
            out: As in :meth:`__call__`.
            threads: Number of threads to divide the work for.
        """
        count, rows = len(images), self.shared_rows
        if count >= threads:
            shares = (count, 1, rows, 1 + count // (_SHARES * threads))
        else:
            # Fewer images than threads: shared by rows.
            rows_of_share = _ROWS * (1 + rows // (_ROWS * _SHARES * threads))
            shares = (count, -(-rows // rows_of_share), rows_of_share, 1)
        return (
            _SAMPLE[images.dtype], images.data_ptr(), *images.stride(), *self._constants(out.dtype),
            _SAMPLE[out.dtype], out.data_ptr(), *shares, np.zeros(3, np.uint64),
        )  # fmt: skip

    def _run_in_threads(self, arguments: tuple[Any, ...], threads: int, memory: object) -> None:
        def work() -> object:
            self.kernel(*arguments)
            # Held until here: addresses keep no memory alive.
            return memory

        share(work, threads - 1)
        self.kernel(*arguments)
        *_, images, pieces, _, _, shared = arguments
        while not wait_a_little(shared, images * pieces):
            time.sleep(0)


def launch_of(segment: Segment | ByteSegment) -> KernelLaunch:
    """Return the launch of a segment."""
    if isinstance(segment, ByteSegment):
        return ByteLaunch(segment)
    return SeparableLaunch(segment) if isinstance(segment.operator, Separable) else GatherLaunch(segment)


class FloatLaunch(KernelLaunch):
    """A launch of a kernel that computes in float32.

    Args:
        segment: Segment to compute.
    """

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment.operator.out_shape, segment.rounding is not None)
        self._all_constants = (
            *self._taps(segment),
            np.uint64(self.out_shape[2]),
            _float32(segment.channel),
            _float32(segment.bias.reshape(len(segment.bias), -1)),
            _float32(segment.low),
            _float32(segment.high),
            _ROUNDINGS[segment.rounding],
        )

    @abstractmethod
    def _taps(self, segment: Segment) -> tuple[Any, ...]:
        """Return the kernel's own constants."""

    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:  # noqa: ARG002 - the same for all dtypes
        return self._all_constants


class SeparableLaunch(FloatLaunch):
    """A launch for a separable operator."""

    kernel = staticmethod(float_kernel.separable)

    def _taps(self, segment: Segment) -> tuple[Any, ...]:
        operator = segment.operator
        assert isinstance(operator, Separable)
        rows, cols = with_nearby_starts(operator.rows), with_nearby_starts(operator.cols)
        first, starts, weights = dense_blocks(cols)
        self._transpose = operator.transpose
        channels, height, _ = self.out_shape
        # Rows first, along all columns that are read.
        self.multiplications = channels * height * (rows.taps * cols.span + weights.size) // LANES
        return (
            np.uint64(first),
            np.uint64(cols.span),
            np.uint64(samples_of_blocks(rows)),
            rows.starts.astype(np.uint64),
            _float32(rows.weights),
            starts,
            weights,
        )

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        if self._transpose:
            images = images.transpose(-1, -2)
        _, channels, _, width = images.shape
        _, of_channel, _, of_column = images.stride()
        # Colors of a pixel next to each other, and at most as many bytes that are no colors, as in Pillow's memory.
        if of_column == 1 or (of_channel == 1 and channels <= of_column <= 2 * channels):
            return images
        if width == 1:
            return images.as_strided(images.shape, (*images.stride()[:3], 1))
        return images.contiguous()


class GatherLaunch(FloatLaunch):
    """A launch for an operator whose axes do not separate."""

    kernel = staticmethod(gather_kernel.gathered)

    def _taps(self, segment: Segment) -> tuple[Any, ...]:
        operator = segment.operator
        assert isinstance(operator, SpatialSparse)
        matrix = operator.matrix
        rows, cols = np.divmod(matrix.indices, operator.in_size[1])
        # Sample by sample, not eight at a time.
        self.multiplications = matrix.nnz * int(np.count_nonzero(segment.channel))
        return matrix.indptr.astype(np.uint64), rows.astype(np.uint32), cols.astype(np.uint32), _float32(matrix.data)

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images


class ByteLaunch(KernelLaunch):
    """A launch for a segment that rounds to bytes.

    Args:
        segment: Segment to compute.
    """

    kernel = staticmethod(byte_kernel.resized_bytes)

    def __init__(self, segment: ByteSegment) -> None:
        super().__init__(segment.out_shape, segment.is_rounded)
        self.shared_rows = height = len(segment.between) if segment.rows is None else segment.rows.n_out
        cols, rows = _columns(segment), _rows(segment, height)
        before = segment.channels.astype(np.uint64), *cols, *rows, *_mix(segment)
        frame = segment.frame
        place = (0, 0, *segment.out_shape[1:]) if frame is None else (frame.top, frame.left, *frame.size)
        around = tuple(np.uint64(number) for number in place)

        @cache
        def constants(out: torch.dtype) -> tuple[Any, ...]:
            table, frame_values = _values(segment, out)
            return *before, table, *around, frame_values

        self._constants_for = constants
        of_columns = len(segment.between) * cols[5].size // BYTES
        of_rows = height * segment.cols.n_out * int(rows[1]) // LANES
        stored = height * segment.cols.n_out // LANES
        self.multiplications = len(segment.channels) * (of_columns + of_rows + stored)

    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:
        return self._constants_for(out)

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images


def _columns(segment: ByteSegment) -> tuple[Any, ...]:
    """Return the arguments of the pass along columns, from ``first_column`` to ``width``."""
    width = np.uint64(segment.cols.n_out)
    match segment.cols:
        case Float32Pass() as sums:
            windows, bits = float32_windows(sums.taps, sums.unfused), 0
            arithmetic, weights = _arithmetic(sums), windows.weights.view(np.int16)
        case Pass() as sums:
            windows, bits = byte_windows(sums.axis, sums.weights), sums.bits
            arithmetic, weights = _arithmetic(sums), _parts(windows.weights, sums.is_wide, axis=-2)
        case copies:
            first, nothing = np.uint64(copies.starts[0]), np.zeros((0, 0, 4), np.uint64)
            no_places, no_weights = np.zeros(0, np.uint8), np.zeros(0, np.int16)
            narrow = byte_kernel.NARROW
            return first, width, byte_kernel.COPIED, nothing, no_places, no_weights, narrow, 0, width
    return (
        np.uint64(windows.first),
        np.uint64(windows.length),
        byte_kernel.NEAR if windows.near else byte_kernel.FAR,
        windows.starts,
        windows.places.ravel(),
        weights.ravel(),
        arithmetic,
        bits,
        width,
    )


def _rows(segment: ByteSegment, height: int) -> tuple[Any, ...]:
    """Return the arguments of the pass along rows, from ``between`` to ``height``."""
    between = segment.between.astype(np.uint64)
    arithmetic = byte_kernel.NARROW if segment.rows is None else _arithmetic(segment.rows)
    match segment.rows:
        case Float32Pass() as sums:
            starts, bits, taps = sums.taps.starts, 0, sums.taps.weights.shape[1]
            weights = fused_and_unfused(sums.taps, sums.unfused).view(np.int16)
        case Pass() as sums:
            starts, bits = sums.axis.starts, sums.bits
            weights = _parts(_in_pairs(sums.weights), sums.is_wide, axis=2)
            taps = 2 * weights.shape[1]
        case None:
            starts, bits, taps = np.arange(len(between)), 0, 1
            weights = np.zeros((0, 0, 0), np.int16)
    descends = bool((np.diff(starts) <= 0).all()) and len(starts) > 1
    by_step = weights.reshape(*weights.shape[:2], -1) if weights.size else np.zeros((0, 0, 0), np.int16)
    return between, np.uint64(taps), descends, starts.astype(np.uint64), by_step, arithmetic, bits, np.uint64(height)


def _mix(segment: ByteSegment) -> tuple[Any, ...]:
    """Return the arguments of the mix of channels, from ``channel`` to ``mix``."""
    if segment.mix is None:
        return np.zeros(0, np.float32), False, byte_kernel.NO_MIX
    rounding = byte_kernel.HALF_UP if segment.mix.half_up else byte_kernel.CUT_OFF
    # A copy: for arrays that must not be written to Numba would compile the kernel once more.
    return segment.mix.weights.flatten(), segment.mix.is_fused, rounding


def _arithmetic(sums: Pass | Float32Pass) -> int:
    if isinstance(sums, Float32Pass):
        return byte_kernel.FLOAT32_UNFUSED if sums.has_unfused else byte_kernel.FLOAT32
    return byte_kernel.WIDE if sums.is_wide else byte_kernel.NARROW


def _values(segment: ByteSegment, dtype: torch.dtype) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the table, and the values of the frame, in a dtype that the kernel writes."""
    numpy_dtype = {torch.uint8: np.uint8, torch.float32: np.float32, torch.float16: np.float16}[dtype]
    table = np.zeros(0) if segment.table is None else segment.table.ravel()
    frame = np.zeros(segment.out_shape[0]) if segment.frame is None else segment.frame.values
    values = table.astype(numpy_dtype), frame.astype(numpy_dtype)
    return (values[0].view(np.int16), values[1].view(np.int16)) if dtype == torch.float16 else values


def _in_pairs(weights: IntArray) -> IntArray:
    """Return weights [lines, taps] as pairs of neighbouring taps, [lines, pairs, 2]."""
    lines, taps = weights.shape
    even = np.zeros((lines, taps + taps % 2), np.int64)
    even[:, :taps] = weights
    return even.reshape(lines, -1, 2)


def _parts(weights: IntArray, is_wide: bool, axis: int) -> NDArray[np.int16]:
    """Return weights with their parts along a new axis: a single part, or the lower bits and the rest."""
    low = weights & ((1 << LOW_BITS) - 1)
    parts = [low, weights >> LOW_BITS] if is_wide else [weights]
    return np.ascontiguousarray(np.stack(parts, axis=axis).astype(np.int16))


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32, order="C")

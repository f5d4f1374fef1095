"""Launch CPU kernels: fill their arguments for one segment of a program, and run them in threads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Separable, Shape, SpatialSparse
from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu import byte_call, byte_kernel, float_call, float_kernel, gather_kernel
from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu.affine import affine_of
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
    refuse_reads_outside,
    samples_of_blocks,
    with_nearby_starts,
)
from onelayer.backends.cpu.threads import share
from onelayer.backends.kernel_memory import as_batch, readable
from onelayer.backends.segments import Segment
from onelayer.errors import OnelayerError
from onelayer.images.containers import refuse_missing_storage

MULTIPLICATIONS_PER_THREAD = 160_000
"""Work below which another thread costs more than it saves: about a tenth of a millisecond's."""

_SHARES = 4
"""Shares of the work per thread: a thread that wakes late, or is slowed down, takes fewer of them."""

_ROWS = 16
"""Rows of which a piece of a single image has a multiple: two blocks of the separable kernel."""

SAMPLE = {
    torch.uint8: np.empty(0, np.uint8),
    torch.float32: np.empty(0, np.float32),
    torch.float16: np.empty(0, np.int16),
}
"""Arrays that tell a kernel a dtype; Numba does not compute with float16, and has it as int16."""

_ROUNDINGS = {
    None: float_call.NO_ROUNDING,
    "half_even": float_call.HALF_EVEN,
    "half_up": float_call.HALF_UP,
    "truncate": float_call.TRUNCATE,
}

_LOADED: set[object] = set()
"""Kernels and dtypes whose machine code this process has."""


class KernelLaunch(ABC):
    """A kernel with the arguments of one segment of a program.

    Args:
        in_shape: Shape of the images.
        out_shape: Shape of the results.
        is_rounded: Whether the results are bytes.
    """

    kernel: Any
    """Compiled function."""

    multiplications: int
    """Work for one image, in multiplications of eight numbers."""

    shared_rows: int
    """Rows of one image by which its work can be shared."""

    def __init__(self, in_shape: Shape, out_shape: Shape, is_rounded: bool) -> None:
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.is_rounded = is_rounded
        self.shared_rows = out_shape[1]

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
        refuse_missing_storage(images, "the image")
        refuse_missing_storage(out, "the memory for results")
        images = as_batch(images)
        # Addresses follow from the tables alone.
        if images.shape[1:] != self.in_shape or out.shape[-3:] != self.out_shape:
            raise OnelayerError(
                f"a kernel was given images {list(images.shape)} and memory {list(out.shape)}",
                expected=f"[N, C, H, W] of {self.in_shape}, and {self.out_shape}",
            )
        images = self._readable(images)
        threads = min(threads, 1 + len(images) * self.multiplications // MULTIPLICATIONS_PER_THREAD)
        shared = np.zeros(3, np.uint64)
        shares = shares_of(len(images), self.shared_rows, threads)
        run = partial(self.kernel, *self.arguments(images, out, shares, shared))
        # Where machine code is still to be loaded, or compiled, other threads would only wait for it.
        if threads == 1 or (self.kernel, images.dtype, out.dtype) not in _LOADED:
            run()
            _LOADED.add((self.kernel, images.dtype, out.dtype))
        else:
            run_in_threads(run, threads, shares, shared, (self, images, out))
        return bool(shared[HAS_NAN])

    @abstractmethod
    def arguments(
        self, images: torch.Tensor, out: torch.Tensor, shares: Shares, shared: NDArray[np.uint64]
    ) -> tuple[Any, ...]:
        """Return the kernel's arguments.

        Args:
            images: [N, C, H, W] in a layout and dtype that the kernel can read.
            out: As in :meth:`__call__`.
            shares: Division of the work.
            shared: Counters of the work, uint64 [3], zeros.
        """


class Shares(NamedTuple):
    """A division of the work on some images into shares that threads take.

    Args:
        images: Number of images.
        pieces: Pieces of whole rows that an image is divided into.
        piece_rows: Rows of a piece.
        at_once: Number of pieces to take at a time.
    """

    images: int
    pieces: int
    piece_rows: int
    at_once: int


def shares_of(count: int, rows: int, threads: int) -> Shares:
    """Divide the work on ``count`` images of some rows for a number of threads."""
    if count >= threads:
        return Shares(count, 1, rows, 1 + count // (_SHARES * threads))
    # Fewer images than threads: shared by rows.
    rows_of_share = _ROWS * (1 + rows // (_ROWS * _SHARES * threads))
    return Shares(count, -(-rows // rows_of_share), rows_of_share, 1)


def run_in_threads(
    run: Callable[[], object], threads: int, shares: Shares, shared: NDArray[np.uint64], memory: object
) -> None:
    """Run a kernel in this thread and in others, until all shares of the work are done.

    Args:
        run: Runs the kernel until nothing is left to take.
        threads: Number of threads.
        shares: Division of the work.
        shared: Counters of the work.
        memory: Objects that own what the kernel reads and writes: addresses keep no memory alive.
    """

    def work() -> object:
        run()
        # A thread that comes late still counts, and reads what it was called with.
        return memory, shared

    share(work, threads - 1)
    run()
    while not wait_a_little(shared, shares.images * shares.pieces):
        time.sleep(0)


def launch_of(segment: Segment | ByteSegment) -> KernelLaunch:
    """Return the launch of a segment."""
    if isinstance(segment, ByteSegment):
        return ByteLaunch(segment)
    return SeparableLaunch(segment) if isinstance(segment.operator, Separable) else GatherLaunch(segment)


def pixel_fields(segment: Segment) -> dict[int, Any]:
    """Return the fields of a call of the separable kernel that say what happens to each pixel."""
    return {
        float_call.CHANNELS: segment.channel.shape[1],
        float_call.CHANNELS_OUT: len(segment.channel),
        float_call.MIX: _float32(segment.channel),
        float_call.BIAS: _float32(segment.bias),
        float_call.BIASES: segment.bias[0].size,
        float_call.LOW: _float32(segment.low),
        float_call.HIGH: _float32(segment.high),
        float_call.ROUNDING: _ROUNDINGS[segment.rounding],
    }


def call_of(fields: dict[int, Any], length: int) -> tuple[NDArray[np.uint64], list[NDArray[Any]]]:
    """Lay out a call of a kernel, and return it with the arrays that it has the addresses of.

    Args:
        fields: Numbers and arrays by their place in the call.
        length: Length of the call.
    """
    arrays = {place: np.ascontiguousarray(each) for place, each in fields.items() if isinstance(each, np.ndarray)}
    call = np.zeros(length, np.uint64)
    for place, value in fields.items():
        call[place] = arrays[place].ctypes.data if place in arrays else value
    return call, list(arrays.values())


class SeparableLaunch(KernelLaunch):
    """A launch for a separable operator.

    Args:
        segment: Segment to compute.
    """

    kernel = staticmethod(float_kernel.separable)

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment.operator.in_shape, segment.operator.out_shape, segment.rounding is not None)
        operator = segment.operator
        assert isinstance(operator, Separable)
        refuse_reads_outside("rows", operator.rows.starts, operator.rows.taps, operator.rows.n_in)
        refuse_reads_outside("cols", operator.cols.starts, operator.cols.taps, operator.cols.n_in)
        rows, cols = with_nearby_starts(operator.rows), with_nearby_starts(operator.cols)
        first, starts, weights = dense_blocks(cols)
        self._transpose = operator.transpose
        channels, height, width = self.out_shape
        # Rows first, along all columns that are read.
        self.multiplications = channels * height * (rows.taps * cols.span + weights.size) // LANES
        fields = {
            float_call.FIRST_COLUMN: first,
            float_call.LENGTH: cols.span,
            float_call.COL_BLOCKS: len(starts),
            float_call.COL_TAPS: weights.shape[1],
            float_call.COL_STARTS: starts,
            float_call.COL_WEIGHTS: weights,
            float_call.WIDTH: width,
            float_call.ONLY_COPIES: rows.is_selection and cols.is_selection and bool((np.diff(cols.starts) == 1).all()),
            float_call.FIRST_ROW: int(rows.starts.min()),
            float_call.ROWS_READ: rows.span,
            float_call.BLOCK_ROWS: samples_of_blocks(rows),
            float_call.ROW_TAPS: rows.taps,
            float_call.ROW_STARTS: rows.starts.astype(np.uint64),
            float_call.ROW_WEIGHTS: _float32(rows.weights),
            float_call.HEIGHT: height,
            float_call.WHOLE_HEIGHT: height,
            float_call.WHOLE_WIDTH: width,
            **pixel_fields(segment),
        }
        self._call, self._arrays = call_of(fields, float_call.FIELDS)

    def arguments(
        self, images: torch.Tensor, out: torch.Tensor, shares: Shares, shared: NDArray[np.uint64]
    ) -> tuple[Any, ...]:
        """Return the kernel's arguments; see :meth:`KernelLaunch.arguments`."""
        call = self._call.copy()
        call[: float_call.SHARED + 1] = (
            images.data_ptr(), *images.stride(), shares.images, out.data_ptr(), *shares[1:], shared.ctypes.data
        )  # fmt: skip
        return SAMPLE[images.dtype], call, SAMPLE[out.dtype]

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        if self._transpose:
            images = images.transpose(-1, -2)
        return readable(images)


class GatherLaunch(KernelLaunch):
    """A launch for an operator whose axes do not separate.

    Args:
        segment: Segment to compute.
    """

    kernel = staticmethod(gather_kernel.gathered)

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment.operator.in_shape, segment.operator.out_shape, segment.rounding is not None)
        operator = segment.operator
        assert isinstance(operator, SpatialSparse)
        matrix = operator.matrix
        refuse_reads_outside("indices", matrix.indices, 1, matrix.shape[1])
        refuse_reads_outside("indptr", matrix.indptr, 0, len(matrix.data))
        rows, cols = np.divmod(matrix.indices, operator.in_size[1])
        # Sample by sample, not eight at a time.
        self.multiplications = matrix.nnz * int(np.count_nonzero(segment.channel))
        self._constants = (
            matrix.indptr.astype(np.uint64),
            rows.astype(np.uint32),
            cols.astype(np.uint32),
            _float32(matrix.data),
            np.uint64(self.out_shape[2]),
            _float32(segment.channel),
            _float32(segment.bias.reshape(len(segment.bias), -1)),
            _float32(segment.low),
            _float32(segment.high),
            _ROUNDINGS[segment.rounding],
        )

    def arguments(
        self, images: torch.Tensor, out: torch.Tensor, shares: Shares, shared: NDArray[np.uint64]
    ) -> tuple[Any, ...]:
        """Return the kernel's arguments; see :meth:`KernelLaunch.arguments`."""
        return (
            SAMPLE[images.dtype], images.data_ptr(), *images.stride(), *self._constants,
            SAMPLE[out.dtype], out.data_ptr(), *shares, shared,
        )  # fmt: skip

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images


class ByteLaunch(KernelLaunch):
    """A launch for a segment that rounds to bytes.

    Args:
        segment: Segment to compute.
    """

    kernel = staticmethod(byte_kernel.resized_bytes)

    def __init__(self, segment: ByteSegment) -> None:
        super().__init__(segment.in_shape, segment.out_shape, segment.is_rounded)
        self.shared_rows = height = len(segment.between) if segment.rows is None else segment.rows.n_out
        self._segment = segment
        frame = segment.frame
        top, left, whole_height, whole_width = (0, 0, *self.out_shape[1:]) if frame is None else (
            frame.top, frame.left, *frame.size
        )  # fmt: skip
        self._fields: dict[int, Any] = {
            field.STAGES: field.COMPUTE,
            field.CHANNELS: len(segment.channels),
            field.SOURCES: segment.channels.astype(np.uint64),
            field.CHANNELS_OUT: self.out_shape[0],
            field.WIDTH: segment.cols.n_out,
            field.HEIGHT: height,
            field.TOP: top,
            field.LEFT: left,
            field.WHOLE_HEIGHT: whole_height,
            field.WHOLE_WIDTH: whole_width,
            **_columns(segment),
            **_rows(segment),
            **_mix(segment),
        }
        self._calls: dict[torch.dtype, tuple[NDArray[np.uint64], list[NDArray[Any]]]] = {}
        of_columns = len(segment.between) * getattr(self._fields.get(field.COL_WEIGHTS), "size", 0) // BYTES
        of_rows = height * segment.cols.n_out * self._fields[field.ROW_TAPS] // LANES
        stored = height * segment.cols.n_out // LANES
        self.multiplications = len(segment.channels) * (of_columns + of_rows + stored)

    def call_for(self, out: torch.dtype) -> tuple[NDArray[np.uint64], list[NDArray[Any]]]:
        """Return a call without images and results, and the arrays that it has the addresses of.

        Args:
            out: Dtype of the results.
        """
        if out not in self._calls:
            # The first of several threads decides: of what the others made, the arrays are gone with them.
            self._calls.setdefault(out, self._new_call(out))
        return self._calls[out]

    def _new_call(self, out: torch.dtype) -> tuple[NDArray[np.uint64], list[NDArray[Any]]]:
        segment, fields = self._segment, self._fields.copy()
        if segment.table is not None:
            fields[field.TABLE] = in_dtype(segment.table, out)
            if out == torch.float32 and (factors := affine_of(segment.table.astype(np.float32))) is not None:
                fields[field.AFFINE] = factors
        frame_values = np.zeros(self.out_shape[0]) if segment.frame is None else segment.frame.values
        fields[field.AROUND] = in_dtype(frame_values, out)
        return call_of(fields, byte_call.FIELDS)

    def arguments(
        self, images: torch.Tensor, out: torch.Tensor, shares: Shares, shared: NDArray[np.uint64]
    ) -> tuple[Any, ...]:
        """Return the kernel's arguments; see :meth:`KernelLaunch.arguments`."""
        constants, _ = self.call_for(out.dtype)
        call = constants.copy()
        call[: field.SHARED + 1] = (
            images.data_ptr(), *images.stride(), 0, shares.images,
            out.data_ptr(), 0, *shares[1:], shared.ctypes.data,
        )  # fmt: skip
        return call, SAMPLE[out.dtype]

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images


def _columns(segment: ByteSegment) -> dict[int, Any]:
    """Return the fields of the pass along columns."""
    match segment.cols:
        case Float32Pass() as sums:
            windows, bits, weights = float32_windows(sums.taps, sums.unfused), 0, None
        case Pass() as sums:
            windows, bits = byte_windows(sums.axis, sums.weights), sums.bits
            weights = _parts(windows.weights, sums.is_wide, axis=-2)
        case copies:
            return {field.FIRST_COLUMN: copies.starts[0], field.LENGTH: copies.n_out, field.COL_KIND: byte_call.COPIED}
    return {
        field.FIRST_COLUMN: windows.first,
        field.LENGTH: windows.length,
        field.COL_KIND: byte_call.NEAR if windows.near else byte_call.FAR,
        field.COL_ARITHMETIC: _arithmetic(sums),
        field.COL_BITS: bits,
        field.COL_BLOCKS: windows.starts.shape[0],
        field.COL_STEPS: windows.starts.shape[1],
        field.COL_STARTS: windows.starts,
        field.COL_PLACES: windows.places,
        field.COL_WEIGHTS: windows.weights if weights is None else weights,
    }


def _rows(segment: ByteSegment) -> dict[int, Any]:
    """Return the fields of the pass along rows."""
    between = {field.BETWEEN: segment.between.astype(np.uint64), field.ROWS_BETWEEN: len(segment.between)}
    match segment.rows:
        case Float32Pass() as sums:
            starts, bits, taps = sums.taps.starts, 0, sums.taps.weights.shape[1]
            weights: NDArray[Any] = fused_and_unfused(sums.taps, sums.unfused)
        case Pass() as sums:
            starts, bits = sums.axis.starts, sums.bits
            weights = _parts(_in_pairs(sums.weights), sums.is_wide, axis=2)
            taps = 2 * weights.shape[1]
        case None:
            return {**between, field.ROW_TAPS: 1, field.ROW_STARTS: np.arange(len(segment.between), dtype=np.uint64)}
    return {
        **between,
        field.ROW_TAPS: taps,
        field.DESCENDS: bool((np.diff(starts) <= 0).all()) and len(starts) > 1,
        field.ROW_STARTS: starts.astype(np.uint64),
        field.ROW_ARITHMETIC: _arithmetic(sums),
        field.ROW_BITS: bits,
        field.ROW_STEPS: weights.shape[1],
        field.ROW_WEIGHTS: weights,
    }


def _mix(segment: ByteSegment) -> dict[int, Any]:
    """Return the fields of the mix of channels."""
    if segment.mix is None:
        return {field.MIX: byte_call.NO_MIX}
    return {
        field.MIX: byte_call.HALF_UP if segment.mix.half_up else byte_call.CUT_OFF,
        field.MIX_FUSED: segment.mix.is_fused,
        field.MIX_WEIGHTS: segment.mix.weights,
    }


def _arithmetic(sums: Pass | Float32Pass) -> int:
    if isinstance(sums, Float32Pass):
        return byte_call.FLOAT32_UNFUSED if sums.has_unfused else byte_call.FLOAT32
    return byte_call.WIDE if sums.is_wide else byte_call.NARROW


def in_dtype(values: NDArray[np.float64], dtype: torch.dtype) -> NDArray[Any]:
    """Return values in a dtype that the kernel writes, in memory that belongs together."""
    if dtype == torch.float16:
        return values.astype(np.float16).view(np.int16).ravel()
    return values.astype({torch.uint8: np.uint8, torch.float32: np.float32}[dtype]).ravel()


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

"""Run pipelines on images of any size, without a plan for each: sizes are computed, tables filled, the kernel run.

Tables lie in memory that each thread has for itself and uses again. As long as sizes and windows are those of the image
before, they stay as they are.
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import AxisMap, Range, simplify
from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu import fill, memory, taps
from onelayer.backends.cpu.byte_kernel import resized_bytes
from onelayer.backends.cpu.launch import (
    MULTIPLICATIONS_PER_THREAD,
    SAMPLE,
    ByteLaunch,
    in_dtype,
    run_in_threads,
    shares_of,
)
from onelayer.backends.cpu.split import ByteSegment, byte_segments_of
from onelayer.backends.cpu.tables import BYTES, LANES
from onelayer.backends.kernel_memory import written_dtype
from onelayer.backends.target import ComputeAnySize, LoweringTarget, PixelMemory, ResultMemory
from onelayer.frontends.placement import Placed, Sums, SumsName, Window
from onelayer.frontends.structure import Structure

KINDS: dict[SumsName, int] = {
    "box": taps.BOX,
    "bilinear": taps.BILINEAR,
    "hamming": taps.HAMMING,
    "bicubic": taps.BICUBIC,
    "lanczos": taps.LANCZOS,
    "bilinear_without_antialiasing": taps.LINEAR_PAIRS,
    "bicubic_without_antialiasing": taps.CUBIC_FOURS,
    "float32_bilinear": taps.FLOAT32_BILINEAR,
    "float32_bicubic": taps.FLOAT32_BICUBIC,
    "nearest": taps.NEAREST,
    "nearest_exact": taps.NEAREST_EXACT,
    "pillow_nearest": taps.PILLOW_NEAREST,
}
"""Kernels' numbers of the filters."""

_CALL = Struct(f"{field.OF_IMAGE_FIELDS}q")
"""The fields of a call that are set for each image."""

_Frame = tuple[int, int, int, int, int]
"""Rows above, columns to the left, height and width of the whole, address of the values around."""


class _Workspace:
    """Memory for the tables of one call at a time.

    Args:
        outputs: Number of outputs of an axis that there is room for.
        taps: Number of taps that there is room for.
        lines: Length of an axis of an image that there is room for.
    """

    def __init__(self, outputs: int = 512, taps: int = 32, lines: int = 1024) -> None:
        self.outputs, self.taps, self.lines = outputs, taps, lines
        long = outputs + 2 * BYTES
        all_taps = (taps + 2 * BYTES) * long
        self._arrays: dict[int, NDArray[Any]] = {
            fill.FIRST: np.empty(long, np.int32),
            fill.NUMBERS: np.empty(long, np.int32),
            fill.REAL: np.empty(all_taps, np.float64),
            fill.WHOLE: np.empty(all_taps, np.int32),
            fill.STARTS: np.empty(all_taps, np.uint64),
            fill.PLACES: np.empty(all_taps, np.int32),
            fill.COL_WEIGHTS: np.empty(4 * all_taps, np.int32),
            fill.ROW_STARTS: np.empty(long, np.uint64),
            fill.ROW_WEIGHTS: np.empty(2 * all_taps, np.int32),
            fill.COPIES: np.empty(long, np.uint64),
            fill.NATURAL: np.arange(max(lines, long), dtype=np.uint64),
        }
        self._addresses = np.array([self._arrays[place].ctypes.data for place in range(fill.ADDRESSES)], np.uint64)
        self.address = self._addresses.ctypes.data
        self.call = np.zeros(field.FIELDS, np.uint64)
        self.memory = memoryview(self.call)
        self.kernel: _Kernel | None = None
        self.filled_for: object = None

    def has_room(self, outputs: int, taps: int, lines: int) -> bool:
        """Whether tables of a size fit."""
        return outputs <= self.outputs and taps <= self.taps and lines <= self.lines


class _OfThread(local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.workspace = _Workspace()


_OF_THREAD = _OfThread()


class _Kernel:
    """The byte kernel with the channels, mix, table and filter of a pipeline.

    Args:
        segment: What happens to each pixel, as a segment for images of 1×1.
        sums: Arithmetic of the resize; None without one.
        out: Dtype of the results.
    """

    def __init__(self, segment: ByteSegment, sums: Sums | None, out: torch.dtype) -> None:
        # The arrays keep the memory alive that the call has the addresses of.
        self._template, self._arrays = ByteLaunch(segment).call_for(out)
        self._into = SAMPLE[out]
        self._channels = len(segment.channels)
        self._is_pixel = segment.channels.tolist() == [0, 1, 2]
        self._kind = taps.BILINEAR if sums is None else KINDS[sums.name]
        limit, unfused = (0, 0) if sums is None else (sums.limit, sums.unfused)
        self._template[[field.FILTER, field.LIMIT, field.UNFUSED]] = self._kind, limit, unfused
        self.support = taps.SUPPORT[self._kind]

    def __call__(
        self, images: PixelMemory, rows: Window, cols: Window, frame: _Frame, results: ResultMemory, threads: int
    ) -> bool:
        """Compute; False where sums could exceed 32 bits.

        What is done here is done for each image, in cold caches: numbers go into the call all at once.
        """
        workspace = _OF_THREAD.workspace
        pixel = images.of_column if self._is_pixel and images.of_channel == 1 and images.of_column in (3, 4) else 0
        filled_for, fills = (rows, cols, pixel), 0
        if workspace.kernel is not self or workspace.filled_for != filled_for:
            workspace = self._workspace_for(rows, cols)
            fills = workspace.address
        count = images.images
        if threads > 1:
            read = cols[4] * self._most_taps(cols) * rows[1] // BYTES
            summed = rows[4] * cols[4] * (self._most_taps(rows) + 1) // LANES
            threads = min(threads, 1 + count * self._channels * (read + summed) // MULTIPLICATIONS_PER_THREAD)
        # Alone, a thread takes all images at once.
        own = *images[:6], count if threads == 1 else 0, *results[:2], 1, rows[4], count, 0
        _CALL.pack_into(workspace.memory, 0, *own, *frame, fills, pixel, *rows, *cols)
        if not resized_bytes(workspace.call, self._into):
            return False
        workspace.filled_for = filled_for
        if threads > 1:
            self._run_in_threads(workspace, count, rows[4], threads, (images, results))
        return True

    def _workspace_for(self, rows: Window, cols: Window) -> _Workspace:
        """Return this thread's workspace, with room for tables and the constants of this kernel."""
        workspace, lines = _OF_THREAD.workspace, rows[0] + rows[1]
        outputs, most = max(rows[2], cols[2]), max(self._most_taps(rows), self._most_taps(cols))
        if not workspace.has_room(outputs, most, lines):
            workspace = _OF_THREAD.workspace = _Workspace(2 * outputs, 2 * most, 2 * lines)
        if workspace.kernel is not self:
            workspace.call[:] = self._template
            workspace.kernel = self
        workspace.filled_for = None
        return workspace

    def _run_in_threads(self, workspace: _Workspace, count: int, rows: int, threads: int, memory: object) -> None:
        """Run a call whose tables are filled in several threads."""
        shares = shares_of(count, rows, threads)
        # Threads that come late still read the call, and find nothing left to do.
        call, counters = workspace.call.copy(), np.zeros(3, np.uint64)
        call[[field.COUNT, field.PIECES, field.PIECE_ROWS, field.AT_ONCE]] = shares
        call[[field.SHARED, field.FILLS]] = counters.ctypes.data, 0
        run = partial(resized_bytes, call, self._into)
        try:
            run_in_threads(run, threads, shares, counters, (self, memory, workspace))
        except BaseException:
            # Interrupted while another thread still reads the tables: they are left to it.
            _OF_THREAD.workspace = _Workspace()
            raise

    def _most_taps(self, window: Window) -> int:
        return taps.most_taps(window[1], window[2], self._kind)


class AnySize:
    """A pipeline of bytes on the CPU, for images of any size.

    Args:
        structure: The pipeline.
        segment: What it does to each pixel, as a segment for images of 1×1.
        out: Dtype of the results: uint8, float16 or float32.
    """

    def __init__(self, structure: Structure, segment: ByteSegment, out: torch.dtype) -> None:
        sums = structure.sums
        self._kernel = _Kernel(segment, sums, out)
        self._channels = structure.input_spec.shape[0]
        self._rows_alone = _Kernel(_copies(self._channels), sums, torch.uint8)
        self._first = None if sums is None or KINDS[sums.name] >= taps.NEAREST else sums.first
        # By the step that has them; without one there is no frame, and they are not read.
        fills = {id(None): np.zeros(1), **dict(zip(map(id, structure.steps), structure.fills, strict=True))}
        self._fills = {step: in_dtype(values, out) for step, values in fills.items()}
        self._addresses = {step: values.ctypes.data for step, values in self._fills.items()}

    def __call__(self, images: PixelMemory, placed: Placed, results: ResultMemory, threads: int) -> bool:
        """Compute; see :class:`onelayer.backends.target.ComputeAnySize`."""
        rows, cols, top, left, height, width, step = placed
        frame = top, left, height, width, self._addresses[id(step)]
        before, after = (rows[1], cols[1]), (rows[2], cols[2])
        changes_both = before[0] != after[0] and before[1] != after[1]
        if changes_both and self._first is not None and self._first(before, after) == "rows":
            return self._rows_first(images, rows, cols, frame, results, threads)
        return self._kernel(images, rows, cols, frame, results, threads)

    def _rows_first(
        self, images: PixelMemory, rows: Window, cols: Window, frame: _Frame, results: ResultMemory, threads: int
    ) -> bool:
        """Resize rows to bytes, and then columns; only those columns that are read."""
        start, length, resized, low, kept, flip = cols
        scale = length / resized
        reach = self._kernel.support * max(scale, 1.0) + 1
        begin = max(int((low + 0.5) * scale - reach), 0)
        width = min(int((low + kept - 0.5) * scale + reach) + 1, length) - begin
        height, channels = rows[4], self._channels
        between = memory.empty((images.images, channels, height, width), torch.uint8)
        written = ResultMemory(between.data_ptr(), 0, between)
        whole = 0, 0, height, width, self._addresses[id(None)]
        if not self._rows_alone(images, rows, (start + begin, width, width, 0, width, 0), whole, written, threads):
            return False
        of_channel = height * width
        read = PixelMemory(between.data_ptr(), channels * of_channel, of_channel, width, 1, 0, images.images, between)
        remaining = -begin, length, resized, low, kept, flip
        return self._kernel(read, (0, height, height, 0, height, 0), remaining, frame, results, threads)


def _copies(channels: int) -> ByteSegment:
    """Return a segment that copies images of 1×1."""
    one = np.zeros(1, np.int64)
    return ByteSegment((channels, 1, 1), np.arange(channels), AxisMap.identity(1), one, None, None, None, None, True)


def lower_any_size(structure: Structure, target: LoweringTarget) -> tuple[ComputeAnySize, torch.dtype] | str:
    """Lower a structure to the byte kernel.

    Returns:
        A function that computes, and the dtype that it writes; or the reason why the kernel cannot run it.
    """
    pixels = structure.pixels
    program = simplify(pixels, Range.of(pixels.in_shape[0], 0.0, 255.0)).program
    segments = byte_segments_of(program) if program.stages else [_copies(pixels.in_shape[0])]
    if isinstance(segments, str):
        return segments
    if len(segments) > 1:
        return "what happens to each pixel takes several kernels"
    (segment,) = segments
    written = written_dtype(target, segment.is_rounded)
    if written == torch.uint8 and any((np.clip(np.rint(fill), 0, 255) != fill).any() for fill in structure.fills):
        return "its padding is no byte"
    return AnySize(structure, segment, written), written

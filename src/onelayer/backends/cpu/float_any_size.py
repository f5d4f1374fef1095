"""Run pipelines in float32 on images of any size: sizes are computed, tables filled, the separable kernel run.

As :mod:`onelayer.backends.cpu.any_size` does with bytes. Sums, and their order, are those of a program of one stage for
one size, so that both give the same bits; where a program is several stages, because they cost less, they differ by
rounding.
"""

from __future__ import annotations

from functools import partial
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.backends.cpu import float_call as field
from onelayer.backends.cpu import float_fill as fill
from onelayer.backends.cpu import taps
from onelayer.backends.cpu.any_size import KINDS
from onelayer.backends.cpu.counters import HAS_NAN
from onelayer.backends.cpu.float_kernel import separable
from onelayer.backends.cpu.launch import (
    MULTIPLICATIONS_PER_THREAD,
    SAMPLE,
    call_of,
    in_dtype,
    pixel_fields,
    run_in_threads,
    shares_of,
)
from onelayer.backends.cpu.tables import LANES
from onelayer.backends.cpu.taps import SPARE
from onelayer.backends.kernel_memory import read_dtype, written_dtype
from onelayer.backends.segments import Segment, segment_of_pixels
from onelayer.backends.target import ComputeAnySize, LoweringTarget, PixelMemory, ResultMemory
from onelayer.frontends.placement import NUMBERS, Placed, RealSums
from onelayer.frontends.structure import Structure


class _Workspace:
    """Memory for the tables of one call at a time.

    Args:
        outputs: Number of outputs of an axis that there is room for.
        taps: Number of taps of an output that there is room for.
        of_columns: Number of weights of all columns, zeros in blocks included, that there is room for.
    """

    def __init__(self, outputs: int = 512, taps: int = 32, of_columns: int = 1 << 15) -> None:
        self.outputs, self.taps, self.of_columns = outputs, taps, of_columns
        long = outputs + SPARE
        self._arrays: dict[int, NDArray[Any]] = {
            fill.FIRST: np.empty(long, np.int32),
            fill.NUMBERS: np.empty(long, np.int32),
            fill.REAL: np.empty((taps + 2) * long, np.float64),
            fill.WEIGHTS: np.empty(taps * long, np.float32),
            fill.COL_STARTS: np.empty(long, np.uint64),
            fill.COL_WEIGHTS: np.empty(of_columns, np.float32),
            fill.ROW_STARTS: np.empty(long, np.uint64),
            fill.ROW_WEIGHTS: np.empty(taps * long, np.float32),
        }
        self.addresses = np.array([self._arrays[place].ctypes.data for place in range(fill.ADDRESSES)], np.uint64)
        self.call = np.zeros(field.FIELDS, np.uint64)
        self.filled_for: object = None
        self.placed_for: object = None
        self.placed: Placed | None = None

    def has_room(self, outputs: int, taps: int) -> bool:
        """Whether taps of a size fit."""
        return outputs <= self.outputs and taps <= self.taps


class _OfThread(local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.workspace = _Workspace()
        self.counters = np.zeros(3, np.uint64)
        self.counters_address = self.counters.ctypes.data


_OF_THREAD = _OfThread()


def place_image(moves: NDArray[np.int64], height: int, width: int) -> Placed | None:
    """Place an image in compiled code; None if only stages can say what becomes of one of this size.

    Args:
        moves: Moves; see :func:`onelayer.frontends.placement.place`.
        height: Rows of the image.
        width: Columns of the image.
    """
    numbers = np.empty(NUMBERS, np.int64)
    is_placed = min(height, width) > 0 and fill.placed(moves, height, width, numbers)
    return Placed.of(numbers.tolist()) if is_placed else None


def fill_tables_of_one_pixel() -> None:
    """Place an image of one pixel and fill its tables: all that is to be compiled for it is compiled then."""
    place_image(np.zeros(0, np.int64), 1, 1)
    workspace, window = _Workspace(), (0, 1, 1, 0, 1, 0)
    fill.filled(
        workspace.call, workspace.addresses, workspace.of_columns, taps.BILINEAR, True, True, window, window
    )  # fmt: skip


class FloatAnySize:
    """A pipeline in float32 on the CPU, for images of any size.

    Args:
        structure: The pipeline.
        segment: What it does to each pixel, as a segment for images of 1×1.
        target: What it is lowered for.
    """

    writes_pixels = False

    def __init__(self, structure: Structure, segment: Segment, target: LoweringTarget) -> None:
        images = read_dtype(getattr(torch, structure.input_spec.dtype))
        out = written_dtype(target, segment.rounding is not None)
        self._of, self._into = SAMPLE[images], SAMPLE[out]
        # The arrays keep the memory alive that the call has the addresses of.
        self._template, self._arrays = call_of(pixel_fields(segment), field.FIELDS)
        self._channels = len(segment.channel)
        sums = structure.sums
        self._kind, self._in_float32, self._is_fused = taps.BILINEAR, False, False
        if isinstance(sums, RealSums):
            self._kind, self._in_float32, self._is_fused = KINDS[sums.name], sums.in_float32, sums.fused
        self._moves = np.array(structure.moves, np.int64)
        # Of each step; the last is for no frame, and not read.
        fills = *structure.fills, np.zeros(1)
        self._fills = [in_dtype(values.astype(np.float32), out) for values in fills]
        self._addresses = [values.ctypes.data for values in self._fills]

    def place(self, height: int, width: int, moves: tuple[int, ...] | None = None) -> Placed | None:
        """Place images; see :meth:`onelayer.backends.target.ComputeAnySize.place`."""
        workspace, placed_for = _OF_THREAD.workspace, (self, height, width, moves)
        if workspace.placed_for != placed_for:
            placed = place_image(self._moves if moves is None else np.array(moves, np.int64), height, width)
            workspace.placed = None if placed is None or placed.is_turned or placed.border else placed
            workspace.placed_for = placed_for
        return workspace.placed

    def __call__(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        results: ResultMemory,
        threads: int,
        moves: tuple[int, ...] | None = None,
    ) -> bool:
        """Compute; False also where there may be NaN among the results, see :class:`ComputeAnySize`."""
        if (placed := self.place(height, width, moves)) is None:
            return False
        rows, cols, top, left, whole_height, whole_width, frame, _ = placed
        mine = _OF_THREAD
        workspace = mine.workspace
        filled_for = self, rows, cols
        if workspace.filled_for != filled_for:
            workspace = self._filled(rows, cols)
            workspace.filled_for = filled_for
        call, count = workspace.call, images.images
        call[field.TOP :] = top, left, whole_height, whole_width, self._addresses[frame]
        if threads > 1:
            of_rows = int(call[field.ROW_TAPS] * call[field.LENGTH])
            of_columns = int(call[field.COL_BLOCKS] * call[field.COL_TAPS]) * LANES
            work = count * self._channels * rows[4] * (of_rows + of_columns) // LANES
            threads = min(threads, 1 + work // MULTIPLICATIONS_PER_THREAD)
        if threads == 1:
            counters = mine.counters
            counters.fill(0)
            call[: field.SHARED + 1] = (*images[:5], count, results.address, 1, rows[4], count, mine.counters_address)
            separable(self._of, call, self._into)
            return not counters[HAS_NAN]
        shares = shares_of(count, rows[4], threads)
        # Threads that come late still read the call, and find nothing left to do.
        call, counters = call.copy(), np.zeros(3, np.uint64)
        call[: field.SHARED + 1] = (*images[:5], count, results.address, *shares[1:], counters.ctypes.data)
        run = partial(separable, self._of, call, self._into)
        try:
            run_in_threads(run, threads, shares, counters, (self, images, results, workspace))
        except BaseException:
            # Interrupted while another thread still reads the tables: they are left to it.
            mine.workspace = _Workspace()
            raise
        return not counters[HAS_NAN]

    def _filled(self, rows: tuple[int, ...], cols: tuple[int, ...]) -> _Workspace:
        """Fill the tables of this thread, in new memory where there is no room for them."""
        workspace = _OF_THREAD.workspace
        outputs = max(rows[4], cols[4])
        most = max(taps.most_taps(length, resized, self._kind) for _, length, resized, *_ in (rows, cols))
        if not workspace.has_room(outputs, most):
            workspace = _Workspace(2 * outputs, 2 * most, workspace.of_columns)
        while True:
            workspace.filled_for = None
            workspace.call[:] = self._template
            needed = fill.filled(
                workspace.call, workspace.addresses, workspace.of_columns,
                self._kind, self._in_float32, self._is_fused, rows, cols,
            )  # fmt: skip
            _OF_THREAD.workspace = workspace
            if needed <= workspace.of_columns:
                return workspace
            workspace = _Workspace(workspace.outputs, workspace.taps, 2 * int(needed))


def lower_any_size(structure: Structure, target: LoweringTarget) -> tuple[ComputeAnySize, torch.dtype] | str:
    """Lower a structure to the separable kernel.

    Returns:
        A function that computes, and the dtype that it writes; or the reason why the kernel cannot run it.
    """
    segment = segment_of_pixels(structure)
    if isinstance(segment, str):
        return segment
    return FloatAnySize(structure, segment, target), written_dtype(target, segment.rounding is not None)

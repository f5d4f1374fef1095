"""Calls of the kernel for bytes: its arguments for one segment of a program."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu import byte_kernel as numba_bytes
from onelayer.backends.cpu.byte_segments import ByteSegment, Float32Pass, Pass
from onelayer.backends.cpu.byte_windows import BYTES, windows_of
from onelayer.backends.cpu.float32_windows import single_windows_of, two_weights
from onelayer.backends.cpu.integer_sums import LOW_BITS
from onelayer.backends.cpu.launch import KernelLaunch
from onelayer.backends.cpu.windows import LANES


class ByteLaunch(KernelLaunch):
    """Of a segment that rounds to bytes.

    Args:
        segment: The segment.
    """

    kernel = staticmethod(numba_bytes.resized_bytes)

    def __init__(self, segment: ByteSegment) -> None:
        super().__init__(segment.out_shape, segment.is_rounded)
        self.shared_rows = height = len(segment.between) if segment.rows is None else segment.rows.n_out
        cols, rows = self._columns(segment), self._rows(segment)
        before = segment.channels.astype(np.uint64), *cols, *rows, *self._mix(segment)
        frame = segment.frame
        place = (0, 0, *segment.out_shape[1:]) if frame is None else (frame.top, frame.left, *frame.size)
        around = tuple(np.uint64(number) for number in place)

        @cache
        def constants(out: torch.dtype) -> tuple[Any, ...]:
            table, frame_values = _values(segment, out)
            return *before, table, *around, frame_values

        self._all = constants
        of_columns = len(segment.between) * cols[5].size // BYTES
        of_rows = height * segment.cols.n_out * int(rows[1]) // LANES
        stored = height * segment.cols.n_out // LANES
        self.multiplications = len(segment.channels) * (of_columns + of_rows + stored)

    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:
        return self._all(out)

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def _columns(self, segment: ByteSegment) -> tuple[Any, ...]:
        width = np.uint64(segment.cols.n_out)
        match segment.cols:
            case Float32Pass() as single:
                windows, bits = single_windows_of(single.taps, single.apart), 0
                arithmetic, weights = _arithmetic(single), windows.weights.view(np.int16)
            case Pass() as whole:
                windows, bits = windows_of(whole.axis, whole.whole), whole.bits
                arithmetic, weights = _arithmetic(whole), _parts(windows.weights, whole.is_wide, axis=-2)
            case copied:
                first, nothing = np.uint64(copied.starts[0]), np.zeros((0, 0, 4), np.uint64)
                no_places, no_weights = np.zeros(0, np.uint8), np.zeros(0, np.int16)
                narrow = numba_bytes.NARROW
                return first, width, numba_bytes.COPIED, nothing, no_places, no_weights, narrow, 0, width
        return (
            np.uint64(windows.first),
            np.uint64(windows.length),
            numba_bytes.NEAR if windows.near else numba_bytes.FAR,
            windows.starts,
            windows.places.ravel(),
            weights.ravel(),
            arithmetic,
            bits,
            width,
        )

    def _rows(self, segment: ByteSegment) -> tuple[Any, ...]:
        between, height = segment.between.astype(np.uint64), np.uint64(self.shared_rows)
        arithmetic = numba_bytes.NARROW if segment.rows is None else _arithmetic(segment.rows)
        match segment.rows:
            case Float32Pass() as single:
                starts, bits, taps = single.taps.starts, 0, single.taps.weights.shape[1]
                weights = two_weights(single.taps, single.apart).view(np.int16)
            case Pass() as whole:
                starts, bits = whole.axis.starts, whole.bits
                weights = _parts(_in_twos(whole.whole), whole.is_wide, axis=2)
                taps = 2 * weights.shape[1]
            case None:
                starts, bits, taps = np.arange(len(between)), 0, 1
                weights = np.zeros((0, 0, 0), np.int16)
        descends = bool((np.diff(starts) <= 0).all()) and len(starts) > 1
        by_step = weights.reshape(*weights.shape[:2], -1) if weights.size else np.zeros((0, 0, 0), np.int16)
        return between, np.uint64(taps), descends, starts.astype(np.uint64), by_step, arithmetic, bits, height

    def _mix(self, segment: ByteSegment) -> tuple[Any, ...]:
        if segment.mix is None:
            return np.zeros(0, np.float32), False, numba_bytes.NO_MIX
        rounding = numba_bytes.HALF_UP if segment.mix.half_up else numba_bytes.CUT_OFF
        return segment.mix.weights.ravel(), segment.mix.fused, rounding


def _arithmetic(one: Pass | Float32Pass) -> int:
    if isinstance(one, Float32Pass):
        return numba_bytes.APART if one.has_apart else numba_bytes.SINGLE
    return numba_bytes.WIDE if one.is_wide else numba_bytes.NARROW


def _values(segment: ByteSegment, dtype: torch.dtype) -> tuple[NDArray[Any], NDArray[Any]]:
    """The table, and the values of the frame, in a dtype that the kernel writes."""
    of = {torch.uint8: np.uint8, torch.float32: np.float32, torch.float16: np.float16}[dtype]
    table = np.zeros(0) if segment.table is None else segment.table.ravel()
    frame = np.zeros(segment.out_shape[0]) if segment.frame is None else segment.frame.values
    values = table.astype(of), frame.astype(of)
    # Numba does not compute with float16, and has it as int16.
    return (values[0].view(np.int16), values[1].view(np.int16)) if dtype == torch.float16 else values


def _in_twos(whole: IntArray) -> IntArray:
    """Weights [lines, taps] as pairs of neighbouring taps, [lines, pairs, 2]."""
    lines, taps = whole.shape
    even = np.zeros((lines, taps + taps % 2), np.int64)
    even[:, :taps] = whole
    return even.reshape(lines, -1, 2)


def _parts(whole: IntArray, is_wide: bool, axis: int) -> NDArray[np.int16]:
    """Weights with their parts along one more axis: one part, or the lower bits and the rest."""
    low = whole & ((1 << LOW_BITS) - 1)
    parts = [low, whole >> LOW_BITS] if is_wide else [whole]
    return np.ascontiguousarray(np.stack(parts, axis=axis).astype(np.int16))

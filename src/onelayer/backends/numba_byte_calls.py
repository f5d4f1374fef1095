"""Calls of the kernel for bytes: its arguments for one segment of a program."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.backends import numba_bytes
from onelayer.backends.byte_segments import ByteSegment, Pass
from onelayer.backends.numba_calls import Call
from onelayer.backends.windows import LANES, first_column_and_blocks, nearby
from onelayer.operators.contract import IntArray

_LOW = 1 << 7
"""A wide weight is so many times its high part, and its low part."""


class ByteCall(Call):
    """Of a segment that rounds to bytes.

    Args:
        segment: The segment.
    """

    kernel = staticmethod(numba_bytes.resized_bytes)

    def __init__(self, segment: ByteSegment) -> None:
        super().__init__(segment.out_shape, segment.is_rounded)
        cols, rows = self._columns(segment), self._rows(segment)
        self._before_table = (segment.channels.astype(np.uint64), *cols, *rows, *self._mix(segment))
        self._table = cache(lambda dtype: _table(segment, dtype))
        _, height, width = segment.out_shape
        col_pairs, row_pairs = cols[4], rows[4]
        of_columns = len(segment.between) * col_pairs.size // (2 * LANES)
        of_rows = height * width * row_pairs.shape[1] // LANES
        self.multiplications = len(segment.channels) * (of_columns + of_rows + height * width // LANES)

    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:
        return *self._before_table, self._table(out)

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def _columns(self, segment: ByteSegment) -> tuple[Any, ...]:
        width = np.uint64(segment.out_shape[2])
        if not isinstance(segment.cols, Pass):
            places = segment.cols.starts.astype(np.uint64)
            runs = bool((np.diff(segment.cols.starts) == 1).all())
            nothing = np.zeros((0, 0, LANES, 2), np.int16)
            return np.uint64(0), np.uint64(0), places, runs, np.zeros(0, np.uint64), nothing, 0, False, width
        axis = nearby(segment.cols.axis)
        first, starts, blocks = first_column_and_blocks(axis)
        # Whole numbers below 2²⁴ times a power of two: float32 holds them.
        whole = np.rint(blocks.astype(np.float64) * (1 << segment.cols.bits)).astype(np.int64)
        split = segment.cols.is_wide
        pairs = _split(whole) if split else _in_twos(whole)
        of_line = starts * np.uint64(2 if split else 1)
        places = np.zeros(0, np.uint64)
        return np.uint64(first), np.uint64(axis.span), places, False, of_line, pairs, segment.cols.bits, split, width

    def _rows(self, segment: ByteSegment) -> tuple[Any, ...]:
        between, height = segment.between.astype(np.uint64), np.uint64(segment.out_shape[1])
        if not isinstance(segment.rows, Pass):
            starts, bits, split = segment.rows.starts, 0, False
            pairs = np.zeros((0, 0, 2), np.int16)
        else:
            starts, bits, split = segment.rows.axis.starts, segment.rows.bits, segment.rows.is_wide
            whole = segment.rows.whole[:, :, None]
            pairs = (_split(whole) if split else _in_twos(whole))[:, :, 0]
        taps = max(1, pairs.shape[1] * (1 if split else 2))
        descends = bool((np.diff(starts) <= 0).all()) and len(starts) > 1
        return (
            between,
            np.uint64(taps),
            descends,
            starts.astype(np.uint64),
            np.ascontiguousarray(pairs),
            bits,
            split,
            height,
        )

    def _mix(self, segment: ByteSegment) -> tuple[Any, ...]:
        if segment.mix is None:
            return np.zeros((0, 0), np.float32), False, numba_bytes.NO_MIX
        rounding = numba_bytes.HALF_UP if segment.mix.half_up else numba_bytes.CUT_OFF
        return np.ascontiguousarray(segment.mix.weights), segment.mix.fused, rounding


def _table(segment: ByteSegment, dtype: torch.dtype) -> NDArray[Any]:
    of = {torch.uint8: np.uint8, torch.float32: np.float32, torch.float16: np.float16}[dtype]
    values = np.zeros(0) if segment.table is None else segment.table.ravel()
    table = values.astype(of)
    # Numba does not compute with float16, and has it as int16.
    return table.view(np.int16) if dtype == torch.float16 else table


def _in_twos(whole: IntArray) -> NDArray[np.int16]:
    """Weights [lines, taps, lanes] as pairs of neighbouring taps, [lines, pairs, lanes, 2]."""
    lines, taps, lanes = whole.shape
    even = np.zeros((lines, taps + taps % 2, lanes), np.int16)
    even[:, :taps] = whole
    return np.ascontiguousarray(even.reshape(lines, -1, 2, lanes).swapaxes(2, 3))


def _split(whole: IntArray) -> NDArray[np.int16]:
    """Weights [lines, taps, lanes] as the two parts of each, [lines, taps, lanes, 2]."""
    high = np.minimum(whole // _LOW, 32767)
    return np.stack([whole - high * _LOW, high], axis=-1).astype(np.int16)

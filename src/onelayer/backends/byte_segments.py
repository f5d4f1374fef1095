"""Programs that round to bytes between their passes, cut into segments, each of which is one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.operators import AxisMap, Lookup, Program, Quantize, Separable, SingleSums, Stage
from onelayer.operators.contract import FloatArray, IntArray, Shape
from onelayer.operators.fixed_point import whole_weights

_LARGEST = 32767 + 32767 * 128
"""The largest weight that splits into two parts of 16 bits, one of them times 128: 1.008 with 22 bits of fraction. Only
enlargements with negative weights have larger ones, at the edges."""


@dataclass(frozen=True, eq=False)
class Pass:
    """Sums of bytes along one axis, rounded half up.

    Args:
        axis: Its map, in fixed point.
        whole: The weights as whole numbers, [n_out, taps].
        bits: Of fraction in them.
    """

    axis: AxisMap
    whole: IntArray
    bits: int

    @property
    def is_wide(self) -> bool:
        """Whether a weight takes more than 16 bits."""
        return int(np.abs(self.whole).max()) > 32767


@dataclass(frozen=True, eq=False)
class Mix:
    """What becomes of the channels of each pixel, in float32.

    Args:
        weights: float32 [C', C].
        fused: Whether products are added with one rounding.
        half_up: Whether a half is added before the fraction is cut off.
    """

    weights: NDArray[np.float32]
    fused: bool
    half_up: bool


@dataclass(frozen=True, eq=False)
class ByteSegment:
    """One kernel's work: a pass along columns, one along rows, a mix of channels, a table; all but copies may miss.

    Args:
        out_shape: Of the results.
        channels: Which channels are taken, [C].
        cols: Along columns.
        rows: Along rows.
        mix: Of the channels, or None.
        table: float64 [C', 256], or None.
        is_rounded: Whether bytes come out.
    """

    out_shape: Shape
    channels: IntArray
    cols: Pass | AxisMap
    rows: Pass | AxisMap
    between: IntArray
    """The row of the image that each row before the pass along rows is."""
    mix: Mix | None
    table: FloatArray | None
    is_rounded: bool


def byte_segments_of(program: Program) -> list[ByteSegment] | str:
    """Cut a program for bytes into segments, or say why it has none."""
    stages: list[Stage] = list(program.stages)
    if not stages:
        return "the program is empty"
    shape, segments = program.in_shape, []
    while stages:
        found = _first_segment(stages, shape)
        if isinstance(found, str):
            return found
        segment, length = found
        if len(stages) > length and not segment.is_rounded:
            return "it computes with floating point numbers after its table"
        segments.append(segment)
        shape = segment.out_shape
        del stages[:length]
    return segments


def _first_segment(stages: Sequence[Stage], shape: Shape) -> tuple[ByteSegment, int] | str:
    channels: IntArray = np.arange(shape[0])
    cols: Pass | AxisMap = AxisMap.identity(shape[2])
    rows: Pass | AxisMap = AxisMap.identity(shape[1])
    between: IntArray = np.arange(shape[1])
    length = 0
    if isinstance(stages[0], Separable) and _copies_channels(stages[0]):
        first = stages[0]
        if first.transpose or first.bias.any():
            return "it swaps height and width, or adds to values, between roundings"
        channels = first.channel.argmax(axis=1)
        along_cols, along_rows = not first.cols.is_selection, not first.rows.is_selection
        if along_cols and along_rows:
            return "it adds up along both axes at once"
        passes = [_pass(axis) for axis in (first.cols, first.rows) if not axis.is_selection]
        if None in passes or (passes and not _rounds(stages, 1, "half_up")):
            return "its weights are no whole numbers over a power of two, or too large"
        length = 2 if passes else 1
        if along_rows:
            cols, rows = first.cols, passes[0]  # type: ignore[assignment]  # None was refused
        else:
            cols, between = (passes[0] or first.cols) if passes else first.cols, first.rows.starts
            rows = AxisMap.identity(len(between))
        if along_cols and (second := _rows_after(stages, length)) is not None:
            rows, length = second, length + 2
    # Bytes are whole already.
    while length < len(stages) and isinstance(idle := stages[length], Quantize) and idle.dtype == "uint8":
        length += 1
    channel_count = len(channels)
    mix = None
    if (found := _mix(stages, length)) is not None:
        mix, length, channel_count = found, length + 2, len(found.weights)
    table, is_rounded = None, True
    if length < len(stages) and isinstance(lookup := stages[length], Lookup):
        table, length = np.broadcast_to(lookup.table, (channel_count, 256)), length + 1
        is_rounded = bool(((table == np.rint(table)) & (table >= 0) & (table <= 255)).all())
        # Whole numbers that are the end of it may be floating point ones; a rounding would have been a table too.
        if not is_rounded and (table != table.astype(np.float32)).any():
            return "its table has values that float32 cannot hold"
    if length == 0:
        return f"a {type(stages[0]).__name__} is nothing that the kernels for bytes do"
    out_shape = channel_count, rows.axis.n_out if isinstance(rows, Pass) else rows.n_out, _length(cols)
    return ByteSegment(out_shape, channels, cols, rows, between, mix, table, is_rounded), length


def _length(axis: Pass | AxisMap) -> int:
    return axis.axis.n_out if isinstance(axis, Pass) else axis.n_out


def _copies_channels(stage: Separable) -> bool:
    return bool(((stage.channel == 0) | (stage.channel == 1)).all() and (stage.channel.sum(axis=1) == 1).all())


def _rounds(stages: Sequence[Stage], at: int, rounding: str) -> bool:
    if at >= len(stages):
        return False
    stage = stages[at]
    return isinstance(stage, Quantize) and stage.rounding == rounding and stage.dtype == "uint8"


def _pass(axis: AxisMap) -> Pass | None:
    found = whole_weights(axis)
    if found is None:
        return None
    whole, bits = found
    fits = int(np.abs(whole).max()) <= _LARGEST and 255 * int(np.abs(whole).sum(axis=1).max()) < 1 << 31
    return Pass(axis, whole, bits) if fits and bits >= 1 else None


def _rows_after(stages: Sequence[Stage], at: int) -> Pass | None:
    if at >= len(stages) or not isinstance(stage := stages[at], Separable) or not _rounds(stages, at + 1, "half_up"):
        return None
    copies = _copies_channels(stage) and np.array_equal(stage.channel, np.eye(len(stage.channel)))
    alone = copies and stage.cols.is_identity and not stage.transpose and not stage.bias.any()
    return _pass(stage.rows) if alone and not stage.rows.is_selection else None


def _mix(stages: Sequence[Stage], at: int) -> Mix | None:
    if at >= len(stages):
        return None
    stage = stages[at]
    if isinstance(stage, SingleSums) and stage.channel is stage.taps and stage.apart in (0, 1):
        rows, cols = stage.rows, stage.cols
        copies = isinstance(rows, AxisMap) and rows.is_identity and isinstance(cols, AxisMap) and cols.is_identity
        whole = bool((stage.taps.counts == stage.in_shape[0]).all())
        if copies and whole and _rounds(stages, at + 1, "truncate"):
            return Mix(stage.taps.weights, stage.apart == 0, half_up=False)
    if isinstance(stage, Separable) and _rounds(stages, at + 1, "half_up"):
        alone = stage.rows.is_identity and stage.cols.is_identity and not stage.transpose and not stage.bias.any()
        scaled = stage.channel * 65536
        # 16 bits of fraction and 8 before it: sums are exact in float32.
        exact = bool((scaled == np.rint(scaled)).all() and (np.abs(stage.channel).sum(axis=1) <= 1).all())
        if alone and exact and not _copies_channels(stage):
            return Mix(stage.channel.astype(np.float32), fused=True, half_up=True)
    return None

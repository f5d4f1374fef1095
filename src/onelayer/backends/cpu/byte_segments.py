"""Programs that round to bytes between their passes, cut into segments, each of which is one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import AxisMap, Float32Sum, Lookup, Program, Quantize, Separable, Stage, Taps
from onelayer.algebra.fixed_point import whole_weights
from onelayer.algebra.operator import FloatArray, IntArray, Shape
from onelayer.backends.cpu.byte_frames import Frame, frame_alone, without_frame


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

    @property
    def n_out(self) -> int:
        """How many outputs there are."""
        return self.axis.n_out


@dataclass(frozen=True, eq=False)
class Float32Pass:
    """Sums along one axis that round to float32.

    Args:
        taps: What is added.
        apart: See :class:`onelayer.algebra.Float32Sum`.
    """

    taps: Taps
    apart: int

    @property
    def n_out(self) -> int:
        """How many outputs there are."""
        return self.taps.n_out

    @property
    def has_apart(self) -> bool:
        """Whether a product but the first is rounded by itself."""
        return 0 < self.apart < int(self.taps.counts.max())


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
    """One kernel's work: a pass along columns, one along rows, a mix of channels, a table, a frame.

    Args:
        out_shape: Of the results.
        channels: Which channels are taken, [C].
        cols: Along columns; a map that copies neighbours, or sums.
        between: The row of the image that each row before the pass along rows is.
        rows: Along rows, or None. Sums are in float32 along both axes, and rounded half to even, or along neither.
        mix: Of the channels, or None.
        table: float64 [C', 256], or None.
        frame: Around all that; its values do not go through the table.
        is_rounded: Whether bytes come out.
    """

    out_shape: Shape
    channels: IntArray
    cols: Pass | Float32Pass | AxisMap
    between: IntArray
    rows: Pass | Float32Pass | None
    mix: Mix | None
    table: FloatArray | None
    frame: Frame | None
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
    passes = _passes(stages, shape)
    if isinstance(passes, str):
        return passes
    channels, cols, between, rows, frame, length = passes
    # Bytes are whole already.
    while length < len(stages) and isinstance(idle := stages[length], Quantize) and idle.dtype == "uint8":
        length += 1
    channel_count, mix = len(channels), None
    if frame is None and (found := _mix(stages, length)) is not None:
        mix, length, channel_count = found, length + 2, len(found.weights)
    if frame is None and (around := frame_alone(stages, length)) is not None:
        frame, length = around, length + 1
    if frame is not None and not _are_bytes(frame.values):
        return "its padding is no byte"
    table = None
    if length < len(stages) and isinstance(lookup := stages[length], Lookup):
        table, length = np.broadcast_to(lookup.table, (channel_count, 256)), length + 1
        if frame is not None:
            frame = replace(frame, values=table[np.arange(channel_count), frame.values.astype(np.int64)])
        elif (around := frame_alone(stages, length)) is not None:
            frame, length = around, length + 1
    if length == 0:
        return f"a {type(stages[0]).__name__} is nothing that the kernels for bytes do"
    is_rounded = True
    if table is not None:
        results = table if frame is None else np.column_stack([table, frame.values])
        is_rounded = _are_bytes(results)
        # Whole numbers that are the end of it may be floating point ones; a rounding would have been a table too.
        if not is_rounded and (results != results.astype(np.float32)).any():
            return "its table has values that float32 cannot hold"
    inner = len(between) if rows is None else rows.n_out, cols.n_out
    out_shape = channel_count, *(inner if frame is None else frame.size)
    return ByteSegment(out_shape, channels, cols, between, rows, mix, table, frame, is_rounded), length


_Passes = tuple[IntArray, "Pass | Float32Pass | AxisMap", IntArray, "Pass | Float32Pass | None", "Frame | None", int]


def _passes(stages: Sequence[Stage], shape: Shape) -> _Passes | str:
    """Channels, columns, the rows between, rows, the frame, and how many stages that is; or why there are none."""
    stage = stages[0]
    if isinstance(stage, Float32Sum) and stage.taps is not stage.channel:
        return _single_passes(stages, stage)
    if not isinstance(stage, Separable) or not stage.channel.is_selection:
        return np.arange(shape[0]), AxisMap.identity(shape[2]), np.arange(shape[1]), None, None, 0
    first, frame = without_frame(stage)
    if first.transpose or first.bias.any():
        return "it swaps height and width, or adds to values, between roundings"
    along_cols, along_rows = not first.cols.is_selection, not first.rows.is_selection
    if along_cols and along_rows:
        return "it adds up along both axes at once"
    # Columns that are copied in another order are sums too, of one sample each.
    cols = first.cols if _is_run(first.cols) else _pass(first.cols)
    rows = _pass(first.rows) if along_rows else None
    length = 1
    if along_cols or along_rows:
        if cols is None or (along_rows and rows is None) or not _rounds(stages, 1, "half_up"):
            return "its weights are no whole numbers over a power of two, or too large"
        frame, length = frame and replace(frame, values=np.clip(np.floor(frame.values + 0.5), 0, 255)), 2
    assert cols is not None, "copies are whole numbers"
    if frame is None and rows is None and (second := _rows_after(stages, length)) is not None:
        rows, length = second, length + 2
    between = np.arange(shape[1]) if along_rows else first.rows.starts
    return first.channel.sources, cols, between, rows, frame, length


def _single_passes(stages: Sequence[Stage], first: Float32Sum) -> _Passes | str:
    cols, rows, between, length = first.cols, first.rows, np.arange(first.in_shape[1]), 1
    apart = [first.unfused, first.unfused]
    if isinstance(rows, AxisMap):
        between, rows = rows.starts, AxisMap.identity(rows.n_out)
        second = stages[1] if len(stages) > 1 else None
        if isinstance(second, Float32Sum) and isinstance(second.rows, Taps) and _copies_all(second):
            rows, apart[1], length = second.rows, second.unfused, 2
    if not _rounds(stages, length, "half_even"):
        return "its sums in float32 are not rounded to bytes"
    passes = [
        Float32Pass(_copies(factor), 0) if isinstance(factor, AxisMap) else Float32Pass(factor, products)
        for factor, products in zip((cols, rows), apart, strict=True)
    ]
    assert isinstance(first.channel, AxisMap), "sums are along columns or rows"
    return first.channel.starts, passes[0], between, passes[1], None, length + 1


def _copies_all(stage: Float32Sum) -> bool:
    return all(isinstance(factor, AxisMap) and factor.is_identity for factor in (stage.channel, stage.cols))


def _copies(selection: AxisMap) -> Taps:
    count = selection.n_out
    return Taps(selection.n_in, selection.starts, np.ones(count, np.int64), np.ones((count, 1), np.float32))


def _are_bytes(values: FloatArray) -> bool:
    return bool(((values == np.rint(values)) & (values >= 0) & (values <= 255)).all())


def _is_run(axis: AxisMap) -> bool:
    return axis.is_selection and bool((np.diff(axis.starts) == 1).all())


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
    if bits == 0:
        # There is a half to be rounded up.
        whole, bits = 2 * whole, 1
    return Pass(axis, whole, bits) if 255 * int(np.abs(whole).sum(axis=1).max()) < 1 << 31 else None


def _rows_after(stages: Sequence[Stage], at: int) -> Pass | None:
    if at >= len(stages) or not isinstance(stage := stages[at], Separable) or not _rounds(stages, at + 1, "half_up"):
        return None
    alone = stage.channel.is_identity and stage.cols.is_identity and not stage.transpose and not stage.bias.any()
    return _pass(stage.rows) if alone and not stage.rows.is_selection else None


def _mix(stages: Sequence[Stage], at: int) -> Mix | None:
    if at >= len(stages):
        return None
    stage = stages[at]
    if isinstance(stage, Float32Sum) and stage.channel is stage.taps and stage.unfused in (0, 1):
        rows, cols = stage.rows, stage.cols
        copies = isinstance(rows, AxisMap) and rows.is_identity and isinstance(cols, AxisMap) and cols.is_identity
        whole = bool((stage.taps.counts == stage.in_shape[0]).all())
        if copies and whole and _rounds(stages, at + 1, "truncate"):
            return Mix(stage.taps.weights, stage.unfused == 0, half_up=False)
    if isinstance(stage, Separable) and _rounds(stages, at + 1, "half_up"):
        alone = stage.rows.is_identity and stage.cols.is_identity and not stage.transpose and not stage.bias.any()
        scaled = stage.channel.matrix * 65536
        # 16 bits of fraction and 8 before it: sums are exact in float32.
        exact = bool((scaled == np.rint(scaled)).all() and (np.abs(stage.channel.matrix).sum(axis=1) <= 1).all())
        if alone and exact and not stage.channel.is_selection:
            return Mix(stage.channel.matrix.astype(np.float32), fused=True, half_up=True)
    return None

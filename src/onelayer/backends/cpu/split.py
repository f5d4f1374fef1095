"""Split programs that round to bytes between their passes into segments, each of which is one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import Activation, AxisMap, Float32Sum, Program, Quantize, Separable, Stage, Taps
from onelayer.algebra.fixed_point import whole_weights
from onelayer.algebra.operator import FloatArray, IntArray, Shape
from onelayer.backends.cpu.tables import refuse_reads_outside


@dataclass(frozen=True, eq=False)
class Pass:
    """Integer sums of bytes along one axis, rounded half up.

    Args:
        axis: Map of the axis, in fixed point.
        weights: Weights as integers, [n_out, taps].
        bits: Fractional bits of the weights.
    """

    axis: AxisMap
    weights: IntArray
    bits: int

    @property
    def is_wide(self) -> bool:
        """Whether a weight takes more than 16 bits."""
        return int(np.abs(self.weights).max()) > 32767

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return self.axis.n_out


@dataclass(frozen=True, eq=False)
class Float32Pass:
    """Sums along one axis that round to float32.

    Args:
        taps: Taps in the order in which they are added.
        unfused: Size of the groups of products that are rounded before they are added, see
            :class:`onelayer.algebra.Float32Sum`.
    """

    taps: Taps
    unfused: int

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return self.taps.n_out

    @property
    def has_unfused(self) -> bool:
        """Whether a product other than the first is rounded before it is added."""
        return 0 < self.unfused < int(self.taps.counts.max())


@dataclass(frozen=True, eq=False)
class Mix:
    """Weighted sums of the channels of each pixel, in float32.

    Args:
        weights: float32 [C', C].
        is_fused: Whether products are added with one rounding.
        half_up: Whether a half is added before the fraction is cut off.
    """

    weights: NDArray[np.float32]
    is_fused: bool
    half_up: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """Padding with a value per channel: what lies around the image and is not computed.

    Args:
        top: Rows above the image.
        left: Columns to the left of it.
        size: Height and width with the frame.
        values: float64 [C'].
    """

    top: int
    left: int
    size: tuple[int, int]
    values: FloatArray


@dataclass(frozen=True, eq=False)
class ByteSegment:
    """Work of one kernel: a pass along columns, one along rows, a mix of channels, a table, a frame.

    Args:
        in_shape: Shape of the images.
        out_shape: Shape of the results.
        channels: Channel of the image that each channel is, [C].
        cols: Pass along columns, or a map that copies neighbours.
        between: Row of the image that each row before the pass along rows is.
        rows: Pass along rows, or None. Sums are in float32 along both axes, and rounded half to even, or along neither.
        mix: Mix of the channels, or None.
        table: float64 [C', 256], or None.
        frame: Frame around the result, or None; its values do not go through the table.
        is_rounded: Whether the results are bytes.

    Raises:
        OnelayerError: If a read would leave an image.
    """

    in_shape: Shape
    out_shape: Shape
    channels: IntArray
    cols: Pass | Float32Pass | AxisMap
    between: IntArray
    rows: Pass | Float32Pass | None
    mix: Mix | None
    table: FloatArray | None
    frame: Frame | None
    is_rounded: bool

    def __post_init__(self) -> None:
        refuse_reads_outside("channel", self.channels, 1, self.in_shape[0])
        refuse_reads_outside("rows", self.between, 1, self.in_shape[1])
        for name, axis, length in (("cols", self.cols, self.in_shape[2]), ("rows", self.rows, len(self.between))):
            match axis:
                case Float32Pass():
                    refuse_reads_outside(name, axis.taps.starts, axis.taps.counts, length)
                case Pass():
                    refuse_reads_outside(name, axis.axis.starts, axis.weights.shape[1], length)
                case AxisMap():
                    refuse_reads_outside(name, axis.starts, axis.taps, length)
        if self.frame is not None:
            for name, before, inner, whole in (
                (
                    "rows",
                    self.frame.top,
                    len(self.between) if self.rows is None else self.rows.n_out,
                    self.out_shape[1],
                ),
                ("cols", self.frame.left, self.cols.n_out, self.out_shape[2]),
            ):
                refuse_reads_outside(name, np.array([before]), inner, whole)


def byte_segments_of(program: Program) -> list[ByteSegment] | str:
    """Split a program for bytes, or return the reason why the kernel cannot run it."""
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
    """Return the segment that the stages begin with, and its number of stages."""
    passes = _passes(stages, shape)
    if isinstance(passes, str):
        return passes
    channels, cols, between, rows, frame, length = passes
    # Bytes are integers already.
    while length < len(stages) and isinstance(idle := stages[length], Quantize) and idle.dtype == "uint8":
        length += 1
    channel_count, mix = len(channels), None
    if frame is None and (found := _mix(stages, length)) is not None:
        mix, length, channel_count = found, length + 2, len(found.weights)
    if frame is None and (around := _frame_alone(stages, length)) is not None:
        frame, length = around, length + 1
    if frame is not None and not _are_bytes(frame.values):
        return "its padding is no byte"
    table = None
    end = length
    while end < len(stages) and isinstance(stages[end], Activation):
        end += 1
    if end > length:
        # Whatever is done to each value is done to 256 of them.
        table = Program((channel_count, 1, 256), tuple(stages[length:end])).apply(_every_byte(channel_count))[:, 0]
        length = end
        if frame is not None:
            frame = replace(frame, values=table[np.arange(channel_count), frame.values.astype(np.int64)])
        elif (around := _frame_alone(stages, length)) is not None:
            frame, length = around, length + 1
    if length == 0:
        return f"a {type(stages[0]).__name__} is nothing that the kernels for bytes do"
    is_rounded = True
    if table is not None:
        results = table if frame is None else np.column_stack([table, frame.values])
        is_rounded = _are_bytes(results)
        # Integers at the end of the program may be floating point numbers; a rounding would have been a table too.
        if not is_rounded and (results != results.astype(np.float32)).any():
            return "its table has values that float32 cannot hold"
    inner = len(between) if rows is None else rows.n_out, cols.n_out
    out_shape = channel_count, *(inner if frame is None else frame.size)
    return ByteSegment(shape, out_shape, channels, cols, between, rows, mix, table, frame, is_rounded), length


_Passes = tuple[IntArray, "Pass | Float32Pass | AxisMap", IntArray, "Pass | Float32Pass | None", "Frame | None", int]
"""Channels, columns, rows before the pass along rows, that pass, frame, number of stages."""


def _passes(stages: Sequence[Stage], shape: Shape) -> _Passes | str:
    """Return the passes that the stages begin with, or the reason why the kernel cannot run them."""
    stage = stages[0]
    if isinstance(stage, Float32Sum) and stage.taps is not stage.channel:
        return _float32_passes(stages, stage)
    if not isinstance(stage, Separable) or not stage.channel.is_selection:
        return np.arange(shape[0]), AxisMap.identity(shape[2]), np.arange(shape[1]), None, None, 0
    first, frame = _without_frame(stage)
    if first.transpose or first.bias.any():
        return "it swaps height and width, or adds to values, between roundings"
    along_cols, along_rows = not first.cols.is_selection, not first.rows.is_selection
    if along_cols and along_rows:
        return "it adds up along both axes at once"
    # Columns that are copied in another order are sums too, of one sample each.
    cols = first.cols if _is_run(first.cols) else _integer_pass(first.cols)
    rows = _integer_pass(first.rows) if along_rows else None
    length = 1
    if along_cols or along_rows:
        if cols is None or (along_rows and rows is None) or not _rounds(stages, 1, "half_up"):
            return "its weights are no integers over a power of two, or too large"
        frame, length = frame and replace(frame, values=np.clip(np.floor(frame.values + 0.5), 0, 255)), 2
    assert cols is not None, "copies have integer weights"
    if frame is None and rows is None and (second := _pass_along_rows(stages, length)) is not None:
        rows, length = second, length + 2
    between = np.arange(shape[1]) if along_rows else first.rows.starts
    return first.channel.sources, cols, between, rows, frame, length


def _float32_passes(stages: Sequence[Stage], first: Float32Sum) -> _Passes | str:
    cols, rows, between, length = first.cols, first.rows, np.arange(first.in_shape[1]), 1
    unfused = [first.unfused, first.unfused]
    if isinstance(rows, AxisMap):
        between, rows = rows.starts, AxisMap.identity(rows.n_out)
        second = stages[1] if len(stages) > 1 else None
        if isinstance(second, Float32Sum) and isinstance(second.rows, Taps) and _sums_rows_only(second):
            rows, unfused[1], length = second.rows, second.unfused, 2
    if not _rounds(stages, length, "half_even"):
        return "its sums in float32 are not rounded to bytes"
    passes = [
        Float32Pass(_copies(factor), 0) if isinstance(factor, AxisMap) else Float32Pass(factor, products)
        for factor, products in zip((cols, rows), unfused, strict=True)
    ]
    assert isinstance(first.channel, AxisMap), "sums are along columns or rows"
    return first.channel.starts, passes[0], between, passes[1], None, length + 1


def _sums_rows_only(stage: Float32Sum) -> bool:
    return all(isinstance(factor, AxisMap) and factor.is_identity for factor in (stage.channel, stage.cols))


def _copies(selection: AxisMap) -> Taps:
    count = selection.n_out
    return Taps(selection.n_in, selection.starts, np.ones(count, np.int64), np.ones((count, 1), np.float32))


def _every_byte(channels: int) -> FloatArray:
    return np.tile(np.arange(256.0), (channels, 1, 1))


def _are_bytes(values: FloatArray) -> bool:
    return bool(((values == np.rint(values)) & (values >= 0) & (values <= 255)).all())


def _is_run(axis: AxisMap) -> bool:
    return axis.is_selection and bool((np.diff(axis.starts) == 1).all())


def _rounds(stages: Sequence[Stage], at: int, rounding: str) -> bool:
    if at >= len(stages):
        return False
    stage = stages[at]
    return isinstance(stage, Quantize) and stage.rounding == rounding and stage.dtype == "uint8"


def _integer_pass(axis: AxisMap) -> Pass | None:
    found = whole_weights(axis)
    if found is None:
        return None
    weights, bits = found
    if bits == 0:
        # There is a half to be rounded up.
        weights, bits = 2 * weights, 1
    return Pass(axis, weights, bits) if 255 * int(np.abs(weights).sum(axis=1).max()) < 1 << 31 else None


def _pass_along_rows(stages: Sequence[Stage], at: int) -> Pass | None:
    if at >= len(stages) or not isinstance(stage := stages[at], Separable) or not _rounds(stages, at + 1, "half_up"):
        return None
    alone = stage.channel.is_identity and stage.cols.is_identity and not stage.transpose and not stage.bias.any()
    return _integer_pass(stage.rows) if alone and not stage.rows.is_selection else None


def _mix(stages: Sequence[Stage], at: int) -> Mix | None:
    if at >= len(stages):
        return None
    stage = stages[at]
    if isinstance(stage, Float32Sum) and stage.channel is stage.taps and stage.unfused in (0, 1):
        rows, cols = stage.rows, stage.cols
        copies = isinstance(rows, AxisMap) and rows.is_identity and isinstance(cols, AxisMap) and cols.is_identity
        of_all_channels = bool((stage.taps.counts == stage.in_shape[0]).all())
        if copies and of_all_channels and _rounds(stages, at + 1, "truncate"):
            return Mix(stage.taps.weights, stage.unfused == 0, half_up=False)
    if isinstance(stage, Separable) and _rounds(stages, at + 1, "half_up"):
        alone = stage.rows.is_identity and stage.cols.is_identity and not stage.transpose and not stage.bias.any()
        scaled = stage.channel.matrix * 65536
        # 16 bits of fraction and 8 before it: sums are exact in float32.
        exact = bool((scaled == np.rint(scaled)).all() and (np.abs(stage.channel.matrix).sum(axis=1) <= 1).all())
        if alone and exact and not stage.channel.is_selection:
            return Mix(stage.channel.matrix.astype(np.float32), is_fused=True, half_up=True)
    return None


def _without_frame(stage: Separable) -> tuple[Separable, Frame | None]:
    """Return what a stage does within its frame, and the frame, if there is one."""
    axes, size = (stage.rows, stage.cols), stage.out_shape[1:]
    rows, cols = (_inside(axis) for axis in axes)
    outside = np.ones(size, bool)
    outside[rows, cols] = False
    if stage.transpose or not outside.any():
        return stage, None
    bias = stage.bias if stage.bias.ndim == 3 else np.broadcast_to(stage.bias[:, None, None], stage.out_shape)
    values = bias[:, outside][:, 0]
    if (bias != np.where(outside, values[:, None, None], 0.0)).any():
        return stage, None
    inner = [
        AxisMap.crop(axis.n_out, part.start, part.stop - part.start) @ axis
        for axis, part in zip(axes, (rows, cols), strict=True)
    ]
    within = Separable(stage.channel, inner[0], inner[1], np.zeros(stage.channel.n_out))
    return within, Frame(rows.start, cols.start, size, values)


def _frame_alone(stages: Sequence[Stage], at: int) -> Frame | None:
    """Return the frame that a stage puts around images, if it does nothing else."""
    if at >= len(stages) or not isinstance(stage := stages[at], Separable):
        return None
    inner, frame = _without_frame(stage)
    return frame if inner.rows.is_identity and inner.cols.is_identity and inner.channel.is_identity else None


def _inside(axis: AxisMap) -> slice:
    """Return the outputs that copy a sample, if all others are zero and lie around them; else all outputs."""
    copies = np.flatnonzero(axis.weights[:, 0])
    is_copied = axis.taps == 1 and bool((axis.weights[copies] == 1).all()) and len(copies) > 0
    if is_copied and len(copies) == copies[-1] + 1 - copies[0]:
        return slice(int(copies[0]), int(copies[-1]) + 1)
    return slice(0, axis.n_out)

"""Proposes programs for a function whose linear part is known: where it may round and where it may clamp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Self, final

import numpy as np

from onelayer.algebra import (
    AxisMap,
    ChannelMap,
    Clamp,
    Lookup,
    Operator,
    Program,
    Quantize,
    Separable,
    SpatialSparse,
    Stage,
)
from onelayer.algebra.activations import Rounding
from onelayer.algebra.operator import FloatArray
from onelayer.identification.black_box import BlackBox
from onelayer.identification.observed_outputs import ObservedOutputs

_TOP = 255
_NEARLY_WHOLE = 0.45
"""Error of a bias that was measured on rounded outputs, in steps."""
_FLOAT32 = 1e-5
"""Error of weights in steps that were measured on float32 values, a few steps of which are near each other."""
_SAME = 2e-3
"""Error of weights of channels that were measured so."""
_ROUNDINGS: dict[str, Rounding] = {"rounded to whole steps": "half_up", "cut off to whole steps": "truncate"}
_FACTORS = ("channels", "rows", "columns")


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """A program that the function may be.

    Args:
        program: The program, from the function's input to its output.
        rounding: Description of its rounding and clamping.
        offset: Its offset, in units of the output, [C'] or [C', H', W'].
    """

    program: Program
    rounding: str
    offset: FloatArray


def candidates(box: BlackBox, observed: ObservedOutputs, linear: Operator, offset: FloatArray) -> Iterator[Candidate]:
    """Yield programs with a linear part, the simplest first.

    Args:
        box: The function.
        observed: Its outputs.
        linear: The linear part, without bias.
        offset: The offset, in units of the output, [C'] or [C', H', W'].
    """
    if not observed.quantized:
        whole = linear.rescaled(np.ones(len(observed.low)), offset)
        yield Candidate(Program(box.input_spec.shape, (whole,)), "none", offset)
        yield from _clamped(box, observed, linear, offset)
        return
    levels = _Staircase.of(box, observed)
    in_levels = _without_rounding(linear.rescaled(1.0 / levels.step, np.zeros(len(levels.step))))
    measured = {name: levels.in_steps(offset, rounding) for name, rounding in _ROUNDINGS.items()}
    # Fills, and nothing at all, are whole steps; where sums often end on halves, they are measured as more.
    settled = {name: _nearly_whole(bias) for name, bias in measured.items()}
    for name, bias in sorted((*settled.items(), *measured.items()), key=lambda item: not _is_whole(item[1])):
        for between, stages in _between(box, in_levels):
            *before, last = stages
            assert isinstance(last, Operator)
            rounded = (*before, last.rescaled(np.ones(len(bias)), bias), Quantize(_ROUNDINGS[name], "uint8"))
            program = Program(box.input_spec.shape, (*rounded, *levels.back()))
            yield Candidate(program, name + between, levels.in_units(bias))


def _clamped(box: BlackBox, observed: ObservedOutputs, linear: Operator, offset: FloatArray) -> Iterator[Candidate]:
    span = np.where(observed.high > observed.low, observed.high - observed.low, 1.0)
    clamped = "clamped to the observed range"
    if np.ptp(observed.low) <= observed.tolerance and np.ptp(observed.high) <= observed.tolerance:
        whole = linear.rescaled(np.ones(len(span)), offset)
        clamp = Clamp(float(observed.low.min()), float(observed.high.max()))
        yield Candidate(Program(box.input_spec.shape, (whole, clamp)), clamped, offset)
        return
    # One clamp serves all channels where they all lie in 0 … 1.
    low = observed.low[:, None, None] if offset.ndim == 3 else observed.low
    scale = span[:, None, None] if offset.ndim == 3 else span
    unit = linear.rescaled(1.0 / span, (offset - low) / scale)
    back = Separable.of_channels(np.diag(span), observed.low, (linear.out_shape[1], linear.out_shape[2]))
    yield Candidate(Program(box.input_spec.shape, (unit, Clamp(0.0, 1.0), back)), clamped, offset)


@final
@dataclass(frozen=True, eq=False)
class _Staircase:
    """Outputs as whole steps 0 … 255 of each channel, [C']."""

    step: FloatArray
    origin: FloatArray
    table: FloatArray | None
    """Values of the steps, [C', 256]; None for bytes, whose steps are their values."""

    @classmethod
    def of(cls, box: BlackBox, observed: ObservedOutputs) -> Self:
        step = np.where(observed.channel_steps > 0.0, observed.channel_steps, 1.0)
        if box.output_spec.dtype == "uint8":
            return cls(step, np.zeros(len(step)), None)
        # Where fewer than 256 steps were observed, nothing says which of them is the first: leave room on both sides.
        missing = np.maximum(_TOP - np.rint((observed.high - observed.low) / step), 0.0)
        origin = observed.low - np.floor(missing / 2) * step
        table = origin[:, None] + step[:, None] * np.arange(_TOP + 1)
        for channel in range(len(step)):
            # Observed steps are as the function's own arithmetic makes them.
            values = observed.values(channel)
            table[channel, np.rint((values - origin[channel]) / step[channel]).astype(int)] = values
        return cls(step, origin, table)

    def in_steps(self, offset: FloatArray, rounding: Rounding) -> FloatArray:
        """Convert an offset from units of the output to steps."""
        step, origin = (part[:, None, None] if offset.ndim == 3 else part for part in (self.step, self.origin))
        # What is cut off was measured as half a step less, on average.
        steps: FloatArray = (offset - origin) / step + (0.5 if rounding == "truncate" else 0.0)
        return steps

    def in_units(self, bias: FloatArray) -> FloatArray:
        """Convert an offset from steps to units of the output."""
        step, origin = (part[:, None, None] if bias.ndim == 3 else part for part in (self.step, self.origin))
        return origin + step * bias

    def back(self) -> tuple[Stage, ...]:
        """Return the stages from steps to units of the output; none for bytes."""
        return () if self.table is None else (Lookup(self.table),)


def _is_whole(bias: FloatArray) -> bool:
    return np.array_equal(bias, np.rint(bias))


def _nearly_whole(bias: FloatArray) -> FloatArray:
    whole = np.rint(bias)
    return np.where(np.abs(bias - whole) < _NEARLY_WHOLE, whole, bias)


def _without_rounding(linear: Operator) -> Operator:
    """Round weights of channels that are 0 or 1 but for the rounding of the outputs to float32."""
    if not isinstance(linear, Separable | SpatialSparse):
        return linear
    return replace(linear, channel=linear.channel.with_weights(partial(_snapped, within=_FLOAT32)))


def _snapped(weights: FloatArray, within: float) -> FloatArray:
    whole = np.rint(weights)
    return np.where(np.abs(weights - whole) < within, whole, weights)


def _between(box: BlackBox, linear: Operator) -> Iterator[tuple[str, tuple[Stage, ...]]]:
    """Yield the linear part in one, or factor by factor with bytes in between, as libraries do that resize bytes."""
    yield "", (linear,)
    if box.input_spec.is_float or not isinstance(linear, Separable):
        return
    computing = [name for name in _FACTORS if _computes(linear, name)]
    selecting = [name for name in _FACTORS if name not in computing]
    if len(computing) < 2:
        return
    for order in permutations(computing):
        stages: list[Stage] = []
        # What only selects comes first, and rounds nothing.
        for factor in _factors_of(linear, (*selecting, *order)):
            stages += [factor] if len(stages) < len(selecting) else [factor, Quantize("half_up", "uint8")]
        yield f", one after the other: {', '.join(order)}", tuple(stages[:-1])


def _computes(linear: Separable, name: str) -> bool:
    """Whether a factor does more than choose values."""
    if name == "channels":
        return not linear.channel.with_weights(partial(_snapped, within=_SAME)).is_selection
    return not (linear.rows if name == "rows" else linear.cols).is_selection


def _factors_of(linear: Separable, order: tuple[str, ...]) -> Iterator[Separable]:
    """Split an operator into its factors; height and width are swapped by the first."""
    channels, height, width = linear.channel.n_in, linear.rows.n_in, linear.cols.n_in
    transpose = linear.transpose
    for name in order:
        channel = linear.channel if name == "channels" else ChannelMap.identity(channels)
        rows = linear.rows if name == "rows" else AxisMap.identity(height)
        cols = linear.cols if name == "columns" else AxisMap.identity(width)
        factor = Separable(channel, rows, cols, np.zeros(channel.n_out), transpose)
        channels, height, width = factor.out_shape
        transpose = False
        yield factor

"""Programs that a function could be, once its linear part is known: where it rounds and where it clamps."""

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
from onelayer.identification.outputs_seen import OutputsSeen

_TOP = 255
_NEARLY_WHOLE = 0.45
"""Of a step: what a bias may be off by that was measured on rounded outputs."""
_FLOAT32 = 1e-5
"""What weights in steps are off by that were measured on float32 values, a few steps of which are near each other."""
_SAME = 2e-3
"""What weights of channels are off by that were."""
_ROUNDINGS: dict[str, Rounding] = {"rounded to whole steps": "half_up", "cut off to whole steps": "truncate"}
_FACTORS = ("channels", "rows", "columns")


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """A program, and what it does to values between and after its operators.

    Args:
        program: From what the function is given to what it gives.
        rounding: In words.
        offset: What is added, in units of the output, [C'] or [C', H', W'].
    """

    program: Program
    rounding: str
    offset: FloatArray


def candidates(box: BlackBox, seen: OutputsSeen, linear: Operator, offset: FloatArray) -> Iterator[Candidate]:
    """Programs with one linear part, the simplest first.

    Args:
        box: The function.
        seen: What its outputs look like.
        linear: Without bias.
        offset: What is added, in units of the output, [C'] or [C', H', W'].
    """
    if seen.grain == 0.0:
        whole = linear.rescaled(np.ones(len(seen.low)), offset)
        yield Candidate(Program(box.given.shape, (whole,)), "none", offset)
        yield from _clamped(box, seen, linear, offset)
        return
    levels = _Levels.of(box, seen)
    in_levels = _without_rounding(linear.rescaled(1.0 / levels.step, np.zeros(len(levels.step))))
    measured = {words: levels.in_steps(offset, rounding) for words, rounding in _ROUNDINGS.items()}
    # Fills, and nothing at all, are whole steps; where sums often end on halves, they are measured as more.
    settled = {words: _nearly_whole(bias) for words, bias in measured.items()}
    for words, bias in sorted((*settled.items(), *measured.items()), key=lambda one: not _is_whole(one[1])):
        for between, stages in _between(box, in_levels):
            *before, last = stages
            assert isinstance(last, Operator)
            rounded = (*before, last.rescaled(np.ones(len(bias)), bias), Quantize(_ROUNDINGS[words], "uint8"))
            program = Program(box.given.shape, (*rounded, *levels.back()))
            yield Candidate(program, words + between, levels.in_units(bias))


def _clamped(box: BlackBox, seen: OutputsSeen, linear: Operator, offset: FloatArray) -> Iterator[Candidate]:
    span = np.where(seen.high > seen.low, seen.high - seen.low, 1.0)
    words = "clamped to the range that was seen"
    if np.ptp(seen.low) <= seen.tolerance and np.ptp(seen.high) <= seen.tolerance:
        whole = linear.rescaled(np.ones(len(span)), offset)
        clamp = Clamp(float(seen.low.min()), float(seen.high.max()))
        yield Candidate(Program(box.given.shape, (whole, clamp)), words, offset)
        return
    # One clamp serves all channels where they all lie in 0 … 1.
    low = seen.low[:, None, None] if offset.ndim == 3 else seen.low
    scale = span[:, None, None] if offset.ndim == 3 else span
    unit = linear.rescaled(1.0 / span, (offset - low) / scale)
    back = Separable.of_channels(np.diag(span), seen.low, (linear.out_shape[1], linear.out_shape[2]))
    yield Candidate(Program(box.given.shape, (unit, Clamp(0.0, 1.0), back)), words, offset)


@final
@dataclass(frozen=True, eq=False)
class _Levels:
    """Outputs as whole steps 0 … 255 of each channel, [C']."""

    step: FloatArray
    origin: FloatArray
    table: FloatArray | None
    """The values of the steps, [C', 256]; None for bytes, whose steps are their values."""

    @classmethod
    def of(cls, box: BlackBox, seen: OutputsSeen) -> Self:
        step = np.where(seen.step > 0.0, seen.step, 1.0)
        if box.after.dtype == "uint8":
            return cls(step, np.zeros(len(step)), None)
        # Where fewer than 256 steps were seen, nothing says which of them is the first: leave room on both sides.
        unseen = np.maximum(_TOP - np.rint((seen.high - seen.low) / step), 0.0)
        origin = seen.low - np.floor(unseen / 2) * step
        table = origin[:, None] + step[:, None] * np.arange(_TOP + 1)
        for channel in range(len(step)):
            # Steps that were seen are what the function's own arithmetic makes of them.
            values = seen.values(channel)
            table[channel, np.rint((values - origin[channel]) / step[channel]).astype(int)] = values
        return cls(step, origin, table)

    def in_steps(self, offset: FloatArray, rounding: Rounding) -> FloatArray:
        """An offset in units of the output, as steps."""
        step, origin = (part[:, None, None] if offset.ndim == 3 else part for part in (self.step, self.origin))
        # What is cut off was measured as half a step less, on average.
        steps: FloatArray = (offset - origin) / step + (0.5 if rounding == "truncate" else 0.0)
        return steps

    def in_units(self, bias: FloatArray) -> FloatArray:
        """An offset in steps, in units of the output."""
        step, origin = (part[:, None, None] if bias.ndim == 3 else part for part in (self.step, self.origin))
        return origin + step * bias

    def back(self) -> tuple[Stage, ...]:
        """From steps to units of the output; nothing for bytes."""
        return () if self.table is None else (Lookup(self.table),)


def _is_whole(bias: FloatArray) -> bool:
    return np.array_equal(bias, np.rint(bias))


def _nearly_whole(bias: FloatArray) -> FloatArray:
    whole = np.rint(bias)
    return np.where(np.abs(bias - whole) < _NEARLY_WHOLE, whole, bias)


def _without_rounding(linear: Operator) -> Operator:
    """Weights of channels that are 0 or 1 but for the rounding of the outputs to float32."""
    if not isinstance(linear, Separable | SpatialSparse):
        return linear
    return replace(linear, channel=linear.channel.with_weights(partial(_snapped, within=_FLOAT32)))


def _snapped(weights: FloatArray, within: float) -> FloatArray:
    whole = np.rint(weights)
    return np.where(np.abs(weights - whole) < within, whole, weights)


def _between(box: BlackBox, linear: Operator) -> Iterator[tuple[str, tuple[Stage, ...]]]:
    """The linear part in one, or factor by factor with bytes in between, as libraries do that resize bytes."""
    yield "", (linear,)
    if box.given.is_float or not isinstance(linear, Separable):
        return
    computing = [name for name in _FACTORS if _computes(linear, name)]
    selecting = [name for name in _FACTORS if name not in computing]
    if len(computing) < 2:
        return
    for order in permutations(computing):
        stages: list[Stage] = []
        # What only selects comes first, and rounds nothing.
        for factor in _apart(linear, (*selecting, *order)):
            stages += [factor] if len(stages) < len(selecting) else [factor, Quantize("half_up", "uint8")]
        yield f", one after the other: {', '.join(order)}", tuple(stages[:-1])


def _computes(linear: Separable, name: str) -> bool:
    """Whether a factor does more than choose values."""
    if name == "channels":
        return not linear.channel.with_weights(partial(_snapped, within=_SAME)).is_selection
    return not (linear.rows if name == "rows" else linear.cols).is_selection


def _apart(linear: Separable, order: tuple[str, ...]) -> Iterator[Separable]:
    """The factors of an operator as operators of their own; height and width are swapped by the first."""
    channels, height, width = linear.channel.n_in, linear.rows.n_in, linear.cols.n_in
    transpose = linear.transpose
    for name in order:
        channel = linear.channel if name == "channels" else ChannelMap.identity(channels)
        rows = linear.rows if name == "rows" else AxisMap.identity(height)
        cols = linear.cols if name == "columns" else AxisMap.identity(width)
        one = Separable(channel, rows, cols, np.zeros(channel.n_out), transpose)
        channels, height, width = one.out_shape
        transpose = False
        yield one

"""What the outputs of a function look like: their range, and whether they are steps of a staircase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from onelayer.algebra.operator import FloatArray
from onelayer.identification.black_box import BlackBox, Levels

_STEPS = 255
"""A staircase of bytes has so many steps at most."""
_SEEN_OFTEN = 4
"""Times as many values as different ones are needed to call them steps."""
_ON_A_STEP = 2e-3
"""How far from a whole number of steps a value may be: float32 values a few hundred steps away from zero."""
_REAL = 1e-5
"""What real arithmetic may be off by, relative to the range of the output."""
_ROUNDING_STEPS = 0.41
"""Root mean square of the difference of two rounded values, in steps: √(2/12)."""
_LAST_BITS = 4.0
"""Roundings to the dtype of the output."""


@final
@dataclass(frozen=True, eq=False)
class OutputsSeen:
    """What was seen of the outputs, with the images that cover most of a range.

    Attributes:
        low: The smallest value of each channel, [C'].
        high: The largest, [C'].
        step: The distance of the steps that each channel's values lie on, [C']; zero where they lie on none.
        rounding: What rounding of a value to its dtype can be off by, in units of the output.
        outputs: What was seen, [10, C', H', W'].
    """

    low: FloatArray
    high: FloatArray
    step: FloatArray
    rounding: float
    outputs: FloatArray

    @property
    def constant(self) -> bool:
        """Whether all images gave the same."""
        return not np.ptp(self.outputs, axis=0).any()

    def values(self, channel: int) -> FloatArray:
        """Different values of a channel, ascending, but for those of outputs that never change."""
        values = self.outputs[:, channel]
        return np.unique(values[:, np.ptp(values, axis=0) > 0.0])

    @property
    def range(self) -> float:
        """The largest range of a channel."""
        return float((self.high - self.low).max())

    @property
    def grain(self) -> float:
        """The largest step."""
        return float(self.step.max())

    @property
    def noise(self) -> float:
        """Standard deviation of what rounding adds to the difference of two outputs."""
        return _ROUNDING_STEPS * self.grain + self.rounding

    @property
    def tolerance(self) -> float:
        """What real arithmetic in the function may be off by, in units of the output."""
        return _REAL * self.range + _LAST_BITS * self.rounding

    def at_an_end(self, outputs: FloatArray) -> np.ndarray:
        """Which outputs [..., C', H', W'] are the smallest or largest that were seen in their channel."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        near = self.rounding
        ends: np.ndarray = (outputs <= low + near) | (outputs >= high - near)
        return ends


def look(box: BlackBox, seed: int) -> OutputsSeen:
    """Black, white, grey, noise, and patterns of black and white: ten images."""
    outputs = box(_images(box, seed))
    low, high = outputs.min(axis=(0, 2, 3)), outputs.max(axis=(0, 2, 3))
    largest = float(np.abs(outputs).max())
    if box.after.dtype == "uint8":
        step = np.ones(len(low))
    else:
        # Of noise only: patterns of black and white have few values whatever the function does. A frame has its own.
        varies = np.ptp(outputs, axis=0) > 0.0
        step = np.array([_step(outputs[-4:, channel, varies[channel]]) for channel in range(len(low))])
    return OutputsSeen(low, high, step, box.rounding * largest, outputs)


def _images(box: BlackBox, seed: int) -> Levels:
    generator = np.random.default_rng(seed)
    shape, top = box.given.shape, box.levels
    plain = [np.full(shape, level) for level in (0, top, top // 2)]
    binary = [generator.integers(0, 2, shape) * top for _ in range(2)]
    board = np.broadcast_to(np.indices(shape[1:]).sum(axis=0) // 4 % 2 * top, shape)
    noise = [generator.integers(0, top + 1, shape) for _ in range(4)]
    return np.stack([*plain, *binary, board, *noise]).astype(np.int16)


def _step(values: FloatArray) -> float:
    """The distance of the steps that all values lie on; zero if they lie on none."""
    different = np.unique(values)
    if len(different) < 3 or values.size < _SEEN_OFTEN * len(different):
        return 0.0
    apart = np.diff(different)
    # The same step comes out a little differently in float32 each time.
    apart = apart[apart > 1e-3 * np.median(apart)]
    step = float((different[-1] - different[0]) / max(round((different[-1] - different[0]) / float(apart.min())), 1))
    places = (different - different[0]) / step
    on_steps = bool((np.abs(places - np.rint(places)) < _ON_A_STEP * max(1.0, places[-1] / 64)).all())
    return step if on_steps and places[-1] <= _STEPS + 0.5 else 0.0

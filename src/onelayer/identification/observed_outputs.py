"""Range of a function's outputs, and whether they are steps of a staircase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from onelayer.algebra.operator import FloatArray
from onelayer.identification.black_box import BlackBox, Levels

_MOST_STEPS = 255
"""Largest number of steps of a staircase of bytes."""
_REPEATS = 4
"""Number of values per different value that is needed to call them steps."""
_STEP_TOLERANCE = 2e-3
"""Distance of a value from a whole number of steps: float32 values a few hundred steps away from zero."""
_REAL = 1e-5
"""Error of real arithmetic, relative to the range of the output."""
_ROUNDING_STEPS = 0.41
"""Root mean square of the difference of two rounded values, in steps: √(2/12)."""
_LAST_BITS = 4.0
"""Number of roundings to the dtype of the output."""


@final
@dataclass(frozen=True, eq=False)
class ObservedOutputs:
    """Outputs for images that cover most of a function's range.

    Attributes:
        low: Smallest value of each channel, [C'].
        high: Largest value of each channel, [C'].
        channel_steps: Distance of the steps that each channel's values lie on, [C']; zero where they lie on none.
        rounding: Error of rounding a value to its dtype, in units of the output.
        outputs: The outputs, [10, C', H', W'].
    """

    low: FloatArray
    high: FloatArray
    channel_steps: FloatArray
    rounding: float
    outputs: FloatArray

    @property
    def constant(self) -> bool:
        """Whether all images gave the same."""
        return not np.ptp(self.outputs, axis=0).any()

    def values(self, channel: int) -> FloatArray:
        """List the different values of a channel, ascending, without those of outputs that never change."""
        values = self.outputs[:, channel]
        return np.unique(values[:, np.ptp(values, axis=0) > 0.0])

    @property
    def range(self) -> float:
        """Largest range of a channel."""
        return float((self.high - self.low).max())

    @property
    def quantization_step(self) -> float:
        """Largest step of a channel; zero where outputs are real numbers."""
        return float(self.channel_steps.max())

    @property
    def quantized(self) -> bool:
        """Whether the outputs of a channel are steps of a staircase."""
        return self.quantization_step > 0.0

    @property
    def noise(self) -> float:
        """Standard deviation of what rounding adds to the difference of two outputs."""
        return _ROUNDING_STEPS * self.quantization_step + self.rounding

    @property
    def tolerance(self) -> float:
        """Error of real arithmetic in the function, in units of the output."""
        return _REAL * self.range + _LAST_BITS * self.rounding

    def at_an_end(self, outputs: FloatArray) -> np.ndarray:
        """Find the outputs [..., C', H', W'] that are the smallest or largest observed values of their channel."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        near = self.rounding
        ends: np.ndarray = (outputs <= low + near) | (outputs >= high - near)
        return ends


def observe_outputs(box: BlackBox, seed: int) -> ObservedOutputs:
    """Ask a function about black, white, grey, noise, and patterns of black and white: ten images."""
    outputs = box(_images(box, seed))
    low, high = outputs.min(axis=(0, 2, 3)), outputs.max(axis=(0, 2, 3))
    largest = float(np.abs(outputs).max())
    if box.output_spec.dtype == "uint8":
        steps = np.ones(len(low))
    else:
        # Of noise only: patterns of black and white have few values whatever the function does. A frame has its own.
        varies = np.ptp(outputs, axis=0) > 0.0
        steps = np.array([_step(outputs[-4:, channel, varies[channel]]) for channel in range(len(low))])
    return ObservedOutputs(low, high, steps, box.rounding * largest, outputs)


def _images(box: BlackBox, seed: int) -> Levels:
    generator = np.random.default_rng(seed)
    shape, top = box.input_spec.shape, box.levels
    plain = [np.full(shape, level) for level in (0, top, top // 2)]
    binary = [generator.integers(0, 2, shape) * top for _ in range(2)]
    board = np.broadcast_to(np.indices(shape[1:]).sum(axis=0) // 4 % 2 * top, shape)
    noise = [generator.integers(0, top + 1, shape) for _ in range(4)]
    return np.stack([*plain, *binary, board, *noise]).astype(np.int16)


def _step(values: FloatArray) -> float:
    """Find the distance of the steps that all values lie on; zero if they lie on none."""
    different = np.unique(values)
    if len(different) < 3 or values.size < _REPEATS * len(different):
        return 0.0
    apart = np.diff(different)
    # The same step comes out a little differently in float32 each time.
    apart = apart[apart > 1e-3 * np.median(apart)]
    step = float((different[-1] - different[0]) / max(round((different[-1] - different[0]) / float(apart.min())), 1))
    places = (different - different[0]) / step
    on_steps = bool((np.abs(places - np.rint(places)) < _STEP_TOLERANCE * max(1.0, places[-1] / 64)).all())
    return step if on_steps and places[-1] <= _MOST_STEPS + 0.5 else 0.0

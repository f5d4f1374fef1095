"""Split programs into segments, each of which is one kernel: an affine map, then what happens to single values.

What follows the map point by point, clamps and scales and offsets per channel, folds into one scale and offset, which
the map takes over, and one clamp: a scale after a clamp is the same scale before a clamp to scaled bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.algebra import Clamp, Program, Quantize, Range, Separable, SpatialSparse, Stage, simplify
from onelayer.algebra.activations import Rounding
from onelayer.algebra.operator import FloatArray
from onelayer.frontends.placement import RealSums
from onelayer.frontends.structure import Structure

_ANY_VALUE = 1e30
"""Bound of values that may be any: those of floating point images, and of sums with negative weights."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Work of one kernel.

    Args:
        operator: Map from pixels to pixels.
        channel: Mixing matrix of the map, times the scales that follow, [C', C].
        bias: Bias of the map, times the scales, with the offsets that follow, [C'] or [C', H', W'].
        low: Lower bound of each output channel, [C'], −∞ for none.
        high: Upper bound of each output channel, [C'], ∞ for none.
        rounding: Rounding to bytes; None if values stay floating point.
    """

    operator: Separable | SpatialSparse
    channel: FloatArray
    bias: FloatArray
    low: FloatArray
    high: FloatArray
    rounding: Rounding | None


def segments_of(program: Program) -> list[Segment] | str:
    """Split a program into as few segments as can be, or return the reason why it has none."""
    stages: list[Stage] = list(program.stages)
    if not stages:
        return "the program is empty"
    segments = []
    while stages:
        operator = stages[0]
        if not isinstance(operator, Separable | SpatialSparse):
            return (
                f"the program has a stage of another kind than an affine map between pixels: {type(operator).__name__}"
            )
        segment, length = _folded(operator, stages[1:])
        if any(isinstance(stage, Quantize) and stage.dtype != "uint8" for stage in stages[1 : 1 + length]):
            return "it rounds to another dtype than uint8"
        segments.append(segment)
        del stages[: 1 + length]
    return segments


def segment_of_pixels(structure: Structure) -> Segment | str:
    """Return what a structure in real arithmetic does to each pixel as one segment for images of 1×1.

    The reason why a kernel cannot do it, if it cannot.
    """
    if not all(np.isfinite(fill).all() for fill in structure.fills):
        return "its padding is no number"
    pixels, sums = structure.pixels, structure.sums
    is_any = structure.input_spec.is_float or (isinstance(sums, RealSums) and sums.saturates)
    low, high = (-_ANY_VALUE, _ANY_VALUE) if is_any else (0.0, 255.0)
    stages = simplify(pixels, Range.of(pixels.in_shape[0], low, high)).program.stages
    if not (stages and isinstance(stages[0], Separable)):
        # The resize itself, of which a single pixel shows nothing.
        stages = (Separable.identity(pixels.in_shape), *stages)
    segments = segments_of(Program(pixels.in_shape, stages))
    if isinstance(segments, str):
        return segments
    return segments[0] if len(segments) == 1 else "what happens to each pixel takes several kernels"


def _folded(operator: Separable | SpatialSparse, following: Sequence[Stage]) -> tuple[Segment, int]:
    """Return the segment that begins with an operator, and the number of stages after it that belong to it."""
    channel, bias = operator.channel.matrix, operator.bias
    low, high = np.full(len(channel), -np.inf), np.full(len(channel), np.inf)
    length = 0
    for stage in following:
        match stage:
            case Clamp() | Quantize():
                low, high = np.clip(low, stage.low, stage.high), np.clip(high, stage.low, stage.high)
            case Separable() if stage.is_scale:
                scale = stage.channel.matrix.diagonal()
                channel = scale[:, None] * channel
                bias = ((bias.T * scale) + stage.bias).T
                # A negative scale swaps the bounds.
                bounds = [_scaled(bound, scale) + stage.bias for bound in (low, high)]
                low, high = np.minimum(*bounds), np.maximum(*bounds)
            case _:
                break
        length += 1
        if isinstance(stage, Quantize):
            # What follows works on integers.
            return Segment(operator, channel, bias, low, high, stage.rounding), length
    return Segment(operator, channel, bias, low, high, None), length


def _scaled(bound: FloatArray, scale: FloatArray) -> FloatArray:
    # Zero times infinity is no number; where the scale is zero nothing of the value is left, whatever it was.
    scaled: FloatArray = np.where(scale == 0, 0.0, bound * np.where(scale == 0, 1.0, scale))
    return scaled

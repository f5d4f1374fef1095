"""Padding with a value: what lies around an image of bytes, and is not computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.algebra import AxisMap, Separable, Stage
from onelayer.algebra.operator import FloatArray


@dataclass(frozen=True, eq=False)
class Frame:
    """What lies around the image: padding with a value per channel.

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


def without_frame(stage: Separable) -> tuple[Separable, Frame | None]:
    """What a stage does within its frame, and the frame, if there is one."""
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


def frame_alone(stages: Sequence[Stage], at: int) -> Frame | None:
    """The frame that a stage puts around images, if that is all that it does."""
    if at >= len(stages) or not isinstance(stage := stages[at], Separable):
        return None
    inner, frame = without_frame(stage)
    return frame if inner.rows.is_identity and inner.cols.is_identity and inner.channel.is_identity else None


def _inside(axis: AxisMap) -> slice:
    """The outputs that copy a sample, if all others are zero and lie around them; or else all."""
    copies = np.flatnonzero(axis.weights[:, 0])
    is_copied = axis.taps == 1 and bool((axis.weights[copies] == 1).all()) and len(copies) > 0
    if is_copied and len(copies) == copies[-1] + 1 - copies[0]:
        return slice(int(copies[0]), int(copies[-1]) + 1)
    return slice(0, axis.n_out)

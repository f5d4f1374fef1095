"""How long a grey level is in the units of a pipeline's output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from onelayer.algebra import Range, ranges_of
from onelayer.algebra.operator import FloatArray
from onelayer.frontends import Derived
from onelayer.verification.measuring import GREY_LEVELS, GreyScale


def grey_levels(derived: Derived, values: Range) -> GreyScale:
    """The grey levels of a pipeline that was derived, per channel.

    One grey level is 1/255 of the way from the output for a black image to that for a white one, at the pixel where
    they are furthest apart (padding is the same for both): behind a ``Normalize``, 1/(255·std). For uint8 outputs it is
    1. Where black and white give the same, it is 1/255 of the range of the channel, and 1/255 where that is one value.

    Args:
        derived: The pipeline.
        values: Black and white, per input channel.
    """
    black, white = (
        derived.program.apply(np.broadcast_to(end[:, None, None], derived.given.shape))
        for end in (values.low, values.high)
    )

    def reached() -> Range:
        return [values, *ranges_of(derived.program.stages, values)][-1]

    return scale_between(black, white, reached, is_float=derived.after.is_float)


def scale_between(black: FloatArray, white: FloatArray, reached: Callable[[], Range], *, is_float: bool) -> GreyScale:
    """The grey levels between two outputs; see :func:`grey_levels`.

    Args:
        black: The output for a black image, float64 [C', H', W'].
        white: That for a white one.
        reached: Gives the range of each channel, where it is needed.
        is_float: Whether outputs are floating point numbers.
    """
    channels = len(black)
    if not is_float:
        return GreyScale(torch.zeros(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.float64))
    span = np.abs(white - black).max(axis=(1, 2))
    lowest = np.minimum(white, black).min(axis=(1, 2))
    if not span.all():
        seen = reached()
        lowest = np.where(span == 0, seen.low, lowest)
        span = np.where(span == 0, seen.high - seen.low, span)
    return GreyScale(torch.from_numpy(lowest), torch.from_numpy(np.where(span == 0, 1.0, span) / GREY_LEVELS))

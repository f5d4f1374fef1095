"""Which sample a padded axis takes from where, with torchvision's meaning of the modes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from onelayer.algebra.operator import IntArray
from onelayer.errors import OnelayerError

Padding = Literal["zero", "edge", "reflect", "symmetric"]


def padded_places(n: int, before: int, after: int, mode: Padding) -> IntArray:
    """The sample, 0 … n − 1, that each sample of the padded axis copies, [before + n + after].

    Args:
        n: Length of the axis.
        before: Samples added at the front; negative to take some away.
        after: Samples added at the end; negative to take some away.
        mode: ``edge``, ``reflect`` (about the edge sample) or ``symmetric`` (about the edge; as often as it takes, as
            ``numpy.pad`` does). ``zero`` copies nothing and is no selection.

    Raises:
        OnelayerError: If ``reflect`` is to add as many samples as the axis has or more, which PyTorch refuses, if
            nothing is left, or for another mode.
    """
    if n + before + after < 1:
        raise OnelayerError(f"padding {n} samples by {before} and {after} leaves none", expected="at least 1 sample")
    places = np.arange(-before, n + after)
    match mode:
        case "edge":
            return np.clip(places, 0, n - 1)
        case "reflect":
            if max(before, after) >= n:
                raise OnelayerError(
                    f"reflect padding of {max(before, after)} samples was asked for on an axis of {n}",
                    expected="less padding than the axis has samples",
                    hint="Pad in two steps, or use symmetric padding.",
                )
            mirrored: IntArray = (n - 1) - np.abs((n - 1) - np.abs(places))
            return mirrored
        case "symmetric":
            places = places % (2 * n)
            return np.minimum(places, 2 * n - 1 - places)
        case _:
            raise OnelayerError(f"there is no padding mode {mode!r}", expected=f"one of {', '.join(get_args(Padding))}")

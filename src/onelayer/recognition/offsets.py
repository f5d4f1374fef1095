"""What is added to the channels: nothing, a constant, or an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from onelayer.algebra.operator import FloatArray

_NORMALISATIONS = (
    ("ImageNet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("CLIP", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ("CIFAR-10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ("0.5", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)
"""Means and standard deviations."""
_CLEAR = 8.0
"""Standard deviations of noise within which a constant is constant: outputs near edges are noisier than the rest."""
_MEDIAN_OF_NORMAL = 0.6744897501960817
_ROUNDING = 1e-6
"""What a layer that was learned from float32 outputs may be off by, relative to the size of the outputs."""


@final
@dataclass(frozen=True, eq=False)
class NamedOffset:
    """What is added.

    Args:
        name: ``none``, ``means of ImageNet`` and the like, ``constant: …``, or ``image``.
        bias: float64 [C'], or an image [C', H', W'].
    """

    name: str
    bias: FloatArray


def named_offset(bias: FloatArray, scale: float) -> NamedOffset:
    """Find the simplest offset that is within the noise.

    The noise of a channel is told from how far its values lie around their median. An offset that differs within a
    channel by more than that stays an image, as it was given.

    Args:
        bias: float64 [C', H', W'].
        scale: Size of the outputs on images in [0, 1], such as the largest sum of an output's weights.

    Returns:
        The offset and its name.
    """
    middle = np.median(bias, axis=(1, 2))
    around = np.abs(bias - middle[:, None, None])
    noise = np.median(around, axis=(1, 2)) / _MEDIAN_OF_NORMAL
    tolerance = _CLEAR * noise + _ROUNDING * scale
    if bool((around > tolerance[:, None, None]).any()):
        return NamedOffset("image", bias)
    known = [("none", np.zeros(len(middle)))]
    if len(middle) == 3:
        known += [
            (f"means of {whose}" if whose != "0.5" else "mean 0.5", -np.array(means) / np.array(deviations))
            for whose, means, deviations in _NORMALISATIONS
        ]
    elif len(middle) == 1:
        known += [("mean 0.5", np.array([-1.0]))]
    for name, exact in known:
        if bool((np.abs(middle - exact) <= tolerance).all()):
            return NamedOffset(name, exact)
    return NamedOffset("constant: " + ", ".join(f"{value:.6g}" for value in middle), middle)

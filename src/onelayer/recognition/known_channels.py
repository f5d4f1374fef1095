"""Names for what happens to channels: grayscale, swaps, choices and scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.operator import FloatArray
from onelayer.recognition.nearness import CLEARLY, is_meaningful, measured

_GREYS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("luma (torchvision: 0.2989, 0.587, 0.114)", (0.2989, 0.587, 0.114)),
    ("luma (Rec. 601: 0.299, 0.587, 0.114)", (0.299, 0.587, 0.114)),
    ("luma (Pillow: 19595, 38470, 7471 of 65536)", (19595 / 65536, 38470 / 65536, 7471 / 65536)),
    ("luma (Rec. 709: 0.2126, 0.7152, 0.0722)", (0.2126, 0.7152, 0.0722)),
)
_STANDARD_DEVIATIONS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("ImageNet", (0.229, 0.224, 0.225)),
    ("CLIP", (0.26862954, 0.26130258, 0.27577711)),
    ("CIFAR-10", (0.2470, 0.2435, 0.2616)),
)
_FACTORS: tuple[tuple[str, float], ...] = (
    ("", 1.0),
    ("divided by 255", 1.0 / 255.0),
    ("times 255", 255.0),
    ("divided by the standard deviation 0.5", 2.0),
    ("divided by 255 and by the standard deviation 0.5", 2.0 / 255.0),
    ("divided by the standard deviation of MNIST", 1.0 / 0.3081),
    ("divided by 255 and by the standard deviation of MNIST", 1.0 / (255.0 * 0.3081)),
    ("inverted", -1.0),
)
_MOST_CHANNELS = 4
"""More have too many orders to try."""
_ALIKE = 1e-3
"""Definitions of one thing differ by less than this part of the largest weight, such as luma with four digits or three.
"""

Candidate = tuple[str, FloatArray]


@final
@dataclass(frozen=True, eq=False)
class NamedChannels:
    """A known mixing of channels.

    Args:
        name: In words, such as ``luma (torchvision: 0.2989, 0.587, 0.114)``.
        matrix: Its exact weights, float64 [C', C]; scales that no library is known for are as they were given.
        distance: How far the weights that were given are from these at most.
        also: Other definitions that the weights do not tell from this one, which is the nearest.
    """

    name: str
    matrix: FloatArray
    distance: float
    also: tuple[NamedChannels, ...] = ()


def named_channels(matrix: ArrayLike, tolerance: float) -> NamedChannels | None:
    """The known mixing that is nearest to a matrix, if it is near enough.

    Known are the identity, choices and swaps of up to 4 channels, luma (four definitions, of RGB and of BGR) and the
    mean of channels, in one output channel or repeated in several; each as it is or by a factor (1/255, 255, 2, −1),
    or divided by the standard deviations that models of ImageNet, CLIP and CIFAR-10 have; and, if none of these fits,
    choices scaled channel by channel.

    Args:
        matrix: float64 [C', C].
        tolerance: How far a weight may be off, ≥ 0.

    Returns:
        None if nothing known is within the tolerance, if something else is nearly as near as the nearest, or if the
        tolerance is half of the largest weight or more.

    Raises:
        OnelayerError: If the matrix is none, is empty or not finite, or the tolerance is negative.
    """
    weights = measured(matrix, tolerance)
    if not is_meaningful(tolerance, weights):
        return None
    largest = float(np.abs(weights).max())
    if largest == 0.0:
        return NamedChannels("zeros", np.zeros_like(weights), 0.0)
    tolerance = max(tolerance, 1e-12 * largest)
    near = []
    for name, known in _candidates(*weights.shape):
        distance = float(np.abs(known - weights).max())
        if distance <= tolerance:
            near.append(NamedChannels(name, known, distance))
    if not near:
        return _scaled(weights, tolerance)
    nearest = min(near, key=lambda one: one.distance)
    rivals = [one for one in near if one is not nearest and one.distance < CLEARLY * nearest.distance]
    if any(float(np.abs(one.matrix - nearest.matrix).max()) > _ALIKE * largest for one in rivals):
        return None
    return replace(nearest, also=tuple(rivals))


def _candidates(n_out: int, n_in: int) -> Iterator[Candidate]:
    for name, plain in _unscaled(n_out, n_in):
        for words, factor in _FACTORS:
            yield _joined(name, words), plain * factor
        if n_out == 3:
            for whose, deviations in _STANDARD_DEVIATIONS:
                yield _joined(name, f"divided by the standard deviations of {whose}"), plain / _column(deviations)
                words = f"divided by 255 and by the standard deviations of {whose}"
                yield _joined(name, words), plain / (255 * _column(deviations))


def _joined(name: str, words: str) -> str:
    return f"{name}, {words}" if words and name != "identity" else words or name


def _column(numbers: tuple[float, ...]) -> FloatArray:
    return np.array(numbers)[:, None]


def _unscaled(n_out: int, n_in: int) -> Iterator[Candidate]:
    if max(n_in, n_out) <= _MOST_CHANNELS:
        for order in product(range(n_in), repeat=n_out):
            yield _choice_name(order, n_in), np.eye(n_in)[list(order)]
    elif n_in == n_out:
        yield "identity", np.eye(n_in)
    repeated = "" if n_out == 1 else f", in {n_out} channels"
    if n_in == 3:
        for name, luma in _GREYS:
            yield name + repeated, np.tile(luma, (n_out, 1))
            yield f"{name} of BGR{repeated}", np.tile(luma[::-1], (n_out, 1))
    if n_in > 1:
        yield f"mean of {n_in} channels{repeated}", np.full((n_out, n_in), 1.0 / n_in)


def _choice_name(order: tuple[int, ...], n_in: int) -> str:
    if order == tuple(range(n_in)):
        return "identity"
    places = ", ".join(map(str, order))
    if sorted(order) == list(range(n_in)):
        return f"channels in the order {places}"
    return f"channel {places}" if len(order) == 1 else f"channels {places}"


def _scaled(weights: FloatArray, tolerance: float) -> NamedChannels | None:
    clear = np.abs(weights) > tolerance
    if not bool((clear.sum(axis=1) == 1).all()):
        return None
    order = tuple(int(place) for place in clear.argmax(axis=1))
    known = np.where(clear, weights, 0.0)
    factors = ", ".join(f"{factor:.6g}" for factor in known.sum(axis=1))
    name = f"scaled by {factors}"
    if order != tuple(range(weights.shape[1])):
        name = f"{_choice_name(order, weights.shape[1])}, {name}"
    return NamedChannels(name, known, float(np.abs(known - weights).max()))

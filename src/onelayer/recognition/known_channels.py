"""Names what happens to channels: grayscale, swaps, choices, scales and offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.operator import FloatArray
from onelayer.recognition.tolerance import CLEARLY, MEDIAN_OF_NORMAL, checked_matrix, is_meaningful

_GREYS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("luma (torchvision: 0.2989, 0.587, 0.114)", (0.2989, 0.587, 0.114)),
    ("luma (Rec. 601: 0.299, 0.587, 0.114)", (0.299, 0.587, 0.114)),
    ("luma (Pillow: 19595, 38470, 7471 of 65536)", (19595 / 65536, 38470 / 65536, 7471 / 65536)),
    ("luma (Rec. 709: 0.2126, 0.7152, 0.0722)", (0.2126, 0.7152, 0.0722)),
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
"""Largest number of channels whose orders are tried."""
_ALIKE = 1e-3
"""Difference of two definitions of the same mixing, such as luma with four digits or three, relative to the largest
weight."""


_NORMALISATIONS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
"""Means and standard deviations of data sets."""
_CLEAR = 8.0
"""Number of standard deviations of noise within which an offset is constant: outputs near edges are noisier."""
_ROUNDING = 1e-6
"""Error of a layer that was learned from float32 outputs, relative to the size of the outputs."""
ChannelCandidate = tuple[str, FloatArray]
"""Name of a known mixing, and its weights."""


@final
@dataclass(frozen=True, eq=False)
class NamedChannels:
    """A known mixing of channels.

    Args:
        name: Description, such as ``luma (torchvision: 0.2989, 0.587, 0.114)``.
        matrix: Exact weights, float64 [C', C]; scales that no library is known for are as measured.
        distance: Largest distance of a measured weight from these.
        also: Other definitions that the weights do not tell from this one, which is the nearest.
    """

    name: str
    matrix: FloatArray
    distance: float
    also: tuple[NamedChannels, ...] = ()


def named_channels(matrix: ArrayLike, tolerance: float) -> NamedChannels | None:
    """Find the known mixing that is nearest to a matrix, if it is near enough.

    Known are the identity, choices and swaps of up to 4 channels, luma (four definitions, of RGB and of BGR) and the
    mean of channels, in one output channel or repeated in several; each as it is or by a factor (1/255, 255, 2, −1),
    or divided by the standard deviations that models of ImageNet, CLIP and CIFAR-10 have; and, if none of these fits,
    choices scaled channel by channel.

    Args:
        matrix: Measured weights, float64 [C', C].
        tolerance: Largest error of a weight, ≥ 0.

    Returns:
        None if nothing known is within the tolerance, if something else is nearly as near as the nearest, or if the
        tolerance is half of the largest weight or more.

    Raises:
        OnelayerError: If the matrix is no matrix, is empty or not finite, or the tolerance is negative.
    """
    weights = checked_matrix(matrix, tolerance)
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
    nearest = min(near, key=lambda known: known.distance)
    rivals = [rival for rival in near if rival is not nearest and rival.distance < CLEARLY * nearest.distance]
    if any(float(np.abs(rival.matrix - nearest.matrix).max()) > _ALIKE * largest for rival in rivals):
        return None
    return replace(nearest, also=tuple(rivals))


def _candidates(n_out: int, n_in: int) -> Iterator[ChannelCandidate]:
    for name, plain in _unscaled(n_out, n_in):
        for scale, factor in _FACTORS:
            yield _joined(name, scale), plain * factor
        if n_out == 3:
            for data_set, (_, deviations) in _NORMALISATIONS.items():
                yield _joined(name, f"divided by the standard deviations of {data_set}"), plain / _column(deviations)
                scale = f"divided by 255 and by the standard deviations of {data_set}"
                yield _joined(name, scale), plain / (255 * _column(deviations))


def _joined(name: str, scale: str) -> str:
    return f"{name}, {scale}" if scale and name != "identity" else scale or name


def _column(numbers: tuple[float, ...]) -> FloatArray:
    return np.array(numbers)[:, None]


def _unscaled(n_out: int, n_in: int) -> Iterator[ChannelCandidate]:
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


@final
@dataclass(frozen=True, eq=False)
class NamedOffset:
    """An offset.

    Args:
        name: ``none``, ``means of ImageNet`` and the like, ``constant: …``, or ``image``.
        bias: The offset, float64 [C'], or an image [C', H', W'].
    """

    name: str
    bias: FloatArray


def named_offset(bias: FloatArray, scale: float) -> NamedOffset:
    """Find the simplest offset that is within the noise.

    The noise of a channel is told from how far its values lie around their median. An offset that differs within a
    channel by more than that stays an image.

    Args:
        bias: Measured offset, float64 [C', H', W'].
        scale: Size of the outputs on images in [0, 1], such as the largest sum of an output's weights.
    """
    middle = np.median(bias, axis=(1, 2))
    around = np.abs(bias - middle[:, None, None])
    noise = np.median(around, axis=(1, 2)) / MEDIAN_OF_NORMAL
    tolerance = _CLEAR * noise + _ROUNDING * scale
    if bool((around > tolerance[:, None, None]).any()):
        return NamedOffset("image", bias)
    known = [("none", np.zeros(len(middle)))]
    if len(middle) == 3:
        known += [
            (f"means of {data_set}", -np.array(means) / np.array(deviations))
            for data_set, (means, deviations) in _NORMALISATIONS.items()
        ]
    if len(middle) in (1, 3):
        known += [("mean 0.5", np.full(len(middle), -1.0))]
    for name, exact in known:
        if bool((np.abs(middle - exact) <= tolerance).all()):
            return NamedOffset(name, exact)
    return NamedOffset("constant: " + ", ".join(f"{value:.6g}" for value in middle), middle)

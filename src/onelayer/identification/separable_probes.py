"""A function as channel ⊗ rows ⊗ cols, from a few images per unit of channels, height and width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from onelayer.algebra.operator import FloatArray
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.axis_probes import AxisFound, AxisProbes
from onelayer.identification.black_box import BlackBox
from onelayer.identification.evidence import Evidence
from onelayer.identification.outputs_seen import OutputsSeen
from onelayer.recognition.factors import Factors

_SAMPLES = 4096
"""Outputs that a rounded mixing of channels is read from, at least, as far as there are images to spare."""
_MOST_IMAGES = 16


InSpace = Callable[[FloatArray], FloatArray]
"""What happens to planes [N, H, W] of one channel, to [N, H', W']."""


@final
@dataclass(frozen=True, eq=False)
class SeparableFound:
    """Three factors, without bias.

    Attributes:
        factors: Of the images with height and width swapped first, if ``transpose``.
        transpose: Whether they are.
        noise: Standard deviation of the taps of each of the factors, 0 channels, 1 rows, 2 columns.
        evidence: How far the outputs are from products.
    """

    factors: Factors
    transpose: bool
    noise: tuple[float, float, float]
    evidence: tuple[Evidence, ...]


def find_separable(
    box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int, *, transpose: bool
) -> tuple[SeparableFound | None, tuple[Evidence, ...]]:
    """The factors of a function whose axes separate.

    Args:
        box: The function.
        point: Where it is affine.
        seen: What its outputs look like.
        seed: Of the images.
        transpose: Whether to look for one that swaps height and width.

    Returns:
        What was found, None where the axes do not separate; and what was measured of that. Few outputs may seem to
        separate both ways, so what was found is still to be compared with the function.

    Raises:
        OverBudgetError: If the budget does not allow it.
    """
    ways = {1: 2, 2: 1} if transpose else {1: 1, 2: 2}
    probes = {along: AxisProbes(box, point, seen, along, onto, seed) for along, onto in ways.items()}
    evidence = {along: probe.product_error() for along, probe in probes.items()}
    measured = tuple(evidence.values())
    if not all(one.passed for one in measured):
        return None, measured
    axes = {ways[along]: probe.found(evidence[along]) for along, probe in probes.items()}
    return _with_channels(box, point, seen, axes, transpose, seed), measured


def _with_channels(
    box: BlackBox,
    point: WorkingPoint,
    seen: OutputsSeen,
    axes: dict[int, AxisFound],
    transpose: bool,
    seed: int,
) -> SeparableFound:
    unscaled = Factors(np.ones((1, 1)), axes[1].matrix, axes[2].matrix)
    scaled = unscaled.balanced()

    def in_space(planes: FloatArray) -> FloatArray:
        swapped = planes.swapaxes(-1, -2) if transpose else planes
        plane: FloatArray = scaled.rows @ swapped @ scaled.cols.T
        return plane

    channel, noise = find_channels(box, point, seen, in_space, seed)
    gains = [
        float(np.abs(before).max()) / max(float(np.abs(after).max()), 1e-300)
        for before, after in ((unscaled.rows, scaled.rows), (unscaled.cols, scaled.cols))
    ]
    noises = noise, axes[1].noise / max(gains[0], 1e-300), axes[2].noise / max(gains[1], 1e-300)
    evidence = tuple(axis.evidence for axis in axes.values())
    return SeparableFound(Factors(channel, scaled.rows, scaled.cols), transpose, noises, evidence)


def find_channels(
    box: BlackBox, point: WorkingPoint, seen: OutputsSeen, in_space: InSpace, seed: int
) -> tuple[FloatArray, float]:
    """How channels are mixed, by what happens to one of them in space.

    Args:
        box: The function.
        point: Where it is affine.
        seen: What its outputs look like.
        in_space: What happens to the planes of a channel.
        seed: Of the noise in the images.

    Returns:
        float64 [C', C], and the standard deviation of its entries.

    Raises:
        OverBudgetError: If the budget does not allow it.
    """
    generator = np.random.default_rng([seed, 3])
    channels, (height, width) = box.given.shape[0], box.given.shape[1:]
    outputs_of_a_channel = box.after.shape[1] * box.after.shape[2]
    count = min(_MOST_IMAGES, -(-_SAMPLES // outputs_of_a_channel)) if seen.grain > 0.0 else 1
    box.reserve(count * channels, "finding how channels are mixed")
    mixing = np.zeros((box.after.shape[0], channels))
    least = np.inf
    for channel in range(channels):
        images = np.repeat(point.base[None], count, axis=0)
        noise_shape = count, height, width
        images[:, channel] += generator.integers(-point.reach, point.reach, noise_shape, dtype=np.int16, endpoint=True)
        outputs = box(images) - point.output
        expected = in_space(box.values(images[:, channel]) - box.values(point.base[channel]))
        energy = float((expected**2).sum())
        mixing[:, channel] = np.einsum("nchw,nhw->c", outputs, expected) / energy if energy > 0.0 else 0.0
        least = min(least, energy)
    return mixing, seen.noise / float(np.sqrt(least)) if least > 0.0 else 0.0

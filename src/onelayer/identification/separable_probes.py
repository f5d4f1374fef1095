"""Finds a function as channel ⊗ rows ⊗ cols, from a few images per unit of channels, height and width."""

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
from onelayer.identification.observed_outputs import ObservedOutputs
from onelayer.recognition.kronecker import KroneckerFactors

_SAMPLES = 4096
"""Least number of outputs to read a rounded mixing of channels from, as far as there are images to spare."""
_MOST_IMAGES = 16

InSpace = Callable[[FloatArray], FloatArray]
"""Map of planes [N, H, W] of one channel to [N, H', W']."""


@final
@dataclass(frozen=True, eq=False)
class SeparableFound:
    """Three factors, without bias.

    Attributes:
        factors: The factors.
        transpose: Whether height and width of the images are swapped first.
        noise: Standard deviation of the taps of each factor: 0 channels, 1 rows, 2 columns.
        evidence: Distance of the outputs from products.
    """

    factors: KroneckerFactors
    transpose: bool
    noise: tuple[float, float, float]
    evidence: tuple[Evidence, ...]


def find_separable(
    box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int, *, transpose: bool
) -> tuple[SeparableFound | None, tuple[Evidence, ...]]:
    """Find the factors of a function whose axes separate.

    Args:
        box: The function.
        point: An image around which it is affine.
        observed: Its outputs.
        seed: Seed of the images.
        transpose: Whether to look for factors behind a swap of height and width.

    Returns:
        The factors, None where the axes do not separate; and the evidence. Few outputs may seem to separate with and
        without a swap, so the factors are still to be compared with the function.

    Raises:
        OverBudgetError: If the budget does not allow it.
    """
    onto_axes = {1: 2, 2: 1} if transpose else {1: 1, 2: 2}
    probes = {along: AxisProbes(box, point, observed, along, onto, seed) for along, onto in onto_axes.items()}
    evidence = {along: probe.product_error() for along, probe in probes.items()}
    measured = tuple(evidence.values())
    if not all(test.passed for test in measured):
        return None, measured
    axes = {onto_axes[along]: probe.found(evidence[along]) for along, probe in probes.items()}
    return _with_channels(box, point, observed, axes, transpose, seed), measured


def _with_channels(
    box: BlackBox,
    point: WorkingPoint,
    observed: ObservedOutputs,
    axes: dict[int, AxisFound],
    transpose: bool,
    seed: int,
) -> SeparableFound:
    unscaled = KroneckerFactors(np.ones((1, 1)), axes[1].matrix, axes[2].matrix)
    scaled = unscaled.balanced()

    def in_space(planes: FloatArray) -> FloatArray:
        swapped = planes.swapaxes(-1, -2) if transpose else planes
        plane: FloatArray = scaled.rows @ swapped @ scaled.cols.T
        return plane

    channel, noise = find_channels(box, point, observed, in_space, seed)
    gains = [
        float(np.abs(before).max()) / max(float(np.abs(after).max()), 1e-300)
        for before, after in ((unscaled.rows, scaled.rows), (unscaled.cols, scaled.cols))
    ]
    noises = noise, axes[1].noise / max(gains[0], 1e-300), axes[2].noise / max(gains[1], 1e-300)
    evidence = tuple(axis.evidence for axis in axes.values())
    return SeparableFound(KroneckerFactors(channel, scaled.rows, scaled.cols), transpose, noises, evidence)


def find_channels(
    box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, in_space: InSpace, seed: int
) -> tuple[FloatArray, float]:
    """Find how channels are mixed, given the map of each of them in space.

    Args:
        box: The function.
        point: An image around which it is affine.
        observed: Its outputs.
        in_space: Map of the planes of a channel.
        seed: Seed of the noise in the images.

    Returns:
        The mixing matrix, float64 [C', C], and the standard deviation of its entries.

    Raises:
        OverBudgetError: If the budget does not allow it.
    """
    generator = np.random.default_rng([seed, 3])
    channels, (height, width) = box.input_spec.shape[0], box.input_spec.shape[1:]
    outputs_of_a_channel = box.output_spec.shape[1] * box.output_spec.shape[2]
    count = min(_MOST_IMAGES, -(-_SAMPLES // outputs_of_a_channel)) if observed.quantized else 1
    box.reserve(count * channels, "finding how channels are mixed")
    mixing = np.zeros((box.output_spec.shape[0], channels))
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
    return mixing, observed.noise / float(np.sqrt(least)) if least > 0.0 else 0.0

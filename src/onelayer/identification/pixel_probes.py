"""Finds the weights of a function whose axes do not separate, pixel by pixel.

Local functions, such as rotations and other warps: bands of rows and of columns say roughly where each output pixel
looks; then single bright pixels, many in one image, as far apart as no output pixel reaches, say with which weights.
Functions of few values are asked about one input value at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import sparse
from scipy.ndimage import binary_dilation
from scipy.stats import chi2

from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.axis_probes import pattern_of, windows
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.evidence import Evidence
from onelayer.identification.observed_outputs import ObservedOutputs
from onelayer.identification.separable_probes import find_channels
from onelayer.recognition.kronecker import gain_of, leading

_BAND = 4
"""Least number of rows or columns of a band."""
_MOST_BANDS = 400
"""Largest number of bands of both axes together."""
_TEXTURES, _MOST_TEXTURES = 3, 8
"""Number of textures per band: one may come out as nothing by chance, or be lost in rounding."""
_SHARE_FOR_BANDS = 3
"""Most of the remaining budget to spend on more textures: one part in so many."""
_BY_CHANCE = 1e-10
"""Probability that rounding alone makes a band look clear: there are millions of bands and output pixels."""
_CERTAIN, _LIKELY = 6.0, 3.0
"""Numbers of standard deviations of rounding beyond which a response is real."""
_NONE_AT_ALL = 1e-6
"""Response that float32 can make of nothing, relative to the largest."""
_TYPICAL_ROUNDINGS = 0.9
"""Root mean square, in steps, of what two roundings of each of two values leave."""
_MOST_TAPS = 40_000_000
"""Largest number of weights to measure, before those that are zero are left out."""
_IMAGES_PER_TAP, _LEAST_IMAGES = 3, 200
"""Number of images that the weights of a rounded function are fitted to."""
_AT_ONCE = 32
"""Number of input values that are asked about at a time."""


@final
@dataclass(frozen=True, eq=False)
class LocalFound:
    """Mixing of channels, and weights from input pixels to output pixels.

    Attributes:
        channel: Mixing matrix, float64 [C', C].
        matrix: Weights, scipy sparse [H'·W', H·W].
    """

    channel: FloatArray
    matrix: Any


def find_local(
    box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int
) -> tuple[LocalFound | None, tuple[Evidence, ...]]:
    """Find the weights of a function whose output pixels depend on a few input pixels each.

    Returns:
        The weights, None where channels differ in space or output pixels depend on too many; and the evidence.

    Raises:
        OverBudgetError: If the budget does not allow it.
    """
    probes = _LocalProbes(box, point, observed, seed)
    evidence = probes.mixing_error()
    if not evidence.passed:
        return None, (evidence,)
    starts, widths, reaching = probes.where()
    if len(reaching) * widths[0] * widths[1] > _MOST_TAPS:
        return None, (evidence,)
    weights = probes.taps(starts, widths, reaching)
    if observed.quantized:
        weights = probes.refined(weights)
    most, least = weights.max(axis=1).toarray().ravel(), weights.min(axis=1).toarray().ravel()
    gain = gain_of(np.asarray(weights.sum(axis=1)).ravel(), np.where(most >= -least, most, least))
    matrix = weights / gain
    size = box.output_spec.shape[1:]

    def in_space(planes: FloatArray) -> FloatArray:
        flat: FloatArray = (matrix @ planes.reshape(len(planes), -1).T).T
        return flat.reshape(len(planes), *size)

    channel, _ = find_channels(box, point, observed, in_space, seed)
    return LocalFound(channel, matrix), (evidence,)


def find_dense(box: BlackBox, point: WorkingPoint, observed: ObservedOutputs) -> FloatArray:
    """Find all weights, float64 [C'·H'·W', C·H·W], one input value at a time.

    Raises:
        OverBudgetError: If the budget does not allow as many images as there are input values.
    """
    inputs = samples_of(box.input_spec.shape)
    signs = (1, -1) if observed.quantized else (1,)
    box.reserve(len(signs) * inputs, "asking about every input value")
    base = point.base.ravel()
    weight = np.zeros((samples_of(box.output_spec.shape), inputs))
    for begin in range(0, inputs, _AT_ONCE):
        places = np.arange(begin, min(begin + _AT_ONCE, inputs))
        for sign in signs:
            images = np.repeat(base[None], len(places), axis=0)
            images[np.arange(len(places)), places] += sign * point.reach
            shaped = images.reshape(len(places), *box.input_spec.shape)
            apart = (box(shaped) - point.output).reshape(len(places), -1)
            values = box.values(images[np.arange(len(places)), places]) - box.values(base[places])
            weight[:, places] += (apart / values[:, None]).T / len(signs)
    return weight


def _boxes(clear: np.ndarray) -> np.ndarray:
    """Find the rectangle around the clear weights of each output, bool [P, rows, cols]."""
    boxes = clear
    for axis, other in ((1, 2), (2, 1)):
        there = clear.any(axis=other, keepdims=True)
        within = np.logical_or.accumulate(there, axis=axis)
        within &= np.flip(np.logical_or.accumulate(np.flip(there, axis), axis=axis), axis)
        boxes = within if axis == 1 else boxes & within
    return boxes


def _fitted(weights: Any, pixels: FloatArray, outputs: FloatArray) -> Any:
    """Fit weights with the same support by least squares, output by output.

    Args:
        weights: Support, csr [P, H·W].
        pixels: Inputs, [K, H·W].
        outputs: Outputs, [K, P].
    """
    counts = np.diff(weights.indptr)
    fitted = weights.copy()
    for count in np.unique(counts[counts > 0]):
        alike = np.flatnonzero(counts == count)
        for part in np.array_split(alike, -(-len(alike) * int(count) // 50_000)):
            places = weights.indptr[part][:, None] + np.arange(count)
            inputs = pixels[:, weights.indices[places]]
            moments = np.einsum("kpt,kpu->ptu", inputs, inputs)
            crossed = np.einsum("kpt,kp->pt", inputs, outputs[:, part])
            fitted.data[places] = np.linalg.solve(moments, crossed[..., None])[..., 0]
    return fitted


class _LocalProbes:
    def __init__(self, box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int) -> None:
        self.box, self.point, self.observed = box, point, observed
        self.size = box.input_spec.shape[1:]
        self._generator = np.random.default_rng([seed, 4])
        # Quarters: channels that counted alike would cancel in a mixing such as a colour difference.
        self._share = (4 - np.arange(box.input_spec.shape[0]) % 4) / 4
        self._mixed: FloatArray = np.zeros(0)

    def mixing_error(self) -> Evidence:
        """Measure the distance of the output channels from multiples of one image, and find the factors."""
        outputs = self._asked(pattern_of(self._generator, self.point.reach, (1, *self.size)))[0]
        self._mixed = leading(outputs)[1]
        rest = outputs - np.outer(self._mixed, self._mixed @ outputs)
        allowed = _TYPICAL_ROUNDINGS * self.observed.quantization_step + self.observed.tolerance
        return Evidence(
            "channels that are alike in space, typical violation", float(np.sqrt(np.mean(rest**2))), allowed
        )

    def where(self) -> tuple[list[np.ndarray], list[int], np.ndarray]:
        """Find the starts and widths of the output pixels' windows along both axes, and the pixels that have one."""
        band = max(_BAND, -(-sum(self.size) // _MOST_BANDS))
        bands = sum(-(-length // band) for length in self.size)
        times = _TEXTURES
        if self.observed.quantized:
            affordable = (self.box.budget - self.box.images) // (_SHARE_FOR_BANDS * bands)
            times = min(max(affordable, _TEXTURES), _MOST_TEXTURES)
        self.box.reserve(times * bands, "finding where output pixels look")
        starts, widths = [], []
        reaching = np.ones(self.box.output_spec.shape[1] * self.box.output_spec.shape[2], dtype=bool)
        for axis, length in enumerate(self.size):
            strength = np.sqrt(
                np.stack([self._squares(axis, begin, band, times) for begin in range(0, length, band)], 1)
            )
            clear = strength > self._threshold(strength, float(np.sqrt(chi2.isf(_BY_CHANCE, times) / times)))
            begin, width = windows(clear, band, length, 1)
            starts.append(begin)
            widths.append(width)
            reaching &= np.any(clear, axis=1, keepdims=True)[:, 0]
        return starts, widths, reaching

    def _squares(self, axis: int, begin: int, band: int, times: int) -> FloatArray:
        """Measure the mean square of the response of output pixels to textures in a band, [H'·W']."""
        here = (slice(None),) * (axis + 1) + (slice(begin, begin + band),)
        reach = max(self.point.reach, 1)
        squares = np.zeros(self.box.output_spec.shape[1] * self.box.output_spec.shape[2])
        for _ in range(times):
            plane = np.zeros((1, *self.size), dtype=np.int16)
            shape = plane[here].shape
            plane[here] = self._generator.integers(max(reach // 4, 1), reach, shape, endpoint=True)
            squares += self._read(plane)[0] ** 2 / times
        return squares

    def taps(self, starts: list[np.ndarray], widths: list[int], reaching: np.ndarray) -> Any:
        """Measure the weights within windows, in units of the response, as a sparse matrix [H'·W', H·W]."""
        self.box.reserve(widths[0] * widths[1], f"finding the weights of windows of {widths[0]}×{widths[1]} pixels")
        reach = self.point.reach // 4 * 4
        found = np.zeros((widths[0], widths[1], len(reaching)), dtype=np.float32)
        for row in range(widths[0]):
            for col in range(widths[1]):
                plane = np.zeros((1, *self.size), dtype=np.int16)
                plane[0, row :: widths[0], col :: widths[1]] = reach
                found[row, col] = self._read(plane)[0]
        # Of each comb, one pixel lies in an output's window.
        all_outputs = np.arange(len(reaching))[:, None, None]
        rows = starts[0][:, None] + np.arange(widths[0])
        cols = starts[1][:, None] + np.arange(widths[1])
        window = found[(rows % widths[0])[:, :, None], (cols % widths[1])[:, None, :], all_outputs]
        clear = reaching[:, None, None] & (np.abs(window) > self._threshold(found, _CERTAIN))
        if self.observed.quantized:
            # Next to what is clear there may be weights that are less so.
            clear = binary_dilation(_boxes(clear), np.ones((1, 3, 3)))
            clear |= (reaching & ~clear.any(axis=(1, 2)))[:, None, None]
        outputs, down, across = np.nonzero(clear)
        places = rows[outputs, down] * self.size[1] + cols[outputs, across]
        shape = len(reaching), self.size[0] * self.size[1]
        return sparse.csr_array((window[clear].astype(np.float64) / reach, (outputs, places)), shape=shape)

    def refined(self, weights: Any) -> Any:
        """Fit the weights that are not zero to many rounded images of noise; and again, without noise."""
        most = int(np.diff(weights.indptr).max(initial=0))
        if most == 0:
            return weights
        images = max(_IMAGES_PER_TAP * most, _LEAST_IMAGES)
        self.box.reserve(images, "fitting weights to rounded images")
        planes = pattern_of(self._generator, self.point.reach, (images, *self.size))
        signs = self._generator.choice(np.array([-1, 1], dtype=np.int16), planes.shape)
        planes = planes * signs
        outputs = np.concatenate([self._read(plane[None]) for plane in planes])
        # Less their means, as the base was rounded, too, and that is in all of the outputs.
        outputs -= outputs.mean(axis=0)
        pixels = planes.reshape(images, -1).astype(np.float64)
        pixels -= pixels.mean(axis=0)
        first = _fitted(weights, pixels, outputs)
        noise = self.observed.noise / np.sqrt((pixels**2).mean() * (images - most))
        first.data[np.abs(first.data) < _LIKELY * noise] = 0.0
        first.eliminate_zeros()
        return _fitted(first, pixels, outputs)

    def _images(self, planes: Levels) -> Levels:
        return (self.point.base + np.rint(planes[:, None] * self._share[:, None, None])).astype(np.int16)

    def _asked(self, planes: Levels) -> FloatArray:
        """Ask for outputs less those of the base, [N, C', H'·W']."""
        outputs = self.box(self._images(planes)) - self.point.output
        return outputs.reshape(len(planes), self.box.output_spec.shape[0], -1)

    def _read(self, planes: Levels) -> FloatArray:
        """Ask for one number per output pixel, [N, H'·W']."""
        read: FloatArray = np.einsum("ncp,c->np", self._asked(planes), self._mixed)
        return read

    def _threshold(self, found: np.ndarray, deviations: float) -> float:
        return max(deviations * self.observed.noise, _NONE_AT_ALL * float(np.abs(found).max(initial=0.0)))

"""A function each output pixel of which depends on a few input pixels near each other: rotations and other warps.

Bands of rows and of columns say roughly where each output pixel looks; then single bright pixels, many in one image, as
far apart as no output pixel reaches, say with which weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import sparse
from scipy.ndimage import binary_dilation
from scipy.stats import chi2

from onelayer.algebra.operator import FloatArray
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.axis_probes import pattern_of, windows
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.evidence import Evidence
from onelayer.identification.outputs_seen import OutputsSeen
from onelayer.identification.separable_probes import find_channels
from onelayer.recognition.factors import gain_of
from onelayer.recognition.kronecker import leading

_BAND = 4
"""Rows or columns of a band, at least."""
_MOST_BANDS = 400
"""Bands of both axes together."""
_TEXTURES, _MOST_TEXTURES = 3, 8
"""Times that bands are asked about: a texture may come out as nothing by chance, or be lost in rounding."""
_SHARE_FOR_BANDS = 3
"""One part in so many of what is left of the budget goes into more textures, at most."""
_BY_CHANCE = 1e-10
"""How likely it may be that rounding alone makes a band look clear: there are millions of bands and output pixels."""
_CERTAIN, _LIKELY = 6.0, 3.0
"""Standard deviations of rounding beyond which a response is one."""
_NONE_AT_ALL = 1e-6
"""Part of the largest response that float32 can make of nothing."""
_TYPICAL_ROUNDINGS = 0.9
_MOST_TAPS = 40_000_000
"""Weights that are looked at, before those that are zero are left out."""
_IMAGES_PER_TAP, _LEAST_IMAGES = 3, 200
"""Images that the weights of a rounded function are fitted to."""


@final
@dataclass(frozen=True, eq=False)
class LocalFound:
    """Mixing of channels, and weights from all input pixels to all output pixels.

    Attributes:
        channel: float64 [C', C].
        matrix: scipy sparse [H'·W', H·W].
    """

    channel: FloatArray
    matrix: Any


def find_local(
    box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int
) -> tuple[LocalFound | None, tuple[Evidence, ...]]:
    """The weights of a function whose output pixels depend on a few input pixels each.

    Returns:
        What was found, None where channels do not go the same way or output pixels depend on too many; and what was
        measured of that.

    Raises:
        OverBudgetError: If the budget does not allow it.
    """
    probes = _LocalProbes(box, point, seen, seed)
    evidence = probes.mixing_error()
    if not evidence.passed:
        return None, (evidence,)
    starts, widths, reaching = probes.where()
    if len(reaching) * widths[0] * widths[1] > _MOST_TAPS:
        return None, (evidence,)
    weights = probes.taps(starts, widths, reaching)
    if seen.grain > 0.0:
        weights = probes.refined(weights)
    most, least = weights.max(axis=1).toarray().ravel(), weights.min(axis=1).toarray().ravel()
    gain = gain_of(np.asarray(weights.sum(axis=1)).ravel(), np.where(most >= -least, most, least))
    matrix = weights / gain
    size = box.after.shape[1:]

    def in_space(planes: FloatArray) -> FloatArray:
        flat: FloatArray = (matrix @ planes.reshape(len(planes), -1).T).T
        return flat.reshape(len(planes), *size)

    channel, _ = find_channels(box, point, seen, in_space, seed)
    return LocalFound(channel, matrix), (evidence,)


def _boxes(clear: np.ndarray) -> np.ndarray:
    """For each output, the rectangle around what is clear, bool [P, rows, cols]."""
    boxes = clear
    for axis, other in ((1, 2), (2, 1)):
        there = clear.any(axis=other, keepdims=True)
        seen = np.logical_or.accumulate(there, axis=axis)
        seen &= np.flip(np.logical_or.accumulate(np.flip(there, axis), axis=axis), axis)
        boxes = seen if axis == 1 else boxes & seen
    return boxes


def _fitted(weights: Any, pixels: FloatArray, outputs: FloatArray) -> Any:
    """Weights with the same places, by least squares for each output.

    Args:
        weights: csr [P, H·W].
        pixels: [K, H·W].
        outputs: [K, P].
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
    def __init__(self, box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int) -> None:
        self.box, self.point, self.seen = box, point, seen
        self.size = box.given.shape[1:]
        self._generator = np.random.default_rng([seed, 4])
        # Quarters: channels that counted alike would cancel in a mixing such as a colour difference.
        self._share = (4 - np.arange(box.given.shape[0]) % 4) / 4
        self._mixed: FloatArray = np.zeros(0)

    def mixing_error(self) -> Evidence:
        """How far the channels of the outputs are from being one image, by factors; this also finds the factors."""
        outputs = self._asked(pattern_of(self._generator, self.point.reach, (1, *self.size)))[0]
        self._mixed = leading(outputs)[1]
        rest = outputs - np.outer(self._mixed, self._mixed @ outputs)
        allowed = _TYPICAL_ROUNDINGS * self.seen.grain + self.seen.tolerance
        return Evidence("channels that all go one way, typical violation", float(np.sqrt(np.mean(rest**2))), allowed)

    def where(self) -> tuple[list[np.ndarray], list[int], np.ndarray]:
        """Where the windows of the output pixels begin along both axes, their widths, and which there are."""
        band = max(_BAND, -(-sum(self.size) // _MOST_BANDS))
        bands = sum(-(-length // band) for length in self.size)
        times = _TEXTURES
        if self.seen.grain > 0.0:
            affordable = (self.box.budget - self.box.images) // (_SHARE_FOR_BANDS * bands)
            times = min(max(affordable, _TEXTURES), _MOST_TEXTURES)
        self.box.reserve(times * bands, "finding where output pixels look")
        starts, widths = [], []
        reaching = np.ones(self.box.after.shape[1] * self.box.after.shape[2], dtype=bool)
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
        """Mean square of what output pixels make of textures in a band, [H'·W']."""
        here = (slice(None),) * (axis + 1) + (slice(begin, begin + band),)
        reach = max(self.point.reach, 1)
        squares = np.zeros(self.box.after.shape[1] * self.box.after.shape[2])
        for _ in range(times):
            plane = np.zeros((1, *self.size), dtype=np.int16)
            shape = plane[here].shape
            plane[here] = self._generator.integers(max(reach // 4, 1), reach, shape, endpoint=True)
            squares += self._read(plane)[0] ** 2 / times
        return squares

    def taps(self, starts: list[np.ndarray], widths: list[int], reaching: np.ndarray) -> Any:
        """Weights within windows, in units of the response, as a sparse matrix [H'·W', H·W]."""
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
        if self.seen.grain > 0.0:
            # Next to what is clear there may be weights that are less so.
            clear = binary_dilation(_boxes(clear), np.ones((1, 3, 3)))
            clear |= (reaching & ~clear.any(axis=(1, 2)))[:, None, None]
        outputs, down, across = np.nonzero(clear)
        places = rows[outputs, down] * self.size[1] + cols[outputs, across]
        shape = len(reaching), self.size[0] * self.size[1]
        return sparse.csr_array((window[clear].astype(np.float64) / reach, (outputs, places)), shape=shape)

    def refined(self, weights: Any) -> Any:
        """Weights that are not zero, fitted to many rounded images of noise; and again, without those that are none."""
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
        noise = self.seen.noise / np.sqrt((pixels**2).mean() * (images - most))
        first.data[np.abs(first.data) < _LIKELY * noise] = 0.0
        first.eliminate_zeros()
        return _fitted(first, pixels, outputs)

    def _images(self, planes: Levels) -> Levels:
        return (self.point.base + np.rint(planes[:, None] * self._share[:, None, None])).astype(np.int16)

    def _asked(self, planes: Levels) -> FloatArray:
        """Outputs less those of the base, [N, C', H'·W']."""
        outputs = self.box(self._images(planes)) - self.point.output
        return outputs.reshape(len(planes), self.box.after.shape[0], -1)

    def _read(self, planes: Levels) -> FloatArray:
        """One number for each output pixel, [N, H'·W']."""
        read: FloatArray = np.einsum("ncp,c->np", self._asked(planes), self._mixed)
        return read

    def _threshold(self, found: np.ndarray, deviations: float) -> float:
        return max(deviations * self.seen.noise, _NONE_AT_ALL * float(np.abs(found).max(initial=0.0)))

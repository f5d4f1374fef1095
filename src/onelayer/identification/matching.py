"""Finds the program that explains a function's outputs for fresh images best, and how well it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import final

import numpy as np
from scipy.ndimage import gaussian_filter

from onelayer.algebra import Operator, Program
from onelayer.algebra.operator import FloatArray
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.candidates import Candidate, candidates
from onelayer.identification.evidence import Evidence
from onelayer.identification.linear_parts import LinearPart
from onelayer.identification.observed_outputs import ObservedOutputs

_CALIBRATIONS = 12
_CHOOSING = (0, 5, 11, 3, 8, 13)
"""Indices of the fresh images by which a program is chosen: one of each kind."""
_CHOOSING_VALUES = 3_000_000
"""Largest number of output values of these, if one image has not more: many programs are tried."""
_NO_WORSE = 1.05
"""Ratio of typical errors that count as equal: the simpler program is taken."""
_OFFSET_STEPS = 2.5
"""Error of the mean of twelve values in steps: rounding once or twice, and taps that are not quite right."""
_STEPS_OFF = 2.01
"""Error of a rounded value in steps: rounding twice, in another order."""


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """A program and its errors on fresh images.

    Attributes:
        part: Its linear part.
        candidate: The program.
        largest: Largest error, in units of the output.
        typical: Root mean square error, in units of the output.
        mismatch_rate: Fraction of the values that are off by more than float32 rounding, 0 … 1.
        evidence: Tests that were made on the way.
        holds: Whether the largest error is allowed.
    """

    part: LinearPart
    candidate: Candidate
    largest: float
    typical: float
    mismatch_rate: float
    evidence: tuple[Evidence, ...]
    holds: bool


class Matching:
    """Asks the function about fresh images, once, and compares programs with its outputs.

    Args:
        box: The function.
        observed: Its outputs.
        point: An image around which it is affine.
        seed: Seed of the images.

    Raises:
        OverBudgetError: If the budget does not allow them.
    """

    def __init__(self, box: BlackBox, observed: ObservedOutputs, point: WorkingPoint, seed: int) -> None:
        self.box, self.observed = box, observed
        self.allowed = _STEPS_OFF * observed.quantization_step + observed.tolerance
        self._fresh = fresh_images(box, seed)
        self._near = calibration_images(point.base, point.reach, _CALIBRATIONS, seed)
        box.reserve(len(self._fresh) + len(self._near), "asking about fresh images")
        self._truth = box(self._fresh)
        self._near_truth = box(self._near)

    def best(self, parts: Sequence[LinearPart], evidence: tuple[Evidence, ...]) -> Fit:
        """Choose the program that explains the outputs best; of several that do so equally well, the first.

        Args:
            parts: Linear parts, preferred ones first.
            evidence: Tests that were made to find them.
        """
        tried: list[tuple[LinearPart, Candidate, float, float]] = []
        count = max(1, _CHOOSING_VALUES // self._truth[0].size)
        chosen = self._fresh[list(_CHOOSING[:count])], self._truth[list(_CHOOSING[:count])]
        for part in parts:
            offsets = self._offsets(part.operator)
            found = (candidates(self.box, self.observed, part.operator, offset) for offset in offsets)
            for candidate in chain.from_iterable(found):
                errors = self._errors(candidate.program, *chosen)
                tried.append((part, candidate, float(np.mean(errors)), float(errors.max(initial=0.0))))
                if tried[-1][3] <= self.observed.tolerance:
                    # Nothing explains them better.
                    return self._fit(part, candidate, evidence)
        least = min(typical for *_, typical, _ in tried)
        part, candidate, *_ = next(entry for entry in tried if entry[2] <= _NO_WORSE * least + self.observed.rounding)
        return self._fit(part, candidate, evidence)

    def _fit(self, part: LinearPart, candidate: Candidate, evidence: tuple[Evidence, ...]) -> Fit:
        errors = self._errors(candidate.program, self._fresh, self._truth)
        largest = float(errors.max(initial=0.0))
        typical = float(np.sqrt(np.mean(errors**2)))
        mismatch_rate = float(np.mean(errors > self.observed.tolerance))
        held = Evidence("twenty fresh images, largest error", largest, self.allowed)
        return Fit(part, candidate, largest, typical, mismatch_rate, (*evidence, held), held.passed)

    def _errors(self, program: Program, images: Levels, truth: FloatArray) -> FloatArray:
        errors = [
            np.abs(program.apply(self.box.values(image)) - right) for image, right in zip(images, truth, strict=True)
        ]
        return np.stack(errors)

    def _offsets(self, linear: Operator) -> Iterator[FloatArray]:
        """Yield the offset as one number per channel; and as an image, where it seems to differ from place to place."""
        apart = [
            right - linear.apply(self.box.values(image))
            for image, right in zip(self._near, self._near_truth, strict=True)
        ]
        image: FloatArray = np.mean(apart, axis=0)
        allowed = _OFFSET_STEPS * self.observed.quantization_step + self.observed.tolerance
        middle = np.median(image, axis=(1, 2))[:, None, None]
        common = np.abs(image - middle) <= allowed
        settled = np.where(common, image, 0.0).sum(axis=(1, 2)) / np.maximum(common.sum(axis=(1, 2)), 1)
        settled[np.abs(settled) <= self.observed.tolerance] = 0.0
        yield settled
        if not common.all():
            yield np.where(common, settled[:, None, None], image)


def fresh_images(box: BlackBox, seed: int) -> Levels:
    """Make twenty images over the whole range, which nothing was found from; int16 [20, C, H, W].

    Noise, noise of high contrast, black-and-white noise, smooth fields, images like photographs (smooth, with noise on
    them), framed ones, single pixels, stripes, black and white.
    """
    generator = np.random.default_rng([seed, 9])
    shape, top = box.input_spec.shape, box.levels

    def smooth(width: float) -> np.ndarray:
        field = gaussian_filter(generator.standard_normal(shape), (0, width, width), mode="nearest")
        field -= field.min()
        scaled: np.ndarray = field / max(float(field.max()), 1e-12) * top
        return scaled

    def framed(image: np.ndarray, frame: int) -> np.ndarray:
        height, width = -(-shape[1] // 8), -(-shape[2] // 8)
        whole = np.full(shape, frame)
        inside = slice(None), slice(height, -height), slice(width, -width)
        whole[inside] = image[inside]
        return whole

    images: list[np.ndarray] = [generator.integers(0, top + 1, shape) for _ in range(3)]
    images += [np.where(generator.random(shape) < 0.5, top // 8, top - top // 8) for _ in range(2)]
    images += [generator.integers(0, 2, shape) * top for _ in range(2)]
    images += [smooth(width) for width in (1.0, 3.0, 9.0)]
    images += [np.clip(smooth(4.0) + generator.normal(0, top / 40, shape), 0, top) for _ in range(3)]
    images += [np.where(generator.random(shape) < 0.02, bright, top - bright) for bright in (0, top)]
    images += [np.broadcast_to(np.arange(shape[2]) // 3 % 2 * top, shape)]
    # Some functions cut frames off.
    images += [framed(generator.integers(top // 4, top - top // 4 + 1, shape), frame) for frame in (0, top)]
    images += [np.zeros(shape), np.full(shape, top)]
    levels: Levels = np.rint(np.stack(images)).astype(np.int16)
    return levels


def calibration_images(base: Levels, reach: int, count: int, seed: int) -> Levels:
    """Make noise around an image [C, H, W]; int16 [count, C, H, W]."""
    generator = np.random.default_rng([seed, 8])
    noisy: Levels = base + generator.integers(-reach, reach, (count, *base.shape), dtype=np.int16, endpoint=True)
    return noisy

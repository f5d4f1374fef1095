"""Which program explains a function's answers to images that nothing was found from, and how well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import final

import numpy as np

from onelayer.algebra import Operator, Program
from onelayer.algebra.operator import FloatArray
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.candidates import Candidate, candidates
from onelayer.identification.evidence import Evidence
from onelayer.identification.fresh_images import calibration_images, fresh_images
from onelayer.identification.operators_found import LinearPart
from onelayer.identification.outputs_seen import OutputsSeen

_CALIBRATIONS = 12
_CHOOSING = (0, 5, 11, 3, 8, 13)
"""Fresh images by which a program is chosen: of each kind one."""
_CHOOSING_VALUES = 3_000_000
"""Output values of these, at most, if one image has not more: many programs are tried."""
_NO_WORSE = 1.05
"""Typical errors that are alike: the simpler program is taken."""
_OFFSET_STEPS = 2.5
"""What the mean of twelve values may be off by, in steps: rounding once or twice, and taps that are not quite right."""
_STEPS_OFF = 2.01
"""Steps that a rounded value may be off by: rounding twice, in another order."""


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """A program, and how far it is from the function on fresh images.

    Attributes:
        part: Its linear part.
        candidate: The program.
        largest: The largest error, in units of the output.
        typical: The root mean square error.
        differing: Share of the values that are off by more than rounding to their dtype.
        evidence: What was measured on the way.
        holds: Whether the largest error is allowed.
    """

    part: LinearPart
    candidate: Candidate
    largest: float
    typical: float
    differing: float
    evidence: tuple[Evidence, ...]
    holds: bool


class Matching:
    """Asks the function about fresh images, once, and compares programs with its answers.

    Args:
        box: The function.
        seen: What its outputs look like.
        point: Where it is affine.
        seed: Of the images.

    Raises:
        OverBudgetError: If the budget does not allow them.
    """

    def __init__(self, box: BlackBox, seen: OutputsSeen, point: WorkingPoint, seed: int) -> None:
        self.box, self.seen = box, seen
        self.allowed = _STEPS_OFF * seen.grain + seen.tolerance
        self._fresh = fresh_images(box, seed)
        self._near = calibration_images(point.base, point.reach, _CALIBRATIONS, seed)
        box.reserve(len(self._fresh) + len(self._near), "asking about fresh images")
        self._truth = box(self._fresh)
        self._near_truth = box(self._near)

    def best(self, parts: Sequence[LinearPart], evidence: tuple[Evidence, ...]) -> Fit:
        """The program that explains the answers best; of several that do so equally well, the first.

        Args:
            parts: Linear parts, those to be preferred first.
            evidence: What was measured in finding them.
        """
        tried: list[tuple[LinearPart, Candidate, float, float]] = []
        count = max(1, _CHOOSING_VALUES // self._truth[0].size)
        chosen = self._fresh[list(_CHOOSING[:count])], self._truth[list(_CHOOSING[:count])]
        for part in parts:
            offsets = self._offsets(part.operator)
            found = (candidates(self.box, self.seen, part.operator, offset) for offset in offsets)
            for candidate in chain.from_iterable(found):
                errors = self._errors(candidate.program, *chosen)
                tried.append((part, candidate, float(np.mean(errors)), float(errors.max(initial=0.0))))
                if tried[-1][3] <= self.seen.tolerance:
                    # Nothing explains them better.
                    return self._fit(part, candidate, evidence)
        least = min(typical for *_, typical, _ in tried)
        part, candidate, *_ = next(one for one in tried if one[2] <= _NO_WORSE * least + self.seen.rounding)
        return self._fit(part, candidate, evidence)

    def _fit(self, part: LinearPart, candidate: Candidate, evidence: tuple[Evidence, ...]) -> Fit:
        errors = self._errors(candidate.program, self._fresh, self._truth)
        largest = float(errors.max(initial=0.0))
        typical = float(np.sqrt(np.mean(errors**2)))
        differing = float(np.mean(errors > self.seen.tolerance))
        held = Evidence("twenty fresh images, largest error", largest, self.allowed)
        return Fit(part, candidate, largest, typical, differing, (*evidence, held), held.passed)

    def _errors(self, program: Program, images: Levels, truth: FloatArray) -> FloatArray:
        errors = [
            np.abs(program.apply(self.box.values(image)) - right) for image, right in zip(images, truth, strict=True)
        ]
        return np.stack(errors)

    def _offsets(self, linear: Operator) -> Iterator[FloatArray]:
        """What is added: one number per channel; and an image, where it seems to differ from place to place."""
        apart = [
            right - linear.apply(self.box.values(image))
            for image, right in zip(self._near, self._near_truth, strict=True)
        ]
        image: FloatArray = np.mean(apart, axis=0)
        allowed = _OFFSET_STEPS * self.seen.grain + self.seen.tolerance
        middle = np.median(image, axis=(1, 2))[:, None, None]
        common = np.abs(image - middle) <= allowed
        settled = np.where(common, image, 0.0).sum(axis=(1, 2)) / np.maximum(common.sum(axis=(1, 2)), 1)
        settled[np.abs(settled) <= self.seen.tolerance] = 0.0
        yield settled
        if not common.all():
            yield np.where(common, settled[:, None, None], image)

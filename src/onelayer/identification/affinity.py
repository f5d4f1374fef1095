"""Measures whether a function is affine where it does not saturate, by superposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.ndimage import gaussian_filter

from onelayer.algebra.operator import FloatArray, Shape
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.evidence import Evidence, NotAffineError
from onelayer.identification.observed_outputs import ObservedOutputs

_POINTS = (
    *((0.5, 0.5), (0.5, 0.25), (0.5, 0.12), (0.25, 0.25), (0.12, 0.12), (0.88, 0.12), (0.25, 0.12), (0.75, 0.12)),
    *((middle, 0.04) for middle in (0.5, 0.25, 0.75, 0.12, 0.88, 0.04, 0.96)),
)
"""Grey to work around and largest distance from it, as parts of the range from black to white. Where the first pair
saturates, a later one may not."""
_ROUNDINGS = 6.0
"""Error of a sum of four outputs in steps, each rounded at the end and perhaps once before."""
_TYPICAL_ROUNDINGS = 1.2
"""Root mean square of that error in steps: four errors of a third to a half of a step."""
_FEW = 0.01
"""Fraction of saturated outputs that does no harm; in the identity, so many are black or white by chance."""
_ENOUGH = 0.02
"""Least fraction of unsaturated outputs for their superposition to say anything."""


@final
@dataclass(frozen=True, eq=False)
class WorkingPoint:
    """An image around which a function was found to be affine.

    Attributes:
        base: Grey with faint noise, int16 [C, H, W], in levels. Around an even grey, a function that rounds in between
            would make nothing at all of small weights.
        reach: Largest difference of an image from it, in levels.
        output: Output for it, [C', H', W'].
        evidence: Tests that were passed.
        failed: Violation further away from grey, where the function is not affine; it may clamp in between.
    """

    base: Levels
    reach: int
    output: FloatArray
    evidence: tuple[Evidence, ...]
    failed: NotAffineError | None


@final
@dataclass(frozen=True, eq=False)
class _Superposition:
    """Superposition, measured around a grey."""

    base: Levels
    reach: int
    output: FloatArray
    evidence: tuple[Evidence, ...]
    saturated: float
    """Fraction of the outputs that are at an end of their range for some of the images, and not for all."""
    too_far: float
    """Fraction of the others that are further off than allowed."""
    place: Shape
    """Channel, row and column of the largest violation."""

    @property
    def holds(self) -> bool:
        return all(test.passed for test in self.evidence)

    def violation(self, observed: ObservedOutputs) -> NotAffineError:
        worst = max(self.evidence, key=lambda test: test.measured / test.allowed)
        return NotAffineError(
            f"the function is not affine: {worst.test} is {worst.measured:.4g}, with the largest at output "
            f"{self.place}, where the outputs range over {observed.range:.4g}; {self.too_far:.1%} of them are further "
            "off than rounding can explain",
            expected=f"at most {worst.allowed:.3g}",
            hint="Medians, equalisation, gamma and other functions of the content are no layer; "
            "onelayer.learn finds the affine layer that is nearest to one on your images.",
        )


def working_point(box: BlackBox, observed: ObservedOutputs, seed: int) -> WorkingPoint:
    """Find grey levels around which the function is affine.

    ``f(s + a + b) − f(s + a) − f(s + b) + f(s)`` is zero for an affine f, whatever the images are: s is grey with faint
    noise on it, a and b are noise, single bright pixels, smooth fields, or the same twice, which tells powers. Outputs
    at an end of the observed range are left out: they may be clamped.

    Raises:
        NotAffineError: If it is affine nowhere, with the violation around the middle of the range.
        OverBudgetError: If the budget does not allow it.
    """
    if observed.constant:
        return _middle(box)
    tried: list[_Superposition] = []
    for middle, part in _POINTS:
        measured = _measure_superposition(box, observed, round(middle * box.levels), int(part * box.levels), seed)
        if measured is not None:
            tried.append(measured)
            if measured.holds and measured.saturated <= _FEW:
                break
    failed = next((point.violation(observed) for point in tried if not point.holds), None)
    holding = [point for point in tried if point.holds]
    if holding:
        best = min(holding, key=lambda point: point.saturated)
        return WorkingPoint(best.base, best.reach, best.output, best.evidence, failed)
    if failed is None:
        raise NotAffineError(
            f"nearly all outputs are the smallest or the largest of their channel ({observed.low.min():.4g} or "
            f"{observed.high.max():.4g}), whatever the image",
            expected="outputs in between, where an affine function shows",
            hint="A threshold is no affine function.",
        )
    raise failed


def _middle(box: BlackBox) -> WorkingPoint:
    """Take the middle of the range, for a function whose outputs never change."""
    level = box.levels // 2
    base = np.full(box.input_spec.shape, level, dtype=np.int16)
    output = box(base[None])[0]
    return WorkingPoint(base, level, output, (), None)


def _measure_superposition(
    box: BlackBox, observed: ObservedOutputs, level: int, reach: int, seed: int
) -> _Superposition | None:
    """Measure the superposition around a grey; None where too many outputs are saturated to say anything."""
    faint = reach // 4
    pairs = _pairs(box.input_spec.shape, max((reach - faint) // 2, 1), seed)
    start = level + _noise(box.input_spec.shape, faint, np.random.default_rng([seed, 5]))
    asked = [start]
    for one, other in pairs.values():
        asked += [start + one + other, start + one, start + other]
    outputs = box(np.stack(asked))
    base, evidence = outputs[0], []
    allowed = _ROUNDINGS * observed.quantization_step + 4 * observed.tolerance
    typical = _TYPICAL_ROUNDINGS * observed.quantization_step + 4 * observed.tolerance
    too_far, counted, saturated, worst = 0, 0, 0, -1.0
    place: Shape = (0, 0, 0)
    for index, name in enumerate(pairs):
        both, one, other = outputs[1 + 3 * index : 4 + 3 * index]
        ends = observed.at_an_end(np.stack([both, one, other, base]))
        free = ~ends.any(axis=0)
        # What always is the same, such as a border, is not saturated.
        saturated += int((ends.any(axis=0) & (np.ptp([both, one, other, base], axis=0) > 0.0)).sum())
        if free.mean() < _ENOUGH:
            continue
        violation = np.where(free, np.abs(both - one - other + base), 0.0)
        evidence += [
            Evidence(f"superposition of {name}, largest violation", float(violation.max()), allowed),
            Evidence(
                f"superposition of {name}, typical violation",
                float(np.sqrt((violation**2).sum() / free.sum())),
                typical,
            ),
        ]
        too_far += int((violation > allowed).sum())
        counted += int(free.sum())
        if violation.max() > worst:
            worst = float(violation.max())
            channel, row, col = map(int, np.unravel_index(int(violation.argmax()), violation.shape))
            place = channel, row, col
    if len(evidence) < 2 * len(pairs):
        return None
    share = saturated / (len(pairs) * base.size)
    return _Superposition(start, reach - faint, base, tuple(evidence), share, too_far / counted, place)


def _noise(shape: Shape, reach: int, generator: np.random.Generator) -> Levels:
    return generator.integers(-reach, reach, shape, dtype=np.int16, endpoint=True)


def _pairs(shape: tuple[int, int, int], reach: int, seed: int) -> dict[str, tuple[Levels, Levels]]:
    generator = np.random.default_rng(seed + 1)

    def noise() -> Levels:
        return _noise(shape, reach, generator)

    def smooth() -> Levels:
        field = gaussian_filter(generator.standard_normal(shape), (0, 3, 3), mode="wrap")
        levels: Levels = np.rint(field / max(float(np.abs(field).max()), 1e-12) * reach).astype(np.int16)
        return levels

    def dots() -> Levels:
        return np.where(generator.random(shape) < 0.1, reach, 0).astype(np.int16)

    same = noise()
    return {
        "noise": (noise(), noise()),
        "noise and single pixels": (noise(), dots()),
        "smooth fields": (smooth(), smooth()),
        "an image and itself": (same, same),
    }

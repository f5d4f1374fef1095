"""Whether a function is affine, at least where it does not saturate: superposition, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.ndimage import gaussian_filter

from onelayer.algebra.operator import FloatArray, Shape
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.evidence import Evidence
from onelayer.identification.outputs_seen import OutputsSeen
from onelayer.identification.refusals import NotAffineError

_POINTS = (
    *((0.5, 0.5), (0.5, 0.25), (0.5, 0.12), (0.25, 0.25), (0.12, 0.12), (0.88, 0.12), (0.25, 0.12), (0.75, 0.12)),
    *((middle, 0.04) for middle in (0.5, 0.25, 0.75, 0.12, 0.88, 0.04, 0.96)),
)
"""Grey to work around and how far from it to go, as parts of the range from black to white. Where the first saturates,
a later one may not."""
_ROUNDINGS = 6.0
"""Steps that four outputs may be off by together, each rounded at the end and perhaps once before."""
_TYPICAL_ROUNDINGS = 1.2
"""The same, as root mean square: four errors of a third to a half of a step."""
_FEW = 0.01
"""Share of saturated outputs that does no harm; in the identity, so many are black or white by chance."""
_ENOUGH = 0.02
"""Share of the outputs that must not be saturated, for their superposition to say anything."""


@final
@dataclass(frozen=True, eq=False)
class WorkingPoint:
    """Where a function was found to be affine.

    Attributes:
        base: Grey with faint noise, int16 [C, H, W], in levels. Around an even grey, a function that rounds in between
            would make nothing at all of small weights.
        reach: How many levels images may differ from it.
        output: What it gives, [C', H', W'].
        evidence: What was measured.
        failed: Where the function is not affine further away from grey, the violation; it may clamp in between.
    """

    base: Levels
    reach: int
    output: FloatArray
    evidence: tuple[Evidence, ...]
    failed: NotAffineError | None


@final
@dataclass(frozen=True, eq=False)
class _Tried:
    base: Levels
    reach: int
    output: FloatArray
    evidence: tuple[Evidence, ...]
    saturated: float
    """Share of the outputs that are at an end of their range for some of the images, and not for all."""
    too_far: float
    """Share of the others that are further off than allowed."""
    place: Shape
    """Of the largest violation."""

    @property
    def holds(self) -> bool:
        return all(one.passed for one in self.evidence)

    def violation(self, seen: OutputsSeen) -> NotAffineError:
        worst = max(self.evidence, key=lambda one: one.measured / one.allowed)
        return NotAffineError(
            f"the function is not affine: {worst.test} is {worst.measured:.4g}, with the largest at output "
            f"{self.place}, where the outputs range over {seen.range:.4g}; {self.too_far:.1%} of them are further off "
            "than rounding can explain",
            expected=f"at most {worst.allowed:.3g}",
            hint="Medians, equalisation, gamma and other functions of the content are no layer; "
            "onelayer.learn finds the affine layer that is nearest to one on given images.",
        )


def working_point(box: BlackBox, seen: OutputsSeen, seed: int) -> WorkingPoint:
    """Find grey levels around which the function is affine.

    ``f(s + a + b) − f(s + a) − f(s + b) + f(s)`` is zero for an affine f, whatever the images are: s is grey with faint
    noise on it, a and b are noise, single bright pixels, smooth fields, or the same twice, which tells powers. Outputs
    at an end of the range that was seen are left out: they may be clamped.

    Raises:
        NotAffineError: If it is affine nowhere, with the violation around the middle of the range.
        OverBudgetError: If the budget does not allow to find out.
    """
    if seen.constant:
        return _middle(box)
    tried: list[_Tried] = []
    for middle, part in _POINTS:
        one = _superposition(box, seen, round(middle * box.levels), int(part * box.levels), seed)
        if one is not None:
            tried.append(one)
            if one.holds and one.saturated <= _FEW:
                break
    failed = next((one.violation(seen) for one in tried if not one.holds), None)
    holding = [one for one in tried if one.holds]
    if holding:
        best = min(holding, key=lambda one: one.saturated)
        return WorkingPoint(best.base, best.reach, best.output, best.evidence, failed)
    if failed is None:
        raise NotAffineError(
            f"nearly all outputs are the smallest or the largest of their channel ({seen.low.min():.4g} or "
            f"{seen.high.max():.4g}), whatever the image",
            expected="outputs in between, where an affine function can be told",
            hint="A threshold is no affine function.",
        )
    raise failed


def _middle(box: BlackBox) -> WorkingPoint:
    """Of a function whose outputs never change."""
    level = box.levels // 2
    base = np.full(box.given.shape, level, dtype=np.int16)
    output = box(base[None])[0]
    return WorkingPoint(base, level, output, (), None)


def _superposition(box: BlackBox, seen: OutputsSeen, level: int, reach: int, seed: int) -> _Tried | None:
    """What was measured at one point; None where too many outputs are saturated to say anything."""
    faint = reach // 4
    pairs = _pairs(box.given.shape, max((reach - faint) // 2, 1), seed)
    start = level + _noise(box.given.shape, faint, np.random.default_rng([seed, 5]))
    asked = [start]
    for one, other in pairs.values():
        asked += [start + one + other, start + one, start + other]
    outputs = box(np.stack(asked))
    base, evidence = outputs[0], []
    allowed = _ROUNDINGS * seen.grain + 4 * seen.tolerance
    typical = _TYPICAL_ROUNDINGS * seen.grain + 4 * seen.tolerance
    too_far, counted, saturated, worst = 0, 0, 0, -1.0
    place: Shape = (0, 0, 0)
    for index, name in enumerate(pairs):
        both, one, other = outputs[1 + 3 * index : 4 + 3 * index]
        ends = seen.at_an_end(np.stack([both, one, other, base]))
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
    return _Tried(start, reach - faint, base, tuple(evidence), share, too_far / counted, place)


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

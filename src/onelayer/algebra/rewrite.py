"""Rewrite rules that make a program cheaper without changing what it computes.

Every rule preserves the program's meaning over the reals; float64 results may differ by rounding errors of the merged
weights. A rounding stage (``Quantize``) is a barrier that nothing is merged across. Only what copies samples, a crop or
a flip, passes it, and that is exact to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from onelayer.algebra.activations import Activation, Clamp, Lookup, Quantize
from onelayer.algebra.compose import compose, has_product
from onelayer.algebra.float32_sum import Float32Sum
from onelayer.algebra.operator import ROUNDING, Operator, Stage, TooLargeError
from onelayer.algebra.program import Program
from onelayer.algebra.ranges import Range, ranges_of
from onelayer.algebra.separable import Separable


@dataclass(frozen=True)
class RuleApplication:
    """One rewrite, done or refused.

    Args:
        name: The rule.
        stages: Indices of the stages of the original program that are concerned.
        reason: Reason, as a phrase for the user.
    """

    name: str
    stages: tuple[int, ...]
    reason: str


@final
@dataclass(frozen=True, eq=False)
class Simplified:
    """A rewritten program and how it came about.

    Args:
        program: The rewritten program.
        origins: For each of its stages, the stages of the original program that went into it. A stage of the original
            can be in several, when its crop moved ahead of a rounding; one that is in none was dropped.
        applied: The rewrites, in order.
        refused: Rewrites of the final program that a rule considered and left alone.
    """

    program: Program
    origins: tuple[tuple[int, ...], ...]
    applied: tuple[RuleApplication, ...]
    refused: tuple[RuleApplication, ...]


@dataclass(frozen=True, eq=False)
class Traced:
    """A stage, and the stages of the original program that it is made of."""

    stage: Stage
    origins: tuple[int, ...]


class Draft:
    """A program being rewritten.

    Args:
        program: Original program.
        input_range: Range of the program's input.
    """

    def __init__(self, program: Program, input_range: Range) -> None:
        self.input_range = input_range
        self.stages = [Traced(stage, (index,)) for index, stage in enumerate(program.stages)]
        self.refused: dict[tuple[Traced, ...], RuleApplication] = {}

    def replace(self, at: int, count: int, *stages: Traced) -> None:
        """Put these stages in the place of ``count`` stages from ``at`` on."""
        self.stages[at : at + count] = stages

    def input_range_of(self, at: int) -> Range:
        """Find the range of what stage ``at`` takes."""
        return [self.input_range, *ranges_of((traced.stage for traced in self.stages[:at]), self.input_range)][-1]


Rule = Callable[[Draft], RuleApplication | None]
"""Makes one rewrite in the draft and says which; None if there is none to make."""


def drop_identity(draft: Draft) -> RuleApplication | None:
    """Drop a stage that changes nothing."""
    for at, traced in enumerate(draft.stages):
        if traced.stage.is_identity:
            draft.replace(at, 1)
            return RuleApplication("drop identity", traced.origins, "it changes nothing")
    return None


def fuse_neighbours(draft: Draft) -> RuleApplication | None:
    """Replace two operators in a row by their product, if that costs no more than the two."""
    for at, pair in enumerate(zip(draft.stages, draft.stages[1:], strict=False)):
        first, second = pair
        if not (isinstance(first.stage, Operator) and isinstance(second.stage, Operator)) or pair in draft.refused:
            continue
        if not has_product(first.stage, second.stage):
            continue
        origins = tuple(sorted({*first.origins, *second.origins}))
        if (certain := _never_dearer(first.stage, second.stage)) is not None:
            draft.replace(at, 2, Traced(compose(first.stage, second.stage), origins))
            return RuleApplication("fuse neighbours", origins, certain)
        separate = (first.stage.cost + second.stage.cost).total
        try:
            product = compose(first.stage, second.stage)
        except TooLargeError as error:
            draft.refused[pair] = RuleApplication("fuse neighbours", origins, error.problem)
            continue
        costs = f"one stage costs as much as {product.cost.total:,} multiplications, the two as {separate:,}"
        if product.cost.total > separate:
            draft.refused[pair] = RuleApplication("fuse neighbours", origins, costs)
            continue
        draft.replace(at, 2, Traced(product, origins))
        return RuleApplication("fuse neighbours", origins, costs)
    return None


def _never_dearer(first: Operator, second: Operator) -> str | None:
    """Say why the product cannot cost more than the two, where that is seen without computing costs; None elsewhere."""
    if isinstance(first, Float32Sum):
        return "the second only copies some of the first one's values: those alone are computed"
    if not (isinstance(first, Separable) and isinstance(second, Separable)):
        return None
    # A bias before zero padding becomes an image, which is more to read.
    if second.is_scale or (first.is_scale and (second.gain is not None or not first.bias.any())):
        return "one of them only scales and shifts values, and that costs nothing in the same stage"
    if second.is_choice:
        return "the second only copies some of the first one's values: those alone are computed"
    return None


def merge_clamps(draft: Draft) -> RuleApplication | None:
    """Replace two clamps in a row by one."""
    for at, (first, second) in enumerate(zip(draft.stages, draft.stages[1:], strict=False)):
        if isinstance(first.stage, Clamp) and isinstance(second.stage, Clamp):
            low, high = second.stage.apply([first.stage.low, first.stage.high])
            origins = first.origins + second.origins
            draft.replace(at, 2, Traced(Clamp(float(low), float(high)), origins))
            return RuleApplication("merge clamps", origins, f"both together clamp to {low:g} … {high:g}")
    return None


def drop_clamp_before_saturation(draft: Draft) -> RuleApplication | None:
    """Drop a clamp before a rounding that saturates within its bounds."""
    for at, (first, second) in enumerate(zip(draft.stages, draft.stages[1:], strict=False)):
        clamp, quantize = first.stage, second.stage
        if not (isinstance(clamp, Clamp) and isinstance(quantize, Quantize)):
            continue
        if clamp.low <= quantize.low and clamp.high >= quantize.high:
            draft.replace(at, 1)
            reason = f"the rounding to {quantize.dtype} after it saturates"
            return RuleApplication("drop clamp before saturation", first.origins, reason)
    return None


def select_first(draft: Draft) -> RuleApplication | None:
    """Move what only copies samples from behind activations to before them, where it joins the operator there.

    An activation acts on each value alone, so a crop, a flip or a transposition may come first; then the operator
    before the activations computes only what is needed later. So may what sums that round to float32 copy, whether
    there are activations before them or other such sums.
    """
    for at, traced in enumerate(draft.stages):
        before = at
        while before > 0 and isinstance(draft.stages[before - 1].stage, Activation):
            before -= 1
        if before == 0 or not isinstance(traced.stage, Operator):
            continue
        if before == at and not traced.stage.rounds_sums:
            # It may join the operator before it as a whole.
            continue
        parts = traced.stage.split_selection()
        if parts is None:
            continue
        selection, rest = parts
        draft.replace(at, 1, Traced(rest, traced.origins))
        draft.replace(before, 0, Traced(selection, traced.origins))
        reason = f"{selection.in_shape} to {selection.out_shape} only copies samples, so it may run before activations"
        return RuleApplication("select first", traced.origins, reason)
    return None


def tabulate(draft: Draft) -> RuleApplication | None:
    """Replace a look-up and the activation behind it by one look-up.

    There are 256 values that can arrive at the activation in each channel, and it is applied to each of them.
    """
    for at, (first, second) in enumerate(zip(draft.stages, draft.stages[1:], strict=False)):
        if not (isinstance(first.stage, Lookup) and isinstance(second.stage, Activation)):
            continue
        tables = np.atleast_2d(first.stage.table)
        values = second.stage.apply(tables[:, None, :])[:, 0]
        origins = tuple(sorted({*first.origins, *second.origins}))
        draft.replace(at, 2, Traced(Lookup(values if len(values) > 1 else values[0]), origins))
        return RuleApplication("tabulate", origins, "one of 256 values arrives at it, and it does the same to each")
    return None


def drop_idle_clamp(draft: Draft) -> RuleApplication | None:
    """Drop a clamp whose input never leaves its bounds."""
    for at, traced in enumerate(draft.stages):
        clamp = traced.stage
        if not isinstance(clamp, Clamp):
            continue
        given = draft.input_range_of(at)
        low, high = float(given.low.min()), float(given.high.max())
        reason = f"values from {low:.6g} to {high:.6g} reach it, it clamps to {clamp.low:g} … {clamp.high:g}"
        tolerance = ROUNDING * max(abs(low), abs(high))
        if low >= clamp.low - tolerance and high <= clamp.high + tolerance:
            draft.replace(at, 1)
            return RuleApplication("drop idle clamp", traced.origins, reason)
        draft.refused[traced,] = RuleApplication("drop idle clamp", traced.origins, reason)
    return None


RULES: tuple[Rule, ...] = (
    drop_identity,
    merge_clamps,
    drop_clamp_before_saturation,
    select_first,
    tabulate,
    fuse_neighbours,
    # Last: the more has been fused, the tighter the ranges.
    drop_idle_clamp,
)
"""The rules, in the order in which they are tried."""


def simplify(program: Program, input_range: Range) -> Simplified:
    """Apply the rules until none applies.

    Args:
        program: Program to rewrite.
        input_range: Range of the program's input; a clamp is dropped only where this proves it idle.

    Raises:
        OnelayerError: If the range has another number of channels than the program's input, or some range reaches
            beyond what an activation is defined for.
    """
    draft = Draft(program, input_range)
    applied: list[RuleApplication] = []
    while (application := _first_application(draft)) is not None:
        applied.append(application)
    remaining = set(draft.stages)
    return Simplified(
        Program(program.in_shape, tuple(traced.stage for traced in draft.stages)),
        tuple(traced.origins for traced in draft.stages),
        tuple(applied),
        tuple(application for stages, application in draft.refused.items() if remaining.issuperset(stages)),
    )


def _first_application(draft: Draft) -> RuleApplication | None:
    return next((application for rule in RULES if (application := rule(draft)) is not None), None)

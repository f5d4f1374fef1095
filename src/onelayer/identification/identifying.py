"""``identify()``: from a function that cannot be read to a program that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import torch

from onelayer.algebra import AxisMap, ChannelMap, Dense, Separable
from onelayer.algebra.dense import refuse_too_large
from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.console import console
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.identification.affinity import WorkingPoint, working_point
from onelayer.identification.black_box import BlackBox
from onelayer.identification.dense_probes import find_dense
from onelayer.identification.evidence import Evidence
from onelayer.identification.identified import How, Identified
from onelayer.identification.local_probes import find_local
from onelayer.identification.matching import Fit, Matching
from onelayer.identification.operators_found import LinearPart, of_local, of_separable
from onelayer.identification.outputs_seen import OutputsSeen, look
from onelayer.identification.refusals import NotAffineError, OverBudgetError
from onelayer.identification.separable_probes import SeparableFound, find_separable
from onelayer.images.containers import spec_of

Example = ImageSpec | tuple[int, int, int] | torch.Tensor | PIL.Image.Image | np.ndarray

BUDGET = 2000
"""Images that a function is given at most, if nothing else is said."""


def identify(
    function: Callable[[Any], Any],
    given: Example,
    *,
    value_range: tuple[float, float] | None = None,
    budget: int = BUDGET,
    batched: bool | None = None,
    seed: int = 0,
) -> Identified:
    """Find the layer that does what a function does, from its answers alone; no images and no training are needed.

    The function is asked whether it is affine (by superposition, around grey, where it does not saturate), and then
    which affine map it is: one whose axes separate, of any size, takes a few hundred images; one whose output pixels
    depend on a few neighbouring input pixels, such as a rotation, some hundreds; any other as many as it has input
    values. Clamps, rounding to bytes and rounding between two passes of a resize are told apart by what explains the
    answers to fresh images best. What does not explain them is refused.

    Args:
        function: Takes one image and gives one.
        given: What it takes: an example image (a tensor [C, H, W], a PIL image, an array [H, W, C] or [H, W]), a
            :class:`onelayer.ImageSpec`, or a shape (C, H, W) for a float32 tensor.
        value_range: Black and white; 0 … 255 for uint8, and 0 … 1 for all others where it is left out.
        budget: Images that the function may be given at most.
        batched: Whether it takes batches, too; None to try.
        seed: Of the images.

    Returns:
        The program, how far it is from the function, and the evidence.

    Raises:
        NotAffineError: If the function is no affine map, with the measured violation; or one that this cannot find.
        OverBudgetError: If more images would be needed, with their number.
        OnelayerError: If the function fails, or takes or gives no images.
    """
    begin = time.perf_counter()
    kind, planes = _kind_of(given)
    box = BlackBox(function, kind, _range_of(kind, value_range), budget, batched=batched, planes=planes)
    with console.status("Asking the function …") as status:
        box.watch(lambda what: status.update(f"{box.images:,} images given so far; {what} …"))
        seen = look(box, seed)
        point = working_point(box, seen, seed)
        match = Matching(box, seen, point, seed)
        how, fit = _first_that_holds(box, seen, point, match, seed)
    return Identified(
        given=kind,
        after=box.after,
        program=fit.candidate.program,
        operator=fit.part.operator.rescaled(np.ones(len(seen.low)), fit.candidate.offset),
        how=how,
        words={**fit.part.words, "offset": _offset_words(fit.candidate.offset), "rounding": fit.candidate.rounding},
        largest_error=fit.largest,
        typical_error=fit.typical,
        differing=fit.differing,
        output_range=seen.range,
        evidence=(*point.evidence, *fit.evidence),
        images=box.images,
        calls=box.calls,
        seconds=time.perf_counter() - begin,
    )


def _kind_of(given: Example) -> tuple[ImageSpec, bool]:
    if isinstance(given, ImageSpec):
        return given, False
    if isinstance(given, tuple):
        return ImageSpec(given, "float32", "tensor"), False
    return spec_of(given), isinstance(given, np.ndarray) and given.ndim == 2


def _range_of(given: ImageSpec, value_range: tuple[float, float] | None) -> tuple[float, float]:
    usual = (0.0, given.white)
    low, high = usual if value_range is None else value_range
    if not (np.isfinite([low, high]).all() and low < high and (given.is_float or (low, high) == usual)):
        raise OnelayerError(
            f"the value range {low} … {high} was given",
            expected="low < high" if given.is_float else "0 … 255 for uint8",
        )
    return low, high


Way = tuple[How, list[LinearPart], tuple[Evidence, ...]]


def _first_that_holds(
    box: BlackBox, seen: OutputsSeen, point: WorkingPoint, match: Matching, seed: int
) -> tuple[How, Fit]:
    """The simplest kind of operator that explains the answers to fresh images."""
    failed: list[str] = []
    too_many: OverBudgetError | None = None
    for way in (_constant, _separable, _swapped, _local, _dense):
        try:
            how, parts, evidence = way(box, point, seen, seed)
        except OverBudgetError as error:
            too_many = too_many or error
            continue
        failed += [f"{one.test} {one.measured:.3g} (allowed {one.allowed:.3g})" for one in evidence if not one.passed]
        if parts:
            fit = match.best(parts, evidence)
            if fit.holds:
                return how, fit
            failed.append(f"{how}: fresh images off by up to {fit.largest:.3g} (allowed {match.allowed:.3g})")
    if point.failed is not None:
        raise point.failed
    why = f"{'; '.join(failed)}; the outputs range over {seen.range:.4g}"
    if too_many is not None:
        raise OverBudgetError(f"{too_many.problem}; before that, {why}", expected=too_many.expected, hint=too_many.hint)
    raise NotAffineError(
        f"superposition holds around grey, but no program explains what the function makes of fresh images: {why}",
        expected="an affine map whose axes separate, or whose outputs depend on a few neighbouring pixels",
        hint="It may clamp or round in between. onelayer.learn finds the affine layer that is nearest to it on given "
        "images.",
    )


def _constant(box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int) -> Way:  # noqa: ARG001
    if not seen.constant:
        return "constant", [], ()
    (_, height, width), (channels, *size) = box.given.shape, box.after.shape
    rows, cols = (
        AxisMap(n_in, np.zeros(n_out, np.int64), np.zeros((n_out, 1)))
        for n_in, n_out in zip((height, width), size, strict=True)
    )
    nothing = Separable(ChannelMap(np.zeros((channels, box.given.shape[0]))), rows, cols, np.zeros(channels))
    return "constant", [LinearPart(nothing, {"space": "the same image, whatever is given"})], ()


def _separable(box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int) -> Way:
    found, evidence = find_separable(box, point, seen, seed, transpose=False)
    return "separable", _parts_of(found, seen), evidence


def _swapped(box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int) -> Way:
    """With height and width swapped. Only where they are, there is evidence to tell of besides the upright way's."""
    found, evidence = find_separable(box, point, seen, seed, transpose=True)
    return "separable", _parts_of(found, seen), evidence if found is not None else ()


def _parts_of(found: SeparableFound | None, seen: OutputsSeen) -> list[LinearPart]:
    parts = [] if found is None else of_separable(found, rounded=seen.grain > 0.0)
    # Taps that have names are exact, so what has the most names is the likeliest.
    return sorted(parts, key=lambda part: -part.names)


def _local(box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int) -> Way:
    found, evidence = find_local(box, point, seen, seed)
    if found is None:
        return "local", [], evidence
    (_, height, width), (_, height_out, width_out) = box.given.shape, box.after.shape
    parts = of_local(found, (height, width), (height_out, width_out), rounded=seen.grain > 0.0)
    return "local", list(parts), evidence


def _dense(box: BlackBox, point: WorkingPoint, seen: OutputsSeen, seed: int) -> Way:  # noqa: ARG001
    box.reserve(samples_of(box.given.shape), "asking about every input value")
    refuse_too_large(box.given.shape, box.after.shape)
    weight = find_dense(box, point, seen)
    operator = Dense(weight, np.zeros(len(weight)), box.given.shape, box.after.shape)
    return "dense", [LinearPart(operator, {"weights": f"{weight.size:,}, measured one input value at a time"})], ()


def _offset_words(offset: FloatArray) -> str:
    if offset.ndim == 3:
        return f"an image, from {offset.min():.4g} to {offset.max():.4g}"
    return "none" if not offset.any() else ", ".join(f"{value:.6g}" for value in offset)

"""``identify()``: finds a program that does the same as a function that can only be called."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, overload

import numpy as np
import PIL.Image
import torch
from rich.status import Status

from onelayer.algebra import AxisMap, ChannelMap, Dense, Separable
from onelayer.algebra.dense import refuse_too_large
from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.console import console, progress_is_visible
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.identification.affinity import WorkingPoint, working_point
from onelayer.identification.black_box import BlackBox
from onelayer.identification.every_size import FEWEST, IdentifiedPipeline, identify_pipeline
from onelayer.identification.evidence import Evidence, NotAffineError, OverBudgetError
from onelayer.identification.identified import Identified, OperatorKind
from onelayer.identification.linear_parts import LinearPart, local_parts, separable_parts
from onelayer.identification.matching import Fit, Matching
from onelayer.identification.observed_outputs import ObservedOutputs, observe_outputs
from onelayer.identification.pixel_probes import find_dense, find_local
from onelayer.identification.separable_probes import SeparableFound, find_separable
from onelayer.images.containers import spec_of

Example = ImageSpec | tuple[int, int, int] | torch.Tensor | PIL.Image.Image | np.ndarray

BUDGET = 2000
"""Default for the maximum number of images."""


@overload
def identify(
    function: Callable[[Any], Any],
    example: Example,
    *,
    value_range: tuple[float, float] | None = None,
    budget: int = BUDGET,
    batched: bool | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Identified: ...


@overload
def identify(
    function: Callable[[Any], Any],
    example: list[Any],
    *,
    value_range: tuple[float, float] | None = None,
    budget: int = BUDGET,
    batched: bool | None = None,
    seed: int = 0,
    progress: bool = False,
) -> IdentifiedPipeline: ...


def identify(
    function: Callable[[Any], Any],
    example: Example | list[Any],
    *,
    value_range: tuple[float, float] | None = None,
    budget: int = BUDGET,
    batched: bool | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Identified | IdentifiedPipeline:
    """Find the layer that does the same as a function, from its outputs alone; no images and no training are needed.

    The function is asked whether it is affine (by superposition, around grey, where it does not saturate), and then
    which affine map it is: a map whose axes separate takes a few hundred images, whatever its size; a map whose output
    pixels depend on a few neighbouring input pixels, such as a rotation, some hundreds; any other map as many as it has
    input values. Clamps, rounding to bytes and rounding between two passes of a resize are told apart by the outputs
    for fresh images. A program that does not explain these is refused.

    Args:
        function: Function from one image to one image; as a tensor [C', H', W'], a PIL image or an array [H', W', C'].
        example: An image that it takes (a tensor [C, H, W], a PIL image, an array [H, W, C] or [H, W]), a
            :class:`onelayer.ImageSpec`, or a shape (C, H, W) for a float32 tensor. Or a list of several, alike but for
            their sizes, wide and tall ones among them: then the rule is found by which its sizes follow, at these
            sizes, and tried at others.
        value_range: Black and white; None for 0 … 255 for uint8, or else 0 … 1.
        budget: Maximum number of images to ask about; for each example, where there are several.
        batched: Whether the function takes batches, too; None to try.
        seed: Seed of the images.
        progress: Whether to show progress on standard error.

    Returns:
        The program, its errors, and the evidence; for a list, transforms that do the same at every size.

    Raises:
        NotAffineError: If the function is no affine map, with the measured violation; or one that this cannot find.
        OverBudgetError: If more images would be needed, with their number.
        OnelayerError: If the function fails, or takes or gives no images.
    """
    if isinstance(example, list):
        kinds = {(spec.container, spec.dtype, spec.shape[0]) for spec, _ in map(_spec_of, example)}
        if len(kinds) != 1 or len({_spec_of(each) for each in example}) < len(example) or len(example) < FEWEST:
            raise OnelayerError(
                f"{len(example)} examples of {len(kinds)} kinds were given",
                expected=f"at least {FEWEST} images that differ in their sizes, and only in these",
            )
        found = [
            identify(
                function, each, value_range=value_range, budget=budget, batched=batched, seed=seed, progress=progress
            )
            for each in example
        ]

        def ask_at(spec: ImageSpec) -> BlackBox:
            planes = isinstance(example[0], np.ndarray) and example[0].ndim == 2
            return BlackBox(function, spec, _range_of(spec, value_range), budget, batched=batched, planes=planes)

        return identify_pipeline(found, ask_at, seed)
    begin = time.perf_counter()
    spec, planes = _spec_of(example)
    box = BlackBox(function, spec, _range_of(spec, value_range), budget, batched=batched, planes=planes)
    display: AbstractContextManager[Status | None] = (
        console.status("Asking the function …") if progress or progress_is_visible() else nullcontext()
    )
    with display as status:
        if status is not None:
            box.watch(lambda purpose: status.update(f"{box.images:,} images so far; {purpose} …"))
        observed = observe_outputs(box, seed)
        point = working_point(box, observed, seed)
        match = Matching(box, observed, point, seed)
        kind, fit = _first_that_holds(box, observed, point, match, seed)
    return Identified(
        input_spec=spec,
        output_spec=box.output_spec,
        program=fit.candidate.program,
        operator=fit.part.operator.rescaled(np.ones(len(observed.low)), fit.candidate.offset),
        kind=kind,
        description={
            **fit.part.description,
            "offset": _describe_offset(fit.candidate.offset),
            "rounding": fit.candidate.rounding,
        },
        axes=fit.part.axes,
        largest_error=fit.largest,
        typical_error=fit.typical,
        mismatch_rate=fit.mismatch_rate,
        output_range=observed.range,
        evidence=(*point.evidence, *fit.evidence),
        images=box.images,
        calls=box.calls,
        seconds=time.perf_counter() - begin,
    )


def _spec_of(example: Example) -> tuple[ImageSpec, bool]:
    if isinstance(example, ImageSpec):
        return example, False
    if isinstance(example, tuple):
        return ImageSpec(example, "float32", "tensor"), False
    return spec_of(example), isinstance(example, np.ndarray) and example.ndim == 2


def _range_of(spec: ImageSpec, value_range: tuple[float, float] | None) -> tuple[float, float]:
    usual = (0.0, spec.white)
    low, high = usual if value_range is None else value_range
    if not (np.isfinite([low, high]).all() and low < high and (spec.is_float or (low, high) == usual)):
        raise OnelayerError(
            f"the value range {low} … {high} was given",
            expected="low < high" if spec.is_float else "0 … 255 for uint8",
        )
    return low, high


Finding = tuple[OperatorKind, list[LinearPart], tuple[Evidence, ...]]
"""Kind of the operators, the operators, if any, and the tests that were made."""


def _first_that_holds(
    box: BlackBox, observed: ObservedOutputs, point: WorkingPoint, match: Matching, seed: int
) -> tuple[OperatorKind, Fit]:
    """Find the simplest kind of operator that explains the outputs for fresh images."""
    failed: list[str] = []
    too_many: OverBudgetError | None = None
    for find in (_constant, _separable, _swapped, _local, _dense):
        try:
            kind, parts, evidence = find(box, point, observed, seed)
        except OverBudgetError as error:
            too_many = too_many or error
            continue
        failed += [
            f"{test.test} {test.measured:.3g} (allowed {test.allowed:.3g})" for test in evidence if not test.passed
        ]
        if parts:
            fit = match.best(parts, evidence)
            if fit.holds:
                return kind, fit
            failed.append(f"{kind}: fresh images off by up to {fit.largest:.3g} (allowed {match.allowed:.3g})")
    if point.failed is not None:
        raise point.failed
    why = f"{'; '.join(failed)}; the outputs range over {observed.range:.4g}"
    if too_many is not None:
        raise OverBudgetError(f"{too_many.problem}; before that, {why}", expected=too_many.expected, hint=too_many.hint)
    raise NotAffineError(
        f"superposition holds around grey, but no program explains the outputs for fresh images: {why}",
        expected="an affine map whose axes separate, or whose outputs depend on a few neighbouring pixels",
        hint="It may clamp or round in between. onelayer.learn finds the affine layer that is nearest to it on your "
        "images.",
    )


def _constant(box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int) -> Finding:  # noqa: ARG001
    if not observed.constant:
        return "constant", [], ()
    (_, height, width), (channels, *size) = box.input_spec.shape, box.output_spec.shape
    rows, cols = (
        AxisMap(n_in, np.zeros(n_out, np.int64), np.zeros((n_out, 1)))
        for n_in, n_out in zip((height, width), size, strict=True)
    )
    nothing = Separable(ChannelMap(np.zeros((channels, box.input_spec.shape[0]))), rows, cols, np.zeros(channels))
    return "constant", [LinearPart(nothing, {"space": "the same output for every image"})], ()


def _separable(box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int) -> Finding:
    found, evidence = find_separable(box, point, observed, seed, transpose=False)
    return "separable", _parts_of(found, observed), evidence


def _swapped(box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int) -> Finding:
    """Find factors behind a swap of height and width. Only if there are any, the evidence is worth reporting."""
    found, evidence = find_separable(box, point, observed, seed, transpose=True)
    return "separable", _parts_of(found, observed), evidence if found is not None else ()


def _parts_of(found: SeparableFound | None, observed: ObservedOutputs) -> list[LinearPart]:
    parts = [] if found is None else separable_parts(found, quantized=observed.quantized)
    # Taps that have names are exact, so what has the most names is the likeliest.
    return sorted(parts, key=lambda part: -part.named_factors)


def _local(box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int) -> Finding:
    found, evidence = find_local(box, point, observed, seed)
    if found is None:
        return "local", [], evidence
    (_, height, width), (_, height_out, width_out) = box.input_spec.shape, box.output_spec.shape
    parts = local_parts(found, (height, width), (height_out, width_out), quantized=observed.quantized)
    return "local", list(parts), evidence


def _dense(box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, seed: int) -> Finding:  # noqa: ARG001
    box.reserve(samples_of(box.input_spec.shape), "asking about every input value")
    refuse_too_large(box.input_spec.shape, box.output_spec.shape)
    weight = find_dense(box, point, observed)
    operator = Dense(weight, np.zeros(len(weight)), box.input_spec.shape, box.output_spec.shape)
    return "dense", [LinearPart(operator, {"weights": f"{weight.size:,}, measured one input value at a time"})], ()


def _describe_offset(offset: FloatArray) -> str:
    if offset.ndim == 3:
        return f"an image, from {offset.min():.4g} to {offset.max():.4g}"
    return "none" if not offset.any() else ", ".join(f"{value:.6g}" for value in offset)

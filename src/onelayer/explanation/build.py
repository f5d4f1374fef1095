"""Explain a pipeline: trace each transform through derivation and simplification to the final stages."""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torchvision.transforms import v2

from onelayer.algebra import Operator, Program, Shape, Simplified
from onelayer.algebra.rewrite import RuleApplication
from onelayer.any_size import (
    LARGE_PLANES,
    REDUCTION,
    SMALL,
    leaves_planes,
    leaves_reductions,
    leaves_small,
    pixels_left_to_original,
    target_of,
)
from onelayer.backends import DESCRIPTIONS, any_size_problem, choose
from onelayer.errors import OnelayerError
from onelayer.explanation.cost import cost_before, cost_of_step, costs_of_stages, total
from onelayer.explanation.explanation import Explanation, Rewrite, StageRow, TransformRow, TransformStage
from onelayer.explanation.pieces import PiecewiseExplanation, explain_pieces
from onelayer.frontends import (
    Container,
    Derived,
    ImageSpec,
    PixelType,
    RoundingMode,
    Step,
    Transform,
    UnsupportedTransformError,
    front_end_of,
    transforms_of,
)
from onelayer.frontends.placement import Window
from onelayer.frontends.torchvision.with_numbers import numbers_drawn
from onelayer.images.containers import Image, is_image, spec_of
from onelayer.layer import OneLayer
from onelayer.layer import compile as compile_transforms
from onelayer.plans import lowering_target
from onelayer.programs import Output, Transforms
from onelayer.random_state import unchanged_random_state

_FUNCTION = re.compile(r"<function _?(\w+)[\w.<>]* at 0x[0-9a-fA-F]+>")
"""Repr of a function, of which the name stays, or that of the function around it."""

_LONGEST_TEXT = 90
"""Maximum length of a transform's text."""


def explain(
    transform: Transform | OneLayer,
    image: Shape | ImageSpec | Image,
    *,
    dtype: PixelType = "float32",
    container: Container = "tensor",
    output: int = 0,
    rounding: RoundingMode | None = None,
) -> Explanation | PiecewiseExplanation:
    """Explain what each transform of a pipeline became, and what that saves.

    Of a pipeline with transforms that cannot be compiled, it says which run as they are, why, and what time they take:
    the pipeline is run on the image, or on a black one.

    Args:
        transform: Transforms, or the layer that they were compiled to; or what a front end makes transforms of.
        image: Channels, height and width of the images; an image, or an :class:`onelayer.ImageSpec`.
        dtype: Dtype of the images, where a shape is given.
        container: Container of the images, where a shape is given.
        output: Index of the image to explain, where a ``FiveCrop`` or ``TenCrop`` makes several.
        rounding: ``exact`` or ``fused``; None for exact where the images are uint8, and fused for all others. Not
            used for a compiled layer, which has its own.

    Raises:
        UnsupportedTransformError: For a transform that cannot be derived, with its name and index; only of a layer that
            was compiled with ``fullgraph=True``.
        OnelayerError: If ``image`` is no image and no shape of one, or there is no such output.
    """
    if (front_end := front_end_of(transform)) is not None:
        parts = front_end.transforms(transform, _spec(image, dtype, container))
        layer: OneLayer = compile_transforms(v2.Compose(parts), rounding=rounding)
    else:
        layer = transform if isinstance(transform, OneLayer) else compile_transforms(transform, rounding=rounding)
    try:
        spec = _spec(image, dtype, container)
        layer, draws = _with_numbers(layer, spec)
        every = layer.transforms.derived(spec).each
    except OnelayerError as error:
        can_run = is_image(image) or isinstance(error, UnsupportedTransformError)
        if not layer.may_have_pieces or not can_run:
            raise
        try:
            return explain_pieces(layer, image if is_image(image) else _spec(image, dtype, container), explain)
        except Exception as theirs:
            raise error from theirs
    return _explained(layer, spec, every, output, draws)


def _with_numbers(layer: OneLayer, spec: ImageSpec) -> tuple[OneLayer, bool]:
    """Return a layer with the numbers drawn that it draws for each image, if it does, and whether it does."""
    source = layer.source
    structure = source.structure(spec) if isinstance(source, Transforms) else ""
    if isinstance(structure, str) or not structure.draws:
        return layer, False
    with unchanged_random_state():
        transforms = numbers_drawn(transforms_of(layer.transform), spec, structure.rounding)
    fixed: OneLayer = compile_transforms(
        v2.Compose(transforms), rounding=structure.rounding, backend=layer.backend, threads=layer.threads
    )
    return fixed, True


def _explained(layer: OneLayer, spec: ImageSpec, every: Sequence[Derived], output: int, draws: bool) -> Explanation:
    if output not in range(len(every)):
        raise OnelayerError(f"output {output} was asked for", expected=f"one of 0 … {len(every) - 1}")
    derived = every[output]
    computed = layer.source.outputs(spec).each[output]
    simplified = computed.simplified
    stages = _stage_rows(derived, simplified)
    return Explanation(
        input_spec=spec,
        output_spec=derived.output_spec,
        output=output,
        outputs=len(every),
        transforms=tuple(_transform_row(step, derived, simplified) for step in derived.steps),
        stages=stages,
        rewrites=_rewrites(derived, simplified),
        cost_before=cost_before(derived),
        cost_after=total([stage.cost for stage in stages], spec, derived.output_spec),
        backend=_backend(layer, computed, spec),
        sizes=("numbers are drawn for each image, as the original draws them; " if draws else "") + _sizes(layer, spec),
        program=simplified.program,
    )


def _backend(layer: OneLayer, output: Output, spec: ImageSpec) -> str:
    """Describe the backend for images on the CPU, and why it is chosen."""
    target = lowering_target(spec, output, torch.device("cpu"))
    choice = choose(layer.backend, output.simplified.program, target)
    because = f" (chosen because {choice.reason})" if choice.reason else ""
    return f"{choice.name}: {DESCRIPTIONS[choice.name]}{because}"


def _sizes(layer: OneLayer, spec: ImageSpec) -> str:
    """Describe what happens for images of other sizes, on the CPU."""
    structure = layer.source.structure(spec)
    may_leave = layer.backend == "auto" and spec.container != "numpy"
    if not isinstance(structure, str) and structure.only_copies and may_leave:
        return "slices and flips of PyTorch and Pillow, whatever the size: it only moves pixels"
    if isinstance(structure, str):
        smallest = pixels_left_to_original(layer.source, spec, layer.backend)
        if smallest is not None and spec.shape[1] * spec.shape[2] >= smallest:
            return f"images of {smallest:,} pixels or more are left to the original, which reads single samples faster"
        problem: str | None = structure
    else:
        problem = any_size_problem(layer.backend, structure, target_of(structure, torch.device("cpu")))
    if isinstance(structure, str) or problem is not None:
        return f"each takes a plan of its own, which is kept for the next image of that size, because {problem}"
    _, height, width = spec.shape
    moves = structure.moves_for(height, width)
    placed = None if moves is None else structure.place(moves.numbers, height, width)
    if placed is None:
        return "most need no plan of their own, but one like this does: crops and resizes do not fit into one pass"
    rows, cols = (_window(axis) for axis in (placed.rows, placed.cols))
    left = ""
    if may_leave and leaves_small(structure):
        left = f"; images of fewer than {SMALL:,} pixels whose rows come first are left to Pillow"
    if may_leave and leaves_reductions(structure):
        left = f"; large images, colors side by side, with {REDUCTION} columns for one are left to PyTorch"
    if may_leave and leaves_planes(structure):
        left += f", and planes of {LARGE_PLANES:,} pixels"
    return f"none takes a plan of its own; tables are filled for each image, here for rows {rows}, columns {cols}{left}"


def _window(window: Window) -> str:
    start, length, resized, low, kept, flip = window
    resize = f"{start} … {start + length}" + (f" resized to {resized}" if resized != length else "")
    crop = f", of which {low} … {low + kept} are kept" if kept != resized else ""
    return resize + crop + (", in reverse order" if flip else "")


def _spec(image: Any, dtype: PixelType, container: Container) -> ImageSpec:
    if isinstance(image, ImageSpec):
        return image
    if not isinstance(image, tuple | list):
        return spec_of(image)
    if len(image) != 3 or not all(isinstance(length, int) for length in image):
        raise OnelayerError(
            f"{image!r} was given as the shape of an image", expected="channels, height and width, three whole numbers"
        )
    channels, height, width = image
    return ImageSpec((channels, height, width), dtype, container)


def _transform_row(step: Step, derived: Derived, simplified: Simplified) -> TransformRow:
    parts = tuple(
        TransformStage(
            derived.program.stages[index].description,
            derived.program.stages[index].footprint,
            stages := tuple(at for at, origins in enumerate(simplified.origins) if index in origins),
            None if stages else _why_dropped(index, simplified),
        )
        for index in step.stages
    )
    cost = cost_of_step(step, derived.program.stages)
    return TransformRow(step.index, step.name, _text(step), step.input_spec, step.output_spec, parts, cost)


def _why_dropped(index: int, simplified: Simplified) -> str:
    """Get the reason of the last rewrite that the stage took part in: the one after which it was in no stage."""
    return next(rewrite.reason for rewrite in reversed(simplified.applied) if index in rewrite.stages)


def _text(step: Step) -> str:
    if isinstance(step.transform, functools.partial):
        # Its repr names an address in memory.
        keywords = ", ".join(f"{name}={value!r}" for name, value in step.transform.keywords.items())
        text = f"{step.name}({keywords})"
    else:
        text = step.text if not step.text.startswith("<") else step.name
    text = _FUNCTION.sub(r"\1", text)
    text = " ".join(text.split()).replace("( ", "(").replace(" )", ")").replace("InterpolationMode.", "")
    return textwrap.shorten(text, _LONGEST_TEXT, placeholder=" …")


def _stage_rows(derived: Derived, simplified: Simplified) -> tuple[StageRow, ...]:
    costs = costs_of_stages(simplified.program, derived.input_spec, derived.output_spec)
    shapes = _shapes(simplified.program)
    return tuple(
        StageRow(
            index=at,
            description=stage.description,
            taps=stage.footprint,
            in_shape=shapes[at],
            out_shape=shapes[at + 1],
            transforms=_indices(simplified.origins[at], derived),
            cost=costs[at],
        )
        for at, stage in enumerate(simplified.program.stages)
    )


def _shapes(program: Program) -> list[Shape]:
    """List the shapes that arrive at each stage, and the one that leaves the last."""
    shapes = [program.in_shape]
    for stage in program.stages:
        shapes.append(stage.out_shape if isinstance(stage, Operator) else shapes[-1])
    return shapes


def _indices(stages: tuple[int, ...], derived: Derived) -> tuple[int, ...]:
    """Find the transforms that these stages of the derived program belong to."""
    return tuple(step.index for step in derived.steps if set(step.stages) & set(stages))


def _rewrites(derived: Derived, simplified: Simplified) -> tuple[Rewrite, ...]:
    def rewrite(done: bool, application: RuleApplication) -> Rewrite:
        return Rewrite(application.name, done, _indices(application.stages, derived), application.reason)

    every = [
        *(rewrite(True, application) for application in simplified.applied),
        *(rewrite(False, application) for application in _kept_apart(simplified)),
        *(rewrite(False, application) for application in simplified.refused),
    ]
    # Several stages of one transform may be fused for the same reason.
    return tuple(dict.fromkeys(every))


def _kept_apart(simplified: Simplified) -> list[RuleApplication]:
    """Explain why operators with activations between them are not fused: no rule looks at these, but a reader will."""
    stages = simplified.program.stages
    operators = [at for at, stage in enumerate(stages) if isinstance(stage, Operator)]
    return [
        RuleApplication(
            "fuse neighbours",
            tuple(sorted({*simplified.origins[first], *simplified.origins[second]})),
            f"between stages {first} and {second} values go through: "
            + "; ".join(stage.description for stage in stages[first + 1 : second]),
        )
        for first, second in pairwise(operators)
        if second > first + 1
    ]

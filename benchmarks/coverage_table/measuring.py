"""Measure how far a compiled layer is from its transforms on images."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

import onelayer
from coverage_table.compositions import random_composition
from coverage_table.records import LIMIT, CompositionRow, Difference, PipelineRow, Size
from onelayer import Pipeline
from onelayer.algebra import Operator, Separable
from onelayer.data.photographs import Photograph
from onelayer.frontends import ImageSpec, derive
from onelayer.frontends.base import name_of

Transform = Callable[..., Any]

_LARGE = 1_000_000
"""Pixels from which on one photograph per size is enough, and uint8 images are left out."""


@dataclass(frozen=True)
class Measured:
    """The differences on one image.

    Args:
        size: Height and width.
        photograph: Name of the photograph.
        difference: Differences in parts of the range.
        in_output_units: Largest difference in units of the output.
    """

    size: Size
    photograph: str
    difference: Difference
    in_output_units: float


def measure_pipeline(
    pipeline: Pipeline, photographs: Sequence[Photograph], sizes: Sequence[Size], done: Callable[[], None]
) -> PipelineRow:
    """Compare on photographs of all sizes: two per size, or one from a million pixels on.

    Args:
        pipeline: A pipeline of the catalogue.
        photographs: Photographs, which take turns.
        sizes: Heights and widths.
        done: Callback after each size.

    Raises:
        OnelayerError: If it cannot be compiled for an image that torchvision takes, or torchvision takes none.
    """
    transform, channels = pipeline.transform, pipeline.input_shape[0]
    layer = onelayer.compile(transform, rounding="fused", fullgraph=True)
    unit = output_range(transform, torch.zeros(pipeline.input_shape), white=1.0)
    unit_of_bytes = output_range(transform, torch.zeros(pipeline.input_shape, dtype=torch.uint8), white=255)
    measured: list[Measured] = []
    refused: list[str] = []
    grey_levels: dict[str, list[float]] = {"uint8": [0.0], "pil": [0.0]}
    for turn, size in enumerate(sizes):
        for photograph in _taking_turns(photographs, turn, size):
            pixels = photograph.at(*size, channels)
            try:
                transform(pixels)
            except (RuntimeError, ValueError, onelayer.OnelayerError) as error:
                refused.append(f"{size[0]}×{size[1]}: {error}")
                break
            measured.append(_compare(transform, layer, pixels / 255, unit, photograph))
            if size[0] * size[1] < _LARGE:
                for kind, image in (("uint8", pixels), ("pil", F.to_pil_image(pixels))):
                    difference = (_floats(layer(image)) - _floats(transform(image))).abs() / unit_of_bytes
                    grey_levels[kind].append(255 * float(difference.max()))
        done()
    if not measured:
        raise onelayer.OnelayerError(f"{pipeline.name} takes images of none of the sizes: {'; '.join(refused)}")
    worst = max(measured, key=lambda image: image.difference.largest)
    spec = ImageSpec(pipeline.input_shape, "float32", "tensor")
    before, after = derive(transform, spec).program, layer.program(spec).program
    return PipelineRow(
        name=pipeline.name,
        description=pipeline.description,
        difference=Difference(
            largest=worst.difference.largest,
            mean=float(np.mean([image.difference.mean for image in measured])),
            layer_from_float64=max(image.difference.layer_from_float64 for image in measured),
            transforms_from_float64=max(image.difference.transforms_from_float64 for image in measured),
        ),
        largest_in_output_units=max(image.in_output_units for image in measured),
        worst_size=worst.size,
        worst_photograph=worst.photograph,
        over_limit=tuple(dict.fromkeys(image.size for image in measured if image.difference.largest > LIMIT)),
        images=len(measured),
        refused=tuple(refused),
        usual_shape=pipeline.input_shape,
        taps=" + ".join(_taps(stage) for stage in after.stages if isinstance(stage, Operator)) or "1×1",
        stages=(len(before.stages), len(after.stages)),
        multiplications=(before.cost.multiplications, after.cost.multiplications),
        numbers_moved=(before.cost.samples, after.cost.samples),
        uint8_grey_levels=max(grey_levels["uint8"]),
        pil_grey_levels=max(grey_levels["pil"]),
    )


def measure_compositions(count: int, photographs: Sequence[Photograph], seed: int) -> Iterator[CompositionRow]:
    """Compare random compositions, each on a photograph of 11×11 up to 400×300 pixels.

    Raises:
        OnelayerError: If one cannot be compiled.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    for _ in range(count):
        size = chance.randint(11, 400), chance.randint(11, 300)
        photograph = chance.choice(photographs)
        transform = random_composition(chance, (3, *size))
        image = photograph.at(*size, channels=3) / 255
        unit = output_range(transform, torch.zeros_like(image), white=1.0)
        measured = _compare(
            transform, onelayer.compile(transform, rounding="fused", fullgraph=True), image, unit, photograph
        )
        yield CompositionRow(
            steps=tuple(map(_text, transform.transforms)),
            size=size,
            photograph=photograph.name,
            difference=measured.difference,
        )


def output_range(transform: Transform, black: torch.Tensor, white: float) -> torch.Tensor:
    """Compute the difference between the outputs for white and for black: per channel, the largest over the pixels.

    Args:
        transform: The transform.
        black: Black image [C, H, W].
        white: Value of white.

    Returns:
        float32 [C', 1, 1].
    """
    difference = _floats(transform(torch.full_like(black, white))) - _floats(transform(black))
    return difference.abs().amax((-2, -1), keepdim=True)


def _taking_turns(photographs: Sequence[Photograph], turn: int, size: Size) -> list[Photograph]:
    several = 1 if size[0] * size[1] >= _LARGE else 2
    return [photographs[(several * turn + k) % len(photographs)] for k in range(several)]


def _compare(
    transform: Transform, layer: Transform, image: torch.Tensor, unit: torch.Tensor, photograph: Photograph
) -> Measured:
    original, ours, exact = _floats(transform(image)), _floats(layer(image)), transform(image.double()).double()
    difference = (ours - original).abs()
    return Measured(
        size=(image.shape[-2], image.shape[-1]),
        photograph=photograph.name,
        difference=Difference(
            largest=float((difference / unit).max()),
            mean=float((difference / unit).mean()),
            layer_from_float64=float(((ours - exact).abs() / unit).max()),
            transforms_from_float64=float(((original - exact).abs() / unit).max()),
        ),
        in_output_units=float(difference.max()),
    )


def _floats(image: Any) -> torch.Tensor:
    tensor = image if isinstance(image, torch.Tensor) else F.pil_to_tensor(image)
    return tensor.as_subclass(torch.Tensor).float()


def _taps(stage: Operator) -> str:
    return f"{stage.rows.taps}×{stage.cols.taps}" if isinstance(stage, Separable) else type(stage).__name__


def _text(step: Transform) -> str:
    if not isinstance(step, partial):
        return str(step)
    return f"{name_of(step)}({', '.join(f'{name}={value}' for name, value in step.keywords.items())})"

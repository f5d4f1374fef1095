"""Records of the coverage table.

Differences are parts of the range: the difference of an output value, divided by the output for a white image minus the
output for a black one in that channel (the largest over its pixels, because padding is equal in both).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from onelayer.records import Environment, Record, Shape

LIMIT = 2e-6
"""Largest accepted difference of a layer, in parts of the range."""

Size = tuple[int, int]
"""Height and width."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Difference(_Part):
    """Differences between a layer and its transforms, on one image or over several."""

    largest: float
    """Largest difference of the layer from the transforms, both in float32."""
    mean: float
    layer_from_float64: float
    """Largest difference of the layer, in float32, from the transforms in float64."""
    transforms_from_float64: float
    """Largest difference of the transforms in float32 from the transforms in float64: their rounding."""


class PipelineRow(_Part):
    """A pipeline of the catalogue over all photographs."""

    name: str
    description: str
    difference: Difference
    largest_in_output_units: float
    worst_size: Size
    worst_photograph: str
    over_limit: tuple[Size, ...]
    """Sizes at which an image differs by more than the limit."""
    images: int
    refused: tuple[str, ...]
    """Sizes that torchvision refuses, with the reason."""
    usual_shape: Shape
    taps: str
    """Rows × columns of each stage of the program for the usual shape."""
    stages: tuple[int, int]
    """Before and after fusing."""
    multiplications: tuple[int, int]
    """Per image of the usual shape, before and after fusing."""
    numbers_moved: tuple[int, int]
    """Numbers read from memory and written to it per image of the usual shape, before and after fusing."""
    uint8_grey_levels: float
    """Largest difference on uint8 tensors, where torchvision rounds after every transform and the layer once."""
    pil_grey_levels: float
    """Largest difference on PIL images, where the same holds."""


class CompositionRow(_Part):
    """A random composition on a photograph."""

    steps: tuple[str, ...]
    size: Size
    photograph: str
    difference: Difference


class CoverageRecord(Record):
    """The content of ``coverage.json``."""

    created: str
    """ISO 8601, UTC."""
    command: str
    photographs: tuple[str, ...]
    sizes: tuple[Size, ...]
    seed: int
    """Seed of the random compositions."""
    environment: Environment
    pipelines: tuple[PipelineRow, ...]
    compositions: tuple[CompositionRow, ...]
    """From the largest difference to the smallest."""

"""What the coverage table says, as a record.

Differences are parts of the range: the difference of an output value, divided by what a white image's output is more
than a black one's in that channel (the largest over its pixels, for padding is the same for both).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from onelayer.records import Environment, Record, Shape

LIMIT = 2e-6
"""What the layer may differ by, in parts of the range."""

Size = tuple[int, int]
"""Height and width."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Difference(_Part):
    """How far the layer is from the transforms, on one image or over several."""

    largest: float
    """Of the layer from the transforms, both in float32."""
    mean: float
    layer_from_float64: float
    """Largest difference of the layer, in float32, from the transforms in float64."""
    transforms_from_float64: float
    """Largest difference of the transforms in float32 from the same in float64: their own rounding."""


class PipelineRow(_Part):
    """One pipeline of the catalogue over all photographs."""

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
    """Sizes that torchvision cannot do, and why."""
    usual_shape: Shape
    taps: str
    """Rows × columns of each stage of the program for the usual shape."""
    stages: tuple[int, int]
    """Before and after fusing."""
    multiplications: tuple[int, int]
    """Per image of the usual shape, before and after fusing."""
    numbers_moved: tuple[int, int]
    """From and to memory, likewise."""
    uint8_grey_levels: float
    """Largest difference on uint8 tensors, where torchvision rounds after every transform and the layer once."""
    pil_grey_levels: float
    """Likewise on PIL images."""


class CompositionRow(_Part):
    """One random composition, on one photograph."""

    steps: tuple[str, ...]
    size: Size
    photograph: str
    difference: Difference


class CoverageRecord(Record):
    """coverage.json"""

    created: str
    """ISO 8601, UTC."""
    command: str
    photographs: tuple[str, ...]
    sizes: tuple[Size, ...]
    seed: int
    """Of the random compositions."""
    environment: Environment
    pipelines: tuple[PipelineRow, ...]
    compositions: tuple[CompositionRow, ...]
    """From the largest difference to the smallest."""

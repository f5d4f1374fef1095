"""What a run writes down about itself, and reads back.

One pydantic model per JSON file of a run folder. The steps of a run (learning, comparison, benchmark) write
records; the report only ever reads them. Times are seconds, errors are in grey levels (1/255 of the range) where
the name says so and in units of the [0, 1] range elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from onelayer.records import DataSummary, Environment, Part, PipelineSummary, Record, Shape, Timing


class TrainingSettings(Part):
    """The options of learning. The defaults are those of the report."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 200
    """At most so many passes over the training part."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Adam's learning rate."""
    patience: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Epochs without an improvement before stopping."""
    min_delta: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """How far the validation MSE must fall to count as an improvement for early stopping."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that learn together, one per GPU; each takes batches of ``batch_size``, so a step sees more images."""


Recipe = Literal["report", "least-squares", "adam-whitened"]
"""How a layer is learned, see :func:`onelayer.learn`."""

StopReason = Literal["early stopping", "all epochs done", "interrupted", "not finite"]


class TrainingSummary(Part):
    """How learning went. Epochs are counted from 1."""

    device: str
    epochs_run: int
    best_epoch: int
    best_validation_mse: float
    last_validation_mse: float | None
    """None where it was not a finite number."""
    stop_reason: StopReason
    seconds: float
    """Wall time of learning, summed over resumed attempts."""
    parameters: int


class RunRecord(Record):
    """run.json: what was asked for, on what, and how learning ended."""

    created: str
    """ISO 8601, UTC."""
    quick: bool
    data: DataSummary
    pipeline: PipelineSummary
    settings: TrainingSettings
    environment: Environment
    recipe: Recipe = "report"
    training: TrainingSummary | None = None
    """None until learning has ended."""


class DirectionErrors(Part):
    """How far a layer's weights W are from those of the transforms, W*, in the directions in which images vary.

    These are the unit eigenvectors v of the images' covariance, in groups; λ is the variance in a direction. Errors are
    means over the output values.
    """

    squared: tuple[float, ...]
    """By group: the mean of ((W − W*)·v)² over its directions."""
    left: tuple[float, ...]
    """By group: its part of the mean squared error over the images, the sum of λ·((W − W*)·v)² over its directions."""
    offset: float
    """What is left of that error: the squared error of the mean image, bias included."""


class DirectionsEpoch(Part):
    """One epoch's errors. Epochs are counted from 1; 0 is before the first step."""

    epoch: Annotated[int, Field(ge=0)]
    errors: DirectionErrors


class DirectionsRecord(Record):
    """directions.json: what gradient descent has learned by when. From the direction of most variance to that of least.

    There is none for transforms that are not affine, or cannot be derived.
    """

    recipe: Recipe
    images: int
    """Of the training part, whose covariance it is."""
    sizes: tuple[Annotated[int, Field(ge=1)], ...]
    """Directions of each group."""
    eigenvalues: tuple[Annotated[float, Field(ge=0)], ...]
    """Of each group the mean variance, in units of the [0, 1] range, squared."""
    epochs: tuple[DirectionsEpoch, ...]


class OtherLayer(Part):
    """A layer learned beside the run's own, on the same images."""

    name: str
    """As in metrics.json, and of its folder."""
    recipe: Recipe
    images: int
    epochs: int
    """1 for least squares: one pass."""
    seconds: float
    """Sums over images that another layer needed too count for each of them."""
    device: str
    directions: DirectionErrors | None
    """In the groups of directions.json; None where that is not known."""


class OtherRecipesRecord(Record):
    """recipes.json: in the order in which they were learned."""

    layers: tuple[OtherLayer, ...]


class LayerMetrics(Part):
    """One layer against the original pipeline over the test part."""

    layer: str
    """"learned", …"""
    mse: float
    psnr_db: float | None
    """None where the error is exactly zero (PSNR is infinite)."""
    ssim: float | None
    """None where the output is smaller than SSIM's 11×11 window."""
    max_grey_levels: float
    """Largest absolute error of any output value of any image, times 255."""
    worst_image: int
    """Index, in the test part, of the image with that error."""
    bound_grey_levels: float | None = None
    """No image in [0, 1] has a larger error, against the pipeline in real arithmetic; None where that is not proved."""


class MetricsRecord(Record):
    """metrics.json. Its pictures are the tensors of comparison.safetensors."""

    images: int
    layers: tuple[LayerMetrics, ...]
    examples: tuple[int, ...]
    """Indices, in the test part, of the images shown; the worst image of the first layer comes after them."""
    weight_pixel: Shape | None = None
    """Channel, row and column of the output value whose weights in each layer are shown; None where one has none."""


class BenchmarkWay(Part):
    """One column of the table."""

    key: str
    label: str
    description: str
    contender: bool
    """Whether it competes for "fastest": false for one that leaves out work that the others do."""


class BenchmarkRow(Part):
    """One batch size on one device."""

    device: Literal["cpu", "cuda"]
    batch_size: int
    timings: dict[str, Timing]
    """By the key of the way; a way that does not exist on this device is left out."""


class BenchmarkRecord(Record):
    """benchmark.json"""

    created: str
    quick: bool
    images: int
    burn_in: int
    """Rounds of a few batches each that do not count; every measurement warms up on its own first batches besides."""
    repeats: int
    environment: Environment
    ways: tuple[BenchmarkWay, ...]
    rows: tuple[BenchmarkRow, ...]
    not_measured: tuple[str, ...]
    """Devices of the table that were not asked for, or that this machine does not have."""

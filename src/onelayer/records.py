"""What a run writes down about itself, and reads back.

One pydantic model per JSON file of a run folder. The steps of a run (learning, comparison, benchmark) write
records; the report only ever reads them. Times are seconds, errors are in grey levels (1/255 of the range) where
the name says so and in units of the [0, 1] range elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onelayer.errors import OnelayerError
from onelayer.whole_file import write_whole

FORMAT_VERSION: Literal[1] = 1

Shape = tuple[int, int, int]
"""Channels, height, width."""


class Part(BaseModel):
    """A piece of a record: nothing unknown in it, and only finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Record(Part):
    """A part that is a file of its own, with a format version."""

    format_version: Literal[1] = FORMAT_VERSION

    def write(self, path: Path) -> None:
        """Write as indented JSON."""
        write_whole(path, (self.model_dump_json(indent=2) + "\n").encode("utf-8"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record back.

        Raises:
            OnelayerError: If the file is missing, is not JSON, or does not hold such a record.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise OnelayerError(
                f"there is no {path.name} in {path.parent}",
                hint="Name the folder of a run, as given to --out.",
            ) from None
        except (UnicodeDecodeError, ValidationError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            at = ".".join(str(step) for step in first["loc"]) if first else ""
            reason = first["msg"] if first else "it is not text"
            where = f" at {at}" if at else ""
            raise OnelayerError(
                f"{path} cannot be read{where}: {reason}",
                expected=f"a record of format version {FORMAT_VERSION}",
                hint="Was it cut off, edited, or written by another version? Run that step again.",
            ) from None


def written_format_version(path: Path) -> int | None:
    """The format version that a file claims, before anything else of it is believed; None if it claims none."""
    version = _written(path, "format_version")
    return version if isinstance(version, int) else None


def written_kind(path: Path) -> str | None:
    """The kind of record that a file claims to hold; None if it claims none."""
    kind = _written(path, "kind")
    return kind if isinstance(kind, str) else None


def _written(path: Path, name: str) -> object:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get(name) if isinstance(content, dict) else None


class Environment(Part):
    """Where figures were measured."""

    versions: dict[str, str]
    """Package name → version: onelayer, python, torch, torchvision, …"""
    platform: str
    cpu: str
    logical_cores: int
    torch_threads: int
    cuda: str | None
    """Name of the CUDA device, or None where there is none."""
    commit: str | None
    """Commit of the source tree, with "+changes" behind it if files differed; None outside a checkout."""


class PipelineSummary(Part):
    """The original transforms, by name and in words."""

    name: str
    steps: tuple[str, ...]
    """Each transform, as it prints itself."""
    input_shape: Shape
    output_shape: Shape


class DataSummary(Part):
    """The images of a run."""

    source: str
    """What was given to --data: "sample", "cifar10" or a path."""
    description: str
    """One sentence for the page."""
    key: str
    """Hash of the content the images came from."""
    train: int
    validation: int
    test: int
    skipped: int = 0
    """Images left out by --skip-bad."""


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


class Timing(Part):
    """Seconds for one pass over all images, over interleaved repeats."""

    seconds: tuple[float, ...]
    median: float
    first_quartile: float
    third_quartile: float


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

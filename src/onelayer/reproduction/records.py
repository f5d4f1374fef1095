"""Write and read the records of a run: one pydantic model per JSON file of its folder, and history.csv.

The steps of a run (learning, comparison, benchmark) write records; the report only ever reads them. Times are seconds,
errors are in grey levels (1/255 of the range) where the name says so and in units of the [0, 1] range elsewhere.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from onelayer.atomic_write import write_whole
from onelayer.errors import OnelayerError
from onelayer.records import DataSummary, Environment, Part, PipelineSummary, Record, Shape

Device = Literal["cpu", "cuda"]


class TrainingSettings(Part):
    """Options of learning. The defaults are those of the report."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Largest number of passes over the training images."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Adam's learning rate."""
    patience: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Number of epochs without an improvement before stopping."""
    min_delta: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """Smallest fall of the validation MSE that counts as an improvement for early stopping."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of processes that learn together, one per GPU, each on its own batches of ``batch_size``."""


def settings_of(options: Mapping[str, float | None], base: TrainingSettings) -> TrainingSettings:
    """Replace settings by the options that were given.

    Args:
        options: Values by the names of the settings; None keeps that of ``base``.
        base: Settings to start from.

    Raises:
        OnelayerError: If one is out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return TrainingSettings.model_validate(base.model_dump() | given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise OnelayerError(
            f"--{name.replace('_', '-')} {given.get(name)} is out of range",
            expected=first["msg"].removeprefix("Input should be "),
        ) from None


Recipe = Literal["report", "least-squares", "adam-whitened"]
"""A recipe of learning, see :func:`onelayer.learn`."""

StopReason = Literal["early stopping", "all epochs done", "interrupted", "not finite"]


class TrainingSummary(Part):
    """Course of learning. Epochs are counted from 1."""

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
    """run.json: settings, data and pipeline, and how learning ended."""

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
    """Errors of a layer's weights W against those of the transforms, W*, in the directions in which images vary.

    These are the unit eigenvectors v of the images' covariance, in groups; λ is the variance in a direction. Errors are
    means over the output values.
    """

    squared: tuple[float, ...]
    """Mean of ((W − W*)·v)² over the directions of each group."""
    left: tuple[float, ...]
    """Part of each group in the mean squared error over the images: the sum of λ·((W − W*)·v)² over its directions."""
    offset: float
    """Rest of that error: the squared error of the mean image, bias included."""


class DirectionsEpoch(Part):
    """Errors after an epoch. Epochs are counted from 1; 0 is before the first step."""

    epoch: Annotated[int, Field(ge=0)]
    errors: DirectionErrors


class DirectionsRecord(Record):
    """directions.json: errors by direction and epoch, from the direction of most variance to that of least.

    Transforms that are not affine, or cannot be derived, have no such record.
    """

    recipe: Recipe
    images: int
    """Number of training images whose covariance it is."""
    sizes: tuple[Annotated[int, Field(ge=1)], ...]
    """Number of directions of each group."""
    eigenvalues: tuple[Annotated[float, Field(ge=0)], ...]
    """Mean variance of each group, in units of the [0, 1] range, squared."""
    epochs: tuple[DirectionsEpoch, ...]


class OtherRecipeLayer(Part):
    """A layer learned by another recipe than the run's own, on the same images."""

    name: str
    """Name of the layer in metrics.json, and of its folder."""
    recipe: Recipe
    images: int
    epochs: int
    """1 for least squares: one pass."""
    seconds: float
    """Time of learning; sums over images that several layers share count for each of them."""
    device: str
    directions: DirectionErrors | None
    """Errors in the groups of directions.json; None where they are not known."""


class OtherRecipesRecord(Record):
    """recipes.json: layers of other recipes, in the order in which they were learned."""

    layers: tuple[OtherRecipeLayer, ...]


class LayerMetrics(Part):
    """Errors of a layer against the original pipeline over the test images."""

    layer: str
    """Name of the layer: "learned", "derived", or that of another recipe's layer."""
    mse: float
    psnr_db: float | None
    """None where the error is exactly zero (PSNR is infinite)."""
    ssim: float | None
    """None where the output is smaller than SSIM's 11×11 window."""
    max_grey_levels: float
    """Largest absolute error of any output value of any image, times 255."""
    worst_image: int
    """Index, among the test images, of the image with that error."""
    bound_grey_levels: float | None = None
    """Proved bound on the error of any image in [0, 1], against the pipeline in real arithmetic; None without proof."""


class MetricsRecord(Record):
    """metrics.json: errors of all layers. Its pictures are the tensors of comparison.safetensors."""

    images: int
    layers: tuple[LayerMetrics, ...]
    examples: tuple[int, ...]
    """Indices, among the test images, of the images shown; the worst image of the first layer comes after them."""
    weight_pixel: Shape | None = None
    """Channel, row and column of the output value whose weights are shown; None where a layer has no weights."""


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv: one pass over the training images.

    Attributes:
        epoch: Number of the pass, counted from 1.
        train_mse: Mean over the epoch's batches, each taken before its own step, in units of the [0, 1] range, squared.
        validation_mse: Error over all validation images, after the epoch.
        seconds: Time of the epoch.
    """

    epoch: int
    train_mse: float
    validation_mse: float
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether both errors are finite numbers."""
        return math.isfinite(self.train_mse) and math.isfinite(self.validation_mse)


_COLUMNS = [field.name for field in fields(Epoch)]


def write_history(path: Path, epochs: list[Epoch]) -> None:
    """Write all epochs to history.csv, replacing the file in one step."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(epoch) for epoch in epochs)
    write_whole(path, table.getvalue().encode("utf-8"))


def read_history(path: Path) -> list[Epoch]:
    """Read the epochs of history.csv.

    Raises:
        OnelayerError: If the file is missing or is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if table.fieldnames != _COLUMNS:
                raise ValueError(f"its columns are {table.fieldnames}")
            return [
                Epoch(int(row["epoch"]), float(row["train_mse"]), float(row["validation_mse"]), float(row["seconds"]))
                for row in table
            ]
    except FileNotFoundError:
        raise OnelayerError(
            f"there is no {path.name} in {path.parent}", hint="Name the folder of a run, as given to --out."
        ) from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise OnelayerError(
            f"{path} cannot be read: {error}", expected=f"a table with the columns {', '.join(_COLUMNS)}"
        ) from None

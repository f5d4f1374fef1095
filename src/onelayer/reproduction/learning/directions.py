"""Which directions of image space a layer has learned: the eigenvectors of the images' covariance, one by one.

Gradient descent learns what an image has in one direction at a rate proportional to the variance there. So its error is
looked at in these directions, over the epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from onelayer.algebra import Dense, Range, affine_part, simplify
from onelayer.algebra.operator import FloatArray
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, derive
from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.callbacks import EpochFile
from onelayer.reproduction.learning.image_sums import ImageSums
from onelayer.reproduction.learning.least_squares import LeastSquares
from onelayer.reproduction.records import DirectionErrors, DirectionsEpoch, DirectionsRecord, Recipe

IMAGES = 5000
"""As many of the training images tell their covariance well enough."""

_GROUPS = 64
"""At most so many; log-spaced, because variance falls like a power of a direction's number."""


def affine_map(pipeline: Pipeline) -> Dense | None:
    """What a pipeline does with float32 images in [0, 1], derived from its transforms; None if it is not affine there.

    None as well where it cannot be derived, or is too large for one matrix.
    """
    try:
        derived = derive(pipeline.transform, ImageSpec(pipeline.input_shape, "float32", "tensor"))
        parts = affine_part(simplify(derived.program, Range.of(pipeline.input_shape[0], 0.0, 1.0)).program)
        return None if parts is None or parts[1] else parts[0].to_dense()
    except OnelayerError:
        return None


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of some images, and the map that is to be learned.

    Attributes:
        true: The map.
        images: How many images.
        mean: Of the images, float64 [D].
        eigenvalues: Of their covariance, float64 [D], from the largest to the smallest, none negative.
        vectors: Of unit length, float32 [D, D], one per column.
        starts: Of each group of neighbouring directions the first, [G].
    """

    true: Dense
    images: int
    mean: FloatArray
    eigenvalues: FloatArray
    vectors: torch.Tensor
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, sums: LeastSquares, true: Dense) -> Self:
        """The directions of images that were summed.

        Raises:
            OnelayerError: If there was no image.
        """
        ascending, vectors = eigh(sums.covariance(), lower=True, overwrite_a=True, check_finite=False, driver="evd")
        ends = np.unique(np.geomspace(1, len(ascending) + 1, _GROUPS + 1).round().astype(np.intp)) - 1
        return cls(
            true=true,
            images=sums.count,
            mean=sums.mean,
            # Where images do not vary at all, rounding may make the variance negative.
            eigenvalues=np.maximum(ascending[::-1], 0.0),
            vectors=torch.from_numpy(np.ascontiguousarray(vectors[:, ::-1], dtype=np.float32)),
            starts=ends[:-1],
        )

    @torch.no_grad()
    def errors(self, layer: DenseLayer) -> DirectionErrors | None:
        """How far a layer is from the map in each group; None if that is no finite number."""
        weight, bias = (part.cpu().double().numpy() for part in (layer.weight, layer.bias))
        # Before it is rounded to float32, because of layers whose difference is smaller than their own rounding.
        apart = weight - self.true.weight
        projected = torch.from_numpy(apart.astype(np.float32)) @ self.vectors
        squared = projected.double().square().mean(dim=0).numpy()
        offset = float(np.mean((apart @ self.mean + bias - self.true.bias) ** 2))
        if not (np.isfinite(squared).all() and np.isfinite(offset)):
            return None
        left = np.add.reduceat(self.eigenvalues * squared, self.starts)
        return DirectionErrors(squared=tuple(self._means(squared)), left=tuple(left.tolist()), offset=offset)

    def record(self, recipe: Recipe, epochs: list[DirectionsEpoch]) -> DirectionsRecord:
        """What is written of learning by a recipe."""
        return DirectionsRecord(
            recipe=recipe,
            images=self.images,
            sizes=tuple(self._sizes().tolist()),
            eigenvalues=tuple(self._means(self.eigenvalues)),
            epochs=tuple(epochs),
        )

    def _sizes(self) -> NDArray[np.intp]:
        return np.diff(self.starts, append=len(self.eigenvalues))

    def _means(self, values: FloatArray) -> list[float]:
        means: list[float] = (np.add.reduceat(values, self.starts) / self._sizes()).tolist()
        return means


def directions_of(sums: ImageSums) -> Directions | None:
    """The directions of the first 5,000 images of those to be summed; no more may have been summed yet.

    None if the pipeline is not known to be affine, or if the images are no more than the values of one: then there are
    directions of which they tell nothing.
    """
    images = min(IMAGES, len(sums.pixels))
    if images <= math.prod(sums.pipeline.input_shape):
        return None
    true = affine_map(sums.pipeline)
    return None if true is None else Directions.of(sums.over(images), true)


class DirectionsFile(EpochFile[DirectionsEpoch]):
    """Keeps ``directions.json`` up to date: the errors by direction before the first epoch, and after each.

    Epochs after which they are no finite numbers are left out.

    Args:
        path: The file.
        directions: Those of the training images.
        recipe: What learns. Its layer is one for images as they are.
    """

    def __init__(self, path: Path, directions: Directions, recipe: Recipe) -> None:
        super().__init__(path)
        self.directions = directions
        self.recipe = recipe

    def write(self) -> None:
        """Write the record."""
        self.directions.record(self.recipe, self.rows).write(self.path)

    def to_plain(self, row: DirectionsEpoch) -> Any:
        """A dictionary of its numbers."""
        return row.model_dump()

    def from_plain(self, plain: Any) -> DirectionsEpoch:
        """From such a dictionary."""
        return DirectionsEpoch.model_validate(plain)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds what the layer starts from, unless the run goes on from a checkpoint."""
        if trainer.current_epoch == 0:
            self._measure(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch; checkpoints are written after this."""
        self._measure(trainer, pl_module, trainer.current_epoch + 1)

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        errors = self.directions.errors(pl_module.layer)  # type: ignore[arg-type]  # that of a Regression
        if errors is not None:
            self.add(trainer, DirectionsEpoch(epoch=epoch, errors=errors))

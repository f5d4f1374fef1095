"""Measure which directions of image space a layer has learned: the eigenvectors of the images' covariance, one by one.

Gradient descent learns the content of images in a direction at a rate proportional to the variance there. So its error
is measured in these directions, over the epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

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
from onelayer.reproduction.learning.least_squares import ImageSums, LeastSquares
from onelayer.reproduction.records import DirectionErrors, DirectionsEpoch, DirectionsRecord, Recipe

COVARIANCE_IMAGES = 5000
"""Training images whose covariance is taken: so many determine it well enough."""

_GROUPS = 64
"""Largest number of groups; log-spaced, because variance falls like a power of a direction's number."""


def affine_map(pipeline: Pipeline) -> Dense | None:
    """Derive what a pipeline does with float32 images in [0, 1], as one matrix and an offset.

    Returns:
        None if the pipeline is not affine there, cannot be derived, or is too large for one matrix.
    """
    try:
        derived = derive(pipeline.transform, ImageSpec(pipeline.input_shape, "float32", "tensor"))
        parts = affine_part(simplify(derived.program, Range.of(pipeline.input_shape[0], 0.0, 1.0)).program)
        return None if parts is None or parts[1] else parts[0].to_dense()
    except OnelayerError:
        return None


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of some images, and the map to be learned.

    Attributes:
        true: Map to be learned.
        images: Number of images.
        mean: Mean of the images, float64 [D].
        eigenvalues: Eigenvalues of their covariance, float64 [D], from the largest to the smallest, none negative.
        vectors: Eigenvectors of unit length, float32 [D, D], one per column.
        starts: First direction of each group of neighbouring directions, [G].
    """

    true: Dense
    images: int
    mean: FloatArray
    eigenvalues: FloatArray
    vectors: torch.Tensor
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, sums: LeastSquares, true: Dense) -> Self:
        """Find the directions of summed images.

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
        """Measure how far a layer is from the map in each group; None if that is no finite number."""
        weight, bias = (part.cpu().double().numpy() for part in (layer.weight, layer.bias))
        # Before it is rounded to float32, because of layers whose difference is smaller than their own rounding.
        difference = weight - self.true.weight
        projected = torch.from_numpy(difference.astype(np.float32)) @ self.vectors
        squared = projected.double().square().mean(dim=0).numpy()
        offset = float(np.mean((difference @ self.mean + bias - self.true.bias) ** 2))
        if not (np.isfinite(squared).all() and np.isfinite(offset)):
            return None
        left = np.add.reduceat(self.eigenvalues * squared, self.starts)
        return DirectionErrors(squared=tuple(self._means(squared)), left=tuple(left.tolist()), offset=offset)

    def record(self, recipe: Recipe, epochs: list[DirectionsEpoch]) -> DirectionsRecord:
        """Put the epochs of learning by a recipe on record."""
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
    """Find the directions of the first 5,000 images of those to be summed; no more may have been summed yet.

    Returns:
        None if the pipeline is not known to be affine, or if the images are no more than the values of one: then they
        do not determine all directions.
    """
    images = min(COVARIANCE_IMAGES, len(sums.pixels))
    if images <= math.prod(sums.pipeline.input_shape):
        return None
    true = affine_map(sums.pipeline)
    return None if true is None else Directions.of(sums.over(images), true)


class SharedImageStatistics:
    """Sums over a run's training images and their directions, computed when a step first asks for them.

    An object serves one set of images. Steps load the images anew; only those of the last call are held.
    """

    def __init__(self) -> None:
        self._sums: ImageSums | None = None
        self._directions: Directions | None = None

    def of(self, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> tuple[ImageSums, Directions | None]:
        """Return the sums over images, uint8 [N, C, H, W], and a pipeline's outputs; and the images' directions.

        The latter are None where :func:`directions_of` knows none.
        """
        if self._sums is None:
            self._sums = ImageSums(pipeline, pixels)
            self._directions = directions_of(self._sums)
        self._sums.pixels = pixels
        return self._sums, self._directions

    def forget(self) -> None:
        """Give the memory back."""
        self._sums = self._directions = None

"""What several steps of a run need to know of its training images, worked out once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.directions import Directions, directions_of
from onelayer.reproduction.learning.image_sums import ImageSums


class ImageStatistics:
    """The sums over some training images and their directions, from when they are first asked for.

    One study is for one set of images. Where steps load it anew, that of the last call is held, and no other.
    """

    def __init__(self) -> None:
        self._sums: ImageSums | None = None
        self._directions: Directions | None = None

    def of(self, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> tuple[ImageSums, Directions | None]:
        """Sums over images, uint8 [N, C, H, W], and what a pipeline makes of them; and the directions of the images.

        The latter are None where :func:`~onelayer.reproduction.learning.directions.directions_of` knows none.
        """
        if self._sums is None:
            self._sums = ImageSums(pipeline, pixels)
            self._directions = directions_of(self._sums)
        self._sums.pixels = pixels
        return self._sums, self._directions

    def forget(self) -> None:
        """Give the memory back."""
        self._sums = self._directions = None

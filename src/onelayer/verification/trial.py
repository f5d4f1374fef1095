"""Two sides, run on the same images and measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Range
from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.images.containers import Image, pixels_of
from onelayer.verification.adversarial import BLACK, WHITE, plain_images
from onelayer.verification.applying import Kind, Side, comparable, outputs_of
from onelayer.verification.bound import NoBoundError, derived_from
from onelayer.verification.grey_levels import grey_levels, scale_between
from onelayer.verification.measuring import GreyScale, Measurement

_SAMPLES_PER_BLOCK = 4_000_000
_IMAGES_PER_BLOCK = 64


@dataclass(frozen=True)
class Case:
    """One image, or a batch of one, and what to call it."""

    description: str
    image: Image


@dataclass(frozen=True)
class Worst:
    """The image with the largest error in grey levels.

    Attributes:
        grey_levels: That error.
        description: Of the image.
        scale: The grey levels of its outputs.
        image: [C, H, W].
        truth: The pipeline's output [C', H', W'], with zeros for what is not finite on both sides.
        prediction: The layer's.
    """

    grey_levels: float
    description: str
    scale: GreyScale
    image: NDArray[Any]
    truth: NDArray[Any]
    prediction: NDArray[Any]

    @property
    def error(self) -> FloatArray:
        """The absolute difference of the outputs, in their units, [C', H', W']."""
        return np.abs(self.prediction.astype(np.float64) - self.truth.astype(np.float64))

    @property
    def error_in_levels(self) -> FloatArray:
        """The same in grey levels."""
        levels: FloatArray = self.error / self.scale.level.numpy()[:, None, None]
        return levels


def blocks(cases: Iterable[Case], kind: Kind) -> Iterator[list[Case]]:
    """So many cases at a time that they fit into the memory well."""
    count = max(1, min(_IMAGES_PER_BLOCK, _SAMPLES_PER_BLOCK // samples_of(kind.given.shape)))
    left = iter(cases)
    while block := list(islice(left, count)):
        yield block


class Trial:
    """A layer and a pipeline.

    Args:
        layer: Whatever gives the same as the pipeline, or nearly.
        transform: The pipeline.
        low: Black.
        high: White.
    """

    def __init__(self, layer: Side, transform: Side, low: float, high: float) -> None:
        self.layer, self.transform, self.low, self.high = layer, transform, low, high
        self._worst: Worst | None = None
        self.output_dtypes: dict[str, None] = {}
        self._scales: dict[object, GreyScale] = {}

    @property
    def worst(self) -> Worst:
        """The first of the images with the largest error, once some were measured."""
        assert self._worst is not None
        return self._worst

    def measure(self, measurement: Measurement, kind: Kind, cases: Sequence[Case]) -> None:
        """Add images to all figures but the SSIM."""
        for _ in self._measured(measurement, kind, cases):
            pass

    def measure_with_similarity(self, measurement: Measurement, kind: Kind, cases: Sequence[Case]) -> None:
        """Add images to all figures."""
        for prediction, truth in self._measured(measurement, kind, cases):
            measurement.update_similarity(prediction, truth, self._scale(kind))

    def _measured(
        self, measurement: Measurement, kind: Kind, cases: Sequence[Case]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        images, names = [case.image for case in cases], [case.description for case in cases]
        truths = outputs_of(self.transform, "pipeline", kind, images, names)
        predictions = outputs_of(self.layer, "layer", kind, images, names)
        scale = self._scale(kind)
        pairs = [comparable(*outputs) for outputs in zip(predictions, truths, names, strict=True)]
        for _, alike in groupby(range(len(cases)), key=lambda place: (pairs[place][1].shape, pairs[place][1].dtype)):
            places = list(alike)
            prediction, truth = (torch.stack([pairs[place][side] for place in places]) for side in (0, 1))
            self.output_dtypes |= {str(truth.dtype).removeprefix("torch."): None}
            largest = measurement.update(prediction, truth, scale)
            first = int(largest.argmax())
            if self._worst is None or float(largest[first]) > self._worst.grey_levels:
                case, pixels = cases[places[first]], pixels_of(images[places[first]])
                self._worst = Worst(
                    float(largest[first]),
                    case.description,
                    scale,
                    _array(pixels[0] if kind.batched else pixels),
                    _array(truth[first]),
                    _array(prediction[first]),
                )
            yield prediction, truth

    def _scale(self, kind: Kind) -> GreyScale:
        # The grey levels of a pipeline do not depend on the size of the image.
        alike = (kind.given.shape[0], kind.given.container)
        if alike not in self._scales:
            self._scales[alike] = self._new_scale(kind)
        return self._scales[alike]

    def _new_scale(self, kind: Kind) -> GreyScale:
        try:
            derived = derived_from(self.transform, kind.given)
        except NoBoundError:
            return self._observed_scale(kind)
        return grey_levels(derived, Range.of(kind.given.shape[0], self.low, self.high))

    def _observed_scale(self, kind: Kind) -> GreyScale:
        outputs = {
            name: outputs_of(self.transform, "pipeline", kind, [kind.image_of(image)], [name])[0].cpu()
            for name, image in plain_images(kind.given.shape, self.low, self.high, seed=0)
        }
        finite = {name: output.double().nan_to_num(0.0, 0.0, 0.0).numpy() for name, output in outputs.items()}

        def reached() -> Range:
            lows, highs = (
                np.stack([end(output, axis=(1, 2)) for output in finite.values()]) for end in (np.min, np.max)
            )
            return Range(lows.min(axis=0), highs.max(axis=0))

        is_float = outputs[BLACK].is_floating_point()
        return scale_between(finite[BLACK], finite[WHITE], reached, is_float=is_float)


def _array(pixels: torch.Tensor) -> NDArray[Any]:
    # NumPy has no bfloat16.
    kept = pixels.float() if pixels.dtype == torch.bfloat16 else pixels
    array: NDArray[Any] = kept.detach().cpu().numpy().copy()
    return array

"""Runs a layer and a pipeline on the same images and measures how their outputs differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors

from onelayer.algebra import Range
from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.errors import OnelayerError
from onelayer.images.containers import Image, is_image, pixels_of
from onelayer.verification.adversarial import BLACK, WHITE, plain_images
from onelayer.verification.bound import NoBoundError, derived_from
from onelayer.verification.image_kinds import ImageKind
from onelayer.verification.measurement import GreyScale, Measurement

Side = Callable[..., Any]
"""A layer or a pipeline: takes an image and gives one."""

_SAMPLES_PER_BLOCK = 4_000_000
_IMAGES_PER_BLOCK = 64


@dataclass(frozen=True)
class Case:
    """An image to compare both sides on.

    Args:
        description: Name of the image for messages and records.
        image: The image, or a batch of one.
    """

    description: str
    image: Image


@dataclass(frozen=True)
class Worst:
    """The image with the largest error in grey levels; the first image where nothing differs.

    Attributes:
        grey_levels: That error.
        description: Name of the image.
        scale: Grey levels of its outputs.
        image: [C, H, W].
        truth: Output of the pipeline [C', H', W'], with zeros for what is not finite on both sides.
        prediction: Output of the layer.
    """

    grey_levels: float
    description: str
    scale: GreyScale
    image: NDArray[Any]
    truth: NDArray[Any]
    prediction: NDArray[Any]

    @property
    def error(self) -> FloatArray:
        """Absolute difference of the outputs, in their units, [C', H', W']."""
        return np.abs(self.prediction.astype(np.float64) - self.truth.astype(np.float64))

    @property
    def error_in_levels(self) -> FloatArray:
        """Absolute difference of the outputs in grey levels, [C', H', W']."""
        levels: FloatArray = self.error / self.scale.level[:, None, None]
        return levels


def blocks(cases: Iterable[Case], kind: ImageKind) -> Iterator[list[Case]]:
    """Split cases into blocks that fit into memory well."""
    count = max(1, min(_IMAGES_PER_BLOCK, _SAMPLES_PER_BLOCK // samples_of(kind.spec.shape)))
    left = iter(cases)
    while block := list(islice(left, count)):
        yield block


class Trial:
    """A layer and a pipeline, and the worst image so far.

    Args:
        layer: Replacement of the pipeline.
        transform: The pipeline.
        low: Black.
        high: White.

    Attributes:
        output_dtypes: Dtypes of the pipeline's outputs so far, in order.
        result_difference: How the layer's results differ from the pipeline's in container or number of dimensions; None
            while they do not.
    """

    def __init__(self, layer: Side, transform: Side, low: float, high: float) -> None:
        self.layer, self.transform, self.low, self.high = layer, transform, low, high
        self.output_dtypes: dict[str, None] = {}
        self.result_difference: str | None = None
        self._worst: Worst | None = None
        self._scales: dict[object, GreyScale] = {}

    @property
    def worst(self) -> Worst:
        """The first of the images with the largest error, once an image was measured."""
        assert self._worst is not None
        return self._worst

    def measure(self, measurement: Measurement, kind: ImageKind, cases: Sequence[Case]) -> None:
        """Add images to all figures but the SSIM."""
        for _ in self._measured(measurement, kind, cases):
            pass

    def measure_with_ssim(self, measurement: Measurement, kind: ImageKind, cases: Sequence[Case]) -> None:
        """Add images to all figures."""
        for prediction, truth in self._measured(measurement, kind, cases):
            measurement.update_ssim(prediction, truth, self._scale(kind))

    def _measured(
        self, measurement: Measurement, kind: ImageKind, cases: Sequence[Case]
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        images, names = [case.image for case in cases], [case.description for case in cases]
        truths = outputs_of(self.transform, "pipeline", kind, images, names)
        predictions = outputs_of(self.layer, "layer", kind, images, names)
        scale = self._scale(kind)
        pairs = [self._pair(*outputs) for outputs in zip(predictions, truths, names, strict=True)]
        for _, alike in groupby(range(len(cases)), key=lambda place: (pairs[place][1].shape, truths[place].dtype)):
            places = list(alike)
            prediction, truth = (np.stack([pairs[place][side] for place in places]) for side in (0, 1))
            largest = measurement.update(prediction, truth, scale)
            first = int(largest.argmax())
            if self._worst is None or float(largest[first]) > self._worst.grey_levels:
                case, pixels = cases[places[first]], pixels_of(images[places[first]])
                self._worst = Worst(
                    float(largest[first]),
                    case.description,
                    scale,
                    _array(pixels[0] if kind.batched else pixels).copy(),
                    truth[first].copy(),
                    prediction[first].copy(),
                )
            yield prediction, truth

    def _pair(self, prediction: _Output, truth: _Output, description: str) -> tuple[NDArray[Any], NDArray[Any]]:
        if prediction.form != truth.form and self.result_difference is None:
            self.result_difference = f"the layer gives {prediction.form}, the pipeline {truth.form}"
        self.output_dtypes |= {truth.dtype: None}
        return comparable(prediction.pixels, truth.pixels, description)

    def _scale(self, kind: ImageKind) -> GreyScale:
        # The grey levels of a pipeline do not depend on the size of the image.
        alike = (kind.spec.shape[0], kind.spec.container)
        if alike not in self._scales:
            self._scales[alike] = self._new_scale(kind)
        return self._scales[alike]

    def _new_scale(self, kind: ImageKind) -> GreyScale:
        try:
            derived = derived_from(self.transform, kind.spec)
        except NoBoundError:
            return self._observed_scale(kind)
        return GreyScale.of_derived(derived, Range.of(kind.spec.shape[0], self.low, self.high))

    def _observed_scale(self, kind: ImageKind) -> GreyScale:
        outputs = {
            name: outputs_of(self.transform, "pipeline", kind, [kind.image_of(image)], [name])[0].pixels
            for name, image in plain_images(kind.spec.shape, self.low, self.high, seed=0)
        }
        finite = {name: _array(output.double()).copy() for name, output in outputs.items()}
        for values in finite.values():
            values[~np.isfinite(values)] = 0.0

        def observed_range() -> Range:
            lows, highs = (
                np.stack([end(output, axis=(1, 2)) for output in finite.values()]) for end in (np.min, np.max)
            )
            return Range(lows.min(axis=0), highs.max(axis=0))

        is_float = outputs[BLACK].is_floating_point()
        return GreyScale.between(finite[BLACK], finite[WHITE], observed_range, is_float=is_float)


@dataclass(frozen=True)
class _Output:
    """An output of one image.

    Args:
        pixels: [C', H', W']; several images that come out of one are joined along the channels.
        form: Container and number of dimensions of the result it was in.
    """

    pixels: torch.Tensor
    form: str

    @property
    def dtype(self) -> str:
        return str(self.pixels.dtype).removeprefix("torch.")


def outputs_of(
    side: Side, name: str, kind: ImageKind, images: Sequence[Image], descriptions: Sequence[str]
) -> list[_Output]:
    """Run a layer or a pipeline on images of one kind.

    Args:
        side: The layer or the pipeline.
        name: "layer" or "pipeline", for messages.
        kind: Kind of the images; where they are batched, each is a batch of one.
        images: At least one image.
        descriptions: Names of the images, for messages.

    Raises:
        OnelayerError: If the side fails, or gives no image.
    """
    # Sides get copies, as some transforms work in place.
    if not kind.batched:
        results = [_called(side, name, _copied(image), what) for image, what in zip(images, descriptions, strict=True)]
        return [_Output(_joined(result, name, stack_at=0), _form(result)) for result in results]
    tensors = isinstance(images[0], torch.Tensor)
    batch: Any = torch.cat(images) if tensors else np.concatenate(images)  # type: ignore[arg-type]  # all are alike
    result = _called(side, name, batch, _span(descriptions))
    pixels = _joined(result, name, stack_at=1)
    if pixels.dim() != 4 or len(pixels) != len(images):
        raise OnelayerError(
            f"the {name} gave {tuple(pixels.shape)} for a batch of {len(images)} images",
            expected="as many images",
            hint="Give a list of images if it does not take batches.",
        )
    return [_Output(image, _form(result)) for image in pixels.unbind()]


def _copied(image: Image) -> Image:
    return image.clone() if isinstance(image, torch.Tensor) else image.copy()


def _called(side: Side, name: str, image: Any, what: str) -> Any:
    try:
        return side(image)
    except OnelayerError:
        raise
    except Exception as error:  # anybody's code may raise anything
        raise OnelayerError(
            f"the {name} failed on {what}: {type(error).__name__}: {error}",
            expected="a pipeline and a layer that both take the images given",
        ) from error


def _span(descriptions: Sequence[str]) -> str:
    first, *_, last = [*descriptions, descriptions[-1]]
    return first if first == last else f"a batch from {first} to {last}"


def _joined(output: Any, name: str, stack_at: int) -> torch.Tensor:
    """Join the crops of one image or batch along the channels.

    Args:
        output: Result of a side.
        name: "layer" or "pipeline".
        stack_at: Number of dimensions of an image before its channels.
    """
    if isinstance(output, list | tuple) and output:
        return torch.cat([_joined(part, name, stack_at) for part in output], dim=-3)
    if not is_image(output):
        raise OnelayerError(
            f"the {name} gave {type(output).__name__}",
            expected="a tensor, a PIL image or an array",
            hint="Wrap it so that it gives the image alone.",
        )
    pixels = pixels_of(output)
    if pixels.dim() == stack_at + 4:
        # Stacked crops stand before a batch.
        return pixels.movedim(0, stack_at).flatten(stack_at, stack_at + 1)
    if pixels.dim() != stack_at + 3:
        raise OnelayerError(
            f"the {name} gave a tensor of shape {tuple(pixels.shape)}", expected="channels, height and width"
        )
    return pixels


def _form(result: Any) -> str:
    """Describe a result's container and number of dimensions."""
    if isinstance(result, list | tuple):
        return f"a {type(result).__name__} of {' and '.join(dict.fromkeys(map(_form, result)))}"
    if isinstance(result, PIL.Image.Image):
        return "a PIL image"
    names = {torch.Tensor: "a tensor", tv_tensors.Image: "a tv_tensors.Image", np.ndarray: "an array"}
    container = names.get(type(result), f"a {type(result).__name__}")
    return f"{container} of {result.ndim} dimensions"


def comparable(prediction: torch.Tensor, truth: torch.Tensor, description: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Convert two outputs [C', H', W'] to finite arrays; NaN and infinities on both sides become zero.

    Raises:
        OnelayerError: If they differ in shape or dtype, or only one of them is finite somewhere.
    """
    if prediction.shape != truth.shape or prediction.dtype != truth.dtype:
        raise OnelayerError(
            f"the layer gave {_described(prediction)} for {description}",
            expected=f"{_described(truth)}, as the pipeline gave",
        )
    ours, theirs = _array(prediction), _array(truth)
    odd = ~(np.isfinite(ours) & np.isfinite(theirs))
    if not odd.any():
        return ours, theirs
    unlike = odd & (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    if unlike.any():
        place = tuple(map(int, np.argwhere(unlike)[0]))
        raise OnelayerError(
            f"the layer gave {float(ours[place])} for {description} at {place}",
            expected=f"{float(theirs[place])}, as the pipeline gave",
            hint="Errors can be measured between finite numbers only.",
        )
    return np.where(odd, 0, ours), np.where(odd, 0, theirs)


def _array(pixels: torch.Tensor) -> NDArray[Any]:
    # NumPy has no bfloat16.
    kept = pixels.float() if pixels.dtype == torch.bfloat16 else pixels
    array: NDArray[Any] = kept.detach().cpu().numpy()
    return array


def _described(output: torch.Tensor) -> str:
    return f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}"

"""``verify()``: a layer against the pipeline it replaces, on images given and on the nastiest ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from onelayer.console import progress
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.images.containers import Image, pixels_of
from onelayer.pipelines import Pipeline
from onelayer.records import Shape
from onelayer.verification.adversarial import Known, chosen_pixels, extreme_images, plain_images
from onelayer.verification.applying import Kind, Side
from onelayer.verification.bound import (
    NoBoundError,
    arithmetic_of,
    default_range,
    derived_from,
    proved_bound,
)
from onelayer.verification.certificate import Certificate, CertificateRecord, ErrorFigures
from onelayer.verification.given_images import GivenImages, name_of
from onelayer.verification.measuring import Measurement
from onelayer.verification.trial import Case, Trial, blocks

NASTY_KINDS = 4
"""Kinds of images, by size and container, that get nasty images and a bound: the most frequent ones."""


def verify(
    layer: Side,
    transform: Side,
    images: Any = None,
    *,
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    nasty: int | None = None,
) -> Certificate:
    """Measure how far a layer is from the pipeline it replaces, and prove it for all images where that is possible.

    Both are run on the images given, and on nasty ones of the most frequent sizes of these: black, white,
    checkerboards, stripes, an impulse, noise, and the images on which single output pixels, or their differences, are
    highest and lowest. Where both are known and affine, the largest difference over all images of a range is computed
    from the weights: see :func:`onelayer.verification.proved_bound`.

    Args:
        layer: A :class:`~onelayer.OneLayer`, a :class:`~onelayer.DenseLayer`, or anything that can be called.
        transform: Torchvision transforms, a :class:`~onelayer.Pipeline`, or anything that can be called.
        images: A list of tensors [C, H, W], PIL images or arrays [H, W, C], which may differ in size and go in one by
            one; or a batch [N, C, H, W] (an array: [N, H, W, C]), of which parts go in as batches. None for nasty
            images only, in batches, where the layer is a DenseLayer or the transform a Pipeline.
        input_range: Black and white: the smallest and the largest value of an image. 0 … 255 for uint8 and 0 … 1 for
            all others where it is left out.
        seed: Of the noise.
        nasty: How many output pixels of each size have extreme images, besides the corners; None for all of up to 1024,
            or else 256, evenly spread, which the sizes share. Fewer where images are very large.

    Returns:
        The certificate. It prints as a table; ``.record`` holds the figures, and ``.figure()`` draws the worst image.

    Raises:
        OnelayerError: If there are no images, one of the two fails on an image, or the layer gives another shape or
            dtype than the pipeline, or is finite where that is not.
    """
    given = None if images is None else GivenImages(images)
    kinds = [_kind_of_sides(layer, transform)] if given is None else given.most_frequent()
    if nasty is not None and nasty < 0:
        raise OnelayerError(f"extreme images of {nasty} output pixels were asked for", expected="0 or more, or None")
    low, high = _checked_range(kinds[0].given, input_range)
    frequent = kinds[:NASTY_KINDS]
    trial = Trial(layer, transform, low, high)
    measured, nastiest = Measurement(), Measurement()
    with torch.inference_mode(), progress() as shown:
        if given is not None:
            _measure_given(trial, measured, given, shown)
        extremes = [_measure_nasty(trial, nastiest, kind, seed, (nasty, len(frequent)), shown) for kind in frequent]
    everything = measured.merged(nastiest) if given is not None else nastiest
    worst = trial.worst
    record = CertificateRecord(
        layer=name_of(layer),
        transform=name_of(transform),
        inputs=tuple(dict.fromkeys(f"{kind.given.dtype} {kind.given.container}" for kind in kinds)),
        input_shapes=_shapes(kinds),
        output_dtypes=tuple(trial.output_dtypes),
        low=low,
        high=high,
        outside_range=0 if given is None else sum(_leaves(image, low, high) for image in given.images),
        grey_level_units=tuple(worst.scale.level.tolist()),
        given=_figures(measured) if given is not None else None,
        nasty=_figures(nastiest),
        all=_figures(everything),
        nasty_shapes=_shapes(frequent),
        extreme_images=sum(one.images for one in extremes),
        extreme_pixels=sum(one.pixels for one in extremes),
        no_extremes_because=next((one.missing_because for one in extremes if one.missing_because), None),
        worst_image=worst.description,
        worst_shape=_shape(worst.image.shape),
        worst_pixel=_shape(np.unravel_index(int(worst.error_in_levels.argmax()), worst.truth.shape)),
        **_proved(layer, transform, frequent, (low, high)),
    )
    return Certificate(record, worst.image, worst.truth, worst.prediction, worst.error.astype(np.float32))


def _kind_of_sides(layer: Side, transform: Side) -> Kind:
    if isinstance(layer, DenseLayer):
        dtype = str(layer.weight.dtype).removeprefix("torch.")
        given = ImageSpec(layer.input_shape, dtype, "tensor")  # type: ignore[arg-type]  # weights are floating point
        return Kind(given, batched=True, device=layer.weight.device)
    if isinstance(transform, Pipeline):
        return Kind(ImageSpec(transform.input_shape, "float32", "tensor"), batched=True, device=torch.device("cpu"))
    raise OnelayerError(
        "no images were given, and neither the layer nor the pipeline says which size it takes",
        expected="a DenseLayer or a Pipeline, or images",
        hint="Give some: images=[torch.rand(3, 375, 500)].",
    )


def _checked_range(given: ImageSpec, input_range: tuple[float, float] | None) -> tuple[float, float]:
    low, high = default_range(given) if input_range is None else input_range
    fits = math.isfinite(low) and math.isfinite(high) and low < high
    if not given.is_float:
        fits = fits and low >= 0 and high <= 255 and low == int(low) and high == int(high)
    if not fits:
        raise OnelayerError(
            f"the input range {low} … {high} was given",
            expected="low < high" if given.is_float else "whole numbers in 0 … 255, low < high",
        )
    return float(low), float(high)


def _leaves(image: Image, low: float, high: float) -> bool:
    pixels = pixels_of(image)
    return bool(((pixels < low) | (pixels > high)).any())


def _measure_given(trial: Trial, measurement: Measurement, given: GivenImages, shown: Progress) -> None:
    task = shown.add_task("given images", total=len(given.images))
    for kind, places in given.runs():
        for block in blocks((Case(f"given {place}", given.images[place]) for place in places), kind):
            trial.measure_with_similarity(measurement, kind, block)
            shown.advance(task, len(block))


@dataclass(frozen=True)
class _Extremes:
    """How many extreme images of how many output pixels were measured, or why there were none."""

    images: int
    pixels: int
    missing_because: str | None


def _measure_nasty(
    trial: Trial, measurement: Measurement, kind: Kind, seed: int, pixels: tuple[int | None, int], shown: Progress
) -> _Extremes:
    shape, low, high = kind.given.shape, trial.low, trial.high
    plain = (Case(name, kind.image_of(image)) for name, image in plain_images(shape, low, high, seed))
    for block in blocks(plain, kind):
        trial.measure_with_similarity(measurement, kind, block)
    try:
        known = _known(trial.layer, trial.transform, kind.given)
    except NoBoundError as error:
        return _Extremes(0, 0, error.problem)
    outputs = chosen_pixels(known, *pixels)
    total = len(outputs) * known.images_per_pixel
    task = shown.add_task("extreme images", total=total)
    cases = (Case(name, kind.image_of(image)) for name, image in extreme_images(known, outputs, low, high))
    for block in blocks(cases, kind):
        trial.measure(measurement, kind, block)
        shown.advance(task, len(block))
    return _Extremes(total, len(outputs), None)


def _known(layer: Side, transform: Side, given: ImageSpec) -> Known:
    original = approximation = None
    unknown: list[NoBoundError] = []
    try:
        original = derived_from(transform, given).program
    except NoBoundError as error:
        unknown.append(error)
    try:
        approximation = arithmetic_of(layer, given).stored
    except NoBoundError as error:
        unknown.append(error)
    if len(unknown) == 2:
        raise NoBoundError("; ".join(error.problem for error in unknown))
    return Known(original, approximation)


def _proved(layer: Side, transform: Side, kinds: Sequence[Kind], input_range: tuple[float, float]) -> dict[str, Any]:
    """What a record says of the largest of the bounds for some kinds of images, or of why one of them has none."""
    try:
        bounds = [
            proved_bound(layer, transform, given, input_range) for given in dict.fromkeys(kind.given for kind in kinds)
        ]
    except NoBoundError as error:
        nothing = dict.fromkeys(("bound_units", "bound_grey_levels", "bound_pixel", "bound_rounding_units"))
        return {**nothing, "bound_shapes": (), "no_bound_because": error.problem}
    largest = max(bounds, key=lambda bound: bound.grey_levels)
    return {
        "bound_units": largest.units,
        "bound_grey_levels": largest.grey_levels,
        "bound_pixel": largest.pixel,
        "bound_rounding_units": largest.rounding_units,
        "bound_shapes": _shapes(kinds),
        "no_bound_because": None,
    }


def _figures(measurement: Measurement) -> ErrorFigures:
    return ErrorFigures(
        images=measurement.images,
        max_units=measurement.max_units,
        max_grey_levels=measurement.max_grey_levels,
        mse=measurement.mse,
        psnr_db=measurement.psnr_db,
        ssim=measurement.ssim,
        differing=measurement.differing,
    )


def _shapes(kinds: Sequence[Kind]) -> tuple[Shape, ...]:
    return tuple(dict.fromkeys(kind.given.shape for kind in kinds))


def _shape(numbers: Sequence[Any]) -> Shape:
    channels, height, width = map(int, numbers)
    return channels, height, width

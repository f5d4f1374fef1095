"""``verify()``: compares a layer with the pipeline it replaces, on the caller's images and on adversarial ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from onelayer.console import progress as progress_display
from onelayer.console import visible_progress
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.formats import without_addresses
from onelayer.frontends import ImageSpec
from onelayer.images.containers import Image, pixels_of
from onelayer.layer import OneLayer
from onelayer.pipelines import Pipeline
from onelayer.records import Shape
from onelayer.verification.adversarial import KnownPrograms, chosen_pixels, extreme_images, plain_images
from onelayer.verification.bound import NoBoundError, arithmetic_of, default_range, derived_from, proved_bound
from onelayer.verification.certificate import Certificate, CertificateRecord, ErrorFigures
from onelayer.verification.image_kinds import ImageKind, VerificationImages
from onelayer.verification.measurement import Measurement
from onelayer.verification.trial import Case, Side, Trial, blocks

ADVERSARIAL_KINDS = 4
"""Number of kinds of images, by size and container, with adversarial images and a bound: the most frequent ones."""


def verify(
    layer: Side,
    transform: Side,
    images: Any = None,
    *,
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    adversarial: int | None = None,
    progress: bool = False,
) -> Certificate:
    """Measure how far a layer is from the pipeline it replaces, and prove it for all images where that is possible.

    Both are run on the caller's images, and on adversarial ones of their most frequent sizes: black, white,
    checkerboards, stripes, an impulse, noise, and extreme images, on which single output pixels, or their differences,
    are highest and lowest. Where both sides are known and affine, the largest difference over all images of a range is
    computed from the weights: see :func:`onelayer.verification.proved_bound`.

    Args:
        layer: A :class:`~onelayer.OneLayer`, a :class:`~onelayer.DenseLayer`, or anything that can be called.
        transform: Torchvision transforms, a :class:`~onelayer.Pipeline`, or anything that can be called.
        images: A list of tensors [C, H, W], PIL images or arrays [H, W, C], which may differ in size and go in one by
            one; or a batch [N, C, H, W] (an array: [N, H, W, C]), of which parts go in as batches. None for adversarial
            images only, in batches, where the layer is a DenseLayer or the transform a Pipeline.
        input_range: Black and white: smallest and largest value of an image. None for 0 … 255 for uint8, or else 0 … 1.
        seed: Seed of the noise.
        adversarial: Number of output pixels of each size with extreme images, besides the corners; two or four images
            per pixel. None for all of up to 1024, or else 256, evenly spread and shared between the sizes, but no more
            than have 2²⁵ input values in all, which takes some seconds. Fewer than asked for where images are very
            large.
        progress: Whether to show progress on standard error.

    Returns:
        The certificate. It prints as a table; ``.record`` holds the figures, and ``.figure()`` draws the worst image.

    Raises:
        OnelayerError: If there are no images, one of the two fails on an image, or the layer gives another shape or
            dtype than the pipeline, is finite where that is not, or the layer and the pipeline have changed places.
    """
    if isinstance(transform, OneLayer | DenseLayer) and not isinstance(layer, OneLayer | DenseLayer):
        raise OnelayerError(
            f"a {type(transform).__name__} was given as the pipeline, and {type(layer).__name__} as the layer",
            expected="the layer first, then the pipeline that it replaces",
            hint="Call verify(layer, transform, images).",
        )
    own = None if images is None else VerificationImages(images)
    kinds = [_kind_of_sides(layer, transform)] if own is None else own.most_frequent()
    if adversarial is not None and adversarial < 0:
        raise OnelayerError(
            f"extreme images of {adversarial} output pixels were asked for", expected="0 or more, or None"
        )
    low, high = _checked_range(kinds[0].spec, input_range)
    frequent = kinds[:ADVERSARIAL_KINDS]
    trial = Trial(layer, transform, low, high)
    on_images, on_adversarial = Measurement(), Measurement()
    with torch.inference_mode(), visible_progress(progress), progress_display() as display:
        if own is not None:
            _measure_images(trial, on_images, own, display)
        extremes = [
            _measure_adversarial(trial, on_adversarial, kind, seed, (adversarial, len(frequent)), display)
            for kind in frequent
        ]
    total = on_images.merged(on_adversarial)
    worst = trial.worst
    differs = total.mismatches > 0
    place = np.unravel_index(int(worst.error_in_levels.argmax()), worst.truth.shape)
    record = CertificateRecord(
        layer=_name_of(layer),
        transform=_name_of(transform),
        inputs=tuple(dict.fromkeys(f"{kind.spec.dtype} {kind.spec.container}" for kind in kinds)),
        input_shapes=_shapes(kinds),
        output_dtypes=tuple(trial.output_dtypes),
        low=low,
        high=high,
        outside_range=0 if own is None else sum(_leaves(image, low, high) for image in own.images),
        grey_level_units=tuple(worst.scale.level.tolist()),
        images=_figures(on_images) if own is not None else None,
        adversarial=_figures(on_adversarial),
        all=_figures(total),
        adversarial_shapes=_shapes(frequent),
        extreme_images=sum(one.images for one in extremes),
        extreme_pixels=sum(one.pixels for one in extremes),
        no_extremes_because=next((one.missing_because for one in extremes if one.missing_because), None),
        result_difference=trial.result_difference,
        worst_image=worst.description if differs else None,
        worst_shape=_shape(worst.image.shape) if differs else None,
        worst_pixel=_shape(place) if differs else None,
        **_proved(layer, transform, frequent, (low, high)),
    )
    return Certificate(record, worst.image, worst.truth, worst.prediction, worst.error.astype(np.float32))


def _kind_of_sides(layer: Side, transform: Side) -> ImageKind:
    if isinstance(layer, DenseLayer):
        dtype = str(layer.weight.dtype).removeprefix("torch.")
        spec = ImageSpec(layer.input_shape, dtype, "tensor")  # type: ignore[arg-type]  # weights are floating point
        return ImageKind(spec, batched=True, device=layer.weight.device)
    if isinstance(transform, Pipeline):
        spec = ImageSpec(transform.input_shape, "float32", "tensor")
        return ImageKind(spec, batched=True, device=torch.device("cpu"))
    raise OnelayerError(
        "no images were given, and neither the layer nor the pipeline says which size it takes",
        expected="a DenseLayer or a Pipeline, or images",
        hint="Give some: images=[torch.rand(3, 375, 500)].",
    )


def _checked_range(spec: ImageSpec, input_range: tuple[float, float] | None) -> tuple[float, float]:
    low, high = default_range(spec) if input_range is None else input_range
    fits = math.isfinite(low) and math.isfinite(high) and low < high
    if not spec.is_float:
        fits = fits and low >= 0 and high <= 255 and low == int(low) and high == int(high)
    if not fits:
        raise OnelayerError(
            f"the input range {low} … {high} was given",
            expected="low < high" if spec.is_float else "whole numbers in 0 … 255, low < high",
        )
    return float(low), float(high)


def _leaves(image: Image, low: float, high: float) -> bool:
    pixels = pixels_of(image)
    return bool(((pixels < low) | (pixels > high)).any())


def _measure_images(trial: Trial, measurement: Measurement, own: VerificationImages, display: Progress) -> None:
    task = display.add_task("images", total=len(own))
    for kind, places in own.runs():
        for block in blocks((Case(f"image {place}", own.images[place]) for place in places), kind):
            trial.measure_with_ssim(measurement, kind, block)
            display.advance(task, len(block))


@dataclass(frozen=True)
class _Extremes:
    """Numbers of extreme images and of their output pixels, or why there are none."""

    images: int
    pixels: int
    missing_because: str | None


def _measure_adversarial(
    trial: Trial,
    measurement: Measurement,
    kind: ImageKind,
    seed: int,
    pixels: tuple[int | None, int],
    display: Progress,
) -> _Extremes:
    shape, low, high = kind.spec.shape, trial.low, trial.high
    plain = (Case(name, kind.image_of(image)) for name, image in plain_images(shape, low, high, seed))
    for block in blocks(plain, kind):
        trial.measure_with_ssim(measurement, kind, block)
    try:
        known = _known(trial.layer, trial.transform, kind.spec)
    except NoBoundError as error:
        return _Extremes(0, 0, error.problem)
    outputs = chosen_pixels(known, *pixels)
    total = len(outputs) * known.images_per_pixel
    task = display.add_task("extreme images", total=total)
    cases = (Case(name, kind.image_of(image)) for name, image in extreme_images(known, outputs, low, high))
    for block in blocks(cases, kind):
        trial.measure(measurement, kind, block)
        display.advance(task, len(block))
    return _Extremes(total, len(outputs), None)


def _known(layer: Side, transform: Side, spec: ImageSpec) -> KnownPrograms:
    original = approximation = None
    unknown: list[NoBoundError] = []
    try:
        original = derived_from(transform, spec).program
    except NoBoundError as error:
        unknown.append(error)
    try:
        approximation = arithmetic_of(layer, spec).stored
    except NoBoundError as error:
        unknown.append(error)
    if len(unknown) == 2:
        raise NoBoundError("; ".join(error.problem for error in unknown))
    return KnownPrograms(original, approximation)


def _proved(
    layer: Side, transform: Side, kinds: Sequence[ImageKind], input_range: tuple[float, float]
) -> dict[str, Any]:
    """Fill the fields of the bound: the largest over some kinds of images, or why one of them has none."""
    try:
        bounds = [
            proved_bound(layer, transform, spec, input_range) for spec in dict.fromkeys(kind.spec for kind in kinds)
        ]
    except NoBoundError as error:
        nothing = dict.fromkeys(("bound_units", "bound_grey_levels", "bound_pixel", "bound_rounding_units"))
        return {**nothing, "bound_shapes": (), "bit_exact": False, "no_bound_because": error.problem}
    largest = max(bounds, key=lambda bound: bound.grey_levels)
    return {
        "bound_units": largest.units,
        "bound_grey_levels": largest.grey_levels,
        "bound_pixel": largest.pixel,
        "bound_rounding_units": largest.rounding_units,
        "bound_shapes": _shapes(kinds),
        "bit_exact": all(bound.bit_exact for bound in bounds),
        "no_bound_because": None,
    }


def _figures(measurement: Measurement) -> ErrorFigures:
    return ErrorFigures(
        count=measurement.images,
        max_units=measurement.max_units,
        max_grey_levels=measurement.max_grey_levels,
        mse=measurement.mse,
        psnr_db=measurement.psnr_db,
        ssim=measurement.ssim,
        mismatch_rate=measurement.mismatch_rate,
    )


def _name_of(side: Side) -> str:
    """Name a layer or a pipeline as it prints itself; a function by its name, and nothing by its place in memory."""
    if isinstance(side, Pipeline):
        return f"{side.name}: {side.transform!r}"
    name = getattr(side, "__qualname__", None)
    return name if isinstance(name, str) else without_addresses(repr(side))


def _shapes(kinds: Sequence[ImageKind]) -> tuple[Shape, ...]:
    return tuple(dict.fromkeys(kind.spec.shape for kind in kinds))


def _shape(numbers: Sequence[Any]) -> Shape:
    channels, height, width = map(int, numbers)
    return channels, height, width

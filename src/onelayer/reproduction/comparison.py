"""Measure how far layers are from the original pipeline, over a whole set of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as serialized
from torch import nn

from onelayer.algebra import affine_part
from onelayer.atomic_write import write_whole
from onelayer.console import progress
from onelayer.data import float_images
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.pipelines import Pipeline
from onelayer.records import Shape
from onelayer.reproduction.records import LayerMetrics, MetricsRecord
from onelayer.reproduction.run_folder import RunFolder
from onelayer.verification import NoBoundError, proved_bound
from onelayer.verification.bound import arithmetic_of
from onelayer.verification.measurement import GREY_LEVELS, GreyScale, Measurement

_BATCH = 500


@dataclass(frozen=True)
class Comparison:
    """Metrics over all images, and pictures of some.

    Attributes:
        record: Content of ``metrics.json``.
        pictures: float32 tensors ``inputs`` [K, C, H, W], ``truth`` and ``layer.<name>`` [K, C', H', W'] for the
            K − 1 examples and, last, the worst image of the first layer; and, where all layers are affine,
            ``weights.<name>`` [C, H, W], the weights of the output value ``record.weight_pixel``.
    """

    record: MetricsRecord
    pictures: dict[str, NDArray[np.float32]]

    def write(self, folder: RunFolder) -> None:
        """Write metrics and pictures into a run folder."""
        write_whole(folder.examples, serialized(self.pictures))
        self.record.write(folder.metrics)


def compare(
    pipeline: Pipeline, layers: Mapping[str, nn.Module], pixels: NDArray[np.uint8], *, examples: int = 5
) -> Comparison:
    """Compare layers with a pipeline on the CPU.

    The examples are evenly spaced over the images, so nobody picks them.

    Args:
        pipeline: Ground truth.
        layers: Layers by name, from float32 [N, C, H, W] in [0, 1] to [N, C', H', W'].
        pixels: uint8 [N, C, H, W], at least one image.
        examples: Number of images to show; fewer if there are fewer images.

    Raises:
        OnelayerError: If there are no images or no layers.
    """
    if len(pixels) == 0 or not layers:
        raise OnelayerError(
            f"{len(pixels)} images and {len(layers)} layers to compare", expected="at least one of each"
        )
    with torch.inference_mode(), progress() as shown:
        metrics = _metrics(pipeline, layers, pixels, shown.track(range(0, len(pixels), _BATCH), description="compare"))
        indices = tuple(int(index) for index in np.linspace(0, len(pixels) - 1, min(examples, len(pixels))).round())
        images = float_images(pixels[[*indices, metrics[0].worst_image]])
        pictures = {"inputs": images, "truth": pipeline(images)}
        pictures |= {f"layer.{name}": layer(images) for name, layer in layers.items()}
    rows = _weight_rows(pipeline, layers)
    pictures |= {f"weights.{name}": row for name, row in rows.items()}
    pixel = _middle(pipeline) if rows else None
    return Comparison(
        MetricsRecord(images=len(pixels), layers=metrics, examples=indices, weight_pixel=pixel),
        {name: picture.float().contiguous().numpy() for name, picture in pictures.items()},
    )


class _LayerMeasurement:
    """Errors of one layer, added up batch by batch, and its worst image."""

    def __init__(self, scale: GreyScale) -> None:
        self.scale = scale
        self.measurement = Measurement()
        self.worst, self.worst_image = -1.0, 0

    def update(self, prediction: torch.Tensor, truth: torch.Tensor, start: int) -> None:
        """Add a batch, whose first image is that of index ``start``."""
        ours, theirs = prediction.numpy(), truth.numpy()
        largest = self.measurement.update(ours, theirs, self.scale)
        self.measurement.update_ssim(ours, theirs, self.scale)
        if float(largest.max()) > self.worst:
            self.worst, self.worst_image = float(largest.max()), start + int(largest.argmax())


def _metrics(
    pipeline: Pipeline, layers: Mapping[str, nn.Module], pixels: NDArray[np.uint8], starts: Iterable[int]
) -> tuple[LayerMetrics, ...]:
    scale = GreyScale.of_unit_range(pipeline.output_shape[0])
    measured = {name: _LayerMeasurement(scale) for name in layers}
    for start in starts:
        images = float_images(pixels[start : start + _BATCH])
        truth = pipeline(images)
        for name, layer in layers.items():
            measured[name].update(layer(images), truth, start)
    return tuple(
        LayerMetrics(
            layer=name,
            mse=each.measurement.mse,
            psnr_db=each.measurement.psnr_db,
            ssim=each.measurement.ssim,
            max_grey_levels=each.measurement.max_grey_levels,
            worst_image=each.worst_image,
            bound_grey_levels=_bound_in_grey_levels(layers[name], pipeline),
        )
        for name, each in measured.items()
    )


def _weight_rows(pipeline: Pipeline, layers: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Compute the weights of the middle output value in each layer, [C, H, W]; none if one layer is not affine."""
    unit = np.zeros(pipeline.output_shape)
    unit[_middle(pipeline)] = 1.0
    rows = {}
    for name, layer in layers.items():
        try:
            arithmetic = arithmetic_of(layer, _input_spec(pipeline))
        except NoBoundError:
            return {}
        part = affine_part(arithmetic.program)
        if part is None:
            return {}
        rows[name] = torch.from_numpy(part[0].apply_transposed(unit))
    return rows


def _middle(pipeline: Pipeline) -> Shape:
    _, height, width = pipeline.output_shape
    return 0, height // 2, width // 2


def _input_spec(pipeline: Pipeline) -> ImageSpec:
    return ImageSpec(pipeline.input_shape, "float32", "tensor")


def _bound_in_grey_levels(layer: nn.Module, pipeline: Pipeline) -> float | None:
    try:
        bound = proved_bound(layer, pipeline, _input_spec(pipeline))
    except NoBoundError:
        return None
    return bound.units * GREY_LEVELS

"""How far layers are from the original pipeline, over a whole set of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as serialized
from torch import nn
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.regression import MeanSquaredError

from onelayer.console import progress
from onelayer.errors import OnelayerError
from onelayer.learning.regression import unit_range
from onelayer.pipelines import Pipeline
from onelayer.records import LayerMetrics, MetricsRecord
from onelayer.run_folder import RunFolder
from onelayer.whole_file import write_whole

GREY_LEVELS = 255
_BATCH = 500
_SSIM_WINDOW = 11
"""SSIM's Gaussian window (Wang et al. 2004), below which it is not defined."""


@dataclass(frozen=True)
class Comparison:
    """Metrics over all images, and the pictures that show them.

    Attributes:
        record: What goes to ``metrics.json``.
        pictures: float32 tensors ``inputs`` [K, C, H, W], ``truth`` and ``layer.<name>`` [K, C', H', W'] for the
            K − 1 examples and, last, the worst image of the first layer.
    """

    record: MetricsRecord
    pictures: dict[str, NDArray[np.float32]]

    def write(self, folder: RunFolder) -> None:
        """Write both into a run folder."""
        write_whole(folder.examples, serialized(self.pictures))
        self.record.write(folder.metrics)


def compare(
    pipeline: Pipeline, layers: Mapping[str, nn.Module], pixels: NDArray[np.uint8], *, examples: int = 5
) -> Comparison:
    """Compare layers with a pipeline on the CPU.

    The examples are evenly spaced over the images, so nobody picks them.

    Args:
        pipeline: The ground truth.
        layers: By name; each takes float32 [N, C, H, W] in [0, 1] and gives [N, C', H', W'].
        pixels: uint8 [N, C, H, W], at least one image.
        examples: How many images to show; fewer if there are fewer images.

    Raises:
        OnelayerError: If there are no images or no layers.
    """
    if len(pixels) == 0 or not layers:
        raise OnelayerError(
            f"{len(pixels)} images and {len(layers)} layers to compare", expected="at least one of each"
        )
    with torch.inference_mode(), progress() as shown:
        metrics = tuple(
            _metrics(
                name, pipeline, layer, pixels, shown.track(range(0, len(pixels), _BATCH), description=f"compare {name}")
            )
            for name, layer in layers.items()
        )
        indices = tuple(int(index) for index in np.linspace(0, len(pixels) - 1, min(examples, len(pixels))).round())
        images = unit_range(torch.from_numpy(pixels[[*indices, metrics[0].worst_image]]))
        pictures = {"inputs": images, "truth": pipeline(images)}
        pictures |= {f"layer.{name}": layer(images) for name, layer in layers.items()}
    return Comparison(
        MetricsRecord(images=len(pixels), layers=metrics, examples=indices),
        {name: picture.float().contiguous().numpy() for name, picture in pictures.items()},
    )


def _metrics(
    name: str, pipeline: Pipeline, layer: nn.Module, pixels: NDArray[np.uint8], starts: Iterable[int]
) -> LayerMetrics:
    # float64 sums: the squared errors of a nearly exact layer are far below float32's resolution of their sum.
    mse = MeanSquaredError().set_dtype(torch.float64)
    psnr = PeakSignalNoiseRatio(data_range=1.0).set_dtype(torch.float64)
    has_ssim = min(pipeline.output_shape[1:]) >= _SSIM_WINDOW
    ssim = StructuralSimilarityIndexMeasure(data_range=1.0, kernel_size=_SSIM_WINDOW)
    worst, worst_image = -1.0, 0
    for start in starts:
        images = unit_range(torch.from_numpy(np.array(pixels[start : start + _BATCH])))
        truth, prediction = pipeline(images), layer(images)
        if has_ssim:
            ssim.update(prediction, truth)
        truth, prediction = truth.double(), prediction.double()
        mse.update(prediction, truth)
        psnr.update(prediction, truth)
        largest = (prediction - truth).abs().flatten(1).amax(1)
        if float(largest.max()) > worst:
            worst, worst_image = float(largest.max()), start + int(largest.argmax())
    mean = float(mse.compute())
    return LayerMetrics(
        layer=name,
        mse=mean,
        psnr_db=float(psnr.compute()) if mean > 0 else None,
        ssim=torch.as_tensor(ssim.compute()).item() if has_ssim else None,
        max_grey_levels=worst * GREY_LEVELS,
        worst_image=worst_image,
    )

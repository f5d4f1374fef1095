"""The report's benchmark: device × batch size × way of doing the transforms, over all test images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onelayer.bench.harness import Contender, time_interleaved
from onelayer.console import progress
from onelayer.data import float_images
from onelayer.environment import measured_here
from onelayer.pipelines import Pipeline
from onelayer.reproduction.records import BenchmarkRecord, BenchmarkRow, BenchmarkWay

BATCH_SIZES = (1024, 512, 256, 128, 64, 32, 16, 8)

WAYS = (
    BenchmarkWay(
        key="sequential",
        label="sequential transforms",
        description="the transforms, image by image, stacked into the batch (as the report did)",
        contender=True,
    ),
    BenchmarkWay(
        key="batched",
        label="batched transforms",
        description="the same transforms on whole batches (which the report did not try)",
        contender=True,
    ),
    BenchmarkWay(
        key="layer", label="the learned layer", description="the learned layer on whole batches", contender=True
    ),
    BenchmarkWay(
        key="derived",
        label="the derived layer",
        description="the transforms read off and fused, on whole batches: no images, no training",
        contender=True,
    ),
    BenchmarkWay(
        key="layer_on_device",
        label="the learned layer, without copies",
        description="the learned layer on batches that lie on the device and stay there (CUDA only)",
        contender=False,
    ),
    BenchmarkWay(
        key="derived_on_device",
        label="the derived layer, without copies",
        description="the derived layer on batches that lie on the device and stay there (CUDA only)",
        contender=False,
    ),
)

REPEATS = 3
"""Enough for a median and quartiles; `onelayer bench --repeats` takes more."""

MOST_IMAGES = 10_000
"""As many as the report timed; as float32 they must fit into memory."""

Device = Literal["cpu", "cuda"]
Apply = Callable[[torch.Tensor], torch.Tensor]


def run_report_table(
    pipeline: Pipeline,
    layers: Mapping[str, nn.Module],
    pixels: NDArray[np.uint8],
    devices: Sequence[Device],
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    burn_in: int = 1,
    repeats: int = REPEATS,
    quick: bool = False,
) -> BenchmarkRecord:
    """Time the ways against each other.

    Every way starts from the same float32 batches in host memory and ends with float32 results in host memory. On CUDA
    each of them therefore pays for its copies in and out; ``layer_on_device`` alone leaves them out, and does not
    compete.

    Args:
        pipeline: The original transforms.
        layers: In their place, by the key of their way: ``layer`` and ``derived``.
        pixels: uint8 [N, C, H, W], the images of one pass; at most the first 10,000 are taken.
        devices: Which rows to measure; the table's other devices are recorded as not measured.
        batch_sizes: The rows of each device; those larger than the number of images are left out.
        burn_in: Short rounds that do not count.
        repeats: Rounds that count.
        quick: Recorded, so that the page can say so.
    """
    images = float_images(pixels[:MOST_IMAGES])
    # A batch larger than all images would only repeat the row of one batch of all images.
    batch_sizes = [size for size in batch_sizes if size <= len(images)] or [len(images)]
    contenders = {
        (device, size, way): contender
        for device in devices
        for here in [Placed({key: copy.deepcopy(layer).to(device) for key, layer in layers.items()}, images.to(device))]
        for size in batch_sizes
        for way, contender in _contenders(pipeline, here, images, device, size).items()
    }
    with torch.inference_mode(), progress() as shown:
        timings = time_interleaved(contenders, burn_in=burn_in, repeats=repeats, progress=shown)
    rows = tuple(
        BenchmarkRow(
            device=device,
            batch_size=size,
            timings={way.key: timings[device, size, way.key] for way in WAYS if (device, size, way.key) in timings},
        )
        for device in devices
        for size in batch_sizes
    )
    return BenchmarkRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        images=len(images),
        burn_in=burn_in,
        repeats=repeats,
        environment=measured_here(),
        ways=WAYS,
        rows=rows,
        not_measured=tuple(device for device in ("cpu", "cuda") if device not in devices),
    )


@dataclass(frozen=True)
class Placed:
    """Copies of the layers, and the images, on the device of a row."""

    layers: dict[str, nn.Module]
    images: torch.Tensor


def _contenders(
    pipeline: Pipeline, here: Placed, images: torch.Tensor, device: Device, batch_size: int
) -> dict[str, Contender]:
    """The ways of one row, by key, each over all images in batches."""
    batches = torch.split(images, batch_size)

    def sequential(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([pipeline.transform(image) for image in batch])

    def with_copies(apply: Apply) -> Apply:
        return lambda batch: apply(batch.to(device)).cpu()

    ways: dict[str, Apply] = {"sequential": sequential, "batched": pipeline.transform, **here.layers}
    if device == "cuda":
        ways = {key: with_copies(apply) for key, apply in ways.items()}
    contenders = {key: Contender(apply, batches) for key, apply in ways.items()}
    if device == "cuda":
        there = torch.split(here.images, batch_size)
        contenders |= {f"{key}_on_device": Contender(layer, there) for key, layer in here.layers.items()}
    return contenders

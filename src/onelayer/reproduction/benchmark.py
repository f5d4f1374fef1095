"""The benchmark of a run: a workload with four peers, over all test images."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onelayer.bench.measure import BURN_IN, Request, measure
from onelayer.bench.peers.base import Device, Images, Peer
from onelayer.bench.peers.pytorch import (
    HasTransform,
    TensorFunction,
    image_by_image,
    on_device,
    on_tensors,
    onelayer_default,
    whole_batches,
)
from onelayer.bench.record import BenchmarkRecord
from onelayer.bench.workloads import BATCH_SIZES, Workload
from onelayer.data import float_images
from onelayer.frontends import UnsupportedTransformError, derive
from onelayer.images.containers import spec_of
from onelayer.pipelines import Pipeline

REPEATS = 3
"""Enough for a median and quartiles; `onelayer bench --repeats` takes more."""

MOST_IMAGES = 10_000
"""As many as the report timed; as float32 they must fit into memory."""

_ANY: tuple[Device, ...] = ("cpu", "cuda")


def peers_of_run(layer: nn.Module) -> tuple[Peer[HasTransform], ...]:
    """Make the peers of a run: the report's ways to do the transforms, the learned layer and the derived one.

    Each starts from float32 batches in host memory and ends with float32 results in host memory, so on CUDA it pays for
    its copies in and out; those that leave the copies out do not compete.

    Args:
        layer: The learned layer.
    """

    def learned(_work: HasTransform, _images: Images, device: torch.device) -> TensorFunction:
        return copy.deepcopy(layer).to(device)

    return (
        Peer(
            "sequential",
            "sequential transforms",
            on_tensors(image_by_image),
            devices=_ANY,
            description="the transforms, image by image, stacked into the batch (as the report did)",
        ),
        Peer(
            "batched",
            "batched transforms",
            on_tensors(whole_batches),
            devices=_ANY,
            description="the same transforms on whole batches (which the report did not try)",
        ),
        Peer(
            "layer",
            "the learned layer",
            on_tensors(learned),
            devices=_ANY,
            description="the learned layer on whole batches",
        ),
        Peer(
            "derived",
            "the derived layer",
            on_tensors(onelayer_default),
            refuse=_refuse_underivable,
            devices=_ANY,
            description="the transforms read off and fused, on whole batches: no images, no training",
        ),
        Peer(
            "layer_on_device",
            "the learned layer, without copies",
            on_device(learned),
            devices=("cuda",),
            description="the learned layer on batches that lie on the device and stay there (CUDA only)",
            competes=False,
        ),
        Peer(
            "derived_on_device",
            "the derived layer, without copies",
            on_device(onelayer_default),
            refuse=_refuse_underivable,
            devices=("cuda",),
            description="the derived layer on batches that lie on the device and stay there (CUDA only)",
            competes=False,
        ),
    )


def _refuse_underivable(work: HasTransform, images: Images) -> str | None:
    try:
        derive(work.transform, spec_of(images))
    except UnsupportedTransformError as error:
        return str(error)
    return None


def benchmark_run(
    pipeline: Pipeline,
    layer: nn.Module,
    pixels: NDArray[np.uint8],
    devices: Sequence[Device],
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    burn_in: int = BURN_IN,
    repeats: int = REPEATS,
    quick: bool = False,
) -> BenchmarkRecord:
    """Time the peers of a run against each other.

    Every pass takes all images, as the report's did.

    Args:
        pipeline: The original transforms.
        layer: The layer that was learned from them.
        pixels: Images of a pass, uint8 [N, C, H, W]; at most the first 10,000 are taken.
        devices: Devices to measure on.
        batch_sizes: Batch sizes; those larger than the number of images are left out.
        burn_in: Number of short rounds that do not count.
        repeats: Number of rounds that count.
        quick: Whether the layer was learned with ``--quick``, for the record.
    """
    images = float_images(pixels[:MOST_IMAGES])
    workload = Workload(
        name=pipeline.name,
        title=f"{len(images):,} test images of a run; one size, repeated",
        work=pipeline,
        count=len(images),
        make=lambda _data, _count: images,
        example=images[:2],
        batch_sizes=tuple(batch_sizes),
    )
    records = []
    for device in devices:
        request: Request[HasTransform] = Request(
            [workload],
            peers_of_run(layer),
            [torch.get_num_threads()],
            batch_sizes,
            device,
            burn_in,
            repeats,
            pass_seconds=math.inf,
            batch_seconds=math.inf,
        )
        *_, record = measure(request)
        records.append(record)
    cases = tuple(case for record in records for case in record.cases)
    return records[0].model_copy(update={"cases": cases, "quick": quick})

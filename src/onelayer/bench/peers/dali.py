"""NVIDIA DALI's CPU operators, in batches, in a pipeline that waits for each result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.bench.peers.base import Images, Pixels, Prepared, Resources, hwc_array, white
from onelayer.bench.workloads import Work

_GRAY = (0.2989, 0.587, 0.114)
"""ITU-R 601."""


def prepare(work: Work, images: Sequence[Images], resources: Resources) -> Prepared:
    """Build one pipeline for images of all sizes.

    The size that each image is resized to, and the place of its crop, are inputs of the pipeline, because DALI
    rounds them in another way than torchvision.
    """
    most = max(item.shape[:-3].numel() for item in images)
    pipeline = _pipeline(work, images[0].dtype, most, resources.threads)

    def apply(batch: Pixels) -> Any:
        count, height, width = batch.shape[:3]
        pipeline.feed_input("images", batch)
        pipeline.feed_input("sizes", _repeated(work.resized_size(height, width), count))
        if work.crop is not None:
            vertical, horizontal = _crop_position(work, height, width)
            pipeline.feed_input("vertical", _repeated(vertical, count))
            pipeline.feed_input("horizontal", _repeated(horizontal, count))
        (output,) = pipeline.run()
        return output.as_tensor()

    single = images[0].ndim == 3

    def tensor(output: Any) -> torch.Tensor:
        # A copy: the pipeline writes its next result to the same memory.
        copied = torch.from_numpy(np.array(output))
        return copied[0] if single else copied

    return Prepared([hwc_array(item[None] if item.ndim == 3 else item) for item in images], apply, tensor)


def _repeated(value: float | tuple[int, int], count: int) -> NDArray[np.float32]:
    """Repeat an argument for each image of a batch."""
    return np.array([value] * count, np.float32)


def _crop_position(work: Work, height: int, width: int) -> tuple[float, float]:
    """Compute the vertical and horizontal place of the crop as DALI counts: from 0 at one end to 1 at the other."""
    (rows, columns), resized = work.crop_slices(height, width), work.resized_size(height, width)
    return _relative_start(rows, resized[0]), _relative_start(columns, resized[1])


def _relative_start(kept: slice, size: int) -> float:
    return float(kept.start / max(1, size - (kept.stop - kept.start)))


def _pipeline(work: Work, dtype: torch.dtype, batch_size: int, threads: int) -> Any:
    from nvidia.dali import fn, types  # only where it is installed
    from nvidia.dali.pipeline import Pipeline

    in_bytes = dtype == torch.uint8
    interpolations = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}
    # Nothing is computed ahead: the time of a run is that of its batch.
    pipeline = Pipeline(
        batch_size=batch_size,
        num_threads=threads,
        device_id=None,
        exec_dynamic=False,
        exec_async=False,
        exec_pipelined=False,
        prefetch_queue_depth=1,
    )
    with pipeline:
        images = fn.external_source(name="images", layout="HWC", no_copy=True)
        images = fn.resize(
            images,
            size=fn.external_source(name="sizes"),
            interp_type=interpolations[work.interpolation],
            antialias=True,
            subpixel_scale=False,
        )
        if work.grayscale:
            # What converts colours takes bytes only.
            images = (
                fn.color_space_conversion(images, image_type=types.RGB, output_type=types.GRAY)
                if in_bytes
                else fn.coord_transform(images, M=list(_GRAY))
            )
        if work.vertical_flip:
            images = fn.flip(images, horizontal=0, vertical=1)
        options: dict[str, Any] = {}
        if work.crop is not None:
            options |= {
                "crop": (work.crop, work.crop),
                "crop_pos_y": fn.external_source(name="vertical"),
                "crop_pos_x": fn.external_source(name="horizontal"),
            }
        if work.mean is not None and work.std is not None:
            options |= {
                "mean": [white(dtype) * mean for mean in work.mean],
                "std": [white(dtype) * std for std in work.std],
            }
        pipeline.set_outputs(
            fn.crop_mirror_normalize(
                images,
                dtype=types.UINT8 if in_bytes and work.mean is None else types.FLOAT,
                output_layout="CHW",
                mirror=int(work.horizontal_flip),
                **options,
            )
        )
    pipeline.build()
    return pipeline

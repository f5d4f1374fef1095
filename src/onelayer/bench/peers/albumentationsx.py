"""AlbumentationsX, image by image: OpenCV underneath, with ``INTER_AREA`` for reductions.

It rounds the longer side and the place of the crop in another way, so an image may be a pixel off torchvision's. Its
licence is the AGPL, or a commercial one. It would report on its use over the network, which is turned off here.
"""

from __future__ import annotations

import importlib.metadata
import os

import torch

from onelayer.bench.peers.base import ArrayFunction, Images, Pixels, on_arrays, white
from onelayer.bench.workloads import Work

_SILENT = {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1"}
"""Environment variables that keep it off the network; they are read when it is imported."""


def refuse(_work: Work, _images: Images) -> str | None:
    """Refuse if the package is its predecessor, which has the same module name."""
    try:
        importlib.metadata.version("albumentationsx")
    except importlib.metadata.PackageNotFoundError:
        return "albumentations is its predecessor here, not AlbumentationsX: pip install 'onelayer[peers]'"
    return None


def _make(work: Work, dtype: torch.dtype, threads: int) -> ArrayFunction:
    os.environ.update(_SILENT)
    import albumentations  # only where it is installed
    import cv2

    cv2.setNumThreads(threads)
    interpolation = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[work.interpolation]
    if isinstance(work.resize, tuple):
        height, width = work.resize
        steps = [albumentations.Resize(height, width, interpolation=interpolation, area_for_downscale="image")]
    else:
        steps = [albumentations.SmallestMaxSize(work.resize, interpolation=interpolation, area_for_downscale="image")]
    if work.crop is not None:
        steps.append(albumentations.CenterCrop(work.crop, work.crop))
    if work.grayscale:
        steps.append(albumentations.ToGray(num_output_channels=1, p=1))
    if work.horizontal_flip:
        steps.append(albumentations.HorizontalFlip(p=1))
    if work.vertical_flip:
        steps.append(albumentations.VerticalFlip(p=1))
    if work.mean is not None and work.std is not None:
        steps.append(albumentations.Normalize(work.mean, work.std, max_pixel_value=white(dtype)))
    composed = albumentations.Compose([*steps, albumentations.ToTensorV2()], telemetry=False)

    def apply(image: Pixels) -> Pixels:
        tensor: torch.Tensor = composed(image=image)["image"]
        # ToTensorV2 leaves HWC memory.
        pixels: Pixels = tensor.contiguous().numpy()
        return pixels

    return apply


prepare = on_arrays(_make)

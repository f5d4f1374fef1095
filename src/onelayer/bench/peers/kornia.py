"""Kornia on PyTorch tensors in batches, and kornia-rs, its Rust library, image by image.

Kornia's antialiasing is a Gaussian blur before bilinear or bicubic interpolation, which is another filter than
torchvision has: values differ by more than rounding. Integers are converted first: Kornia takes floating point images.

kornia-rs has no antialiasing in its bilinear interpolation: it reads four neighbours of each place, which is less work
than the others do, and leaves jagged edges where an image is reduced by much. Its bicubic interpolation has. Its
functions run in one thread.
"""

from __future__ import annotations

import numpy as np
import torch

from onelayer.bench.peers.base import ArrayFunction, Images, Pixels, on_arrays, stack_and_normalize
from onelayer.bench.peers.pytorch import TensorFunction, contiguous, on_tensors
from onelayer.bench.workloads import Work


def _make(work: Work, images: Images, device: torch.device) -> TensorFunction:
    import kornia  # only where it is installed

    ends_in_integers = work.mean is None and not images.dtype.is_floating_point
    statistics = None if work.mean is None or work.std is None else torch.tensor([work.mean, work.std], device=device)

    def apply(image: torch.Tensor) -> torch.Tensor:
        batch = image if image.ndim == 4 else image[None]
        if not batch.is_floating_point():
            batch = batch.float() / 255
        height, width = batch.shape[-2:]
        batch = kornia.geometry.resize(batch, work.resized_size(height, width), work.interpolation, antialias=True)
        # By slicing: kornia.geometry.center_crop samples the image anew.
        rows, columns = work.crop_slices(height, width)
        batch = batch[..., rows, columns]
        if work.grayscale:
            batch = kornia.color.rgb_to_grayscale(batch)
        if work.horizontal_flip:
            batch = kornia.geometry.hflip(batch)
        if work.vertical_flip:
            batch = kornia.geometry.vflip(batch)
        if statistics is not None:
            batch = kornia.enhance.normalize(batch, *statistics)
        if ends_in_integers:
            batch = (batch * 255).round().clamp(0, 255).to(torch.uint8)
        result: torch.Tensor = batch if image.ndim == 4 else batch[0]
        return result

    return apply


prepare = on_tensors(_make, contiguous)


def refuse_rust(_work: Work, images: Images) -> str | None:
    """Refuse floating point images."""
    return None if images.dtype == torch.uint8 else "kornia-rs resizes uint8 only, and these are floating point numbers"


def _make_rust(work: Work, dtype: torch.dtype, _threads: int) -> ArrayFunction:
    from kornia_rs import imgproc  # only where it is installed

    # Not imgproc.normalize_mean_std: it gives HWC, and to bring that into CHW as well takes longer.
    finish = stack_and_normalize(work, dtype)

    def apply(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        pixels = imgproc.resize(image, work.resized_size(height, width), work.interpolation, antialias=True)
        rows, columns = work.crop_slices(height, width)
        pixels = pixels[rows, columns]
        if work.grayscale:
            pixels = imgproc.gray_from_rgb(np.ascontiguousarray(pixels))
        if work.horizontal_flip:
            pixels = pixels[:, ::-1]
        if work.vertical_flip:
            pixels = pixels[::-1]
        return finish(list(pixels.transpose(2, 0, 1)))

    return apply


prepare_rust = on_arrays(_make_rust)


def refuse_rust_fused(work: Work, images: Images) -> str | None:
    """Refuse all work but a bilinear resize, with a crop or without, that is normalised."""
    whole = work.interpolation == "bilinear" and work.mean is not None
    if not whole or work.grayscale or work.horizontal_flip or work.vertical_flip:
        return "it does a bilinear resize and normalises, and nothing else"
    return refuse_rust(work, images)


def _make_rust_fused(work: Work, _dtype: torch.dtype, _threads: int) -> ArrayFunction:
    from kornia_rs import pipeline

    def apply(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        resized_height, resized_width = work.resized_size(height, width)
        rows, columns = work.crop_slices(height, width)
        # The crop comes first, in whole pixels of the original, and so up to half of one beside where it belongs.
        cropped = np.ascontiguousarray(
            image[_scaled(rows, height, resized_height), _scaled(columns, width, resized_width)]
        )
        size = (rows.stop - rows.start, columns.stop - columns.start)
        result: Pixels = pipeline.resize_normalize_to_tensor(cropped, size, work.mean, work.std)
        return result

    return apply


def _scaled(pixels: slice, size: int, resized: int) -> slice:
    return slice(round(pixels.start * size / resized), round(pixels.stop * size / resized))


prepare_rust_fused = on_arrays(_make_rust_fused)

"""kornia-rs, image by image; these functions of it run in one thread, however many there are.

Its bilinear interpolation has no antialiasing: it reads four neighbours of each place, which is less than it is asked
for, and leaves jagged edges where an image is reduced by much. Its bicubic interpolation has.
"""

from __future__ import annotations

import numpy as np
import torch

from onelayer.bench.peers.array_peer import ArrayPeer, Function, Pixels, joiner
from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.work import Work


def _refuse(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    return None if images.dtype == torch.uint8 else "kornia-rs resizes uint8 only, and these are floating point numbers"


def _make(work: Work, dtype: torch.dtype, threads: int) -> Function:  # noqa: ARG001 - one thread
    from kornia_rs import imgproc  # only where it is installed

    # Not imgproc.normalize_mean_std: it gives HWC, and to bring that into CHW as well takes longer.
    join = joiner(work, dtype)

    def apply(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        pixels = imgproc.resize(image, work.resized(height, width), work.interpolation, antialias=True)
        top, left, kept_height, kept_width = work.kept(height, width)
        pixels = pixels[top : top + kept_height, left : left + kept_width]
        if work.grayscale:
            pixels = imgproc.gray_from_rgb(np.ascontiguousarray(pixels))
        if work.horizontal_flip:
            pixels = pixels[:, ::-1]
        if work.vertical_flip:
            pixels = pixels[::-1]
        return join(list(pixels.transpose(2, 0, 1)))

    return apply


def _refuse_fused(work: Work, images: Images) -> str | None:
    whole = work.interpolation == "bilinear" and work.mean is not None
    if not whole or work.grayscale or work.horizontal_flip or work.vertical_flip:
        return "it does a bilinear resize and normalises, and nothing else"
    return _refuse(work, images)


def _make_fused(work: Work, dtype: torch.dtype, threads: int) -> Function:  # noqa: ARG001 - uint8, in one thread
    from kornia_rs import pipeline

    def apply(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        resized_height, resized_width = work.resized(height, width)
        top, left, kept_height, kept_width = work.kept(height, width)
        # The crop comes first, in whole pixels of the original, and so up to half of one beside where it belongs.
        rows = slice(round(top * height / resized_height), round((top + kept_height) * height / resized_height))
        columns = slice(round(left * width / resized_width), round((left + kept_width) * width / resized_width))
        cropped = np.ascontiguousarray(image[rows, columns])
        result: Pixels = pipeline.resize_normalize_to_tensor(cropped, (kept_height, kept_width), work.mean, work.std)
        return result

    return apply


_PACKAGES = {"kornia-rs": "kornia_rs"}

PEER = ArrayPeer("kornia-rs", "kornia-rs (bilinear without antialiasing)", _make, _PACKAGES, _refuse)

PEER_FUSED = ArrayPeer(
    "kornia-rs-fused", "kornia-rs, fused (bilinear without antialiasing)", _make_fused, _PACKAGES, _refuse_fused
)

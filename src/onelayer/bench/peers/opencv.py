"""OpenCV, image by image.

OpenCV has no antialiasing for its bilinear and bicubic interpolations. To reduce an image its users take
``INTER_AREA``, for bilinear and for bicubic work alike: each output is the mean of the input that it covers, half the
support of antialiased bilinear and a quarter of bicubic. So it does less than the others, and the values differ by more
than rounding. Images that are enlarged along any side are interpolated as specified.
"""

from __future__ import annotations

import torch

from onelayer.bench.peers.base import ArrayFunction, Pixels, on_arrays, stack_and_normalize
from onelayer.bench.workloads import Work


def _make(work: Work, dtype: torch.dtype, threads: int) -> ArrayFunction:
    import cv2  # only where it is installed

    cv2.setNumThreads(threads)
    enlarging = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[work.interpolation]
    # As cv2.flip counts.
    flip = {(True, False): 1, (False, True): 0, (True, True): -1}.get((work.horizontal_flip, work.vertical_flip))
    finish = stack_and_normalize(work, dtype)

    def apply(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        new_height, new_width = work.resized_size(height, width)
        reduces = new_height <= height and new_width <= width
        pixels = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA if reduces else enlarging)
        rows, columns = work.crop_slices(height, width)
        pixels = pixels[rows, columns]
        if work.grayscale:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if flip is not None:
            pixels = cv2.flip(pixels, flip)
        return finish(cv2.split(pixels))

    return apply


prepare = on_arrays(_make)

"""OpenCV, image by image.

OpenCV has no antialiasing for its bilinear and bicubic interpolations. To reduce an image its users take
``INTER_AREA``, for bilinear and for bicubic work alike: each output is the mean of the input that it covers, half the
support of antialiased bilinear and a quarter of bicubic. So it does less than it is asked for, and the values differ by
more than rounding. Images that are enlarged along one side or both are interpolated as asked.
"""

from __future__ import annotations

import torch

from onelayer.bench.peers.array_peer import ArrayPeer, Function, Pixels, joiner
from onelayer.bench.peers.work import Work


def _make(work: Work, dtype: torch.dtype, threads: int) -> Function:
    import cv2  # only where it is installed

    cv2.setNumThreads(threads)
    enlarging = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[work.interpolation]
    # As cv2.flip counts.
    flip = {(True, False): 1, (False, True): 0, (True, True): -1}.get((work.horizontal_flip, work.vertical_flip))
    join = joiner(work, dtype)

    def apply(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        new_height, new_width = work.resized(height, width)
        reduces = new_height <= height and new_width <= width
        pixels = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA if reduces else enlarging)
        top, left, kept_height, kept_width = work.kept(height, width)
        pixels = pixels[top : top + kept_height, left : left + kept_width]
        if work.grayscale:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if flip is not None:
            pixels = cv2.flip(pixels, flip)
        return join(cv2.split(pixels))

    return apply


PEER = ArrayPeer("opencv", "OpenCV, INTER_AREA", _make, {"opencv": "cv2"})

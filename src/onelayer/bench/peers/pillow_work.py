"""The work in Pillow and NumPy, here or in another environment: this file imports nothing else.

Run as a script it is a worker: it takes one request a line from standard input, as JSON, and answers each with a line.

    {"do": "load", "images": "images.npz", "steps": [...]}   what there is to do, one array and one Steps for each input
    {"do": "apply", "index": 0}                              do one
    {"do": "result", "index": 0, "file": "result.npy"}       do one, and write what comes out

It answers with an object, in which "error" says what went wrong; and ends when its input does.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import PIL.Image
from PIL.Image import Image, Resampling, Transpose

REDUCING_GAP = 3.0
"""Large images are first reduced by a whole number, to no less than this many times the size that is wanted. Pillow's
users take it for speed; its documentation calls the result all but indistinguishable from that without."""


@dataclass(frozen=True)
class Steps:
    """What is to be done to images of one size.

    Args:
        size: Width and height after the resize and the crop.
        box: Left, top, right and bottom of what is resized to that, in the original: the crop comes first, which
            changes no value, because Pillow's filters look beyond the box.
        resample: ``BILINEAR`` or ``BICUBIC``.
        grayscale: Whether to convert to mode L.
        flip: A name of ``PIL.Image.Transpose``, or None.
        scale: Of each channel, from 0 … 255; None where the work ends in uint8.
        offset: Likewise; it is added after scaling.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]
    resample: str
    grayscale: bool
    flip: str | None
    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None


def done(image: Image, steps: Steps) -> np.ndarray[Any, Any]:
    """An image of mode RGB as an array [C', H', W'], uint8 or float32, contiguous."""
    image = image.resize(steps.size, Resampling[steps.resample], box=steps.box, reducing_gap=REDUCING_GAP)
    if steps.grayscale:
        image = image.convert("L")
    if steps.flip is not None:
        image = image.transpose(Transpose[steps.flip])
    bands = [np.asarray(band) for band in image.split()]
    if steps.scale is None or steps.offset is None:
        return np.stack(bands)
    # Band by band, and in place: faster than any arithmetic on HWC pixels.
    result = np.empty((len(bands), *bands[0].shape), np.float32)
    for plane, band, scale, offset in zip(result, bands, steps.scale, steps.offset, strict=True):
        plane[:] = band
        plane *= np.float32(scale)
        plane += np.float32(offset)
    return result


def all_done(images: Image | list[Image], steps: Steps) -> np.ndarray[Any, Any]:
    """The same for a batch, stacked; or for one image."""
    return np.stack([done(image, steps) for image in images]) if isinstance(images, list) else done(images, steps)


def opened(pixels: np.ndarray[Any, Any]) -> Image | list[Image]:
    """An array [H, W, 3] as an image, or [N, H, W, 3] as a list of images."""
    if pixels.ndim == 4:
        return [PIL.Image.fromarray(one) for one in pixels]
    return PIL.Image.fromarray(pixels)


class Worker:
    """Answers requests."""

    def __init__(self) -> None:
        self._inputs: list[tuple[Image | list[Image], Steps]] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        if request["do"] == "load":
            with np.load(request["images"], allow_pickle=False) as arrays:
                images = [opened(arrays[str(index)]) for index in range(len(request["steps"]))]
            self._inputs = [(one, Steps(**steps)) for one, steps in zip(images, request["steps"], strict=True)]
            return {"version": PIL.__version__}
        result = all_done(*self._inputs[request["index"]])
        if request["do"] == "result":
            np.save(request["file"], result, allow_pickle=False)
        return {}


class Lines:
    """Lines from a pipe, without the tenth of a millisecond that it may take to be woken when one comes.

    Args:
        descriptor: Of the pipe.
        patience: Seconds to look for the next line again and again, before going to sleep.
    """

    def __init__(self, descriptor: int, patience: float) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._patience = patience
        self._pending = b""

    def next(self) -> bytes:
        """The next line, or nothing at the end."""
        while b"\n" not in self._pending:
            piece = self._piece()
            if not piece:
                return b""
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _piece(self) -> bytes:
        tired = time.perf_counter() + self._patience
        while True:
            try:
                return os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                if time.perf_counter() > tired:
                    select.select([self._descriptor], [], [])
                # If there is one core for both, the other end gets it.
                os.sched_yield()


def serve() -> None:
    """Answer until there are no more requests."""
    worker = Worker()
    # Not for long: when it has nothing to do, others are timed.
    requests = Lines(sys.stdin.fileno(), patience=0.0005)
    while line := requests.next():
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whoever asked is to know
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve()

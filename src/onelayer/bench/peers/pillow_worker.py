"""The work in Pillow and NumPy, here or in another environment: this file imports nothing else.

Run as a script it is a worker: it takes one request a line from standard input, as JSON, and answers each with a line.

    {"do": "load", "images": "images.npz", "steps": [...]}   load inputs, one array and one PillowSteps for each
    {"do": "apply", "index": 0}                              do the work on one input
    {"do": "result", "index": 0, "file": "result.npy"}       do the work on one input, and write the result

It answers with an object, in which "error" says what went wrong; and ends when its standard input does.
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
"""Large images are first reduced by a whole number, to no less than this many times the wanted size. Users of Pillow
take it for speed; its documentation calls the result all but indistinguishable from that without."""


@dataclass(frozen=True)
class PillowSteps:
    """The work on images of one size, in Pillow's terms.

    Args:
        size: Width and height after the resize and the crop.
        box: Left, top, right and bottom of the region that is resized to that, in the original: the crop comes first,
            which changes no value, because Pillow's filters look beyond the box.
        resample: ``BILINEAR`` or ``BICUBIC``.
        grayscale: Whether to convert to mode L.
        flip: Name of a ``PIL.Image.Transpose``, or None.
        scale: Factor of each channel, from 0 … 255; None where the work ends in uint8.
        offset: Number added to each channel after scaling; None where the work ends in uint8.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]
    resample: str
    grayscale: bool
    flip: str | None
    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None


def apply_steps(image: Image, steps: PillowSteps) -> np.ndarray[Any, Any]:
    """Do the work on an image of mode RGB; returns an array [C', H', W'], uint8 or float32, contiguous."""
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


def apply_to_input(images: Image | list[Image], steps: PillowSteps) -> np.ndarray[Any, Any]:
    """Do the work on one image, or on each of a batch; results of a batch are stacked."""
    if isinstance(images, list):
        return np.stack([apply_steps(image, steps) for image in images])
    return apply_steps(images, steps)


def to_input(pixels: np.ndarray[Any, Any]) -> Image | list[Image]:
    """Convert an array [H, W, 3] to an image, or [N, H, W, 3] to a list of images."""
    if pixels.ndim == 4:
        return [PIL.Image.fromarray(each) for each in pixels]
    return PIL.Image.fromarray(pixels)


class Server:
    """Holds inputs, and answers requests."""

    def __init__(self) -> None:
        self._inputs: list[tuple[Image | list[Image], PillowSteps]] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says."""
        if request["do"] == "load":
            with np.load(request["images"], allow_pickle=False) as arrays:
                images = [to_input(arrays[str(index)]) for index in range(len(request["steps"]))]
            self._inputs = [
                (image, PillowSteps(**steps)) for image, steps in zip(images, request["steps"], strict=True)
            ]
            return {"version": PIL.__version__}
        result = apply_to_input(*self._inputs[request["index"]])
        if request["do"] == "result":
            np.save(request["file"], result, allow_pickle=False)
        return {}


class LineReader:
    """Reads lines from a pipe, without the tenth of a millisecond that being woken may take.

    Args:
        descriptor: File descriptor of the pipe.
        patience: Seconds to look for the next line again and again, before going to sleep.
    """

    def __init__(self, descriptor: int, patience: float) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._patience = patience
        self._pending = b""

    def next(self) -> bytes:
        """Return the next line, or nothing at the end."""
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
                # If there is a single core, the other end gets it.
                os.sched_yield()


def serve() -> None:
    """Answer until there are no more requests."""
    server = Server()
    # Not for long: when it has nothing to do, others are timed.
    requests = LineReader(sys.stdin.fileno(), patience=0.0005)
    while line := requests.next():
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the client raises it
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve()

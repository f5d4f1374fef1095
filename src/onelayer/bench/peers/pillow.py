"""Pillow and Pillow-SIMD, image by image and in one thread, as a careful user would have it.

Cropping by ``box`` before the resize spares what would be cut off, and ``reducing_gap`` has large images reduced by a
whole number first; see ``pillow_worker``. Normalised with NumPy.

Pillow-SIMD takes Pillow's place where it is installed and so needs a Python environment to itself. The environment
variable ``ONELAYER_PILLOW_SIMD`` names that environment's Python interpreter. It needs Pillow-SIMD and NumPy, no more:
it runs ``pillow_worker`` as a script, which holds the images and does the same work as here. What is timed is a request
and its answer through a pipe, which is watched at either end: some 30 µs more than the work itself, if a core is
free for each. That is little for a photograph, and much for the report's images in small batches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onelayer.bench.peers import pillow_worker
from onelayer.bench.peers.base import Images, Prepared, Resources, hwc_array
from onelayer.bench.peers.pillow_worker import PillowSteps
from onelayer.bench.workloads import Work
from onelayer.errors import OnelayerError

VARIABLE = "ONELAYER_PILLOW_SIMD"

_SECONDS = 10.0
"""Time limit for an interpreter to name its Pillow, and for a worker to end."""

_PATIENCE = 0.02
"""Seconds to watch for an answer; later than that, what it takes to be woken is less than a hundredth."""


def refuse(_work: Work, images: Images) -> str | None:
    """Refuse floating point images."""
    return None if images.dtype == torch.uint8 else "Pillow's colour images hold uint8, and these are floating point"


def pillow_steps(work: Work, height: int, width: int) -> PillowSteps:
    """Translate the work on images of that height and width into Pillow's terms."""
    resized_height, resized_width = work.resized_size(height, width)
    rows, columns = work.crop_slices(height, width)
    across, down = width / resized_width, height / resized_height
    flip = {
        (True, True): "ROTATE_180",
        (True, False): "FLIP_LEFT_RIGHT",
        (False, True): "FLIP_TOP_BOTTOM",
        (False, False): None,
    }[work.horizontal_flip, work.vertical_flip]
    scale = offset = None
    if work.mean is not None and work.std is not None:
        scale = tuple(1 / (255 * std) for std in work.std)
        offset = tuple(-mean / std for mean, std in zip(work.mean, work.std, strict=True))
    return PillowSteps(
        size=(columns.stop - columns.start, rows.stop - rows.start),
        # Rounding may carry it over the edge, which Pillow refuses.
        box=(
            columns.start * across,
            rows.start * down,
            min(width, columns.stop * across),
            min(height, rows.stop * down),
        ),
        resample=work.interpolation.upper(),
        grayscale=work.grayscale,
        flip=flip,
        scale=scale,
        offset=offset,
    )


def prepare(work: Work, images: Sequence[Images], _resources: Resources) -> Prepared:
    """Open the images with this interpreter's Pillow."""
    return Prepared(
        inputs=[(pillow_worker.to_input(hwc_array(item)), pillow_steps(work, *item.shape[-2:])) for item in images],
        apply=lambda image_and_steps: pillow_worker.apply_to_input(*image_and_steps),
        tensor=torch.from_numpy,
    )


def refuse_simd(work: Work, images: Images) -> str | None:
    """Refuse where there is no interpreter with Pillow-SIMD; asks the interpreter for its Pillow, once."""
    if sys.platform == "win32":
        return "its pipe is not watched on Windows"
    interpreter = os.environ.get(VARIABLE)
    if not interpreter:
        return f"it needs an environment to itself: name its Python interpreter in {VARIABLE}"
    installed = _pillow_version(interpreter)
    if installed is None:
        return f"{interpreter}, which {VARIABLE} names, is no Python interpreter that has Pillow"
    # Pillow-SIMD numbers its releases as Pillow's, with a postfix.
    if ".post" not in installed:
        return f"{interpreter}, which {VARIABLE} names, has Pillow {installed}, not Pillow-SIMD"
    return refuse(work, images)


@lru_cache(maxsize=8)
def _pillow_version(interpreter: str) -> str | None:
    command = [interpreter, "-I", "-c", "import PIL; print(PIL.__version__)"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


def prepare_simd(work: Work, images: Sequence[Images], _resources: Resources) -> Prepared:
    """Start a worker and give it the images; it ends when nobody holds the result any more."""
    worker = Worker(os.environ[VARIABLE])
    version = worker.load(images, [pillow_steps(work, *item.shape[-2:]) for item in images])
    return Prepared(range(len(images)), worker.apply, worker.result, {"pillow-simd": version})


class Worker:
    """A process of another interpreter that runs ``pillow_worker``, until nobody holds this object any more.

    Args:
        interpreter: Python interpreter with Pillow and NumPy.
    """

    def __init__(self, interpreter: str) -> None:
        folder = tempfile.TemporaryDirectory(prefix="onelayer-")
        self._folder = Path(folder.name)
        self._errors = self._folder / "errors.txt"
        with self._errors.open("wb") as errors:
            # Isolated: from this process's Python paths, and from the script's folder, whose modules have the names of
            # packages.
            self.process = subprocess.Popen(  # noqa: S603 - the user names the interpreter
                [interpreter, "-I", pillow_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        assert self.process.stdout is not None
        self._answers = pillow_worker.LineReader(self.process.stdout.fileno(), _PATIENCE)
        self._end = weakref.finalize(self, _end, self.process, folder)

    def load(self, images: Sequence[Images], steps: Sequence[PillowSteps]) -> str:
        """Send it images and the steps for each; returns its version of Pillow."""
        file = self._folder / "images.npz"
        np.savez(file, allow_pickle=False, **{str(index): hwc_array(item) for index, item in enumerate(images)})
        answer = self._ask({"do": "load", "images": str(file), "steps": [asdict(each) for each in steps]})
        file.unlink()
        return str(answer["version"])

    def apply(self, index: int) -> int:
        """Have it do the work on one of its inputs; returns the index."""
        self._ask({"do": "apply", "index": index})
        return index

    def result(self, index: int) -> torch.Tensor:
        """Have it do the work on one of its inputs again, and fetch the result."""
        file = self._folder / "result.npy"
        self._ask({"do": "result", "index": index, "file": str(file)})
        return torch.from_numpy(np.load(file, allow_pickle=False))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            line = self._answers.next()
        except BrokenPipeError:
            line = b""
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_error()}
        if "error" in answer:
            raise OnelayerError(f"the worker failed: {answer['error']}", expected="Pillow-SIMD and NumPy in its Python")
        return answer

    def _last_error(self) -> str:
        lines = self._errors.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it ended without a word")

    def end(self) -> None:
        """End it, and wait until it has."""
        self._end()


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    try:
        # Its input ends, and so does it.
        process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    finally:
        folder.cleanup()

"""Pillow-SIMD, which takes Pillow's place where it is installed and so needs a Python environment of its own.

The environment variable ``ONELAYER_PILLOW_SIMD`` names that environment's Python interpreter. It needs Pillow-SIMD and
NumPy, no more: it runs ``pillow_work`` as a script, which holds the images and does the work of :mod:`pillow`. What is
timed is a request and its answer through a pipe, which both ends watch while they wait: some 30 µs more than the work
itself, if a core is free for each. That is little for a photograph, and much for the report's images in small batches.
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

from onelayer.bench.peers import pillow, pillow_work
from onelayer.bench.peers.array_peer import hwc_array
from onelayer.bench.peers.peer import Images, Prepared
from onelayer.bench.peers.work import Work
from onelayer.errors import OnelayerError

VARIABLE = "ONELAYER_PILLOW_SIMD"

_SECONDS = 10.0
"""What an interpreter may take to say which Pillow it has, and a worker to end."""

_PATIENCE = 0.02
"""Seconds to watch for an answer; later than that, what it takes to be woken is less than a hundredth."""


class PillowSimd:
    """See :class:`onelayer.bench.peers.peer.Peer`."""

    name = "pillow-simd"
    label = "Pillow-SIMD and NumPy"

    def why_not(self, work: Work, images: Images) -> str | None:
        """See ``Peer.why_not``; asks the interpreter for its Pillow, once."""
        if sys.platform == "win32":
            return "its pipe is not watched on Windows"
        interpreter = os.environ.get(VARIABLE)
        if not interpreter:
            return f"it needs an environment of its own: name its Python interpreter in {VARIABLE}"
        installed = _pillow_of(interpreter)
        if installed is None:
            return f"{interpreter}, which {VARIABLE} names, is no Python interpreter that has Pillow"
        # Pillow-SIMD numbers its releases as Pillow's, with a postfix.
        if ".post" not in installed:
            return f"{interpreter}, which {VARIABLE} names, has Pillow {installed}, not Pillow-SIMD"
        return pillow.refuse(work, images)

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:  # noqa: ARG002 - Pillow has one
        """See ``Peer.prepare``; the worker ends when nobody holds what this gives any more."""
        worker = Worker(os.environ[VARIABLE])
        version = worker.load(images, [pillow.steps_of(work, *one.shape[-2:]) for one in images])
        return Prepared(
            inputs=range(len(images)), apply=worker.apply, tensor=worker.result, versions={"pillow-simd": version}
        )


class Worker:
    """A process of another interpreter that runs ``pillow_work``, until nobody holds this any more.

    Args:
        interpreter: With Pillow and NumPy.
    """

    def __init__(self, interpreter: str) -> None:
        folder = tempfile.TemporaryDirectory(prefix="onelayer-")
        self._folder = Path(folder.name)
        self._errors = self._folder / "errors.txt"
        with self._errors.open("wb") as errors:
            # Isolated: from this process's Python paths, and from the script's own folder, whose modules have the names
            # of packages.
            self.process = subprocess.Popen(  # noqa: S603 - the user names the interpreter
                [interpreter, "-I", pillow_work.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        assert self.process.stdout is not None
        self._answers = pillow_work.Lines(self.process.stdout.fileno(), _PATIENCE)
        self._end = weakref.finalize(self, _end, self.process, folder)

    def load(self, images: Sequence[Images], steps: Sequence[pillow_work.Steps]) -> str:
        """Give it images, and what is to be done to each. Returns its version of Pillow."""
        file = self._folder / "images.npz"
        np.savez(file, allow_pickle=False, **{str(index): hwc_array(one) for index, one in enumerate(images)})
        answer = self._ask({"do": "load", "images": str(file), "steps": [asdict(each) for each in steps]})
        file.unlink()
        return str(answer["version"])

    def apply(self, index: int) -> int:
        """Have it do the work on one of the images, or batches. Returns which."""
        self._ask({"do": "apply", "index": index})
        return index

    def result(self, index: int) -> torch.Tensor:
        """What it makes of one of them: it does it again."""
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
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise OnelayerError(f"the worker failed: {answer['error']}", expected="Pillow-SIMD and NumPy in its Python")
        return answer

    def _last_words(self) -> str:
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


@lru_cache(maxsize=8)
def _pillow_of(interpreter: str) -> str | None:
    command = [interpreter, "-I", "-c", "import PIL; print(PIL.__version__)"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


PEER = PillowSimd()

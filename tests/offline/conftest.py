"""Data sets for the tests of `onelayer apply`, and the command without Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from data_sets import picture

PIPELINES = """
import numpy
import torch
import words
from torchvision.transforms import v2

evaluation = v2.Compose([v2.Resize(12), v2.CenterCrop(10), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
smaller = v2.Compose([v2.Resize(12), v2.CenterCrop(10)])
training = v2.Compose([v2.RandomCrop(10, pad_if_needed=True), v2.RandomHorizontalFlip(), v2.ToImage()])
generator = numpy.random.default_rng(0)

def brighter(image):
    return (numpy.asarray(image) // 2 + words.OFFSET).astype(numpy.uint8)

def of_its_own(image):
    return numpy.asarray(image) ^ generator.integers(0, 256, dtype=numpy.uint8)

def refuses_small_images(image):
    if image.width < 9:
        raise ValueError("too small")
    return numpy.asarray(image.resize((5, 4)))

def draws_at_times(image):
    return numpy.asarray(image) + (numpy.random.randint(2) if image.width == 30 else 0)

def makes_a_pair(image):
    return image, image

def to_hsv(image):
    return image.convert("HSV")

def to_a_palette(image):
    return image.quantize(8)

def nothing_of_small_images(image):
    return numpy.asarray(image)[: 0 if image.width < 9 else None]
"""


@pytest.fixture
def pipelines_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file with pipelines, which imports another file beside it."""
    monkeypatch.delitem(sys.modules, "words", raising=False)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "words.py").write_text("OFFSET = 40\n")
    path = tmp_path / "code" / "mine.py"
    path.write_text(PIPELINES)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of 11 images in two classes, one of them grey, and a text, which is no image."""
    root = tmp_path / "photographs"
    for number in range(11):
        folder = root / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = picture(number).convert("L") if number == 4 else picture(number)
        image.save(folder / f"{number:02}.{('jpg', 'png')[number % 3 == 0]}")
    (root / "read me.txt").write_text("photographs")
    return root


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Writes the files of an output in this process, in the reverse order; the argument says after how many Ctrl-C."""
    from onelayer.offline import run
    from onelayer.offline.cluster import WrittenPart
    from onelayer.offline.part_writer import Job, PartWriter
    from onelayer.offline.readers import InputPart

    limit = 10**9

    def write_parts(parts: Sequence[InputPart], job: Job, **_: Any) -> Iterator[WrittenPart]:
        writer = PartWriter(job)
        for number, part in enumerate(reversed(parts)):
            if number == limit:
                raise KeyboardInterrupt
            yield WrittenPart(writer.write(part), "here", number, number + 0.5)

    monkeypatch.setattr(run, "write_parts", write_parts)

    def interrupt(after: int) -> None:
        nonlocal limit
        limit = after

    return interrupt

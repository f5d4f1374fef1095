"""Run the kernel with OpenCV's arithmetic between protected pages, and compare it with the stages of the algebra.

    python tests/backends/opencv_pages.py FILE [WIDTH]...

A read or a write outside ends the process, and FILE names the case then. Widths are 1 … 40 where none is named. OpenCV
is not needed: the arithmetic counts as known here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from guarded_memory import End, GuardedMemory
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from onelayer.algebra import Lookup, Program
from onelayer.backends import LoweringTarget, lower_any_size
from onelayer.backends.target import PixelMemory, ResultMemory
from onelayer.frontends import ImageSpec, derive, opencv, register
from onelayer.frontends.base import Derivation
from onelayer.frontends.opencv import Flag, Resize
from onelayer.frontends.structure import structure_of
from onelayer.frontends.torchvision.by_rule import CropBy, PadBy
from onelayer.image_spec import RoundingMode

CPU = torch.device("cpu")
IMAGES, RESULTS = GuardedMemory(1 << 20), GuardedMemory(1 << 21)
ENDS: tuple[End, End] = ("begin", "end")


class Values:
    """A table of float32: one that the kernel computes, or one that it looks up; as an array or a tensor."""

    def __init__(self, is_affine: bool, as_tensor: bool) -> None:
        self.is_affine, self.as_tensor = is_affine, as_tensor


@register(Values, any_size=True)
def values(transform: Values, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    channels = spec.shape[0]
    every = np.arange(256, dtype=np.float32)
    if transform.is_affine:
        table = np.stack([(every - np.float32(c + 3)) * np.float32(1 / (57.1 + c)) for c in range(channels)])
    else:
        table = np.stack([np.sqrt(every + np.float32(c)) for c in range(channels)])
    container: Any = "tensor" if transform.as_tensor else spec.container
    return [Lookup(table.astype(np.float64))], replace(spec, dtype="float32", container=container)


class Planes:
    """A tensor of bytes of an array."""


@register(Planes, any_size=True)
def planes(_: Planes, spec: ImageSpec) -> Derivation:
    return [], replace(spec, container="tensor")


def pipelines(height: int, width: int) -> Iterator[tuple[str, list[Any]]]:
    """Name pipelines, whose numbers of rows and columns are at least 1 and 2."""
    sizes = {
        "larger": (height + 3, width + 5),
        "much larger": (3 * height + 1, 9 * width),
        "smaller": (max(1, 2 * height // 3), max(2, 2 * width // 3)),
        "much smaller": (max(1, height // 4), max(2, width // 6)),
        "as high": (height, max(2, width - 1)),
    }
    ends = {
        "pixels": [],
        "planes": [Planes()],
        "computed pixels": [Values(True, False)],
        "looked up pixels": [Values(False, False)],
        "computed planes": [Values(True, True)],
        "looked up planes": [Values(False, True)],
    }
    for number, (name, size) in enumerate(sizes.items()):
        for at, (end, transforms) in enumerate(ends.items()):
            if (number + at + width // 2) % 2:
                continue
            flag = (Flag.LINEAR, Flag.LINEAR, Flag.NEAREST, Flag.LINEAR, Flag.NEAREST_EXACT, Flag.LINEAR)[at]
            middle: list[Any] = [
                [],
                [F.horizontal_flip, PadBy(lambda _h, _w: (1, 2, 3, 0), 7)],
                [F.vertical_flip],
                [CropBy(lambda h, w: (h // 3, w // 3, h - h // 3, w - w // 3))],
            ][(number + at) % 4]
            yield f"{name}, {end}", [Resize(size, flag), *middle, *transforms]
    yield "a crop before", [CropBy(lambda h, w: (h // 4, w // 4, h - h // 4, w - w // 4)), Resize((7, 9), Flag.LINEAR)]
    yield "copies", [F.horizontal_flip, PadBy(lambda _h, _w: (2, 0, 1, 1), 9)]
    if height % 2 == 0 and width % 2 == 0 and width > 2:
        for flag in (Flag.LINEAR, Flag.AREA):
            yield f"halves, {flag.name}", [Resize((height // 2, width // 2), flag), Values(True, True)]
            yield f"flipped halves, {flag.name}", [Resize((height // 2, width // 2), flag), F.horizontal_flip]
    if height % 3 == 0 and width % 5 == 0 and width > 5:
        yield "means", [Resize((height // 3, width // 5), Flag.AREA), F.vertical_flip]


def layouts(height: int, width: int, channels: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Name strides of channels, rows and columns."""
    yield "pixels", (1, width * channels, channels)
    yield "pixels of a wider row", (1, (width + 1) * channels, channels)
    yield "planes", (height * width, width, 1)
    if channels < 4:
        yield "pixels with gaps", (1, width * (channels + 1), channels + 1)


def check(report: Path, height: int, width: int, channels: int, generator: np.random.Generator) -> int:
    """Compare all pipelines on images of one size in all layouts; return the number of calls."""
    spec, count = ImageSpec((channels, height, width), "uint8", "numpy"), 0
    image = generator.integers(0, 256, spec.shape, np.uint8)
    for name, transforms in pipelines(height, width):
        structure = structure_of(transforms, spec, "exact")
        assert not isinstance(structure, str), structure
        derived = derive(v2.Compose(transforms), spec, "exact")
        expected = Program(spec.shape, derived.program.stages).apply(image)
        dtype = getattr(torch, derived.output_spec.dtype)
        lowered = lower_any_size("auto", structure, LoweringTarget(CPU, torch.uint8, dtype, 1))
        assert not isinstance(lowered, str), lowered
        compute, written = lowered
        assert written == dtype
        made = structure.moves_for(height, width) if structure.by_rule else None
        moves = None if made is None else made.numbers
        for lie, strides in layouts(height, width, channels):
            for end in ENDS:
                report.write_text(f"{name}, {spec.shape}, {lie}, at the {end}")
                placed = IMAGES.tensor(torch.from_numpy(image), strides, end)
                out = RESULTS.flat(expected.size, dtype, end)
                out.zero_()
                images = PixelMemory(placed.data_ptr(), 0, *strides, 0, 1, placed)
                results = ResultMemory(out.data_ptr(), 0, out)
                threads = 1 + count % 2
                assert compute(images, height, width, results, threads, moves)
                shape = expected.shape
                result = out.view(*shape[1:], shape[0]).movedim(-1, 0) if compute.writes_pixels else out.view(shape)
                assert np.array_equal(result.double().numpy(), expected), report.read_text()
                count += 1
    return count


def main() -> None:
    report, *widths = sys.argv[1:]
    opencv.known_sums = lambda flag: opencv.NAMES[flag][0]  # type: ignore[assignment]
    generator = np.random.default_rng(0)
    count = 0
    for width in [int(width) for width in widths] or range(1, 41):
        for height, channels in ((6, 3), (1, 4), (9, 1), (4, 3), (5, 2), (3, 5)):
            count += check(Path(report), height, width, channels, generator)
    sys.stdout.write(str(count))


if __name__ == "__main__":
    main()

"""Run the kernels for colors between protected pages, and compare them with what they do elsewhere.

    python tests/backends/color_pages.py FILE [WIDTH]...

A read or a write outside ends the process, and FILE names the case then. Widths are 1 … 70 where none is named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from guarded_memory import End, GuardedMemory

from onelayer.backends.cpu import color_call as field
from onelayer.backends.cpu import color_kernel as colors
from onelayer.backends.cpu import tone_kernel as tones

IMAGES, RESULTS = GuardedMemory(1 << 16), GuardedMemory(1 << 16)
ENDS: tuple[End, End] = ("begin", "end")
STEPS = (
    (field.BRIGHTNESS, 1.3),
    (field.CONTRAST, 0.7),
    (field.SATURATION, 1.9),
    (field.HUE, 40.0),
    (field.CONTRAST, 1.2),
)

Run = Callable[[Any], object]


def runs() -> Iterator[tuple[str, Run]]:
    """Name the field."""
    yield "Pillow's adjustments", colors.adjusted_as_pillow
    yield "those of tensors", colors.adjusted_as_tensors
    yield "bits", lambda call: tones.inverted_and_masked(call, 100, 252)
    for kind in (tones.SPREAD_AS_PILLOW, tones.SPREAD_AS_V2, tones.EQUALIZED):
        yield f"tables {kind}", lambda call, kind=kind: tones.looked_up(call, kind, np.empty(768, np.uint8))  # type: ignore[misc]
    yield "sharpness", lambda call: tones.sharpened(call, 1.7, -0.7)


def layouts(height: int, width: int) -> Iterator[tuple[str, int, tuple[int, int, int]]]:
    """Name the channels and the strides of rows, columns and channels; the last is that of Pillow's pixels."""
    yield "planes", 3, (width, 1, height * width)
    yield "planes of wider rows", 3, (width + 3, 1, height * (width + 3))
    yield "pixels", 3, (3 * width, 3, 1)
    yield "gray", 1, (width, 1, height * width)
    yield "Pillow's", 3, (4 * width, 4, 1)


def call_of(height: int, width: int, channels: int, arithmetic: int, images: list[tuple[int, Any]]) -> Any:
    """Make a call with all steps, for images at addresses with strides."""
    call = np.zeros(field.FIRST_STEP + len(STEPS) * field.OF_STEP, np.uint64)
    numbers = call.view(np.float64)
    call[: field.SOURCE] = height, width, channels, channels, len(STEPS), arithmetic
    for first, (address, (of_row, of_column, of_channel)) in zip((field.SOURCE, field.RESULT), images, strict=True):
        call[first : first + 6] = 0, 0, address, of_row, of_column, of_channel
    for place, (step, number) in enumerate(STEPS):
        at = field.FIRST_STEP + place * field.OF_STEP
        call[at], numbers[at + 1], numbers[at + 2] = step, number, 1 - number
    return call


def with_rows(call: Any, first: int, height: int) -> Any:
    """Have an image of a call found by a table of rows, as Pillow's; return what has to live as long."""
    address, of_row = int(call[first + field.ADDRESS]), int(call[first + field.OF_ROW])
    rows = np.array([address + row * of_row for row in range(height)], np.uint64)
    structure = np.array([0, rows.ctypes.data], np.uint64)
    capsule = np.array([structure.ctypes.data], np.uint64)
    call[first : first + 4] = capsule.ctypes.data, 8, 0, 0
    return rows, structure, capsule


def check(report: Path, height: int, width: int, generator: np.random.Generator) -> int:
    """Compare all kernels on images of one size in all layouts; return the number of calls."""
    count = 0
    for layout, channels, strides in layouts(height, width):
        size = (height - 1) * strides[0] + (width - 1) * strides[1] + (channels - 1) * strides[2] + 1
        size += strides[1] == 4
        values = torch.from_numpy(generator.integers(0, 256, size, np.uint8))
        for name, run in runs():
            for arithmetic in (field.TENSORS_V1, field.TENSORS_V2) if "tensors" in name else (field.PILLOW,):
                elsewhere, free = (
                    torch.zeros(size + 4096, dtype=torch.uint8),
                    torch.zeros(size + 4096, dtype=torch.uint8),
                )
                elsewhere[:size] = values
                images = [(elsewhere.data_ptr(), strides), (free.data_ptr(), strides)]
                run(call_of(height, width, channels, arithmetic, images))
                for end in ENDS:
                    report.write_text(f"{name}, {layout}, {height}×{width}, {arithmetic}, at the {end}")
                    placed, out = (memory.flat(size, torch.uint8, end) for memory in (IMAGES, RESULTS))
                    placed.copy_(values)
                    out.zero_()
                    images = [(placed.data_ptr(), strides), (out.data_ptr(), strides)]
                    call = call_of(height, width, channels, arithmetic, images)
                    kept = [with_rows(call, first, height) for first in (field.SOURCE, field.RESULT)]
                    run(call)
                    assert torch.equal(out, free[:size]), report.read_text()
                    assert torch.equal(placed, values), report.read_text()
                    assert not free[size:].any(), report.read_text()
                    count += len(kept) // 2
    return count


def main() -> None:
    report, *widths = sys.argv[1:]
    generator = np.random.default_rng(0)
    count = 0
    for width in [int(width) for width in widths] or range(1, 71):
        for height in (1, 2, 3, 6):
            count += check(Path(report), height, width, generator)
    sys.stdout.write(str(count))


if __name__ == "__main__":
    main()

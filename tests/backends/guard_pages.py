"""Run every CPU kernel on images and results that begin or end at a protected page.

    python tests/backends/guard_pages.py FILE [WIDTH]...

A read or a write outside ends the process, and FILE names the case then. Widths are 1 … 70 where none is named.
"""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parent.parent))

from guarded_memory import End, GuardedMemory, as_any, layouts

import onelayer
from onelayer.backends import LoweringTarget
from onelayer.backends.cpu import grid_kernel
from onelayer.backends.cpu.any_size import lower_any_size
from onelayer.backends.cpu.cubic_warp_kernel import warped_cubic
from onelayer.backends.cpu.draw_kernel import STATE, draw
from onelayer.backends.cpu.drawing import _state_of_generator
from onelayer.backends.cpu.nearest_warp_kernel import warped_nearest
from onelayer.backends.cpu.program import prepare
from onelayer.backends.cpu.warp_kernel import WARPED, warped_bilinear
from onelayer.backends.target import PixelMemory, ResultMemory
from onelayer.frontends import transforms_of
from onelayer.frontends.drawn_moves import CODE
from onelayer.frontends.placement import MOVE, NUMBERS
from onelayer.frontends.structure import structure_of
from onelayer.images.pillow_memory import layout

ENDS: tuple[End, End] = ("end", "begin")
CPU = torch.device("cpu")

IMAGES, RESULTS, CODES, BEFORE = map(GuardedMemory, (1 << 20, 1 << 22, 1 << 14, 4 * STATE))
Apply = Callable[[torch.Tensor, "torch.Tensor | None"], torch.Tensor]


def sizes(height: int, width: int) -> dict[str, tuple[int, int]]:
    """Return sizes to resize to: neighbouring outputs read the same samples, or samples far apart."""
    return {
        "larger": (height + 3, width + 5),
        "smaller": (max(1, 2 * height // 3), max(1, 2 * width // 3)),
        "much smaller": (max(1, height // 4), max(1, width // 6)),
        "as wide": (height + 2, width),
        "as high": (height, max(1, width - 3)),
    }


def _of_floats(size: tuple[int, int]) -> tuple[int, int]:
    """Return a size to resize floats to: a width of 1 is refused, PyTorch has it wrong."""
    return size[0], max(size[1], 2)


FLOAT = v2.ToDtype(torch.float32, scale=True)
BICUBIC, BILINEAR = v2.InterpolationMode.BICUBIC, v2.InterpolationMode.BILINEAR


def of_any_size(height: int, width: int) -> Iterator[tuple[str, Any]]:
    """Pipelines of bytes for tensors of every size."""
    yield "copies through a table", v2.Compose([v2.RandomHorizontalFlip(1), v2.Pad((1, 2, 3, 0), fill=7), FLOAT])
    yield "crop through a table", v2.Compose([v2.CenterCrop([max(1, height - 2), max(1, width - 3)]), FLOAT])
    yield "grayscale", v2.Compose([v2.Grayscale(), FLOAT])
    for name, to in sizes(height, width).items():
        yield f"narrow, {name}", v2.Resize(to, BICUBIC)
        yield f"float32, {name}", v2.Compose([v1.Resize(_of_floats(to), BILINEAR, antialias=True), FLOAT])
    small = sizes(height, width)["smaller"]
    yield "without antialiasing", v2.Resize(small, antialias=False)
    yield "nearest", v2.Compose([v2.Resize(small, v2.InterpolationMode.NEAREST), FLOAT])
    for mode in ("edge", "reflect", "symmetric"):
        border = v2.Pad([min(3, width - 1), 0, min(2, width - 1), min(2, height - 1)], padding_mode=mode)
        yield f"border, {mode}", v2.Compose([border, v2.RandomHorizontalFlip(1), FLOAT])
    yield (
        "flipped before it is resized",
        v2.Compose([v2.RandomHorizontalFlip(1), v2.RandomVerticalFlip(1), v2.Resize(small, BICUBIC), FLOAT]),
    )
    yield (
        "flipped",
        v2.Compose([v2.Resize(small), v2.RandomHorizontalFlip(1), v2.RandomVerticalFlip(1), v2.Grayscale(3)]),
    )


def layer_of(transform: Any, rounding: Any = None) -> Apply:
    layer = onelayer.compile(transform, rounding=rounding, backend="numba")
    return lambda image, out: layer(image, out=out)


def program_of(
    transform: Any, container: Any, shape: tuple[int, ...], dtype: str = "uint8", rounding: Any = None
) -> Apply:
    """Lower a program for one size to the kernels, for tensors of any strides."""
    spec = onelayer.ImageSpec(shape, dtype, container)
    # So that no program is empty.
    never_empty = v2.Compose([transform, v2.RandomVerticalFlip(1), v2.RandomInvert(1)])
    (output,) = onelayer.compile(never_empty, rounding=rounding).source.outputs(spec).each
    computed = torch.uint8 if output.rounding == "exact" else torch.float32
    written = torch.uint8 if output.spec.dtype == "uint8" else torch.float32
    lower = prepare(output.simplified.program, LoweringTarget(CPU, computed, written))
    assert not isinstance(lower, str), lower
    return lower()


def cases(height: int, width: int) -> Iterator[tuple[str, Apply, torch.dtype]]:
    """Name each case with a function of an image [3, H, W] and its dtype."""
    shape = (3, height, width)
    for name, transform in of_any_size(height, width):
        yield f"any size: {name}", layer_of(transform), torch.uint8
    for name, to in sizes(height, width).items():
        for dtype in (torch.uint8, torch.float32, torch.float16):
            floats = layer_of(v2.Compose([v2.Resize(_of_floats(to)), v2.Pad(1, fill=0.5)]), "fused")
            yield f"floats, {name}", floats, dtype
        wide = v2.Compose([v2.Resize(to, BICUBIC), v2.ToImage()])
        yield f"program: wide, {name}", program_of(wide, "pil", shape), torch.uint8
        for dtype in (torch.uint8, torch.float32, torch.float16):
            each = program_of(v2.Resize(_of_floats(to), BICUBIC), "tensor", shape, str(dtype)[6:], "fused")
            yield f"program: floats, {name}", each, dtype
    yield "program: narrow", program_of(v2.Resize(sizes(height, width)["smaller"]), "tensor", shape), torch.uint8
    mixed = v2.Compose(
        [v2.Resize(_of_floats((height, width // 2))), v2.Grayscale(3), v2.Normalize([0.1] * 3, [2.0] * 3)]
    )
    yield "program: mixed floats", program_of(mixed, "tensor", shape, "float32"), torch.float32
    gathered = v2.RandomRotation((30, 30), BILINEAR)
    yield "program: gathered", program_of(gathered, "tensor", shape, "float32"), torch.float32
    turned = v2.Compose([v2.RandomRotation((90, 90), expand=True), v2.Resize((5, 6))])
    yield "program: transposed", program_of(turned, "tensor", shape, "float32"), torch.float32


def check(name: str, apply: Apply, values: torch.Tensor) -> int:
    """Compute with an image in each layout and at each end; return the number of calls."""
    expected, count = apply(values, None), 0
    for lie, strides in layouts(values.shape).items():
        content, right = values, expected
        if lie == "a single row":
            content = values[:, :1].expand_as(values)
            right = apply(content.contiguous(), None)
        for end in ENDS:
            report(f"{name}, {list(values.shape)} {values.dtype}, {lie}, at the {end}")
            image = IMAGES.tensor(content, strides, end)
            out = RESULTS.flat(right.numel(), right.dtype, end).view(right.shape)
            for result in (apply(image, out), apply(image, None)):
                assert (as_any(result) == as_any(right)).all(), "another result"
            count += 2
    batch = torch.stack([values, values.flip(-1)])
    right = apply(batch.clone(), None)
    for end in ENDS:
        report(f"{name}, a batch of {list(values.shape)}, at the {end}")
        out = RESULTS.flat(right.numel(), right.dtype, end).view(right.shape)
        assert (as_any(apply(IMAGES.tensor(batch, batch.stride(), end), out)) == as_any(right)).all(), "another result"
        count += 1
    return count


class StructureLikePillows:
    """The part of Pillow's structure of an image that leads to its rows.

    Args:
        first: Address of the first row.
        rows: Number of rows.
        pitch: Bytes from one row to the next.
    """

    def __init__(self, first: int, rows: int, pitch: int) -> None:
        found = layout()
        assert found is not None
        self._rows = np.uint64(first) + np.arange(rows, dtype=np.uint64) * np.uint64(pitch)
        self._structure = np.zeros(found.rows_at + 8, np.uint8)
        self._structure[found.rows_at :].view(np.uint64)[0] = self._rows.ctypes.data
        self._pointer = np.array([self._structure.ctypes.data], np.uint64)
        self.address = self._pointer.ctypes.data
        """Address of the address of the structure."""


def check_rows(height: int, width: int, rng: np.random.Generator) -> int:
    """Compute with images and results as Pillow has them: by the addresses of their rows."""
    count = 0
    for mode, channels, step in (("RGB", 3, 4), ("L", 1, 1)):
        for name, to in {**sizes(height, width), "rows first": (max(1, height // 3), width + 1)}.items():
            for kind in (BICUBIC, v2.InterpolationMode.HAMMING, v2.InterpolationMode.NEAREST):
                transform = v2.Compose([v2.Resize(to, kind), v2.Pad((1, 0, 2, 1), fill=3)])
                spec = onelayer.ImageSpec((channels, height, width), "uint8", "pil")
                structure = structure_of(transforms_of(transform), spec, "exact")
                assert not isinstance(structure, str), structure
                lowered = lower_any_size(structure, LoweringTarget(CPU, torch.uint8, torch.uint8))
                assert not isinstance(lowered, str), lowered
                placed = lowered[0].place(height, width)
                if placed is None:
                    # Left to a program.
                    continue
                values = torch.from_numpy(rng.integers(0, 256, (height, width * step), dtype=np.uint8))
                for end in ENDS:
                    report(f"rows of {mode}: {height}×{width}, {name}, {kind.value}, at the {end}")
                    image = IMAGES.tensor(values, (width * step, 1), end)
                    result = RESULTS.flat(placed.height * placed.width * step, torch.uint8, end)
                    read, written = (
                        StructureLikePillows(memory.data_ptr(), rows, pitch)
                        for memory, rows, pitch in (
                            (image, height, width * step),
                            (result, placed.height, placed.width * step),
                        )
                    )
                    pixels = PixelMemory(0, 0, 1, 0, step, read.address, 1, image)
                    assert lowered[0](pixels, height, width, ResultMemory(0, written.address, result), 1)
                    count += 1
    return count


def check_draws(rng: np.random.Generator) -> int:
    """Draw moves from states of PyTorch's generator, up to their last words and beyond."""
    flips = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    count = 0
    reflected = v2.RandomCrop(30, padding=2, padding_mode="reflect")
    for transforms in ([v2.RandomResizedCrop(9), *flips], [v2.RandomCrop(30, padding=2), *flips], [reflected]):
        structure = structure_of(transforms, onelayer.ImageSpec((3, 1, 1), "uint8", "pil"), "exact")
        assert not isinstance(structure, str), structure
        each = [code for step in structure.steps if (code := step.code()) is not None]
        codes = np.zeros((len(each), CODE))
        for row, code in zip(codes, each, strict=True):
            row[: len(code)] = code
        for skipped in (0, 300, 617, 618, 619, 620, 621, 622, 623, 624):
            torch.manual_seed(int(rng.integers(1 << 31)))
            torch.rand(skipped)
            for end in ENDS:
                report(f"{transforms}, behind {skipped} words, at the {end}")
                words, left, following = _state_of_generator()
                numbers = torch.from_numpy(np.array([left, 1, following, *words], np.uint32).view(np.int32))
                state, before = IMAGES.tensor(numbers, (1,), end), BEFORE.tensor(numbers, (1,), end)
                moves = RESULTS.flat(3 * (2 + MOVE * len(each)) + NUMBERS, torch.int64, end)
                coded = CODES.tensor(torch.from_numpy(codes), (CODE, 1), end)
                draw(state.data_ptr(), before.data_ptr(), coded.data_ptr(), len(each), 40, 60, 3, moves.data_ptr())
                count += 1
    return count


def check_warps(height: int, width: int, rng: np.random.Generator) -> int:
    """Warp images that lie as Pillow's do; the result is as wide as the image, or has one more pixel."""
    found, count = layout(), 0
    assert found is not None
    kernels = [warped_nearest, warped_cubic, *([warped_bilinear] if width > 1 else [])]
    matrices = [
        [0.9, 0.3, -1.5, -0.3, 0.9, 1.5],
        [1, 0.3, -1, 0, 1, 0],
        [1, 0, 1, 0.3, 1, 0],
        [-1, 0, width, 0, 1, 0.25],
    ]
    for step, kernel in product((4, 1), kernels):
        values = torch.from_numpy(rng.integers(0, 256, (height, width * step), dtype=np.uint8))
        for matrix in (*matrices, [*matrices[0], 0.01, -0.02]):
            for to in (width, width + 1):
                expected = None
                for end in ENDS:
                    report(f"{kernel.__name__}, {step} bytes a pixel: {height}×{width}, {matrix}, at the {end}")
                    image = IMAGES.tensor(values, (width * step, 1), end)
                    result = RESULTS.flat(height * to * step, torch.uint8, end)
                    addresses = [
                        StructureLikePillows(memory.data_ptr(), height, pitch)
                        for memory, pitch in ((image, width * step), (result, to * step))
                    ]
                    sizes = height, width, height, to
                    fields = *(each.address for each in addresses), found.rows_at, *sizes, step, len(matrix) == 8, 7
                    call, numbers = np.array(fields, np.uint64), np.array([*matrix, 0.0, 0.0][:8], float)
                    outcome = kernel(call, numbers)
                    assert outcome == WARPED
                    expected = result.clone() if expected is None else expected
                    assert torch.equal(result, expected), "another result"
                    count += 1
    return count


def check_grids(height: int, width: int, rng: np.random.Generator) -> int:
    """Sample tensors at points inside, at the border and outside, for results of another size."""
    count, to = 0, (height, max(width + 1, grid_kernel.MIN_COLUMNS))
    values = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    grid = torch.from_numpy((2.4 * rng.random((*to, 2)) - 1.2).astype(np.float32))
    grid[0, 0] = torch.tensor([1e30, -1e30])
    fills = torch.tensor([1.5, 2.0, 255.0])
    for kernel in (grid_kernel.sampled_nearest, grid_kernel.sampled_bilinear):
        expected = None
        for lie, strides in layouts(values.shape).items():
            content = values[:, :1].expand_as(values) if lie == "a single row" else values
            right = None
            for end in ENDS:
                report(f"{kernel.__name__}, {lie}: {height}×{width}, at the {end}")
                image = IMAGES.tensor(content, strides, end)
                result = RESULTS.flat(3 * to[0] * to[1], torch.uint8, end)
                points = CODES.tensor(grid, grid.stride(), end)
                call = np.array(
                    (
                        points.data_ptr(), image.data_ptr(), 0, *strides, 1, 3, height, width, result.data_ptr(), *to,
                        fills.data_ptr(), grid_kernel.MIX_V2,
                    ), np.uint64,
                )  # fmt: skip
                kernel(call)
                right = result.clone() if right is None else right
                assert torch.equal(result, right), "another result"
                count += 1
            if lie != "a single row":
                expected = right if expected is None else expected
                assert torch.equal(right, expected), "another result in another layout"
    return count


def report(case: str) -> None:
    """Write down what runs next."""
    _REPORT.seek(0)
    _REPORT.write(f"{case:<200}")
    _REPORT.flush()


def main() -> None:
    """Run all cases."""
    faulthandler.enable()
    rng, count = np.random.default_rng(0), 0
    for width in [int(each) for each in sys.argv[2:]] or range(1, 71):
        height = 1 + width * 7 % 13
        pixels = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
        for name, apply, dtype in cases(height, width):
            count += check(name, apply, pixels if dtype == torch.uint8 else (pixels / 255).to(dtype))
        count += check_rows(height, width, rng)
        count += check_warps(height, width, rng) + check_grids(height, width, rng)
    count += check_draws(rng)
    sys.stdout.write(str(count))


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", encoding="utf-8") as _REPORT:
        main()

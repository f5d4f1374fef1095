"""The byte kernel against NumPy, PyTorch and Pillow: every bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onelayer.algebra import (
    AxisMap,
    Float32Sum,
    Lookup,
    Program,
    Quantize,
    Separable,
    Stage,
    Taps,
)
from onelayer.algebra.fixed_point import in_fixed_point
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.backends import LoweringTarget, choose
from onelayer.backends.cpu.program import prepare
from onelayer.backends.cpu.split import byte_segments_of

CPU = torch.device("cpu")

WITHOUT_AVX2 = """
import torch
from test_byte_kernel import check, float32_resize, luma, noise, resize
for limit in (None, 1 << 15):
    for shape, to in (((3, 17, 31), (9, 24)), ((3, 5, 90), (31, 3))):
        stages = [*resize(shape, to, "bicubic", limit), *luma(to, 0)]
        check(stages, noise(*shape))
        print("equal")
        check(stages, noise(*shape).permute(1, 2, 0).contiguous().permute(2, 0, 1))
        print("equal")
for kind in ("bilinear", "bicubic"):
    for to in ((9, 24), (2, 3)):
        check(float32_resize((3, 17, 31), to, kind, 4), noise(3, 17, 31))
        print("equal")
"""
UP, UP_TO_EVEN = Quantize("half_up"), Quantize("half_even")


def resampled(n_in: int, n_out: int, kind: Any, limit: int | None) -> AxisMap:
    return in_fixed_point(AxisMap.resample(n_in, n_out, kind, True), limit)


def resize(shape: tuple[int, int, int], to: tuple[int, int], kind: Any, limit: int | None = 1 << 15) -> list[Stage]:
    """A pass along columns, then along rows, those that change nothing left out."""
    channels, height, width = shape
    cols, rows = resampled(width, to[1], kind, limit), resampled(height, to[0], kind, limit)
    stages: list[Stage] = []
    if not cols.is_identity:
        stages += [Separable.of_axes(channels, AxisMap.identity(height), cols), UP]
    if not rows.is_identity:
        stages += [Separable.of_axes(channels, rows, AxisMap.identity(to[1])), UP]
    return stages


def float32_resize(
    shape: tuple[int, int, int], to: tuple[int, int], kind: Any, unfused: int, places: tuple[Any, Any] = (..., ...)
) -> list[Stage]:
    """A resize whose sums round to float32, and of its outputs those at places."""
    channels, height, width = shape
    cols, rows = resized_in_float32(width, to[1], kind, True), resized_in_float32(height, to[0], kind, True)
    cols, rows = cols.selected(np.arange(to[1])[places[1]]), rows.selected(np.arange(to[0])[places[0]])
    same, narrow = AxisMap.identity(channels), AxisMap.identity(cols.n_out)
    return [
        Float32Sum(same, AxisMap.identity(height), cols, unfused),
        Float32Sum(same, rows, narrow, unfused),
        Quantize("half_even"),
    ]


def luma(size: tuple[int, int], unfused: int, channels: int = 1) -> list[Stage]:
    weights = np.tile(np.array([0.2989, 0.587, 0.114], np.float32), (channels, 1))
    taps = Taps(3, np.zeros(channels, np.int64), np.full(channels, 3), weights)
    return [Float32Sum(taps, AxisMap.identity(size[0]), AxisMap.identity(size[1]), unfused), Quantize("truncate")]


def pillow_luma(size: tuple[int, int]) -> list[Stage]:
    weights = [[19595 / 65536, 38470 / 65536, 7471 / 65536]]
    return [Separable.of_channels(np.array(weights), [0.0], size), UP]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    values: NDArray[np.uint8] = random.integers(0, 256, shape, dtype=np.uint8)
    # Extremes overshoot, and saturate between the passes.
    return torch.from_numpy(np.where(random.random(shape) < 0.5, values, values // 128 * 255).astype(np.uint8))


def run(program: Program, images: torch.Tensor, result: torch.dtype = torch.uint8, threads: int = 1) -> torch.Tensor:
    return choose("numba", program, LoweringTarget(CPU, torch.uint8, result, threads)).lower()(images)


def reason(stages: list[Stage]) -> str | None:
    """Why the kernel cannot run stages on images [3, 17, 11]; None if it can."""
    found = prepare(Program((3, 17, 11), tuple(stages)), LoweringTarget(CPU, torch.uint8, torch.uint8))
    return found if isinstance(found, str) else None


def check(stages: list[Stage], images: torch.Tensor, result: torch.dtype = torch.uint8, threads: int = 1) -> None:
    channels, height, width = images.shape[-3:]
    program = Program((channels, height, width), tuple(stages))
    expected = torch.from_numpy(program.apply(images.numpy())).to(result)
    assert torch.equal(run(program, images, result, threads), expected)


@pytest.mark.parametrize("limit", [1 << 15, None], ids=["PyTorch", "Pillow"])
def test_resizes(limit: int | None) -> None:
    for to in ((9, 5), (40, 31), (1, 1), (17, 8), (3, 11), (13, 64)):
        for kind in ("bilinear", "bicubic", "lanczos"):
            check(resize((3, 17, 11), to, kind, limit), noise(3, 17, 11))


def test_awkward_sizes() -> None:
    for shape in ((3, 1, 1), (1, 1, 50), (4, 50, 1), (2, 7, 300), (3, 200, 9)):
        for to in ((1, 3), (33, 21)):
            check(resize(shape, to, "bicubic"), noise(*shape))
            check(resize(shape, to, "bilinear", None), noise(*shape))


def test_batches() -> None:
    stages = [*resize((3, 17, 11), (9, 14), "bilinear"), *luma((9, 14), 0)]
    for batch in ((), (1,), (5,), (2, 3), (0,), (2, 0)):
        for threads in (1, 3):
            check(stages, noise(*batch, 3, 17, 11), threads=threads)


def test_rows_are_shared_by_threads() -> None:
    check(resize((3, 300, 200), (250, 190), "bilinear"), noise(3, 300, 200), threads=4)


@pytest.mark.parametrize("limit", [1 << 15, None])
def test_memory_layouts(limit: int | None) -> None:
    program = Program((3, 17, 31), tuple(resize((3, 17, 31), (9, 12), "bilinear", limit)))
    image = noise(3, 17, 31)
    expected = torch.from_numpy(program.apply(image.numpy())).to(torch.uint8)
    with_alpha = torch.zeros(17, 31, 4, dtype=torch.uint8)
    with_alpha[..., :3] = image.permute(1, 2, 0)
    every_other = torch.zeros(3, 34, 62, dtype=torch.uint8)
    every_other[:, ::2, ::2] = image
    layouts = {
        "CHW": image,
        "HWC": image.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        "four bytes a pixel": with_alpha.permute(2, 0, 1)[:3],
        "every other": every_other[:, ::2, ::2],
        "expanded": image[None].expand(4, -1, -1, -1),
    }
    for layout, memory in layouts.items():
        assert torch.equal(run(program, memory), expected.expand(memory.shape[:-3] + expected.shape)), layout


@pytest.mark.parametrize("step", [5, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_luma_of_all_colors(step: int) -> None:
    levels = np.arange(0, 256, step, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing="ij")).reshape(3, -1)
    # In a picture whose width is no multiple of eight.
    image = torch.from_numpy(colors[:, : colors.shape[1] // 7 * 7].reshape(3, -1, 7).copy())
    for unfused in (0, 1):
        for channels in (1, 3):
            check(luma((image.shape[1], 7), unfused, channels), image)


def test_pillows_luma() -> None:
    image = noise(3, 37, 29)
    stages = pillow_luma((37, 29))
    check(stages, image)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
    ours = run(Program((3, 37, 29), tuple(stages)), image)
    np.testing.assert_array_equal(ours[0].numpy(), np.asarray(picture))


def test_tables() -> None:
    image = noise(3, 17, 11)
    numbers = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32).astype(np.float64)
    inverted = Lookup(np.arange(256)[::-1])
    for stages, result in (
        ([Lookup(numbers)], torch.float32),
        ([*resize((3, 17, 11), (9, 5), "bilinear"), Lookup(numbers)], torch.float32),
        ([*luma((17, 11), 0), Lookup(numbers[0])], torch.float32),
        ([inverted], torch.uint8),
        ([*resize((3, 17, 11), (9, 5), "bilinear"), inverted, *resize((3, 9, 5), (4, 20), "bicubic")], torch.uint8),
    ):
        check(stages, image, result)


@pytest.mark.exhaustive  # compiles the kernel for float16
def test_a_table_of_float16() -> None:
    numbers = np.random.default_rng(0).normal(size=256).astype(np.float16).astype(np.float64)
    check([Lookup(numbers)], noise(3, 17, 11), torch.float16)


def test_crops_and_flips_within_the_passes() -> None:
    cols = AxisMap.flip(9) @ AxisMap.crop(12, 2, 9) @ resampled(11, 12, "bilinear", 1 << 15)
    rows = AxisMap.flip(7) @ AxisMap.crop(14, 3, 7) @ resampled(15, 14, "bilinear", 1 << 15)
    first = Separable.of_axes(3, AxisMap.crop(17, 1, 15), cols)
    check([first, UP, Separable.of_axes(3, rows, AxisMap.identity(9)), UP], noise(2, 3, 17, 11))
    reversed_channels = Separable(np.eye(3)[::-1], AxisMap.flip(17), cols, np.zeros(3))
    check([reversed_channels, UP], noise(3, 17, 11))
    everywhere = AxisMap.select(17, [16, 3, 3, 0, 9, 8, 1, 16, 2, 2])
    check([Separable.of_axes(3, everywhere, AxisMap.flip(11))], noise(3, 17, 11))


def framed(channels: int, rows: AxisMap, cols: AxisMap, values: list[float]) -> Separable:
    """Padding with a value per channel."""
    outside = 1.0 - np.outer(rows.weights.max(axis=1), cols.weights.max(axis=1))
    return Separable(np.eye(channels), rows, cols, np.array(values)[:, None, None] * outside)


def test_padding_with_values() -> None:
    image, fills = noise(2, 3, 17, 11), [114.0, 0.0, 255.0]
    around = framed(3, AxisMap.pad(17, 3, 2, "zero"), AxisMap.pad(11, 1, 0, "zero"), fills)
    smaller = framed(3, AxisMap.pad(9, 30, 0, "zero"), AxisMap.identity(5), fills)
    cropped = framed(3, AxisMap.crop(22, 4, 10) @ AxisMap.pad(17, 0, 5, "zero"), AxisMap.pad(11, 2, -3, "zero"), fills)
    half = AxisMap(11, np.zeros(3, np.int64), np.array([[0.5, 0.25], [0.5, 0.0], [0.25, 0.75]]))
    rounded = framed(3, AxisMap.pad(17, 2, 2, "zero"), AxisMap.identity(3), [230.99994, 0.5, 300.0])
    table = Lookup(np.random.default_rng(1).normal(size=(3, 256)).astype(np.float32).astype(np.float64))
    after_table = framed(3, AxisMap.pad(17, 3, 2, "zero"), AxisMap.pad(11, 1, 0, "zero"), [-1.5, 0.0, 0.25])
    for stages, result in (
        ([around], torch.uint8),
        ([around, table], torch.float32),
        ([table, after_table], torch.float32),
        ([*resize((3, 17, 11), (9, 5), "bilinear"), smaller, table], torch.float32),
        ([*resize((3, 17, 11), (9, 5), "bilinear"), smaller, *resize((3, 39, 5), (4, 4), "bicubic")], torch.uint8),
        ([cropped, *luma(cropped.out_shape[1:], 0)], torch.uint8),
        # The frame is rounded with the sums that it lies beside.
        ([Separable(np.eye(3), rounded.rows, half, rounded.bias), UP], torch.uint8),
    ):
        for threads in (1, 3):
            check(stages, image, result, threads)
            check(stages, image[:1], result, threads)


def test_padding_that_is_no_byte_goes_elsewhere() -> None:
    for value in (0.5, -1.0, 256.0):
        around = framed(3, AxisMap.pad(17, 3, 2, "zero"), AxisMap.identity(11), [value, 0.0, 0.0])
        assert reason([around, Lookup(np.arange(256)[::-1])]) == "its padding is no byte"


@pytest.mark.exhaustive  # compiles the kernel for another processor
def test_a_processor_without_avx2() -> None:
    """Instructions have plain operations that stand for them; these run in another process."""
    plain = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AVX2], env=plain, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["equal"] * 12, done.stderr


def test_rows_first() -> None:
    rows, cols = resampled(80, 9, "bicubic", None), resampled(40, 30, "bicubic", None)
    stages: list[Stage] = [
        Separable.of_axes(3, rows, AxisMap.identity(40)), UP, Separable.of_axes(3, AxisMap.identity(9), cols), UP
    ]  # fmt: skip
    segments = byte_segments_of(Program((3, 80, 40), tuple(stages)))
    assert isinstance(segments, list)
    assert len(segments) == 2, "the kernel goes along columns first"
    check(stages, noise(3, 80, 40))


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["bilinear", "bicubic", "lanczos", "box"]),
    limit=st.sampled_from([None, 1 << 15, 1 << 9]),
    flips=st.tuples(st.booleans(), st.booleans()),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_resize(
    shape: Any, to: Any, kind: str, limit: int | None, flips: tuple[bool, bool], threads: int, seed: int
) -> None:
    stages = resize(shape, to, kind, limit)
    turned = [AxisMap.flip(n) if flip else AxisMap.identity(n) for n, flip in zip(to, flips, strict=True)]
    stages.append(Separable.of_axes(shape[0], *turned))
    check(stages, noise(2, *shape, seed=seed), threads=threads)


@pytest.mark.parametrize("unfused", [0, 1, 4])
def test_sums_in_float32(unfused: int) -> None:
    for to in ((9, 5), (40, 31), (1, 1), (17, 64), (3, 11)):
        for kind in ("bilinear", "bicubic"):
            stages = float32_resize((3, 17, 11), to, kind, unfused)
            check(stages, noise(2, 3, 17, 11))
            check([stages[0], UP_TO_EVEN], noise(3, 17, 11))
            backwards = (slice(None, None, -1), slice(None, None, -1))
            mirrored = float32_resize((3, 17, 11), to, kind, unfused, backwards)
            check([*mirrored, *luma(to, 1), Lookup(np.arange(256)[::-1])], noise(2, 3, 17, 11), threads=2)


def test_sums_in_float32_of_interleaved_channels() -> None:
    image = noise(17, 31, 3).permute(2, 0, 1)
    check(float32_resize((3, 17, 31), (12, 20), "bicubic", 4), image)
    check(float32_resize((3, 17, 31), (2, 3), "bicubic", 4, ([1], [2, 0])), image)


def test_sums_in_float32_from_far_apart() -> None:
    check(float32_resize((2, 90, 300), (7, 6), "bilinear", 4), noise(2, 90, 300))
    check(float32_resize((2, 90, 300), (7, 6), "bilinear", 0), noise(2, 90, 300))


def test_rows_in_float32_alone() -> None:
    rows = Float32Sum(
        AxisMap.select(3, [2, 0]), resized_in_float32(17, 9, "bilinear", True), AxisMap.select(11, [3, 10, 4, 4]), 4
    )
    check([rows, UP_TO_EVEN], noise(3, 17, 11))


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(1, 90)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["bilinear", "bicubic"]),
    unfused=st.sampled_from([0, 1, 4]),
    seed=st.integers(0, 99),
)
def test_any_resize_in_float32(shape: Any, to: Any, kind: str, unfused: int, seed: int) -> None:
    check(float32_resize(shape, to, kind, unfused), noise(2, *shape, seed=seed))


def test_programs_for_other_backends() -> None:
    """Each is refused, for a reason that ``auto`` passes on."""
    narrower, same = resampled(11, 7, "bilinear", 1 << 15), AxisMap.identity(17)
    refused: list[tuple[str, list[Stage]]] = [
        ("its weights are no integers", [Separable.of_axes(3, same, AxisMap.resample(11, 7, "bilinear", True)), UP]),
        ("both axes at once", [Separable.of_axes(3, resampled(17, 9, "bilinear", 1 << 15), narrower), UP]),
        ("its weights are no integers", [Separable.of_axes(3, same, narrower), Quantize("half_even")]),
        ("adds to values", [Separable(np.eye(3), AxisMap.identity(17), AxisMap.identity(11), np.ones(3))]),
        ("swaps height and width", [Separable.of_axes(3, AxisMap.identity(11), same, transpose=True)]),
        ("after its table", [Lookup(np.arange(256) / 256), Separable.of_axes(3, same, narrower)]),
        ("float32 cannot hold", [Lookup(np.arange(256) / 255)]),
        ("empty", []),
        ("not rounded", [Float32Sum(AxisMap.identity(3), same, resized_in_float32(11, 5, "bilinear", True), 4)]),
    ]
    for expected, stages in refused:
        assert expected in (reason(stages) or ""), expected
        choice = choose("auto", Program((3, 17, 11), tuple(stages)), LoweringTarget(CPU, torch.uint8, torch.float32))
        assert (choice.name, choice.reason) == ("torch", reason(stages))

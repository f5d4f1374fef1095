"""The kernel for bytes against NumPy, PyTorch and Pillow: every bit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onelayer.algebra import (
    AxisMap,
    Float32Sum,
    FloatOp,
    Lookup,
    Program,
    Quantize,
    Separable,
    Stage,
    Taps,
)
from onelayer.algebra.fixed_point import in_fixed_point
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.backends import LoweringTarget, choose, lower
from onelayer.backends.cpu import program as numba_cpu
from onelayer.backends.cpu.byte_segments import byte_segments_of

CPU = torch.device("cpu")

WITHOUT_AVX2 = """
import torch
from tests.backends.test_numba_bytes import check, in_singles, luma, noise, resize
for limit in (None, 1 << 15):
    for shape, to in (((3, 17, 31), (9, 24)), ((3, 5, 90), (31, 3))):
        stages = [*resize(shape, to, "bicubic", limit), *luma(to, 0)]
        check(stages, noise(*shape))
        print("equal")
        check(stages, noise(*shape).permute(1, 2, 0).contiguous().permute(2, 0, 1))
        print("equal")
for kind in ("bilinear", "bicubic"):
    for to in ((9, 24), (2, 3)):
        check(in_singles((3, 17, 31), to, kind, 4), noise(3, 17, 31))
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


def in_singles(
    shape: tuple[int, int, int], to: tuple[int, int], kind: Any, apart: int, places: tuple[Any, Any] = (..., ...)
) -> list[Stage]:
    """A resize whose sums round to float32, and of its outputs those at places."""
    channels, height, width = shape
    cols, rows = resized_in_float32(width, to[1], kind, True), resized_in_float32(height, to[0], kind, True)
    cols, rows = cols.selected(np.arange(to[1])[places[1]]), rows.selected(np.arange(to[0])[places[0]])
    same, narrow = AxisMap.identity(channels), AxisMap.identity(cols.n_out)
    return [
        Float32Sum(same, AxisMap.identity(height), cols, apart),
        Float32Sum(same, rows, narrow, apart),
        Quantize("half_even"),
    ]


def luma(size: tuple[int, int], apart: int, channels: int = 1) -> list[Stage]:
    weights = np.tile(np.array([0.2989, 0.587, 0.114], np.float32), (channels, 1))
    taps = Taps(3, np.zeros(channels, np.int64), np.full(channels, 3), weights)
    return [Float32Sum(taps, AxisMap.identity(size[0]), AxisMap.identity(size[1]), apart), Quantize("truncate")]


def pillow_luma(size: tuple[int, int]) -> list[Stage]:
    weights = [[19595 / 65536, 38470 / 65536, 7471 / 65536]]
    return [Separable.of_channels(np.array(weights), [0.0], size), UP]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    values: NDArray[np.uint8] = random.integers(0, 256, shape, dtype=np.uint8)
    # Extremes overshoot, and saturate between the passes.
    return torch.from_numpy(np.where(random.random(shape) < 0.5, values, values // 128 * 255).astype(np.uint8))


def run(program: Program, images: torch.Tensor, result: torch.dtype = torch.uint8, threads: int = 1) -> torch.Tensor:
    setting = LoweringTarget(CPU, torch.uint8, result, threads)
    assert choose("numba", program, CPU, torch.uint8).name == "numba"
    return lower("numba", program, setting)(images)


def takes(stages: list[Stage], shape: tuple[int, int, int]) -> bool:
    return numba_cpu.why_not(Program(shape, tuple(stages)), CPU, torch.uint8) is None


def check(stages: list[Stage], images: torch.Tensor, result: torch.dtype = torch.uint8, threads: int = 1) -> None:
    channels, height, width = images.shape[-3:]
    program = Program((channels, height, width), tuple(stages))
    expected = torch.from_numpy(program.apply(images.numpy())).to(result)
    assert torch.equal(run(program, images, result, threads), expected)


@pytest.mark.parametrize("limit", [1 << 15, None], ids=["PyTorch", "Pillow"])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("to", [(9, 5), (40, 31), (1, 1), (17, 8), (3, 11), (13, 64)])
def test_a_resize(to: tuple[int, int], kind: str, limit: int | None) -> None:
    check(resize((3, 17, 11), to, kind, limit), noise(3, 17, 11))


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 1, 50), (4, 50, 1), (2, 7, 300), (3, 200, 9)])
def test_awkward_sizes(shape: tuple[int, int, int]) -> None:
    for to in ((1, 3), (33, 21)):
        check(resize(shape, to, "bicubic"), noise(*shape))
        check(resize(shape, to, "bilinear", None), noise(*shape))


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (0,), (2, 0)])
def test_batches(batch: tuple[int, ...]) -> None:
    images = noise(*batch, 3, 17, 11)
    for threads in (1, 3):
        check([*resize((3, 17, 11), (9, 14), "bilinear"), *luma((9, 14), 0)], images, threads=threads)


def test_rows_are_shared_by_threads() -> None:
    check(resize((3, 300, 200), (250, 190), "bilinear"), noise(3, 300, 200), threads=4)


@pytest.mark.parametrize("limit", [1 << 15, None])
def test_memory_of_any_kind(limit: int | None) -> None:
    stages = resize((3, 17, 31), (9, 12), "bilinear", limit)
    program = Program((3, 17, 31), tuple(stages))
    image = noise(3, 17, 31)
    expected = torch.from_numpy(program.apply(image.numpy())).to(torch.uint8)
    side_by_side = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    four = torch.zeros(17, 31, 4, dtype=torch.uint8)
    four[..., :3] = image.permute(1, 2, 0)
    every_other = torch.zeros(3, 34, 62, dtype=torch.uint8)
    every_other[:, ::2, ::2] = image
    for memory in (
        image,
        side_by_side,
        four.permute(2, 0, 1)[:3],
        every_other[:, ::2, ::2],
        image[None].expand(4, -1, -1, -1),
    ):
        assert torch.equal(run(program, memory), expected.expand(memory.shape[:-3] + expected.shape))


@pytest.mark.parametrize("apart", [0, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_luma_of_every_hue(apart: int, channels: int) -> None:
    # All colours of three in four steps, in a picture whose width is no multiple of eight.
    steps = np.arange(0, 256, 3, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1)[:, : 86 * 86 * 86 // 7 * 7]
    image = torch.from_numpy(colours.reshape(3, -1, 7).copy())
    check(luma((image.shape[1], 7), apart, channels), image)


def test_pillows_luma() -> None:
    image = noise(3, 37, 29)
    stages = pillow_luma((37, 29))
    check(stages, image)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
    ours = run(Program((3, 37, 29), tuple(stages)), image)
    np.testing.assert_array_equal(ours[0].numpy(), np.asarray(picture))


def test_tables() -> None:
    random = np.random.default_rng(0)
    image = noise(3, 17, 11)
    single = random.normal(size=(3, 256)).astype(np.float32).astype(np.float64)
    half = random.normal(size=256).astype(np.float16).astype(np.float64)
    inverted = Lookup(np.arange(256)[::-1])
    for stages, result in (
        ([Lookup(single)], torch.float32),
        ([*resize((3, 17, 11), (9, 5), "bilinear"), Lookup(single)], torch.float32),
        ([*luma((17, 11), 0), Lookup(single[0])], torch.float32),
        ([Lookup(half)], torch.float16),
        ([inverted], torch.uint8),
        ([*resize((3, 17, 11), (9, 5), "bilinear"), inverted, *resize((3, 9, 5), (4, 20), "bicubic")], torch.uint8),
    ):
        check(stages, image, result)


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


@pytest.mark.parametrize("values", [[0.5, 0.0, 0.0], [-1.0, 0.0, 0.0], [256.0, 0.0, 0.0]])
def test_padding_that_is_no_byte_goes_elsewhere(values: list[float]) -> None:
    stages = [framed(3, AxisMap.pad(17, 3, 2, "zero"), AxisMap.identity(11), values), Lookup(np.arange(256)[::-1])]
    assert not takes(stages, (3, 17, 11))


def test_a_processor_without_avx2() -> None:
    """Instructions have plain operations that stand for them; these run in a process of their own."""
    plain = dict(os.environ, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    done = subprocess.run([sys.executable, "-c", WITHOUT_AVX2], env=plain, capture_output=True, text=True, check=False)
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


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["bilinear", "bicubic", "lanczos", "box"]),
    limit=st.sampled_from([None, 1 << 15, 1 << 9]),
    flips=st.tuples(st.booleans(), st.booleans()),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_anything_in_between(
    shape: Any, to: Any, kind: str, limit: int | None, flips: tuple[bool, bool], threads: int, seed: int
) -> None:
    stages = resize(shape, to, kind, limit)
    turned = [AxisMap.flip(n) if flip else AxisMap.identity(n) for n, flip in zip(to, flips, strict=True)]
    stages.append(Separable.of_axes(shape[0], *turned))
    check(stages, noise(2, *shape, seed=seed), threads=threads)


@pytest.mark.parametrize("to", [(9, 5), (40, 31), (1, 1), (17, 64), (3, 11)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("apart", [0, 1, 4])
def test_sums_in_float32(to: tuple[int, int], kind: str, apart: int) -> None:
    stages = in_singles((3, 17, 11), to, kind, apart)
    check(stages, noise(2, 3, 17, 11))
    check([stages[0], UP_TO_EVEN], noise(3, 17, 11))
    mirrored = in_singles((3, 17, 11), to, kind, apart, (slice(None, None, -1), slice(None, None, -1)))
    check([*mirrored, *luma(to, 1), Lookup(np.arange(256)[::-1])], noise(2, 3, 17, 11), threads=2)


def test_sums_in_float32_of_colours_side_by_side() -> None:
    image = noise(17, 31, 3).permute(2, 0, 1)
    check(in_singles((3, 17, 31), (12, 20), "bicubic", 4), image)
    check(in_singles((3, 17, 31), (2, 3), "bicubic", 4, ([1], [2, 0])), image)


def test_sums_in_float32_from_far_apart() -> None:
    check(in_singles((2, 90, 300), (7, 6), "bilinear", 4), noise(2, 90, 300))
    check(in_singles((2, 90, 300), (7, 6), "bilinear", 0), noise(2, 90, 300))


def test_rows_in_float32_alone() -> None:
    rows = Float32Sum(
        AxisMap.select(3, [2, 0]), resized_in_float32(17, 9, "bilinear", True), AxisMap.select(11, [3, 10, 4, 4]), 4
    )
    check([rows, UP_TO_EVEN], noise(3, 17, 11))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(1, 90)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["bilinear", "bicubic"]),
    apart=st.sampled_from([0, 1, 4]),
    seed=st.integers(0, 99),
)
def test_anything_in_float32(shape: Any, to: Any, kind: str, apart: int, seed: int) -> None:
    check(in_singles(shape, to, kind, apart), noise(2, *shape, seed=seed))


NARROWER = resampled(11, 7, "bilinear", 1 << 15)
SAME = AxisMap.identity(17)
REFUSED: dict[str, tuple[Stage, ...]] = {
    "no whole numbers": (Separable.of_axes(3, SAME, AxisMap.resample(11, 7, "bilinear", True)), UP),
    "both axes at once": (Separable.of_axes(3, resampled(17, 9, "bilinear", 1 << 15), NARROWER), UP),
    "another rounding": (Separable.of_axes(3, SAME, NARROWER), Quantize("half_even")),
    "adds": (Separable(np.eye(3), AxisMap.identity(17), AxisMap.identity(11), np.ones(3)),),
    "swaps": (Separable.of_axes(3, AxisMap.identity(11), AxisMap.identity(17), transpose=True),),
    "float arithmetic": (Lookup(np.arange(256) / 255), FloatOp("divide", np.array([0.3]))),
    "finer than float32": (Lookup(np.arange(256) / 255),),
    "nothing": (),
    "floating point sums": (Float32Sum(AxisMap.identity(3), SAME, resized_in_float32(11, 5, "bilinear", True), 4),),
}


@pytest.mark.parametrize("stages", REFUSED.values(), ids=REFUSED.keys())
def test_what_it_does_not_do_goes_elsewhere(stages: tuple[Stage, ...]) -> None:
    program = Program((3, 17, 11), stages)
    assert numba_cpu.why_not(program, CPU, torch.uint8) is not None
    assert choose("auto", program, CPU, torch.uint8).name == "torch"

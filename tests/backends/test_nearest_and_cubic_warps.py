"""The kernels for warps to nearest pixels and bicubic ones give what Pillow gives, and what its formulas give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from original_results import same
from PIL.Image import Resampling, Transform
from warp_cases import (
    Floats,
    all_bytes,
    any_matrices,
    by_kernel,
    by_pillow,
    corners,
    matrices,
    picture,
    places,
)

from onelayer.backends.cpu.warp_kernel import NO_NUMBER, UNKNOWN_MEMORY, WARPED
from onelayer.frontends.torchvision.warp_functions import _is_in_fixed_point, as_recorded

NEAREST, BICUBIC = Resampling.NEAREST, Resampling.BICUBIC
SIZES = ((1, 1), (1, 2), (2, 1), (1, 9), (3, 3), (30, 2), (17, 11), (41, 150), (60, 300))


def nearest(pixels: Floats, matrix: Sequence[float], size: tuple[int, int], fill: Sequence[int]) -> Floats:
    """Take pixels of an image [H, W, C] as ``affine_fixed`` and ``nearest_filter`` of Pillow's do."""
    height, width, _ = pixels.shape
    if len(matrix) == 6:
        a, b, c, d, e, f = (np.floor(number * 65536 + 0.5).astype(int) for number in np.array(with_middle(matrix)))
        x, y = np.arange(size[0])[None, :], np.arange(size[1])[:, None]
        across, down = (c + y * b + x * a) >> 16, (f + y * e + x * d) >> 16
    else:
        across, down = (np.floor(each.clip(-1, 1e6)).astype(int) for each in places(matrix, size))
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    found = pixels[np.where(inside, down, 0), np.where(inside, across, 0)]
    return np.where(inside[..., None], found, np.array(fill))


def with_middle(matrix: Sequence[float]) -> list[float]:
    """Return a matrix that is applied to whole numbers in place of the middles of pixels."""
    a, b, c, d, e, f = matrix
    return [a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5]


def between(first: Floats, second: Floats, third: Floats, fourth: Floats, share: Floats) -> Floats:
    slope, bend = -first + third, 2 * (first - second) + third - fourth
    twist = -first + second - third + fourth
    return second + share * (slope + share * (bend + share * twist))


def cubic(pixels: Floats, matrix: Sequence[float], size: tuple[int, int], fill: Sequence[int]) -> Floats:
    """Weigh pixels of an image [H, W, C] as ``bicubic_filter`` of Pillow's does."""
    height, width, _ = pixels.shape
    left, top, share_x, share_y, inside = corners(matrix, size, height, width)
    cols = [(left + tap).clip(0, width - 1) for tap in (-1, 0, 1, 2)]
    rows = [(top + tap).clip(0, height - 1) for tap in (-1, 0, 1, 2)]
    sums = [between(*(pixels[row, col] for col in cols), share_x) for row in rows]
    return np.where(inside, np.trunc(between(*sums, share_y).clip(0, 255)), np.array(fill))


def cases(
    rng: np.random.Generator, height: int, width: int, size: tuple[int, int]
) -> Iterator[tuple[Resampling, list[float]]]:
    """Pair interpolations with matrices that Pillow computes as the kernels do."""
    for matrix in matrices(rng, height, width).values():
        yield BICUBIC, matrix
        if len(matrix) == 8 or _is_in_fixed_point(size, matrix):
            yield NEAREST, matrix


def assert_equal(
    image: PIL.Image.Image, matrix: Sequence[float], size: tuple[int, int], fill: Sequence[int], resample: Resampling
) -> None:
    outcome, made = by_kernel(image, matrix, size, fill, resample)
    case = resample, image.mode, image.size, size, list(matrix)
    assert outcome == WARPED, case
    assert all_bytes(made) == all_bytes(by_pillow(image, matrix, size, fill, resample)), case
    pixels = np.asarray(image, float).reshape(image.height, image.width, -1)
    stated = (nearest if resample == NEAREST else cubic)(pixels, matrix, size, fill)
    assert (stated.reshape(np.asarray(made).shape) == np.asarray(made)).all(), case


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_kernels_equal_pillow_and_its_formulas(mode: str) -> None:
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        for kind in ("noise", "flat"):
            image = picture(rng, mode, height, width, kind)
            fill = [int(each) for each in rng.integers(0, 256, len(mode))]
            size = (width, height) if kind != "flat" else (int(rng.integers(1, 300)), int(rng.integers(1, 40)))
            for resample, matrix in cases(rng, height, width, size):
                assert_equal(image, matrix, size, fill, resample)


@given(
    seed=st.integers(0, 2**31),
    mode=st.sampled_from(["RGB", "L"]),
    height=st.integers(1, 70),
    width=st.integers(1, 200),
    size=st.tuples(st.integers(1, 200), st.integers(1, 70)),
)
def test_any_nearest_or_cubic_matrix(seed: int, mode: str, height: int, width: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    image = picture(rng, mode, height, width, str(rng.choice(["noise", "flat", "smooth"])))
    for matrix in any_matrices(rng, height, width):
        for resample in (NEAREST, BICUBIC):
            assert_equal(image, matrix, size, [7] * len(mode), resample)


@pytest.mark.exhaustive
def test_many_nearest_and_cubic_photographs() -> None:
    rng = np.random.default_rng()
    for _ in range(25):
        mode, kind = str(rng.choice(["RGB", "L"])), str(rng.choice(["noise", "smooth", "flat"]))
        height, width = (int(each) for each in rng.integers(1, 500, 2))
        image = picture(rng, mode, height, width, kind)
        for resample, matrix in cases(rng, height, width, (width, height)):
            outcome, made = by_kernel(image, matrix, (width, height), [9] * len(mode), resample)
            theirs = by_pillow(image, matrix, (width, height), [9] * len(mode), resample)
            assert outcome == WARPED
            assert all_bytes(made) == all_bytes(theirs), (resample, mode, height, width, matrix)


def transformed(image: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    return getattr(image, method)(*arguments, **keywords)


def assert_as_pillow(image: PIL.Image.Image, method: str, *arguments: Any, **keywords: Any) -> None:
    ours = as_recorded(image, transformed, method, *arguments, **keywords)
    assert same(ours, getattr(image, method)(*arguments, **keywords)), (method, image, arguments, keywords)


def test_images_of_pillows() -> None:
    """Whatever ``Image.transform`` and ``Image.rotate`` are asked for, by the kernels or by Pillow, is the same."""
    rng = np.random.default_rng(1)
    for (height, width), mode in zip((*SIZES[1::2], (129, 133)), ["RGB", "L"] * len(SIZES), strict=False):
        image = picture(rng, mode, height, width)
        image.info = {"comment": "kept"}
        fills: list[Any] = [None, 5 if mode == "L" else (1, 2, 3), "white"]
        for resample, fill in product((NEAREST, BICUBIC), fills):
            for matrix in matrices(rng, height, width).values():
                method = Transform.PERSPECTIVE if len(matrix) == 8 else Transform.AFFINE
                size = int(rng.integers(1, 50)), height
                assert_as_pillow(image, "transform", size, method, matrix, resample, fillcolor=fill)
            for angle in (0.0, 30.0, 45.5, 90.0, -180.0):
                keywords: dict[str, Any]
                for keywords in ({"expand": True}, {"center": (1, 2)}, {"translate": (3.5, 1)}):
                    assert_as_pillow(image, "rotate", angle, resample, fillcolor=fill, **keywords)


def test_maps_beyond_the_fixed_point() -> None:
    """Nearest pixels as far away as 2¹⁵ pixels are left to Pillow."""
    rng = np.random.default_rng(2)
    image = picture(rng, "RGB", 130, 140)
    for left in (31000.0, -31990.0, 32500.0, 33000.0, 1e6, 1e20):
        for matrix in ([1.0, 0.5, left, 0.25, 1.0, 0.0], [-left, 0.5, left, 0.25, 1.0, 0.0]):
            assert_as_pillow(image, "transform", (140, 130), Transform.AFFINE, matrix, NEAREST, fillcolor=(1, 2, 3))


def test_what_nearest_and_cubic_leave_to_pillow() -> None:
    rng = np.random.default_rng(4)
    large, matrix = PIL.Image.linear_gradient("L").resize((2200, 2000)).convert("RGB"), [9.0, 0.1, 0.3, 0.2, 8.0, 0.7]
    for resample in (NEAREST, BICUBIC):
        outcome, made = by_kernel(large, matrix, (200, 200), (0, 0, 0), resample)
        expected = all_bytes(by_pillow(large, matrix, (200, 200), (0, 0, 0), resample))
        is_left = outcome == UNKNOWN_MEMORY and resample == NEAREST
        assert is_left or (outcome == WARPED and all_bytes(made) == expected)
    # 0/0 at the pixel in the middle, which for nearest pixels is outside.
    image, perspective = picture(rng, "RGB", 9, 9), [1.0, 0, -4.5, 0, 1.0, -4.5, -1 / 4.5, 0]
    outcome, _ = by_kernel(image, perspective, (9, 9), (0, 0, 0), BICUBIC)
    assert outcome == NO_NUMBER
    outcome, made = by_kernel(image, perspective, (9, 9), (0, 0, 0), NEAREST)
    assert outcome == WARPED
    assert all_bytes(made) == all_bytes(by_pillow(image, perspective, (9, 9), (0, 0, 0), NEAREST))

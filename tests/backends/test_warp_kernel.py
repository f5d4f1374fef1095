"""The kernel for warps gives what Pillow gives, and what Pillow's formula gives, written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from warp_cases import all_bytes, any_matrices, by_kernel, by_pillow, corners, matrices, picture

from onelayer.backends.cpu import warp_kernel as kernel

Pixels = NDArray[np.uint8]


def stated(pixels: Pixels, matrix: Sequence[float], size: tuple[int, int], fill: Sequence[int]) -> Pixels:
    """Warp pixels [H, W, C] as Pillow's ``Geometry.c`` does, with one operation in float64 after another."""
    height, width, _ = pixels.shape
    left, top, share_x, share_y, inside = corners(matrix, size, height, width)
    cols, rows = (
        (each.clip(0, last), (each + 1).clip(0, last)) for each, last in ((left, width - 1), (top, height - 1))
    )
    values = pixels.astype(float)
    upper, lower = (values[row, cols[0]] + (values[row, cols[1]] - values[row, cols[0]]) * share_x for row in rows)
    total = upper + (lower - upper) * share_y
    return np.where(inside, total.astype(np.uint8), np.array(fill, np.uint8))


def assert_equal(image: PIL.Image.Image, matrix: Sequence[float], size: tuple[int, int], fill: Sequence[int]) -> None:
    outcome, made = by_kernel(image, matrix, size, fill)
    theirs = by_pillow(image, matrix, size, fill)
    case = image.mode, image.size, size, list(matrix)
    assert outcome == kernel.WARPED, case
    assert all_bytes(made) == all_bytes(theirs), case
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    assert (stated(pixels, matrix, size, fill).reshape(np.asarray(made).shape) == np.asarray(made)).all(), case


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_kernel_equals_pillow_and_its_formula(mode: str) -> None:
    rng = np.random.default_rng(0)
    for height, width in ((1, 2), (2, 2), (1, 9), (30, 2), (17, 11), (41, 150), (60, 300)):
        for matrix in matrices(rng, height, width).values():
            for kind in ("noise", "flat", "smooth"):
                image = picture(rng, mode, height, width, kind)
                fill = [int(each) for each in rng.integers(0, 256, len(mode))]
                size = (width, height) if kind != "flat" else (int(rng.integers(1, 300)), int(rng.integers(1, 40)))
                assert_equal(image, matrix, size, fill)


@given(
    seed=st.integers(0, 2**31),
    mode=st.sampled_from(["RGB", "L"]),
    height=st.integers(1, 70),
    width=st.integers(2, 200),
    size=st.tuples(st.integers(1, 200), st.integers(1, 70)),
)
def test_any_matrix(seed: int, mode: str, height: int, width: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    image = picture(rng, mode, height, width, str(rng.choice(["noise", "flat", "smooth"])))
    for matrix in any_matrices(rng, height, width):
        assert_equal(image, matrix, size, [7] * len(mode))


def test_photograph_size() -> None:
    """At 224×224 most pixels are computed in float32, some of them again."""
    rng = np.random.default_rng(1)
    for kind in ("noise", "smooth"):
        image = picture(rng, "RGB", 224, 224, kind)
        for matrix in matrices(rng, 224, 224).values():
            assert_equal(image, matrix, (224, 224), (1, 2, 3))


@pytest.mark.exhaustive
def test_many_photographs() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        mode, kind = str(rng.choice(["RGB", "L"])), str(rng.choice(["noise", "smooth", "flat"]))
        height, width = (int(each) for each in rng.integers(2, 700, 2))
        image = picture(rng, mode, height, width, kind)
        for matrix in matrices(rng, height, width).values():
            assert_equal(image, matrix, (width, height), [9] * len(mode))


def test_more_than_32_bits_hold() -> None:
    """Images longer than 2047 are computed as Pillow does."""
    rng = np.random.default_rng(3)
    for height, width in ((2, 2047), (2, 2048), (2, 5000), (3000, 3)):
        image = picture(rng, "L", height, width)
        for matrix in ([1.0, 0.25, 0.3, 0.0, 0.5, 0.4], [0.99, 0.01, 3.3, 0.0001, 1.0, 0.1]):
            assert_equal(image, matrix, (width, height), [3])


def test_what_is_left_to_pillow() -> None:
    rng = np.random.default_rng(4)
    # In several blocks of memory, which may lie as if they were one.
    large, matrix = PIL.Image.linear_gradient("L").resize((2200, 2000)).convert("RGB"), [9.0, 0.1, 0.3, 0.2, 8.0, 0.7]
    outcome, made = by_kernel(large, matrix, (200, 200), (0, 0, 0))
    expected = all_bytes(by_pillow(large, matrix, (200, 200), (0, 0, 0)))
    assert outcome == kernel.UNKNOWN_MEMORY or (outcome == kernel.WARPED and all_bytes(made) == expected)
    # 0/0 at the pixel in the middle.
    image = picture(rng, "RGB", 9, 9)
    outcome, _ = by_kernel(image, [1.0, 0, -4.5, 0, 1.0, -4.5, -1 / 4.5, 0], (9, 9), (0, 0, 0))
    assert outcome == kernel.NO_NUMBER


def test_sums_that_are_nearly_integers() -> None:
    """Shares of whole percents make sums of whole numbers, which float64 may have just below."""
    rng = np.random.default_rng(5)
    image = picture(rng, "RGB", 40, 200)
    for percent in range(1, 31):
        for matrix in (
            [1.0, percent / 100, 0.0, -0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0, percent / 100, 1.0, 0.0],
            [1.0, 0.0, percent / 100, 0.0, 1.0, percent / 50],
            [percent / 100, 0.5, 0.25, 0.0, 1.0, 0.5],
        ):
            outcome, made = by_kernel(image, matrix, image.size, (0, 0, 0))
            assert outcome == kernel.WARPED
            assert all_bytes(made) == all_bytes(by_pillow(image, matrix, image.size, (0, 0, 0))), matrix

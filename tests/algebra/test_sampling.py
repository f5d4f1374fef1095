"""Pixel matrices that are read off what a warp makes of images of places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from onelayer.algebra import Separable, TooLargeError
from onelayer.algebra.sampling import Warp, sampled, selection
from onelayer.errors import OnelayerError

PRECISION = 2.0**-23


def by_matrix(matrix: Any, out_size: tuple[int, int]) -> Warp:
    """The warp that a matrix is, in float32 as a warp computes it."""

    def warp(images: np.ndarray) -> np.ndarray:
        flat = (matrix.astype(np.float32) @ images.reshape(len(images), -1).T).T
        return flat.reshape(len(images), *out_size)

    return warp


def neighbourhoods(in_size: tuple[int, int], outputs: int, window: int, seed: int) -> sparse.csr_array:
    """Each output reads some window × window pixels, anywhere, with random weights of both signs; every third none."""
    random = np.random.default_rng(seed)
    height, width = in_size
    tall, wide = min(window, height), min(window, width)
    matrix = np.zeros((outputs, height, width))
    for output in range(outputs):
        top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
        weights = random.uniform(0.01, 1.0, (tall, wide)) * random.choice([-1, 1], (tall, wide))
        matrix[output, top : top + tall, left : left + wide] = weights * (output % 3 > 0)
    return sparse.csr_array(matrix.reshape(outputs, height * width))


@pytest.mark.parametrize("in_size", [(17, 11), (5, 40), (1, 1), (1, 7), (3, 2)], ids=str)
@pytest.mark.parametrize("window", [1, 2, 4])
def test_every_pixel_and_weight_is_found(in_size: tuple[int, int], window: int) -> None:
    matrix = neighbourhoods(in_size, 6 * 5, window, seed=window)
    found, out_size = sampled(by_matrix(matrix, (6, 5)), in_size, window)
    assert out_size == (6, 5)
    # The weights of float32 itself: nothing is added to their rounding.
    np.testing.assert_array_equal(found.toarray(), matrix.toarray().astype(np.float32))


def test_a_long_axis_keeps_its_numbers_apart() -> None:
    # One third of a row number near 30000 has an error of 1e-3 in float32; the quotient must still be the number.
    size = (60001, 2)
    rows = np.array([59998, 59999, 31234])
    matrix = sparse.csr_array((np.full(3, 1 / 3), (np.arange(3), rows * 2 + 1)), shape=(3, 120002))
    found, _ = sampled(by_matrix(matrix, (3, 1)), size, 2)
    np.testing.assert_array_equal(found.indices, matrix.indices)


@pytest.mark.parametrize("window", [1, 2])
def test_a_warp_beside_the_image(window: int) -> None:
    found, _ = sampled(by_matrix(sparse.csr_array((6, 35)), (2, 3)), (5, 7), window)
    assert found.shape == (6, 35)
    assert found.nnz == 0


def test_places_that_are_not_finite() -> None:
    def broken(images: np.ndarray) -> np.ndarray:
        return np.where(images == images.max(), np.nan, images)

    with pytest.raises(OnelayerError, match="not finite"):
        sampled(broken, (5, 7), 1)
    with pytest.raises(OnelayerError, match="not finite"):
        selection(broken, (5, 7), PRECISION)


def test_too_many_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = neighbourhoods((5, 7), 35, 2, seed=0)
    monkeypatch.setattr("onelayer.algebra.sampling.MAX_TAPS", matrix.nnz)
    assert sampled(by_matrix(matrix, (5, 7)), (5, 7), 2)[0].nnz == matrix.nnz
    monkeypatch.setattr("onelayer.algebra.sampling.MAX_TAPS", matrix.nnz - 1)
    with pytest.raises(TooLargeError, match=f"at least {matrix.nnz} taps"):
        sampled(by_matrix(matrix, (5, 7)), (5, 7), 2)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nothing": lambda images: images,
    "both flips": lambda images: images[..., ::-1, ::-1],
    "transposition": lambda images: images.swapaxes(-1, -2),
    "a quarter": lambda images: np.rot90(images, 1, (-2, -1)),
    "three quarters": lambda images: np.rot90(images, 3, (-2, -1)),
    "a crop": lambda images: images[..., 1:3, 2:],
    "a shift": lambda images: np.pad(images, [(0, 0)] * (images.ndim - 2) + [(2, 0), (0, 3)]),
    "repetition": lambda images: images.repeat(3, axis=-1)[..., [0, 0, 4, 2], :],
    "a turned crop in a frame": lambda images: np.pad(
        images[..., 1:, :2].swapaxes(-1, -2), [(0, 0)] * (images.ndim - 2) + [(1, 1), (0, 4)]
    ),
    "nothing at all": lambda images: np.zeros((*images.shape[:-2], 3, 4)),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_of_rows_and_columns(copy: Callable[[np.ndarray], np.ndarray]) -> None:
    rows, cols, transpose = selection(copy, (5, 7), PRECISION)
    image = np.random.default_rng(0).normal(size=(2, 5, 7))
    np.testing.assert_array_equal(Separable.of_axes(2, rows, cols, transpose).apply(image), copy(image))


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_rounded_grid_still_copies(copy: Callable[[np.ndarray], np.ndarray]) -> None:
    def noisy(images: np.ndarray) -> np.ndarray:
        return copy(images) * (1.0 - 7 * PRECISION)

    assert selection(noisy, (5, 7), PRECISION)[0].allclose(selection(copy, (5, 7), PRECISION)[0])


def swapped(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[..., [2, 3], [1, 5]] = images[..., [3, 2], [5, 1]]
    return images


def holed(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[..., 2, 3] = 0.0
    return images


@pytest.mark.parametrize(
    "warp",
    [
        swapped,
        holed,
        lambda images: images * 0.999,
        lambda images: (images[..., 1:] + images[..., :-1]) / 2,
        lambda images: images[..., 1:] * 0.9999 + images[..., :-1] * 0.0001,
        lambda images: np.stack([np.roll(images[..., row, :], row, -1) for row in range(5)], -2),
    ],
)
def test_what_is_no_copy_of_rows_and_columns(warp: Warp) -> None:
    assert selection(warp, (5, 7), PRECISION) is None


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**16))
def test_small_sizes(height: int, width: int, window: int, seed: int) -> None:
    matrix = neighbourhoods((height, width), 7, window, seed)
    found, _ = sampled(by_matrix(matrix, (7, 1)), (height, width), window)
    np.testing.assert_array_equal(found.toarray(), matrix.toarray().astype(np.float32))

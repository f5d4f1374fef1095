"""Least squares finds the layer, however the images come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import OnelayerError, Pipeline
from onelayer.algebra import Dense
from onelayer.reproduction.learning.least_squares import ImageSums, LeastSquares

IN, OUT = (2, 3, 5), (1, 2, 3)


def problem(count: int, seed: int = 0) -> tuple[Dense, NDArray[np.float64], NDArray[np.float64]]:
    """A layer, images whose pixels are correlated as neighbours are, and what it makes of them."""
    random = np.random.default_rng(seed)
    true = Dense(random.normal(size=(6, 30)), random.normal(size=6), IN, OUT)
    images = np.clip(0.5 + random.normal(size=(count, 30)).cumsum(axis=1) / 20, 0, 1).reshape(count, *IN)
    return true, images, true.apply(images)


def test_finds_the_layer() -> None:
    true, images, targets = problem(200)
    found, ridge = LeastSquares(IN, OUT).partial_fit(images, targets).solve()
    # Eigenvalues of about 1e-3 above a ridge of 1e-14.
    np.testing.assert_allclose(found.weight, true.weight, atol=1e-9)
    np.testing.assert_allclose(found.bias, true.bias, atol=1e-9)
    assert 0 < ridge < 1e-12


def test_is_what_numpy_finds() -> None:
    _, images, targets = problem(120)
    noisy = targets + np.random.default_rng(1).normal(size=targets.shape) / 10
    found, _ = LeastSquares(IN, OUT).partial_fit(images, noisy).solve()
    flat = np.column_stack([images.reshape(120, -1), np.ones(120)])
    expected = np.linalg.lstsq(flat, noisy.reshape(120, -1), rcond=None)[0].T
    np.testing.assert_allclose(np.column_stack([found.weight, found.bias]), expected, atol=1e-8)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_batches_of_any_size_add_up(sizes: list[int]) -> None:
    _, images, targets = problem(sum(sizes) or 1)
    whole, parts = LeastSquares(IN, OUT).partial_fit(images, targets), LeastSquares(IN, OUT)
    for begin, size in zip(np.cumsum([0, *sizes]), sizes if sum(sizes) else [1], strict=False):
        parts.partial_fit(images[begin : begin + size], targets[begin : begin + size])
    assert parts.count == whole.count
    np.testing.assert_allclose(parts.covariance(), whole.covariance(), atol=1e-12)
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-12)


def test_goes_on_after_it_was_solved() -> None:
    true, images, targets = problem(200)
    sums = LeastSquares(IN, OUT).partial_fit(images[:20], targets[:20])
    early, _ = sums.solve()
    late, _ = sums.partial_fit(images[20:], targets[20:]).solve()
    assert np.abs(early.weight - true.weight).max() > 1e-3, "20 images do not tell 30 weights"
    np.testing.assert_allclose(late.weight, true.weight, atol=1e-9)


def test_fewer_images_than_values_are_fitted_with_small_weights() -> None:
    _, images, targets = problem(7)
    found, _ = LeastSquares(IN, OUT).partial_fit(images, targets).solve()
    np.testing.assert_allclose(found.apply(images), targets, atol=1e-6)
    assert np.abs(found.weight).max() < 100


def test_pixels_that_never_change_have_no_weight() -> None:
    true, images, _ = problem(200)
    images[:, 1, 2] = 0.25
    found, _ = LeastSquares(IN, OUT).partial_fit(images, true.apply(images)).solve()
    # Where the variance is zero, rounding of the cross products, 1e-17, stands over the ridge alone, 1e-14.
    np.testing.assert_allclose(found.weight.reshape(6, *IN)[:, 1, 2], 0, atol=0.01)
    np.testing.assert_allclose(found.apply(images), true.apply(images), atol=1e-9)


def test_one_pixel_and_one_image() -> None:
    found, _ = (
        LeastSquares((1, 1, 1), (1, 1, 1)).partial_fit(np.full((1, 1, 1, 1), 0.25), np.full((1, 1, 1, 1), 3.0)).solve()
    )
    np.testing.assert_allclose(found.apply(np.full((1, 1, 1), 0.25)), 3.0)


def test_the_covariance_and_its_factor() -> None:
    _, images, targets = problem(200)
    sums = LeastSquares(IN, OUT).partial_fit(images, targets)
    covariance = np.cov(images.reshape(200, -1).T, bias=True)
    np.testing.assert_allclose(np.tril(sums.covariance()), np.tril(covariance), atol=1e-12)
    np.testing.assert_allclose(sums.factor() @ sums.factor().T, covariance, atol=1e-12)
    np.testing.assert_allclose(sums.mean_output, targets.reshape(200, -1).mean(axis=0))


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        (np.zeros((3, 2, 3, 4)), np.zeros((3, *OUT)), "(3, 2, 3, 5)"),
        (np.zeros((3, *IN)), np.zeros((2, *OUT)), "(3, 1, 2, 3)"),
        (np.full((3, *IN), np.nan), np.zeros((3, *OUT)), "finite"),
        (np.zeros((3, *IN)), np.full((3, *OUT), np.inf), "finite"),
    ],
)
def test_images_that_are_refused_change_nothing(inputs: Any, outputs: Any, said: str) -> None:
    sums = LeastSquares(IN, OUT)
    with pytest.raises(OnelayerError, match=said.replace("(", r"\(").replace(")", r"\)")):
        sums.partial_fit(inputs, outputs)
    assert sums.count == 0


def test_no_images_and_large_ones() -> None:
    empty = LeastSquares(IN, OUT).partial_fit(np.zeros((0, *IN)), np.zeros((0, *OUT)))
    with pytest.raises(OnelayerError, match="no images yet"):
        empty.solve()
    with pytest.raises(OnelayerError, match=r"onelayer\.identify"):
        LeastSquares((3, 224, 224), (1, 1, 1))


def test_sums_of_images_go_on_where_they_ended() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, *IN), dtype=np.uint8)
    pipeline = Pipeline("crop", lambda images: images[..., 1:, :] * 0.5, IN)
    parts, whole = ImageSums(pipeline, pixels), ImageSums(pipeline, pixels)
    assert parts.over(37).count == 37
    assert parts.over(37).count == 37
    early = parts.seconds
    np.testing.assert_allclose(parts.over().covariance(), whole.over().covariance(), atol=1e-12)
    np.testing.assert_allclose(parts.over().mean_output, whole.over(400).mean_output, atol=1e-12)
    assert parts.over().count == 400
    assert parts.seconds > early > 0
    with pytest.raises(ValueError, match="400 images were summed already"):
        parts.over(37)

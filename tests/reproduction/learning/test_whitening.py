"""Whitened images are white, and a layer that was learned from them is one for images as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onelayer import DenseLayer, OnelayerError, Pipeline
from onelayer.data import float_images
from onelayer.reproduction.learning import whitening as whitening_module
from onelayer.reproduction.learning.least_squares import ImageSums
from onelayer.reproduction.learning.regression import WhitenedRegression
from onelayer.reproduction.learning.whitening import Whitening, max_whitened_images, whitened_rows

SHAPE = (2, 3, 5)
PIPELINE = Pipeline("crop", lambda images: images[..., 1:, :] * 0.5, SHAPE)


def pixels(count: int) -> NDArray[np.uint8]:
    steps = np.random.default_rng(0).normal(size=(count, 30)).cumsum(axis=1)
    return np.clip(127 + 15 * steps, 0, 255).astype(np.uint8).reshape(count, *SHAPE)


PIXELS = pixels(400)
WHITENING = Whitening.of(ImageSums(PIPELINE, PIXELS).over())


def test_whitened_images_are_white() -> None:
    flat = (PIXELS.reshape(400, 30) / np.float32(255)).astype(np.float32)
    before = flat.copy()
    white = WHITENING.apply(flat).astype(np.float64)
    np.testing.assert_array_equal(flat, before)
    # The standard deviations of these images span a factor of 30, and the factor is in float32.
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(30), atol=1e-3)
    assert WHITENING.apply(flat[:0]).shape == (0, 30)


def test_a_layer_for_whitened_images_is_one_for_images() -> None:
    layer = DenseLayer(SHAPE, PIPELINE.output_shape, torch.Generator().manual_seed(1))
    flat = (PIXELS.reshape(400, 30) / np.float32(255)).astype(np.float32)
    with torch.no_grad():
        expected = layer(torch.from_numpy(np.ascontiguousarray(WHITENING.apply(flat))).reshape(-1, *SHAPE))
    np.testing.assert_allclose(
        WHITENING.undone(layer).apply(flat.reshape(-1, *SHAPE)), expected.numpy(), rtol=0, atol=1e-4
    )


def test_rows_hold_an_image_and_what_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening_module, "_BLOCK", 7)
    rows = whitened_rows(WHITENING, PIPELINE, PIXELS[:17])
    images = float_images(PIXELS[:17])
    assert rows.shape == (17, 30 + 20)
    np.testing.assert_allclose(rows[:, :30], WHITENING.apply(images.numpy().reshape(17, 30)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(rows[:, 30:], PIPELINE(images).numpy().reshape(17, 20))
    module = WhitenedRegression(DenseLayer(SHAPE, PIPELINE.output_shape), PIPELINE, 1e-3)
    inputs, targets = module.pairs(torch.from_numpy(rows.view(np.uint8)[2:5]))
    np.testing.assert_array_equal(inputs.numpy(), rows[2:5, :30].reshape(3, *SHAPE))
    np.testing.assert_array_equal(targets.numpy(), PIPELINE(images[2:5]).numpy())


def test_more_images_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max_whitened_images(PIPELINE) == 2**31 // 200
    monkeypatch.setattr(whitening_module, "_MAX_BYTES", 200 * 10)
    assert whitened_rows(WHITENING, PIPELINE, PIXELS[:10]).shape == (10, 50)
    with pytest.raises(OnelayerError, match=r"11 images were to be whitened.*at most 10.*least squares"):
        whitened_rows(WHITENING, PIPELINE, PIXELS[:11])

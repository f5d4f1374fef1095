"""Errors of images: MSE, PSNR, SSIM and mismatches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from onelayer.verification.measurement import SSIM_WINDOW, GreyScale, Measurement, ssim


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    values: np.ndarray = np.random.default_rng(seed).random(shape)
    return values


def test_ssim_is_that_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    for shape in ((2, 1, 11, 11), (3, 3, 17, 40), (1, 2, 31, 12)):
        truth = pictures(*shape)
        for noise in (0.001, 0.3):
            other = truth + noise * (pictures(*shape, seed=1) - 0.5)
            expected = functional.structural_similarity_index_measure(
                torch.from_numpy(other), torch.from_numpy(truth), data_range=1.0, reduction="none"
            )
            np.testing.assert_allclose(ssim(other, truth), expected.numpy(), rtol=1e-6)


def test_ssim_by_its_definition() -> None:
    one, other = pictures(2, 1, 1, 12, 11)
    weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(np.pad(values[0, 0], 5, "reflect"), (11, 11))
        return np.einsum("hwij,ij->hw", windows, weights)

    covariance = mean(one * other) - mean(one) * mean(other)
    variances = mean(one**2) - mean(one) ** 2 + mean(other**2) - mean(other) ** 2
    expected = (2 * mean(one) * mean(other) + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean(one) ** 2 + mean(other) ** 2 + 1e-4) * (variances + 9e-4)
    np.testing.assert_allclose(ssim(one, other), [expected.mean()], rtol=1e-12)


def test_equal_images_have_an_ssim_of_exactly_one() -> None:
    for values in (pictures(2, 3, 12, 40), np.zeros((1, 1, 11, 11)), np.full((1, 1, 20, 20), 0.1)):
        assert (ssim(values, values.copy()) == 1.0).all()


def test_figures_of_known_errors() -> None:
    # Black at −1; grey levels of 0.01 in one channel and of 0.1 in the other.
    scale = GreyScale(np.array([-1.0, -1.0]), np.array([0.01, 0.1]))
    truth = np.zeros((2, 2, 4, 5), dtype=np.float32)
    prediction = truth.copy()
    prediction[1, 0, 2, 3], prediction[0, 1, 0, 0] = 0.5, -1.0
    measurement = Measurement()
    np.testing.assert_allclose(measurement.update(prediction, truth, scale), [10.0, 50.0])
    assert measurement.images == 2
    assert measurement.mismatches == 2
    assert measurement.mismatch_rate == 2 / 80
    assert (measurement.max_units, measurement.max_grey_levels) == (1.0, pytest.approx(50.0))
    assert measurement.mse == pytest.approx((0.25 + 1.0) / 80)
    assert measurement.psnr_db == pytest.approx(-10 * np.log10((50**2 + 10**2) / 255**2 / 80))
    measurement.update_ssim(prediction, truth, scale)
    assert measurement.ssim is None, f"smaller than {SSIM_WINDOW}×{SSIM_WINDOW}"


def test_ssim_is_of_grey_levels() -> None:
    scale = GreyScale(np.array([-2.0]), np.array([4.0 / 255]))
    truth = pictures(2, 1, 12, 13)
    prediction = np.stack([truth[0], 1 - truth[1]])
    measurement = Measurement()
    measurement.update_ssim(4 * prediction - 2, 4 * truth - 2, scale)
    assert measurement.ssim == pytest.approx((1 + ssim(prediction[1:], truth[1:])[0]) / 2)


def test_bytes_do_not_wrap_around() -> None:
    scale = GreyScale(np.zeros(1), np.ones(1))
    measurement = Measurement()
    measurement.update(np.full((1, 1, 1, 1), 3, np.uint8), np.full((1, 1, 1, 1), 255, np.uint8), scale)
    assert measurement.max_units == 252.0
    assert measurement.mse == 252.0**2


def test_two_measurements_are_merged() -> None:
    scale = GreyScale.of_unit_range(3)
    parts = [(pictures(n, 3, 12, 11, seed=n), pictures(n, 3, 12, 11, seed=n + 10)) for n in (2, 5)]
    one, other, both = Measurement(), Measurement(), Measurement()
    for measurement, (prediction, truth) in zip((one, other), parts, strict=True):
        for each in (measurement, both):
            each.update(prediction, truth, scale)
            each.update_ssim(prediction, truth, scale)
    merged = one.merged(other)
    for name in ("images", "mismatches", "max_units", "max_grey_levels", "mse", "psnr_db", "ssim", "mismatch_rate"):
        assert getattr(merged, name) == pytest.approx(getattr(both, name)), name
    assert one.images == 2, "the parts stay as they are"

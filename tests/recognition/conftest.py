"""Layers that were learned, in small, and the report's pipeline in small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import gaussian_filter

from onelayer.algebra import AxisMap, Dense, Operator, Separable
from onelayer.algebra.operator import FloatArray
from onelayer.recognition import ImageStatistics, Recognised, recognise


def _smooth_images(count: int, shape: tuple[int, int, int], seed: int = 0) -> FloatArray:
    """Random smooth fields with strongly correlated channels, rounded to 256 levels: float64 [N, C, H, W] in [0, 1]."""
    generator = np.random.default_rng(seed)
    grey = gaussian_filter(generator.standard_normal((count, 1, *shape[1:])), (0, 0, 2.0, 2.0), mode="nearest")
    colour = gaussian_filter(generator.standard_normal((count, *shape)), (0, 0, 1.5, 1.5), mode="nearest")
    fields = grey / grey.std() + 0.5 * colour / colour.std()
    pixels: NDArray[np.uint8] = np.clip(np.rint(128 + 45 * fields), 0, 255).astype(np.uint8)
    return pixels / 255.0


def _least_squares(images: FloatArray, outputs: FloatArray, ridge: float) -> tuple[Dense, ImageStatistics]:
    """The layer with the least squared error, the ridge in units of the total variance; and what it knew of images."""
    x, y = images.reshape(len(images), -1), outputs.reshape(len(outputs), -1)
    mean, mean_output = x.mean(axis=0), y.mean(axis=0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    steadied = covariance + np.eye(len(covariance)) * ridge * covariance.trace()
    weight = cho_solve(cho_factor(steadied), (x - mean).T @ (y - mean_output) / len(x)).T
    dense = Dense(weight, mean_output - weight @ mean, images.shape[1:], outputs.shape[1:])
    return dense, ImageStatistics(covariance, mean)


def _learned(operator: Operator, count: int = 1500, ridge: float = 1e-12) -> tuple[Dense, ImageStatistics]:
    """What least squares makes of an operator that rounds its outputs to float32."""
    images = _smooth_images(count, operator.in_shape)
    return _least_squares(images, operator.apply(images).astype(np.float32).astype(np.float64), ridge)


def _descended(operator: Separable, time: float, seed: int = 1) -> tuple[Dense, ImageStatistics]:
    """What gradient descent from random weights has after some time (steps times learning rate), in closed form.

    Directions in which images vary by λ have forgotten where they began by a factor exp(−λ·time).
    """
    _, statistics = _learned(operator, 600)
    true = operator.to_dense()
    generator = np.random.default_rng(seed)
    begin = generator.uniform(-1, 1, true.weight.shape) / np.sqrt(true.weight.shape[1])
    variances, directions = np.linalg.eigh(statistics.covariance)
    left = np.exp(-np.maximum(variances, 0.0) * time)
    weight = true.weight + ((begin - true.weight) @ directions * left) @ directions.T
    # The bias has learned what the mean image gives.
    assert statistics.mean is not None
    bias = true.bias + (true.weight - weight) @ statistics.mean
    return Dense(weight, bias, operator.in_shape, operator.out_shape), statistics


Learned = tuple[Dense, ImageStatistics]


@pytest.fixture(scope="session")
def learned() -> Callable[..., Learned]:
    """Learns an operator by least squares: ``learned(operator, count=1500, ridge=1e-12)``."""
    return _learned


@pytest.fixture(scope="session")
def descended() -> Callable[..., Learned]:
    """Learns an operator by gradient descent: ``descended(operator, time)``."""
    return _descended


@pytest.fixture(scope="session")
def small_report() -> Separable:
    """The report's pipeline on small images, 3×12×10 → 1×7×6: resized with antialiasing, grey, flipped both ways."""
    rows, cols = (
        AxisMap.flip(n_out) @ AxisMap.resample(n_in, n_out, "bilinear", True, precision="float32")
        for n_in, n_out in ((12, 7), (10, 6))
    )
    return Separable(np.array([[0.2989, 0.587, 0.114]]), rows, cols, np.zeros(1))


@pytest.fixture(scope="session")
def small_report_learned(small_report: Separable) -> Learned:
    """That, learned by least squares on 1500 images of smooth fields."""
    return _learned(small_report)


@pytest.fixture(scope="session")
def recognised_in_small(small_report_learned: Learned) -> Recognised:
    """The structure of that, from the weights alone."""
    return recognise(small_report_learned[0])


@pytest.fixture(scope="session")
def recognised_with_statistics(small_report_learned: Learned) -> Recognised:
    """The structure of that, from the weights and the statistics of the images."""
    dense, statistics = small_report_learned
    return recognise(dense, refit=statistics)

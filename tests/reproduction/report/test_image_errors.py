from __future__ import annotations

import numpy as np
import pytest

from onelayer.reproduction.report.figures.images import error_map, image_error


def test_image_error_is_unclipped_and_in_grey_levels():
    truth = np.zeros((1, 1, 2), np.float32)
    error = image_error(np.array([[[0.0, -2.0]]], np.float32), truth)
    assert (error.mse, error.max_grey_levels) == (2.0, 510.0)


def test_image_error_of_tiny_differences_does_not_vanish():
    # The square of 1e-30 is below float32's smallest number.
    error = image_error(np.full((1, 3, 2), 1e-30, np.float32), np.zeros((1, 3, 2), np.float32))
    assert error.mse == pytest.approx(1e-60, rel=1e-6)
    assert error.psnr_db == pytest.approx(600.0)


def test_error_map_takes_the_largest_of_the_channels():
    truth = np.zeros((3, 1, 2), np.float32)
    prediction = np.array([[[0.1, 0.0]], [[-0.2, 0.4]], [[0.0, -0.6]]], np.float32)
    np.testing.assert_allclose(error_map(prediction, truth), [[51.0, 153.0]], rtol=1e-6)

"""From learned weights to operators and names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import rotate

from onelayer.algebra import AxisMap, Dense, Separable, affine_part
from onelayer.data import load_images
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, derive
from onelayer.pipelines import named
from onelayer.recognition import ImageStatistics, NotRecognisedError, Recognised, largest_difference, recognise

Learned = tuple[Dense, ImageStatistics]
Learn = Callable[..., Learned]

GREY_LEVEL = 1.0 / 255.0


def operator_of(rows: AxisMap, cols: AxisMap, channel: list[list[float]], bias: list[float] | None = None) -> Separable:
    return Separable(np.array(channel), rows, cols, np.zeros(len(channel)) if bias is None else np.array(bias))


def largest_tap_error(found: Recognised, true: Separable) -> float:
    pairs = (
        (found.operator.rows.to_dense(), true.rows.to_dense()),
        (found.operator.cols.to_dense(), true.cols.to_dense()),
        (found.operator.channel.matrix, true.channel.matrix),
    )
    return max(float(np.abs(one - other).max()) for one, other in pairs)


def test_the_report_in_small(
    small_report: Separable,
    small_report_learned: Learned,
    recognised_in_small: Recognised,
    recognised_with_statistics: Recognised,
) -> None:
    for found in (recognised_in_small, recognised_with_statistics):
        assert found.names.rows == "bilinear antialias 12→7, flipped"
        assert found.names.cols == "bilinear antialias 10→6, flipped"
        assert found.names.channels == "luma (torchvision: 0.2989, 0.587, 0.114)"
        assert found.names.offset == "none"
        assert found.snapped == ("rows", "cols", "channels")
        # Snapped taps are the known map's own.
        assert largest_tap_error(found, small_report) == 0.0
        assert largest_difference(found.operator, small_report) == 0.0
    # The learned weights are others: there is noise in directions that smooth images hardly have.
    assert largest_difference(small_report_learned[0], small_report) > 1e-5


def test_least_squares_on_cifar10(cifar10_parquet: Path) -> None:
    train = load_images(str(cifar10_parquet / "test.parquet"), shape=(3, 32, 32), seed=0).train[:5000]
    images = torch.from_numpy(train.copy()).float() / 255
    outputs = named("report")(images).double().numpy().reshape(len(images), -1)
    inputs = images.double().numpy().reshape(len(images), -1)
    mean, mean_output = inputs.mean(axis=0), outputs.mean(axis=0)
    inputs -= mean
    covariance = inputs.T @ inputs / len(inputs)
    crossed = inputs.T @ (outputs - mean_output) / len(inputs)
    steadied = covariance + np.eye(len(mean)) * 1e-12 * covariance.trace()
    weight = cho_solve(cho_factor(steadied), crossed).T
    dense = Dense(weight, mean_output - weight @ mean, (3, 32, 32), (1, 28, 28))
    program = derive(named("report").transform, ImageSpec((3, 32, 32), "float32", "tensor")).program
    parts = affine_part(program)
    assert parts is not None
    true = parts[0]
    assert isinstance(true, Separable)
    found = recognise(dense)
    assert largest_tap_error(found, true) < 1e-4
    assert largest_difference(found.operator, true) < 0.1 * GREY_LEVEL
    assert found.names.rows == found.names.cols == "bilinear antialias 32→28, flipped"


@pytest.mark.parametrize("time", [1e4, pytest.param(1e5, marks=pytest.mark.exhaustive)])
def test_gradient_descent_leaves_noise_that_images_do_not_show(
    small_report: Separable, descended: Learn, time: float
) -> None:
    dense, statistics = descended(small_report, time)
    # The noise is not small: the true weights are 0.4 at most.
    assert np.abs(dense.weight - small_report.to_dense().weight).max() > 0.05
    found = recognise(dense, refit=statistics)
    assert found.names.rows == "bilinear antialias 12→7, flipped"
    assert found.names.cols == "bilinear antialias 10→6, flipped"
    assert found.names.offset == "none"
    assert found.names.channels == "luma (torchvision: 0.2989, 0.587, 0.114)"
    assert largest_difference(found.operator, small_report) == 0.0
    assert largest_difference(dense, small_report) > 10 * GREY_LEVEL


def test_a_layer_that_has_only_begun_to_learn_is_refused(small_report: Separable, descended: Learn) -> None:
    dense, statistics = descended(small_report, 300.0)
    with pytest.raises(NotRecognisedError, match=r"one product has 99\.\d+% of the energy on images"):
        recognise(dense, refit=statistics)


def test_noise_in_all_directions_without_statistics(small_report: Separable) -> None:
    true = small_report.to_dense()
    noise = np.random.default_rng(3).normal(0.0, 1e-3, true.weight.shape)
    found = recognise(Dense(true.weight + noise, true.bias, true.in_shape, true.out_shape))
    assert found.names.rows == "bilinear antialias 12→7, flipped"
    assert found.names.cols == "bilinear antialias 10→6, flipped"
    # Medians of 360 weights each scatter by 7 %, and a tenth of them is in the support.
    np.testing.assert_allclose(found.noise, 1e-3, rtol=0.35)
    assert found.residual.rms == pytest.approx(1e-3, rel=0.05)
    # The share of zeros in the true weights, but for those of its weights that are as small as the noise.
    zeros = float(np.mean(true.weight == 0.0))
    assert zeros <= found.sparsity < zeros + 0.05


def test_flip_and_crop(learned: Learn) -> None:
    rows = AxisMap.flip(5) @ AxisMap.crop(9, 3, 5)
    true = operator_of(rows, AxisMap.crop(11, 0, 8), np.eye(2).tolist(), [0.25, -1.0])
    dense, statistics = learned(true)
    for refit in (None, statistics):
        found = recognise(dense, refit=refit)
        assert found.names.rows == "crop 3…7 of 9, flipped"
        assert found.names.cols == "crop 0…7 of 11"
        assert found.names.channels == "identity"
        assert found.names.offset.startswith("constant: 0.25")
        assert largest_difference(found.operator, true) < 0.1 * GREY_LEVEL


def test_nearest_and_a_channel_swap(learned: Learn) -> None:
    rows = AxisMap.resample(9, 4, "nearest", False)
    cols = AxisMap.resample(7, 13, "nearest", False)
    true = operator_of(rows, cols, np.eye(3)[::-1].tolist())
    found = recognise(learned(true)[0])
    assert found.names.rows == "nearest 9→4"
    assert found.names.cols.startswith("nearest 7→13")
    assert found.names.channels == "channels in the order 2, 1, 0"
    assert largest_difference(found.operator, true) == 0.0


def test_normalisation(learned: Learn) -> None:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    rows, cols = AxisMap.resample(8, 5, "bicubic", True), AxisMap.flip(6)
    true = operator_of(rows, cols, np.diag(1 / deviation).tolist(), (-mean / deviation).tolist())
    dense, statistics = learned(true)
    found = recognise(dense, refit=statistics)
    assert found.names.rows == "bicubic antialias 8→5"
    assert found.names.cols == "flipped"
    assert found.names.channels == "divided by the standard deviations of ImageNet"
    assert found.names.offset == "means of ImageNet"
    # Places of samples are rounded to float32 in one of the two maps of rows.
    assert largest_difference(found.operator, true) < 1e-3 * GREY_LEVEL


def test_what_has_no_name_keeps_its_fitted_taps(learned: Learn) -> None:
    blur = AxisMap.convolve(9, [0.15, 0.5, 0.35], "zero")
    true = operator_of(blur, AxisMap.identity(7), [[0.6, 0.3]])
    dense, statistics = learned(true)
    found = recognise(dense, refit=statistics)
    assert found.names.rows == "fitted: 3 taps, 9→9"
    assert found.names.channels == "fitted: 0.6, 0.3"
    assert found.snapped == ("cols",)
    assert largest_tap_error(found, true) < 1e-4
    assert largest_difference(found.operator, true) < 0.1 * GREY_LEVEL


def test_padding_with_a_fill_is_an_offset_that_is_an_image() -> None:
    linear = operator_of(AxisMap.pad(6, 2, 1, "zero"), AxisMap.pad(5, 0, 2, "zero"), [[1.0]])
    true = linear.with_fill(0.5)
    found = recognise(true.to_dense())
    assert found.names.rows == "identity, padded by 2 and 1 (zeros)"
    assert found.names.offset == "image"
    assert largest_difference(found.operator, true) == 0.0


def test_a_right_angle_is_a_product_of_the_swapped_image(learned: Learn) -> None:
    true = Separable(np.eye(1), AxisMap.flip(8), AxisMap.crop(6, 1, 4), np.zeros(1), transpose=True)
    dense, statistics = learned(true)
    for refit in (None, statistics):
        found = recognise(dense, refit=refit)
        assert found.operator.transpose
        assert found.names.rows == "flipped"
        assert found.names.cols == "crop 1…4 of 6"
        # The exact maps; the bias is what is learned.
        assert largest_difference(found.operator, true) == 0.0


def test_identity() -> None:
    found = recognise(Separable.identity((3, 5, 4)).to_dense())
    assert found.operator.is_identity
    assert found.residual.largest == 0.0
    assert found.sparsity == 1.0 - 1.0 / 60


def test_images_of_one_pixel(learned: Learn) -> None:
    true = operator_of(AxisMap.identity(1), AxisMap.identity(1), [[0.2989, 0.587, 0.114]], [0.125])
    for dense in (true.to_dense(), learned(true, 200)[0]):
        found = recognise(dense)
        assert found.names.rows == found.names.cols == "identity"
        assert found.names.channels == "luma (torchvision: 0.2989, 0.587, 0.114)"
        assert found.names.offset.startswith("constant: 0.125")


def test_one_channel_to_one_pixel() -> None:
    box = AxisMap.resample(16, 1, "box", True)
    found = recognise(operator_of(box, box, [[1.0]]).to_dense())
    assert found.names.rows == found.names.cols == "box 16→1"


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_weights_of_zero(bias: float) -> None:
    dense = Dense(np.zeros((2 * 3 * 4, 5 * 6)), np.full(24, bias), (1, 5, 6), (2, 3, 4))
    found = recognise(dense)
    assert found.names.channels == "zeros"
    assert found.sparsity == 1.0
    np.testing.assert_array_equal(found.operator.apply(np.ones((1, 5, 6))), np.full((2, 3, 4), bias))


def rotation(degrees: float, size: int = 12) -> Dense:
    """Bilinear, about the centre."""
    impulses = np.eye(size * size).reshape(-1, size, size)
    turned = rotate(impulses, degrees, axes=(1, 2), reshape=False, order=1).reshape(size * size, -1)
    return Dense(turned.T, np.zeros(size * size), (1, size, size), (1, size, size))


@pytest.mark.parametrize(
    ("degrees", "with_statistics"),
    [
        (1.0, True),
        (30.0, False),
        pytest.param(1.0, False, marks=pytest.mark.exhaustive),
        pytest.param(30.0, True, marks=pytest.mark.exhaustive),
    ],
)
def test_a_rotation_is_refused(learned: Learn, degrees: float, with_statistics: bool) -> None:
    dense, statistics = learned(rotation(degrees))
    with pytest.raises(NotRecognisedError, match=r"singular values of rows against the rest are \d.*expected one"):
        recognise(dense, refit=statistics if with_statistics else None)


def test_random_weights_are_refused() -> None:
    weight = np.random.default_rng(0).normal(size=(30, 3 * 8 * 9))
    with pytest.raises(NotRecognisedError, match="no Kronecker product"):
        recognise(Dense(weight, np.zeros(30), (3, 8, 9), (1, 5, 6)))


def test_statistics_of_other_images_are_refused(small_report_learned: Learned) -> None:
    with pytest.raises(OnelayerError, match=r"covariance of 12 values.*expected 360 values"):
        recognise(small_report_learned[0], refit=ImageStatistics(np.eye(12)))


def test_the_layer_itself_or_its_operator(small_report_learned: Learned, recognised_in_small: Recognised) -> None:
    dense, _ = small_report_learned
    layer = DenseLayer(dense.in_shape, dense.out_shape).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(dense.weight.copy()))
        layer.bias.copy_(torch.from_numpy(dense.bias.copy()))
    found = recognise(layer)
    assert found.names == recognised_in_small.names
    assert found.names.rows == "bilinear antialias 12→7, flipped"
    with pytest.raises(OnelayerError, match=r"a OneLayer was to be recognised; expected a DenseLayer"):
        recognise(found.layer())  # type: ignore[arg-type]


def test_the_result_as_a_layer(small_report: Separable, recognised_in_small: Recognised) -> None:
    layer = recognised_in_small.layer()
    images = np.random.default_rng(4).random((5, 3, 12, 10))
    single, double = layer(torch.from_numpy(images).float()), layer(torch.from_numpy(images))
    # Sums of at most 48 products in float32, and the images themselves are rounded to it.
    np.testing.assert_allclose(single.numpy(), small_report.apply(images), atol=1e-6)
    np.testing.assert_allclose(double.numpy(), small_report.apply(images), atol=1e-12)
    assert layer(torch.empty(0, 3, 12, 10)).shape == (0, 1, 7, 6)


def test_the_result_as_text(recognised_in_small: Recognised, recognised_with_statistics: Recognised) -> None:
    text = recognised_with_statistics.to_text()
    assert "3×12×10 → 1×7×6" in text
    assert "bilinear antialias 12→7, flipped" in text
    assert "luma (torchvision: 0.2989, 0.587, 0.114)" in text
    assert "RMS difference on images" in text
    assert "RMS difference on images" not in recognised_in_small.to_text()
    assert str(recognised_with_statistics) == text


def test_the_residual_says_where() -> None:
    true = Separable.identity((1, 6, 5)).to_dense()
    weight = true.weight.copy()
    # Output (0, 2, 3) should not read input (0, 4, 1).
    weight[2 * 5 + 3, 4 * 5 + 1] += 1e-4
    found = recognise(Dense(weight, true.bias, true.in_shape, true.out_shape), refit=ImageStatistics(np.eye(30)))
    assert found.residual.output == (0, 2, 3)
    assert found.residual.input == (0, 4, 1)
    assert found.residual.largest == pytest.approx(1e-4)
    assert found.residual.rms == pytest.approx(1e-4 / 30)
    # One of 30 outputs is off by 1e-4 where one input has a variance of 1.
    assert found.residual.on_images == pytest.approx(1e-4 / np.sqrt(30))

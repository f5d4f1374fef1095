from __future__ import annotations

import io
import math

import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onelayer.formats import grey_levels
from onelayer.reproduction.records import Epoch
from onelayer.reproduction.report.figures import (
    draw_benchmark,
    draw_comparison,
    draw_predictions,
    draw_training,
    draw_weights,
    encode_png,
)
from onelayer.reproduction.report.figures.learning import _drawable
from onelayer.reproduction.report.saved import Pictures


def lines(axes) -> dict[str, matplotlib.lines.Line2D]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_training_curve_shows_the_history(make):
    history = make.history(57)
    axes, right = draw_training(history, make.run()).axes
    drawn = lines(axes)
    assert list(drawn["training"].get_xdata()) == list(range(1, 58))
    assert list(drawn["training"].get_ydata()) == [epoch.train_mse for epoch in history]
    assert list(drawn["validation"].get_ydata()) == [epoch.validation_mse for epoch in history]
    assert axes.get_yscale() == "log"
    best = drawn["best: epoch 47, 2.00×10⁻⁵ (47.0 dB)"]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([47], [2e-5])
    assert list(drawn["stopped: epoch 57 (early stopping)"].get_xdata()) == [57, 57]
    for mse, decibels in zip(axes.get_ylim(), right.get_ylim(), strict=True):
        assert decibels == pytest.approx(-10 * math.log10(mse))


def test_training_curve_before_learning_has_ended_marks_nothing(make):
    axes = draw_training(make.history(3), make.run(training=None)).axes[0]
    assert set(lines(axes)) == {"training", "validation"}


def test_one_epoch_is_visible(make):
    drawn = lines(draw_training(make.history(1), make.run()).axes[0])
    assert drawn["validation"].get_marker() == "."


def test_epochs_that_are_not_finite_leave_a_gap_and_are_crossed(make):
    history = [Epoch(1, 1e-2, 2e-2, 1.0), Epoch(2, math.nan, 1e-2, 1.0), Epoch(3, math.inf, -math.inf, 1.0)]
    figure = draw_training(history, make.run())
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["training"].get_ydata(), [1e-2, math.nan, math.nan])
    np.testing.assert_array_equal(drawn["validation"].get_ydata(), [2e-2, 1e-2, math.nan])
    assert list(drawn["not a finite number"].get_xdata()) == [2, 3]


@pytest.mark.parametrize(
    "errors",
    [
        [(0.0, 5e-324), (1e-45, 3.5e38), (-1.0, 1e308), (math.inf, math.nan)],
        [(math.nan, 1.7e308)],
    ],
)
def test_errors_beyond_any_axis_can_be_drawn(make, errors):
    history = [Epoch(number, *pair, 1.0) for number, pair in enumerate(errors, 1)]
    assert encode_png(draw_training(history, make.run()))


@given(error=st.floats())
def test_any_error_is_drawn_or_leaves_a_gap(error):
    drawn = _drawable(error)
    assert drawn == error or math.isnan(drawn)
    assert math.isnan(drawn) or 1e-45 <= drawn <= 3.5e38


def pictures_of(make, input_shape, output_shape, *, layers=("learned",), examples=(0, 7, 8, 9, 3)):
    run = make.run()
    pipeline = run.pipeline.model_copy(update={"input_shape": input_shape, "output_shape": output_shape})
    metrics = make.metrics(*map(make.layer, layers), examples=examples)
    tensors = make.tensors(run.model_copy(update={"pipeline": pipeline}), metrics)
    shown = {name: tensors[f"layer.{name}"] for name in layers}
    return Pictures(tensors["inputs"], tensors["truth"], shown), metrics


def drawn_grid(figure, images, rows):
    """By image, then from top to bottom. The axes of the grid come before those of the colour bars."""
    return np.array(figure.axes[: rows * images]).reshape(rows, images).T


def pixels(axes):
    (image,) = axes.get_images()
    assert image.get_interpolation() == "nearest"
    return np.asarray(image.get_array())


@pytest.mark.parametrize(
    ("input_shape", "output_shape"),
    [((3, 32, 32), (1, 28, 28)), ((1, 17, 11), (3, 17, 11)), ((3, 1, 1), (1, 1, 1)), ((4, 9, 2), (2, 3, 8))],
    ids=str,
)
def test_comparison_shows_every_pixel(make, input_shape, output_shape):
    names = ("derived", "learned")
    pictures, metrics = pictures_of(make, input_shape, output_shape, layers=("learned", "derived"), examples=(0, 7))
    figure = draw_comparison(pictures, metrics, names)
    grid = drawn_grid(figure, 3, 6)
    for column in range(3):
        rows = [pictures.inputs, pictures.truth, pictures.layers["derived"], None, pictures.layers["learned"], None]
        for row, images in enumerate(rows):
            if images is None:
                error = 255 * np.abs(rows[row - 1][column].astype(float) - pictures.truth[column]).max(axis=0)
                np.testing.assert_allclose(pixels(grid[column, row]), error)
                assert grid[column, row].get_title().endswith(f", max. {grey_levels(error.max())}")
            else:
                image = images[column].clip(0, 1)
                expected = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
                np.testing.assert_array_equal(pixels(grid[column, row]), expected)
    if input_shape[1:] == (1, 1):
        encode_png(figure)


def test_comparison_states_the_error_of_each_image(make):
    pictures, metrics = pictures_of(make, (3, 4, 4), (1, 2, 2), examples=())
    pictures.layers["learned"][:] = pictures.truth
    pictures.layers["learned"][0, 0, 1, 0] += np.float32(0.5)
    title = drawn_grid(draw_comparison(pictures, metrics, ["learned"]), 1, 4)[0, 3].get_title()
    # One of four pixels is off by 0.5, or 127.5 grey levels: an MSE of 0.0625, which is 12.04 dB.
    assert title == "MSE 6.25×10⁻²\n12.0 dB, max. 127.5"


def test_examples_share_a_scale_and_the_worst_image_has_its_own(make):
    names = ("learned", "derived")
    pictures, metrics = pictures_of(make, (3, 8, 8), (1, 8, 8), layers=names, examples=(0, 7))
    grid = drawn_grid(draw_comparison(pictures, metrics, names), 3, 6)
    limits = np.array([[grid[column, row].get_images()[0].get_clim() for row in (3, 5)] for column in range(3)])
    errors = [255 * np.abs(layer.astype(float) - pictures.truth) for layer in pictures.layers.values()]
    assert (limits[..., 0] == 0).all()
    np.testing.assert_allclose(limits[:2, :, 1], max(error[:2].max() for error in errors))
    np.testing.assert_allclose(limits[2, :, 1], max(error[2].max() for error in errors))


def test_rows_and_columns_are_named(make):
    pictures, metrics = pictures_of(make, (3, 17, 11), (2, 5, 5), examples=(0, 7, 3))
    figure = draw_comparison(pictures, metrics, ["learned"])
    grid = drawn_grid(figure, 4, 4)
    named = [axes.get_title() for axes in grid[:, 0]]
    assert named == [*(f"test image {index}" for index in (0, 7, 3)), "worst image: 4711"]
    headings = [axes.get_ylabel() for axes in grid[0]]
    assert headings[0] == "input\n3×17×11"
    assert headings[2] == "learned layer\n2×5×5, first channel"
    assert headings[3] == "absolute error\nlargest of the channels"
    bars = [bar.get_xlabel() for bar in figure.axes[-2:]]
    assert bars == ["error of the examples, in grey levels", "of the worst (own scale)"]


def test_an_exact_layer_is_drawn_without_error(make):
    pictures, metrics = pictures_of(make, (3, 4, 4), (1, 4, 4), examples=(0, 7))
    pictures.layers["learned"][:] = pictures.truth
    figure = draw_comparison(pictures, metrics, ["learned"])
    axes = drawn_grid(figure, 3, 4)[2, 3]
    assert axes.get_title() == "MSE 0\n∞ dB, max. 0"
    assert not pixels(axes).any()
    figure.draw_without_rendering()


def test_predictions_of_some_layers_with_the_error_of_each(make):
    pictures, metrics = pictures_of(make, (3, 9, 5), (1, 7, 4), layers=("learned", "one", "$two$"))
    grid = drawn_grid(draw_predictions(pictures, metrics, ["$two$", "one"]), 6, 3)
    for column in range(6):
        for row, images in enumerate((pictures.truth, pictures.layers["$two$"], pictures.layers["one"])):
            np.testing.assert_array_equal(pixels(grid[column, row]), images[column, 0].clip(0, 1))
        error = 255 * np.abs(pictures.layers["one"][column].astype(float) - pictures.truth[column]).max()
        assert grid[column, 2].get_title().endswith(f", max. {grey_levels(error)}")
    assert [axes.get_ylabel() for axes in grid[0]] == ["ground truth\n1×7×4", "\\$two\\$\n1×7×4", "one\n1×7×4"]
    assert grid[0, 0].get_title() == "test image 0"
    assert grid[5, 0].get_title() == "worst image: 4711"


def test_a_layer_named_like_a_formula_is_drawn_as_it_stands(make):
    pictures, metrics = pictures_of(make, (3, 4, 4), (1, 4, 4), layers=(r"$\frac$",), examples=())
    assert encode_png(draw_comparison(pictures, metrics, [r"$\frac$"]))


def test_benchmark_chart_has_a_panel_per_device_and_a_line_per_peer(make):
    record = make.benchmark(make.times(), peers=(*make.peers, make.on_device))
    on_cuda = [
        make.case(case.batch_size, {"layer_on_device": make.timing(1e-3 * case.batch_size)}, "cuda")
        for case in record.cases
    ]
    record = record.model_copy(update={"cases": (*record.cases, *on_cuda)})
    figure = draw_benchmark(record)
    cpu, cuda = figure.axes
    assert (cpu.get_title(loc="left"), cuda.get_title(loc="left")) == ("CPU: Example CPU 9000", "CUDA")
    assert set(lines(cpu)) == {"sequential transforms", "batched transforms", "the layer"}
    assert set(lines(cuda)) == {"the layer, without copies"}
    batched = lines(cpu)["batched transforms"]
    sizes = [1024, 512, 256, 128, 64, 32, 16, 8]
    assert list(batched.get_xdata()) == sizes
    np.testing.assert_allclose(batched.get_ydata(), [500 * (1 + 8 / size) for size in sizes])
    # Copies left out: no contender, hence dashed.
    assert (batched.get_linestyle(), lines(cuda)["the layer, without copies"].get_linestyle()) == ("-", "--")
    # The second band is that of the second peer, and reaches from quartile to quartile.
    band = cpu.collections[1].get_paths()[0].vertices
    at_8 = band[band[:, 0] == 8][:, 1]
    assert (at_8.min(), at_8.max()) == pytest.approx((980.0, 1020.0))
    assert cpu.get_ylabel() == "ms for 10,000 images of one size (log scale)"
    assert (cpu.get_xscale(), cpu.get_yscale()) == ("log", "log")
    assert cpu.xaxis.get_transform().base == 2


def test_benchmark_of_one_row_can_be_drawn(make):
    times = {8: {"layer": make.timing(0.5)}}
    assert encode_png(draw_benchmark(make.benchmark(times)))


def test_png_says_nothing_of_when_or_with_what_it_was_made(make):
    with Image.open(io.BytesIO(encode_png(draw_training(make.history(), make.run())))) as image:
        assert set(image.info) == {"dpi"}


def test_weights_are_drawn_as_they_are_on_one_scale(make):
    weights = {
        "learned": np.linspace(-0.5, 0.25, 3 * 17 * 11, dtype=np.float32).reshape(3, 17, 11),
        "derived": np.zeros((3, 17, 11), np.float32),
    }
    weights["derived"][1, 4, 5] = 1.0
    figure = draw_weights(weights, (0, 3, 7))
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    # A column per layer, a row per channel.
    planes = [weights[name][channel] for channel in range(3) for name in ("learned", "derived")]
    for image, plane in zip(images, planes, strict=True):
        np.testing.assert_array_equal(image.get_array(), plane)
        assert (image.norm.vmin, image.norm.vmax) == (-1.0, 1.0)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["learned", "derived"]
    assert [axes.get_ylabel() for axes in figure.axes[:6:2]] == ["red", "green", "blue"]
    assert "row 3, column 7" in figure.get_suptitle()

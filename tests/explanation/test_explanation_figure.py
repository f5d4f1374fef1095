"""The weights that are drawn, against what the program does to impulses."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import sparse
from torchvision.transforms import InterpolationMode, v2

from onelayer import OnelayerError, pipelines
from onelayer.algebra import AxisMap, Clamp, Dense, Lookup, Operator, Program, Separable, Shape, SpatialSparse
from onelayer.algebra.operator import WindowWeights
from onelayer.explanation import explain
from onelayer.explanation.figure import draw
from onelayer.explanation.weights import first_run, weights_of

# Sums of a few dozen products of float64 weights of order one.
ROUNDING = 1e-12


def in_whole_image(window: WindowWeights, shape: Shape) -> NDArray[np.float64]:
    image = np.zeros(shape)
    image[:, *window.place] = window.weights
    return image


def by_impulses(program: Program, channel: int, row: int, col: int) -> tuple[NDArray[np.float64], float]:
    """What each input value adds to an output value, one at a time; and the output of a black image."""
    size = int(np.prod(program.in_shape))
    black = float(program.apply(np.zeros(program.in_shape))[channel, row, col])
    bright = program.apply(np.eye(size).reshape(size, *program.in_shape))[:, channel, row, col]
    return (bright - black).reshape(program.in_shape), black


def separable(
    rng: np.random.Generator, shape: Shape, channels: int, size: tuple[int, int], transpose: bool
) -> Separable:
    height, width = (shape[2], shape[1]) if transpose else shape[1:]
    rows, cols = (
        AxisMap.resample(n_in, n_out, "bicubic", True) @ AxisMap.flip(n_in)
        for n_in, n_out in zip((height, width), size, strict=True)
    )
    return Separable(
        rng.normal(size=(channels, shape[0])), rows, cols, rng.normal(size=(channels, *size)), transpose=transpose
    )


def warp(rng: np.random.Generator, shape: Shape, size: tuple[int, int]) -> SpatialSparse:
    matrix = sparse.random_array((size[0] * size[1], shape[1] * shape[2]), density=0.1, rng=rng)
    return SpatialSparse(rng.normal(size=(2, shape[0])), matrix, shape[1:], size, rng.normal(size=2))


def dense(rng: np.random.Generator, shape: Shape, out_shape: Shape) -> Dense:
    outputs, inputs = int(np.prod(out_shape)), int(np.prod(shape))
    return Dense(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs), shape, out_shape)


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(SIZES, SIZES, SIZES), transpose=st.booleans(), data=st.data())
def test_windows_are_what_impulses_give(
    seed: int, sizes: tuple[tuple[int, int], ...], transpose: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    shape: Shape = (3, *sizes[0])
    run: list[Operator] = []
    for size in sizes[1:]:
        kind = data.draw(st.sampled_from(["separable", "warp", "dense"]))
        if kind == "separable":
            run.append(separable(rng, shape, 2, size, transpose))
        else:
            run.append(warp(rng, shape, size) if kind == "warp" else dense(rng, shape, (2, *size)))
        shape = run[-1].out_shape
    pixel = tuple(data.draw(st.integers(0, length - 1)) for length in shape)
    window = weights_of(run, *pixel)
    program = Program((3, *sizes[0]), tuple(run))
    weights, black = by_impulses(program, *pixel)
    scale = max(1.0, float(np.abs(weights).max()), abs(black)) * 10
    np.testing.assert_allclose(in_whole_image(window, program.in_shape), weights, rtol=0, atol=ROUNDING * scale)
    assert window.offset == pytest.approx(black, abs=ROUNDING * scale)
    # One linear map by the operator's own transposition.
    one = np.zeros(run[-1].out_shape)
    one[pixel] = 1.0
    transposed = run[0].apply_transposed(run[1].apply_transposed(one))
    np.testing.assert_allclose(in_whole_image(window, program.in_shape), transposed, rtol=0, atol=ROUNDING * scale)


def test_the_first_run_of_operators() -> None:
    table, same = Lookup(np.arange(256.0)[::-1]), Separable.identity((1, 17, 11))
    assert first_run(Program((1, 17, 11), (table, same, same, Clamp(0, 1), same))) == (same, same)
    assert first_run(Program((1, 17, 11), (Clamp(0, 1),))) == ()


def images_of(figure: Figure) -> list[NDArray[np.float64]]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def titles_of(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


def test_the_report_has_two_matrices_and_three_windows() -> None:
    explanation = explain(pipelines.report_transform(), (3, 32, 32))
    figure = explanation.figure()
    rows, cols, centre, *corners = images_of(figure)
    (stage,) = explanation.program.stages
    assert isinstance(stage, Separable)
    np.testing.assert_array_equal(rows, stage.rows.to_dense())
    np.testing.assert_array_equal(cols, stage.cols.to_dense())
    assert [title.splitlines()[0] for title in titles_of(figure)] == [
        "28 × 32, 3 taps",
        "28 × 32, 3 taps",
        "Output pixel (14, 14)",
        "Output pixel (0, 0)",
        "Output pixel (27, 27)",
    ]
    # Green weighs most in grey.
    assert "input channel 1\nsums of channels 0.299, 0.587, 0.114" in titles_of(figure)[2]
    weights, _ = by_impulses(explanation.program, 0, 14, 14)
    read = np.nonzero(weights[1])
    window = weights[1][read[0].min() : read[0].max() + 1, read[1].min() : read[1].max() + 1]
    np.testing.assert_allclose(centre, window, rtol=0, atol=ROUNDING)
    # Both flips: the first output pixel reads the last two of the input, with axes labelled in its coordinates.
    corner = panel(figure, "Output pixel (0, 0)")
    assert len(corners) == 2
    assert corner.get_images()[0].get_extent() == [29.5, 31.5, 31.5, 29.5]
    assert sorted(text.get_text() for text in corner.texts) == sorted(f"{weight:.3f}" for weight in corners[0].ravel())


def test_colours_are_centred_on_zero() -> None:
    figure = explain(v2.Resize(20, interpolation=InterpolationMode.BICUBIC), (3, 45, 60)).figure()
    for axes in figure.axes:
        for image in axes.get_images():
            low, high = image.get_clim()
            assert -low == high == np.abs(image.get_array()).max()


def test_chosen_pixels_and_channel() -> None:
    explanation = explain(v2.Normalize([0.0, 0.0, 0.5], [1.0, 1.0, 0.25]), (3, 17, 11))
    figure = explanation.figure([(16, 10), (3, 4)], channel=2)
    # A scale has no map of the axes worth a picture.
    assert titles_of(figure) == [
        "Output pixel (16, 10)\ninput channel 2; plus -2",
        "Output pixel (3, 4)\ninput channel 2; plus -2",
    ]
    assert [image.tolist() for image in images_of(figure)] == [[[4.0]], [[4.0]]]


@pytest.mark.parametrize(("pixels", "channel"), [([(17, 0)], 0), ([(0, -1)], 0), ([], 0), ([(0, 0)], 3)])
def test_pixels_that_are_not_there(pixels: list[tuple[int, int]], channel: int) -> None:
    explanation = explain(v2.Normalize([0.5], [0.5]), (3, 17, 11))
    with pytest.raises(OnelayerError, match="3×17×11"):
        explanation.figure(pixels, channel)


def test_one_pixel_is_one_window() -> None:
    figure = explain(v2.Resize((1, 1)), (3, 1, 1)).figure()
    assert "The pipeline changes nothing" in figure.axes[0].texts[0].get_text()
    figure = explain(v2.Normalize([0.5], [0.5]), (1, 1, 1)).figure()
    assert titles_of(figure) == ["Output pixel (0, 0)\nplus -1"]


def test_only_activations() -> None:
    figure = explain(v2.RandomSolarize(128, p=1), (3, 17, 11), dtype="uint8").figure()
    assert "look up in a table" in figure.axes[0].texts[0].get_text()


def test_padding_reads_nothing() -> None:
    figure = explain(v2.Pad(1, fill=0.5), (1, 3, 3)).figure([(0, 0)])
    corner = panel(figure, "Output pixel (0, 0)")
    assert [text.get_text() for text in corner.texts] == ["reads nothing"]
    assert corner.get_title() == "Output pixel (0, 0)\nplus 0.5"


def test_other_operators_have_windows_only() -> None:
    rng = np.random.default_rng(0)
    operators: list[Operator] = [warp(rng, (3, 17, 11), (5, 4)), dense(rng, (3, 17, 11), (1, 2, 2))]
    for operator in operators:
        figure = draw(Program((3, 17, 11), (operator,)), [(1, 0), (0, 1), (1, 1), (0, 0)], 0)
        assert [title.splitlines()[0] for title in titles_of(figure)] == [
            f"Output pixel {pixel}" for pixel in ((1, 0), (0, 1), (1, 1), (0, 0))
        ]
    figure.savefig(io.BytesIO(), dpi=40)


def test_long_axes_are_thinned_and_add_up() -> None:
    preset = v2.Compose([v2.Resize(512), v2.CenterCrop((512, 300)), v2.ToDtype(torch.float32, scale=True)])
    figure = explain(preset, (3, 3000, 4000), dtype="uint8", rounding="fused").figure()
    rows, cols = images_of(figure)[:2]
    assert rows.shape == (256, 250)
    assert cols.shape == (150, 250)
    # Every row of the matrix is normalised, so what is summed over all of its input is one.
    np.testing.assert_allclose(np.vstack([rows, cols]).sum(axis=1), 1.0, rtol=0, atol=ROUNDING)
    assert titles_of(figure)[0] == "512 × 3000, 12 taps\n(one output of 2, each cell sums 12 inputs)"


def test_a_window_as_large_as_the_image_is_thinned() -> None:
    mean = Separable.of_axes(1, *(AxisMap.resample(n, 1, "box", True) for n in (600, 700)))
    figure = draw(Program((1, 600, 700), (mean,)), None, 0)
    window = images_of(figure)[2]
    assert window.shape == (200, 234)
    np.testing.assert_allclose(window, 1 / (600 * 700), rtol=1e-9)
    assert "one pixel of 3 × 3" in titles_of(figure)[2]

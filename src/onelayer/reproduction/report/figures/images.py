"""Draw test images as grids: one column per image, the examples first, then the worst of the learned layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from onelayer.formats import GREY_LEVELS, decibels, grey_levels, psnr, scientific, shape
from onelayer.plotting import COLOURS, escape_dollars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.gridspec import GridSpec
    from numpy.typing import NDArray

    from onelayer.reproduction.records import MetricsRecord
    from onelayer.reproduction.report.saved import Pictures

_COLUMN = 1.75
"""Width of a column in inches."""
_TITLE = 0.42
"""Height of the text above a row in inches."""
_SCALES = 0.7
"""Height of the scales of error at the foot in inches."""
_ERROR_COLOURS = "magma"


def draw_comparison(pictures: Pictures, metrics: MetricsRecord, names: Sequence[str]) -> Figure:
    """Draw one column per image: input, ground truth, and some layers' predictions, each above its error.

    Pixels are drawn as they are, without smoothing. Images are clipped to [0, 1] for display; errors are taken from the
    unclipped values. The examples share one scale of error; the worst image has its own.

    Args:
        pictures: Pictures of the run.
        metrics: Record that the pictures belong to.
        names: Names of the layers to draw, from top to bottom.
    """
    columns, examples = len(pictures.inputs), len(metrics.examples)
    rows = 2 + 2 * len(names)
    size = (_COLUMN * columns + 0.5, _row_height(pictures.inputs, pictures.truth) * rows + _TITLE + _SCALES)
    figure = Figure(figsize=size, layout="constrained")
    spec = figure.add_gridspec(rows + 1, columns, height_ratios=[1] * rows + [0.07])
    grid = _image_axes(figure, spec, rows, columns)
    for group, label in (
        (range(examples), "error of the examples, in grey levels"),
        (range(examples, columns), "of the worst (own scale)"),
    ):
        if group:
            bar = figure.add_subplot(spec[rows, group.start : group.stop])
            scale = _draw_columns(grid, pictures, names, group)
            figure.colorbar(scale, cax=bar, label=label, orientation="horizontal")
    _name_columns(grid[0], metrics)
    _name_comparison_rows(grid, pictures, names)
    return figure


def _draw_columns(grid: list[list[Axes]], pictures: Pictures, names: Sequence[str], columns: range) -> ScalarMappable:
    """Draw some columns and return the scale of error that they share, in grey levels."""
    maps = {
        (column, name): error_map(pictures.layers[name][column], pictures.truth[column])
        for column in columns
        for name in names
    }
    # Columns without any error have nothing to end their scale at.
    scale = Normalize(0, max((float(each.max()) for each in maps.values()), default=0.0) or 1.0)
    for column in columns:
        axes = (row[column] for row in grid)
        _show(next(axes), pictures.inputs[column])
        _show(next(axes), pictures.truth[column])
        for name in names:
            prediction = pictures.layers[name][column]
            _show(next(axes), prediction)
            beneath = next(axes)
            beneath.imshow(maps[column, name], cmap=_ERROR_COLOURS, norm=scale, interpolation="nearest")
            _state_error(beneath, prediction, pictures.truth[column])
    return ScalarMappable(scale, _ERROR_COLOURS)


def _name_comparison_rows(grid: list[list[Axes]], pictures: Pictures, names: Sequence[str]) -> None:
    outputs = pictures.truth.shape[1:]
    largest = "grey levels" if outputs[0] == 1 else "largest of the channels"
    _name_row(grid[0][0], "input", _extent(pictures.inputs.shape[1:]))
    _name_row(grid[1][0], "ground truth", _extent(outputs))
    for number, name in enumerate(names):
        _name_row(grid[2 + 2 * number][0], f"{escape_dollars(name)} layer", _extent(outputs))
        _name_row(grid[3 + 2 * number][0], "absolute error", largest)


def draw_predictions(pictures: Pictures, metrics: MetricsRecord, names: Sequence[str]) -> Figure:
    """Draw one column per image: the ground truth, and the predictions of some layers, each beneath its error.

    There are no maps of the errors: these layers differ in numbers only. Images are clipped to [0, 1] for display;
    errors are taken from the unclipped values.

    Args:
        pictures: Pictures of the run.
        metrics: Record that the pictures belong to.
        names: Names of the layers, at least one.
    """
    rows, columns = 1 + len(names), len(pictures.inputs)
    size = (_COLUMN * columns + 0.5, _row_height(pictures.truth) * rows + _TITLE)
    figure = Figure(figsize=size, layout="constrained")
    grid = _image_axes(figure, figure.add_gridspec(rows, columns), rows, columns)
    _name_columns(grid[0], metrics)
    outputs = _extent(pictures.truth.shape[1:])
    _name_row(grid[0][0], "ground truth", outputs)
    for axes, image in zip(grid[0], pictures.truth, strict=True):
        _show(axes, image)
    for row, name in zip(grid[1:], names, strict=True):
        _name_row(row[0], escape_dollars(name), outputs)
        for axes, prediction, truth in zip(row, pictures.layers[name], pictures.truth, strict=True):
            _show(axes, prediction)
            _state_error(axes, prediction, truth)
    return figure


@dataclass(frozen=True)
class ImageError:
    """Error of one predicted image: PSNR in dB (None if exact), largest error in grey levels."""

    mse: float
    psnr_db: float | None
    max_grey_levels: float


def image_error(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> ImageError:
    """Measure the error of one image, unclipped.

    Args:
        prediction: Output of a layer, of any shape.
        truth: Output of the transforms, of the same shape, in [0, 1].
    """
    # In double precision: the squares of float32 errors of an almost exact layer would underflow.
    difference = prediction.astype(np.float64) - truth.astype(np.float64)
    mse = float(np.mean(np.square(difference)))
    return ImageError(mse, psnr(mse), GREY_LEVELS * float(np.max(np.abs(difference))))


def error_map(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the absolute error in grey levels of each pixel, [C, H, W] → [H, W]: the largest of the channels."""
    difference = prediction.astype(np.float64) - truth.astype(np.float64)
    largest: NDArray[np.float64] = GREY_LEVELS * np.abs(difference).max(axis=0)
    return largest


def _row_height(*images: NDArray[np.float32]) -> float:
    """Compute the height in inches of a row, its title included, that the tallest of some images [N, C, H, W] fits."""
    tallest = max(height / width for height, width in (each.shape[2:] for each in images))
    return _COLUMN * float(np.clip(tallest, 0.4, 2.5)) + _TITLE


def _image_axes(figure: Figure, spec: GridSpec, rows: int, columns: int) -> list[list[Axes]]:
    grid = [[figure.add_subplot(spec[row, column]) for column in range(columns)] for row in range(rows)]
    for axes in chain.from_iterable(grid):
        axes.set_xticks([])
        axes.set_yticks([])
    return grid


def _show(axes: Axes, image: NDArray[np.float32]) -> None:
    """Show an image, clipped to [0, 1]: [3, H, W] in colour; of any other number of channels the first, in grey."""
    shown = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _name_columns(top: list[Axes], metrics: MetricsRecord) -> None:
    for axes, index in zip(top, metrics.examples, strict=False):
        axes.set_title(f"test image {index}", fontsize=9)
    worst = metrics.layers[0].worst_image
    top[-1].set_title(f"worst image: {worst}", fontsize=9, fontweight="bold", color=COLOURS[1])


def _name_row(first: Axes, *lines: str) -> None:
    first.set_ylabel("\n".join(lines), fontsize=9, fontweight="bold")


def _state_error(axes: Axes, prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
    error = image_error(prediction, truth)
    axes.set_title(
        f"MSE {scientific(error.mse)}\n{decibels(error.psnr_db)}, max. {grey_levels(error.max_grey_levels)}",
        fontsize=8.5,
    )


def _extent(size: tuple[int, ...]) -> str:
    """Name the size of an image, and what of it :func:`_show` shows."""
    return shape(size) if size[0] in (1, 3) else f"{shape(size)}, first channel"

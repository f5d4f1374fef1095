"""Inputs, ground truth and predictions side by side."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from onelayer.report.figures.style import COLOURS, plain
from onelayer.report.formats import decibels, grey_levels, scientific, shape
from onelayer.report.quality import error_map, image_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from onelayer.records import MetricsRecord
    from onelayer.report.pictures import Pictures

_WIDTH = 1.75
"""Inches of one column."""
_TITLES = 0.42
"""Inches of the text above one row."""
_ERROR_COLOURS = "magma"


def draw_comparison(pictures: Pictures, metrics: MetricsRecord) -> Figure:
    """Draw one row per image: input, ground truth, and each layer's prediction with its error beside it.

    Pixels are drawn as they are, without smoothing. What is shown of an image is clipped to [0, 1]; errors are taken
    from the unclipped values. The examples share one scale of error; the worst image has its own.

    Args:
        pictures: As :func:`onelayer.report.pictures.read_pictures` returns them.
        metrics: The record that they belong to.
    """
    rows, examples = len(pictures.inputs), len(metrics.examples)
    columns = 2 + 2 * len(pictures.layers)
    tallest = max(height / width for height, width in (pictures.inputs.shape[2:], pictures.truth.shape[2:]))
    row_height = _WIDTH * float(np.clip(tallest, 0.4, 2.5)) + _TITLES
    figure = Figure(figsize=(_WIDTH * columns + 1.1, row_height * rows + _TITLES), layout="constrained")
    spec = figure.add_gridspec(rows, columns + 1, width_ratios=[1] * columns + [0.09])
    grid = [[figure.add_subplot(spec[row, column]) for column in range(columns)] for row in range(rows)]
    for axes in chain.from_iterable(grid):
        axes.set_xticks([])
        axes.set_yticks([])
    for group, label in (
        (range(examples), "error of the examples"),
        (range(examples, rows), "of the worst (own scale)"),
    ):
        if group:
            bar = figure.add_subplot(spec[group.start : group.stop, columns])
            figure.colorbar(_draw_rows(grid, pictures, group), cax=bar, label=label)
    _name_rows(grid, metrics)
    _name_columns(grid, pictures)
    return figure


def _draw_rows(grid: list[list[Axes]], pictures: Pictures, rows: range) -> ScalarMappable:
    """Draw some rows and return the scale of error that they share, in grey levels."""
    maps = {
        (row, name): error_map(outputs[row], pictures.truth[row])
        for row in rows
        for name, outputs in pictures.layers.items()
    }
    # Rows without any error have nothing to end their scale at.
    scale = Normalize(0, max(float(each.max()) for each in maps.values()) or 1.0)
    for row in rows:
        axes = iter(grid[row])
        _show(next(axes), pictures.inputs[row])
        _show(next(axes), pictures.truth[row])
        for name, outputs in pictures.layers.items():
            _show(next(axes), outputs[row])
            beside, error = next(axes), image_error(outputs[row], pictures.truth[row])
            beside.imshow(maps[row, name], cmap=_ERROR_COLOURS, norm=scale, interpolation="nearest")
            beside.set_title(
                f"MSE {scientific(error.mse)}\n{decibels(error.psnr_db)}, max. {grey_levels(error.max_grey_levels)}",
                fontsize=8.5,
            )
    return ScalarMappable(scale, _ERROR_COLOURS)


def _show(axes: Axes, image: NDArray[np.float32]) -> None:
    """[3, H, W] in colours; of any other number of channels the first, in grey."""
    shown = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _name_rows(grid: list[list[Axes]], metrics: MetricsRecord) -> None:
    for row, index in enumerate(metrics.examples):
        grid[row][0].set_ylabel(f"test image {index}", fontsize=9)
    worst = metrics.layers[0].worst_image
    grid[-1][0].set_ylabel(f"worst image: {worst}", fontsize=9, fontweight="bold", color=COLOURS[1])


def _name_columns(grid: list[list[Axes]], pictures: Pictures) -> None:
    outputs = pictures.truth.shape[1:]
    names = [("input", _extent(pictures.inputs.shape[1:])), ("ground truth", _extent(outputs))]
    for layer in pictures.layers:
        largest = "grey levels" if outputs[0] == 1 else "largest of the channels"
        names += [(f"{plain(layer)} layer", _extent(outputs)), ("absolute error", largest)]
    for axes, lines in zip(grid[0], names, strict=True):
        # Higher than the titles of the error maps, in every column alike.
        axes.annotate(
            "\n".join(lines),
            xy=(0.5, 1),
            xytext=(0, 30),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            fontweight="bold",
        )


def _extent(size: tuple[int, ...]) -> str:
    return shape(size) if size[0] in (1, 3) else f"{shape(size)}, first channel"

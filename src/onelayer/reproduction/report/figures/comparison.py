"""Inputs, ground truth and predictions side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from onelayer.plotting import plain
from onelayer.reproduction.report.figures.image_grid import (
    COLUMN,
    TITLE,
    extent,
    image_axes,
    name_columns,
    name_row,
    row_height,
    show,
    state_error,
)
from onelayer.reproduction.report.quality import error_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from onelayer.reproduction.records import MetricsRecord
    from onelayer.reproduction.report.pictures import Pictures

_BARS = 0.7
"""Inches of the scales of error at the foot."""
_ERROR_COLOURS = "magma"


def draw_comparison(pictures: Pictures, metrics: MetricsRecord) -> Figure:
    """Draw one column per image: input, ground truth, and each layer's prediction with its error beneath it.

    Pixels are drawn as they are, without smoothing. What is shown of an image is clipped to [0, 1]; errors are taken
    from the unclipped values. The examples share one scale of error; the worst image has its own.

    Args:
        pictures: As :func:`onelayer.reproduction.report.pictures.read_pictures` returns them.
        metrics: The record that they belong to.
    """
    columns, examples = len(pictures.inputs), len(metrics.examples)
    rows = 2 + 2 * len(pictures.layers)
    size = (COLUMN * columns + 0.5, row_height(pictures.inputs, pictures.truth) * rows + TITLE + _BARS)
    figure = Figure(figsize=size, layout="constrained")
    spec = figure.add_gridspec(rows + 1, columns, height_ratios=[1] * rows + [0.07])
    grid = image_axes(figure, spec, rows, columns)
    for group, label in (
        (range(examples), "error of the examples, in grey levels"),
        (range(examples, columns), "of the worst (own scale)"),
    ):
        if group:
            bar = figure.add_subplot(spec[rows, group.start : group.stop])
            scale = _draw_columns(grid, pictures, group)
            figure.colorbar(scale, cax=bar, label=label, orientation="horizontal")
    name_columns(grid[0], metrics)
    _name_rows(grid, pictures)
    return figure


def _draw_columns(grid: list[list[Axes]], pictures: Pictures, columns: range) -> ScalarMappable:
    """Draw some columns and return the scale of error that they share, in grey levels."""
    maps = {
        (column, name): error_map(outputs[column], pictures.truth[column])
        for column in columns
        for name, outputs in pictures.layers.items()
    }
    # Columns without any error have nothing to end their scale at.
    scale = Normalize(0, max(float(each.max()) for each in maps.values()) or 1.0)
    for column in columns:
        axes = (row[column] for row in grid)
        show(next(axes), pictures.inputs[column])
        show(next(axes), pictures.truth[column])
        for name, outputs in pictures.layers.items():
            show(next(axes), outputs[column])
            beneath = next(axes)
            beneath.imshow(maps[column, name], cmap=_ERROR_COLOURS, norm=scale, interpolation="nearest")
            state_error(beneath, outputs[column], pictures.truth[column])
    return ScalarMappable(scale, _ERROR_COLOURS)


def _name_rows(grid: list[list[Axes]], pictures: Pictures) -> None:
    outputs = pictures.truth.shape[1:]
    largest = "grey levels" if outputs[0] == 1 else "largest of the channels"
    name_row(grid[0][0], "input", extent(pictures.inputs.shape[1:]))
    name_row(grid[1][0], "ground truth", extent(outputs))
    for number, layer in enumerate(pictures.layers):
        name_row(grid[2 + 2 * number][0], f"{plain(layer)} layer", extent(outputs))
        name_row(grid[3 + 2 * number][0], "absolute error", largest)

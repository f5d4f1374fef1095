"""The same test images by several layers, without maps of their errors: for layers that only numbers tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onelayer.reproduction.records import MetricsRecord
    from onelayer.reproduction.report.pictures import Pictures


def draw_predictions(pictures: Pictures, metrics: MetricsRecord, names: Sequence[str]) -> Figure:
    """Draw one column per image: the ground truth, and the predictions of some layers, each beneath its error.

    What is shown is clipped to [0, 1]; errors are taken from the unclipped values.

    Args:
        pictures: As :func:`onelayer.reproduction.report.pictures.read_pictures` returns them.
        metrics: The record that they belong to.
        names: Of the layers, at least one.
    """
    rows, columns = 1 + len(names), len(pictures.inputs)
    size = (COLUMN * columns + 0.5, row_height(pictures.truth) * rows + TITLE)
    figure = Figure(figsize=size, layout="constrained")
    grid = image_axes(figure, figure.add_gridspec(rows, columns), rows, columns)
    name_columns(grid[0], metrics)
    outputs = extent(pictures.truth.shape[1:])
    name_row(grid[0][0], "ground truth", outputs)
    for axes, image in zip(grid[0], pictures.truth, strict=True):
        show(axes, image)
    for row, name in zip(grid[1:], names, strict=True):
        name_row(row[0], plain(name), outputs)
        for axes, prediction, truth in zip(row, pictures.layers[name], pictures.truth, strict=True):
            show(axes, prediction)
            state_error(axes, prediction, truth)
    return figure

"""Test images as a grid: one column per image, the examples first, then the worst of the learned layer."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from onelayer.formats import decibels, grey_levels, scientific, shape
from onelayer.plotting import COLOURS
from onelayer.reproduction.report.quality import image_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec
    from numpy.typing import NDArray

    from onelayer.reproduction.records import MetricsRecord

COLUMN = 1.75
"""Inches of one column."""
TITLE = 0.42
"""Inches of the text above one row."""


def row_height(*images: NDArray[np.float32]) -> float:
    """Inches of a row, its title included, that the tallest of some images [N, C, H, W] fits into."""
    tallest = max(height / width for height, width in (each.shape[2:] for each in images))
    return COLUMN * float(np.clip(tallest, 0.4, 2.5)) + TITLE


def image_axes(figure: Figure, spec: GridSpec, rows: int, columns: int) -> list[list[Axes]]:
    """Axes for images in the first rows of a grid."""
    grid = [[figure.add_subplot(spec[row, column]) for column in range(columns)] for row in range(rows)]
    for axes in chain.from_iterable(grid):
        axes.set_xticks([])
        axes.set_yticks([])
    return grid


def show(axes: Axes, image: NDArray[np.float32]) -> None:
    """An image, clipped to [0, 1]: [3, H, W] in colours; of any other number of channels the first, in grey."""
    shown = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def name_columns(top: list[Axes], metrics: MetricsRecord) -> None:
    """Title the columns with the numbers of their images."""
    for axes, index in zip(top, metrics.examples, strict=False):
        axes.set_title(f"test image {index}", fontsize=9)
    worst = metrics.layers[0].worst_image
    top[-1].set_title(f"worst image: {worst}", fontsize=9, fontweight="bold", color=COLOURS[1])


def name_row(first: Axes, *lines: str) -> None:
    """Say before its first image what a row is."""
    first.set_ylabel("\n".join(lines), fontsize=9, fontweight="bold")


def state_error(axes: Axes, prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
    """Title an image with its error before clipping."""
    error = image_error(prediction, truth)
    axes.set_title(
        f"MSE {scientific(error.mse)}\n{decibels(error.psnr_db)}, max. {grey_levels(error.max_grey_levels)}",
        fontsize=8.5,
    )


def extent(size: tuple[int, ...]) -> str:
    """The size of an image, and what of it :func:`show` shows."""
    return shape(size) if size[0] in (1, 3) else f"{shape(size)}, first channel"

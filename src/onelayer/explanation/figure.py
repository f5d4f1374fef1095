"""Draw the weights of a program: axis maps as matrices, and the windows that single output pixels read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure, SubFigure
from scipy import sparse

from onelayer.algebra import AxisMap, Operator, Program, Separable
from onelayer.algebra.operator import FloatArray, WindowWeights
from onelayer.errors import OnelayerError
from onelayer.explanation.weights import default_pixels, first_run, weights_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_COLOURS = "RdBu"
"""Colour map: negative weights red, positive ones blue, zero white."""
_LONGEST = 256
"""Maximum number of cells along each side; in a larger matrix a band would be too thin to be seen."""
_WRITTEN = 8
"""Maximum height and width of a window whose weights are written into it as numbers."""
_SUMS = 4
"""Maximum number of input channels whose sums of weights are named."""
_SQUARISH = 3
"""Ratio of the sides up to which a window is drawn with square pixels."""
_INCHES = 3.4
"""Width and height of one panel, titles included."""
_IN_A_ROW = 3
"""Panels side by side."""


def draw(program: Program, pixels: Sequence[tuple[int, int]] | None, channel: int) -> Figure:
    """Draw a program; see :meth:`onelayer.explanation.Explanation.figure`."""
    run = first_run(program)
    if not run:
        return _without_weights(program)
    chosen = _checked(run[-1], pixels, channel)
    axes = [
        (at, stage)
        for at, stage in enumerate(program.stages)
        if isinstance(stage, Separable) and not (stage.rows.is_identity and stage.cols.is_identity)
    ]
    columns = min(max(len(chosen), 2), _IN_A_ROW)
    lines = math.ceil(len(chosen) / columns)
    heights = [1.0] * len(axes) + [float(lines)]
    figure = Figure(figsize=(_INCHES * columns, _INCHES * sum(heights)), layout="constrained")
    blocks = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).ravel()
    for block, (at, stage) in zip(blocks, axes, strict=False):
        _draw_axes(block, f"Stage {at}: {stage.description}", stage)
    last = next(at for at, stage in enumerate(program.stages) if isinstance(stage, Operator)) + len(run) - 1
    title = f"What output pixels of stage {last} read (channel {channel})"
    _draw_pixels(blocks[-1], title, [(*pixel, weights_of(run, channel, *pixel)) for pixel in chosen], (lines, columns))
    return figure


def _without_weights(program: Program) -> Figure:
    stages = "; ".join(stage.description for stage in program.stages)
    figure = Figure(figsize=(2 * _INCHES, 1.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    text = f"Every pixel stays where it is: {stages}" if stages else "The pipeline changes nothing"
    axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def _checked(last: Operator, pixels: Sequence[tuple[int, int]] | None, channel: int) -> list[tuple[int, int]]:
    channels, height, width = last.out_shape
    chosen = default_pixels(last.out_shape) if pixels is None else [(int(row), int(col)) for row, col in pixels]
    inside = all(0 <= row < height and 0 <= col < width for row, col in chosen)
    if not chosen or not inside or channel not in range(channels):
        raise OnelayerError(
            f"the output pixels {chosen} of channel {channel} were asked for",
            expected=f"(row, column) of at least one pixel, within an output of {channels}×{height}×{width}",
        )
    return chosen


def _draw_axes(block: SubFigure, title: str, operator: Separable) -> None:
    block.suptitle(title, fontsize=10)
    places = block.subplots(1, 2)
    for axes, axis, name in zip(places, (operator.rows, operator.cols), ("row", "column"), strict=True):
        matrix, note = _thinned(axis)
        image = _show(axes, matrix, (-0.5, axis.n_in - 0.5, axis.n_out - 0.5, -0.5), aspect="auto")
        taps = "1 tap" if axis.taps == 1 else f"{axis.taps} taps"
        axes.set_title(f"{axis.n_out} × {axis.n_in}, {taps}{note}", fontsize=9)
        axes.set_xlabel(f"input {name}", fontsize=9)
        axes.set_ylabel(f"output {name}", fontsize=9)
        block.colorbar(image, ax=axes, shrink=0.9).ax.tick_params(labelsize=8)


def _thinned(axis: AxisMap) -> tuple[FloatArray, str]:
    """Make the matrix of an axis map, and a note; of a long axis, take every n-th row and add up groups of columns."""
    each, among = math.ceil(axis.n_out / _LONGEST), math.ceil(axis.n_in / _LONGEST)
    groups = np.arange(axis.n_in) // among
    summing = sparse.csr_array((np.ones(axis.n_in), (np.arange(axis.n_in), groups)))
    notes = [f"one output of {each}" if each > 1 else "", f"each cell sums {among} inputs" if among > 1 else ""]
    note = ", ".join(filter(None, notes))
    return (axis.to_sparse()[::each] @ summing).toarray(), f"\n({note})" if note else ""


def _draw_pixels(
    block: SubFigure, title: str, pixels: list[tuple[int, int, WindowWeights]], grid: tuple[int, int]
) -> None:
    block.suptitle(title, fontsize=10)
    places = block.subplots(*grid, squeeze=False).ravel()
    for axes in places[len(pixels) :]:
        axes.set_axis_off()
    for axes, (row, col, window) in zip(places, pixels, strict=False):
        _draw_window(block, axes, f"Output pixel ({row}, {col})", window)


def _draw_window(block: SubFigure, axes: Axes, title: str, window: WindowWeights) -> None:
    sizes = [float(np.abs(weights).sum()) for weights in window.weights]
    strongest = int(np.argmax(sizes))
    weights = window.weights[strongest]
    height, width = weights.shape
    each = math.ceil(max(height, width) / _LONGEST)
    extent = (window.left - 0.5, window.left + width - 0.5, window.top + height - 0.5, window.top - 0.5)
    long = max(height, width) > _SQUARISH * min(height, width)
    image = _show(axes, weights[::each, ::each], extent, aspect="auto" if long else "equal")
    axes.set_title("\n".join(filter(None, [title, *_notes(window, strongest, each)])), fontsize=9)
    if not any(sizes):
        axes.text(window.left, window.top, "reads nothing", ha="center", va="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xlabel("input column", fontsize=9)
    axes.set_ylabel("input row", fontsize=9)
    if max(height, width) <= _WRITTEN:
        _write_numbers(axes, weights, window)
    else:
        block.colorbar(image, ax=axes, shrink=0.7).ax.tick_params(labelsize=8)


def _notes(window: WindowWeights, drawn: int, each: int) -> list[str]:
    """Describe a window in two lines: what is drawn, and the other channels."""
    first = [
        f"input channel {drawn}" if len(window.weights) > 1 else "",
        f"plus {window.offset:.3g}" if window.offset else "",
        f"one pixel of {each} × {each}" if each > 1 else "",
    ]
    sums = window.weights.sum(axis=(1, 2)).tolist()
    named = ", ".join(f"{total:.3g}" for total in sums[:_SUMS]) + (", …" if len(sums) > _SUMS else "")
    return ["; ".join(filter(None, first)), f"sums of channels {named}" if np.count_nonzero(sums) > 1 else ""]


def _write_numbers(axes: Axes, weights: FloatArray, window: WindowWeights) -> None:
    largest = float(np.abs(weights).max())
    # As many for all, so that they compare at a glance: three digits of the largest.
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    size = 7 if weights.shape[1] <= 5 else 5.5
    for (row, col), weight in np.ndenumerate(weights):
        colour = "white" if abs(weight) > 0.6 * largest else "black"
        text = f"{weight:z.{decimals}f}" if weight else "0"
        axes.text(window.left + col, window.top + row, text, ha="center", va="center", fontsize=size, color=colour)


def _show(axes: Axes, values: FloatArray, extent: tuple[float, float, float, float], aspect: str) -> AxesImage:
    largest = float(np.abs(values).max()) or 1.0
    image = axes.imshow(
        values,
        cmap=_COLOURS,
        vmin=-largest,
        vmax=largest,
        extent=extent,
        aspect=aspect,  # type: ignore[arg-type]
        interpolation="nearest",
    )
    axes.tick_params(labelsize=8)
    axes.locator_params(integer=True, min_n_ticks=1)
    return image

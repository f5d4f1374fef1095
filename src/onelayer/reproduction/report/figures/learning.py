"""Draw how a layer was learned: its errors by epoch and by direction of the images, and its weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onelayer.formats import mse_with_psnr
from onelayer.plotting import COLOURS, GREY, escape_dollars, style_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from onelayer.reproduction.records import (
        DirectionErrors,
        DirectionsRecord,
        Epoch,
        OtherRecipesRecord,
        RunRecord,
        TrainingSummary,
    )

_FEW_EPOCHS = 40
_SMALLEST, _LARGEST = 1e-45, 3.5e38
"""Range of float32, in which learning is done; far beyond it, the axis itself would overflow."""

_EPOCH_COLOURS = "Blues"
_PALEST = 0.35
"""Palest of those colours that can still be seen on white."""
_OTHER_STYLES = ((COLOURS[1], "--"), (COLOURS[2], "-."), (COLOURS[3], (0, (4, 1, 1, 1, 1, 1))))
"""Colours and dashes of other recipes, told apart by the dashes too."""

_PANEL = 1.7
"""Width of a panel of weights in inches."""
_WEIGHT_COLOURS = "RdBu_r"
_TRUE = "derived"
_RGB = ("red", "green", "blue")


def draw_training(history: Sequence[Epoch], run: RunRecord) -> Figure:
    """Draw training and validation MSE per epoch, with the best epoch and the end marked where learning has ended.

    Args:
        history: At least one epoch. Errors that are no finite numbers leave a gap and a cross at the upper edge.
        run: Record of the run, for the best epoch and the reason why learning stopped.
    """
    figure = Figure(figsize=(8.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes)
    axes.set_yscale("log", nonpositive="mask")
    epochs = [epoch.epoch for epoch in history]
    # With few epochs each is a point of its own, and a single one would have no line at all.
    marker = "." if len(history) <= _FEW_EPOCHS else ""
    for errors, colour, label in (
        ([epoch.train_mse for epoch in history], COLOURS[4], "training"),
        ([epoch.validation_mse for epoch in history], COLOURS[0], "validation"),
    ):
        axes.plot(epochs, [_drawable(error) for error in errors], color=colour, marker=marker, label=label)
    broken = [epoch.epoch for epoch in history if not epoch.finite]
    if broken:
        axes.plot(
            broken,
            [0.98] * len(broken),
            "x",
            color=COLOURS[1],
            transform=axes.get_xaxis_transform(),
            label="not a finite number",
        )
    if run.training is not None:
        _mark(axes, run.training)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error (log scale)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _add_decibels(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _drawable(error: float) -> float:
    """Return the error, or a gap where a logarithmic axis has no place for it."""
    return error if _SMALLEST <= error <= _LARGEST else math.nan


def _mark(axes: Axes, summary: TrainingSummary) -> None:
    best = summary.best_validation_mse
    axes.plot(
        [summary.best_epoch],
        [_drawable(best)],
        "o",
        color=COLOURS[2],
        markersize=8,
        zorder=3,
        label=f"best: epoch {summary.best_epoch}, {mse_with_psnr(best)}",
    )
    axes.axvline(
        summary.epochs_run,
        color=GREY,
        linestyle="--",
        linewidth=1,
        label=f"stopped: epoch {summary.epochs_run} ({summary.stop_reason})",
    )


def _add_decibels(axes: Axes) -> None:
    """Add a right-hand scale in dB, on which a logarithmic error is linear: only the ends need to be worked out."""
    low, high = axes.get_ylim()
    right = axes.twinx()
    right.set_ylim(-10 * math.log10(low), -10 * math.log10(high))
    right.set_ylabel("PSNR (dB)")
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.spines["right"].set_color(GREY)
    right.tick_params(colors="#333333", labelsize=9)


def draw_directions(record: DirectionsRecord, others: OtherRecipesRecord | None, kept: int | None) -> Figure:
    """Draw the variance of the images in each direction, and beneath it the error left there after some epochs.

    Each group of directions is one point of a line, in the middle of its group on a logarithmic axis.

    Args:
        record: Errors by direction, of at least one epoch.
        others: Layers of other recipes, each a line as well where its errors are known.
        kept: Epoch whose layer was kept.
    """
    figure = Figure(figsize=(8.2, 6.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    ends = np.cumsum(record.sizes)
    middles = np.sqrt((ends - np.array(record.sizes) + 1) * ends)
    above.set_xscale("log")
    _line(above, middles, np.array(record.eigenvalues), color=COLOURS[0])
    above.set_ylabel("variance of the images")
    epochs = {each.epoch: each.errors for each in record.epochs}
    shown = shown_epochs(tuple(epochs), kept)
    colours = mpl.colormaps[_EPOCH_COLOURS](np.linspace(_PALEST, 1, len(shown)))
    for epoch, colour in zip(shown, colours, strict=True):
        kept_note = ", kept" if epoch == kept else ""
        style = {"color": GREY, "linestyle": ":"} if epoch == 0 else {"color": colour}
        label = "before the first step" if epoch == 0 else f"after epoch {epoch}{kept_note}"
        _line(below, middles, _rms(epochs[epoch]), label=label, **style)
    known = [other for other in others.layers if other.directions is not None] if others else []
    for number, other in enumerate(known):
        assert other.directions is not None
        colour, dashes = _OTHER_STYLES[number % len(_OTHER_STYLES)]
        _line(below, middles, _rms(other.directions), color=colour, linestyle=dashes, label=escape_dollars(other.name))
    below.set_ylabel("error of the weights (RMS)")
    below.set_xlabel(f"direction, from the most variance to the least (1 … {ends[-1]:,})")
    below.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (above, below):
        style_axes(axes)
        # A logarithmic axis has no place for an error of nothing, and none at all where there is nothing else.
        if any((np.asarray(line.get_ydata()) > 0).any() for line in axes.get_lines()):
            axes.set_yscale("log", nonpositive="mask")
    return figure


def shown_epochs(epochs: tuple[int, ...], kept: int | None) -> list[int]:
    """Choose the epochs 0, 1, 2, 4, 8 …, the one that was kept and the last."""
    return [
        epoch
        for epoch in epochs
        if epoch in (kept, epochs[-1]) or epoch & (epoch - 1) == 0  # a power of two, or 0
    ]


def _rms(errors: DirectionErrors) -> NDArray[np.float64]:
    return np.array(errors.squared) ** 0.5


def _line(axes: Axes, middles: NDArray[np.float64], values: NDArray[np.float64], **style: Any) -> None:
    # Of few groups each is a point of its own.
    marker = "." if len(middles) < 3 else ""
    axes.plot(middles, values, marker=marker, **style)


def draw_weights(weights: dict[str, NDArray[np.float32]], pixel: tuple[int, int, int]) -> Figure:
    """Draw one column of panels per layer, one panel per input channel; all of them share one scale, with 0 in white.

    The scale is that of the derived layer's weights, which are the true ones; stronger weights have its last colours.
    Where there is no such layer it reaches as far as the strongest weight.

    Args:
        weights: Weights by the name of the layer, float32 [C, H, W], at least one; columns are in this order.
        pixel: Channel, row and column of the output value.
    """
    channels, height, width = next(iter(weights.values())).shape
    panel_height = _PANEL * float(np.clip(height / width, 0.4, 2.5))
    size = (max(_PANEL * len(weights), 2 * _PANEL) + 1.2, panel_height * channels + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(channels, len(weights), squeeze=False)
    true = weights.get(_TRUE)
    ending = [true] if true is not None and true.any() else list(weights.values())
    largest = max(float(np.abs(each).max()) for each in ending) or 1.0
    beyond = any(float(np.abs(each).max()) > largest for each in weights.values())
    scale = Normalize(-largest, largest)
    for number, row in enumerate(panels):
        row[0].set_ylabel(_RGB[number] if channels == len(_RGB) else f"channel {number}", fontsize=9)
    for column, (name, planes) in zip(panels.T, weights.items(), strict=True):
        column[0].set_title(escape_dollars(name), fontsize=9, fontweight="bold")
        for axes, plane in zip(column, planes, strict=True):
            shown = axes.imshow(plane, cmap=_WEIGHT_COLOURS, norm=scale, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
    figure.colorbar(shown, ax=panels, label="weight", extend="both" if beyond else "neither")
    channel, line, column_of_pixel = pixel
    where = f"row {line}, column {column_of_pixel}" + (f" of channel {channel}" if channel else "")
    figure.suptitle(f"How the output value at {where} reads the input", fontsize=10)
    return figure

"""The training curve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onelayer.formats import mse_with_psnr
from onelayer.plotting import COLOURS, GREY, quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from onelayer.reproduction.history import Epoch
    from onelayer.reproduction.records import RunRecord, TrainingSummary

_FEW = 40
_SMALLEST, _LARGEST = 1e-45, 3.5e38
"""What float32 can hold, in which learning is done; far beyond it, the axis itself would overflow."""


def draw_training(history: Sequence[Epoch], run: RunRecord) -> Figure:
    """Draw training and validation MSE per epoch, with the best epoch and the end marked where learning has ended.

    Args:
        history: At least one epoch. Errors that are no finite numbers leave a gap and a cross at the upper edge.
        run: Its training summary says which epoch was best and why learning stopped.
    """
    figure = Figure(figsize=(8.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    quiet(axes)
    axes.set_yscale("log", nonpositive="mask")
    epochs = [epoch.epoch for epoch in history]
    # With few epochs each is a point of its own, and a single one would have no line at all.
    marker = "." if len(history) <= _FEW else ""
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
    """The error, or a gap where a logarithmic axis has no place for it."""
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
    """A right-hand scale in dB: on it a logarithmic error is linear, so only the ends need to be worked out."""
    low, high = axes.get_ylim()
    right = axes.twinx()
    right.set_ylim(-10 * math.log10(low), -10 * math.log10(high))
    right.set_ylabel("PSNR (dB)")
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.spines["right"].set_color(GREY)
    right.tick_params(colors="#333333", labelsize=9)

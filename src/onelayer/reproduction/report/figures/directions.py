"""How much images vary in each direction, and in which of these a layer has learned what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from onelayer.plotting import COLOURS, GREY, plain, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from onelayer.reproduction.records import DirectionErrors, DirectionsRecord, OtherRecipesRecord

_EPOCH_COLOURS = "Blues"
_PALEST = 0.35
"""Of those colours, that can still be seen on white."""
_OTHERS = ((COLOURS[1], "--"), (COLOURS[2], "-."), (COLOURS[3], (0, (4, 1, 1, 1, 1, 1))))
"""Told apart by their dashes too."""


def draw_directions(record: DirectionsRecord, others: OtherRecipesRecord | None, kept: int | None) -> Figure:
    """Draw the variance of the images in each direction, and beneath it the error left there after some epochs.

    Each group of directions is one point of a line, in the middle of its group on a logarithmic axis.

    Args:
        record: At least one epoch.
        others: Layers that other recipes found, each a line as well where its errors are known.
        kept: The epoch whose layer was kept.
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
        word = ", kept" if epoch == kept else ""
        style = {"color": GREY, "linestyle": ":"} if epoch == 0 else {"color": colour}
        label = "before the first step" if epoch == 0 else f"after epoch {epoch}{word}"
        _line(below, middles, _rms(epochs[epoch]), label=label, **style)
    known = [other for other in others.layers if other.directions is not None] if others else []
    for number, other in enumerate(known):
        assert other.directions is not None
        colour, dashes = _OTHERS[number % len(_OTHERS)]
        _line(below, middles, _rms(other.directions), color=colour, linestyle=dashes, label=plain(other.name))
    below.set_ylabel("error of the weights (RMS)")
    below.set_xlabel(f"direction, from the most variance to the least (1 … {ends[-1]:,})")
    below.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (above, below):
        quiet(axes)
        # A logarithmic axis has no place for an error of nothing, and none at all where there is nothing else.
        if any((np.asarray(line.get_ydata()) > 0).any() for line in axes.get_lines()):
            axes.set_yscale("log", nonpositive="mask")
    return figure


def shown_epochs(epochs: tuple[int, ...], kept: int | None) -> list[int]:
    """Of all epochs 0, 1, 2, 4, 8 …, the one that was kept and the last."""
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

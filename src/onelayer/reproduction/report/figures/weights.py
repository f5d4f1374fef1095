"""The weights with which one output value reads the input, in each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from onelayer.plotting import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH = 1.8
"""Inches of one panel."""
_COLOURS = "RdBu_r"
_TRUE = "derived"
_RGB = ("red", "green", "blue")


def draw_weights(weights: dict[str, NDArray[np.float32]], pixel: tuple[int, int, int]) -> Figure:
    """Draw one row of panels per layer, one panel per input channel; all of them share one scale, with 0 in white.

    The scale is that of the derived layer's weights, which are the true ones; stronger weights have its last colours.
    Where there is no such layer it reaches as far as the strongest weight.

    Args:
        weights: By the name of the layer, float32 [C, H, W], at least one.
        pixel: The output value: channel, row and column.
    """
    channels, height, width = next(iter(weights.values())).shape
    size = (_WIDTH * channels + 1.2, _WIDTH * float(np.clip(height / width, 0.4, 2.5)) * len(weights) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(weights), channels, squeeze=False)
    true = weights.get(_TRUE)
    ending = [true] if true is not None and true.any() else list(weights.values())
    largest = max(float(np.abs(each).max()) for each in ending) or 1.0
    beyond = any(float(np.abs(each).max()) > largest for each in weights.values())
    scale = Normalize(-largest, largest)
    for number, axes in enumerate(panels[0]):
        axes.set_title(_RGB[number] if channels == len(_RGB) else f"channel {number}", fontsize=9)
    for row, (name, planes) in zip(panels, weights.items(), strict=True):
        row[0].set_ylabel(plain(f"{name} layer"), fontsize=9, fontweight="bold")
        for axes, plane in zip(row, planes, strict=True):
            shown = axes.imshow(plane, cmap=_COLOURS, norm=scale, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
    figure.colorbar(shown, ax=panels, label="weight", extend="both" if beyond else "neither")
    channel, line, column = pixel
    where = f"row {line}, column {column}" + (f" of channel {channel}" if channel else "")
    figure.suptitle(f"How the output value at {where} reads the input", fontsize=10)
    return figure

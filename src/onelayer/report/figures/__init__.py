"""The figures, each drawn from saved records alone.

They are made as :class:`matplotlib.figure.Figure` objects, without pyplot: no global state, no window system.
"""

from __future__ import annotations

from onelayer.report.figures.benchmark import draw_benchmark
from onelayer.report.figures.comparison import draw_comparison
from onelayer.report.figures.directions import draw_directions
from onelayer.report.figures.png import encode_png
from onelayer.report.figures.predictions import draw_predictions
from onelayer.report.figures.training import draw_training
from onelayer.report.figures.weights import draw_weights

__all__ = [
    "draw_benchmark",
    "draw_comparison",
    "draw_directions",
    "draw_predictions",
    "draw_training",
    "draw_weights",
    "encode_png",
]

"""The figures, each drawn from saved records alone.

They are made as :class:`matplotlib.figure.Figure` objects, without pyplot: no global state, no window system.
"""

from __future__ import annotations

from onelayer.plotting import encode_png
from onelayer.reproduction.report.figures.benchmark import draw_benchmark
from onelayer.reproduction.report.figures.comparison import draw_comparison
from onelayer.reproduction.report.figures.directions import draw_directions
from onelayer.reproduction.report.figures.predictions import draw_predictions
from onelayer.reproduction.report.figures.training import draw_training
from onelayer.reproduction.report.figures.weights import draw_weights

__all__ = [
    "draw_benchmark",
    "draw_comparison",
    "draw_directions",
    "draw_predictions",
    "draw_training",
    "draw_weights",
    "encode_png",
]

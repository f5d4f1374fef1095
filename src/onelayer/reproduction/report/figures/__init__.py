"""Draw the figures, each from saved records alone.

They are made as :class:`matplotlib.figure.Figure` objects, without pyplot: no global state, no window system.
"""

from __future__ import annotations

from onelayer.bench.chart import draw_benchmark
from onelayer.plotting import encode_png
from onelayer.reproduction.report.figures.images import draw_comparison, draw_predictions
from onelayer.reproduction.report.figures.learning import draw_directions, draw_training, draw_weights

__all__ = [
    "draw_benchmark",
    "draw_comparison",
    "draw_directions",
    "draw_predictions",
    "draw_training",
    "draw_weights",
    "encode_png",
]

"""The report of a run: figures and one page, from saved records alone."""

from __future__ import annotations

from onelayer.reproduction.report.build import build_report
from onelayer.reproduction.report.figures import draw_benchmark, draw_comparison, draw_directions, draw_training
from onelayer.reproduction.report.pictures import Pictures, read_pictures
from onelayer.reproduction.report.tables import benchmark_table, metrics_table

__all__ = [
    "Pictures",
    "benchmark_table",
    "build_report",
    "draw_benchmark",
    "draw_comparison",
    "draw_directions",
    "draw_training",
    "metrics_table",
    "read_pictures",
]

"""From a run folder to its figures and its page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onelayer.atomic_write import write_whole
from onelayer.reproduction.report.figures import (
    draw_benchmark,
    draw_comparison,
    draw_directions,
    draw_predictions,
    draw_training,
    draw_weights,
    encode_png,
)
from onelayer.reproduction.report.page import Images, render
from onelayer.reproduction.report.saved import read_saved

if TYPE_CHECKING:
    from pathlib import Path

    from onelayer.reproduction.report.saved import Comparison, SavedRun
    from onelayer.reproduction.run_folder import RunFolder


def build_report(folder: RunFolder) -> Path:
    """Draw the figures, as far as there are records for them, and write report.html.

    Nothing is learned, computed from images of the data set or timed here: the page says what was saved. It holds its
    figures itself and refers to nothing outside. Parts that were not run are named, with the command that runs them.

    Args:
        folder: Of a run; run.json is needed, everything else may be missing.

    Returns:
        The path of the page.

    Raises:
        OnelayerError: If there is no run.json, or if any record that is there cannot be read or contradicts another.
    """
    saved = read_saved(folder)
    comparison, benchmark = saved.comparison, saved.benchmark
    others = {other.name for other in saved.others.layers} if saved.others else set()
    images = Images(
        training=encode_png(draw_training(saved.history, saved.run)) if saved.history else None,
        directions=_directions(saved),
        comparison=_comparison(comparison, others) if comparison else None,
        predictions=_predictions(comparison, others) if comparison else None,
        weights=_weights(comparison) if comparison else None,
        benchmark=encode_png(draw_benchmark(benchmark)) if benchmark and benchmark.rows else None,
    )
    for path, png in (
        (folder.train_figure, images.training),
        (folder.directions_figure, images.directions),
        (folder.comparison_figure, images.comparison),
        (folder.predictions_figure, images.predictions),
        (folder.weights_figure, images.weights),
        (folder.benchmark_figure, images.benchmark),
    ):
        if png is not None:
            write_whole(path, png)
    write_whole(folder.page, render(saved, images).encode("utf-8"))
    return folder.page


def _directions(saved: SavedRun) -> bytes | None:
    if saved.directions is None:
        return None
    kept = saved.run.training.best_epoch if saved.run.training else None
    return encode_png(draw_directions(saved.directions, saved.others, kept))


def _comparison(comparison: Comparison, others: set[str]) -> bytes:
    pictures = comparison.pictures
    layers = {name: outputs for name, outputs in pictures.layers.items() if name not in others}
    return encode_png(draw_comparison(replace(pictures, layers=layers), comparison.metrics))


def _predictions(comparison: Comparison, others: set[str]) -> bytes | None:
    names = [name for name in comparison.pictures.layers if name in others]
    return encode_png(draw_predictions(comparison.pictures, comparison.metrics, names)) if names else None


def _weights(comparison: Comparison) -> bytes | None:
    pixel, weights = comparison.metrics.weight_pixel, comparison.pictures.weights
    return encode_png(draw_weights(weights, pixel)) if pixel is not None and weights else None
